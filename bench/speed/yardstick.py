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


class Product:
    """The whole product in an empty folder, started when made; `with` sees to its end."""

    def __init__(
        self, server: Server, folder: Path, market: Market, load: Load, *, profile: str = "", more: str = ""
    ) -> None:
        folder.mkdir(parents=True)
        self.lake, self.load = folder / "lake", load
        self._server, self._market = server, market
        # A recording takes the market's own times and ends; a live venue goes on.
        self._closes = not load.is_real
        time_is = "real" if load.is_real else "market"
        end = "close" if self._closes else "stay"
        server.order("set", events=load.events, rate=load.rate, time=time_is, end=end)
        self._begun = time.monotonic()
        self.process = self._start(folder, profile, more)
        self.watch = Watch(self.process.pid)
        self._before, self._at_start = 0.0, dict[str, float]()
        self.start = 0.0

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.stop()
        if self.process.returncode is None:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    child.kill()
            self.process.kill()
            self.process.wait(10)

    def _start(self, folder: Path, profile: str, more: str) -> subprocess.Popen[bytes]:
        where, config = self._server.where, folder / "pipeline.yml"
        text = PIPELINE.format(
            lake=self.lake,
            symbols=", ".join(self._market.names),
            ws=where["wss_url" if self.load.is_tls else "ws_url"],
            rest=where["rest_url"],
            more=(", replay: true" if self._closes else "") + more,
        )
        config.write_text(text)
        environment = dict(os.environ)
        if self.load.is_tls:
            environment["SSL_CERT_FILE"] = str(self._server.certificate)
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

    def ready(self) -> None:
        """Waits until every stage runs and every stream is subscribed to. Raises TimeoutError."""
        self.wait("all stages run", self._all_run)
        self._server.subscribed(2 * len(self._market.names))
        self.start = time.monotonic() - self._begun
        self._server.order("prepare")

    def go(self) -> None:
        """The load begins, and with it what is counted."""
        self._before, self._at_start = self.watch.look(), dict(self.watch.used)
        self._server.order("go")

    def wait(self, what: str, found: Callable[[], bool], seconds: float = START_S) -> None:
        """Until it is so. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(asking.NotRunning, OSError, ValueError):
                if found():
                    return
            if self.process.poll() is not None:
                raise TimeoutError(f"the mesh left before: {what}")
            time.sleep(0.1)
        raise TimeoutError(f"not within {seconds:.0f} s: {what}")

    def rows(self) -> dict[str, dict[str, Any]]:
        return asking.rows(self.lake)

    def _all_run(self) -> bool:
        return all(row["state"] == "running" for row in self.rows().values())

    def _all_in(self) -> bool:
        if not self._server.order("state")["is_done"]:
            return False
        counters: dict[str, Any] = self.rows()["binance"]["counters"]
        return bool(counters.get("events_in", 0) >= self.load.events)

    def end(self) -> Run:
        """Waits until everything is recorded and the mesh has left. Raises TimeoutError."""
        if not self._closes:
            self.wait("everything is recorded", self._all_in, END_S)
            time.sleep(SECONDS_CLOSE_S)
            self.process.send_signal(signal.SIGINT)
        total = wait_for_end(self.process)
        self.watch.stop()
        # Bars of real time cannot be written before their second is over.
        written = _last_write(self.lake, ("raw",) if self.load.is_real else ("raw", "parquet"))
        began = self._server.order("state")["began_ns"] / 1e9
        run = Run(self.load.events, written - began, total - self._before, start=self.start)
        run.stages = {name: used - self._at_start.get(name, 0.0) for name, used in self.watch.used.items()}
        run.memory = self.watch.memory
        return run


def ours(
    server: Server, folder: Path, market: Market, load: Load, *, check: bool = True, profile: str = "", more: str = ""
) -> Run:
    """One run of the whole product in an empty folder, and what its lake holds. Raises TimeoutError."""
    with Product(server, folder, market, load, profile=profile, more=more) as product:
        product.ready()
        product.go()
        run = product.end()
    if check:
        run.verdict = lake_against(market, product.lake, server.times(), load.events)
    return run


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


def _last_write(lake: Path, tops: tuple[str, ...]) -> float:
    """When the last file below those folders was written, in seconds since the epoch."""
    files = [path for top in tops for path in (lake / top).rglob("*") if path.is_file()]
    return max((path.stat().st_mtime_ns for path in files), default=0) / 1e9
