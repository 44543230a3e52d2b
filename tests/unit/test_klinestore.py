"""The venue's own bars as its stream sends them: parsed, kept for some days, read back each once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.ingest.config import Config
from procs.ingest.klines import Klines
from shared import klinestore
from shared.files import Files
from shared.paths import DAY, SECOND, date_of
from shared.venues import KLINE, Kline, OwnBar, Reject
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from tests.fixtures.captures import capture
from tests.fixtures.desk import START, Desk, S

DATE = date_of(START)


def frame(start: int, symbol: str = "SOLUSDT", interval: str = "1s", **changes: Any) -> bytes:
    """A closed bar as spot sends it, `start` in nanoseconds."""
    bar = {
        "t": start // 1000, "T": start // 1000 + 999_999, "s": symbol, "i": interval, "f": 100, "L": 117,
        "o": "187.41", "c": "187.42", "h": "187.43", "l": "187.40", "v": "31.2", "n": 17, "x": True,
        "q": "5847.1", "V": "12.0", "Q": "2249.0", "B": "0", **changes,
    }  # fmt: skip
    data = {"e": "kline", "E": start // 1000 + 1_000_500, "s": symbol, "k": bar}
    return json.dumps({"stream": f"{symbol.lower()}@kline_{interval}", "data": data}).encode()


def kline(start: int) -> Kline:
    return Kline(start, "187.41", "187.43", "187.40", "187.42", "31.2", "5847.1", 17, "12.0", "2249.0")


# --- what the venue sends ---


def test_a_closed_bar_comes_with_the_venues_digits_and_an_open_one_is_only_a_sign_of_life() -> None:
    venue = Spot(["SOLUSDT"], ["trade", "kline"])
    assert venue.stream("SOLUSDT", KLINE) == "solusdt@kline_1s"
    assert venue.parse(frame(START), 1) == [OwnBar(KLINE, symbol="SOLUSDT", kline=kline(START))]
    assert venue.parse(frame(START, x=False), 1) == [OwnBar(KLINE)]
    with pytest.raises(Reject, match="not asked for"):
        Spot(["SOLUSDT"], ["trade"]).parse(frame(START), 1)


@pytest.mark.parametrize(
    "changes",
    [{"o": "NaN"}, {"v": "-1"}, {"c": 5}, {"n": -1}, {"i": "1m"}, {"t": 7}, {"q": None}, {"h": "1" * 50}],
)
def test_a_bar_that_makes_no_sense_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(Reject):
        Spot(["SOLUSDT"], ["kline"]).parse(frame(START, **changes), 1)


def test_another_symbols_bar_is_rejected() -> None:
    data = frame(START).replace(b'"s": "SOLUSDT"', b'"s": "ADAUSDT"')
    with pytest.raises(Reject):
        Spot(["SOLUSDT"], ["kline"]).parse(data, 1)


def test_recorded_minutes_of_futures_are_understood() -> None:
    symbols = ["SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"]
    venue = Usdm(symbols, ["kline"])
    assert venue.routes(KLINE)[0] == "market"
    closed: dict[str, Kline] = {}
    with gzip.open(capture("cryptofeed-ws/BINANCE_FUTURES.ws.1.0.gz"), "rt") as file:
        texts = [text.partition(": ")[2].strip() for text in file if "@kline_1m" in text and '"k":' in text]
    for text in texts:
        (said,) = venue.parse(text.encode(), 1)
        assert isinstance(said, OwnBar)
        if said.kline is not None:
            closed[said.symbol] = said.kline
    assert len(texts) == 67
    assert sorted(closed) == sorted(symbols)
    assert {bar.start // SECOND % 60 for bar in closed.values()} == {0}
    assert all(float(bar.low) <= float(bar.close) <= float(bar.high) for bar in closed.values())


# --- what is kept ---


def test_bars_are_read_back_each_once_and_in_order_whatever_a_kill_left(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    life = Klines(disk, "binance", "binance")
    for second in (3, 1, 2, 2):
        life.take("SOLUSDT", kline(START + second * S))
    life.write()
    path = tmp_path / klinestore.folder("binance", "binance", "SOLUSDT") / f"{DATE}.jsonl"
    path.write_bytes(path.read_bytes() + b'[1760918409000000000,"187.41","18')
    life = Klines(disk, "binance", "binance")
    life.take("SOLUSDT", kline(START + 4 * S))
    life.write()
    path.write_bytes(path.read_bytes() + b"\0" * 40 + b"\n[1]\n" + b'[1,"x","1","1","1","1","1",1,"1","1"]\n')
    found = klinestore.live_klines(disk, "binance", "SOLUSDT", DATE)
    assert found == [kline(START + second * S) for second in (1, 2, 3, 4)]
    assert klinestore.live_klines(disk, "binance_usdm", "SOLUSDT", DATE) == []
    assert klinestore.live_klines(disk, "binance", "SOLUSDT", "2025-10-21") == []


def test_a_bar_of_other_digits_than_a_number_has_is_not_read_back(tmp_path: Path) -> None:
    path = tmp_path / klinestore.folder("b", "binance", "SOLUSDT") / f"{DATE}.jsonl"
    path.parent.mkdir(parents=True)
    good = klinestore.line(kline(START))
    path.write_bytes(good.replace(b"187.41", b"1x7.41") + good.replace(b",17,", b",-7,"))
    assert klinestore.live_klines(Files(tmp_path), "binance", "SOLUSDT", DATE) == []


def test_only_the_newest_days_are_kept(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    life = Klines(disk, "binance", "binance")
    for day in range(6):
        life.take("SOLUSDT", kline(START + day * DAY))
        life.write()
    names = disk.list(klinestore.folder("binance", "binance", "SOLUSDT"))
    assert names == [f"{date_of(START + day * DAY)}.jsonl" for day in (3, 4, 5)]


def test_a_disk_that_takes_none_of_it_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    life = Klines(disk, "binance", "binance")

    def full(*_: Any) -> Any:
        raise OSError(28, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "appender", full)
        life.take("SOLUSDT", kline(START))
        life.write()
    life.take("SOLUSDT", kline(START + S))
    life.write()
    assert klinestore.live_klines(disk, "binance", "SOLUSDT", DATE) == [kline(START + S)]


# --- at the desk ---


def test_live_bars_stand_beside_the_journal_and_are_no_event_of_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, streams=["trade", "quote", "kline_1s"])
    desk.run(0.2)
    assert "solusdt@kline_1s" in desk.connects[0].url
    for second in range(90):
        desk.bring(*desk.market.trade(), frame(START + second * S, x=False), frame(START + second * S))
        desk.run(1)
    assert len(klinestore.live_klines(Files(tmp_path), "binance", "SOLUSDT", DATE)) >= 60, "written once a minute"
    desk.ingest.drain()
    desk.ingest.finish(desk.wall, desk.mono)
    assert klinestore.live_klines(Files(tmp_path), "binance", "SOLUSDT", DATE) == [
        kline(START + second * S) for second in range(90)
    ]
    assert desk.ingest.totals()["klines"] == 90
    assert len(desk.trades) == 90
    assert desk.rejected == []
    assert {type(event).__name__ for batch in desk.batches() for event in batch.events} <= {"Trade", "Feed"}


def test_bars_that_never_come_are_no_fault_of_the_connection(tmp_path: Path) -> None:
    desk = Desk(tmp_path, streams=["trade", "kline"])
    desk.run(0.2)
    for _ in range(60):
        desk.bring(*desk.market.trade())
        desk.run(1)
    assert (len(desk.connects), desk.feed("stale"), desk.ingest.note) == (1, [], "")
    assert [event.symbols for event in desk.feed("connected")] == [["SOLUSDT"]]


def test_bars_alone_are_nothing_to_record() -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match="kline"):
        Config(venue="binance", symbols=["SOLUSDT"], streams=["kline_1s"])
