"""What is held stays byte for byte, what is missing comes once and in its place."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.events import AggTrade, Quote, Trade
from shared.holdings import is_same, merge, without_repeats
from shared.lines import line
from tests.fixtures.small_lake import NOON, SECOND, Market

EVENTS = Market().events(NOON, 60)
LINES = [line(event).encode() for event in EVENTS]
TRADES = [event for event in EVENTS if isinstance(event, Trade)]


def archived(trade: Trade) -> Trade:
    return msgspec.structs.replace(trade, source="archive", ts_sent=None, ts_recv=5)


@given(st.sets(st.integers(0, len(TRADES) - 1)), st.randoms(use_true_random=False))
def test_whatever_is_missing_nothing_is_lost_doubled_or_changed(gone: set[int], chance: random.Random) -> None:
    lost = {TRADES[at].trade_id for at in gone}
    held = [
        text
        for event, text in zip(EVENTS, LINES, strict=True)
        if not (isinstance(event, Trade) and event.trade_id in lost)
    ]
    told = [archived(trade) for trade in TRADES]
    chance.shuffle(told)
    merged = merge(held, told)
    assert merged.added == len(lost)
    assert merged.same == len(TRADES) - len(lost)
    assert merged.different == []
    assert [text for text in merged.lines if text in set(held)] == sorted(held, key=held.index)
    assert merged.trades.intervals == [[TRADES[0].trade_id, TRADES[-1].trade_id]]
    added = [msgspec.json.decode(text) for text in merged.lines if text not in set(held)]
    assert sorted(one["trade_id"] for one in added) == sorted(lost)
    assert all(one["source"] == "archive" and one["ts_sent"] is None for one in added)
    found = [msgspec.json.decode(text) for text in merged.lines]
    assert [one["ts"] for one in found] == sorted(one["ts"] for one in found)
    assert merge(merged.lines, told).lines == merged.lines


def test_trades_of_one_time_stand_in_the_order_of_their_ids() -> None:
    trades = [msgspec.structs.replace(TRADES[0], trade_id=one) for one in (5, 3, 9, 4)]
    merged = merge([line(trades[0]).encode()], trades[1:])
    assert [msgspec.json.decode(text)["trade_id"] for text in merged.lines] == [3, 4, 5, 9]


def test_a_trade_that_differs_is_named_and_stays_unless_forced() -> None:
    other = msgspec.structs.replace(archived(TRADES[3]), price="1.00000000")
    told = [other, archived(TRADES[4])]
    merged = merge(LINES, told)
    assert merged.different == [other.trade_id]
    assert (merged.same, merged.added, merged.replaced) == (1, 0, 0)
    assert sorted(merged.lines) == sorted(LINES)
    forced = merge(LINES, told, force=True)
    assert forced.replaced == 1
    assert line(other).encode() in forced.lines
    assert len(forced.lines) == len(LINES)


def test_a_coarser_time_or_other_zeros_make_no_difference() -> None:
    trade = msgspec.structs.replace(
        TRADES[0], ts=NOON + 1_234_567, ts_event=NOON + 1_234_567, price="187.0", qty="3.10"
    )
    text = line(trade).encode()
    same = msgspec.structs.replace(trade, ts=NOON + 1_000_000, price="187", qty="3.1", source="archive")
    assert is_same(text, same)
    assert is_same(line(same).encode(), trade)
    for change in (
        {"ts": NOON + 1_234_000},
        {"ts": NOON + 2_000_000},
        {"side": "buy" if trade.side == "sell" else "sell"},
        {"qty": "3.11"},
    ):
        assert not is_same(text, msgspec.structs.replace(trade, **change))


def test_aggregates_are_told_by_their_own_ids() -> None:
    one = AggTrade("SOLUSDT", NOON, NOON, None, 1, "1.0", "2.0", "buy", 5, 100, 105)
    merged = merge(
        [line(one).encode()], [one, msgspec.structs.replace(one, agg_id=6, first_trade_id=106, last_trade_id=106)]
    )
    assert (merged.added, merged.same) == (1, 1)
    assert merged.aggregates.intervals == [[5, 6]]
    assert not merged.trades
    assert merge([line(one).encode()], [msgspec.structs.replace(one, last_trade_id=104)]).different == [5]


def test_a_broken_line_is_kept_where_it_stood() -> None:
    broken = b'{"symbol":"SOLU\n'
    merged = merge([LINES[0], broken, *LINES[1:]], [archived(TRADES[-1])])
    assert merged.lines.index(broken) == 1
    assert merged.added == 0


def test_a_last_line_without_its_end_gets_one() -> None:
    late = msgspec.structs.replace(TRADES[-1], trade_id=10**6, ts=TRADES[-1].ts + SECOND)
    assert merge([LINES[0].rstrip(b"\n")], [late]).lines == [LINES[0], line(late).encode()]


def test_repeats_are_dropped_from_the_second_on() -> None:
    again = line(archived(TRADES[0])).encode()
    assert without_repeats([*LINES, again]) == LINES
    quotes = [line(event).encode() for event in EVENTS if isinstance(event, Quote)]
    assert without_repeats([*quotes, *quotes, b"{\n"]) == [*quotes, *quotes, b"{\n"]
