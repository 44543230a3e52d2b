"""Is it all there, once, and right? The checks, as pure functions over what was read; the validator reports them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from shared.events import AggTrade, Feed, Quote, Trade
from shared.ids import Ids

SECOND = 1_000_000_000
DAY_SECONDS = 86_400

Range = tuple[int, int]
"""First and last, both included."""


# --- the verdict ---

VERDICTS = ("complete", "healed", "partial", "unproven")
"""Of a day or an hour: every trade held, as it was received; every trade held, some of them fetched again; trades known
to be missing, or not recorded throughout; not known."""


def verdict(missing: int, outside: int, unknown: int, fetched: int, is_wrong: bool, needs_daily: bool = False) -> str:
    """One of VERDICTS.

    Arguments: ids missing, seconds outside the record, seconds of which nothing is known, ids that were fetched,
    whether a check failed, and whether only the venue's daily file could prove more than `healed` (futures).
    """
    if missing or outside:
        return "partial"
    if unknown or is_wrong:
        return "unproven"
    return "healed" if fetched or needs_daily else "complete"


def of_open_day(so_far: str) -> str:
    """The verdict while a day is not over: that something is missing may be known, that nothing is cannot be."""
    return so_far if so_far == "partial" else "unproven"


# --- ids ---


def held(ids: Iterable[int]) -> tuple[Ids, int]:
    """The ids as a set, and how many of them came more than once."""
    found = Ids()
    repeated = sum(1 for one in ids if not found.add(one))
    return found, repeated


def union(parts: Iterable[Iterable[Sequence[int]]]) -> tuple[Ids, int]:
    """Several lists of intervals as one set, and how many ids stood in more than one of them."""
    found = Ids()
    repeated = 0
    for part in parts:
        for first, last in part:
            repeated += last - first + 1 - found.add_range(first, last)
    return found, repeated


def lost(held: Ids, explained: Ids) -> list[Range]:
    """Ids that exist and are not held: the holes between lowest and highest, less those `explained` otherwise."""
    return [left for hole in held.missing() for left in explained.missing(*hole)]


def count(ranges: Iterable[Sequence[int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


# --- seconds ---


class Seconds(msgspec.Struct):
    """What is known of the seconds of a stretch of time, from trade ids alone."""

    held: int = 0
    """Seconds with a trade."""
    empty: int = 0
    """Proven empty: the nearest earlier and later trades held have consecutive ids."""
    unknown: int = 0
    """No trade held, and one may be missing."""
    first: Range | None = None
    """Lowest trade id and its second."""
    last: Range | None = None
    """Highest trade id and its second."""


def seconds(trades: Iterable[Trade]) -> Seconds:
    """Judges the seconds between the first and the last of these trades."""
    ordered = sorted((t.trade_id, t.ts // SECOND) for t in trades)
    if not ordered:
        return Seconds()
    found = Seconds(first=ordered[0], last=ordered[-1])
    held = {second for _, second in ordered}
    unknown: set[int] = set()
    for (id_before, before), (id_after, after) in pairwise(ordered):
        if after - before > 1 and id_after > id_before + 1:
            unknown.update(range(before + 1, after))
    unknown -= held
    found.held = len(held)
    found.unknown = len(unknown)
    found.empty = max(held) - min(held) + 1 - len(held) - len(unknown)
    return found


def join(parts: Iterable[Seconds], start: int, end: int, before: Range | None, after: Range | None) -> Seconds:
    """The seconds from `start` to before `end`, out of the parts of them that have trades, in order of time.

    `before` and `after` are the nearest trades held outside, if any: what lies between two trades is judged by both.
    """
    found = Seconds()
    last = before
    for part in parts:
        if part.first is None or part.last is None:
            continue
        _between(found, last, part.first, start, end)
        found.held += part.held
        found.empty += part.empty
        found.unknown += part.unknown
        found.first = found.first or part.first
        last = found.last = part.last
    _between(found, last, after, start, end)
    return found


def _between(found: Seconds, before: Range | None, after: Range | None, start: int, end: int) -> None:
    """Counts the seconds between two trades, as far as they lie in the stretch."""
    first = start if before is None else max(start, before[1] + 1)
    last = end if after is None else min(end, after[1])
    if before is not None and after is not None and after[0] == before[0] + 1:
        found.empty += max(0, last - first)
    else:
        found.unknown += max(0, last - first)


# --- quotes and times ---


def crossed(quotes: Iterable[Quote]) -> tuple[int, int]:
    """How many quotes have a bid above the ask, and how many a bid equal to it."""
    above = equal = 0
    for q in quotes:
        if q.bid == q.ask:
            equal += 1
            continue
        bid, ask = float(q.bid), float(q.ask)
        if bid > ask:
            above += 1
        elif bid == ask:  # equal but written differently, or a difference beyond float64
            equal += 1
    return above, equal


def quoted(times: Iterable[int], cuts: Iterable[int], end: int) -> list[Range]:
    """When quotes stood, up to `end`: from the first quote on, and after each cut from the next one on."""
    ordered = sorted(times)
    found: list[Range] = []
    for begin, until in pairwise([-1, *sorted(cuts), end]):
        at = bisect_left(ordered, begin)
        if at < len(ordered) and ordered[at] < until:
            found.append((ordered[at], until))
    return found


LONGEST_DELAY = DAY_SECONDS * SECOND
"""A recording that is played again is received years later: that is no delay."""


def latencies(events: Iterable[Trade | AggTrade | Quote]) -> list[int]:
    """Nanoseconds from the venue's matching to our receipt, of live events: what was fetched later says nothing."""
    found = (
        e.ts_recv - e.ts_event for e in events if e.ts_event is not None and (isinstance(e, Quote) or e.source == "ws")
    )
    return [delay for delay in found if abs(delay) < LONGEST_DELAY]


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """The nearest-rank percentile of ascending values."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


LATENCY_STEPS = 200
"""Buckets to a factor of ten: a percentile read from the histogram is off by at most 0.6 %."""


def histogram(values: Iterable[int]) -> dict[int, int]:
    """Counts by size on a logarithmic scale, so that hours can be added up to a day without keeping their values."""
    found: dict[int, int] = {}
    for value in values:
        size = round(math.log10(abs(value)) * LATENCY_STEPS) + 1 if value else 0
        bucket = size if value > 0 else -size
        found[bucket] = found.get(bucket, 0) + 1
    return found


def from_histogram(counts: Mapping[int, int], share: float) -> int | None:
    """The percentile of what a histogram counted."""
    total = sum(counts.values())
    rank = max(1, math.ceil(share * total))
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0:
            size = 10 ** ((abs(bucket) - 1) / LATENCY_STEPS) if bucket else 0
            return round(size) if bucket >= 0 else -round(size)
    return None


def clock_offsets(feed: Iterable[Feed]) -> list[int]:
    """The measured differences, venue's clock minus ours, in nanoseconds."""
    found = (event.detail.get("offset_ns") for event in feed if event.kind == "clock")
    return sorted(int(offset) for offset in found if isinstance(offset, (int, float)))


