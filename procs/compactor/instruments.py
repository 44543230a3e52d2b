"""``instruments/<venue>/<date>.parquet``: what the venue said of each recorded symbol on a day, as ingest kept it."""

from __future__ import annotations

from datetime import date as Date
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pyarrow as pa
from loguru import logger

from shared import archive, paths, venues
from shared.files import TMP, Disk

VERSION = 1
SIZES = ("tick_size", "lot_size", "min_qty", "max_qty", "min_notional")
_WORDS = ("symbol", "status", "base", "quote", "kind")
_EXACT = pa.decimal128(38, 18)
SCHEMA = pa.schema(
    [
        ("venue", pa.string()),
        ("date", pa.date32()),
        *((name, pa.string()) for name in _WORDS),
        *((name, _EXACT) for name in SIZES),
        ("asked", pa.timestamp("us", tz="UTC")),
    ]
)


class Said(msgspec.Struct):
    """The last word of a day."""

    ts: int
    symbols: dict[str, dict[str, Any]]


class Kept(msgspec.Struct):
    """``journal/<stage>/instruments.json``."""

    version: int
    venue: str
    days: dict[str, Said]


def make(disk: Disk, date: str | None = None) -> int:
    """Writes what is new; how many files."""
    made = 0
    for folder in [f"instruments/{venue}" for venue in disk.list("instruments")]:
        for name in disk.list(folder):
            if name.endswith(TMP):  # of a run that was killed; perhaps nothing is to be written any more
                disk.remove(f"{folder}/{name}")
    for stage in disk.list("journal"):
        kept = _read(disk, f"journal/{stage}/instruments.json")
        if kept is None:
            continue
        for day, said in sorted(kept.days.items()):
            if date in (None, day) and archive.is_date(day) and said.symbols:
                made += _write(disk, paths.instruments_file(kept.venue, day), _table(kept.venue, day, said))
    return made


def _read(disk: Disk, path: str) -> Kept | None:
    try:
        kept = msgspec.json.decode(disk.read(path), type=Kept)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # ingest writes it anew at its next question
        logger.warning(f"{path}: {error}")
        return None
    return kept if kept.version == VERSION and kept.venue in venues.names() else None


def _table(venue: str, day: str, said: Said) -> pa.Table:
    rows = [
        {
            "venue": venue,
            "date": Date.fromisoformat(day),
            **{name: _text(one.get(name)) for name in _WORDS},
            **{name: _number(one.get(name)) for name in SIZES},
            "asked": said.ts // 1000,
        }
        for _, one in sorted(said.symbols.items())
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> Decimal | None:
    """Exact, or null where the venue sends none, or none that fits."""
    try:
        number = Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None
    fits = number is not None and number.is_finite() and abs(number) < Decimal(10) ** 20
    return round(number, 18) if fits and number is not None else None


def _write(disk: Disk, path: str, table: pa.Table) -> bool:
    if disk.table_meta(path) is not None and disk.read_table(path).equals(table):
        return False
    disk.write_table(path + TMP, table, compression="zstd")
    try:
        disk.replace(path + TMP, path)
    except PermissionError as error:  # held open by a reader (Windows)
        logger.warning(f"{error}; tried again next time")
        return False
    disk.sync_dir(path.rpartition("/")[0])
    return True
