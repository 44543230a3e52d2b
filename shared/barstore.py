"""The bars of a day as they are stored: parts, folded hours or the day's one file; which is which, and reading them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from shared import paths
from shared.barfiles import BAR_SCHEMA
from shared.files import Disk


def bar_hours(disk: Disk, folder: str) -> dict[int, list[str]]:
    """The bar files of an open day's folder by hour."""
    found: dict[int, list[str]] = {}
    for name in disk.list(folder):
        kind, _, clock = name.partition("_")
        if kind in ("part", "hour") and name.endswith(".parquet") and clock[:2].isdigit():
            found.setdefault(int(clock[:2]), []).append(name)
    return found


def bar_files(disk: Disk, venue: str, symbol: str, date: str) -> dict[int | None, list[str]]:
    """The paths of all bar files of a day by hour; those of None hold all hours."""
    folder, day = paths.bars_dir(venue, symbol, date), paths.bars_day(venue, symbol, date)
    found: dict[int | None, list[str]] = {
        hour: [f"{folder}/{name}" for name in names] for hour, names in bar_hours(disk, folder).items()
    }
    if disk.size(day) is not None:
        found[None] = [day]
    return found


def read_bars(disk: Disk, path: str) -> pa.Table | None:
    """The rows of a file of bars in the lake's schema, or None where they cannot be read."""
    try:
        return disk.read_table(path).cast(BAR_SCHEMA)
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError, pa.ArrowException):
        return None


def of_hour(rows: pa.Table, date: str, hour: int, inside: bool = True) -> pa.Table:
    """The rows of an hour, or all the others."""
    start = (paths.day_start(date) + hour * paths.HOUR) // 1000
    times = rows.column("window_start").cast(pa.int64())
    within = pc.and_(pc.greater_equal(times, start), pc.less(times, start + paths.HOUR // 1000))
    return rows.filter(within if inside else pc.invert(within)).combine_chunks()
