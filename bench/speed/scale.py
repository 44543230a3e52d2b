"""What an event costs by the number of symbols and by the load, and what the mesh costs when little happens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil

from bench.speed.market import Market
from bench.speed.server import Server
from bench.speed.yardstick import Load, Product, cpu_of, ours

Say = Callable[[str], None]
IDLE_SYMBOLS: Final = 3
PACED_S: Final = 10.0


def by_symbols(folder: Path, counts: Sequence[int], events: int, say: Say) -> int:
    """Flat out, by the number of symbols; market time so that a second of a symbol holds a hundred events."""
    say(f"{events:,} events flat out, 100 a bar\n{'symbols':>8} {'events/s':>12} {'us CPU':>8} {'MB':>6}  by stage")
    wrong = 0
    for count in counts:
        here = folder / f"symbols-{count}"
        here.mkdir()
        with closing(Server(here, events, count, per_s=100 * count)) as server:
            market = Market(1, events, count, 100 * count)
            empty = ours(server, here / "empty", market, Load(0), check=False)
            run = ours(server, here / "run", market, Load(events))
        cpu = (run.cpu - empty.cpu) / events * 1e6
        each = {name: (used - empty.stages.get(name, 0.0)) / events * 1e6 for name, used in run.stages.items()}
        stages = ", ".join(f"{name} {used:.2f}" for name, used in sorted(each.items()))
        say(f"{count:8,} {events / run.wall:12,.0f} {cpu:8.2f} {run.memory >> 20:6,}  {stages}")
        if run.verdict is not None and run.verdict.wrong:
            say(f"  {run.verdict}")
            wrong += 1
    return wrong


def by_load(folder: Path, rates: Sequence[int], say: Say) -> int:
    """Twenty symbols in real time, by events a second; the last line flat out."""
    most = max(max(rates) * int(PACED_S), 1)
    here = folder / "load"
    here.mkdir()
    wrong = 0
    say(f"20 symbols in real time\n{'wanted':>12} {'events/s':>12} {'us CPU':>8} {'cores':>6} {'MB':>6}")
    with closing(Server(here, most, 20)) as server:
        market = Market(1, most, 20, 2000)
        empty = ours(server, here / "empty", market, Load(0, is_real=True), check=False)
        for rate in (*rates, 0):
            events = int(rate * PACED_S) if rate else most
            run = ours(server, here / f"rate-{rate}", market, Load(events, rate, is_real=True))
            cpu = run.cpu - empty.cpu
            name = f"{rate:,}" if rate else "flat out"
            say(
                f"{name:>12} {events / run.wall:12,.0f} {cpu / events * 1e6:8.2f} {cpu / run.wall:6.2f} "
                f"{run.memory >> 20:6,}"
            )
            if run.verdict is not None and run.verdict.wrong:
                say(f"  {run.verdict}")
                wrong += 1
    return wrong


def idle(folder: Path, seconds: float, rate: float, gather_ms: int | None, say: Say) -> int:
    """Few symbols, few events: share of a core and memory of the resident mesh, and how soon a bar is on disk."""
    events = int(rate * (seconds + 60))
    more = "" if gather_ms is None else f", gather_ms: {gather_ms}"
    with closing(Server(folder, events, IDLE_SYMBOLS)) as server:
        market = Market(1, events, IDLE_SYMBOLS, 2000)
        with Product(server, folder / "idle", market, Load(events, rate, is_real=True), more=more) as product:
            began = time.monotonic()
            product.ready()
            product.go()
            product.wait("a bar on disk", lambda: any((product.lake / "parquet").rglob("*.parquet")), 180)
            first = time.monotonic() - began
            say(f"all stages run and are subscribed after {product.start:.1f} s; first bar on disk after {first:.1f} s")
            _shares(product, seconds, say)
    return 0


def _shares(product: Product, seconds: float, say: Say) -> None:
    """Samples of the processes, second by second."""
    root = psutil.Process(product.process.pid)
    found = {_name(process): process for process in [root, *root.children(recursive=True)]}
    before = {name: cpu_of(process) for name, process in found.items()}
    switches = {name: process.num_ctx_switches().voluntary for name, process in found.items()}
    began = time.monotonic()
    sizes: list[int] = []
    while time.monotonic() - began < seconds:
        time.sleep(2)
        sizes.append(sum(_size(process) for process in found.values()))
    passed = time.monotonic() - began
    total = 0.0
    for name, process in found.items():
        share = (cpu_of(process) - before[name]) / passed
        total += share
        wakes = (process.num_ctx_switches().voluntary - switches[name]) / passed
        say(f"  {name:12} {share * 100:5.2f} % of a core, {wakes:6.1f} wake-ups/s, {_size(process) / 2**20:5.0f} MB")
    say(f"  together     {total * 100:5.2f} % of a core, {statistics.median(sizes) / 2**20:.0f} MB; goal: 3 %, 400 MB")


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    return words[words.index("--stage") + 1] if "--stage" in words else "supervisor"


def _size(process: psutil.Process) -> int:
    """Proportional set size, so that what processes share counts once; resident size where that is not told."""
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))
