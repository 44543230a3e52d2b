"""What a day's judgement says: first in one word, then in numbers, then in full."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from procs.validator.day import Day, write
from procs.validator.hour import LISTED, Hour
from shared import paths, quality
from shared.files import Disk
from shared.tables import SCHEMA_VERSION

VERSION = 1
MOST_RANGES = 1000
"""Missing ranges that are listed; the others are counted."""
FAR_OFF_NS = quality.SECOND
"""A clock further off than this is worth a word."""


def certify(day: Day, manifest: dict[str, Any]) -> dict[str, Any]:
    """The certificate of a judged day, all but its issue."""
    ids, aggregates = _ids(day), _aggregates(day)
    settled = [hour for hour in day.hours if hour.is_sealed or day.is_settled]
    trades = sum(hour.trades for hour in day.hours)
    wrong = _wrong(day, settled, ids, aggregates)
    if manifest and manifest.get("trades", {}).get("rows") != trades:
        wrong.append(f"the tick file has {manifest.get('trades', {}).get('rows')} trades, the archive {trades}")
    bars = _bars(day, settled)
    return {
        "certificate": VERSION,
        "schema": SCHEMA_VERSION,
        "venue": day.venue,
        "symbol": day.symbol,
        "date": day.date,
        "verdict": "wrong" if wrong else "right",
        "is_over": day.is_over,
        "is_provisional": True,  # until the venue's own daily file was compared
        "trades": trades,
        "trades_missing": ids.pop("missing_count"),
        "quotes": sum(hour.quotes for hour in day.hours),
        "bars": sum(hour.bars.rows for hour in day.hours),
        "bars_differ": bars.pop("differ_count"),
        "wrong": wrong,
        "notes": _notes(day),
        "ids": ids,
        "agg_trades": aggregates,
        "quotes_checked": {
            "crossed": sum(hour.crossed for hour in day.hours),
            "locked": sum(hour.locked for hour in day.hours),
        },
        "seconds": _seconds(day),
        "bars_checked": bars,
        "latency_ms": _latency(day),
        "clock_offset_ms": _clock(day),
        "feed": _added({event.kind: 1} for event in day.feed),
        "broken_lines": sum(hour.broken for hour in day.hours) + len(day.feed_problems),
        "problems": [*(problem for hour in day.hours for problem in hour.problems), *day.feed_problems[:LISTED]],
        "hours": [hour.hour for hour in day.hours],
        "hours_sealed": [hour.hour for hour in day.hours if hour.is_sealed],
        "judged_by": day.fingerprint(),
        "manifest": manifest or None,
    }


def _ids(day: Day) -> dict[str, Any]:
    """What is held of the trades, by their ids."""
    held, repeated, explained = day.trades()
    missing = quality.lost(held, explained)
    count = quality.count(missing)
    return {
        "first": held.lowest,
        "last": held.highest,
        "missing_count": count,
        "missing": missing[:MOST_RANGES],
        "unhealable": count - quality.count(left for hole in missing for left in day.unhealable().missing(*hole)),
        "explained": quality.count(held.missing()) - count,
        "repeated": repeated,
        "sources": _added(hour.sources for hour in day.hours),
    }


def _aggregates(day: Day) -> dict[str, Any]:
    held, repeated = day.aggregates()
    missing = held.missing()
    return {
        "rows": sum(hour.agg_trades for hour in day.hours),
        "first": held.lowest,
        "last": held.highest,
        "missing_count": quality.count(missing),
        "missing": missing[:MOST_RANGES],
        "repeated": repeated,
    }


def _bars(day: Day, settled: list[Hour]) -> dict[str, Any]:
    differ = sum(hour.bars.differ for hour in settled)
    return {
        "compared": sum(hour.bars.compared for hour in day.hours),
        "repeated": sum(hour.bars.repeated for hour in day.hours),
        "differ_count": differ,
        "differ": [[second, columns] for hour in settled for second, columns in hour.bars.seconds],
        "pending": sum(hour.bars.differ for hour in day.hours) - differ,
        "unreadable": sorted({path for hour in day.hours for path in hour.bars.unreadable}),
    }


def _wrong(day: Day, settled: list[Hour], ids: dict[str, Any], aggregates: dict[str, Any]) -> list[str]:
    hours = day.hours
    counts = {
        "trades missing": ids["missing_count"],
        "aggregate trades missing": aggregates["missing_count"],
        "trades held more than once": ids["repeated"] + aggregates["repeated"],
        "bars that differ from the archive": sum(hour.bars.differ for hour in settled),
        "bars that stand more than once": sum(hour.bars.repeated for hour in hours),
        "files of bars that cannot be read": sum(len(hour.bars.unreadable) for hour in hours),
        "broken lines": sum(hour.broken for hour in hours) + len(day.feed_problems),
        "lines in the wrong file": sum(hour.misplaced for hour in hours),
        "lines that make no sense": sum(hour.nonsense for hour in hours),
        "quotes with the bid above the ask": sum(hour.crossed for hour in hours),
    }
    return [f"{number} {what}" for what, number in counts.items() if number]


def _notes(day: Day) -> list[str]:
    said = []
    pending = sum(hour.bars.differ for hour in day.hours if not (hour.is_sealed or day.is_settled))
    if pending:
        said.append(f"{pending} seconds of the open hour are still on their way")
    if not day.has_bars:
        said.append("no bars are made of this symbol")
    if locked := sum(hour.locked for hour in day.hours):
        said.append(f"{locked} quotes with the bid equal to the ask")
    offsets = quality.clock_offsets(day.feed)
    if offsets and abs(offsets[len(offsets) // 2]) > FAR_OFF_NS:
        said.append(f"this machine's clock is {-offsets[len(offsets) // 2] / 1e9:+.1f} s off the venue's")
    return said


def _seconds(day: Day) -> dict[str, int]:
    found, outside = day.seconds()
    return {
        "with_trades": found.held,
        "proven_empty": found.empty,
        "unknown": found.unknown,
        "outside": outside,  # before the record began, or behind its end
    }


def _latency(day: Day) -> dict[str, float | None]:
    counts = day.latency()
    found = {name: quality.from_histogram(counts, share) for name, share in _SHARES.items()}
    return {name: None if value is None else round(value / 1e6, 3) for name, value in found.items()}


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _clock(day: Day) -> dict[str, float] | None:
    offsets = quality.clock_offsets(day.feed)
    if not offsets:
        return None
    middle = offsets[len(offsets) // 2]
    return {"median": middle / 1e6, "least": offsets[0] / 1e6, "most": offsets[-1] / 1e6}


def _added(parts: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            found[name] = found.get(name, 0) + number
    return dict(sorted(found.items()))


# --- on disk ---


def read(disk: Disk, venue: str, symbol: str, date: str) -> dict[str, Any]:
    """The certificate as it stands; empty where there is none of this version."""
    try:
        found = msgspec.json.decode(disk.read(paths.certificate(venue, symbol, date)))
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) and found.get("certificate") == VERSION else {}


def issue(disk: Disk, said: dict[str, Any]) -> dict[str, Any]:
    """Writes the certificate. One that changes after its day was over is a new issue, and names the one it replaces."""
    path = paths.certificate(said["venue"], said["symbol"], said["date"])
    before = read(disk, said["venue"], said["symbol"], said["date"])
    number, replaces = before.get("issue", 1), before.get("replaces")
    if before.get("is_over") and _content(before) != _content(said):
        number, replaces = number + 1, hashlib.sha256(disk.read(path)).hexdigest()
    numbered = {**said, "issue": number, "replaces": replaces}
    write(disk, path, msgspec.json.format(msgspec.json.encode(numbered), indent=1) + b"\n")
    return numbered


def _content(said: dict[str, Any]) -> Any:
    """What it says of the data, not of the files it lies in."""
    plain = msgspec.json.decode(msgspec.json.encode(said))
    return {key: value for key, value in plain.items() if key not in ("issue", "replaces", "judged_by", "manifest")}
