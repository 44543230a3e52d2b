"""How tick files are packed: what nearly every question reads for reading, the rest for size."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from procs.compactor.packing import QUICK, options

ROWS = 20_000
NANOSECONDS = pa.timestamp("ns", "UTC")


def trades(price: pa.Array) -> pa.Table:
    chance = Random(3)
    times = pa.array([chance.randrange(1 << 30) * 1000 + at * 10**9 for at in range(ROWS)], NANOSECONDS)
    columns = {
        "symbol": pa.array(["SOLUSDT"] * ROWS),
        "ts_event": times,
        "price": price,
        "side": pa.array(chance.choices(("buy", "sell"), k=ROWS)),
        "ts": times,
        "trade_id": pa.array(range(ROWS)),
        "trade_type": pa.nulls(ROWS, pa.string()),
        "bid": pa.nulls(ROWS, pa.decimal64(18, 8)),
    }
    return pa.table(columns)


def decimals(values: list[int], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.int64()).cast(pa.decimal128(38, 0)).cast(kind)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("kind", [pa.decimal64(18, 0), pa.decimal128(38, 0)])
def test_a_dictionary_is_taken_where_it_is_not_much_larger(few: bool, kind: pa.DataType) -> None:
    chance = Random(4)
    table = trades(decimals([chance.randrange(100 if few else 1 << 40) for _ in range(ROWS)], kind))
    chosen = options("trades", table.schema, table)
    quick = {name for name in table.column_names if name in QUICK["trades"]}
    assert {name for name, codec in chosen["compression"].items() if codec == "zstd"} == {*table.column_names} - quick
    assert ("price" in chosen["use_dictionary"]) == few
    assert {"symbol", "side", "trade_type"} <= {*chosen["use_dictionary"]}
    assert chosen["column_encoding"]["ts"] == chosen["column_encoding"]["trade_id"] == "DELTA_BINARY_PACKED"

    out = pa.BufferOutputStream()
    pq.write_table(table, out, **chosen)
    assert pq.read_table(pa.BufferReader(out.getvalue())).equals(table)


def test_of_no_rows_and_of_quotes_nothing_is_quick() -> None:
    table = trades(decimals([5] * ROWS, pa.decimal64(18, 0)))
    assert set(options("quotes", table.schema, table)["compression"].values()) == {"zstd"}
    nothing = options("trades", table.schema, None)
    out = pa.BufferOutputStream()
    pq.write_table(table.slice(0, 0), out, **nothing)
    assert pq.read_metadata(pa.BufferReader(out.getvalue())).num_rows == 0
