"""The README's statements run as they stand, on a lake that begins with 30,000 quotes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared import paths
from shared.files import Files
from tests.fixtures.small_lake import Market, bars_of, write_bars, write_raw

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- test: (\w+) -->\n```\w+\n(.*?)```", README, re.S))
FIRST = paths.day_start("2025-10-01") + 9 * paths.HOUR
SECOND_DAY = paths.day_start("2025-10-02")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data`` as the README has it, and the reader's working folder beside it."""
    root = tmp_path / "data"
    disk = Files(root)
    market = Market()
    quotes = market.events(FIRST, 30, trades=0, quotes=1000)
    events = market.events(FIRST + paths.HOUR, 90, trades=2, quotes=2)
    later = market.events(SECOND_DAY, 60)
    write_raw(disk, [*quotes, *events, *later])
    write_bars(disk, bars_of([*quotes, *events, *later], SECOND_DAY + paths.MINUTE))
    monkeypatch.chdir(tmp_path)
    return root


def run(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[block], f"README.md:{block}", "exec"), names)
    return names


def test_every_statement_of_the_readme_has_a_test() -> None:
    assert set(BLOCKS) == {"duckdb", "polars", "pandas", "raw"}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_the_duckdb_statement(lake: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.chdir(lake)
    with duckdb.connect() as con:
        con.execute(f"SET TimeZone='{zone}'")
        rows = con.execute(BLOCKS["duckdb"]).fetchall()
    assert sum(row[-1] for row in rows) == 90 * 2 + 60 * 2
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)


def test_the_polars_statement(lake: Path) -> None:
    october = run("polars")["october"]
    assert october["trade_count"].sum() == 90 * 2 + 60 * 2
    assert "year" not in october.columns


def test_the_pandas_statement(lake: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is the reader's own: pip install pandas")
    october = run("pandas")["october"]
    assert october["trade_count"].sum() == 90 * 2 + 60 * 2


def test_raw_lines_that_begin_with_quotes_keep_the_prices_of_trades(lake: Path) -> None:
    events = run("raw")["events"]
    assert len(events) == 30_000 + 90 * 4 + 60 * 5
    assert events["price"].count() == 90 * 2 + 60 * 2
