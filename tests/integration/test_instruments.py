"""What ingest has kept of the venue's word on its symbols becomes a table a day."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.compactor import Config
from procs.compactor.instruments import make
from procs.compactor.work import compact
from shared import lake, paths
from shared.errand import Errand
from shared.files import Files
from shared.process import Lifeline
from shared.venues import Instrument

TS = paths.day_start("2025-10-20") + paths.HOUR
SOL = Instrument("SOLUSDT", "TRADING", "SOL", "USDT", "spot", "0.01000000", "0.00100000", "0.001", "9000", "5.0")
KEPT = "journal/binance/instruments.json"


def kept(*instruments: Instrument, ts: int = TS, date: str = "2025-10-20", **more: Any) -> bytes:
    symbols = {one.symbol: one for one in instruments}
    said = {"version": 1, "venue": "binance", "days": {date: {"ts": ts, "symbols": symbols}}}
    return msgspec.json.encode({**said, **more})


def test_a_day_has_a_table_and_a_view(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write(KEPT, kept(SOL, Instrument("ADAUSDT", "BREAK", "ADA", "USDT")))
    compact(Errand(disk, Config(), None, None, False, Lifeline()))
    rows = disk.read_table(paths.instruments_file("binance", "2025-10-20")).to_pylist()
    assert [row["symbol"] for row in rows] == ["ADAUSDT", "SOLUSDT"]
    assert (rows[1]["tick_size"], rows[1]["max_qty"]) == (Decimal("0.01"), Decimal(9000))
    asked = "SELECT symbol, status, tick_size, min_notional, epoch_ns(asked) FROM instruments ORDER BY symbol"
    assert lake.query(tmp_path, asked).rows == [
        ("ADAUSDT", "BREAK", None, None, TS),
        ("SOLUSDT", "TRADING", 0.01, 5.0, TS),
    ]


def test_a_file_is_written_when_there_is_something_new(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write(KEPT, kept(SOL))
    assert make(disk, "2025-10-19") == 0
    assert (make(disk), make(disk)) == (1, 0)
    disk.write(KEPT, kept(SOL, ts=TS + paths.HOUR))
    assert make(disk) == 1
    assert disk.list("instruments/binance") == ["2025-10-20.parquet"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"version":1}',
        kept(SOL, venue="../elsewhere"),
        kept(SOL, version=2),
        kept(SOL, date="../../x"),
        kept(),
    ],
)
def test_what_makes_no_sense_is_no_table(tmp_path: Path, data: bytes) -> None:
    disk = Files(tmp_path)
    disk.write(KEPT, data)
    assert make(disk) == 0 and disk.list("instruments") == []


@pytest.mark.parametrize("size", ["NaN", "x", "1e30", "Infinity", ""])
def test_a_size_that_is_no_number_is_null(tmp_path: Path, size: str) -> None:
    disk = Files(tmp_path)
    disk.write(KEPT, kept(msgspec.structs.replace(SOL, tick_size=size)))
    assert make(disk) == 1
    row = disk.read_table(paths.instruments_file("binance", "2025-10-20")).to_pylist()[0]
    assert (row["tick_size"], row["lot_size"]) == (None, Decimal("0.001"))
