"""The load in a process of its own, and how it is spoken to."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from bench.speed.market import TRADES, Ints

ROOT = Path(__file__).resolve().parents[2]
START_S = 300.0


class Server:
    """Started when made; ended by `close`."""

    def __init__(
        self,
        folder: Path,
        events: int,
        symbols: int,
        *,
        tls: bool = False,
        per_s: int = 2000,
        seed: int = 1,
        trades: float = TRADES,
    ) -> None:
        self.certificate = certificate(folder) if tls else None
        said = folder / "load.json"
        said.unlink(missing_ok=True)
        words = ["--events", str(events), "--symbols", str(symbols), "--per-s", str(per_s), "--seed", str(seed)]
        words += ["--trades", str(trades), "--port-file", str(said)]
        words += ["--certificate", str(self.certificate)] if self.certificate else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.speed.load", *words], cwd=ROOT, stdin=subprocess.PIPE
        )
        until = time.monotonic() + START_S
        while not said.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                raise TimeoutError("the load did not start")
            time.sleep(0.05)
        self.where: dict[str, Any] = json.loads(said.read_text())

    def order(self, what: str, **asked: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._get(what, **asked))
        return found

    def _get(self, what: str, **asked: object) -> bytes:
        query = "&".join(f"{key}={value}" for key, value in asked.items())
        with urllib.request.urlopen(f"{self.where['rest_url']}/load/{what}?{query}", timeout=START_S) as answer:
            data: bytes = answer.read()
        return data

    def subscribed(self, streams: int, seconds: float = 60.0) -> None:
        """Waits until somebody wants that many streams. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while self.order("state")["streams"] < streams:
            if time.monotonic() > until:
                raise TimeoutError(f"not subscribed to {streams} streams: {self.order('state')}")
            time.sleep(0.05)

    def times(self) -> Ints:
        """When each event was, in microseconds."""
        return np.frombuffer(self._get("times"), "<i8").astype(np.int64)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def certificate(folder: Path) -> Path:
    """Key and certificate for localhost in one file, made by the system's openssl. Raises OSError where it lacks."""
    path = folder / "localhost.pem"
    if not path.exists():
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
        subprocess.run(["openssl", *words, *names, *files], check=True, capture_output=True, timeout=60)
        path.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return path
