"""A sealed hour's files into one: minutes of lines into one compressed file, parts of bars into one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import zstandard
from loguru import logger

from procs.compactor.packing import PAGES
from procs.compactor.swap import NotAsWritten, Swap
from shared import archive, paths
from shared.barfiles import BAR_SCHEMA, bar_table, starts
from shared.barstore import bar_hours, read_bars
from shared.files import Disk
from shared.holdings import without_repeats
from shared.rebuild import Rebuild
from shared.tables import BAR_COLUMNS, SCHEMA_VERSION

_RISING = ("int64", "timestamp[us, UTC]")
_UNLIKE = ("volume_quote", "vwap", "buy_volume_quote")
"""Products and quotients: hardly one comes twice."""
_ENCODED = {name: "DELTA_BINARY_PACKED" for name, kind in BAR_COLUMNS if kind in _RISING}
_ENCODED |= dict.fromkeys(_UNLIKE, "BYTE_STREAM_SPLIT")
BAR_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "metadata": {"lake.schema": str(SCHEMA_VERSION)},
    "use_dictionary": [name for name, _ in BAR_COLUMNS if name not in _ENCODED],
    "column_encoding": _ENCODED,
    **PAGES,
}
"""A dictionary of times, ids and products is as long as their column: without, a day takes over a quarter less."""


# --- lines ---


def fold_lines(disk: Disk, folder: str, hour: int, level: int) -> bool:
    """``part_1342.jsonl`` … into ``part_13.jsonl.zst``; late lines are added behind what was folded before.

    Whether anything was done. An hour with a file that is still written to, or cannot be read whole, is left alone.
    """
    parts = archive.parts(disk, folder, hour)
    name = folded(hour)
    if all(part.name == name for part in parts) or any(part.is_open for part in parts):
        return False
    pieces = []
    for part in parts:
        data, trouble = archive.content(disk, f"{folder}/{part.name}")
        if trouble:
            logger.error(f"{folder}/{part.name}: {trouble}; the hour is not folded")
            return False
        pieces.append(data if data.endswith(b"\n") or not data else data + b"\n")
    lines = b"".join(pieces)
    if parts[0].name == name:  # a late line may have come by a backfill before
        lines = b"".join(without_repeats(lines.splitlines(keepends=True)))
        if lines == pieces[0]:  # nothing of what came late is new
            for part in parts[1:]:
                disk.remove(f"{folder}/{part.name}")
            return True
    return put_lines(disk, folder, hour, lines, parts, level)


def folded(hour: int) -> str:
    return f"part_{hour:02d}.jsonl.zst"


def put_lines(disk: Disk, folder: str, hour: int, lines: bytes, parts: Sequence[archive.Part], level: int) -> bool:
    """These lines as the hour's folded file, instead of its `parts`. False where one of them is in use."""
    name = folded(hour)
    swap = Swap(disk, f"{folder.replace('/', '-')}-{hour:02d}")
    packed = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True).compress(lines)
    swap.bytes(f"{folder}/{name}", packed)
    if archive.unpack(packed) != (lines, ""):
        raise NotAsWritten(f"{folder}/{name}: what is unpacked is not what was packed")
    for part in parts:
        swap.drop(f"{folder}/{part.name}")
    return swap.commit()


# --- bars ---


def fold_bars(disk: Disk, venue: str, symbol: str, date: str, hour: int, use_agg: bool | None) -> bool:
    """``part_1342_….parquet`` … into ``hour_13.parquet``: one row a second, in order of time. Whether it was done.

    A part that cannot be read is set aside, and the hour made again from the archive.
    """
    folder = paths.bars_dir(venue, symbol, date)
    names = bar_hours(disk, folder).get(hour, [])
    name = f"hour_{hour:02d}.parquet"
    if not names or (names == [name] and disk.table_meta(f"{folder}/{name}") is not None):
        return False
    tables = {f"{folder}/{one}": read_bars(disk, f"{folder}/{one}") for one in names}
    readable = {path: table for path, table in tables.items() if table is not None}
    rows = one_a_second(list(readable.values()))
    if len(readable) < len(names):
        for path in sorted(tables.keys() - readable.keys()):
            set_aside(disk, path, "no readable Parquet file")
        rows = again(disk, venue, symbol, date, hour, rows, use_agg)
    return install(disk, f"{folder}/{name}", rows, list(readable))


def install(disk: Disk, path: str, rows: pa.Table, old: Sequence[str]) -> bool:
    """These rows at `path`, instead of the `old` files."""
    swap = Swap(disk, path.replace("/", "-"))
    swap.table(path, rows, **BAR_OPTIONS)
    for one in old:
        swap.drop(one)
    return swap.commit()


def set_aside(disk: Disk, path: str, why: str) -> None:
    """Moves a broken file out of the data, for somebody to look at."""
    target = f"quarantine/{path.replace('/', '.')}"
    logger.error(f"{path}: {why}; set aside as {target}")
    disk.mkdir("quarantine")
    disk.replace(path, target)


def one_a_second(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all, in order of time; of a second that stands twice the one of the highest revision."""
    rows = pa.concat_tables([BAR_SCHEMA.empty_table(), *tables])
    rows = rows.sort_by([("window_start", "ascending"), ("revision", "ascending")]).combine_chunks()
    if rows.num_rows < 2:
        return rows
    starts = rows.column("window_start").combine_chunks()
    is_last = pc.not_equal(starts.slice(0, len(starts) - 1), starts.slice(1))
    return rows.filter(pa.concat_arrays([is_last, pa.array([True])])).combine_chunks()


def again(
    disk: Disk, venue: str, symbol: str, date: str, hour: int, stored: pa.Table, use_agg: bool | None
) -> pa.Table:
    """The hour's rows made from the archive; where it holds nothing, those that are stored."""
    if hour not in archive.held_hours(disk, venue, symbol, date):
        return stored
    bars = Rebuild(disk, venue, symbol, use_agg).hour(date, hour)
    return revised(stored, bar_table(bars, venue))


def revised(stored: pa.Table, made: pa.Table) -> pa.Table:
    """The rows of `made`, each a revision higher than the stored row that it changes."""
    before = dict(zip(starts(stored), stored.to_pylist(), strict=True))
    rows = made.to_pylist()
    for start, row in zip(starts(made), rows, strict=True):
        old = before.get(start)
        if old is not None:
            same = all(old[name] == value for name, value in row.items() if name != "revision")
            row["revision"] = old["revision"] + (not same)
    return pa.Table.from_pylist(rows, schema=BAR_SCHEMA)
