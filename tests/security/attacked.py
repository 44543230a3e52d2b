"""The whole mesh against the emulated venue, over ipc or (as on Windows) over tcp, for others to throw stones at."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import psutil

from shared.wire import Mesh, find_mesh
from supervision import asking
from tests.integration.emulators import ROOT, Emulator, emulator

PIPELINE = """
lake: ./lake
sources:
  binance:
    run: ingest
    venue: binance
    symbols: [SOLUSDT, ADAUSDT]
    ws_url: {ws}
    rest_url: {rest}
transforms:
  bars_1s: {{run: aggregator, inputs: [binance], lateness_ms: 500}}
sinks:
  archive: {{run: archiver, inputs: [binance]}}
  parquet: {{run: parquet_sink, inputs: [bars_1s], flush_every_s: 1}}
"""
STAGES = ("binance", "bars_1s", "archive", "parquet")
BOUND = {
    "health", "control", "tap.supervisor", "tap.binance", "tap.bars_1s",
    "binance-archive", "binance-bars_1s", "bars_1s.binance-parquet",
}  # fmt: skip
"""Every edge at which somebody binds."""
RUN = """
import sys, zmq
if {tcp!r}:
    zmq.has = lambda what: False
sys.argv = ["supervisor.py", "--config", {config!r}]
import runpy
runpy.run_path("supervisor.py", run_name="__main__")
"""


class Running:
    """A mesh that runs, and what can be seen of it from outside."""

    def __init__(self, process: subprocess.Popen[bytes], lake: Path, venue: Emulator) -> None:
        self.process, self.lake, self.venue = process, lake, venue

    @property
    def mesh(self) -> Mesh:
        found = find_mesh(self.lake)
        assert found is not None
        return found

    def endpoints(self) -> dict[str, str]:
        """By edge, where somebody has bound."""
        if self.mesh.transport == "ipc":
            return {path.name: f"ipc://{path}" for path in sorted(Path(self.mesh.folder).iterdir())}
        files = (self.lake / "run" / "edges").glob("*.json")
        return {path.stem: json.loads(path.read_bytes())["endpoint"] for path in files}

    def processes(self) -> list[psutil.Process]:
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def listening(self) -> list[tuple[str, int]]:
        """Every tcp socket of the mesh that waits for strangers."""
        found = []
        for process in self.processes():
            for one in process.net_connections("all"):
                if one.family in (socket.AF_INET, socket.AF_INET6) and (one.status == "LISTEN" or not one.raddr):
                    found.append((one.laddr.ip, one.laddr.port))
        return sorted(found)

    def states(self) -> dict[str, tuple[str, int]]:
        """By stage, its state and how often it was started again."""
        return {name: (row["state"], row["restarts"]) for name, row in asking.rows(self.lake).items()}

    def counters(self, stage: str) -> dict[str, int]:
        found: dict[str, int] = asking.rows(self.lake)[stage]["counters"]
        return found

    def troubles(self) -> dict[str, list[int]]:
        """What each stage met on its lanes. A lane that came about a moment late has left a hole by now."""
        names = ("damaged", "holes", "lost")
        return {stage: [self.counters(stage)[name] for name in names] for stage in ("bars_1s", "archive", "parquet")}


def until(what: str, found: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(asking.NotRunning, OSError, ValueError, KeyError, IndexError, AssertionError):
            if found():
                return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def connect(endpoint: str) -> socket.socket:
    if endpoint.startswith("ipc://"):
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(5)
        found.connect(endpoint.removeprefix("ipc://"))
        return found
    where = urlparse(endpoint)
    return socket.create_connection((where.hostname, where.port), timeout=5)


@contextlib.contextmanager
def running(folder: Path, *, tcp: bool) -> Iterator[Running]:
    """Everything runs and bars are given when it is yielded; at the end it is stopped, and must end well."""
    with emulator(folder, "--symbols", "SOLUSDT,ADAUSDT", "--rate", "100", "--port", "0") as venue:
        config = folder / "mesh.yml"
        config.write_text(PIPELINE.format(ws=venue.ws_url, rest=venue.rest_url))
        with (folder / "console.txt").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN.format(tcp=tcp, config=str(config))],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        mesh = Running(process, folder / "lake", venue)
        try:
            until("bars", lambda: mesh.counters("bars_1s")["events_out"] and mesh.counters("parquet")["events_in"])
            assert mesh.mesh.transport == ("tcp" if tcp else "ipc")
            yield mesh
            process.send_signal(signal.SIGINT)
            assert process.wait(25) == 0, (folder / "console.txt").read_text()
        finally:
            for left in mesh.processes() if process.poll() is None else []:
                with contextlib.suppress(psutil.Error):
                    left.kill()
            process.wait(5)
