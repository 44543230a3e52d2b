"""How a tick file's columns are encoded and compressed: small, and quick to read where nearly every question reads."""

from __future__ import annotations

from inspect import signature
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from shared.tables import RAW_COLUMNS

GROUP = 1 << 16
"""Rows of a row group, and of a page: a reader begins anew with each, and the packer forgets what it has seen."""
PAGES = {"max_rows_per_page": GROUP} if "max_rows_per_page" in signature(pq.ParquetWriter.__init__).parameters else {}
"""A page of 20,000 rows, as pyarrow makes them where nothing is said (and the first of these cannot be told), takes a
quarter longer to read.
"""
LEVELS = {"trades": 15, "quotes": 6, "agg_trades": 15}
"""Of zstd. Each trade is written once and read for years: 3 us of work take a tenth off it."""
QUICK = {
    "trades": ("ts", "trade_id", "price", "qty", "side"),
    "quotes": (),
    "agg_trades": ("ts", "agg_id", "price", "qty", "side"),
}
"""What nearly every question reads: a byte more a trade, and read in less than half of the time."""
ROOM = 0.5
"""So many bytes a row may a column of these take beyond the smallest way."""
DICTIONARY, DELTA, PLAIN = "DICTIONARY", "DELTA_BINARY_PACKED", "PLAIN"
"""The encodings that every reader knows."""


class Way(NamedTuple):
    encoding: str
    codec: str
    level: int | None = None


QUICK_WAYS = (Way(DICTIONARY, "none"), Way(DICTIONARY, "lz4", 12), Way(DELTA, "lz4", 12), Way(PLAIN, "lz4", 12))
"""From the quickest on. Of a million numbers: 1.6 ms, 2.1, 2.8 and 2.8."""


def options(kind: str, schema: pa.Schema, first: pa.Table | None) -> dict[str, Any]:
    """For the writer, as is best for the first group."""
    words = {name for name, of in RAW_COLUMNS if of == "string"}
    small = [Way(encoding, "zstd", LEVELS[kind]) for encoding in (DELTA, PLAIN, DICTIONARY)]
    ways = {}
    for field in schema:
        able = [way for way in (QUICK_WAYS if field.name in QUICK[kind] else small) if _can(way, field, words)]
        if first is None or first.column(field.name).null_count == first.num_rows:
            ways[field.name] = Way(DICTIONARY if field.name in words else PLAIN, *small[0][1:])
        else:
            ways[field.name] = _best(first.select([field.name]), able, ROOM if field.name in QUICK[kind] else 0)
    return _options(ways)


def _can(way: Way, field: pa.Field, words: set[str]) -> bool:
    if field.name in words:
        return way.encoding == DICTIONARY
    return way.encoding != DELTA or not pa.types.is_decimal128(field.type)


def _best(column: pa.Table, ways: list[Way], room: float) -> Way:
    """The first that takes few enough bytes."""
    sizes = [_size(column, way) for way in ways]
    most = min(sizes) + room * column.num_rows
    return next(way for way, size in zip(ways, sizes, strict=True) if size <= most)


def _size(column: pa.Table, way: Way) -> int:
    out = pa.BufferOutputStream()
    pq.write_table(column, out, **_options({column.column_names[0]: way}))
    size: int = out.tell()
    return size


def _options(ways: dict[str, Way]) -> dict[str, Any]:
    return {
        "compression": {name: way.codec for name, way in ways.items()},
        "compression_level": {name: way.level for name, way in ways.items() if way.level is not None} or None,
        "use_dictionary": [name for name, way in ways.items() if way.encoding == DICTIONARY],
        "column_encoding": {name: way.encoding for name, way in ways.items() if way.encoding != DICTIONARY} or None,
        "store_decimal_as_integer": True,
        **PAGES,
    }
