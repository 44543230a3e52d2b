"""What a bar says, one fact at a time; all of them together against an oracle in tests/property/test_bars_oracle.py."""

from __future__ import annotations

import pytest

from shared.bars import Bars, bars_hash
from shared.events import AggTrade, Bar, Event, Feed, Quote, Trade

S = 1_000_000_000
T = 1_700_000_000 * S
LATE = 2 * S


def trade(
    at: float, one: int, price: str = "10.0", qty: str = "1.0", side: str = "buy", kind: str | None = None
) -> Trade:
    return Trade("AAA", T + int(at * S), 0, None, 0, price, qty, side, one, "ws", kind)


def agg(at: float, first: int, last: int, source: str = "rest", price: str = "10.0", qty: str = "1.0") -> AggTrade:
    return AggTrade("AAA", T + int(at * S), 0, None, 0, price, qty, "sell", 1, first, last, source)


def quote(at: float, one: int, bid: str = "10.0", ask: str = "10.1", symbol: str = "AAA") -> Quote:
    return Quote(symbol, T + int(at * S), None, None, 0, bid, "1.0", ask, "2.0", one)


def feed(kind: str, at: float, *symbols: str) -> Feed:
    return Feed(kind, T + int(at * S), 0, list(symbols))


def bars_of(*events: Event, until: float = 100) -> list[Bar]:
    bars = Bars()
    bars.take(events)
    given = bars.advance(T + int(until * S))
    return given[1] if given else []


def one_bar(*events: Event) -> Bar:
    (bar,) = bars_of(*events)
    return bar


# --- trades ---


def test_open_and_close_go_by_id_not_by_arrival() -> None:
    bar = one_bar(trade(0.1, 3, "12.0"), trade(0.1, 1, "10.0"), trade(0.1, 2, "9.0"))
    assert (bar.open, bar.close, bar.high, bar.low) == (10.0, 12.0, 12.0, 9.0)
    assert (bar.first_trade_id, bar.last_trade_id, bar.trade_count, bar.trade_id_sum) == (1, 3, 3, 6)


def test_sums_are_exact_before_they_are_rounded_once() -> None:
    bar = one_bar(*(trade(0, one, "0.1", "0.1") for one in range(10)))
    assert (bar.volume_base, bar.volume_quote, bar.vwap) == (1.0, 0.1, 0.1)
    assert sum([0.1 * 0.1] * 10) != 0.1


def test_buys_are_the_takers() -> None:
    bar = one_bar(trade(0, 1, qty="3.0"), trade(0, 2, qty="1.0", side="sell"))
    assert (bar.buy_volume_base, bar.buy_volume_quote, bar.buy_count) == (3.0, 30.0, 1)
    assert (bar.volume_base, bar.trade_count) == (4.0, 2)


def test_a_trade_without_quantity_has_no_vwap() -> None:
    assert one_bar(trade(0, 1, qty="0")).vwap is None


def test_what_is_no_book_execution_holds_its_id_and_is_in_no_bar() -> None:
    _, bar = bars_of(trade(0, 1), trade(1, 2, "99.0", kind="ADL"), trade(1.5, 3, kind="MARKET"))
    assert (bar.trade_count, bar.high, bar.is_complete) == (1, 10.0, True)
    assert bars_of(trade(0, 1, kind="INSURANCE_FUND")) == []


def test_a_duplicate_never_counts_twice_not_even_in_another_second() -> None:
    bars = Bars()
    bars.take([trade(0, 1), trade(0, 1, "11.0"), trade(1, 1)])
    given = bars.advance(T + 10 * S)
    assert given is not None
    assert [bar.trade_count for bar in given[1]] == [1]
    assert bars.counters["duplicates"] == 2


def test_a_sum_of_ids_beyond_int64_is_null() -> None:
    assert one_bar(trade(0, 2**62), trade(0, 2**62 + 1)).trade_id_sum is None
    assert one_bar(trade(0, 2**63 - 1)).trade_id_sum == 2**63 - 1


def test_what_cannot_be_read_is_counted_and_left_out() -> None:
    bars = Bars()
    bars.take([trade(0, 1), trade(0, 2, "NaN"), trade(0, 3, qty="-1"), quote(0, 1), quote(0.5, 2, ask="1e5")])
    given = bars.advance(T + 10 * S)
    assert given is not None
    (bar,) = given[1]
    assert (bar.trade_count, bar.quote_count, bar.ask) == (1, 1, 10.1)
    assert bars.counters["unreadable"] == 2


# --- completeness ---


def test_the_first_second_ever_is_not_proven_complete() -> None:
    first, second = bars_of(trade(0, 1), trade(5, 2))
    assert (first.is_complete, second.is_complete) == (False, True)


