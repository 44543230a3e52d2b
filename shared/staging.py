"""What is left for the compactor to install: hours of lines that were fetched afterwards, and what is said of them.

A backfill lies in ``journal/staging/<venue>/<SYMBOL>/<date>/``: ``part_HH.jsonl.zst`` for each hour, all of whose lines
it holds, and ``backfill.json``, without which the parts count for nothing. Whoever writes or installs it holds `LOCK`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared import hidden, paths
from shared.files import TMP, Disk

STAGING = "journal/staging"
LOCK = f"{STAGING}/lock"
DOWNLOADS = f"{STAGING}/downloads"
"""Files on their way. It holds no folders, so that nobody takes it for a venue."""


class Backfill(msgspec.Struct):
    """``backfill.json``: the hours that are staged, and where their new lines are from."""

    hours: list[int] = []
    rows: int = 0
    """Lines of these hours, the held ones among them."""
    added: int = 0
    sources: list[dict[str, Any]] = []
    """``kind url sha256 fetched rows added same different``, and the ids of the first 100 that are different."""
    ids: list[int] | None = None
    """First and last of the day that are held or staged."""
    force: list[int] = []
    """Hours in which held trades that differ are replaced."""


def venues(disk: Disk) -> list[str]:
    """Those of which anything lies in staging."""
    return [name for name in disk.list(STAGING) if f"{STAGING}/{name}" != DOWNLOADS and disk.list(f"{STAGING}/{name}")]


def seen_time(disk: Disk, venue: str) -> int:
    """The venue's time when something was last backfilled; 0 where nothing was."""
    try:
        return msgspec.json.decode(disk.read(f"{STAGING}/time-{venue}.json"), type=int)
    except (FileNotFoundError, ValueError, RecursionError):
        return 0


def see_time(disk: Disk, venue: str, ts: int) -> None:
    """Time is a record: for a venue that nobody records live, this is what says which of its hours are over."""
    if ts > seen_time(disk, venue):
        path = f"{STAGING}/time-{venue}.json"
        disk.write(path + TMP, msgspec.json.encode(ts))
        disk.replace(path + TMP, path)


def folder(venue: str, symbol: str, date: str) -> str:
    return f"{STAGING}/{venue}/{paths.safe(symbol)}/{date}"


def part(venue: str, symbol: str, date: str, hour: int) -> str:
    return f"{folder(venue, symbol, date)}/part_{hour:02d}.jsonl.zst"


def read(disk: Disk, venue: str, symbol: str, date: str) -> Backfill | None:
    """What is staged of a day; None where nothing is, or it is not finished."""
    try:
        said = msgspec.json.decode(disk.read(f"{folder(venue, symbol, date)}/backfill.json"), type=Backfill)
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    said.hours = sorted({hour for hour in said.hours if 0 <= hour < 24})
    return said


def write(disk: Disk, venue: str, symbol: str, date: str, said: Backfill) -> None:
    """In one step, and last: from here on the parts count."""
    path = f"{folder(venue, symbol, date)}/backfill.json"
    disk.write(path + TMP, msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n")
    disk.replace(path + TMP, path)
    disk.sync_dir(folder(venue, symbol, date))


def clear(disk: Disk, venue: str, symbol: str, date: str) -> None:
    """After it was installed. What else lies there (bars that wait) stays."""
    place = folder(venue, symbol, date)
    disk.remove(f"{place}/backfill.json")
    disk.sync_dir(place)
    for name in disk.list(place):
        if name.startswith("part_") or name == f"backfill.json{TMP}":
            disk.remove(f"{place}/{name}")
    for empty in (place, place.rpartition("/")[0]):
        disk.rmdir(empty)


def fetched(disk: Disk, venue: str, symbol: str, date: str) -> list[dict[str, Any]]:
    """The sources of a day, as `Backfill` has them; those that were installed."""
    try:
        said = hidden.read(disk, paths.fetched_file(venue, symbol, date))
        return msgspec.json.decode(said, type=list[dict[str, Any]])
    except (FileNotFoundError, ValueError, RecursionError):
        return []


def certified_missing(disk: Disk, venue: str, symbol: str, date: str) -> int:
    """How many ids a day lacks by its certificate; 0 where there is none."""
    try:
        said = msgspec.json.decode(disk.read(paths.certificate(venue, symbol, date)), type=dict[str, Any])
    except (FileNotFoundError, ValueError, RecursionError):
        return 0
    counts = [said.get("trades_missing"), said.get("aggregates_missing")]
    return sum(count for count in counts if isinstance(count, int))
