"""procs.emulator.market, walk, instruments and tape: a market that looks like one and can be computed at any moment."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from itertools import pairwise

from procs.emulator.instruments import DEFAULT, instrument
from procs.emulator.market import GENESIS_S, Synthetic
from procs.emulator.tape import BOOK_TICKER, TRADE, Event, Print, payload, text_frame, to_micro

NOON = 1_761_048_000


def market(rate: float = 400, seed: int = 1, symbols: tuple[str, ...] = ("SOLUSDT", "ADAUSDT", "BTCUSDT")) -> Synthetic:
    made = Synthetic([instrument(s) for s in symbols], rate, seed)
    made.as_of_us = (NOON + 3600) * 1_000_000
    return made


def test_ids_are_contiguous_over_minutes_and_times_never_go_back() -> None:
    made = market()
    seconds = [made.orders_in("ADAUSDT", NOON + n) for n in range(180)]
    prints = [p for found, _ in seconds for p in found]
    aggs = [a for _, found in seconds for a in found]
    assert [p.id for p in prints] == list(range(prints[0].id, prints[0].id + len(prints)))
    assert [a.id for a in aggs] == list(range(aggs[0].id, aggs[0].id + len(aggs)))
    assert all(a.time_us <= b.time_us for a, b in pairwise(prints))
    assert all(a.sent_us >= a.time_us for a in prints)


def test_aggregates_cover_their_prints_and_add_up() -> None:
    made = market()
    for n in range(60):
        prints, aggs = made.orders_in("SOLUSDT", NOON + n)
        by_id = {p.id: p for p in prints}
        covered: list[int] = []
        for agg in aggs:
            within = [by_id[i] for i in range(agg.first, agg.last + 1)]
            covered += [p.id for p in within]
            assert {(p.price, p.time_us, p.buyer_maker) for p in within} == {(agg.price, agg.time_us, agg.buyer_maker)}
            assert sum(Decimal(p.qty) for p in within) == Decimal(agg.qty)
        assert covered == [p.id for p in prints]


def test_quotes_are_never_crossed_and_their_update_ids_rise() -> None:
    made = market()
    tops = [t for n in range(120) for t in made.tops_in("BTCUSDT", NOON + n)]
    assert all(Decimal(t.bid) < Decimal(t.ask) and Decimal(t.bid_qty) > 0 < Decimal(t.ask_qty) for t in tops)
    assert all(a.id < b.id for a, b in itertools.pairwise(tops))


def test_prices_wander_but_stay_near_where_they_began() -> None:
    made = market(rate=10)
    for symbol in ("SOLUSDT", "ADAUSDT"):
        begin = made.instruments[symbol].price
        hours = [float(made.tops_in(symbol, NOON + h * 3600 + n)[0].bid) for h in range(72) for n in range(60)
                 if made.tops_in(symbol, NOON + h * 3600 + n)][:2000]  # fmt: skip
        assert 0.5 * begin < min(hours) < max(hours) < 2 * begin
        assert len(set(hours)) > 20


def test_seconds_differ_in_how_busy_they_are() -> None:
    counts = [len(market().orders_in("BTCUSDT", NOON + n)[0]) for n in range(60)]
    assert max(counts) > 3 * sorted(counts)[30]


def test_the_rate_is_what_was_asked_for() -> None:
    made = market(rate=400)
    events = sum(len(made.events(s, NOON + n, {TRADE, BOOK_TICKER})) for s in made.instruments for n in range(60))
    assert abs(events / 60 - 400) < 4


def test_the_past_is_the_same_after_a_restart_and_asked_for_in_any_order() -> None:
    first, second = market(), market()
    forwards = [(first.orders_in("SOLUSDT", NOON + n), first.tops_in("SOLUSDT", NOON + n)) for n in range(90)]
    backwards = [
        (second.orders_in("SOLUSDT", NOON + n), second.tops_in("SOLUSDT", NOON + n)) for n in reversed(range(90))
    ]
    assert forwards == backwards[::-1]
    assert market(seed=2).orders_in("SOLUSDT", NOON)[0] != forwards[0][0][0]


def test_rest_answers_for_any_id_what_the_second_holds() -> None:
    made = market()
    sent = [p for n in range(120) for p in made.orders_in("SOLUSDT", NOON + n)[0]]
    assert made.prints("SOLUSDT", sent[0].id, len(sent)) == sent
    assert made.prints("SOLUSDT", sent[57].id, 3) == sent[57:60]
    aggs = [a for n in range(120) for a in made.orders_in("SOLUSDT", NOON + n)[1]]
    assert made.aggs("SOLUSDT", aggs[0].id, len(aggs)) == aggs


def test_nothing_later_than_the_moment_reached_is_answered() -> None:
    made = market()
    made.as_of_us = NOON * 1_000_000 + 500_000
    last = made.last_print("SOLUSDT")
    found = made.prints("SOLUSDT", last - 4, 100)
    assert [p.id for p in found] == list(range(last - 4, last + 1))
    assert found[-1].time_us <= made.as_of_us
    assert made.prints("SOLUSDT", last + 1, 10) == []
    assert made.prints("SOLUSDT", last + 10**9, 10) == []


def test_the_first_id_is_one_and_nothing_was_before_the_first_minute() -> None:
    made = market()
    assert made.prints("SOLUSDT", 0, 2)[0].id == 1
    assert made.print_at("SOLUSDT", 0) == 1
    assert made.orders_in("SOLUSDT", GENESIS_S - 1)[0] == []


def test_a_quiet_symbol_still_trades_once_a_minute() -> None:
    made = market(rate=0.001, symbols=("SOLUSDT",))
    assert sum(len(made.orders_in("SOLUSDT", NOON // 60 * 60 + n)[0]) for n in range(600)) == 10


def test_known_symbols_have_ticks_whose_products_fit_eight_decimals() -> None:
    assert {"SOLUSDT", "SUIUSDT", "ADAUSDT"} <= set(DEFAULT)
    assert len(DEFAULT) >= 20
    for symbol in DEFAULT:
        found = instrument(symbol)
        assert found.tick_digits + found.step_digits <= 8
        assert found.price * 10**found.tick_digits > 100  # a tick is less than a percent


def test_an_unknown_symbol_gets_a_market_of_its_own() -> None:
    assert instrument("NEWUSDT") == instrument("NEWUSDT") != instrument("OTHERUSDT")
    assert instrument("NEWUSDT").base == "NEW"
    made = market(symbols=("NEWUSDT",))
    assert made.tops_in("NEWUSDT", NOON)


def test_payloads_have_the_documented_keys_in_their_order() -> None:
    sold = Print(7, "187.42000000", "3.10000000", 1_760_918_400_123_456, 1_760_918_400_124_000, True)
    event = Event(0, "solusdt@trade", TRADE, "SOLUSDT", 7, sold)
    assert payload(event, "spot", False) == (
        b'{"e":"trade","E":1760918400124,"s":"SOLUSDT","t":7,"p":"187.42000000","q":"3.10000000",'
        b'"T":1760918400123,"m":true,"M":true}'
    )
    assert json.loads(payload(event, "spot", True))["T"] == 1_760_918_400_123_456
    assert list(json.loads(payload(event, "usdm", False))) == ["e", "E", "T", "s", "t", "p", "q", "X", "m"]
    made = Synthetic([instrument("SOLUSDT")], 200, 1)
    tops = made.events("SOLUSDT", NOON, {BOOK_TICKER})
    assert list(json.loads(payload(tops[0], "spot", False))) == ["u", "s", "b", "B", "a", "A"]
    assert list(json.loads(payload(tops[0], "usdm", False))) == ["e", "u", "s", "b", "B", "a", "A", "T", "E"]
    aggs = made.events("SOLUSDT", NOON, {"aggTrade"}) or made.events("SOLUSDT", NOON + 1, {"aggTrade"})
    assert list(json.loads(payload(aggs[0], "spot", False))) == ["e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"]


def test_a_recorded_payload_asked_for_in_microseconds_names_the_same_moments() -> None:
    body = b'{"e":"trade","E":1723161255612,"s":"ETHUSDT","t":1520538925,"p":"2.0","T":1723161255611,"m":true}'
    told = json.loads(to_micro(body))
    assert (told["E"], told["T"], told["t"]) == (1723161255612000, 1723161255611000, 1520538925)


def test_frames_of_every_length_carry_it() -> None:
    assert text_frame(b"x" * 125)[:2] == b"\x81\x7d"
    assert text_frame(b"x" * 126)[:4] == b"\x81\x7e\x00\x7e"
    assert text_frame(b"x" * 65535)[:4] == b"\x81\x7e\xff\xff"
    assert text_frame(b"x" * 65536)[:10] == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
