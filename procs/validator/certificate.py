"""What a day's judgement says: first in one word, then in numbers, then in full."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from procs.validator import account, remarks
from procs.validator.day import Day, write
from procs.validator.hour import LISTED, Hour, Interval
from procs.validator.remarks import Beside
from shared import paths, quality
from shared.files import Disk
from shared.ids import Ids
from shared.manifests import Listed
from shared.tables import SCHEMA_VERSION

VERSION = 2
FINAL_AFTER = 7 * paths.DAY
"""A certificate of a day that is over by so much stands, whether the venue's daily file was compared or not."""


def lacks(said: dict[str, Any]) -> bool:
    """Whether trades are missing of which nobody has said that they are gone: they may come yet."""
    missing = said.get("trades_missing", 0) + said.get("aggregates_missing", 0)
    return bool(missing > said.get("unhealable", 0))


def certify(day: Day, beside: Beside) -> dict[str, Any]:
    """The certificate of a judged day, all but its issue."""
    settled = [hour for hour in day.hours if hour.is_sealed or day.is_settled]
    missing = day.missing()
    ids, aggregates = _ids(day, missing), _aggregates(day)
    seconds, tail = _seconds(day)
    bars = _bars(day, settled)
    trades = sum(hour.trades for hour in day.hours)
    wrong = remarks.wrong(day, settled, ids, aggregates)
    rows = beside.manifest.get("trades", {}).get("rows", trades)
    if rows != trades:
        wrong.append(f"the tick file has {rows} trades, the archive {trades}")
    healed = ids["healed_count"] + aggregates["healed_count"]
    missing_count, gone_count = (ids[key] + aggregates[key] for key in ("missing_count", "unhealable"))
    so_far = _so_far(day, seconds, tail, missing_count, healed, wrong)
    return {
        "certificate": VERSION,
        "schema": SCHEMA_VERSION,
        "venue": day.venue,
        "symbol": day.symbol,
        "date": day.date,
        "verdict": so_far if day.is_over else quality.of_open_day(so_far),
        "so_far": so_far,
        "is_over": day.is_over,
        "is_open_ended": tail > 0,
        "is_provisional": not (day.is_over and (day.is_compared or beside.now >= day.end + FINAL_AFTER)),
        "wrong": wrong,
        "notes": remarks.notes(day, seconds, beside),
        "trades": trades,
        "trades_missing": ids["missing_count"],
        "aggregates_missing": aggregates["missing_count"],
        "healed": healed,
        "unhealable": gone_count,
        "quotes": sum(hour.quotes for hour in day.hours),
        "bars": sum(hour.bars.rows for hour in day.hours),
        "bars_differ": bars.pop("differ_count"),
        "ids": ids,
        "agg_trades": aggregates,
        "seconds": seconds,
        "bars_checked": bars,
        "klines": beside.klines,
        "quotes_checked": {
            "crossed": sum(hour.crossed for hour in day.hours),
            "locked": sum(hour.locked for hour in day.hours),
        },
        "quotes_live": account.quotes_live(day),
        "feed": _added({event.kind: 1} for event in day.feed),
        "outages": account.outages(day)[: account.LISTED],
        "rejected": beside.rejected,
        "status": beside.status,
        "statuses": account.statuses(day)[: account.LISTED],
        "latency_ms": _latency(day),
        "clock_offset_ms": _clock(day),
        "broken_lines": sum(hour.broken for hour in day.hours) + len(day.feed_problems),
        "problems": [*(problem for hour in day.hours for problem in hour.problems), *day.feed_problems[:LISTED]],
        "hours": account.hours(day, [*missing, *day.aggregates_missing()], tail),
        "hours_sealed": [hour.hour for hour in day.hours if hour.is_sealed],
        "fetched": beside.fetched,
        "judged_by": day.judged_by[missing_count > gone_count],
        "manifest": {key: value for key, value in beside.manifest.items() if key != "files"} or None,
        "files": beside.files,
    }


def _so_far(day: Day, seconds: dict[str, int], tail: int, missing: int, healed: int, wrong: list[str]) -> str:
    """The verdict on what was observed: of an open day, when the record began says nothing against it."""
    outside = seconds["outside"] if day.is_over else 0
    unknown = _unproven(day, seconds, tail)
    return quality.verdict(missing, outside, unknown, healed, bool(wrong), day.needs_daily)


