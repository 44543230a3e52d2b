"""What others ask for: hours that the validator found wrong, and days that were made again by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from loguru import logger

from procs.compactor.fold import again, install, one_a_second, revised, set_aside
from shared import archive, paths, staging
from shared.barstore import bar_hours, of_hour, read_bars
from shared.files import Disk

if TYPE_CHECKING:
    import pyarrow as pa

_REQUEST = re.compile(r"(.+)_([01][0-9]|2[0-3])\.json")
Change = Callable[["pa.Table", int], "pa.Table"]
"""The rows that are stored for an hour, and the hour; what they shall be."""


def requests(disk: Disk, date: str | None = None) -> Iterator[tuple[str, str, str, list[int]]]:
    """Venue, symbol, date and hours that the validator wants made again."""
    for venue in disk.list(paths.REQUESTS):
        for folder in disk.list(f"{paths.REQUESTS}/{venue}"):
            found: dict[str, list[int]] = {}
            for name in disk.list(f"{paths.REQUESTS}/{venue}/{folder}"):
                said = _REQUEST.fullmatch(name)
                if said is not None and archive.is_date(said[1]) and date in (None, said[1]):
                    found.setdefault(said[1], []).append(int(said[2]))
            for day, hours in found.items():
                yield venue, paths.symbol_of(folder), day, hours


def rebuild(disk: Disk, venue: str, symbol: str, date: str, hours: list[int], use_agg: bool | None) -> int:
    """Makes these hours again from the archive; how many of them changed."""
    return replace(
        disk, venue, symbol, date, hours, lambda rows, hour: again(disk, venue, symbol, date, hour, rows, use_agg)
    )


def staged(disk: Disk, date: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Venue, symbol and date of what lies in staging."""
    for venue in staging.venues(disk):
        for folder in disk.list(f"{staging.STAGING}/{venue}"):
            for day in disk.list(f"{staging.STAGING}/{venue}/{folder}"):
                is_wanted = archive.is_date(day) and date in (None, day)
                if is_wanted and disk.size(f"{staging.STAGING}/{venue}/{folder}/{day}/bars.json") is not None:
                    yield venue, paths.symbol_of(folder), day


def install_staged(disk: Disk, venue: str, symbol: str, date: str, sealed: set[int]) -> int:
    """Installs the staged hours that are sealed, and clears the staging once all of them are; how many changed."""
    folder = staging.folder(venue, symbol, date)
    made, hours = _read_staged(disk, folder)
    if made is None:
        return 0
    ready = [hour for hour in hours if hour in sealed]
    changed = replace(disk, venue, symbol, date, ready, lambda rows, hour: revised(rows, of_hour(made, date, hour)))
    if ready == hours and changed >= 0:
        for name in ("bars.json", "bars.parquet"):
            disk.remove(f"{folder}/{name}")
        disk.rmdir(folder)
    return max(changed, 0)


def _read_staged(disk: Disk, folder: str) -> tuple[pa.Table | None, list[int]]:
    try:
        said: dict[str, Any] = msgspec.json.decode(disk.read(f"{folder}/bars.json"), type=dict[str, Any])
    except (FileNotFoundError, ValueError, RecursionError):
        return None, []  # not finished yet
    rows = read_bars(disk, f"{folder}/bars.parquet")
    hours = said.get("hours")
    if rows is None or rows.num_rows != said.get("rows") or not isinstance(hours, list):
        logger.error(f"{folder}: bars.parquet is not what bars.json says; nothing is installed")
        return None, []
    return rows, sorted(hour for hour in hours if isinstance(hour, int) and 0 <= hour < 24)


def replace(disk: Disk, venue: str, symbol: str, date: str, hours: list[int], change: Change) -> int:
    """Puts other rows in the place of these hours', wherever they are stored; how many hours changed, -1 where a file
    is in use."""
    day = paths.bars_day(venue, symbol, date)
    folder = paths.bars_dir(venue, symbol, date)
    stored = _stored(disk, day)
    if stored is None:
        return _each_hour(disk, folder, date, hours, change)
    rows, changed = stored, 0
    for hour in hours:
        before = of_hour(rows, date, hour)
        after = change(before, hour)
        if not after.equals(before):
            rows = one_a_second([of_hour(rows, date, hour, inside=False), after])
            changed += 1
    if changed and not install(disk, day, rows, []):
        return -1
    return changed


def _each_hour(disk: Disk, folder: str, date: str, hours: list[int], change: Change) -> int:
    changed = 0
    for hour in hours:
        old = [f"{folder}/{name}" for name in bar_hours(disk, folder).get(hour, [])]
        tables = [table for path in old if (table := _stored(disk, path)) is not None]
        before = one_a_second(tables)
        after = change(before, hour)
        if after.equals(before):
            continue
        if not install(disk, f"{folder}/hour_{hour:02d}.parquet", after, [path for path in old if disk.size(path)]):
            return -1
        changed += 1
    return changed


def _stored(disk: Disk, path: str) -> pa.Table | None:
    if disk.size(path) is None:
        return None
    table = read_bars(disk, path)
    if table is None:
        set_aside(disk, path, "no readable Parquet file")
    return table
