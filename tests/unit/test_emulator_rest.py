"""procs.emulator.rest, listing and bars: what the venue answers, from a market small enough to count by hand."""

from __future__ import annotations

import io
import itertools
import zipfile
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from procs.emulator.bars import checksum, daily_file
from procs.emulator.faults import RestFault
from procs.emulator.instruments import instrument
from procs.emulator.limits import Weights
from procs.emulator.market import GENESIS_S, Synthetic
from procs.emulator.rest import Answer, Request, Rest
from procs.emulator.tape import Market

NOON = 1_761_048_000
NOW_US = NOON * 1_000_000


class Venue:
    def __init__(self, market: Market = "spot", rate: float = 60, limit: int = 100_000) -> None:
        self.source = Synthetic([instrument("SOLUSDT"), instrument("ADAUSDT")], rate, 3, market)
        self.source.as_of_us = NOW_US
        self.hidden: dict[tuple[str, str], set[int]] = {}
        self.rest = Rest(self.source, Weights(limit), self.hidden)
        self.prefix = "/api/v3/" if market == "spot" else "/fapi/v1/"

    def ask(
        self, name: str, fault: RestFault | None = None, micro: bool = False, key: bool = False, **params: Any
    ) -> Answer:
        request = Request(self.prefix + name, {k: str(v) for k, v in params.items()}, micro, key)
        return self.rest.answer(request, NOW_US, 1000.0, fault or RestFault())

    def get(self, name: str, **params: Any) -> Any:
        answer = self.ask(name, **params)
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)

    def refused(self, name: str, **params: Any) -> tuple[int, int]:
        answer = self.ask(name, **params)
        return answer.status, msgspec.json.decode(answer.body)["code"]


def test_time_is_in_the_unit_that_was_asked_for() -> None:
    assert Venue().get("time") == {"serverTime": NOON * 1000}
    assert Venue().get("time", micro=True) == {"serverTime": NOON * 1_000_000}
    assert Venue().get("ping") == {}


