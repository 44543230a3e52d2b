"""Bars as Arrow tables in the lake's schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from shared.events import Bar
from shared.tables import BAR_COLUMNS

_TYPES = {
    "string": pa.string(),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int16": pa.int16(),
    "bool": pa.bool_(),
}
BAR_SCHEMA = pa.schema([pa.field(name, _TYPES[kind]) for name, kind in BAR_COLUMNS])


def bar_table(bars: Sequence[Bar], venue: str) -> pa.Table:
    """Bars as a table, rows in the order given."""
    columns: list[list[Any]] = [list(column) for column in zip(*map(msgspec.structs.astuple, bars), strict=True)]
    if not columns:
        return BAR_SCHEMA.empty_table()
    columns[1] = [start // 1000 for start in columns[1]]
    columns.append([venue] * len(bars))
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, BAR_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=BAR_SCHEMA)


def starts(table: pa.Table) -> list[int]:
    """``window_start`` of each row in nanoseconds."""
    found: list[int] = table.column("window_start").cast(pa.int64()).to_pylist()
    return [micros * 1000 for micros in found]


def with_newer(old: pa.Table, newer: pa.Table) -> pa.Table:
    """`old` with the rows of the same second replaced by those of `newer`, in order of time. One symbol each."""
    replaced = pc.is_in(old.column("window_start"), value_set=newer.column("window_start").combine_chunks())
    kept = old.filter(pc.invert(replaced)).cast(BAR_SCHEMA)
    return pa.concat_tables([kept, newer]).sort_by("window_start")
