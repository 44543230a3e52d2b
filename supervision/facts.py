"""What a lake holds, by looking at names and sizes alone: no file is opened but ``lake.json``."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervision import machine
from supervision.ground import read_lake_json

_DAY_S = 86400
_ENOUGH_S = 600
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def facts(lake: Path) -> dict[str, Any]:
    """Venues, symbols, days, growth and room."""
    said = read_lake_json(lake) or {}
    days = _days(lake)
    symbols: dict[str, set[str]] = {}
    for venue, symbol, _ in days:
        symbols.setdefault(venue, set()).add(symbol)
    dates = sorted({date for _, _, date in days})
    free, total = machine.disk(lake)
    a_day = bytes_a_day(lake, days)
    return {
        "lake": str(lake),
        "exists": bool(said),
        "schema": said.get("schema"),
        "uuid": said.get("uuid"),
        "created": said.get("created"),
        "venues": {venue: len(found) for venue, found in sorted(symbols.items())},
        "first_day": dates[0] if dates else None,
        "last_day": dates[-1] if dates else None,
        "bytes_a_day": a_day,
        "free_bytes": free,
        "disk_bytes": total,
        "free_days": round(free / a_day, 1) if a_day else None,
    }


def _days(lake: Path) -> list[tuple[str, str, str]]:
    """(venue, symbol, date) of everything in the archive."""
    return [
        (venue.name, symbol.name, date.name)
        for venue in _folders(lake / "raw")
        for symbol in _folders(Path(venue.path))
        for date in _folders(Path(symbol.path))
        if _DATE.fullmatch(date.name)
    ]


def bytes_a_day(lake: Path, days: list[tuple[str, str, str]], now: float | None = None) -> int | None:
    """What the last whole day took: archive, bars and ticks. Before there is one: what today took, for a whole day.

    Today's hours are not packed yet, so that is rather too much; None for the first ten minutes.
    """
    dates = sorted({date for _, _, date in days})
    if not dates:
        return None
    whole = len(dates) > 2  # the first is seldom whole, the last never
    date = dates[-2] if whole else dates[-1]
    files = [file for venue, symbol, found in days if found == date for file in _files(lake, venue, symbol, date)]
    total = sum(size for size, _ in files)
    if not whole and files:
        passed = (time.time() if now is None else now) - min(written for _, written in files)
        total = int(total * _DAY_S / passed) if passed >= _ENOUGH_S else 0
    return total or None


def _files(lake: Path, venue: str, symbol: str, date: str) -> list[tuple[int, float]]:
    """Size and time of each file of one symbol and day."""
    year, month, day = date.split("-")
    bars, ticks = lake / "parquet" / venue / symbol, lake / "ticks" / venue / symbol
    found = _listed(lake / "raw" / venue / symbol / date)
    found += _listed(bars / f"year={year}" / f"month={month}" / f"day={day}")
    for path in (bars / f"{date}.parquet", ticks / "trades" / f"{date}.parquet", ticks / "quotes" / f"{date}.parquet"):
        with contextlib.suppress(OSError):
            at = path.stat()
            found.append((at.st_size, at.st_mtime))
    return found


def _listed(folder: Path) -> list[tuple[int, float]]:
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # compacted while we looked
                at = entry.stat()
                found.append((at.st_size, at.st_mtime))
    return found


def _folders(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)
    except OSError:
        return
