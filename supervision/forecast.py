"""What a pipeline will cost on disk, as far as that can be known before it runs."""

from __future__ import annotations

from typing import Any

from shared.schedule import file_interval_s
from shared.topology import Pipeline
from supervision.table import size

QUIET, BUSY = (1, 5), (20, 80)
"""Trades and quotes a second of a symbol: a middling one, and one of the five most traded."""
LINE_BYTES = 240
"""Of one event in the archive, as JSON."""
PACKED = 0.12
"""What zstandard leaves of it."""
TICK_BYTES = 9
BAR_BYTES = 30
DAY_S = 86400
OPEN_HOURS = 2
"""Hours whose minutes are not folded yet."""
KEPT_FILES = 24 + 1 + 2 + 2
"""Of a symbol and day in the end: raw hours, the day's bars, two of ticks, checksums and certificate."""


def forecast(pipeline: Pipeline) -> dict[str, Any]:
    """Symbols, files and bytes a day."""
    symbols = sum(_count(node.options.get("symbols")) for node in pipeline.section("sources"))
    usual = file_interval_s(symbols)
    rotate = _least(pipeline, "archiver", "rotate_every_s", usual)
    flush = _least(pipeline, "parquet_sink", "flush_every_s", usual)
    open_files = symbols * OPEN_HOURS * (3600 // rotate + 3600 // flush)
    low, high = (_bytes(symbols, trades, quotes) for trades, quotes in (QUIET, BUSY))
    return {
        "symbols": symbols,
        "files_a_day": symbols * KEPT_FILES,
        "files_open_hours": open_files,
        "bytes_a_day": [low, high],
    }


def text(expected: dict[str, Any]) -> str:
    low, high = expected["bytes_a_day"]
    return (
        f"expect   {expected['files_a_day']:,} files a day for {expected['symbols']} symbols, and up to "
        f"{expected['files_open_hours']:,} small ones of the open hours\n"
        f"         {size(low)} a day if the symbols are middling, {size(high)} if each is as busy as the largest"
    )


def _bytes(symbols: int, trades: int, quotes: int) -> int:
    events = (trades + quotes) * DAY_S
    bars = min(DAY_S, events) * BAR_BYTES
    return int(symbols * (events * LINE_BYTES * PACKED + events * TICK_BYTES + bars))


def _count(symbols: Any) -> int:
    return len(symbols) if isinstance(symbols, list) else 0


def _least(pipeline: Pipeline, run: str, key: str, otherwise: int) -> int:
    found = [node.options.get(key, otherwise) for node in pipeline.section("sinks") if node.run == run]
    whole = [value for value in found if isinstance(value, int) and value > 0]
    return min(whole, default=otherwise)
