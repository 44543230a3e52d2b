"""What a lake holds, by looking at names and sizes alone: no file is opened but ``lake.json``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervision import machine
from supervision.ground import read_lake_json

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


def bytes_a_day(lake: Path, days: list[tuple[str, str, str]]) -> int | None:
    """What the last whole day took: archive, bars and ticks. None before there is one."""
    dates = sorted({date for _, _, date in days})
    if len(dates) < 3:  # the first is seldom whole, the last never
        return None
    date = dates[-2]
    year, month, day = date.split("-")
    total = 0
    for venue, symbol, found in days:
        if found == date:
            bars = lake / "parquet" / venue / symbol
            ticks = lake / "ticks" / venue / symbol
            total += _size(lake / "raw" / venue / symbol / date)
            total += _size(bars / f"year={year}" / f"month={month}" / f"day={day}")
            files = [
                bars / f"{date}.parquet",
                ticks / "trades" / f"{date}.parquet",
                ticks / "quotes" / f"{date}.parquet",
            ]
            total += sum(_file_size(path) for path in files)
    return total or None


def _folders(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)
    except OSError:
        return


def _size(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    except OSError:
        return 0


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
