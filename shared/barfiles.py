"""Bars as Arrow tables in the lake's schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.events import Bar
from shared.rowbars import BarRows
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
_FLOATS = [field.name for field in BAR_SCHEMA if field.type == pa.float64()]
_NUMBERS = BAR_SCHEMA.names[2:-1]
"""All but symbol, ``window_start`` and venue."""
_ABSENT = ("first_trade_id", "last_trade_id", "trade_id_sum", "is_complete")
"""What a bar may be without, besides what has a fraction."""
_NUMPY: dict[pa.DataType, Any] = {
    pa.float64(): np.float64,
    pa.int32(): np.int32,
    pa.int16(): np.int16,
    pa.bool_(): np.bool_,
}
"""All others are whole numbers of 64 bits."""
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


def joined(parts: Iterable[Sequence[Bar]], venue: str) -> pa.Table:
    """All of them as one table, a chunk for each part."""
    tables = [bar_table(bars, venue) for bars in parts]
    return pa.concat_tables(tables) if tables else BAR_SCHEMA.empty_table()


def bar_table(bars: Sequence[Bar], venue: str) -> pa.Table:
    """Bars as a table, rows in the order given."""
    if not bars:
        return BAR_SCHEMA.empty_table()
    if isinstance(bars, BarRows):
        symbols = [bars.symbols[owner] for owner in bars.owner.tolist()]
        return _laid(symbols, bars.columns | {"revision": np.zeros(len(bars))}, bars.absent, venue)
    if len(bars) > TOGETHER:
        pieces = (bars[at : at + TOGETHER] for at in range(0, len(bars), TOGETHER))
        return pa.concat_tables([bar_table(piece, venue) for piece in pieces]).combine_chunks()
    names, begins, *columns = zip(*map(msgspec.structs.astuple, bars), strict=True)
    found: dict[str, Sequence[Any]] = dict(zip(_NUMBERS, columns, strict=True))
    # All at once; no number of a bar is NaN, so what is one is absent.
    floats = np.array([found[name] for name in _FLOATS], np.float64)
    absent: dict[str, NDArray[np.bool_]] = dict(zip(_FLOATS, np.isnan(floats), strict=True))
    for name in _ABSENT:
        if None in found[name]:
            absent[name] = np.array([value is None for value in found[name]])
            found[name] = [value or 0 for value in found[name]]
    found |= dict(zip(_FLOATS, floats, strict=True)) | {"window_start": np.array(begins, np.int64)}
    return _laid(names, found, absent, venue)


def _laid(
    symbols: Sequence[str], numbers: Mapping[str, Any], absent: Mapping[str, NDArray[np.bool_]], venue: str
) -> pa.Table:
    """The columns of a table; `numbers` by their names, ``window_start`` in nanoseconds."""
    count = len(symbols)
    texts = {"symbol": symbols, "venue": (venue,) * count}
    arrays = []
    for name, kind in zip(BAR_SCHEMA.names, BAR_SCHEMA.types, strict=True):
        if name in texts:
            arrays.append(_texts(texts[name]))
            continue
        column = np.asarray(numbers[name], _NUMPY.get(kind, np.int64))
        if name == "window_start":
            column = column // 1000
        data = pa.py_buffer(_bits(column) if kind == pa.bool_() else column)
        is_absent = absent.get(name)
        valid = None if is_absent is None or not is_absent.any() else pa.py_buffer(_bits(~is_absent))
        arrays.append(pa.Array.from_buffers(kind, count, [valid, data]))
    return pa.Table.from_arrays(arrays, schema=BAR_SCHEMA)


def _bits(flags: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(flags, bitorder="little")


def _texts(values: Sequence[str]) -> pa.Array:
    """As ``pa.array`` makes it, which would first load pandas wherever that is installed: a quarter of a second, and
    memory for as long as the process lives.
    """
    count = len(values)
    if values.count(values[0]) == count:  # one symbol, one venue
        text = values[0].encode()
        ends, data = np.arange(count + 1, dtype=np.int32) * len(text), text * count
    else:
        texts = [value.encode() for value in values]
        ends, data = np.zeros(count + 1, np.int32), b"".join(texts)
        np.cumsum([len(text) for text in texts], out=ends[1:])
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(ends), pa.py_buffer(data)])


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
