"""Our bars against the venue's own (klines): what differs, with both rows and the likely reason. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from shared.paths import SECOND
from shared.venues import Kline

PRICES = ("open", "high", "low", "close")
VOLUMES = ("volume_base", "volume_quote", "buy_volume_base", "buy_volume_quote")
COLUMNS = (*PRICES, *VOLUMES, "trade_count")
Row = Mapping[str, Any]
Ranges = Sequence[Sequence[int]]
"""First and last id of each."""

_ZERO = Decimal(0)
_LAST_DIGIT = {"volume_quote": Decimal("1e-8"), "buy_volume_quote": Decimal("1e-8")}
"""Venues cut products of price and quantity off after eight digits."""
_FLOAT = Decimal("4e-16")
"""Of a value: what a float64 may be off by."""


class Difference(msgspec.Struct):
    """A period in which the two do not agree."""

    ts: int
    """Its start, in nanoseconds."""
    columns: list[str]
    ours: dict[str, Any]
    venue: dict[str, Any]
    """None for each value where the venue has no such bar."""
    reason: str = ""


def compare(
    rows: Mapping[int, Row],
    klines: Iterable[Kline],
    step_s: int,
    start: int,
    end: int,
    missing: Ranges,
) -> tuple[int, list[Difference]]:
    """How many periods from `start` to before `end` were compared, and those that differ.

    Arguments: our seconds by their start (nanoseconds), the venue's bars, seconds of one of them, ids that are missing.
    """
    step = step_s * SECOND
    theirs = {kline.start: kline for kline in klines if start <= kline.start < end}
    ours: dict[int, list[Row]] = {}
    for second in sorted(rows):
        if start <= second < end and rows[second]["trade_count"]:
            ours.setdefault(second // step * step, []).append(rows[second])
    found: list[Difference] = []
    periods = sorted(theirs.keys() | ours.keys())
    for period in periods:
        mine, venue = _ours(ours.get(period, [])), _theirs(theirs.get(period))
        columns = [name for name in COLUMNS if not _same(name, mine[name], venue[name])]
        if columns:
            found.append(Difference(period, columns, _plain(mine), venue))
    _explain(found, rows, step, missing)
    return len(periods), found


def _ours(seconds: Sequence[Row]) -> dict[str, Any]:
    """Seconds with trades, in order, as one row; sums of floats through the digits that they stand for."""
    sums = {name: sum((Decimal(repr(row[name])) for row in seconds), _ZERO) for name in VOLUMES}
    count = sum(int(row["trade_count"]) for row in seconds)
    if not seconds:
        return {**dict.fromkeys(PRICES), **sums, "trade_count": 0}
    prices = {
        "open": seconds[0]["open"],
        "high": max(row["high"] for row in seconds),
        "low": min(row["low"] for row in seconds),
        "close": seconds[-1]["close"],
    }
    return {**prices, **sums, "trade_count": count}


def _theirs(kline: Kline | None) -> dict[str, Any]:
    """A bar without trades repeats the price before it: that is no price of ours."""
    if kline is None:
        return dict.fromkeys(COLUMNS)
    row = {name: getattr(kline, name) for name in COLUMNS}
    return row if kline.trade_count else {**row, **dict.fromkeys(PRICES)}


def _same(name: str, mine: Any, venue: Any) -> bool:
    if mine is None or venue is None:
        return mine is None and venue is None
    if name == "trade_count":
        return bool(mine == venue)
    if name in PRICES:
        return float(mine) == float(venue)
    told = Decimal(venue)
    return bool(abs(mine - told) <= max(_LAST_DIGIT.get(name, _ZERO), abs(told) * _FLOAT))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in row.items()}


# --- why ---


def _explain(found: Sequence[Difference], rows: Mapping[int, Row], step: int, missing: Ranges) -> None:
    at = {one.ts: one for one in found}
    holes = list(_when(rows, missing))
    for one in found:
        ids = [f"{first} to {last}" for first, last, since, until in holes if since < one.ts + step and until >= one.ts]
        one.reason = f"trades are missing here: ids {', '.join(ids[:3])}" if ids else _reason(one, at, step)


def _when(rows: Mapping[int, Row], missing: Ranges) -> Iterable[tuple[int, int, int, int]]:
    """Each missing range with the seconds of the trades around it."""
    traded = sorted(
        (row["first_trade_id"], second) for second, row in rows.items() if row["first_trade_id"] is not None
    )
    firsts = [first for first, _ in traded]
    for first, last in missing:
        before, behind = bisect_left(firsts, first) - 1, bisect_right(firsts, last)
        since = traded[before][1] if before >= 0 else 0
        until = traded[behind][1] if behind < len(traded) else 1 << 62
        yield first, last, since, until


def _reason(one: Difference, at: Mapping[int, Difference], step: int) -> str:
    if one.venue["trade_count"] is None:
        return "the venue has no bar here"
    more = _surplus(one)
    if more:
        for beside in (at.get(one.ts - step), at.get(one.ts + step)):
            if beside is not None and beside.venue["trade_count"] is not None and _surplus(beside) == -more:
                return "a trade at the edge of two bars, which the venue counts to the other one"
        if more > 0:
            return "the venue's bar lacks trades that it sent: made before all of them were in"
        return "the venue's bar counts trades whose ids were never seen"
    if set(one.columns) <= {"volume_quote", "buy_volume_quote"}:
        return "the same trades, summed up with fewer digits"
    return "the same number of trades with other values: either our archive or the venue's bar is wrong"


def _surplus(one: Difference) -> int:
    return int(one.ours["trade_count"]) - int(one.venue["trade_count"])
