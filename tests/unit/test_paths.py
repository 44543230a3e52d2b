"""Names on disk: fixed, sorted by time, and built from parts that cannot lead elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import paths
from shared.files import Files

T = paths.day_start("2025-10-20") + 13 * paths.HOUR + 42 * paths.MINUTE + 7 * paths.SECOND + 5


@given(st.text(min_size=1, max_size=20))
def test_any_symbol_is_one_harmless_folder_and_comes_back(symbol: str) -> None:
    folder = paths.safe(symbol)
    assert re.fullmatch(r"[A-Z0-9%]+", folder)
    assert not re.fullmatch(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])", folder)
    assert paths.symbol_of(folder) == symbol
    Files("/nowhere").path(paths.raw_dir("binance", symbol, "2025-10-20"))


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_two_symbols_never_share_a_folder_even_where_case_does_not_count(one: str, other: str) -> None:
    assert one == other or paths.safe(one).lower() != paths.safe(other).lower()


@pytest.mark.parametrize("name", ["CON", "AUX", "NUL", "PRN", "COM1", "LPT9"])
def test_names_that_windows_reserves_are_bent(name: str) -> None:
    assert paths.safe(name) == f"%{ord(name[0]):02X}{name[1:]}"


@given(st.integers(0, 4_000_000_000 * paths.SECOND))
def test_a_time_lies_in_its_date_and_hour(ts: int) -> None:
    start = paths.day_start(paths.date_of(ts))
    assert start <= ts < start + paths.DAY
    assert paths.hour_of(ts) == (ts - start) // paths.HOUR


def test_names_of_files_say_when_they_begin() -> None:
    assert paths.clock_name(T) == "1342" and paths.clock_name(T, 5) == "134205" and paths.clock_name(T, 3600) == "1300"


def test_where_everything_lies() -> None:
    assert paths.raw_dir("binance", "SOLUSDT", "2025-10-20") == "raw/binance/SOLUSDT/2025-10-20"
    assert paths.bars_dir("binance", "X", "2025-01-02") == "parquet/binance/X/year=2025/month=01/day=02"
    assert paths.bars_day("binance", "X", "2025-01-02") == "parquet/binance/X/2025-01-02.parquet"
    assert paths.tick_file("binance", "X", "trades", "2025-01-02") == "ticks/binance/X/trades/2025-01-02.parquet"
    assert paths.checksum_file("binance", "X", "2025-01-02") == "checksums/binance/X/2025-01-02.sha256"
    assert paths.certificate("binance", "X", "2025-01-02") == "quality/binance/X/2025-01-02.json"
    assert paths.instruments_file("binance", "2025-01-02") == "instruments/binance/2025-01-02.parquet"
    assert paths.feed_dir("binance", "2025-01-02") == "feed/binance/2025-01-02"
    assert paths.rejected_dir("binance", "2025-01-02") == "rejected/binance/2025-01-02"


@pytest.mark.parametrize("date", ["", "2025", "2025-13-01", "2025-02-30", "../../etc", "20251020"])
def test_what_is_no_date_is_refused(date: str) -> None:
    with pytest.raises(ValueError, match=r"does not match|day is out of range|unconverted"):
        paths.day_start(date)
