"""A day's bars against those that the venue itself makes, an hour at a time, within a tenth of its REST limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from procs.validator import account
from procs.validator.day import Day
from shared import paths
from shared.barstore import Stored, by_second
from shared.enquiry import Enquiry, Silent
from shared.files import Disk
from shared.klines import Difference, compare
from shared.sealing import ENDED
from shared.venues import Kline, Reject

LISTED = 200
"""Differences that are kept with both rows; the others are counted."""
LATE = 10 * paths.SECOND
"""The venue's last bars may still change."""


def against_klines(disk: Disk, day: Day, enquiry: Enquiry) -> dict[str, Any]:
    """What the certificate says of it; where the venue does not answer, of what was compared until then."""
    step_s = enquiry.venue.kline_s
    found: list[Difference] = []
    said: dict[str, Any] = {"interval_s": step_s, "compared": 0, "different": 0, "differ": []}
    start, end = _span(day, step_s * paths.SECOND)
    stored = Stored(disk, day.venue, day.symbol, day.date)
    missing = day.missing()
    try:
        for hour_start, klines in _by_hour(enquiry, day.symbol, start, end):
            rows = by_second(stored.hour(paths.hour_of(hour_start))[0], ENDED)
            first, last = max(start, hour_start), min(end, hour_start + paths.HOUR)
            compared, different = compare(rows, klines, step_s, first, last, missing)
            said["compared"] += compared
            said["different"] += len(different)
            found += different[: LISTED - len(found)]
    except (Silent, Reject) as why:
        said["why_not"] = f"not compared further: {why}"
    said["differ"] = msgspec.to_builtins(found)
    said["asked"] = time.time_ns()
    return said


def _span(day: Day, step: int) -> tuple[int, int]:
    """The whole periods of the record: in its very first and last one trades may be missing."""
    first, last = account.span(day)
    start = -(-first // step) * step
    if not day.is_over:
        last = min(last, time.time_ns()) - LATE
    return start, max(start, last // step * step)


def _by_hour(enquiry: Enquiry, symbol: str, start: int, end: int) -> Iterator[tuple[int, list[Kline]]]:
    """The venue's bars hour by hour, those without trades among them."""
    step = enquiry.venue.kline_s * paths.SECOND
    waiting: list[Kline] = []
    at = start
    for hour in range(start // paths.HOUR * paths.HOUR, end, paths.HOUR):
        until = min(end, hour + paths.HOUR)
        while at < until:
            page = enquiry.venue.parse_klines(enquiry.get(enquiry.venue.ask_klines(symbol, at)))
            page = [kline for kline in page if kline.start >= at]
            if not page:  # before the symbol's first trade, or behind the newest there is
                break
            waiting += page
            at = page[-1].start + step
        yield hour, [kline for kline in waiting if kline.start < until]
        waiting = [kline for kline in waiting if kline.start >= until]
