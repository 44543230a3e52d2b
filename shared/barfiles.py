"""Bars as Arrow tables in the lake's schema."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

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
_NUMPY: dict[pa.DataType, Any] = {pa.float64(): np.float64, pa.int32(): np.int32, pa.int16(): np.int16}
"""All others are of 64 bits."""
BAR_SCHEMA = pa.schema([pa.field(name, _TYPES[kind]) for name, kind in BAR_COLUMNS])


def bar_table(bars: Sequence[Bar], venue: str) -> pa.Table:
    """Bars as a table, rows in the order given."""
    columns = [list(map(attrgetter(name), bars)) for name in Bar.__struct_fields__]
    columns[1] = [start // 1000 for start in columns[1]]
    columns.append([venue] * len(bars))
    arrays = [_array(column, field.type) for column, field in zip(columns, BAR_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=BAR_SCHEMA)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """As ``pa.array`` makes it, which would first load pandas wherever that is installed: a quarter of a second, and
    memory for as long as the process lives.
    """
    count, absent, valid = len(values), None in values, None
    if absent:
        held = np.array([value is not None for value in values])
        valid = pa.py_buffer(np.packbits(held, bitorder="little").tobytes())
    if kind == pa.string():
        texts = [(value or "").encode() for value in values]
        ends = np.zeros(count + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=ends[1:])
        return pa.Array.from_buffers(kind, count, [valid, pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(texts))])
    present = [0 if value is None else value for value in values] if absent else values
    if kind == pa.bool_():
        data = np.packbits(np.array(present, np.bool_), bitorder="little")
    else:
        data = np.array(present, _NUMPY.get(kind, np.int64))
    return pa.Array.from_buffers(kind, count, [valid, pa.py_buffer(data.tobytes())])


def starts(table: pa.Table) -> list[int]:
    """``window_start`` of each row in nanoseconds."""
    found: list[int] = table.column("window_start").cast(pa.int64()).to_pylist()
    return [micros * 1000 for micros in found]


def with_newer(old: pa.Table, newer: pa.Table) -> pa.Table:
    """`old` with the rows of the same second replaced by those of `newer`, in order of time. One symbol each."""
    import pyarrow.compute as pc  # a tenth of a second, which most have no need of

    replaced = pc.is_in(old.column("window_start"), value_set=newer.column("window_start").combine_chunks())
    kept = old.filter(pc.invert(replaced)).cast(BAR_SCHEMA)
    return pa.concat_tables([kept, newer]).sort_by("window_start")
