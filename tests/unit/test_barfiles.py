"""Bars as a table: what Arrow itself would have made of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from shared.barfiles import BAR_SCHEMA, TOGETHER, bar_table, bar_tables
from shared.events import Bar
from tests.fixtures.small_lake import NOON, SECOND, Market, bars_of

ROOT = Path(__file__).resolve().parents[2]


def as_arrow_would(bars: list[Bar], venue: str) -> pa.Table:
    columns = [list(column) for column in zip(*map(msgspec.structs.astuple, bars), strict=True)]
    columns[1] = [start // 1000 for start in columns[1]]
    columns.append([venue] * len(bars))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, BAR_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=BAR_SCHEMA)


def test_a_table_is_what_arrow_would_have_made_with_and_without_values() -> None:
    bars = bars_of(Market().events(NOON, 40, trades=1, quotes=0, every=3), NOON + 40 * SECOND)
    bars += bars_of(Market("币安").events(NOON, 9, trades=0, quotes=2), NOON + 9 * SECOND)
    bars.append(Bar("", NOON, first_trade_id=2**63 - 1, trade_id_sum=0, is_complete=False, revision=2**31 - 1))
    made = bar_table(bars, "binance")
    made.validate(full=True)
    assert made.schema.equals(BAR_SCHEMA)
    assert made.equals(as_arrow_would(bars, "binance"))
    assert bar_table(bars[:1], "x").equals(as_arrow_would(bars[:1], "x"))
    many = bars * (2 * TOGETHER // len(bars)) + bars[:1]
    assert len(many) > TOGETHER and bar_table(many, "x").equals(as_arrow_would(many, "x"))
    assert bar_table([], "x").equals(BAR_SCHEMA.empty_table())


def test_tables_of_many_parts_are_those_of_each_by_itself() -> None:
    bars = bars_of(Market().events(NOON, 40, trades=1, quotes=0, every=3), NOON + 40 * SECOND)
    bare = [Bar("", NOON, first_trade_id=at) for at in range(3)]
    parts = [bars[at % 7 : 8 + at % 5] if at % 3 else bare[: 1 + at % 2] for at in range(TOGETHER // 4)]
    parts[9:9] = [(bars * 200)[:part] for part in (TOGETHER - 1, TOGETHER, TOGETHER + 1, 0, 2 * TOGETHER + 5)]
    assert sum(map(len, parts)) > 6 * TOGETHER
    made = [*bar_tables(parts, "binance")]
    assert all(column.num_chunks == 1 for table in made for column in table.columns if len(table))
    assert made == [bar_table(part, "binance") for part in parts] and len(made) == len(parts)
    assert [*bar_tables([], "binance")] == []


def test_a_number_that_does_not_fit_is_refused_and_not_cut() -> None:
    for bar in (
        Bar("X", NOON, revision=2**31),
        Bar("X", NOON, trade_count=2**63),
        Bar("X", NOON, quotes_live_ms=2**15),
    ):
        with pytest.raises(OverflowError):
            bar_table([bar], "binance")


def test_pandas_is_not_loaded_for_a_table_even_where_it_is_installed() -> None:
    code = (
        "import sys; from shared.events import Bar; from shared.barfiles import bar_table;"
        "bar_table([Bar('X', 1000)], 'binance'); print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
