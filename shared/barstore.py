"""The bars of a day as they are stored: parts, folded hours or the day's one file; which is which, and reading them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from shared import hidden, paths
from shared.archive import is_date
from shared.barfiles import BAR_SCHEMA, starts
from shared.files import Disk


def bar_hours(disk: Disk, folder: str) -> dict[int, list[str]]:
    """The bar files of an open day's folder by hour."""
    return _by_hour(disk.list(folder))


def _by_hour(names: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in names:
        kind, _, clock = name.partition("_")
        if kind in ("part", "hour") and name.endswith(".parquet") and clock[:2].isdigit():
            found.setdefault(int(clock[:2]), []).append(name)
    return found


def bar_files(disk: Disk, venue: str, symbol: str, date: str) -> dict[int | None, list[str]]:
    """The paths of all bar files of a day by hour, hidden ones as long as they count; those of None hold all hours."""
    folder, day = paths.bars_dir(venue, symbol, date), paths.bars_day(venue, symbol, date)
    names = disk.list(folder)
    found: dict[int | None, list[str]] = {
        hour: [f"{folder}/{name}" for name in names] for hour, names in _by_hour(names).items()
    }
    out_of_sight = _by_hour(hidden.plain(name) for name in names if hidden.is_hidden(name))
    if out_of_sight:
        folded = _by_hour(hidden.waiting(names))
        is_day = disk.size(hidden.beside(day, hidden.NEW)) is not None
        for hour, old in out_of_sight.items():
            if is_day or hour in folded:
                found.setdefault(hour, []).extend(hidden.beside(f"{folder}/{name}", hidden.OLD) for name in old)
    day = hidden.where(disk, day)
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


def bar_days(disk: Disk, venue: str, symbol: str) -> list[str]:
    """The days of which bars are stored."""
    names = disk.list(f"parquet/{venue}/{paths.safe(symbol)}")
    closed = {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}
    return sorted(filter(is_date, closed.union(open_days(disk, venue, symbol))))


def open_days(disk: Disk, venue: str, symbol: str) -> list[str]:
    """The days whose bars still lie in a folder."""
    top = f"parquet/{venue}/{paths.safe(symbol)}"
    found = (
        "-".join(name.rpartition("=")[2] for name in (year, month, day))
        for year in disk.list(top)
        if year.startswith("year=")
        for month in disk.list(f"{top}/{year}")
        for day in disk.list(f"{top}/{year}/{month}")
    )
    return [date for date in found if is_date(date)]


class Stored:
    """The rows of a day as they stand, hour by hour; the day's one file is read once."""

    def __init__(self, disk: Disk, venue: str, symbol: str, date: str) -> None:
        self._disk, self._date = disk, date
        self._of = (venue, symbol, date)
        self._day: list[pa.Table | None] = []

    def hour(self, hour: int) -> tuple[pa.Table, list[str]]:
        """The rows of the hour, and the files that cannot be read."""
        try:
            return hidden.reread(lambda files: self._hour(hour, files), lambda: bar_files(self._disk, *self._of))
        except FileNotFoundError:
            return BAR_SCHEMA.empty_table(), []

    def _hour(self, hour: int, files: dict[int | None, list[str]]) -> tuple[pa.Table, list[str]]:
        found = {path: read_bars(self._disk, path) for path in files.get(hour, [])}
        if None in files:
            self._day = self._day or [read_bars(self._disk, files[None][0])]
            found[files[None][0]] = self._day[0]
        tables = [of_hour(table, self._date, hour) for table in found.values() if table is not None]
        unreadable = [path for path, table in found.items() if table is None]
        return pa.concat_tables([BAR_SCHEMA.empty_table(), *tables]), unreadable

    def forget(self) -> None:
        """Reads the day's file once more when it is asked again."""
        self._day = []


def by_second(rows: pa.Table, until: int) -> dict[int, dict[str, Any]]:
    """The rows of seconds that end by `until`, by when they start, in nanoseconds."""
    values = rows.drop_columns(["window_start"]).to_pylist()
    pairs = zip(starts(rows), values, strict=True)
    return {start: row for start, row in pairs if start + paths.SECOND <= until}


def rows_hash(rows: pa.Table) -> str:
    """The same for the same rows, wherever they stand."""
    text = io.BytesIO()
    pyarrow.csv.write_csv(rows.sort_by("window_start"), text)
    return hashlib.sha256(text.getvalue()).hexdigest()