def _unproven(day: Day, seconds: dict[str, int], tail: int) -> int:
    """Seconds of which something should be known and is not; not those of which an open day's next trade will tell."""
    if not day.has_ids or (day.needs_daily and not day.goes_by_aggregates):
        return max(1, seconds["unknown"])
    if day.ids_have_holes and day.is_compared:
        return 0
    if day.is_over:
        return seconds["unknown"]
    return max(0, seconds["unknown"] - tail - _head(day))


def _head(day: Day) -> int:
    """Seconds from where the record begins to its first trade."""
    first = min((hour.seconds.first[1] for hour in day.hours if hour.seconds.first is not None), default=None)
    if first is None or day.before is not None or day.follows:
        return 0
    return first - account.span(day)[0] // quality.SECOND


def _ids(day: Day, missing: list[Interval]) -> dict[str, Any]:
    """What is held of the trades, by their ids."""
    held, repeated, _ = day.trades()
    healed = account.healed(day)
    gone = account.unhealable(day, missing, "trade", day.is_compared)
    count = quality.count(missing)
    return {
        "first": held.lowest,
        "last": held.highest,
        "missing_count": count,
        "missing": account.ranges(missing),
        "unhealable": quality.count((one["first"], one["last"]) for one in gone),
        "unhealable_ranges": gone[: account.LISTED],
        "healed_count": sum(map(len, healed.values())),
        "healed": {source: account.ranges(found.intervals) for source, found in healed.items()},
        "explained": quality.count(held.missing()) - quality.count(_inside(missing, held)),
        "repeated": repeated,
        "sources": _added(hour.sources for hour in day.hours),
    }


def _inside(missing: list[Interval], held: Ids) -> list[Interval]:
    """Those between the day's own ids."""
    low, high = held.lowest or 0, held.highest or 0
    return [span for span in missing if low < span[0] and span[1] < high]


def _aggregates(day: Day) -> dict[str, Any]:
    held, repeated = day.aggregates()
    missing = day.aggregates_missing()
    # Those that were fetched for the sake of raw trades are counted with these.
    healed = account.aggregates_healed(day) if day.goes_by_aggregates else {}
    gone = account.unhealable(day, missing, "agg_trade", False)
    return {
        "rows": sum(hour.agg_trades for hour in day.hours),
        "first": held.lowest,
        "last": held.highest,
        "missing_count": quality.count(missing),
        "missing": account.ranges(missing),
        "unhealable": quality.count((one["first"], one["last"]) for one in gone),
        "unhealable_ranges": gone[: account.LISTED],
        "healed_count": sum(map(len, healed.values())),
        "healed": {source: account.ranges(found.intervals) for source, found in healed.items()},
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
        "hash": made_hash(day),
    }


def made_hash(day: Day) -> str | None:
    """Of the bars that the archive makes, hour by hour."""
    made = "\n".join(f"{hour.hour:02d} {hour.made_hash}" for hour in day.hours if hour.made_hash)
    return hashlib.sha256(made.encode()).hexdigest() if made else None


def _seconds(day: Day) -> tuple[dict[str, int], int]:
    """What is known of the day's seconds; and how many lie behind the last trade, until the next one is held."""
    found, outside = day.seconds()
    counts = {
        "with_trades": found.held,
        "proven_empty": found.empty,
        "unknown": found.unknown,
        "outside": outside,  # before the record began, or behind its end
    }
    last = found.last or day.before
    end = day.until // quality.SECOND
    is_open_ended = day.after is None and last is not None
    tail = end - max(last[1], day.start // quality.SECOND - 1) - 1 if is_open_ended and last is not None else 0
    return counts, max(0, min(tail, found.unknown))


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
        found = msgspec.json.decode(disk.read(paths.certificate(venue, symbol, date)), type=dict[str, Any])
        return found if msgspec.convert(found, _Relied).certificate == VERSION else {}
    except (FileNotFoundError, ValueError, RecursionError):
        return {}


class _Relied(msgspec.Struct):
    """What of a certificate the next judgement relies on. One in which a byte has turned is none: judged again."""

    certificate: int
    issue: int
    replaces: str | None
    is_over: bool
    is_provisional: bool
    is_open_ended: bool
    trades_missing: int
    aggregates_missing: int
    unhealable: int
    bars_differ: int
    bars_checked: dict[str, Any]
    klines: dict[str, Any]
    files: list[Listed]


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
    return {key: value for key, value in plain.items() if key not in _OUTSIDE}


_OUTSIDE = (
    "issue",
    "replaces",
    "is_provisional",
    "judged_by",
    "manifest",
    "files",
    "klines",
    "notes",
    "hours_sealed",
    "status",
)
