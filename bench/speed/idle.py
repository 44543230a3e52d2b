"""What the mesh costs when little happens: share of a core, wake-ups and memory, process by process.

CPU time depends on what else the machine does (a wake-up finds its memory in a cache, or not); wake-ups do not.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil

from bench.speed.market import Market
from bench.speed.server import Server
from bench.speed.yardstick import Load, Product, cpu_of

Say = Callable[[str], None]
SYMBOLS: Final = 3
MOST_SHARE: Final = 0.03
MOST_BYTES: Final = 400 << 20
SAMPLE_S: Final = 2.0


def idle(folder: Path, seconds: float, rate: float, gather_ms: int | None, say: Say) -> int:
    """Few symbols, few events: share of a core and memory of the resident mesh, and how soon a bar is on disk."""
    events = int(rate * (seconds + 60))
    more = "" if gather_ms is None else f", gather_ms: {gather_ms}"
    with closing(Server(folder, events, SYMBOLS)) as server:
        market = Market(1, events, SYMBOLS, 2000)
        with Product(server, folder / "idle", market, Load(events, rate, is_real=True), more=more) as product:
            began = time.monotonic()
            product.ready()
            product.go()
            product.wait("a bar on disk", lambda: any((product.lake / "parquet").rglob("*.parquet")), 180)
            first = time.monotonic() - began
            say(f"all stages run and are subscribed after {product.start:.1f} s; first bar on disk after {first:.1f} s")
            root = psutil.Process(product.process.pid)
            processes = {_name(process): process for process in [root, *root.children(recursive=True)]}
            used = {name: cpu_of(process) for name, process in processes.items()}
            say(f"  CPU seconds until then: {', '.join(f'{name} {used[name]:.2f}' for name in sorted(used))}")
            _shares(processes, seconds, say)
    return 0


def _shares(processes: dict[str, psutil.Process], seconds: float, say: Say) -> None:
    """Watches them for a while."""
    before = {name: (cpu_of(process), _switches(process)) for name, process in processes.items()}
    began = time.monotonic()
    sizes: list[int] = []
    while time.monotonic() - began < seconds:
        time.sleep(SAMPLE_S)
        sizes.append(sum(_size(process) for process in processes.values()))
    passed = time.monotonic() - began
    share = wakes = 0.0
    for name, process in processes.items():
        used, woken = cpu_of(process) - before[name][0], _switches(process) - before[name][1]
        share, wakes = share + used / passed, wakes + woken / passed
        each = f"{used / passed:7.2%} of a core, {woken / passed:6.1f} wake-ups/s"
        say(f"  {name:12} {each}, {_size(process) >> 20:5} MB")
    memory = int(statistics.median(sizes))
    goal = "reached" if share <= MOST_SHARE and memory <= MOST_BYTES else "NOT reached"
    say(f"  {'together':12} {share:7.2%} of a core, {wakes:6.1f} wake-ups/s, {memory >> 20:5} MB")
    say(f"  goal: at most {MOST_SHARE:.0%} and {MOST_BYTES >> 20} MB: {goal}")


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    return words[words.index("--stage") + 1] if "--stage" in words else "supervisor"


def _switches(process: psutil.Process) -> int:
    """How often its threads have gone to sleep so far; elsewhere than on Linux only what is told of the whole."""
    if sys.platform != "linux":
        return int(process.num_ctx_switches().voluntary)
    total = 0
    for thread in process.threads():
        with contextlib.suppress(psutil.Error):  # gone meanwhile
            total += psutil.Process(thread.id).num_ctx_switches().voluntary
    return total


def _size(process: psutil.Process) -> int:
    """Proportional set size, so that what processes share counts once; resident size where that is not told."""
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))
