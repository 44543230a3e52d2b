"""What a run of the validator does: judge the days that are due, write it down, ask for repairs, say it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from loguru import logger

from procs.validator import Config, certificate
from procs.validator.day import Day, save
from procs.validator.report import show
from shared import archive, paths
from shared.barstore import bar_days
from shared.errand import Errand
from shared.files import Disk
from shared.sealing import Reached, reached

REQUESTS = "quality/requests"
NEWEST = 2
"""Days that are looked at in every run, whether judged to their end or not: the compactor may still be at them."""


def validate(errand: Errand[Config]) -> int:
    """One run; the exit code."""
    at = reached(errand.disk, errand.pipeline)
    found: list[dict[str, Any]] = []
    for venue, symbol, date in _due(errand):
        if errand.lifeline.asked:
            break
        found.append(_judge(errand, venue, symbol, date, at.get(venue, Reached())))
    if errand.as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        show(found, errand.date)
    wrong = sum(said["verdict"] != "right" for said in found)
    if wrong:
        logger.warning(f"{wrong} of {len(found)} symbol-days have something wrong")
    return 1 if wrong or (errand.date is not None and not found) else 0


def _due(errand: Errand[Config]) -> Iterator[tuple[str, str, str]]:
    disk = errand.disk
    for venue, symbol in sorted({*archive.symbols(disk), *archive.symbols(disk, "parquet")}):
        held = {*archive.dates(disk, f"raw/{venue}/{paths.safe(symbol)}"), *bar_days(disk, venue, symbol)}
        newest = sorted(held)[-NEWEST:]
        for date in sorted(held):
            is_due = date in newest or not certificate.read(disk, venue, symbol, date).get("is_over")
            if date == errand.date or (errand.date is None and is_due):
                yield venue, symbol, date


def _judge(errand: Errand[Config], venue: str, symbol: str, date: str, at: Reached) -> dict[str, Any]:
    disk = errand.disk
    day = Day(disk, venue, symbol, date, at, errand.use_agg(venue))
    before = certificate.read(disk, venue, symbol, date)
    if before.get("is_over") and before.get("judged_by") == day.fingerprint():
        return before
    day.judge()
    said = certificate.issue(disk, certificate.certify(day, _manifest(disk, venue, symbol, date)))
    _ask_for_repairs(disk, day)
    if day.is_over and _is_closed(disk, venue, symbol, date):
        day.forget()  # nothing is expected to change any more; if it does, all is judged again
    else:
        day.keep()
    return said


def _is_closed(disk: Disk, venue: str, symbol: str, date: str) -> bool:
    return disk.size(paths.checksum_file(venue, symbol, date)) is not None


def _manifest(disk: Disk, venue: str, symbol: str, date: str) -> dict[str, Any]:
    """What the compactor says of the closed day."""
    path = paths.checksum_file(venue, symbol, date).removesuffix(".sha256") + ".manifest.json"
    try:
        return msgspec.json.decode(disk.read(path), type=dict[str, Any])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _ask_for_repairs(disk: Disk, day: Day) -> None:
    """A request stands for as long as the hour is wrong and the archive can mend it."""
    for hour in day.hours:
        path = f"{REQUESTS}/{day.venue}/{paths.safe(day.symbol)}/{day.date}_{hour.hour:02d}.json"
        bars = hour.bars
        is_wrong = hour.is_sealed and (bars.differ or bars.repeated or bars.unreadable)
        if is_wrong and hour.may_be_rebuilt:
            save(disk, path, {"differ": bars.differ, "repeated": bars.repeated, "unreadable": bars.unreadable})
            logger.warning(
                f"{day.venue} {day.symbol} {day.date} {hour.hour:02d}h: the compactor is asked to make its bars again"
            )
        else:
            disk.remove(path)
