"""Open seconds as rows: what is plain goes no other way, what is not leaves them; loops stay within what they have."""

from __future__ import annotations

import ctypes
import struct
from random import Random

import msgspec
import numpy as np
import pytest

from shared import kernels
from shared.barfiles import bar_table, joined
from shared.bars import Bars
from shared.events import AggTrade, Bar, Columns, Feed, Quote, Trade, plain
from shared.numbers import Units
from shared.rowbars import AT, BarRows, Ints
from shared.rows import SIZE, Row, book
from shared.series import Series
from shared.tally import WINDOW, Tally, _places
from tests.columns import columns_of
from tests.fixtures.known import known
from tests.fixtures.loops import library as library

pytestmark = pytest.mark.usefixtures("library")

S = 1_000_000_000
T = 1_700_000_000
UNIT = 10**8


def trade(at: float, one: int, price: int = UNIT, qty: int = UNIT, side: str = "buy", symbol: str = "AAA") -> Trade:
    ts = T * S + int(at * S)
    return Trade(symbol, ts, ts, ts, 0, plain(price, 8), plain(qty, 8), side, one)


def quote(at: float, one: int, bid: int = 3 * UNIT, ask: int = 4 * UNIT, symbol: str = "AAA") -> Quote:
    ts = T * S + int(at * S)
    return Quote(symbol, ts, None, None, 0, plain(bid, 8), "1.00000000", plain(ask, 8), "2.00000000", one)


def tally_of(bars: Bars) -> Tally:
    assert bars._tally is not None
    return bars._tally


def closed(bars: Bars, at: float = 90) -> list[Bar]:
    given = bars.advance(T * S + int(at * S))
    assert given is not None
    return given[1]


def both(*batches: list[Trade | Quote], at: float = 90) -> Bars:
    """The bars of these batches in columns, which are those of single events; so is what is left behind them."""
    bars, singly = Bars(), Bars()
    for batch in batches:
        bars.take(columns_of(batch))
        singly.take(batch)
    assert closed(bars, at) == closed(singly, at)
    assert known(bars.state()) == known(singly.state())
    assert bars.counters == singly.counters
    return bars


@pytest.fixture
def only_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("not as rows")

    for owner, name in ((Bars, "_grouped"), (Bars, "_untally"), (Series, "close"), (Columns, "__iter__")):
        monkeypatch.setattr(owner, name, refuse)


