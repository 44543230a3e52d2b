"""What a judged day's hours and feed say together: what is missing and why, what was fetched, when quotes stood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from procs.validator.day import Day
from procs.validator.hour import Hour, Interval
from shared import paths, quality
from shared.bars import ENDS_QUOTES
from shared.events import Feed
from shared.ids import Ids

LISTED = 1000
"""Ranges that are named; the others are counted."""
LETTERS = {**{name: name[0] for name in quality.VERDICTS}, "wrong": "w", "": "."}
"""A day's hours in 24 letters; a dot is an hour outside the record."""
MS = 1_000_000


# --- ids ---


def healed(day: Day) -> dict[str, Ids]:
    """Trade ids that were fetched, by source; those that only aggregates cover under ``aggregates``."""
    raw = _by_source(day, "fetched")
    covered = Ids.from_intervals(span for hour in day.hours for span in hour.by_aggregates)
    if covered and any(hour.trades for hour in day.hours):
        held, _ = quality.union(hour.trade_ids for hour in day.hours)
        only = Ids.from_intervals(left for span in covered.intervals for left in held.missing(*span))
        return {**raw, "aggregates": only} if only else raw
    return raw


def aggregates_healed(day: Day) -> dict[str, Ids]:
    """Aggregate ids that were fetched, by source."""
    return _by_source(day, "agg_fetched")


def _by_source(day: Day, field: str) -> dict[str, Ids]:
    found: dict[str, Ids] = {}
    for hour in day.hours:
        for source, spans in getattr(hour, field).items():
            ids = found.setdefault(source, Ids())
            for first, last in spans:
                ids.add_range(first, last)
    return dict(sorted(found.items()))


def ranges(ids: Iterable[Sequence[int]]) -> list[Sequence[int]]:
    return list(ids)[:LISTED]


def unhealable(day: Day, missing: Sequence[Interval], stream: str, in_no_file: bool) -> list[dict[str, Any]]:
    """Of what is missing, what nobody has any more, with the reason as it was given last."""
    left = Ids.from_intervals(missing)
    found: list[dict[str, Any]] = []
    for event in reversed(day.given_up):
        if event.symbols and day.symbol not in event.symbols:
            continue
        first, last = event.detail.get("first_id"), event.detail.get("last_id")
        if not (isinstance(first, int) and isinstance(last, int)) or event.detail.get("stream", "trade") != stream:
            continue
        gone = [span for hole in left.intervals for span in _common((hole[0], hole[1]), (first, last))]
        reason = str(event.detail.get("reason", ""))
        found += [{"first": one[0], "last": one[1], "reason": reason} for one in gone]
        left = _without(left, gone)
    if in_no_file:
        reason = "not in the venue's daily file"
        found += [{"first": first, "last": last, "reason": reason} for first, last in left.intervals]
    return sorted(found, key=lambda one: int(one["first"]))


def _common(a: Interval, b: Interval) -> list[Interval]:
    first, last = max(a[0], b[0]), min(a[1], b[1])
    return [(first, last)] if first <= last else []


def _without(ids: Ids, gone: Sequence[Interval]) -> Ids:
    lost = Ids.from_intervals(gone)
    return Ids.from_intervals(span for first, last in ids.intervals for span in lost.missing(first, last))


# --- hours ---


