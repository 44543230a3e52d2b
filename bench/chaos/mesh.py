"""An emulator and a supervisor in a folder of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.stages import running
from supervision import asking

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("binance", "archive", "bars_1s", "parquet")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT")

PIPELINE = """\
lake: {lake}
sources:
  binance: {{run: ingest, venue: binance, symbols: [{symbols}], ws_url: "{ws}", rest_url: "{rest}"{more}}}
transforms:
  bars_1s: {{run: aggregator, inputs: [binance]{bars}}}
sinks:
  archive: {{run: archiver, inputs: [binance]{rotate}}}
  parquet: {{run: parquet_sink, inputs: [bars_1s], flush_every_s: {flush}}}
"""


def wait_for(what: str, found: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What a condition gives once it gives something. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(asking.NotRunning, OSError, ValueError):
            value = found()
            if value:
                return value
        time.sleep(0.05)
    raise TimeoutError(f"not within {seconds:.0f} s: {what}")


class Mesh:
    """Started by `start`, ended by `stop` or `close`; everything it starts it ends."""

    def __init__(self, folder: Path, rate: float, *, lake: Path | None = None, emulator: Sequence[str] = ()) -> None:
        self.folder = folder
        self.lake = lake or folder / "lake"
        self.config = folder / "pipeline.yml"
        self.rate = rate
        self._port_file = folder / "venue.json"
        words = ["--symbols", ",".join(SYMBOLS), "--rate", str(rate), "--port-file", str(self._port_file), *emulator]
        self._emulator_log = (folder / "emulator.log").open("wb")
        self.emulator = subprocess.Popen(
            [sys.executable, "-m", "procs.emulator", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._emulator_log,
            stderr=subprocess.STDOUT,
        )
        self.where: dict[str, Any] = wait_for("the emulator", lambda: json.loads(self._port_file.read_text()))
        self.write_config()
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.env: dict[str, str] = {}
        """What its supervisor finds in its environment besides ours."""
        self._lives = 0

    def write_config(
        self, ws: str = "", rest: str = "", more: str = "", rotate: str = "", flush: int = 5, bars: str = ""
    ) -> None:
        said = PIPELINE.format(
            lake=self.lake,
            symbols=", ".join(SYMBOLS),
            ws=ws or self.where["ws_url"],
            rest=rest or self.where["rest_url"],
            more=more,
            rotate=rotate,
            flush=flush,
            bars=bars,
        )
        self.config.write_text(said)

    # --- the mesh ---

    def start(self) -> Mesh:
        self._lives += 1
        with (self.folder / f"console-{self._lives}.log").open("wb") as out:
            self.supervisor = subprocess.Popen(
                [sys.executable, "supervisor.py", "--config", str(self.config)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.env},
            )
        return self

    @property
    def console(self) -> str:
        """What the last supervisor said."""
        return (self.folder / f"console-{self._lives}.log").read_text(errors="backslashreplace")

    def flowing(self) -> Mesh:
        wait_for("all stages run", lambda: all(row["state"] == "running" for row in self.rows().values()))
        wait_for("trades flow", lambda: self.rows()["archive"]["counters"].get("lines", 0) > 0)
        return self

    def rows(self) -> dict[str, dict[str, Any]]:
        return asking.rows(self.lake)

    def processes(self) -> dict[str, psutil.Process]:
        """The stages of this mesh, also those whose supervisor is gone."""
        return running(self.config)

    def stage(self, name: str) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error, asking.NotRunning, KeyError):
            pid = self.rows()[name]["pid"]
            return psutil.Process(pid) if pid else None
        return None

    def stop(self, seconds: float = 60.0) -> int:
        """Drains as one Ctrl-C does; the exit code."""
        assert self.supervisor is not None
        self.supervisor.send_signal(signal.SIGINT)
        return self.supervisor.wait(seconds)

    # --- the venue ---

    def venue(self, what: str, body: object = None) -> Any:
        """GET, or POST where there is a body, of the emulator's own pages."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.where['rest_url']}/emulator/{what}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = self.venue("ledger")["symbols"]
        return found

    def close(self) -> None:
        """However it ended: nothing that was started goes on."""
        if self.supervisor is not None and self.supervisor.poll() is None:
            self.supervisor.kill()
            self.supervisor.wait(5)
        for process in self.processes().values():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.emulator.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.emulator.wait(10)
        if self.emulator.poll() is None:
            self.emulator.kill()
        self._emulator_log.close()
