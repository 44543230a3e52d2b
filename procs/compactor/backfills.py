"""What was fetched afterwards, put where it belongs: lines into their hours, and the bars of these hours made again.

A staged hour holds all of its lines as they stood when it was staged. Late lines may have come since, so it is merged
once more with what the lake holds now. Everything here may be done twice: the staging goes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from loguru import logger

from procs.compactor.fold import folded, put_lines, revised
from procs.compactor.repair import replace
from procs.compactor.swap import Swap
from shared import archive, paths, staging
from shared.barfiles import joined
from shared.barstore import of_hour
from shared.events import AggTrade, Trade
from shared.files import Disk
from shared.holdings import merge
from shared.rebuild import Rebuild

LOOK_AHEAD = 24
"""Hours behind a filled one that are searched for the next trade: whether ids are missing before it is said there."""
BarMaker = Callable[[str, list[int]], int]
"""Makes the bars of a day's hours again; how many changed, -1 where a file is in use."""


def waiting(disk: Disk, date: str | None) -> Iterator[tuple[str, str, str]]:
    """Venue, symbol and date of each backfill that is finished."""
    for venue in staging.venues(disk):
        for folder in disk.list(f"{staging.STAGING}/{venue}"):
            for day in disk.list(f"{staging.STAGING}/{venue}/{folder}"):
                symbol = paths.symbol_of(folder)
                if date in (None, day) and archive.is_date(day) and staging.read(disk, venue, symbol, day) is not None:
                    yield venue, symbol, day


def sweep(disk: Disk) -> None:
    """Removes parts that no ``backfill.json`` names: of a run that was killed, or of one that is installed."""
    for venue in staging.venues(disk):
        for folder in disk.list(f"{staging.STAGING}/{venue}"):
            for day in disk.list(f"{staging.STAGING}/{venue}/{folder}"):
                symbol = paths.symbol_of(folder)
                if archive.is_date(day) and staging.read(disk, venue, symbol, day) is None:
                    staging.clear(disk, venue, symbol, day)


def install_lines(disk: Disk, venue: str, symbol: str, date: str, sealed: set[int], level: int) -> list[int]:
    """Puts the sealed ones of the staged hours into the archive; those that stand there whole now."""
    said = staging.read(disk, venue, symbol, date)
    hours = [hour for hour in said.hours if hour in sealed] if said is not None else []
    return [
        hour for hour in hours if said and _install_hour(disk, venue, symbol, date, hour, level, hour in said.force)
    ]


def _install_hour(disk: Disk, venue: str, symbol: str, date: str, hour: int, level: int, force: bool) -> bool:
    folder = paths.raw_dir(venue, symbol, date)
    parts = archive.parts(disk, folder, hour)
    if any(part.is_open for part in parts):
        return False
    held = _lines(disk, [f"{folder}/{part.name}" for part in parts])
    staged = _lines(disk, [staging.part(venue, symbol, date, hour)])
    if held is None or staged is None:
        return False
    merged = merge(held, archive.trades_of(staged), force).lines if held else staged
    if merged == held and [part.name for part in parts] == [folded(hour)]:
        return True
    return put_lines(disk, folder, hour, b"".join(merged), parts, level)


def _lines(disk: Disk, files: list[str]) -> list[bytes] | None:
    try:
        found, problems = archive.read_lines(disk, files)
    except FileNotFoundError as error:
        found, problems = [], [archive.Problem(str(error.filename), 0, "is not there")]
    for problem in problems:
        logger.error(f"{problem.path}: {problem.reason}; the backfill of its hour waits")
    return None if problems else found


def finish(
    disk: Disk, venue: str, symbol: str, date: str, installed: list[int], sealed: Callable[[str, int], bool],
    make: BarMaker,
) -> int:  # fmt: skip
    """Bars, the word on where the lines are from, and the staging cleared once all of it is installed; how many hours
    of bars changed.
    """
    said = staging.read(disk, venue, symbol, date)
    if said is None:
        return 0
    changed, in_use = 0, False
    for day, hours in _touched(disk, venue, symbol, date, installed, sealed).items():
        count = make(day, hours)
        changed, in_use = changed + max(count, 0), in_use or count < 0
    if in_use or installed != said.hours:
        return changed
    known = staging.fetched(disk, venue, symbol, date)
    told = known + [source for source in said.sources if source not in known]
    if told != known:
        path = paths.fetched_file(venue, symbol, date)
        swap = Swap(disk, path.replace("/", "-"))
        swap.bytes(path, msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
        if not swap.commit():
            return changed
    staging.clear(disk, venue, symbol, date)
    return changed


def _touched(
    disk: Disk, venue: str, symbol: str, date: str, installed: list[int], sealed: Callable[[str, int], bool]
) -> dict[str, list[int]]:
    """The hours whose bars may be others now, by day: those installed, and behind them up to the next trade."""
    midnight = paths.day_start(date) // paths.HOUR
    touched = {midnight + hour for hour in installed}
    for hour in sorted(touched):
        for behind in range(hour + 1, hour + 1 + LOOK_AHEAD):
            if behind in touched:
                break
            ts = behind * paths.HOUR
            day, of_day = paths.date_of(ts), paths.hour_of(ts)
            if of_day not in archive.held_hours(disk, venue, symbol, day):
                continue
            if not sealed(day, of_day):
                break
            touched.add(behind)
            events, _ = archive.read_hour(disk, venue, symbol, day, of_day)
            if any(isinstance(event, Trade | AggTrade) for event in events):
                break
    found: dict[str, list[int]] = {}
    for hour in sorted(touched):
        found.setdefault(paths.date_of(hour * paths.HOUR), []).append(hour % 24)
    return found


def make_bars(disk: Disk, venue: str, symbol: str, date: str, hours: list[int], use_agg: bool | None) -> int:
    """In one pass over the archive; how many hours changed, -1 where a file is in use."""
    made = joined(Rebuild(disk, venue, symbol, use_agg).hours(date, hours), venue)
    return replace(disk, venue, symbol, date, hours, lambda rows, hour: revised(rows, of_hour(made, date, hour)))
