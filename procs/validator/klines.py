"""A day's bars against those that the venue itself makes, an hour at a time, within a tenth of its REST limit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from procs.validator import account
from procs.validator.day import Day
from shared import paths
from shared.barstore import Stored, by_second
from shared.enquiry import Enquiry, Silent
from shared.files import Disk
from shared.klines import Difference, compare
from shared.klinestore import live_klines
from shared.sealing import ENDED
from shared.venues import Kline, Reject

LISTED = 200
"""Differences that are kept with both rows; the others are counted."""
LATE = 10 * paths.SECOND
"""The venue's last bars may still change."""


def against_klines(disk: Disk, day: Day, enquiry: Enquiry) -> dict[str, Any]:
    """What the certificate says of it; where the venue does not answer, of what was compared until then.

    Bars that its stream brought cost nothing. REST is asked for the others, and once more where one of them differs.
    """
    step_s = enquiry.venue.kline_s
    found: list[Difference] = []
    said: dict[str, Any] = {"interval_s": step_s, "compared": 0, "different": 0, "from_stream": 0, "differ": []}
    start, end = _span(day, step_s * paths.SECOND)
    stored = Stored(disk, day.venue, day.symbol, day.date)
    heard = {kline.start: kline for kline in live_klines(disk, day.venue, day.symbol, day.date)}
    missing = day.missing()
    try:
        for hour_start in range(start // paths.HOUR * paths.HOUR, end, paths.HOUR):
            rows = by_second(stored.hour(paths.hour_of(hour_start))[0], ENDED)
            span = max(start, hour_start), min(end, hour_start + paths.HOUR)
            klines, count = _told(enquiry, day.symbol, *span, heard)
            compared, different = compare(rows, klines, step_s, *span, missing)
            if different and count:  # made before the last trades were in: what REST says of it by now is final
                klines, count = _told(enquiry, day.symbol, *span, {})
                compared, different = compare(rows, klines, step_s, *span, missing)
            said["compared"] += compared
            said["from_stream"] += count
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


def _told(enquiry: Enquiry, symbol: str, start: int, end: int, heard: Mapping[int, Kline]) -> tuple[list[Kline], int]:
    """The venue's bars of a span, those without trades among them; and how many of them were `heard`."""
    step = enquiry.venue.kline_s * paths.SECOND
    found: list[Kline] = []
    at = start
    while at < end:
        if at in heard:
            found.append(heard[at])
            at += step
            continue
        page = enquiry.venue.parse_klines(enquiry.get(enquiry.venue.ask_klines(symbol, at)))
        page = [kline for kline in page if at <= kline.start < end]
        found += page
        # Nothing before the symbol's first trade, or behind the newest there is.
        at = page[-1].start + step if page else min((one for one in heard if one > at), default=end)
    return found, sum(heard.get(kline.start) is kline for kline in found)
