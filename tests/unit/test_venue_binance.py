"""Binance's frames and answers: what is documented is understood, all else is rejected with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import venues
from shared.events import AggTrade, Quote, Trade
from shared.venues import MAX_ID, Control, Digits, Instrument, Kline, Newest, OwnBar, Reject, nanoseconds
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from tests.fixtures.captures import frames

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECV = 1_760_918_400_125_031_877
US, MS = 1_760_918_400_123_456_000, 1_760_918_400_123_000_000


def fixture(venue: str) -> list[bytes]:
    return (FIXTURES / venue / "frames.jsonl").read_bytes().splitlines()


def spot() -> Spot:
    return Spot(["SOLUSDT"])


def trade(**changes: object) -> bytes:
    data = {"e": "trade", "E": 1760918400124, "s": "SOLUSDT", "t": 1, "p": "1.5", "q": "2.0"}
    data |= {"T": 1760918400123, "m": True, **changes}
    return json.dumps({"stream": "solusdt@trade", "data": data}).encode()


def quote(**changes: object) -> bytes:
    data = {"u": 7, "s": "SOLUSDT", "b": "1.4", "B": "2.0", "a": "1.5", "A": "3.0", **changes}
    return json.dumps({"stream": "solusdt@bookTicker", "data": data}).encode()


# --- what is documented ---


def test_spot_frames_become_events_with_the_venues_digits_and_times() -> None:
    venue = spot()
    sent, size = US + 545_000, ("31.21000000", "40.66000000")
    low, high = "187.41000000", "187.42000000"
    bar = Kline(MS - 123_000_000, high, high, low, high, "4.15000000", "777.79250000", 3, "4.10000000", "768.42200000")
    assert [event for frame in fixture("binance") for event in venue.parse(frame, RECV)] == [
        Trade("SOLUSDT", US, US, sent, RECV, "187.42000000", "3.10000000", "buy", 1520545031),
        Trade("SOLUSDT", MS, MS, MS + 1_000_000, RECV, "187.41000000", "0.05000000", "sell", 1520545032),
        Quote("SOLUSDT", 0, None, None, RECV, "187.41000000", size[0], "187.42000000", size[1], 40090021722),
        AggTrade("SOLUSDT", US, US, sent, RECV, "187.42000000", "3.15000000", "buy", 733120044, 1520545031, 1520545032),
        Control("ack", 7),
        Control("ack", 8),
        Control("error", 9, "2: Invalid request: unknown method"),
        Control("error", None, "3: Invalid JSON: expected value at line 1 column 1"),
        Control("shutdown"),
        Control("shutdown"),
        Trade("SOLUSDT", US, US, sent, RECV, "187.42000000", "1.00000000", "buy", 1520545033),
        OwnBar("kline", symbol="SOLUSDT", kline=bar),
    ]


def test_futures_frames_carry_their_type_and_quotes_their_time() -> None:
    venue = Usdm(["BTCUSDT"])
    first, fund, quoted, agg = (event for frame in fixture("binance_usdm") for event in venue.parse(frame, RECV))
    assert isinstance(first, Trade)
    assert (first.trade_type, first.price, first.side) == ("MARKET", "61800.30", "buy")
    assert isinstance(fund, Trade)
    assert (fund.trade_type, fund.price) == ("INSURANCE_FUND", "0")
    assert isinstance(quoted, Quote)
    assert quoted.ts == quoted.ts_event == 1_760_918_400_127_000_000
    assert quoted.ts_sent == 1_760_918_400_128_000_000
    assert isinstance(agg, AggTrade)
    assert (agg.first_trade_id, agg.last_trade_id) == (5266583935, 5266583938)


@pytest.mark.parametrize(
    ("name", "venue", "symbol", "trades", "quotes"),
    [
        ("binance-spot-ws/ethusdt_20240808.gz", Spot, "ETHUSDT", 6106, 24077),
        ("binance-spot-ws/ethusdt_20240809.gz", Spot, "ETHUSDT", 8409, 34681),
        ("binance-usdm-ws/btcusdt_20240808.gz", Usdm, "BTCUSDT", 21313, 66089),
    ],
)
def test_recorded_frames_are_all_understood(
    name: str, venue: type[Spot], symbol: str, trades: int, quotes: int
) -> None:
    adapter = venue([symbol], ["trade", "quote"])
    ids: list[int] = []
    updates: list[int] = []
    for stamp, frame in frames(name):
        try:
            (event,) = adapter.parse(frame, stamp)
        except Reject:
            assert b"@depth" in frame or b"lastUpdateId" in frame, "only these were not asked for"
            continue
        if isinstance(event, Trade):
            ids.append(event.trade_id)
            assert event.price.encode() in frame
            assert event.qty.encode() in frame
        else:
            assert isinstance(event, Quote)
            updates.append(event.update_id)
    assert ids == list(range(ids[0], ids[0] + trades))
    assert len(updates) == quotes
    assert updates == sorted(set(updates))


# --- what must not be believed ---

NO_NUMBERS = ["NaN", "Infinity", "-1.0", "1e5", "", " 1", "1 ", "01.5", "1.", ".5", "0x1", "1,5", "\u0661\u0662"]
NO_NUMBERS += ["1\u00002", "1" * 41, "0." + "1" * 19, "1\n"]
NOTHING = [b"", b"\x00", b"\xff\xfe{}", b"not json", b"{", b"[]", b"null", b"1e999", b"{}"]
DEEP = [
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"stream":"solusdt@trade","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
]
STRANGE = [
    b'{"stream":"solusdt@trade"}',
    b'{"stream":"btcusdt@trade","data":{"s":"BTCUSDT"}}',
    b'{"stream":"solusdt@depth","data":{"e":"depthUpdate","s":"SOLUSDT","b":[["1","2"]]}}',
    b'{"stream":"../../x@trade","data":{"s":"../../x"}}',
    b'{"e":"trade","s":"BTCUSDT"}',
    b" " * (1 << 20) + trade(),
]
TRADES: list[dict[str, Any]] = [
    {"s": "BTCUSDT"},
    {"s": "../../x"},
    {"e": "aggTrade"},
    *({"t": bad} for bad in (-1, 2**63, 2**64, 10**30, 1.5, "1", None)),
    *({"m": bad} for bad in (None, "true")),
    *({"T": bad} for bad in (None, 0, -5, 2**63 - 1)),
    {"E": 10**14 - 1},
    {"X": "\x1b[31m"},
    *({"p": bad} for bad in (*NO_NUMBERS, 1.5, None, True)),
    {"q": "-0.1"},
]
QUOTES: list[dict[str, Any]] = [
    {"b": "NaN"},
    {"B": "-1.0"},
    {"a": None},
    {"A": "1e3"},
    {"u": None},
    {"u": 2**64},
    {"b": 5},
    {"e": "trade"},
    {"s": "SOLUSDT\x00"},
]


@pytest.mark.parametrize(
    "frame",
    [*NOTHING, *DEEP, *STRANGE, *(trade(**bad) for bad in TRADES), *(quote(**bad) for bad in QUOTES)],
    ids=range(len([*NOTHING, *DEEP, *STRANGE, *TRADES, *QUOTES])),
)
def test_what_makes_no_sense_is_rejected_with_a_reason(frame: bytes) -> None:
    venue = spot()
    for _ in range(2):  # and what was rejected once is not believed the second time
        with pytest.raises(Reject) as why:
            venue.parse(frame, RECV)
        assert 0 < len(str(why.value)) < 300


def test_largest_id_and_longest_number_are_taken() -> None:
    digits = "1" * 21 + "." + "5" * 18
    (event,) = spot().parse(trade(t=MAX_ID, p=digits), RECV)
    assert isinstance(event, Trade)
    assert (event.trade_id, event.price) == (MAX_ID, digits)


def test_order_ids_of_old_trade_frames_do_no_harm() -> None:
    (event,) = spot().parse(trade(b=88, a=50, M=True), RECV)
    assert isinstance(event, Trade)


def test_times_are_told_apart_by_size() -> None:
    assert nanoseconds(1_735_689_599_999) == 1_735_689_599_999_000_000
    assert nanoseconds(1_735_689_600_000_000) == 1_735_689_600_000_000_000
    for neither in (0, 10**11 - 1, 10**13, 10**14 - 1, 10**16, 2**63 - 1):
        with pytest.raises(Reject):
            nanoseconds(neither)


def test_remembered_numbers_stay_bounded() -> None:
    digits = Digits()
    for number in range(digits.MOST + 10):
        digits.check(str(number), "price")
    assert len(digits.known) <= digits.MOST


# --- what is sent ---


def test_spot_asks_for_microseconds_and_has_one_route() -> None:
    venue = spot()
    url = venue.url("wss://stream.binance.com:9443/", "", ["solusdt@trade", "solusdt@bookTicker"])
    streams = "streams=solusdt@trade/solusdt@bookTicker"
    assert url == f"wss://stream.binance.com:9443/stream?{streams}&timeUnit=MICROSECOND"
    assert venue.routes("trade") == ("",)
    assert json.loads(venue.subscribe(["a@trade"], 3)) == {"method": "SUBSCRIBE", "params": ["a@trade"], "id": 3}
    assert json.loads(venue.unsubscribe(["a@trade"], 4))["method"] == "UNSUBSCRIBE"


def test_futures_try_the_public_route_for_trades_first_and_no_route_last() -> None:
    venue = Usdm(["BTCUSDT"])
    assert venue.routes("trade") == ("public", "market", "")
    assert venue.routes("agg_trade")[0] == "market"
    url = venue.url("wss://fstream.binance.com", "public", ["btcusdt@trade"])
    assert url == "wss://fstream.binance.com/public/stream?streams=btcusdt@trade"


def test_rest_questions_are_plain_data_with_their_weight() -> None:
    venue = spot()
    history = venue.ask_trades("SOLUSDT", 5, 20_000)
    assert history is not None
    assert history.weight == 25
    assert dict(history.params) == {"symbol": "SOLUSDT", "fromId": "5", "limit": "1000"}
    assert venue.ask_newest("SOLUSDT").weight == 4
    span = dict(venue.ask_aggregates("SOLUSDT", None, 1_000_000_500_000, 1_000_001_500_000).params)
    assert (span["startTime"], span["endTime"]) == ("1000000", "1000002")
    assert Usdm().ask_trades("BTCUSDT", 5, 10) is None


# --- REST answers ---


def test_rest_trades_are_marked_as_fetched() -> None:
    row = {"id": 28457, "price": "4.00000100", "qty": "12.00", "time": 1499865549590, "isBuyerMaker": True}
    (found,) = spot().parse_trades(json.dumps([row]).encode(), "SOLUSDT", RECV)
    ts = 1_499_865_549_590_000_000
    assert found == Trade("SOLUSDT", ts, ts, None, RECV, "4.00000100", "12.00", "sell", 28457, "rest")


def test_rest_aggregates_of_cancelled_trades_are_passed_over() -> None:
    row = {"a": 1, "p": "1.0", "q": "2.0", "f": 5, "l": 7, "T": 1498793709153, "m": False, "M": True}
    body = json.dumps([row, {**row, "a": 2, "f": -1, "l": -1}]).encode()
    assert [found.agg_id for found in spot().parse_aggregates(body, "SOLUSDT", RECV)] == [1]
    assert spot().parse_newest(body, "SOLUSDT") == Newest(7, 1, 1_498_793_709_153_000_000)
    assert spot().parse_newest(b"[]", "SOLUSDT") is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"code":-1121,"msg":"x"}', b"[1]", b'[{"id":1}]', b"<html>", b"\xff"])
def test_answers_that_are_none_are_rejected(body: bytes) -> None:
    venue = spot()
    for parse in (venue.parse_trades, venue.parse_aggregates):
        with pytest.raises(Reject):
            parse(body, "SOLUSDT", RECV)
    with pytest.raises(Reject):
        venue.parse_time(body)
    with pytest.raises(Reject):
        venue.parse_instruments(body)


def test_instruments_and_the_weight_limit_are_read() -> None:
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
    raw = {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000}
    price = {"filterType": "PRICE_FILTER", "minPrice": "0.01", "tickSize": "0.01000000"}
    lot = {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000.0", "stepSize": "0.00100000"}
    least = {"filterType": "NOTIONAL", "minNotional": "5.00000000"}
    symbol = {"symbol": "SOLUSDT", "status": "TRADING", "baseAsset": "SOL", "quoteAsset": "USDT"}
    info = {"timezone": "UTC", "rateLimits": [limit, raw], "symbols": [{**symbol, "filters": [price, lot, least]}]}
    sizes = ("0.01000000", "0.00100000", "0.001", "9000.0", "5.00000000")
    instrument = Instrument("SOLUSDT", "TRADING", "SOL", "USDT", "spot", *sizes)
    assert spot().parse_instruments(msgspec.json.encode(info)) == ([instrument], 6000)
    futures = {**symbol, "filters": [{"filterType": "MIN_NOTIONAL", "notional": "5"}]}
    found, _ = spot().parse_instruments(msgspec.json.encode({"symbols": [futures, symbol]}))
    assert [one.min_notional for one in found] == ["5", None]


def test_the_venues_own_bars_are_asked_for_by_time_and_read_with_their_digits() -> None:
    row = [1499040000000, "0.0163", "0.8", "0.0157", "0.0158", "148.110", 1499040000999, "2.4", 308, "1.7", "0.1", "0"]
    kline = Kline(1499040000000 * 10**6, "0.0163", "0.8", "0.0157", "0.0158", "148.110", "2.4", 308, "1.7", "0.1")
    assert spot().parse_klines(msgspec.json.encode([row])) == [kline]
    asked = spot().ask_klines("SOLUSDT", 1499040000000 * 10**6)
    assert dict(asked.params)["interval"] == "1s" and asked.weight == 2
    asked = Usdm().ask_klines("SOLUSDT", 1499040000000 * 10**6)
    assert dict(asked.params)["interval"] == "1m" and asked.path == "/fapi/v1/klines" and asked.weight == 10
    for body in (b"{}", b"[[1]]", b"[null]", msgspec.json.encode([[*row[:2], "x", *row[3:]]])):
        with pytest.raises(Reject):
            spot().parse_klines(body)


# --- the registry ---


def test_a_venue_is_found_by_its_name_and_by_nothing_else() -> None:
    assert venues.load("binance") is Spot
    assert set(venues.names()) >= {"binance", "binance_usdm"}
    for name in ("", "os", "../binance", "binance.Venue", "Binance"):
        with pytest.raises(LookupError):
            venues.load(name)
