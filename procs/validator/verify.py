"""Does the lake still hold what its certificates say? From scratch: bytes, rows, ids, bars; nothing is remembered.

Nothing is written. A file that has changed by one byte is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from procs.validator import certificate, index, inventory
from procs.validator.certificate import certify
from procs.validator.remarks import Beside
from procs.validator.work import a_day
from shared import archive, manifests, paths, staging, topology
from shared.archive import part_of
from shared.errand import uses_aggregates
from shared.files import Disk, checksum
from shared.sealing import Reached, reached

COMPARED = ("trades", "quotes", "bars", "broken_lines")
"""What must come out the same when the same files are judged once more."""
SETTLED = ("verdict", "ids", "agg_trades", "seconds", "bars_differ", "wrong")
"""And what more where nothing that comes later could change it."""
HOUR_COMPARED = ("trades", "agg_trades", "quotes", "fetched", "bars", "bars_differ", "wrong", "bars_hash")


class Checked(msgspec.Struct):
    """One certificate, and what does not hold any more."""

    venue: str
    symbol: str
    date: str
    verdict: str
    files: int = 0
    wrong: list[str] = []
    notes: list[str] = []


def verify(disk: Disk, pipeline: topology.Pipeline | None, date: str | None = None) -> Iterator[Checked]:
    """Every certificate, or those of one date, one after the other."""
    at = reached(disk, pipeline)
    sums = _published(disk)
    for key in index.certified(disk):
        if date in (None, key[2]):
            yield _check(disk, pipeline, key, at.get(key[0], Reached()), sums.get(key))


def _published(disk: Disk) -> dict[tuple[str, str, str], str]:
    """The certificates' own checksums, as ``days.parquet`` has them."""
    if disk.table_meta(index.PATH) is None:
        return {}
    rows = disk.read_table(index.PATH).to_pylist()
    return {(row["venue"], row["symbol"], row["date"].isoformat()): row["certificate_sha256"] for row in rows}


def _check(
    disk: Disk, pipeline: topology.Pipeline | None, key: tuple[str, str, str], at: Reached, published: str | None
) -> Checked:
    venue, symbol, date = key
    path = paths.certificate(venue, symbol, date)
    said = certificate.read(disk, venue, symbol, date)
    if not said:
        return Checked(*key, "unproven", wrong=[f"{path}: cannot be read, or is of another version"])
    found = Checked(*key, str(said.get("verdict")), len(said["files"]))
    if published is not None and checksum(disk, path) != published:
        found.wrong.append(f"{path}: is not the certificate that was issued")
    gone = _check_files(disk, said, found)
    _check_sums(disk, said, found)
    _check_content(disk, pipeline, said, at, found, gone)
    return found


# --- bytes ---


def _check_files(disk: Disk, said: dict[str, Any], found: Checked) -> list[str]:
    """The files that are not there any more and may be gone: those of an open day are folded into others."""
    gone = []
    for file in said["files"]:
        try:
            is_same = checksum(disk, file["path"]) == file["sha256"]
        except FileNotFoundError:
            if _may_be_gone(disk, said, file["path"]):
                gone.append(file["path"])
            else:
                found.wrong.append(f"{file['path']}: is not there")
            continue
        except OSError as error:
            found.wrong.append(f"{file['path']}: cannot be read ({error})")
            continue
        if not is_same:
            found.wrong.append(f"{file['path']}: has changed, its sha256 is not the certificate's")
    return gone


def _may_be_gone(disk: Disk, said: dict[str, Any], path: str) -> bool:
    if path.startswith("parquet/"):  # its rows are compared: nothing is lost where they stand elsewhere
        return not said["manifest"]
    folder, _, name = path.rpartition("/")
    part = part_of(name)
    hour = [] if part is None else archive.parts(disk, folder, part.hour)
    return part is not None and part.clock != "" and any(not other.clock or other.is_hidden for other in hour)


def _check_sums(disk: Disk, said: dict[str, Any], found: Checked) -> None:
    """The list of checksums that anybody's ``sha256sum -c`` reads."""
    if not said["manifest"]:
        return
    path = paths.checksum_file(said["venue"], said["symbol"], said["date"])
    try:
        is_same = checksum(disk, path) == said["manifest"]["checksums"]
    except FileNotFoundError:
        found.wrong.append(f"{path}: is not there")
        return
    if not is_same:
        found.wrong.append(f"{path}: has changed")


# --- content ---


def _check_content(
    disk: Disk, pipeline: topology.Pipeline | None, said: dict[str, Any], at: Reached, found: Checked, gone: list[str]
) -> None:
    venue, symbol, date = said["venue"], said["symbol"], said["date"]
    day = a_day(disk, venue, symbol, date, at, uses_aggregates(pipeline, venue))
    day.judge(anew=True)
    fetched = staging.fetched(disk, venue, symbol, date)
    now = certify(day, Beside(0, manifests.read(disk, venue, symbol, date), fetched, [], said["klines"]))
    now = msgspec.json.decode(msgspec.json.encode(now))
    listed = {file["path"] for file in said["files"]}
    later = sorted(set(inventory.names(disk, venue, symbol, date)) - listed)
    is_growing = bool(later or gone) or inventory.is_being_written(disk, venue, symbol, date)
    if said["is_over"] or not is_growing:
        if said["is_over"] and later:
            found.wrong += [f"{path}: came after the certificate" for path in later if path.startswith("raw/")]
        keys = (*COMPARED, *SETTLED) if said["is_over"] and not said["is_open_ended"] else COMPARED
        found.wrong += [_differ(key, said[key], now[key]) for key in keys if said[key] != now[key]]
        if said["bars_checked"]["hash"] != now["bars_checked"]["hash"]:
            found.wrong.append("bars: those that the archive makes now are not those that it made then")
    else:
        found.notes.append("the day is still growing: its sealed hours are compared, the others file by file")
    hours = {hour["hour"]: hour for hour in now["hours"]}
    for before in said["hours"]:
        if before["is_sealed"]:
            after = hours.get(before["hour"], {})
            found.wrong += [
                f"hour {before['hour']:02d}: {_differ(key, before[key], after.get(key))}"
                for key in HOUR_COMPARED
                if before[key] != after.get(key)
            ]
    problems = (f"{one['path']}:{one['line']}: {one['reason']}" for one in now["problems"])
    found.wrong += [text for text in problems if now["problems"] != said["problems"]]


def _differ(key: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [name for name in before if before[name] != after.get(name)]
        return "; ".join(_differ(f"{key} {name}", before[name], after.get(name)) for name in parts)
    return f"{key}: the certificate says {_short(before)}, the lake {_short(after)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