def test_exchange_info_lists_all_or_the_named_symbols_with_their_steps() -> None:
    venue = Venue()
    assert [s["symbol"] for s in venue.get("exchangeInfo")["symbols"]] == ["SOLUSDT", "ADAUSDT"]
    [listed] = venue.get("exchangeInfo", symbol="SOLUSDT")["symbols"]
    filters = {f["filterType"]: f for f in listed["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00100000"
    assert (listed["status"], listed["baseAsset"], listed["quoteAsset"]) == ("TRADING", "SOL", "USDT")
    assert len(venue.get("exchangeInfo", symbols='["ADAUSDT","SOLUSDT"]')["symbols"]) == 2
    assert venue.refused("exchangeInfo", symbol="NOSUCH") == (400, -1121)
    assert venue.refused("exchangeInfo", symbols='["SOLUSDT","NOSUCH"]') == (400, -1121)


def test_historical_trades_begin_with_the_id_asked_for() -> None:
    venue = Venue()
    last = venue.source.last_print("SOLUSDT")
    rows = venue.get("historicalTrades", symbol="SOLUSDT", fromId=last - 9, limit=4)
    assert [row["id"] for row in rows] == [last - 9, last - 8, last - 7, last - 6]
    assert all(Decimal(row["price"]) * Decimal(row["qty"]) == Decimal(row["quoteQty"]) for row in rows)
    assert venue.get("historicalTrades", symbol="SOLUSDT", fromId=last + 1) == []
    assert [row["id"] for row in venue.get("trades", symbol="SOLUSDT", limit=2)] == [last - 1, last]
    assert len(venue.get("historicalTrades", symbol="SOLUSDT", limit=5000)) == 1000


def test_aggregates_are_found_by_id_and_by_time() -> None:
    venue = Venue()
    start = (NOON - 100) * 1000
    rows = venue.get("aggTrades", symbol="SOLUSDT", startTime=start, endTime=start + 50_000, limit=1000)
    assert rows
    assert all(start <= row["T"] <= start + 50_000 for row in rows)
    assert venue.get("aggTrades", symbol="SOLUSDT", fromId=rows[3]["a"], limit=5) == rows[3:8]
    assert [row["f"] for row in rows[1:]] == [row["l"] + 1 for row in rows[:-1]]
    assert venue.get("aggTrades", symbol="SOLUSDT", limit=1)[0]["a"] == venue.source.last_agg("SOLUSDT")
    assert venue.refused("aggTrades", symbol="SOLUSDT", fromId=1, startTime=start) == (400, -1128)


def test_bars_are_the_sums_of_the_trades_of_their_second() -> None:
    venue = Venue()
    rows = venue.get("klines", symbol="SOLUSDT", interval="1s", startTime=(NOON - 60) * 1000, limit=60)
    assert len(rows) == 60
    for row in rows:
        prints, _ = venue.source.orders_in("SOLUSDT", row[0] // 1000)
        assert row[8] == len(prints)
        assert Decimal(row[5]) == sum(Decimal(p.qty) for p in prints)
        assert Decimal(row[10]) == sum(Decimal(p.qty) * Decimal(p.price) for p in prints if not p.buyer_maker)
        if prints:
            prices = [Decimal(p.price) for p in prints]
            assert [Decimal(x) for x in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
        assert row[6] == row[0] + 999


def test_a_second_without_trades_stands_at_the_close_before_it() -> None:
    venue = Venue(rate=4)
    rows = venue.get("klines", symbol="ADAUSDT", interval="1s", startTime=(NOON - 300) * 1000, limit=300)
    assert len(rows) == 300
    empty = [(before, row) for before, row in itertools.pairwise(rows) if row[8] == 0]
    assert empty
    assert all(row[1:5] == [before[4]] * 4 and Decimal(row[5]) == 0 for before, row in empty)


def test_the_newest_bars_are_answered_when_no_time_is_given() -> None:
    rows = Venue().get("klines", symbol="SOLUSDT", interval="1m", limit=3)
    assert [row[0] for row in rows] == [(NOON - 120) * 1000, (NOON - 60) * 1000, NOON * 1000]


def test_bars_begin_with_the_first_trade_however_early_the_question() -> None:
    [first] = Venue().get("klines", symbol="SOLUSDT", interval="1m", startTime=0, limit=1)
    assert first[0] == GENESIS_S * 1000
    assert Venue().get("klines", symbol="SOLUSDT", interval="1m", startTime=(NOON + 60) * 1000) == []


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("trades", {}, (400, -1102)),
        ("trades", {"symbol": "NOSUCH"}, (400, -1121)),
        ("trades", {"symbol": "../../etc"}, (400, -1100)),
        ("trades", {"symbol": "SOLUSDT", "limit": "x"}, (400, -1100)),
        ("trades", {"symbol": "SOLUSDT", "limit": "0"}, (400, -1130)),
        ("historicalTrades", {"symbol": "SOLUSDT", "fromId": "-1"}, (400, -1100)),
        ("klines", {"symbol": "SOLUSDT"}, (400, -1102)),
        ("klines", {"symbol": "SOLUSDT", "interval": "7s"}, (400, -1120)),
    ],
)
def test_mistakes_are_answered_with_the_venues_codes(
    name: str, params: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert Venue().refused(name, **params) == expected


def test_unknown_places_are_404() -> None:
    assert Venue().ask("nothing").status == 404
    assert Venue().rest.answer(Request("/fapi/v1/time", {}), NOW_US, 0.0, RestFault()).status == 404


def test_weights_are_told_and_run_out() -> None:
    venue = Venue(limit=60)
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("time", {}, "1"),
        ("exchangeInfo", {}, "21"),
        ("historicalTrades", {"symbol": "SOLUSDT"}, "46"),
        ("aggTrades", {"symbol": "SOLUSDT"}, "50"),
        ("klines", {"symbol": "SOLUSDT", "interval": "1s"}, "52"),
    ]
    for name, params, used in asked:
        assert venue.ask(name, **params).headers["X-MBX-USED-WEIGHT-1M"] == used
    answer = venue.ask("trades", symbol="SOLUSDT")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert msgspec.json.decode(answer.body)["code"] == -1003


def test_futures_ask_for_a_key_and_speak_their_own_form() -> None:
    venue = Venue("usdm")
    assert venue.refused("historicalTrades", symbol="SOLUSDT") == (401, -2014)
    [row] = venue.get("historicalTrades", symbol="SOLUSDT", limit=1, key=True)
    assert "isBestMatch" not in row
    assert len(row["price"].partition(".")[2]) == 2
    assert "M" not in venue.get("aggTrades", symbol="SOLUSDT", limit=1)[0]
    assert venue.refused("klines", symbol="SOLUSDT", interval="1s") == (400, -1120)
    assert venue.refused("aggTrades", symbol="SOLUSDT", startTime=0, endTime=3_600_001) == (400, -1127)
    [listed] = venue.get("exchangeInfo", symbol="SOLUSDT")["symbols"]
    assert listed["contractType"] == "PERPETUAL"


def test_hidden_ids_are_in_no_answer() -> None:
    venue = Venue()
    last = venue.source.last_print("SOLUSDT")
    venue.hidden["SOLUSDT", "trade"] = {last - 1}
    assert [row["id"] for row in venue.get("trades", symbol="SOLUSDT", limit=3)] == [last - 2, last]


def test_faults_of_rest_are_carried_out() -> None:
    venue = Venue()
    banned = venue.ask("time", fault=RestFault(status=418, retry_after_s=7))
    assert (banned.status, banned.headers["Retry-After"]) == (418, "7")
    assert venue.ask("time", fault=RestFault(status=502)).status == 502
    last = venue.source.last_print("SOLUSDT")
    rows = venue.get("historicalTrades", symbol="SOLUSDT", fromId=last - 9, fault=RestFault(rows=2, leave_out=3))
    assert [row["id"] for row in rows] == [last - 6, last - 5]
    rows = venue.get("trades", symbol="SOLUSDT", fault=RestFault(late_us=10_000_000))
    assert max(row["time"] for row in rows) <= (NOON - 10) * 1000


def test_a_daily_file_holds_the_day_and_is_always_the_same() -> None:
    venue = Venue(rate=0.4)
    day_us = NOW_US // 86_400_000_000 * 86_400_000_000 - 86_400_000_000
    data = daily_file(venue.source, "SOLUSDT", "trades", "SOLUSDT-trades-2025-10-20", day_us)
    assert data == daily_file(venue.source, "SOLUSDT", "trades", "SOLUSDT-trades-2025-10-20", day_us)
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.namelist() == ["SOLUSDT-trades-2025-10-20.csv"]
        lines = packed.read(packed.namelist()[0]).decode().splitlines()
    ids = [int(line.split(",")[0]) for line in lines]
    assert ids == list(
        range(venue.source.print_at("SOLUSDT", day_us), venue.source.print_at("SOLUSDT", day_us + 86_400_000_000))
    )
    assert checksum(data, "X") == f"{sha256(data).hexdigest()}  X.zip\n".encode()


def test_daily_aggregates_and_bars_are_files_too() -> None:
    venue = Venue("usdm", rate=0.4)
    day_us = NOW_US // 86_400_000_000 * 86_400_000_000 - 86_400_000_000
    for kind, rows in (("aggTrades", None), ("1m", 1440)):
        data = daily_file(venue.source, "SOLUSDT", kind, "x", day_us)
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            lines = packed.read("x.csv").decode().splitlines()
        assert "," in lines[0] and not lines[0][0].isdigit()  # futures files have a header
        assert rows is None or len(lines) == rows + 1


@pytest.mark.parametrize(("market", "weights"), [("spot", [2, 2, 80]), ("usdm", [1, 40, 40])])
def test_statistics_of_the_day_name_the_newest_ids_and_are_charged_by_steps(market: Market, weights: list[int]) -> None:
    venue = Venue(market)
    last = {name: venue.source.last_print(name) for name in ("SOLUSDT", "ADAUSDT")}
    asked: list[dict[str, Any]] = [{"symbol": "SOLUSDT"}, {"symbols": '["SOLUSDT","ADAUSDT"]'}, {}]
    used = 0
    for params, weight in zip(asked, weights, strict=True):
        answer = venue.ask("ticker/24hr", **params)
        rows = msgspec.json.decode(answer.body)
        rows = [rows] if isinstance(rows, dict) else rows
        assert {row["symbol"]: row["lastId"] for row in rows}.items() <= last.items()
        assert all(row["lastId"] - row["firstId"] + 1 == row["count"] > 0 for row in rows)
        assert int(answer.headers["X-MBX-USED-WEIGHT"]) - used == weight
        used += weight
    assert venue.refused("ticker/24hr", symbols='["NOSUCH"]') == (400, -1121)
