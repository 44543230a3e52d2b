"""Bars from tick files are the bars that the stream made, in every column that trades tell."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from procs.compactor import Config
from procs.compactor.work import compact
from shared import paths, tickbars
from shared.barfiles import bar_table
from shared.errand import Errand
from shared.events import Bar, Quote, Trade
from shared.files import Files
from shared.process import Lifeline
from shared.tickbars import SCHEMA, trade_bars
from tests.fixtures.loops import loops as loops
from tests.fixtures.small_lake import HOUR, MINUTE, VENUE, Market, write_lake

DAYS = ("2025-10-20", "2025-10-21")
FIRST, SECOND_DAY, END = (paths.day_start(date) for date in (*DAYS, "2025-10-22"))
SYMBOLS = ("ADAUSDT", "SOLUSDT", "1000$X")
Events = list[Trade | Quote]


@dataclass(frozen=True)
class Lake:
    """Two closed days of three symbols."""

    root: Path
    events: Events
    bars: list[Bar]


@pytest.fixture(scope="module")
def closed_days(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    root = tmp_path_factory.mktemp("lake")
    disk = Files(root)
    events: Events = []
    for symbol in SYMBOLS:
        market = Market(symbol)
        for start in (FIRST, FIRST + 6 * HOUR, SECOND_DAY + 23 * HOUR):
            events += market.events(start, 120, trades=4, quotes=1, every=2)
    bars = write_lake(disk, events, (), END + 3 * MINUTE)
    close(disk)
    return Lake(root, events, bars)


@pytest.fixture
def copied(closed_days: Lake, tmp_path: Path) -> Lake:
    """To be spoilt."""
    shutil.copytree(closed_days.root / "ticks", tmp_path / "ticks")
    return Lake(tmp_path, closed_days.events, closed_days.bars)


def close(disk: Files) -> None:
    assert compact(Errand(disk, Config(), None, None, False, Lifeline())) == 0


def table_of(bars: list[Bar]) -> pa.Table:
    return bar_table([bar for bar in bars if bar.trade_count], VENUE).select(SCHEMA.names)


def all_of(root: Path, every_ms: int = 1000, **which: str) -> pa.Table:
    tables = list(trade_bars(root, every_ms, **which))
    return pa.concat_tables([SCHEMA.empty_table(), *tables])


def by_symbol(table: pa.Table) -> pa.Table:
    return table.sort_by([("symbol", "ascending"), ("window_start", "ascending")])


@pytest.mark.parametrize("piece", [1, 100, 1 << 16])
def test_they_are_the_bars_of_the_stream(closed_days: Lake, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(tickbars, "PIECE", piece)
    found = all_of(closed_days.root)
    assert found.schema == SCHEMA and found.num_rows == 3 * 3 * 60
    assert by_symbol(found).equals(by_symbol(table_of(closed_days.bars)))


def test_a_table_is_a_symbol_and_a_day_and_who_names_some_gets_no_others(closed_days: Lake) -> None:
    found = [
        (table["symbol"][0].as_py(), str(table["window_start"][0].as_py().date()))
        for table in trade_bars(closed_days.root)
    ]
    assert found == [(symbol, date) for symbol in ("1000$X", "ADAUSDT", "SOLUSDT") for date in DAYS]
    for symbol in SYMBOLS:
        (table,) = trade_bars(closed_days.root, venue=VENUE, symbol=symbol, since=DAYS[1])
        assert pc.unique(table["symbol"]).to_pylist() == [symbol] and table.num_rows == 60
    assert len(list(trade_bars(closed_days.root, until=DAYS[0]))) == 3
    assert list(trade_bars(closed_days.root, venue="other")) == [] == list(trade_bars(closed_days.root, symbol="SOL"))


def test_a_window_may_be_shorter_or_longer_than_a_second(closed_days: Lake) -> None:
    trades = [event for event in closed_days.events if isinstance(event, Trade)]
    for every_ms in (1, 250, 60_000, 86_400_000):
        found = all_of(closed_days.root, every_ms)
        starts = {(trade.symbol, trade.ts // (every_ms * 1_000_000) * every_ms * 1000) for trade in trades}
        rows = zip(found["symbol"].to_pylist(), found["window_start"].cast(pa.int64()).to_pylist(), strict=True)
        assert sorted(rows) == sorted(starts)
        assert pc.sum(found["trade_count"]).as_py() == len(trades)
    day = all_of(closed_days.root, 86_400_000, symbol="SOLUSDT", until=DAYS[0]).to_pylist()[0]
    mine = [trade for trade in trades if trade.symbol == "SOLUSDT" and trade.ts < SECOND_DAY]
    assert (day["open"], day["close"]) == (float(mine[0].price), float(mine[-1].price))
    for wrong in (0, -1000, 7):
        with pytest.raises(ValueError, match="every_ms"):
            trade_bars(closed_days.root, wrong)


def test_what_was_no_execution_in_the_book_is_in_no_bar(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    kinds = ("MARKET", "INSURANCE_FUND", "MARKET", "ADL")
    events: Events = [
        msgspec.structs.replace(trade, trade_type=kinds[at % 4])
        for at, trade in enumerate(Market().events(FIRST + HOUR, 60, trades=5, quotes=0))
        if isinstance(trade, Trade)
    ]
    bars = write_lake(disk, events, (), SECOND_DAY + 3 * MINUTE)
    close(disk)
    found = all_of(tmp_path)
    assert found.equals(table_of(bars)) and pc.sum(found["trade_count"]).as_py() == 150


def test_numbers_that_no_64_bits_hold_are_exact(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events: Events = [
        msgspec.structs.replace(trade, qty=f"{12345678901234567890 + at}.12345678", price="0.00000712")
        for at, trade in enumerate(Market().events(FIRST + HOUR, 5, trades=5, quotes=0))
        if isinstance(trade, Trade)
    ]
    bars = write_lake(disk, events, (), SECOND_DAY + 3 * MINUTE)
    close(disk)
    assert pa.types.is_decimal128(pq.read_schema(next(tmp_path.glob("ticks/*/*/trades/*"))).field("qty").type)
    assert all_of(tmp_path).equals(table_of(bars))


def test_files_of_an_earlier_layout_are_read_as_well(copied: Lake) -> None:
    for path in copied.root.glob("ticks/*/*/trades/*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        schema = pa.schema([field.with_nullable(True) for field in rows.schema])
        pq.write_table(rows.cast(schema), path, row_group_size=50, use_dictionary=False, write_statistics=False)
    assert by_symbol(all_of(copied.root)).equals(by_symbol(table_of(copied.bars)))


def test_a_file_that_holds_no_ticks_is_refused(copied: Lake) -> None:
    path = copied.root / paths.tick_file(VENUE, "ADAUSDT", "trades", DAYS[0])
    rows = pq.read_table(path, partitioning=None)
    at = rows.schema.get_field_index("price")
    pq.write_table(rows.set_column(at, "price", rows["price"].cast(pa.float64())), path)
    with pytest.raises(ValueError, match="holds no ticks"):
        all_of(copied.root)
    pq.write_table(rows.set_column(at, "price", pa.nulls(rows.num_rows, rows.schema.field(at).type)), path)
    with pytest.raises(ValueError, match="a trade without"):
        all_of(copied.root)


def test_a_day_of_quotes_has_none(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    write_lake(disk, Market().events(FIRST, 30, trades=0, quotes=2), (), SECOND_DAY + 3 * MINUTE)
    close(disk)
    assert all_of(tmp_path).num_rows == 0
