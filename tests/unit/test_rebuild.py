"""Bars from the archive: what is read beside the hour itself, and what is left for the compactor."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from procs.aggregator import again
from shared import paths
from shared.barfiles import bar_table
from shared.bars import bars_hash
from shared.events import AggTrade, Bar, Feed, Quote, Trade
from shared.files import Files
from shared.lines import line
from shared.rebuild import Rebuild
from tests.fixtures.small_lake import DAY, HOUR, NOON, SECOND, Market, bars_of, write_feed, write_lake, write_raw

DATE = paths.date_of(NOON)
MS = 1_000_000


def trade(ts: int, one: int) -> Trade:
    return Trade("SOLUSDT", ts, ts, None, 0, "10.0", "1.0", "buy", one)


def quote(ts: int, one: int, bid: str = "10.0") -> Quote:
    return Quote("SOLUSDT", ts, None, None, 0, bid, "1.0", "11.1", "1.0", one)


def day_of(rebuild: Rebuild, date: str) -> list[Bar]:
    return [bar for bars in rebuild.hours(date) for bar in bars]


def test_a_day_of_several_hours_equals_the_stream(tmp_path: Path) -> None:
    disk, market = Files(tmp_path), Market()
    events = (
        market.events(NOON - 20 * SECOND, 40)
        + market.events(NOON + HOUR - 20 * SECOND, 40)
        + market.events(NOON + 4 * HOUR, 9)
    )
    streamed = write_lake(disk, events)
    rebuild = Rebuild(disk, "binance", "SOLUSDT")
    assert rebuild.archived(DATE) == [11, 12, 13, 16]
    assert day_of(rebuild, DATE) == streamed
    for hour in rebuild.archived(DATE):
        assert [*rebuild.hour(DATE, hour)] == [bar for bar in streamed if paths.hour_of(bar.window_start) == hour]


def test_quotes_and_ids_are_found_days_before(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    write_raw(disk, [quote(NOON - 40 * HOUR, 1), trade(NOON - 30 * HOUR, 7), trade(NOON, 8)])
    (bar,) = day_of(Rebuild(disk, "binance", "SOLUSDT"), DATE)
    assert (bar.bid, bar.spread_tw, bar.is_complete) == (10.0, 1.1, True)


def test_the_search_ends_at_a_disconnect_and_after_two_days(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    write_raw(disk, [quote(NOON - 5 * HOUR, 1), trade(NOON - 61 * HOUR, 7), trade(NOON, 8)])
    write_feed(disk, [Feed("disconnected", NOON - HOUR, 0)])
    (bar,) = Rebuild(disk, "binance", "SOLUSDT").hour(DATE, 12)
    assert (bar.bid, bar.is_complete) == (None, False)


REACH_OVER = [
    [quote(NOON - 300 * MS, 10, "11.0"), quote(NOON + 200 * MS, 9), trade(NOON + SECOND, 6), trade(NOON + 3 * HOUR, 7)],
    [quote(NOON - 12 * HOUR, 10, "11.0"), quote(NOON, 9), trade(NOON + SECOND, 6), trade(NOON + 3 * HOUR, 7)],
    [trade(NOON - MS, 6), trade(NOON - MS, 8), trade(NOON, 7), quote(NOON, 1), trade(NOON + 3 * HOUR, 9)],
    [trade(NOON - 50 * HOUR, 6), quote(NOON - 3 * HOUR, 1), quote(NOON, 2), trade(NOON + HOUR, 7)],
]


@pytest.mark.parametrize("lines", REACH_OVER, ids=["a quote", "a quote by half a day", "a trade", "silence"])
def test_what_is_made_of_an_hour_does_not_depend_on_those_made_with_it(
    tmp_path: Path, lines: list[Trade | Quote]
) -> None:
    """Else the hour is judged by what no repair of it makes, and is asked for on and on."""
    disk = Files(tmp_path)
    write_raw(disk, lines)
    rebuild = Rebuild(disk, "binance", "SOLUSDT")
    day = day_of(rebuild, DATE)
    for hour in rebuild.archived(DATE):
        assert [*rebuild.hour(DATE, hour)] == [bar for bar in day if paths.hour_of(bar.window_start) == hour]


def test_an_id_behind_the_hour_completes_its_last_second(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    edge = NOON + HOUR
    write_raw(disk, [trade(NOON, 1), trade(edge - 1, 2), trade(edge - 1, 4), trade(edge, 3)])
    bars = Rebuild(disk, "binance", "SOLUSDT").hour(DATE, 12)
    assert [(bar.is_complete, bar.revision) for bar in bars] == [(False, 0), (True, 0)]


def test_raw_trades_come_before_the_aggregates_that_cover_them(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    agg = AggTrade("SOLUSDT", NOON, NOON, None, 0, "10.0", "3.0", "buy", 1, 1, 3, "rest")
    disk.write(
        f"{paths.raw_dir('binance', 'SOLUSDT', DATE)}/part_1200.jsonl", (line(agg) + line(trade(NOON, 2))).encode()
    )
    (bar,) = day_of(Rebuild(disk, "binance", "SOLUSDT"), DATE)
    assert bar.trade_count == 1


def test_an_archive_without_raw_trades_makes_bars_of_live_aggregates(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    agg = AggTrade("SOLUSDT", NOON, NOON, None, 0, "10.0", "3.0", "buy", 1, 1, 3, "ws")
    disk.write(f"{paths.raw_dir('binance', 'SOLUSDT', DATE)}/part_1200.jsonl", line(agg).encode())
    assert [bar.trade_count for bar in day_of(Rebuild(disk, "binance", "SOLUSDT"), DATE)] == [3]
    assert day_of(Rebuild(disk, "binance", "SOLUSDT", use_agg=False), DATE) == []


def test_a_broken_line_costs_that_line_and_is_named(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    path = f"{paths.raw_dir('binance', 'SOLUSDT', DATE)}/part_1200.jsonl"
    disk.write(path, (line(trade(NOON, 1)) + "{broken\n" + line(trade(NOON, 3))).encode())
    rebuild = Rebuild(disk, "binance", "SOLUSDT")
    assert [bar.trade_count for bar in day_of(rebuild, DATE)] == [2]
    assert [(problem.path, problem.line) for problem in rebuild.problems] == [(path, 2)]


def test_by_hand_a_day_is_left_for_the_compactor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk, market, other = Files(tmp_path), Market(), Market("ADAUSDT", seed=2)
    bars = write_lake(disk, market.events(NOON, 30) + other.events(NOON + HOUR, 30))
    assert again(["--date", DATE, "--lake", str(tmp_path)]) == 0
    assert "SOLUSDT" in capsys.readouterr().out
    for symbol, hour in (("SOLUSDT", 12), ("ADAUSDT", 13)):
        folder = f"journal/staging/binance/{symbol}/{DATE}"
        mine = [bar for bar in bars if bar.symbol == symbol]
        manifest = msgspec.json.decode(disk.read(f"{folder}/bars.json"))
        assert manifest == {"hours": [hour], "rows": len(mine), "hash": bars_hash(mine), "replaces": True}
        assert disk.read_table(f"{folder}/bars.parquet").equals(bar_table(mine, "binance"))


def test_by_hand_one_symbol_and_closed_hours_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = Files(tmp_path)
    write_lake(disk, Market().events(NOON, 30) + Market("ADAUSDT").events(NOON, 30))
    folder = paths.raw_dir("binance", "SOLUSDT", DATE)
    disk.write(f"{folder}/open_1300.jsonl", line(trade(NOON + HOUR, 99)).encode())
    assert again([f"--date={DATE}", "--symbol", "SOLUSDT", "--lake", str(tmp_path)]) == 0
    assert "1 hours, 1 still being recorded" in capsys.readouterr().out
    assert disk.list("journal/staging/binance") == ["SOLUSDT"]
    manifest = msgspec.json.decode(disk.read(f"journal/staging/binance/SOLUSDT/{DATE}/bars.json"))
    assert manifest["hours"] == [12]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--date", "2025-13-01"], 2, "2025-13-01"),
        (["--date", "2020-01-01"], 1, "no closed hour of 2020-01-01"),
        (["--date", DATE, "--symbol", "NONE"], 1, "for NONE"),
    ],
)
def test_by_hand_what_cannot_be_done_is_said(
    words: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lake(Files(tmp_path), Market().events(NOON, 3))
    assert again([*words, "--lake", str(tmp_path)]) == code
    assert says in capsys.readouterr().err


def test_by_hand_no_archive_and_no_file_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert again(["--date", DATE, "--lake", str(tmp_path)]) == 2
    assert again(["--date", DATE, "--config", str(tmp_path / "none.yml")]) == 2
    errors = capsys.readouterr().err
    assert "no archive" in errors
    assert "none.yml" in errors


def test_a_carried_quote_crosses_midnight(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    midnight = paths.day_start(DATE) + DAY
    events: list[Trade | Quote] = [quote(midnight - 1, 1), trade(midnight - 1, 1), trade(midnight, 2)]
    write_raw(disk, events)
    streamed = bars_of(list(events), midnight + SECOND)
    assert day_of(Rebuild(disk, "binance", "SOLUSDT"), paths.date_of(midnight)) == streamed[1:]