def market(begin: int, count: int) -> list[Trade | Quote]:
    """From `begin` on twenty events a second of three symbols."""
    return [
        trade(at / 20, at // 4, 5 * UNIT + at * at % 1009, UNIT + at, "buy" if at % 3 else "sell", "S0")
        if at % 4 == 3
        else quote(at / 20, at, 5 * UNIT - at % 11, 5 * UNIT + at % 13, f"S{at % 3}")
        for at in range(begin, begin + count)
    ]


@pytest.mark.usefixtures("only_rows")
def test_what_is_plain_goes_into_rows_and_out_of_them_as_bars() -> None:
    bars, found = Bars(), list[Bar]()
    for begin in range(0, 3000, 150):
        bars.take(columns_of(market(begin, 150)))
        found += closed(bars, (begin + 150) / 20 + 0.5)
    seconds = {(bar.symbol, bar.window_start // S - T) for bar in found}
    assert seconds == {(f"S{symbol}", at) for symbol in range(3) for at in range(WINDOW + 20)}
    assert sum(bar.quote_count for bar in found) == (WINDOW + 20) * 15
    assert len(tally_of(bars)._parts) <= 2, "columns are let go once their seconds are closed"
    assert len(tally_of(bars)._rows) == 64, "rows are used again"


def test_after_something_unusual_the_next_seconds_are_rows_again() -> None:
    bars = Bars()
    for at in range(12):
        events: list[Trade | Quote] = [quote(at + 0.1, 10 * at), trade(at + 0.2, at)]
        bars.take(events if at == 4 else columns_of(events))
        series = bars._series["AAA"]
        assert series.is_tallied == (at != 4)
        bars.advance((T + at) * S + S // 2)
    assert len(closed(bars)) == 3


def test_of_a_symbol_that_is_odd_nothing_is_taken_as_rows_and_of_the_others_all() -> None:
    bars = Bars()
    bars.take(columns_of([trade(0.1, 1), trade(0.2, 3), trade(0.1, 1, symbol="BBB"), trade(0.2, 2, symbol="BBB")]))
    assert [bars._series[name].is_tallied for name in ("AAA", "BBB")] == [False, True]
    assert list(bars._series["AAA"].open) == [T]


def test_what_is_late_in_a_batch_goes_its_own_way() -> None:
    bars, singly = Bars(), Bars()
    for each in (bars, singly):
        each.take([quote(0.1, 1), trade(0.2, 1)])
        each.advance((T + 5) * S)
    late: list[Trade | Quote] = [quote(0.5, 2), trade(0.6, 2), quote(7.1, 4), trade(7.3, 3)]
    bars.take(columns_of(late))
    singly.take(late)
    assert bars._series["AAA"].is_tallied
    assert bars.counters == singly.counters
    assert closed(bars) == closed(singly)


@pytest.mark.parametrize("ts", [0, 1, 2**62, 2**63 - 1, -1, -(2**63)])
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_time_that_cannot_be_costs_no_memory(ts: int, is_begun: bool) -> None:
    wild = Quote("AAA", ts, None, None, 0, "3.00000000", "1.00000000", "4.00000000", "2.00000000", 1)
    bars, singly = Bars(), Bars()
    for each, take in ((bars, columns_of), (singly, list)):
        if is_begun:
            each.advance((T + 2) * S)
        each.take(take([wild, quote(0.1, 2), trade(0.2, 1)]))
        each.take(take([wild, quote(0.3, 3)]))
    assert known(bars.state()) == known(singly.state())
    assert len(tally_of(bars)._rows) <= 3 * WINDOW
    for each in (bars, singly):
        each.add(Feed("ended", T * S, 0))
    assert bars.advance((T + 9) * S) == singly.advance((T + 9) * S)


def test_the_end_closes_rows_of_whatever_second() -> None:
    bars = Bars()
    bars.take(columns_of([trade(0.5, 1), trade(7.5, 2)]))
    bars.add(Feed("ended", T * S, 0))
    given = bars.advance(T * S + S // 2)
    assert given is not None
    assert (given[0], len(given[1])) == ((T + 8) * S, 2)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    "batches",
    [
        [[trade(0.1, 1), trade(0.2, 2)], [trade(0.3, 2), trade(0.4, 3)]],  # one of them again
        [[trade(0.1, 1), trade(0.2, 2)], [trade(1.3, 5)], [trade(0.4, 3), trade(0.5, 4)]],  # what was missing
        [[quote(0.5, 1)], [quote(0.3, 2)]],
        [[quote(0.5, 5)], [quote(0.6, 3)]],
        [[quote(0.5, 5)], [quote(0.6, 5, ask=5 * UNIT)]],
        [[trade(3.5, 1)], [trade(2.5, 2)]],
        [[quote(5.5, 1)], [trade(2.5, 1), trade(5.6, 2)]],
    ],
)
def test_what_one_batch_does_not_say_the_next_may(batches: list[list[Trade | Quote]], single: bool) -> None:
    """None of it is odd by itself."""
    bars, singly = Bars(), Bars()
    for each, take in ((bars, columns_of), (singly, list)):
        each.advance((T + 2) * S)
        for place, batch in enumerate(batches):
            if place == 1 and len(batches) == 2:
                each.advance((T + 5) * S)
            each.take(list(batch) if single and place else take(batch))
    assert closed(bars) == closed(singly)
    assert known(bars.state()) == known(singly.state())
    assert bars.counters == singly.counters


def test_aggregates_that_heal_find_the_rows() -> None:
    bars, singly = Bars(), Bars()
    healing = AggTrade("AAA", T * S + 1, T * S + 1, None, 0, "2.00000000", "3.00000000", "buy", 1, 2, 3, "rest")
    for each, take in ((bars, columns_of), (singly, list)):
        each.take(take([trade(0.1, 1)]))
        each.take(take([trade(0.4, 4), trade(1.2, 5)]))
        each.add(healing)
    assert closed(bars) == closed(singly)
    assert known(bars.state()) == known(singly.state())


def test_prices_may_come_with_more_digits_from_one_batch_to_the_next() -> None:
    finer = Quote("AAA", T * S + S // 2, None, None, 0, "9.000000001", "1.000000000", "9.100000000", "2.000000000", 3)
    bars, singly = Bars(), Bars()
    bars.take(columns_of([quote(0.1, 1), trade(0.2, 1)]))
    bars.take(columns_of([finer], 9))
    singly.take([quote(0.1, 1), trade(0.2, 1), finer])
    assert closed(bars) == closed(singly)
    bars.take(columns_of([quote(91, 7)]))
    singly.take([quote(91, 7)])
    assert closed(bars, 95) == closed(singly, 95)


def test_ids_that_begin_anew_are_rows_again_after_a_while() -> None:
    bars = Bars()
    bars.take(columns_of([quote(0.1, 100)]))
    bars.add(quote(0.2, 5))
    for batch in ([trade(1.1, 1)], [quote(1.2, 6)]):
        bars.take(columns_of(batch))
    assert bars._series["AAA"].is_tallied


@pytest.mark.parametrize("fields", [("price", "qty"), ("ids",), ("ask", "ask_qty"), ("price",), ("ask",)])
def test_numbers_below_nothing_are_left_to_single_events(fields: tuple[str, ...]) -> None:
    columns = columns_of([trade(0.1, 1), quote(0.2, 1), trade(0.3, 2, symbol="BBB")])
    spoilt = {name: struct.pack("<q", -5) + getattr(columns, name)[8:] for name in fields}
    odd = msgspec.structs.replace(columns, **spoilt)
    bars, singly = Bars(), Bars()
    bars.take(odd)
    singly.take(list(odd))
    assert [bars._series[name].is_tallied for name in ("AAA", "BBB")] == [False, True]
    assert known(bars.state()) == known(singly.state())
    assert bars.counters == singly.counters


def test_seconds_further_apart_than_there_are_places_are_taken_all_the_same() -> None:
    both([quote(0.1, 1), quote(WINDOW + 1.5, 2), trade(WINDOW + 2, 1)], [quote(WINDOW + 3, 3)], at=WINDOW + 9)
    both([quote(0.1, 1)], [quote(WINDOW + 0.1, 2)], at=WINDOW + 9)


@pytest.mark.parametrize(
    ("price", "qty"), [(1, 2**63 - 1), (2**62, 2**33), (2**62, 2**34), (2**63 - 1, 2**63 - 1), (0, 2**62)]
)
def test_sums_of_the_largest_numbers_are_exact(price: int, qty: int) -> None:
    both([trade(at / 100, at, price - at % 2, qty, "buy" if at % 3 else "sell") for at in range(2, 60)])


def test_sums_of_the_largest_ids_are_exact() -> None:
    both([trade(at / 100, 2**63 - 60 + at) for at in range(60)], [quote(0.9, 2**63 - 1)])


def test_a_spread_below_nothing_counts() -> None:
    both([quote(at / 100, at, ask=UNIT - at) for at in range(60)], [quote(1.5, 99), quote(2.2, 100, 9 * UNIT)])


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (
            Quote("AAA", (T - 1) * S, None, None, 0, "3.1", "1.0", "4.0", "2.0", 1),
            [trade(0.1, 1)],
        ),  # its own texts stay
        (Quote("AAA", (T - 1) * S, None, None, 0, "3.1", "1.0", "4.000000001", "2.0", 1), [quote(0.5, 2)]),
        (quote(-1, 9), [quote(0.5, 5)]),  # overtaken: it never stands
        (quote(-70, 9), [quote(0.5, 5)]),  # the venue counts anew
        (quote(-1, 9, ask=2**70), [quote(0.5, 10)]),
        (quote(-1, 9), [trade(0.1, 1), quote(2.5, 5)]),
        (quote(-1, 9), [trade(0.1, 1), quote(2.5, 10)]),
    ],
)
@pytest.mark.parametrize("closes", [1.5, 60])
def test_what_stood_before_stands_on(before: Quote, then: list[Trade | Quote], closes: float) -> None:
    bars, singly = Bars(0), Bars(0)
    given = []
    for each, take in ((bars, columns_of), (singly, list)):
        each.take([before])
        each.advance(T * S)
        each.take(take(then))
        given.append([each.advance(T * S + int(closes * S)), each.advance((T + 60) * S)])
        each.take(take([quote(61, 20)]))
        given[-1].append(each.advance((T + 70) * S))
    assert given[0] == given[1]
    assert known(bars.state()) == known(singly.state())


@pytest.mark.parametrize("at", [-0.5, 0.0, 0.3, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_disconnect_ends_what_stands(at: float, when: int) -> None:
    batches: list[list[Trade | Quote]] = [
        [quote(-1, 1)],
        [quote(0.2, 2), trade(0.4, 1), quote(0.6, 3)],
        [trade(1.1, 2), quote(3.5, 4)],
    ]
    given = []
    for in_columns in (True, False):
        bars = Bars(0)
        found: list[object] = []
        for place, batch in enumerate(batches):
            if place == when:
                bars.add(Feed("disconnected", T * S + int(at * S), 0))
            bars.take(columns_of(batch) if in_columns else batch)
            if place != 1:
                found.append(bars.advance((T + place) * S))
        given.append([*found, bars.advance((T + 9) * S), known(bars.state())])
    assert given[0] == given[1]


@pytest.mark.parametrize("seed", range(120))
def test_wherever_quotes_cease_to_stand_rows_say_what_seconds_say(seed: int) -> None:
    chance = Random(seed)
    times = sorted(round(chance.uniform(0, 6), 1) for _ in range(chance.randrange(1, 14)))
    events: list[Trade | Quote] = [
        trade(at, one, symbol=symbol)
        if chance.random() < 0.3
        else quote(at, one, 3 * UNIT - chance.randrange(9), symbol=symbol)
        for one, at in enumerate(times)
        for symbol in ("AAA", "BBB")[: chance.randrange(1, 3)]
    ]
    if chance.random() < 0.5:
        events.insert(0, quote(-1, 0))
    # Often at the very moment of an event or at the edge of a second.
    places = [*times, *range(-1, 8), *(chance.uniform(-1, 7) for _ in range(9))]
    cuts = [
        Feed(kind, T * S + int(chance.choice(places) * S), 0, chance.choice([[], ["AAA"], ["BBB"]]))
        for kind in ("disconnected", "stale", "suspended", "disconnected")[: chance.randrange(1, 5)]
    ]
    first, given = chance.uniform(-1, 7), []
    for take in (columns_of, list):
        bars = Bars(0)
        bars.take([event for event in events if event.ts < T * S])
        bars.advance(T * S)
        bars.take(take([event for event in events if event.ts >= T * S]))
        bars.take(cuts)
        closings = [bars.advance(T * S + int(at * S)) for at in (first, 9)]
        bars.take(take([quote(10.5, 99)]))
        given.append([*closings, bars.advance((T + 20) * S), known(bars.state())])
    assert given[0] == given[1]


@pytest.mark.usefixtures("only_rows")
def test_a_cut_before_or_behind_a_seconds_quotes_asks_for_none_of_them() -> None:
    bars = Bars(0)
    bars.take(columns_of([quote(0.2, 1), quote(0.6, 2), quote(2.5, 3), trade(3.5, 1), quote(4.5, 4), quote(4.6, 5)]))
    for at in (0.6, 0.9, 1.5, 2.1, 3.25, 4.0, 4.7):
        bars.take([Feed("disconnected", T * S + int(at * S), 0)])
    found = [(bar.quotes_live_ms, bar.bid) for bar in closed(bars)]
    assert found == [(400, None), (500, 3.0), (250, None), (200, None)]


def test_an_id_that_was_missing_completes_seconds_that_are_still_open() -> None:
    bars = both([trade(0.1, 1)], [trade(1.1, 2), trade(1.2, 3)], [trade(2.1, 5)], [trade(0.9, 4)], [trade(3.1, 6)])
    assert [second.is_complete for second in map(bars._series["AAA"]._opened, range(4))] == [False, True, True, True]


def test_a_trade_of_a_second_to_come_does_not_hide_what_is_missing() -> None:
    both([trade(5.1, 2)], [trade(0.1, 3), trade(0.2, 4)])
    both([trade(0.1, 1), trade(5.1, 2)], [trade(1.1, 3), trade(1.2, 4), trade(6, 5)])


def test_a_state_in_the_middle_holds_every_quote_once() -> None:
    bars = Bars()
    bars.take(columns_of(market(0, 50)))
    bars.advance(T * S + 3 * S + S // 2)
    bars.take(columns_of(market(50, 10)))
    state = bars.state()
    assert bars.state() == state
    again = Bars.from_state(state)
    assert again.state() == state
    assert sum(second.runs.count for one in again._series.values() for second in one.open.values() if second.runs) == 30
    overtaken = quote(2.06, 41, symbol="S1")
    for each in (bars, again):
        each.add(overtaken)
    assert closed(bars) == closed(again)


def test_a_closed_second_is_a_row_of_some_300_bytes() -> None:
    bars = Bars(0)
    bars.take(columns_of(market(0, 20)))
    closed(bars, 50)
    few = len(bars.state())
    bars.take(columns_of(market(1020, 20)))
    closed(bars, 90)
    assert len(bars.state()) - few < 3 * (SIZE + 30) < 3 * 330


# --- rows ---


def number(chance: Random, most: int, unit: int) -> int:
    """Small, large, or what comes to the middle between two floats, or next to it."""
    middle = (1 << 53) + 2 * chance.randrange(1 << 20) + 1
    found = [0, 1, chance.randrange(1 << 10), chance.randrange(1 << 53), most, chance.randrange(most)]
    found += [middle * unit, (middle << 16 | 1) * unit]
    return min(chance.choice(found) + chance.choice([-1, 0, 0, 1]) * (chance.random() < 0.3), most) % (most + 1)


def rows_of(chance: Random, count: int, digits: int) -> Ints:
    """Closed seconds with numbers of all sizes."""
    rows, unit = np.zeros((count, len(kernels.SECOND_FIELDS)), np.int64), 10**digits
    most, wide = 2**63 - 1, 2**127 - 1

    def put(row: Ints, at: int, value: int) -> None:
        low, high = value & (2**64 - 1), value >> 64
        row[at : at + 2] = [low - 2**64 if low >= 2**63 else low, high]

    for row in rows:
        row[AT.second] = T
        if chance.random() < 0.8:
            row[AT.trades], row[AT.buys] = chance.randrange(1, 9), chance.randrange(9)
            row[AT.first_id : AT.low + 1] = [number(chance, most, unit) for _ in range(AT.first_id, AT.low + 1)]
            put(row, AT.volume, number(chance, chance.choice([2**60, 2**66, 2**95]), unit))
            if chance.random() < 0.05:
                put(row, AT.volume, 2**64)
            put(row, AT.buy_volume, number(chance, 2**66, unit))
            put(row, AT.paid, number(chance, chance.choice([2**90, wide]), unit**2))
            put(row, AT.buy_paid, number(chance, wide, unit**2))
            put(row, AT.id_sum, number(chance, 2**70, 1))
            row[AT.is_complete] = chance.randrange(2)
        if chance.random() < 0.8:
            row[AT.quotes], row[AT.has_book] = chance.randrange(3), 1
            row[AT.last_ts : AT.weighted] = [number(chance, most, unit) for _ in range(AT.last_ts, AT.weighted)]
            row[AT.live_ns] = live = chance.choice([1, 7 * UNIT, S])
            put(row, AT.weighted, number(chance, 2**120, live * unit) * chance.choice([-1, 1]))
    return rows


@pytest.mark.parametrize("digits", [1, 2, 7, 8, 15, 16, 18])
def test_a_row_says_of_its_second_what_the_bar_says(library: ctypes.CDLL, digits: int) -> None:
    rows = rows_of(Random(digits), 2000, digits)
    for some in (rows, rows[:0], rows[rows[:, AT.trades] == 0], rows[rows[:, AT.has_book] == 0]):
        seconds = [Row(digits, row.tobytes()).second() for row in some]
        bars = [second.bar("AAA", T * S, Units()) for second in seconds]
        in_columns = BarRows(library, ["AAA"], some, digits)
        assert [*in_columns] == bars and in_columns[3:] == bars[3:]
        assert bar_table(in_columns, "binance").equals(bar_table(bars, "binance"))


def test_bars_in_columns_are_found_by_their_place_and_know_their_symbols(library: ctypes.CDLL) -> None:
    rows = rows_of(Random(3), 5, 8)
    rows[:, AT.second] += np.arange(5)
    rows[:, AT.owner] = [0, 1, 1, 0, 1]
    bars = BarRows(library, ["AAA", "BBB"], rows, 8)
    assert [bar.symbol for bar in bars] == ["AAA", "BBB", "BBB", "AAA", "BBB"]
    assert [bars[at] for at in range(5)] == [*bars] == [bars[at - 5] for at in range(5)]
    with pytest.raises(IndexError):
        bars[5]
    tables = [joined(parts, "binance") for parts in ([[*bars]], [bars], [[*bars[:2]], bars[2:]])]
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
    assert joined([], "binance").num_rows == joined([bars[:0]], "binance").num_rows == 0


def test_a_quote_is_numbers_only_where_these_make_its_texts_again() -> None:
    units = Units()
    stands = (1, 2, "3.10", "0.00", "4.00", "5.00")
    assert book(stands, 2, units) == [1, 2, 310, 0, 400, 500]
    assert book(stands, 1, units) is book(stands, 3, units) is None
    assert book((*stands[:5], plain(2**63, 2)), 2, units) is None
    assert Row(2, struct.pack(f"<{SIZE // 8}q", *range(SIZE // 8))).book(3) is None


# --- the loops ---


def seen(library: ctypes.CDLL, columns: Columns) -> int:
    """How many rows are of a symbol; what is beyond the runs is left as it was."""
    runs = np.full((3, len(kernels.RUN_FIELDS)), 7, np.int64)
    runs[0] = 0
    rows: int = library.lake_runs(len(columns), *_places(columns), 1, runs.ctypes.data)
    assert (runs[1:] == 7).all()
    return rows


def test_a_symbol_that_is_not_in_the_list_is_never_counted(library: ctypes.CDLL) -> None:
    columns = columns_of([trade(0, 1), quote(0, 1), trade(0, 1, symbol="BBB")])
    assert seen(library, columns) == 2
    with pytest.raises(IndexError):
        Bars().take(Columns(["AAA"], *(getattr(columns, name) for name in Columns.__struct_fields__[1:])))


def test_a_second_for_which_there_is_no_room_is_not_begun(library: ctypes.CDLL) -> None:
    columns = columns_of([trade(0, 1), trade(0.5, 2), trade(1, 3), trade(2, 4)])
    slots, places = np.full(2 * WINDOW, -1, np.int32), np.array([0, 1, 5, 5], np.int32)
    rows = np.full((3, len(kernels.SECOND_FIELDS)), 7, np.int64)
    board = kernels.Board(WINDOW, 2, slots.ctypes.data, places.ctypes.data, rows.ctypes.data)
    since, owners = np.array([T]), np.array([0])
    taken = library.lake_tally(
        len(columns), *_places(columns), since.ctypes.data, owners.ctypes.data, ctypes.byref(board)
    )
    assert (taken, board.spare) == (3, 0)
    assert (rows[2] == 7).all() and (slots[WINDOW:] == -1).all()
    assert rows[[1, 0], AT.second].tolist() == [T, T + 1]
    assert rows[[1, 0], AT.trades].tolist() == [2, 1]


def test_no_more_quotes_are_copied_than_a_second_has(library: ctypes.CDLL) -> None:
    columns = columns_of([quote(0, 1), trade(0.1, 1), quote(0.2, 2), quote(0.3, 3)])
    bars = Bars()
    bars.take(columns)
    tally = tally_of(bars)
    (place,) = tally._slots[tally._slots >= 0].tolist()
    tally._rows[place, AT.quotes] = 2
    begins = np.full(len(tally._rows), -1, np.int64)
    begins[place] = 0
    counts, into = np.zeros(len(begins), np.int64), np.full(20, 7, np.int64)
    rows = library.lake_quotes(
        len(columns), *_places(columns), tally._parts[0].owners.ctypes.data, ctypes.byref(tally._board),
        begins.ctypes.data, counts.ctypes.data, into.ctypes.data,
    )  # fmt: skip
    assert rows == 3
    assert into[2:4].tolist() == [1, 2] and (into[12:] == 7).all()
    with pytest.raises(RuntimeError, match="more quotes"):
        bars.state()
    tally._rows[place, AT.quotes] = 4
    with pytest.raises(RuntimeError, match="fewer quotes"):
        bars.state()
