"""Asking for the newest trades: of hundreds of quiet symbols within a minute, and never at the cost of healing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from procs.ingest.probes import SHARE_HEALING
from procs.ingest.watch import QUIET_NS
from shared.rest import Refused
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from tests.fixtures.captures import capture
from tests.fixtures.desk import Desk, S

OURS = 4321 // 2
"""Weight a minute: half of what the desk's venue allows."""


def many(folder: Path, count: int, venue: str = "binance", **config: Any) -> Desk:
    """Connected, subscribed, and one trade of each symbol came."""
    symbols = [f"S{number}USDT" for number in range(count)]
    desk = Desk(folder, venue, **{"symbols": symbols, "streams": ["trade"], **config})
    desk.market.known = symbols
    desk.run(0.2)
    acknowledge(desk)
    for symbol in symbols:
        desk.bring(*received(desk, symbol))
    desk.run(0.2)
    return desk


def acknowledge(desk: Desk) -> None:
    """All subscriptions of the newest connections are answered."""
    for number in desk.open:
        link = desk.ingest.links.links[number]
        link.unsent.clear()
        link.unanswered.clear()
        desk.ingest.healer.subscribed(link)


def received(desk: Desk, symbol: str) -> list[bytes]:
    """A trade's frame, on futures with times as these send them."""
    (frame,) = desk.market.trade(symbol)
    if desk.ingest.books[symbol] and desk.ingest._config.venue == "binance":
        return [frame]
    data = json.loads(frame)
    data["data"] |= {"E": data["data"]["E"] // 1000, "T": data["data"]["T"] // 1000, "X": "MARKET"}
    return [json.dumps(data).encode()]


def weight(desk: Desk, since: int = 0) -> int:
    return sum(request.weight for request in desk.market.asked[since:])


# --- what is asked, and what it costs ---


def test_hundreds_of_quiet_symbols_are_asked_about_every_minute_for_little_weight(tmp_path: Path) -> None:
    desk = many(tmp_path, 600)
    desk.run(60)
    before = len(desk.market.asked)
    for _ in range(18):
        desk.run(10)
        oldest = min(book.probed for book in desk.ingest.books.values())
        assert desk.mono - oldest <= 60 * S
    assert weight(desk, before) / 3 <= OURS / 8, "a minute"
    assert desk.feed("gap") == []
    assert desk.feed("stale") == []


def test_a_trade_that_one_of_hundreds_missed_is_held_within_a_minute(tmp_path: Path) -> None:
    desk = many(tmp_path, 600)
    desk.run(60)
    desk.market.trade("S417USDT")
    begun = desk.mono
    book = desk.ingest.books["S417USDT"]
    while book.trades.held.intervals != [[1000, 1001]]:
        desk.run(1)
        assert desk.mono - begun <= 61 * S
    (gap,) = desk.feed("gap")
    assert (gap.symbols, gap.detail["first_id"], gap.detail["last_id"]) == (["S417USDT"], 1001, 1001)
    assert len(desk.feed("healed")) == 1


def test_after_a_reconnect_what_hundreds_missed_is_known_by_one_question(tmp_path: Path) -> None:
    desk = many(tmp_path, 300)
    desk.run(30)
    for link in list(desk.open):
        desk.close(link)
    for number in range(300):
        desk.market.trade(f"S{number}USDT", 3)
    before = len(desk.market.asked)
    desk.run(3)
    acknowledge(desk)
    desk.run(5)
    singles = [request for request in desk.market.asked[before:] if request.path.endswith("aggTrades")]
    assert len(singles) <= 5
    desk.run(30)
    assert all(book.trades.held.intervals == [[1000, 1003]] for book in desk.ingest.books.values())


def test_a_first_start_asks_once_and_knows_where_each_symbol_begins(tmp_path: Path) -> None:
    symbols = [f"S{number}USDT" for number in range(80)]
    desk = Desk(tmp_path, symbols=symbols, streams=["trade"])
    desk.market.known = symbols
    for symbol in symbols[:-1]:
        desk.market.trade(symbol)
    desk.run(2)
    (asked,) = desk.asked("24hr")
    assert asked.weight == 40
    assert {book.trades.floor for book in list(desk.ingest.books.values())[:-1]} == {1000}
    assert desk.ingest.books["S79USDT"].trades.floor is None, "it never traded"


@pytest.mark.parametrize("count", [60, 400])
def test_where_the_venue_knows_no_such_question_each_symbol_is_asked_about_by_itself(
    tmp_path: Path, count: int
) -> None:
    symbols = [f"S{number}USDT" for number in range(count)]
    desk = Desk(tmp_path, symbols=symbols, streams=["trade"])
    desk.market.known, desk.market.refuse = symbols, {"24hr": Refused("HTTP 404: not found", 404)}
    desk.run(0.2)
    acknowledge(desk)
    desk.run(120)
    assert len(desk.asked("24hr")) == 1
    before = len(desk.asked("aggTrades"))
    desk.run(180)
    asked = len(desk.asked("aggTrades")) - before
    assert count * 2 <= asked, "each at least every ninety seconds"
    assert asked * 4 / 3 <= OURS / 2 + 4, "a minute"
    assert (desk.ingest.watch._quiet > QUIET_NS) == (count > 200)


def test_one_name_that_the_venue_does_not_know_costs_no_more_than_naming_none(tmp_path: Path) -> None:
    symbols = [f"S{number}USDT" for number in range(50)]
    desk = Desk(tmp_path, symbols=symbols, streams=["trade"])
    desk.market.known = symbols
    plain = desk.market._24hr

    def strict(params: dict[str, str]) -> Any:
        return Refused("HTTP 400: Invalid symbol.", 400) if "symbols" in params else plain(params)

    desk.market._24hr = strict  # type: ignore[method-assign]
    desk.run(2)
    assert [request.weight for request in desk.asked("24hr")] == [40, 80]
    desk.run(100)
    assert {request.weight for request in desk.asked("24hr")[1:]} == {80}
    assert len(desk.asked("aggTrades")) <= 60


def test_questions_leave_the_weight_to_healing_while_ids_are_missing(tmp_path: Path) -> None:
    desk = many(tmp_path, 600)
    desk.run(60)
    plain = desk.market.answer
    desk.market.answer = lambda request: plain(request)  # type: ignore[method-assign]
    for number in range(600):
        desk.market.trade(f"S{number}USDT", 5)
    desk.answer_rest = False  # pages are under way and do not come back
    desk.ingest.books["S0USDT"].told(1005, None, desk.venue_now)
    desk.run(3)
    for number in range(600):
        desk.ingest.healer.probe([f"S{number}USDT"])
    probes = desk.ingest.healer.probes
    probes._spent.clear()
    probes._takes_all = False
    desk.answer_rest = True
    before = len(desk.market.asked)
    desk.run(50)
    asked = [request for request in desk.market.asked[before:] if request.path.endswith("aggTrades")]
    assert sum(request.weight for request in asked) <= OURS / SHARE_HEALING


def test_where_a_symbol_begins_is_not_asked_before_its_stream_flows(tmp_path: Path) -> None:
    symbols = [f"S{number}USDT" for number in range(1050)]  # two connections, the second of which is ready at once
    desk = Desk(tmp_path, symbols=symbols, streams=["trade"])
    desk.market.known = symbols
    for symbol in symbols:
        desk.market.trade(symbol)
    desk.run(1)
    ready = {symbol for link in desk.ingest.links.links.values() if link.is_ready for symbol, _ in link.streams}
    assert 0 < len(ready) < 1050
    floors = {symbol for symbol, book in desk.ingest.books.items() if book.trades.floor is not None}
    assert floors == ready
    acknowledge(desk)
    desk.run(6)
    assert all(book.trades.floor == 1000 for book in desk.ingest.books.values())


# --- futures ---


def test_on_futures_one_answer_stands_for_dozens_of_symbols(tmp_path: Path) -> None:
    desk = many(tmp_path, 60, "binance_usdm")
    desk.run(60)
    before = len(desk.market.asked)
    desk.run(180)
    assert weight(desk, before) / 3 <= OURS / 8, "a minute"
    assert desk.feed("gap") == []


def test_on_futures_a_trade_that_a_quiet_symbol_missed_is_found_within_a_minute(tmp_path: Path) -> None:
    desk = many(tmp_path, 60, "binance_usdm")
    desk.run(60)
    desk.market.trade("S7USDT")
    begun = desk.mono
    while desk.ingest.books["S7USDT"].trades.held.intervals != [[1000, 1001]]:
        desk.run(1)
        assert desk.mono - begun <= 65 * S
    assert desk.feed("unhealable") == []


def test_aggregates_have_numbers_of_their_own_and_are_asked_about_where_trades_went_by(tmp_path: Path) -> None:
    symbols = [f"S{number}USDT" for number in range(30)]
    desk = Desk(tmp_path, symbols=symbols, streams=["agg_trade"])
    desk.market.known = symbols
    for symbol in symbols:
        desk.market.trade(symbol)
    desk.run(10)
    assert {book.aggregates.floor for book in desk.ingest.books.values()} == {1000}, "each by a question of its own"
    desk.run(120)
    desk.market.trade("S7USDT")
    desk.run(60)
    assert [one.agg_id for one in desk.aggregates] == [1001]


def test_the_newest_of_futures_costs_less_where_aggregates_are_not_recorded() -> None:
    trades, both = Usdm(["BTCUSDT"], ["trade", "quote"]), Usdm(["BTCUSDT"], ["trade", "agg_trade"])
    assert (trades.ask_newest("BTCUSDT").weight, both.ask_newest("BTCUSDT").weight) == (5, 20)
    row = {"id": 7, "price": "1.0", "qty": "2.0", "time": 1498793709153, "isBuyerMaker": True}
    newest = trades.parse_newest(json.dumps([row]).encode(), "BTCUSDT")
    assert newest is not None and (newest.trade_id, newest.agg_id) == (7, None)
    assert trades.parse_newest(b"[]", "BTCUSDT") is None


# --- the answer ---


def test_recorded_answers_about_many_symbols_name_their_newest_ids() -> None:
    recorded = json.loads(gzip.decompress(capture("binance-rest/spot-public-responses.json.gz").read_bytes()))
    lists = [
        one["response"] for one in recorded if one["path"].endswith("ticker/24hr") and isinstance(one["response"], list)
    ]
    found = [Spot().parse_newest_ids(json.dumps(rows).encode()) for rows in lists]
    assert {"BTCUSDT": 3988881941}.items() <= {key: one for ids in found for key, one in ids.items()}.items()
    assert all(len(ids) == len(rows) for ids, rows in zip(found, lists, strict=True))


def test_a_symbol_that_did_not_trade_has_no_newest_id() -> None:
    rows = [{"symbol": "A", "lastId": -1}, {"symbol": "B", "lastId": 0}, {"symbol": "C", "lastId": 2**63}]
    assert Spot().parse_newest_ids(json.dumps(rows).encode()) == {"B": 0}


def test_names_are_charged_by_steps() -> None:
    weights = [spot.weight for count in (1, 20, 21, 100, 101) if (spot := Spot().ask_newest_ids(["A"] * count))]
    assert weights == [2, 2, 40, 40, 80]
