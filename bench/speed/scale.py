"""What an event costs by the number of symbols and by the load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.speed.market import Market
from bench.speed.server import Server
from bench.speed.yardstick import Load, ours

Say = Callable[[str], None]
PACED_S: Final = 10.0
WIDTH: Final = 60
"""Characters of the longest bar of a plot."""


def plot(costs: Sequence[tuple[str, float]], say: Say) -> None:
    """Microseconds of CPU an event, a bar each."""
    most = max((cost for _, cost in costs), default=0.0)
    for name, cost in costs:
        bar = "#" * max(1, round(WIDTH * cost / most)) if cost > 0 else ""
        say(f"{name:>12} |{bar} {cost:.2f}")


def by_symbols(folder: Path, counts: Sequence[int], events: int, say: Say) -> int:
    """Flat out, by the number of symbols; market time so that a second of a symbol holds a hundred events."""
    say(f"{events:,} events flat out, 100 a bar\n{'symbols':>8} {'events/s':>12} {'us CPU':>8} {'MB':>6}  by stage")
    wrong = 0
    costs: list[tuple[str, float]] = []
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
        costs.append((f"{count:,}", cpu))
        if run.verdict is not None and run.verdict.wrong:
            say(f"  {run.verdict}")
            wrong += 1
    plot(costs, say)
    return wrong


def by_load(folder: Path, rates: Sequence[int], say: Say) -> int:
    """Twenty symbols in real time, by events a second; the last line flat out."""
    most = max(max(rates) * int(PACED_S), 1)
    here = folder / "load"
    here.mkdir()
    wrong = 0
    costs: list[tuple[str, float]] = []
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
            costs.append((name, cpu / events * 1e6))
            if run.verdict is not None and run.verdict.wrong:
                say(f"  {run.verdict}")
                wrong += 1
    plot(costs, say)
    return wrong
