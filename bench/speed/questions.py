"""Our side of P6 to P8, each in a process of its own: bars from raw lines, bars from ticks, a question to the lake.

python -m bench.speed.questions rebuild LAKE OUT      the product's own bars of a symbol-day, exact, every column
python -m bench.speed.questions lines LAKE OUT        the day's bars by the lake's views in DuckDB
python -m bench.speed.questions ticks LAKE OUT        bars of one second of all ticks, as the product makes them
python -m bench.speed.questions statement LAKE OUT    the same by the lake's views in DuckDB
python -m bench.speed.questions rollup LAKE OUT       one symbol's minutes from its seconds, three times
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.speed.market import START_US, symbols
from shared import paths

SYMBOL = symbols(1)[0]
DATE = paths.date_of(START_US * 1000)
TIMES = 3
# Open and close go by id: two trades of one instant have an order, and only that one. Whole seconds by division:
# time_bucket asks the calendar, which costs a third of the statement.
_BARS = """
    SELECT symbol, make_timestamptz(epoch_us(ts) // 1000000 * 1000000) AS window_start,
           arg_min(price, trade_id) AS open, max(price) AS high, min(price) AS low, arg_max(price, trade_id) AS close,
           sum(qty) AS volume_base, sum(price * qty) AS volume_quote, count(*) AS trade_count,
           sum(price * qty) / sum(qty) AS vwap
    FROM trades WHERE {where} GROUP BY ALL
"""
# The same, and the quotes, in one pass over the lines: a day that is not compacted yet.
_LINES = """
    SELECT symbol, make_timestamptz(epoch_us(ts) // 1000000 * 1000000) AS window_start,
           arg_min(price, trade_id) AS open, max(price) AS high, min(price) AS low, arg_max(price, trade_id) AS close,
           sum(qty) AS volume_base, sum(price * qty) AS volume_quote, count(trade_id) AS trade_count,
           sum(price * qty) / sum(qty) AS vwap, arg_max(bid, update_id) AS bid, arg_max(ask, update_id) AS ask
    FROM raw_lines WHERE {where} GROUP BY ALL ORDER BY window_start
"""


def rebuild(lake: Path, out: Path) -> dict[str, Any]:
    """What the compactor does where an hour's bars are to be made again."""
    from shared import compiled
    from shared.barfiles import joined
    from shared.files import Files
    from shared.process import tune_gc
    from shared.rebuild import Rebuild

    compiled.load()
    tune_gc()
    bars = Rebuild(Files(lake), "binance", SYMBOL).hours(DATE)
    Files(out.parent).write_table(out.name, table := joined(bars, "binance"), "snappy")
    return {"trades": sum(table.column("trade_count").to_pylist()), "rows": table.num_rows}


def lines(lake: Path, out: Path) -> dict[str, Any]:
    """One statement, as a notebook would send it."""
    from shared.lake import connect

    where = f"venue = 'binance' AND symbol = '{SYMBOL}' AND date = DATE '{DATE}'"
    con = connect(lake)
    con.execute(f"COPY ({_LINES.format(where=where)}) TO '{out.as_posix()}' (FORMAT parquet, COMPRESSION snappy)")
    found = con.execute(f"SELECT sum(trade_count), count(*) FROM '{out.as_posix()}'").fetchone()
    assert found is not None
    return {"trades": int(found[0]), "rows": int(found[1])}


def ticks(lake: Path, out: Path) -> dict[str, Any]:
    """Every column of a bar that trades tell, exact, a table a symbol and day. Imports are not counted, as pandas' own
    are not; what is loaded at the first use is.
    """
    import pyarrow.compute as pc

    from shared.tickbars import trade_bars

    began = time.perf_counter()
    trades = rows = 0
    for table in trade_bars(lake):
        trades += pc.sum(table.column("trade_count")).as_py()
        rows += table.num_rows
    return {"seconds": time.perf_counter() - began, "trades": trades, "rows": rows}


def statement(lake: Path, out: Path) -> dict[str, Any]:
    """One statement, as a notebook would send it; sums of floats. Again without the imports."""
    import pyarrow.compute as pc

    from shared.lake import connect

    began = time.perf_counter()
    rows = connect(lake).sql(_BARS.format(where="venue = 'binance'")).to_arrow_table()
    assert rows is not None
    trades = pc.sum(rows.column("trade_count")).as_py()
    return {"seconds": time.perf_counter() - began, "trades": trades, "rows": rows.num_rows}


def rollup(lake: Path, out: Path) -> dict[str, Any]:
    """The fastest of a few, with a warm cache; and what came out, to be compared."""
    from shared.lake import connect

    began = time.perf_counter()
    con = connect(lake)
    connected = time.perf_counter() - began
    asks = f"SELECT * FROM bars('1 minute') WHERE symbol = '{SYMBOL}' ORDER BY window_start"
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        rows = con.execute(asks).fetchall()
        seconds.append(time.perf_counter() - began)
    return {"rows": len(rows), "answer": repr(rows), "query": min(seconds), "connect": connected}


def main() -> None:
    work: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
        "rebuild": rebuild, "lines": lines, "ticks": ticks, "statement": statement, "rollup": rollup
    }  # fmt: skip
    began = time.perf_counter()
    found = work[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - began, **found}) + "\n")


if __name__ == "__main__":
    main()