def test_an_id_missing_between_two_seconds_makes_the_later_one_incomplete() -> None:
    assert [bar.is_complete for bar in bars_of(trade(0, 1), trade(1, 3), trade(2, 4))] == [False, False, True]


def test_ids_that_interleave_across_the_edge_of_a_second_are_complete() -> None:
    _, a, b = bars_of(trade(0, 1), trade(1, 2), trade(1, 4), trade(2, 3), trade(2, 5))
    assert (a.is_complete, b.is_complete) == (True, True)


def test_a_hole_below_the_last_id_held_before_is_still_a_hole() -> None:
    *_, last = bars_of(trade(0, 1), trade(1, 2), trade(1, 6), trade(2, 3), trade(2, 5))
    assert last.is_complete is False


# --- aggregates ---


def test_a_live_aggregate_beside_raw_trades_counts_nothing_and_holds_nothing() -> None:
    bars = bars_of(trade(0, 1), agg(1, 2, 4, source="ws"), trade(2, 5))
    assert [(bar.trade_count, bar.is_complete) for bar in bars] == [(1, False), (1, False)]


def test_a_fetched_aggregate_heals_all_ids_it_covers() -> None:
    _, healed, last = bars_of(trade(0, 1), trade(2, 5), agg(1, 2, 4, qty="3.0", price="11.0"))
    assert (healed.trade_count, healed.volume_base, healed.volume_quote) == (3, 3.0, 33.0)
    assert (healed.first_trade_id, healed.last_trade_id, healed.trade_id_sum) == (2, 4, 9)
    assert healed.is_complete and last.is_complete


def test_an_aggregate_of_which_one_id_is_held_does_not_count() -> None:
    assert one_bar(trade(0, 2), agg(0, 1, 3)).trade_count == 1


def test_a_raw_trade_that_an_aggregate_holds_does_not_count_again() -> None:
    assert one_bar(agg(0, 1, 3), trade(0, 2)).trade_count == 3


# --- quotes ---


def test_the_quote_at_the_end_stands_and_is_carried_on() -> None:
    first, second = bars_of(quote(0.5, 1), quote(0.7, 2, "10.2", "10.3"), trade(3, 1))
    for bar in (first, second):
        assert (bar.bid, bar.ask, bar.bid_qty, bar.ask_qty, bar.spread) == (10.2, 10.3, 1.0, 2.0, 0.1)
    assert (first.quote_count, second.quote_count) == (2, 0)


def test_a_second_with_quotes_only_has_a_row_with_zeros_and_nulls() -> None:
    assert one_bar(quote(0.5, 1)) == Bar(
        "AAA",
        T,
        bid=10.0,
        ask=10.1,
        spread=0.1,
        bid_qty=1.0,
        ask_qty=2.0,
        quote_count=1,
        spread_tw=0.1,
        quotes_live_ms=500,
    )


def test_the_mean_spread_is_weighted_with_time_over_the_observed_part() -> None:
    bar = one_bar(quote(0.2, 1, "10.0", "10.1"), quote(0.6, 2, "10.0", "10.5"))
    assert bar.quotes_live_ms == 800
    assert bar.spread_tw == 0.3


def test_a_quote_overtaken_on_its_way_is_counted_but_never_stands() -> None:
    bar = one_bar(quote(0.2, 5), quote(0.6, 4, "1.0", "9.0"))
    assert (bar.quote_count, bar.bid, bar.spread_tw) == (2, 10.0, 0.1)


@pytest.mark.parametrize("kind", ["disconnected", "suspended", "stale"])
def test_nothing_stands_after_a_disconnect_until_the_next_quote(kind: str) -> None:
    first, second, third = bars_of(quote(0, 1), feed(kind, 0.25, "AAA"), trade(1, 1), quote(2.5, 2))
    assert (first.bid, first.spread, first.quotes_live_ms, first.spread_tw) == (None, None, 250, 0.1)
    assert (second.bid, second.quotes_live_ms, second.spread_tw) == (None, 0, None)
    assert (third.bid, third.quotes_live_ms) == (10.0, 500)


def test_a_disconnect_concerns_the_symbols_it_names_or_all() -> None:
    for symbols, bid in (((), None), (("BBB",), 10.0), (("BBB", "AAA"), None)):
        assert one_bar(quote(0, 1), feed("disconnected", 0.5, *symbols)).bid == bid


def test_a_quote_that_overtook_the_disconnect_before_it_stands() -> None:
    assert one_bar(quote(0.6, 1), feed("disconnected", 0.5)).bid == 10.0


# --- time ---