# --- lines ---


def misplaced(events: Iterable[Trade | AggTrade | Quote], symbol: str, start: int, end: int) -> int:
    """How many events stand in a file where they do not belong: of another symbol, or another time."""
    return sum(1 for e in events if e.symbol != symbol or not start <= e.ts < end)


def nonsense(events: Iterable[Trade | AggTrade | Quote]) -> int:
    """How many events say what cannot be: no price, a negative id, an end before its beginning."""
    return sum(1 for e in events if _is_nonsense(e))


def _is_nonsense(e: Trade | AggTrade | Quote) -> bool:
    if isinstance(e, Quote):  # a side of the book may be empty, then its price and size are 0
        return e.update_id < 0
    if isinstance(e, AggTrade) and (e.agg_id < 0 or not 0 <= e.first_trade_id <= e.last_trade_id):
        return True
    if isinstance(e, Trade) and (e.trade_id < 0 or e.trade_type not in (None, "MARKET")):
        return e.trade_id < 0  # insurance fund and the like have prices of their own
    return float(e.price) <= 0 or float(e.qty) <= 0


# --- bars ---

UNCOMPARED = ("revision",)
"""Columns outside every equality: how often a row was rewritten says nothing of what is in it."""


def differences(
    stored: Mapping[int, Mapping[str, Any]], expected: Mapping[int, Mapping[str, Any]]
) -> list[tuple[int, list[str]]]:
    """The seconds whose rows are not the same, with the columns that differ, or ``absent``, or ``unexpected``."""
    found: list[tuple[int, list[str]]] = []
    for second in sorted(stored.keys() | expected.keys()):
        have, want = stored.get(second), expected.get(second)
        if have is None or want is None:
            found.append((second, ["absent" if have is None else "unexpected"]))
            continue
        columns = [name for name in want if name not in UNCOMPARED and not _same(have.get(name), want[name])]
        if columns:
            found.append((second, columns))
    return found


def _same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
