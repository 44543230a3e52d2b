"""The judgement as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.plain import plain

COLUMNS = (
    "venue", "symbol", "date", "trades", "missing", "quotes", "bars", "differ", "with trades", "empty", "unknown",
    "p50 ms", "p95", "p99", "verdict",
)  # fmt: skip
MOST_PROBLEMS = 10


def show(found: Sequence[dict[str, Any]], date: str | None) -> None:
    """A row for each symbol and day, and below it what is wrong."""
    # A terminal tells its width; a pipe gets whole lines.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    if not found:
        console.print(f"Nothing is held of {date}." if date else "Nothing is held yet.")
        return
    table = Table(caption="seconds: with trades, proven empty, unknown · latency: the venue's matching to our receipt")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("venue", "symbol", "date", "verdict") else "right")
    for said in found:
        table.add_row(*(escape(plain(cell)) for cell in _row(said)), style="bold red" if said["wrong"] else "")
    console.print(table)
    for said in found:
        for line in _remarks(said):
            console.print(plain(f"{said['symbol']} {said['date']}: {line}"), markup=False, highlight=False)


def _row(said: dict[str, Any]) -> list[str]:
    seconds, latency = said["seconds"], said["latency_ms"]
    numbers = [
        said["trades"],
        said["trades_missing"],
        said["quotes"],
        said["bars"],
        said["bars_differ"],
        seconds["with_trades"],
        seconds["proven_empty"],
        seconds["unknown"],
    ]
    delays = ["-" if latency[name] is None else f"{latency[name]:.1f}" for name in ("p50", "p95", "p99")]
    verdict = said["verdict"] if said["is_over"] else f"{said['so_far']} so far"
    return [said["venue"], said["symbol"], said["date"], *(f"{number:,}" for number in numbers), *delays, verdict]


def _remarks(said: dict[str, Any]) -> list[str]:
    lines = [*said["wrong"], *said["notes"]]
    klines = said["klines"]
    if klines.get("compared"):
        lines.append(f"{klines['compared']:,} of the venue's own bars compared, {klines['different']:,} differ")
    if "why_not" in klines:
        lines.append(f"the venue's own bars: {klines['why_not']}")
    for one in klines.get("differ", ())[:MOST_PROBLEMS]:
        lines.append(f"  {_clock(one['ts'])} {', '.join(one['columns'])}: {one['reason']}")
    for problem in said["problems"][:MOST_PROBLEMS]:
        where, line, why = (problem[key] if isinstance(problem, dict) else getattr(problem, key) for key in _PROBLEM)
        lines.append(f"{where}{f':{line}' if line else ''}: {why}")
    lines += [f"{path}: cannot be read" for path in said["bars_checked"]["unreadable"]]
    return lines


def _clock(ts: int) -> str:
    return datetime.fromtimestamp(ts // 1_000_000_000, UTC).strftime("%H:%M:%S")


_PROBLEM = ("path", "line", "reason")
