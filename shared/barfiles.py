"""Bars as Arrow tables in the lake's schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
_FLOATS = [at for at, field in enumerate(BAR_SCHEMA) if field.type == pa.float64()]
_START = BAR_SCHEMA.get_field_index("window_start")
_NUMPY: dict[pa.DataType, Any] = {pa.int32(): np.int32, pa.int16(): np.int16}
"""All other whole numbers are of 64 bits."""
TOGETHER = 1000
"""Rows that are laid out together: a minute of some symbols, and few enough to stay in the processor's cache."""


def bar_tables(parts: Sequence[Sequence[Bar]], venue: str) -> Iterator[pa.Table]:
    """A table for each part. Small ones are laid out as one and cut: for the sixty bars of a minute by themselves that
    costs twice as much.
    """
    several: list[Sequence[Bar]] = []
    rows = 0
    for part in parts:
        if several and rows + len(part) > TOGETHER:
            yield from _cut(several, venue)
            several, rows = [], 0
        several.append(part)
        rows += len(part)
    yield from _cut(several, venue)


def _cut(parts: Sequence[Sequence[Bar]], venue: str) -> Iterator[pa.Table]:
    table, begin = bar_table([bar for part in parts for bar in part], venue), 0
    for part in parts:
        yield table.slice(begin, len(part))
        begin += len(part)


def bar_table(bars: Sequence[Bar], venue: str) -> pa.Table:
    """Bars as a table, rows in the order given."""
    if len(bars) > TOGETHER:
        pieces = (bars[at : at + TOGETHER] for at in range(0, len(bars), TOGETHER))
        return pa.concat_tables([bar_table(piece, venue) for piece in pieces]).combine_chunks()
    if not bars:
        return BAR_SCHEMA.empty_table()
    columns: list[Sequence[Any]] = [*zip(*map(msgspec.structs.astuple, bars), strict=True), (venue,) * len(bars)]
    columns[_START] = [start // 1000 for start in columns[_START]]
    # All at once; no number of a bar is NaN, so what is one is absent.
    floats = np.array([columns[at] for at in _FLOATS], np.float64)
    absent = np.isnan(floats)
    arrays = [_array(columns[at], field.type) if at not in _FLOATS else None for at, field in enumerate(BAR_SCHEMA)]
    for row, at in enumerate(_FLOATS):
        arrays[at] = _numbers(pa.float64(), floats[row], absent[row] if absent[row].any() else None)
    return pa.Table.from_arrays(arrays, schema=BAR_SCHEMA)


def _numbers(kind: pa.DataType, numbers: NDArray[Any], absent: NDArray[np.bool_] | None) -> pa.Array:
    valid = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind, len(numbers), [valid, pa.py_buffer(numbers)])


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """As ``pa.array`` makes it, which would first load pandas wherever that is installed: a quarter of a second, and
    memory for as long as the process lives.
    """
    absent = np.array([value is None for value in values]) if None in values else None
    if kind == pa.string():
        texts = [(value or "").encode() for value in values]
        ends = np.zeros(len(texts) + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=ends[1:])
        valid = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little").tobytes())
        return pa.Array.from_buffers(kind, len(texts), [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])
    present = [0 if value is None else value for value in values] if absent is not None else values
    if kind == pa.bool_():
        bits = np.packbits(np.array(present, np.bool_), bitorder="little")
        valid = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little").tobytes())
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(bits)])
    return _numbers(kind, np.array(present, _NUMPY.get(kind, np.int64)), absent)


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
