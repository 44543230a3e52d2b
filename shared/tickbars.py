"""Bars of any width from the ticks of closed days: ``trade_bars("data", 100, symbol="SOLUSDT")`` has ten a second.

What trades tell of a bar, and the same to the last bit: sums are exact before they become floats, open and close are
the prices of the lowest and the highest trade id. Symbols and days are read side by side on all cores, each in pieces:
with the compiled loops a day is never in memory whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared import compiled, paths
from shared.barfiles import BAR_SCHEMA
from shared.tradesums import Digits, Numbers, Sums, Trades, summed

PIECE: Final = 1 << 16
"""Rows at a time: few enough to stay in the processor's cache, enough that asking for them is little."""
_READ: Final = ["ts", "trade_id", "price", "qty", "side"]
KIND: Final = "trade_type"
"""Of futures: what was no execution in the book is in no bar."""
_COLUMNS: Final = (
    "symbol", "window_start", "open", "high", "low", "close", "volume_base", "volume_quote", "trade_count", "vwap",
    "buy_volume_base", "buy_volume_quote", "buy_count", "first_trade_id", "last_trade_id", "trade_id_sum", "venue",
)  # fmt: skip
SCHEMA: Final = pa.schema([BAR_SCHEMA.field(name) for name in _COLUMNS])
"""Those columns of a bar that follow from its trades, in the bar's order."""


def trade_bars(
    root: str | Path, every_ms: int = 1000, *, venue: str = "", symbol: str = "", since: str = "", until: str = ""
) -> Iterator[pa.Table]:
    """Of every closed day from `since` to `until` (dates, both included), of all venues, symbols and days where nothing
    else is said: a table for each symbol and day, by venue, symbol and date. A window without a trade has no row.

    Raises ValueError where a day is no multiple of `every_ms`, and for a file that is none of ticks.
    """
    width = every_ms * 1_000_000
    if width <= 0 or paths.DAY % width:
        raise ValueError(f"every_ms: a day is no multiple of {every_ms} ms")
    files = [
        path
        for path in sorted(Path(root).glob(f"ticks/{venue or '*'}/{paths.safe(symbol) or '*'}/trades/*.parquet"))
        if since <= path.stem and (not until or path.stem <= until)
    ]
    compiled.load()
    return _days(files, width)


def _days(files: list[Path], width: int) -> Iterator[pa.Table]:
    """Reading, decoding and summing let go of the interpreter: threads are enough to use all cores."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        ahead = [pool.submit(_day, path, width) for path in files[: 2 * cores]]
        for at in range(len(files)):
            yield ahead.pop(0).result()
            ahead += [pool.submit(_day, path, width) for path in files[at + 2 * cores : at + 2 * cores + 1]]


def _day(path: Path, width: int) -> pa.Table:
    with pq.ParquetFile(path, read_dictionary=["side"], pre_buffer=False) as file:
        schema = file.schema_arrow
        kinds = {name: schema.field(name).type for name in _READ}
        if kinds["ts"] != pa.timestamp("ns", "UTC") or not all(
            map(pa.types.is_decimal, (kinds["price"], kinds["qty"]))
        ):
            raise ValueError(f"{path} holds no ticks: {kinds}")
        digits = Digits(kinds["price"].scale, kinds["qty"].scale)
        names = _READ if _is_absent(file, schema.get_field_index(KIND)) else [*_READ, KIND]

        def read() -> Iterator[Trades]:
            return map(_trades, file.iter_batches(PIECE, columns=names, use_threads=False))

        most = min(file.metadata.num_rows, paths.DAY // width)
        sums = summed(read, width, most, digits)
    return _table(sums, path.parts[-4], paths.symbol_of(path.parts[-3]))


def _is_absent(file: pq.ParquetFile, at: int) -> bool:
    """Whether no row has anything in this column, as the file itself says."""
    columns = [file.metadata.row_group(group).column(at) for group in range(file.num_row_groups)]
    return all(one.is_stats_set and one.statistics.null_count == one.num_values for one in columns)


# --- columns, without a copy ---


def _trades(rows: pa.RecordBatch) -> Trades:
    if KIND in rows.schema.names:
        kind = rows.column(KIND)
        rows = rows.filter(pc.or_kleene(pc.is_null(kind), pc.equal(kind, "MARKET"))).select(_READ)
    columns = [rows.column(name) for name in _READ]
    if any(column.null_count for column in columns):
        raise ValueError("a trade without time, id, price, quantity or side")
    ts, ids, price, qty, side = columns
    words = side.dictionary.to_pylist()
    codes = _values(side.indices, np.int32)
    return Trades(
        _values(ts), _values(ids), _numbers(price), _numbers(qty), codes, words.index("buy") if "buy" in words else -1
    )


def _values(column: pa.Array, kind: Any = np.int64) -> Any:
    if not len(column):
        return np.empty(0, kind)
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * np.dtype(kind).itemsize)


def _numbers(column: pa.Array) -> Numbers:
    """Decimals as counts of their last digit."""
    if column.type.byte_width == 8:
        short: Numbers = _values(column)
        return short
    halves = _values(column, np.dtype([("low", np.uint64), ("high", np.int64)]))
    return np.asarray(halves["high"].astype(object) << 64 | halves["low"].astype(object))


# --- bars ---
# From buffers, for ``pa.array`` and ``pa.repeat`` would first load pandas, wherever that is installed.


def _table(sums: Sums, venue: str, symbol: str) -> pa.Table:
    count = len(sums.begin)
    words = {"symbol": _repeated(symbol, count), "venue": _repeated(venue, count)}
    numbers = sums._asdict() | {"window_start": sums.begin // 1000}
    arrays = [
        words[field.name] if field.name in words else _array(numbers[field.name], field.type, field.name == "vwap")
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _repeated(word: str, count: int) -> pa.Array:
    text = word.encode()
    ends = np.arange(count + 1, dtype=np.int32) * np.int32(len(text))
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(ends), pa.py_buffer(text * count)])


def _array(values: Numbers, kind: pa.DataType, may_be_absent: bool) -> pa.Array:
    """What is not a number is null."""
    valid = None
    if may_be_absent and (absent := np.isnan(values)).any():
        valid = pa.py_buffer(np.packbits(~absent, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])
