"""Every trade and quote of a closed day as tables: all keys of the raw lines, prices as exact decimals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.archive import Line
from shared.events import AggTrade, Quote, Trade
from shared.tables import RAW_COLUMNS

KINDS: dict[str, tuple[type[Line], str, str]] = {
    "trades": (Trade, "trade", "trade_id"),
    "quotes": (Quote, "bookTicker", "update_id"),
    "agg_trades": (AggTrade, "aggTrade", "agg_id"),
}
"""Folder, event, the raw line's ``stream``, and the id that the file is sorted by."""
PRICES, SIZES = ("price", "bid", "ask"), ("qty", "bid_qty", "ask_qty")
NANOSECONDS = pa.timestamp("ns", tz="UTC")
OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    # Measured on captures: times and ids are smallest as differences, prices and sizes plain, for zstd finds the zeros.
    "use_dictionary": [name for name, kind in RAW_COLUMNS if kind == "string"],
    "column_encoding": {name: "DELTA_BINARY_PACKED" for name, kind in RAW_COLUMNS if kind == "int64"},
    "store_decimal_as_integer": True,
}
_INT64_DIGITS = 18


class Ticks:
    """The rows of one kind, gathered hour by hour: columns are a fraction of what the events take."""

    def __init__(self, kind: str) -> None:
        self._event, self._stream, self._id = KINDS[kind]
        self._hours: list[pa.Table] = []

    def add(self, events: Iterable[Line]) -> None:
        rows = [event for event in events if type(event) is self._event]
        if not rows:
            return
        columns = []
        for name, kind in RAW_COLUMNS:
            if name == "stream":
                columns.append(pa.repeat(self._stream, len(rows)))
                continue
            values = [getattr(row, name) for row in rows] if hasattr(rows[0], name) else None
            as_text = pa.string() if kind in ("string", "decimal") else pa.int64()
            columns.append(pa.array(values, as_text) if values is not None else pa.nulls(len(rows), as_text))
        self._hours.append(pa.Table.from_arrays(columns, names=[name for name, _ in RAW_COLUMNS]))

    def table(self) -> pa.Table:
        """All of it, sorted by id, in the types of a tick file."""
        empty = pa.schema([(name, pa.int64() if kind == "int64" else pa.string()) for name, kind in RAW_COLUMNS])
        rows = pa.concat_tables([empty.empty_table(), *self._hours])
        rows = rows.sort_by([(self._id, "ascending"), ("ts", "ascending"), ("ts_recv", "ascending")])
        price, size = (_decimal([rows.column(name) for name in names]) for names in (PRICES, SIZES))
        types = [_type(name, kind, price, size) for name, kind in RAW_COLUMNS]
        columns = [
            rows.column(name).cast(pa.decimal128(38, kind.scale)).cast(kind) if pa.types.is_decimal(kind)
            else rows.column(name).cast(kind)
            for (name, _), kind in zip(RAW_COLUMNS, types, strict=True)
        ]  # fmt: skip
        schema = pa.schema([(name, kind) for (name, _), kind in zip(RAW_COLUMNS, types, strict=True)])
        return pa.Table.from_arrays(columns, schema=schema)


def _type(name: str, kind: str, price: pa.DataType, size: pa.DataType) -> pa.DataType:
    if kind == "decimal":
        return price if name in PRICES else size
    if kind == "int64":
        return NANOSECONDS if name.startswith("ts") else pa.int64()
    return pa.string()


def _decimal(columns: list[pa.ChunkedArray]) -> pa.DataType:
    """The type that holds all of these numbers with as many digits after the point as the venue writes.

    In 64 bits; where a number is too long for that the zeros at the end are given up, and then the 64 bits.
    """
    written = [column.drop_null() for column in columns]
    whole, places = _digits(written)
    if whole + places > _INT64_DIGITS:
        whole, places = _digits([pc.utf8_rtrim(column, "0") for column in written])
    if whole + places > _INT64_DIGITS:
        return pa.decimal128(38, places)
    return pa.decimal64(_INT64_DIGITS, places)


def _digits(columns: list[pa.ChunkedArray]) -> tuple[int, int]:
    """The most digits before and behind the point."""
    whole = places = 0
    for column in columns:
        if len(column):
            length, point = pc.utf8_length(column), pc.find_substring(column, ".")
            before = pc.if_else(pc.less(point, 0), length, point)
            whole = max(whole, pc.max(before).as_py())
            places = max(places, pc.max(pc.subtract(pc.subtract(length, before), 1)).as_py())
    return whole, max(places, 0)
