"""What a certificate says in words: what is wrong with a day, and what is worth knowing of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from procs.validator import account
from procs.validator.day import Day
from procs.validator.hour import LISTED, Hour
from shared import quality

FAR_OFF_NS = quality.SECOND
"""A clock further off than this is worth a word."""


class Beside(msgspec.Struct):
    """What is said of a day beside its lines and bars."""

    now: int
    """Nanoseconds since the epoch."""
    manifest: dict[str, Any] = {}
    """The compactor's, of a closed day."""
    fetched: list[dict[str, Any]] = []
    """Where lines were fetched from afterwards; the venue's daily file among them has a checksum."""
    files: list[dict[str, Any]] = []
    klines: dict[str, Any] = {}
    status: str | None = None
    """The venue's last word of the day on the symbol, such as TRADING; None where it was not asked."""
    rejected: dict[str, dict[str, int]] = {}
    """Frames that could not be understood, ``of_symbol`` and ``of_no_symbol``, by reason."""


def wrong(day: Day, settled: list[Hour], ids: dict[str, Any], aggregates: dict[str, Any]) -> list[str]:
    hours = day.hours
    counts = {
        "trades missing": ids["missing_count"],
        "aggregate trades missing": aggregates["missing_count"],
        "trades held more than once": ids["repeated"] + aggregates["repeated"],
        "bars that differ from the archive": sum(hour.bars.differ for hour in settled),
        "bars that stand more than once": sum(hour.bars.repeated for hour in hours),
        "files of bars that cannot be read": sum(len(hour.bars.unreadable) for hour in hours),
        "broken lines": sum(hour.broken for hour in hours) + len(day.feed_problems),
        "hours whose lines are gone": len(day.lines_lost()),
        "lines in the wrong file": sum(hour.misplaced for hour in hours),
        "lines that make no sense": sum(hour.nonsense for hour in hours),
        "quotes with the bid above the ask": sum(hour.crossed for hour in hours),
    }
    return [f"{number} {what}" for what, number in counts.items() if number]


def notes(day: Day, seconds: dict[str, int], beside: Beside) -> list[str]:
    said = []
    if seconds["outside"]:
        first, last = account.span(day)
        ends = f" and ends at {_clock_time(last)}" if last < day.until else ""
        said.append(f"the record begins at {_clock_time(first)}{ends}")
    if pending := sum(hour.bars.differ for hour in day.hours if not (hour.is_sealed or day.is_settled)):
        said.append(f"{pending} seconds of the open hour are still on their way")
    if not day.has_bars:
        said.append("no bars are made of this symbol")
    if day.needs_daily:
        said.append("the venue skips ids of its own: only its daily file can prove more")
    if locked := sum(hour.locked for hour in day.hours):
        said.append(f"{locked} quotes with the bid equal to the ask")
    if removed := beside.manifest.get("removed"):
        hours = ", ".join(f"{hour:02d}" for hour in removed["hours"])
        said.append(f"the lines of hour {hours} were removed by the user: their ticks stand for them")
    if rejected := sum(beside.rejected.get("of_symbol", {}).values()):
        said.append(f"{rejected} frames of this symbol could not be understood")
    offsets = quality.clock_offsets(day.feed)
    if offsets and abs(offsets[len(offsets) // 2]) > FAR_OFF_NS:
        said.append(f"this machine's clock is {-offsets[len(offsets) // 2] / 1e9:+.1f} s off the venue's")
    changes = account.statuses(day)
    if not changes and beside.status not in (None, "", "TRADING"):
        said.append(f"the venue says {beside.status}")
    for change in changes[:LISTED]:
        said.append(f"the venue says {change['status']} since {_clock_time(change['ts'])}")
    if different := beside.klines.get("different"):
        said.append(f"{different} of the venue's own bars differ from ours")
    return said


def _clock_time(ts: int) -> str:
    return datetime.fromtimestamp(ts // quality.SECOND, UTC).strftime("%H:%M:%S")
