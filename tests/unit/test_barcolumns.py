"""Columns in bars: most of them are taken in sums alone; what is unusual becomes single events; states hold them."""

from __future__ import annotations

import base64
import zlib

import msgspec
import pytest

from shared.barcolumns import Grouping, columned, grouped
from shared.bars import FEW, Bars
from shared.events import Bar, Columns, Feed, Quote, Trade, plain
from shared.numbers import Units
from shared.quoteruns import QuoteRuns, single_quotes
from tests.columns import columns_of
from tests.fixtures.loops import loops as loops

S = 1_000_000_000
T = 1_700_000_000 * S
BTC, PEPE = 10_123_456_789_012, 10**17
"""A price and a quantity with eight digits after the point, of the largest there are."""


def trade(at: float, one: int, price: int = 10**9, qty: int = 10**8, side: str = "buy", symbol: str = "AAA") -> Trade:
    ts = T + int(at * S)
    return Trade(symbol, ts, ts, ts, 0, plain(price, 8), plain(qty, 8), side, one)


def quote(at: float, one: int, bid: int = 10**9, ask: int = 10**9 + 7, symbol: str = "AAA") -> Quote:
    return Quote(symbol, T + int(at * S), None, None, 0, plain(bid, 8), "1.00000000", plain(ask, 8), "2.00000000", one)


def market(begin: int, count: int) -> list[Trade | Quote]:
    """From `begin` on a hundred events a second of three symbols, as calm as a venue sends them."""
    return [
        trade(at / 100, at, BTC + at * at % 1009, PEPE + at, "buy" if at % 3 else "sell", symbol=f"S{at % 3}")
        if at % 4 == 3
        else quote(at / 100, at, BTC - at % 11, BTC + at * at % 13, symbol=f"S{at % 3}")
        for at in range(begin, begin + count)
    ]


def numbered(events: list[Trade | Quote]) -> list[Trade | Quote]:
    """The same with the trades of each symbol counted one by one."""
    counts: dict[str, int] = {}
    for event in events:
        if isinstance(event, Trade):
            event.trade_id = counts[event.symbol] = counts.get(event.symbol, 0) + 1
    return events


def closed(bars: Bars, at: float = 100) -> list[Bar]:
    given = bars.advance(T + int(at * S))
    assert given is not None
    return given[1]