def hours(day: Day, missing: Sequence[Interval], tail: int) -> list[dict[str, Any]]:
    """A line for each hour of the record, as far as it is judged."""
    held = {hour.hour: hour for hour in day.hours}
    lost = _missing_by_hour(day, missing)
    first, last = span(day)
    dark = (day.until - tail * quality.SECOND) // paths.HOUR if tail and day.is_over else None
    found = []
    for number in range(24):
        start = day.start + number * paths.HOUR
        if start + paths.HOUR <= first or start >= last:
            continue
        hour = held.get(number, Hour(number))
        unknown = int((dark is not None and start // paths.HOUR >= dark) or not day.has_ids)
        fetched = sum(quality.count(spans) for part in (hour.fetched, hour.agg_fetched) for spans in part.values())
        outside = int(day.is_over and (start < first or start + paths.HOUR > last))
        count = lost.get(number, 0)
        word = quality.verdict(count, outside, unknown, fetched, bool(hour.wrong), day.needs_daily)
        found.append(
            {
                "hour": number,
                "verdict": word,
                "is_sealed": hour.is_sealed,
                "trades": hour.trades,
                "agg_trades": hour.agg_trades,
                "quotes": hour.quotes,
                "missing": count,
                "fetched": fetched,
                "bars": hour.bars.rows,
                "bars_differ": hour.bars.differ,
                "wrong": hour.wrong,
                "bars_hash": hour.made_hash or None,
            }
        )
    return found


def letters(lines: Iterable[dict[str, Any]]) -> str:
    """The hours in one word, such as ``......cccchpcccccccccccc``; an upper case letter has something wrong."""
    word = ["."] * 24
    for line in lines:
        letter = LETTERS.get(str(line["verdict"]), "u")
        word[int(line["hour"])] = letter.upper() if line["wrong"] else letter
    return "".join(word)


def span(day: Day) -> Interval:
    """From when to when the record goes, within the day."""
    spans = [hour.span for hour in day.hours if hour.span is not None]
    begins = spans and day.before is None and not day.follows
    ends = spans and day.after is None and day.has_ended
    return spans[0][0] if begins else day.start, spans[-1][1] + 1 if ends else day.until


def _missing_by_hour(day: Day, missing: Sequence[Interval]) -> dict[int, int]:
    """In which hours the missing trades can have been: from that of the trade before to that of the one behind."""
    hulls = []
    for hour in day.hours:
        ids = hour.trade_ids or hour.agg_ids
        if ids:
            hulls.append((hour.hour, ids[0][0], ids[-1][1]))
    found: dict[int, int] = {}
    for first, last in missing:
        begin = max((hour for hour, low, _ in hulls if low < first), default=0)
        end = min((hour for hour, _, high in hulls if high > last), default=23)
        for number in range(min(begin, end), max(begin, end) + 1):
            found[number] = found.get(number, 0) + last - first + 1
    return found


# --- the feed ---


def quotes_live(day: Day) -> dict[str, Any]:
    """For how much of the record a quote stood."""
    first, last = span(day)
    live = Ids()
    held = {hour.hour: hour for hour in day.hours}
    cuts = sorted(event.ts for event in day.feed if event.kind in ENDS_QUOTES)
    stands = False
    for number in range(24):
        start = day.start + number * paths.HOUR
        end = start + paths.HOUR
        hour = held.get(number, Hour(number))
        stands = stands if hour.stood is None else hour.stood
        within = [cut for cut in cuts if start <= cut < end]
        if stands:
            _add(live, start, min([*within, end]))
        for begin, until in hour.quoted:
            _add(live, begin, until)
        stands = live.holds(end // MS - 1)
    lit = sum(end - begin for begin, end in _clipped(live, first, last))
    whole = max(last - first, 0) // MS
    return {"seconds": round(lit / 1000, 3), "share": round(min(1.0, lit / whole), 6) if whole else None}


def _add(live: Ids, begin: int, end: int) -> None:
    live.add_range(begin // MS, end // MS - 1)


def _clipped(live: Ids, first: int, last: int) -> list[Interval]:
    spans = ((max(low, first // MS), min(high + 1, last // MS)) for low, high in live.intervals)
    return [(low, high) for low, high in spans if low < high]


def outages(day: Day) -> list[dict[str, Any]]:
    """When nothing came of this symbol's quotes, and why: from the cut to the next time they flow."""
    found: list[dict[str, Any]] = []
    open_ones: list[dict[str, Any]] = []
    for event in sorted(day.feed, key=lambda event: event.ts):
        if event.kind in ENDS_QUOTES:
            outage = {"kind": event.kind, "from_ts": event.ts, "to_ts": None, "reason": _reason(event)}
            found.append(outage)
            open_ones.append(outage)
        elif event.kind == "connected":
            for outage in open_ones:
                outage["to_ts"] = event.ts
            open_ones = []
    return found


def _reason(event: Feed) -> str | None:
    if event.kind == "suspended":
        return f"this machine slept for {int(event.detail.get('asleep_ms', 0)) / 1000:.0f} s"
    reason = event.detail.get("reason")
    return None if reason is None else str(reason)


def statuses(day: Day) -> list[dict[str, Any]]:
    """What the venue said of the symbol's trading, where it changed."""
    return [
        {"ts": event.ts, "status": str(event.detail.get("status")), "was": event.detail.get("was")}
        for event in day.feed
        if event.kind == "symbol_status"
    ]