def test_closing_goes_by_time_then_symbol() -> None:
    events = [quote(1, 1, symbol="B"), quote(0, 1, symbol="C"), quote(1, 1, symbol="A"), quote(0, 1, symbol="B")]
    assert [(bar.window_start - T, bar.symbol) for bar in bars_of(*events)] == [(0, "B"), (0, "C"), (S, "A"), (S, "B")]


def test_the_lateness_does_not_leak_into_values() -> None:
    events: list[Event] = [trade(i / 3, i) for i in range(20)]
    events += [quote(i / 4, i) for i in range(30)]
    hashes = set()
    for lateness in (0, S // 2, LATE, 30 * S):
        bars = Bars(lateness)
        bars.take(events)
        given = bars.advance(T + 100 * S)
        assert given is not None
        hashes.add(bars_hash(given[1]))
    assert len(hashes) == 1


def closed(*events: Event, at: float = 10, revise_s: int = 600) -> Bars:
    bars = Bars(LATE, revise_s * S)
    bars.take(events)
    bars.advance(T + int(at * S) + LATE)
    return bars


def revised(bars: Bars, at: float = 10.5) -> list[Bar]:
    given = bars.advance(T + int(at * S) + LATE)
    return given[1] if given else []


def test_a_healed_trade_gives_its_bar_again_at_the_next_time_record() -> None:
    bars = closed(trade(0, 1), trade(1, 3, "12.0"), quote(1, 1))
    bars.take([trade(1, 2, "9.0")])
    (bar,) = revised(bars)
    assert (bar.window_start, bar.revision, bar.trade_count, bar.open, bar.close) == (T + S, 1, 2, 9.0, 12.0)
    assert (bar.is_complete, bar.bid, bar.quote_count) == (True, 10.0, 1)
    assert revised(bars, 10.6) == []


def test_many_healed_trades_of_one_second_are_one_revision() -> None:
    bars = closed(trade(0, 1), trade(1, 9))
    bars.take([trade(1, one) for one in range(2, 9)])
    (bar,) = revised(bars)
    assert (bar.trade_count, bar.revision) == (8, 1)


def test_healing_makes_the_bars_behind_it_complete() -> None:
    bars = closed(trade(0, 1), trade(5, 4), trade(6, 5))
    bars.take([trade(2, 2)])
    assert [(bar.window_start - T, bar.revision, bar.is_complete) for bar in revised(bars)] == [(2 * S, 0, True)]
    bars.take([trade(3, 3)])
    found = [(bar.window_start - T, bar.revision, bar.is_complete) for bar in revised(bars)]
    assert found == [(3 * S, 0, True), (5 * S, 1, True)]


def test_the_trade_held_before_a_second_may_be_a_healed_one() -> None:
    bars = closed(trade(0, 1), trade(5, 10))
    bars.take([trade(2, 9), trade(7, 14), trade(11, 15)])
    found = [(bar.window_start - T, bar.is_complete) for bar in revised(bars, 20)]
    assert found == [(2 * S, False), (5 * S, True), (7 * S, False), (11 * S, True)]


def test_the_trade_held_before_a_second_may_be_one_too_old_for_any_bar() -> None:
    bars = closed(trade(0, 1), trade(8, 10), at=10, revise_s=5)
    bars.take([trade(1, 12), trade(11, 13)])  # out of all order: the highest id in the oldest second
    found = [(bar.window_start - T, bar.is_complete) for bar in revised(bars, 20)]
    assert found == [(8 * S, True), (11 * S, True)]


def test_an_excluded_trade_that_is_healed_completes_without_a_row_of_its_own() -> None:
    bars = closed(trade(0, 1), trade(5, 3))
    bars.take([trade(2, 2, kind="ADL")])
    assert [(bar.window_start - T, bar.is_complete) for bar in revised(bars)] == [(5 * S, True)]


def test_a_second_that_had_no_row_knows_what_stood_then() -> None:
    bars = closed(quote(0, 1), feed("disconnected", 2.25), quote(4, 2, "11.0", "11.5"), trade(6, 9))
    bars.take([trade(1, 1), trade(2, 2), trade(3, 3), trade(5, 5)])
    found = [(b.window_start - T, b.bid, b.spread_tw, b.quotes_live_ms, b.revision) for b in revised(bars)]
    assert found == [
        (1 * S, 10.0, 0.1, 1000, 0),
        (2 * S, None, 0.1, 250, 0),
        (3 * S, None, None, 0, 0),
        (5 * S, 11.0, 0.5, 1000, 0),
    ]


def test_nothing_stands_in_a_new_row_after_a_disconnect_that_left_none() -> None:
    bars = closed(quote(0, 1), feed("disconnected", 2.25), trade(6, 9))
    bars.take([trade(4, 4)])
    assert [(bar.bid, bar.quotes_live_ms) for bar in revised(bars)] == [(None, 0)]


def test_beyond_the_horizon_a_trade_is_counted_as_late_and_its_id_as_held() -> None:
    bars = closed(trade(0, 1), trade(8, 4), at=10, revise_s=5)
    bars.take([trade(2, 2), trade(2, 3)])
    assert [(bar.window_start - T, bar.is_complete) for bar in revised(bars)] == [(8 * S, True)]
    assert bars.counters["late_trades"] == 2


def test_what_stood_is_known_beyond_the_horizon() -> None:
    bars = closed(quote(0, 1), trade(1, 1), at=2, revise_s=5)
    bars.advance(T + 20 * S + LATE)
    bars.take([trade(17, 2)])
    (bar,) = revised(bars, 20)
    assert (bar.bid, bar.spread_tw, bar.is_complete) == (10.0, 0.1, True)


def test_a_disconnect_beyond_the_horizon_still_holds() -> None:
    bars = closed(quote(0, 1), feed("disconnected", 3), at=2, revise_s=5)
    bars.advance(T + 20 * S + LATE)
    bars.take([trade(17, 2), trade(21, 3)])
    assert [(b.bid, b.spread_tw) for b in revised(bars, 25)] == [(None, None), (None, None)]


def test_a_late_quote_is_not_merged_but_stands_from_then_on() -> None:
    bars = closed(quote(0, 1), quote(5, 2))
    bars.take([quote(6, 3, "11.0", "12.0"), quote(4, 0), trade(11, 1)])
    assert bars.counters["late_quotes"] == 2
    assert [(bar.window_start - T, bar.bid) for bar in revised(bars, 20)] == [(11 * S, 11.0)]


def test_an_id_holds_nothing_back_that_is_a_minute_newer() -> None:
    """A venue may count anew, and a time that was estimated may be wrong; a quote that was overtaken is not so old."""
    first, soon, later = quote(0, 900, "9.0"), quote(59, 20, "10.0"), quote(62, 21, "10.0")
    assert [bar.bid for bar in bars_of(first, soon, later)] == [9.0, 9.0, 10.0]
    assert [bar.bid for bar in bars_of(first, trade(62, 1), quote(62.5, 21, "10.0"), trade(63, 2))] == [9.0, 10.0, 10.0]


@pytest.mark.parametrize("newest", [40, 62])
def test_a_late_quote_stands_from_then_on_where_it_would_have_in_time(newest: int) -> None:
    bars = closed(quote(newest, 20, "10.0"), at=70)
    bars.take([quote(0, 900, "9.0"), trade(71, 1)])
    assert [bar.bid for bar in revised(bars, 80)] == [9.0 if newest == 40 else 10.0]


def test_a_late_quote_from_before_a_disconnect_never_stands() -> None:
    bars = closed(quote(0, 1), feed("disconnected", 7))
    bars.take([quote(6, 3), trade(11, 1)])
    assert [bar.bid for bar in revised(bars, 20)] == [None]


def test_ended_closes_what_is_open_and_time_never_goes_back() -> None:
    bars = Bars()
    bars.take([trade(0.5, 1), feed("ended", 0.6)])
    given = bars.advance(T + int(0.6 * S))
    assert given is not None
    assert (given[0], [bar.trade_count for bar in given[1]]) == (T + S, [1])
    assert bars.advance(T + 2 * S) is None
    later = bars.advance(T + 4 * S)
    assert later is not None
    assert later[0] == T + 2 * S


def test_state_is_bounded_by_the_seconds_that_may_be_revised() -> None:
    bars = Bars(LATE, 20 * S)
    sizes = []
    for i in range(200):
        bars.take([trade(i, 2 * i), quote(i, i), feed("disconnected", i + 0.5)])
        bars.advance(T + i * S)
        sizes.append(len(bars.state()))
    assert max(sizes[100:]) < 1.25 * max(sizes[40:100])  # two varints per hole grow, nothing else


def test_a_state_of_another_version_is_refused() -> None:
    state = bytearray(Bars().state())
    state[1] += 1
    with pytest.raises(ValueError, match="state version"):
        Bars.from_state(bytes(state))


def test_the_hash_leaves_out_the_revision_and_the_order_and_nothing_else() -> None:
    a, b = Bar("A", T, open=1.0), Bar("B", T, open=1.0)
    assert bars_hash([a, b]) == bars_hash([b, a]) == bars_hash([Bar("A", T, open=1.0, revision=3), b])
    assert bars_hash([a]) != bars_hash([Bar("A", T, open=1.0000000000000002)])
    assert bars_hash([a]) != bars_hash([Bar("A", T, open=1.0, quotes_live_ms=1)])
