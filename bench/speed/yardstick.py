"""The yardstick: the whole product against the load, its wall and CPU time, and its lake against the truth."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from bench.speed import profiling
from bench.speed.check import Verdict, lake_against
from bench.speed.market import Market
from bench.speed.server import ROOT, Server
from supervision import asking

PIPELINE: Final = """\
lake: {lake}
sources:
  binance: {{run: ingest, venue: binance, symbols: [{symbols}], ws_url: "{ws}", rest_url: "{rest}"{more}}}
transforms:
  bars_1s: {{run: aggregator, inputs: [binance]}}
sinks:
  archive: {{run: archiver, inputs: [binance]}}
  parquet: {{run: parquet_sink, inputs: [bars_1s]}}
"""
SAMPLE_S: Final = 0.1
_GONE: Final = ("children_user", "children_system")
START_S: Final = 120.0
END_S: Final = 600.0
SECONDS_CLOSE_S: Final = 4.0
"""Until the bars of the last second of real time are closed: a second, the lateness, and a little."""


@dataclass(frozen=True)
class Load:
    """What is sent in one run: `rate` in events/s, 0 as fast as it goes; `is_real` with the real time of sending."""

    events: int
    rate: float = 0
    is_real: bool = False
    is_tls: bool = False


@dataclass
class Run:
    """One run: wall seconds from the first frame sent to the last file written, CPU seconds of the whole process tree
    from then to its end.
    """

    events: int
    wall: float
    cpu: float
    stages: dict[str, float] = field(default_factory=dict)
    memory: int = 0
    """Bytes of the tree at its most, by proportional set size where the system tells it."""
    start: float = 0.0
    """Seconds from the start until everything runs and is connected."""
    verdict: Verdict | None = None


class Watch:
    """CPU time by process, sampled until the tree is gone; what a process used in its last tenth second is not seen."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self.used: dict[str, float] = {}
        self.memory = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def look(self, memory: bool = False) -> float:
        """CPU seconds of all that live, now."""
        total, bytes_ = 0.0, 0
        with contextlib.suppress(psutil.Error):
            for process in [self._root, *self._root.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    words = process.cmdline()
                    name = words[words.index("--stage") + 1] if "--stage" in words else "supervisor"
                    self.used[name] = sum(process.cpu_times()[:2])
                    total += cpu_of(process)
                    bytes_ += _memory(process) if memory else 0
        self.memory = max(self.memory, bytes_)
        return total

    def _watch(self) -> None:
        turns = 0
        while not self._over.wait(SAMPLE_S):
            turns += 1
            self.look(memory=turns % 10 == 0)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def cpu_of(process: psutil.Process) -> float:
    """User and system seconds, with those of children that are gone where the system counts them."""
    times = process.cpu_times()
    return sum(times[:2]) + sum(getattr(times, key, 0.0) for key in _GONE)


def _memory(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))


def ours(
    server: Server, folder: Path, market: Market, load: Load, *, check: bool = True, profile: str = "", more: str = ""
) -> Run:
    """One run of the whole product in an empty folder. Raises TimeoutError."""
    folder.mkdir(parents=True)
    closes = not load.is_real
    server.order("set", events=load.events, rate=load.rate, time="real" if load.is_real else "market",
                 end="close" if closes else "stay")  # fmt: skip
    process = _start(server, folder, market, load, profile, more)
    watch = Watch(process.pid)
    try:
        begun = time.monotonic()
        _wait("all stages run", lambda: _all_run(folder / "lake"), process)
        server.subscribed(2 * len(market.names))
        start = time.monotonic() - begun
        server.order("prepare")
        before, at_start = watch.look(), dict(watch.used)
        server.order("go")
        if not closes:
            _wait("everything is recorded", lambda: _all_in(server, folder / "lake", load.events), process)
            time.sleep(SECONDS_CLOSE_S)
            process.send_signal(signal.SIGINT)
        total = wait_for_end(process)
    finally:
        watch.stop()
        _kill(process)
    # Bars of real time cannot be written before their second is over.
    written = _last_write(folder / "lake", ("raw",) if load.is_real else ("raw", "parquet"))
    run = Run(load.events, written - server.order("state")["began_ns"] / 1e9, total - before, start=start)
    run.stages = {name: used - at_start.get(name, 0.0) for name, used in watch.used.items()}
    run.memory = watch.memory
    if check:
        run.verdict = lake_against(market, folder / "lake", server.times(), load.events)
    return run


def _start(
    server: Server, folder: Path, market: Market, load: Load, profile: str, more: str
) -> subprocess.Popen[bytes]:
    replay = "" if load.is_real else ", replay: true"
    ws = server.where["wss_url" if load.is_tls else "ws_url"]
    config = folder / "pipeline.yml"
    names = ", ".join(market.names)
    said = {"symbols": names, "ws": ws, "rest": server.where["rest_url"], "more": replay + more}
    config.write_text(PIPELINE.format(lake=folder / "lake", **said))
    environment = dict(os.environ)
    if load.is_tls:
        environment["SSL_CERT_FILE"] = str(server.certificate)
    if profile:
        environment |= profiling.environment(folder, profile)
    with (folder / "console.log").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "supervisor.py", "--config", str(config)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def _wait(what: str, found: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = START_S) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(asking.NotRunning, OSError, ValueError):
            if found():
                return
        if process.poll() is not None:
            raise TimeoutError(f"the mesh left before: {what}")
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds:.0f} s: {what}")


def _all_run(lake: Path) -> bool:
    return all(row["state"] == "running" for row in asking.rows(lake).values())


def _all_in(server: Server, lake: Path, events: int) -> bool:
    if not server.order("state")["is_done"]:
        return False
    counters: dict[str, Any] = asking.rows(lake)["binance"]["counters"]
    return bool(counters.get("events_in", 0) >= events)


def wait_for_end(process: subprocess.Popen[bytes], seconds: float = END_S) -> float:
    """Waits for the tree's end; CPU seconds of all of it, from its very beginning."""
    if not hasattr(os, "wait4"):  # Windows: what was sampled last must do
        process.wait(seconds)
        return 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        time.sleep(0.02)
    raise TimeoutError(f"no end within {seconds:.0f} s")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """However it went: nothing goes on."""
    if process.returncode is None:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait(10)


def _last_write(lake: Path, tops: tuple[str, ...]) -> float:
    """When the last file below those folders was written, in seconds since the epoch."""
    files = [path for top in tops for path in (lake / top).rglob("*") if path.is_file()]
    return max((path.stat().st_mtime_ns for path in files), default=0) / 1e9