@pytest.fixture
def no_single_events(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("taken one by one")

    monkeypatch.setattr(Columns, "__iter__", refuse)
    monkeypatch.setattr(Grouping, "single_trades", refuse)
    monkeypatch.setattr(Grouping, "single_quotes", refuse)
    monkeypatch.setattr(QuoteRuns, "quotes", refuse)


def batches_and_bars() -> tuple[list[Columns], list[Bar]]:
    """Nine batches of some two seconds each, and what their events come to one by one."""
    events = numbered(market(0, 1800))
    bars = Bars()
    bars.take(events)
    return [columns_of(events[at : at + 200]) for at in range(0, 1800, 200)], closed(bars)


@pytest.mark.usefixtures("no_single_events")
def test_what_comes_as_a_venue_sends_it_never_becomes_single_events() -> None:
    batches, expected = batches_and_bars()
    bars, found = Bars(), list[Bar]()
    for at, columns in enumerate(batches):
        bars.take(columns)
        found += closed(bars, 2 * at)
    assert sorted([*found, *closed(bars)], key=lambda bar: (bar.window_start, bar.symbol)) == expected
    assert len(expected) == 54
    assert max(bar.trade_count for bar in expected) > 5


@pytest.mark.usefixtures("no_single_events")
def test_a_state_in_the_middle_of_a_second_holds_the_columns_of_it() -> None:
    batches, expected = batches_and_bars()
    bars = Bars()
    for columns in batches:
        bars.take(columns)
        state = bars.state()
        bars = Bars.from_state(state)
        assert bars.state() == state
    assert closed(bars) == expected


def test_a_disconnect_within_a_restored_second_is_held_against_each_quote() -> None:
    events = [quote(0.1, 1), quote(0.5, 2, ask=10**9 + 9), quote(0.9, 3)]
    given_out = []
    for batch in (events, columns_of(events)):
        bars = Bars()
        bars.take(batch)
        bars = Bars.from_state(bars.state())
        bars.add(Feed("disconnected", T + S // 2, 0))
        given_out.append(closed(bars))
    assert given_out[0] == given_out[1]
    assert given_out[0][0].quotes_live_ms == 500


@pytest.mark.parametrize(
    "later",
    [quote(0.4, 3, ask=10**9 + 9), quote(0.6, 1, ask=10**9 + 9), quote(0.6, 2, ask=10**9 + 9), quote(0.5, 2, bid=1)],
)
def test_an_overtaken_quote_stands_where_it_belongs(later: Quote) -> None:
    events = [quote(0.3, 1), quote(0.5, 2, ask=10**9 + 8)]
    one_by_one, together, apart = Bars(), Bars(), Bars()
    one_by_one.take([*events, later])
    together.take(columns_of([*events, later]))
    apart.take(columns_of(events))
    apart.take(columns_of([later]))
    assert closed(apart) == closed(together) == closed(one_by_one)


@pytest.mark.parametrize(
    "odd",
    [
        quote(0.45, 4, ask=10**9 + 50),  # between two batches
        quote(0.25, 9, ask=10**9 + 50),  # ahead of its time: those behind it never stand
        quote(0.95, 0, ask=10**9 + 50),  # behind its time
        quote(0.5, 5, bid=10**9 - 1),  # of two that share time and number their texts decide
        Quote("AAA", T + S // 2, None, None, 0, "9.1", "1.0", "9.5", "2.0", 4),  # other digits
        Quote("AAA", T + S // 2, None, None, 0, "9.00000000", "1.00000000", "1e5", "2.00000000", 4),
        Quote("AAA", T + S // 2, None, None, 0, "9.00000000", f"{10**30}.00000000", "9.00000000", "2.00000000", 4),
        Quote("AAA", T + 45 * S // 100, None, None, 0, "9.00000000", "1.0", "9.000000001", "2.0", 4),
        Quote("AAA", T + S - 1, None, None, 0, "9.1", "1.0", "9.5", "2.0", 40),  # it stands in the end
        Quote("AAA", T + S - 1, None, None, 0, "9.1", "no", "9.5", "2.0", 40),
        Quote("AAA", T + S // 2, None, None, 0, "9.1", "no", "9.5", "2.0", 4),
        quote(0.5, 2**63 + 5),
    ],
)
@pytest.mark.parametrize(
    "before", [[], [quote(-1, 0)], [quote(-1, 4)], [quote(-1, 6)], [quote(-1, 90, ask=10**9 + 20)]]
)
def test_single_quotes_among_columns_give_what_all_of_them_give_one_by_one(odd: Quote, before: list[Quote]) -> None:
    events = [quote(at / 10, at, ask=10**9 + at) for at in range(1, 10)]
    one_by_one, mixed = Bars(), Bars()
    one_by_one.take([*before, *events, odd])
    mixed.take(before)
    mixed.take(columns_of(events[:4]))
    mixed.add(odd)
    mixed.take(columns_of(events[4:]))
    mixed = Bars.from_state(mixed.state())
    assert closed(mixed) == closed(one_by_one)
    assert mixed.state() == one_by_one.state()


def test_columns_of_other_digits_in_the_same_second_are_told_apart() -> None:
    events = [quote(0.1, 1), quote(0.2, 2, ask=10**9 + 9)]
    finer = Quote("AAA", T + S // 2, None, None, 0, "9.000000001", "1.000000000", "9.100000000", "2.000000000", 3)
    one_by_one, in_columns = Bars(), Bars()
    one_by_one.take([*events, finer])
    in_columns.take(columns_of(list(events)))
    in_columns.take(columns_of([finer], 9))
    assert closed(in_columns) == closed(one_by_one)


def test_of_two_trades_with_one_id_the_first_to_come_counts_whatever_its_second() -> None:
    bars = Bars()
    bars.take(columns_of([trade(0.5, 1), trade(2.1, 7), trade(1.1, 7), trade(1.2, 2)]))
    assert [(bar.window_start - T, bar.trade_id_sum) for bar in closed(bars)] == [(0, 1), (S, 2), (2 * S, 7)]
    assert bars.counters["duplicates"] == 1


@pytest.mark.parametrize("one", [0, 1, 2, 3])
def test_what_stood_before_stands_until_a_newer_quote_comes(one: int) -> None:
    events = [quote(-1, one, ask=10**9 + 100), quote(0.1, 1), quote(0.5, 2, ask=10**9 + 9)]
    one_by_one, in_columns = Bars(), Bars()
    one_by_one.take(events)
    in_columns.take(columns_of(list(events)))
    assert closed(in_columns) == closed(one_by_one)


def test_single_quotes_among_columns_do_not_make_single_quotes_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuoteRuns, "quotes", None)
    bars = Bars()
    bars.take(columns_of([quote(0.1, 1), quote(0.3, 3)]))
    bars.add(quote(0.2, 2))
    assert [bar.quote_count for bar in closed(bars)] == [3]


def test_pending_quotes_cost_48_bytes_each_in_a_state() -> None:
    few, many = Bars(), Bars()
    few.take(columns_of([quote(at / 10_000, at) for at in range(10)]))
    many.take(columns_of([quote(at / 10_000, at) for at in range(5_010)]))
    assert 48 * 5_000 <= len(many.state()) - len(few.state()) < 48 * 5_000 + 20


def test_a_closed_second_holds_no_columns() -> None:
    bars = Bars()
    bars.take(columns_of([quote(at / 10_000, at) for at in range(5_000)]))
    assert len(bars.state()) > 48 * 5_000
    closed(bars)
    assert len(bars.state()) < 500


STORED = (
    b"c-ouBbS^dcqtKxV6DH1I?C9t?X%ZvjBxV+tiIYI$az`0C?=Xln9^qhMNLjvl+XLPs0t`T~!0ZddO}ATD1>Uu?GaO-rAeJMX3=A(iS(J}=F(9*X"
    b"Fd11`CNLZT>SQ>;aA+FG#7P`S5*YF<?O5kd7iTa~^#alC3=qHxr5R4mvPPjFeq}|b*`eZ`F!@8TxsmBf=f$VbWwo=+V_=^KW_qa_FmRr;o^^`h"
    b"9P8JI3?LTgIquho7=ZrtD+*>n0*665=KS+xY++zsZD^op00pZI;Y=i9^HoN0;R(zWL4nCIk$K{gRlwk60tM#@zx3RL(vaYE$bG@Msdvk2#XH>m"
    b"@Ze-b3M^(~f|Gdy6WLA#ne<?;&v$iB=5zY%IT#Kx96s>>0L0l7CIA48d#5@"
)
"""What version 2 stored of a closed second and an open one."""


def test_a_state_that_an_older_version_stored_is_read() -> None:
    bars = Bars()
    bars.take([trade(0.1, 1), quote(0.2, 2), trade(0.3, 3), quote(0.4, 5)])
    bars.advance(T + 20 * S)
    bars.take([trade(30.1, 4), quote(30.2, 7), quote(30.4, 9, ask=10**9 + 9)])
    stored = Bars.from_state(zlib.decompress(base64.b85decode(STORED)))
    for both in (bars, stored):
        both.take([trade(0.2, 2)])
    given = closed(stored)
    assert given == closed(bars)
    assert [(bar.revision, bar.trade_count, bar.quote_count) for bar in given] == [(1, 3, 2), (0, 1, 2)]


def test_a_state_from_before_there_were_columns_or_rows_is_read() -> None:
    bars = Bars()
    bars.take([trade(0.1, 1), quote(0.2, 2), trade(30.1, 2), quote(30.2, 3)])
    bars.advance(T + 20 * S)
    version, *head, series = msgspec.msgpack.decode(bars.state())
    assert version == 3
    expected = bars.state(), closed(bars)
    second = Bars.from_state(msgspec.msgpack.encode([2, *head, series]))
    assert (second.state(), closed(second)) == expected
    for sec_and_pack in series[0][3]:
        sec_and_pack[1] = msgspec.msgpack.encode(msgspec.msgpack.decode(sec_and_pack[1])[:-1])
    series[0][9] = [msgspec.msgpack.encode(msgspec.msgpack.decode(pack)[:-1]) for pack in series[0][9]]
    first = Bars.from_state(msgspec.msgpack.encode([1, *head, series]))
    assert closed(first) == expected[1]


def test_sums_beyond_64_bits_are_exact() -> None:
    events = [trade(at / 1000, at, BTC + at, PEPE - at, "sell" if at % 2 else "buy") for at in range(1, 900)]
    bars = Bars()
    bars.take(columns_of(list(events)))
    second = bars._series["AAA"].open[T // S]
    products = {side: sum((BTC + at) * (PEPE - at) for at in range(side, 900, 2)) for side in (1, 2)}
    assert second.sell_quote == products[1] * 10**20
    assert second.buy_quote == products[2] * 10**20
    assert second.buy_volume == sum(PEPE - at for at in range(2, 900, 2)) * 10**10
    assert products[1] > 1 << 100


def test_what_floats_cannot_count_is_summed_one_by_one() -> None:
    most = 2**63 - 1
    events = [trade(0, 1, most, most), trade(0.1, 2, most, most - 1, "sell")]
    bars = Bars()
    bars.take(columns_of(list(events)))
    second = bars._series["AAA"].open[T // S]
    assert (second.buy_quote, second.sell_quote) == (most * most * 10**20, most * (most - 1) * 10**20)


@pytest.mark.parametrize("field", ["price", "qty", "ask", "ask_qty", "ids"])
def test_a_negative_number_leaves_the_decision_to_single_events(field: str) -> None:
    columns = columns_of([trade(0, 1), quote(0, 1), trade(0.1, 2)])
    assert grouped(columns) is not None
    broken = msgspec.structs.replace(
        columns, **{field: (-1).to_bytes(8, "little", signed=True) + getattr(columns, field)[8:]}
    )
    assert grouped(broken) is None


def test_columns_without_events_or_of_one_kind_are_taken() -> None:
    for events in ([], [trade(0, 1)], [quote(0, 1)]):
        one_by_one, bars = Bars(), Bars()
        one_by_one.take(events)
        bars.take(columns_of(events))
        assert closed(bars) == closed(one_by_one)


def test_a_symbol_that_stands_twice_in_the_list_is_one_symbol() -> None:
    events: list[Trade | Quote] = [
        trade(0, 1, 500, symbol="B"),
        trade(0.1, 1, 600, symbol="A"),
        quote(0.2, 1, symbol="A"),
        trade(0.3, 1, symbol="C"),
    ]
    columns = msgspec.structs.replace(columns_of(events), symbols=["A", "B", "A"], symbol=b"\2\0\0\0\2\0\1\0")
    bars = Bars()
    bars.take(columns)
    bar, _ = closed(bars)
    assert (bar.trade_count, bar.open, bar.quote_count) == (1, 0.000005, 1)
    assert bars.counters["duplicates"] == 1


def test_a_symbol_that_is_not_in_the_list_is_an_error() -> None:
    columns = columns_of([trade(0, 1)])
    with pytest.raises(IndexError):
        Bars().take(msgspec.structs.replace(columns, symbol=b"\1\0"))


def test_quotes_come_back_from_a_block_as_they_went_in() -> None:
    events = [quote(0.1, 1), quote(0.2, 5, 0, 1)]
    grouping = grouped(columns_of(events))
    assert grouping is not None
    assert single_quotes("AAA", 8, grouping.block) == events


@pytest.mark.parametrize("text", ["0.123456789", "92233720369", "99999999999999999999.5", "no number"])
@pytest.mark.parametrize("field", ["price", "qty", "bid", "bid_qty", "ask", "ask_qty"])
def test_single_events_with_a_number_that_no_column_holds_stay_single(text: str, field: str) -> None:
    market = [trade(at / 100, at + 1) if at % 2 else quote(at / 100, at) for at in range(2 * FEW)]
    odd = next(event for event in market if hasattr(event, field))
    events = [msgspec.structs.replace(event, **{field: text}) if event is odd else event for event in market]
    assert columned(market, Units()) is not None
    assert columned(events, Units()) is None
    at_once, singly = Bars(), Bars()
    at_once.take(events)
    for event in events:
        singly.add(event)
    assert (closed(at_once), at_once.counters) == (closed(singly), singly.counters)


def test_single_events_are_bars_of_columns_alone_where_columns_hold_them() -> None:
    events = market(0, 10 * FEW)
    singly, at_once = Bars(), Bars()
    for event in events:
        singly.add(event)
    at_once.take(events)
    assert closed(at_once) == closed(singly)


@pytest.mark.parametrize("kind", ["MARKET", "INSURANCE_FUND"])
def test_a_trade_that_was_no_execution_in_the_book_is_in_no_bar_among_many_either(kind: str) -> None:
    events = [trade(at / 100, at + 1) for at in range(3 * FEW)]
    events[FEW] = msgspec.structs.replace(events[FEW], trade_type=kind)
    bars = Bars()
    bars.take(events)
    assert sum(bar.trade_count for bar in closed(bars)) == 3 * FEW - (kind != "MARKET")
    assert bars.counters["excluded"] == (kind != "MARKET")
