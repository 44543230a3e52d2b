"""Each check of shared.quality, shown something that breaks it."""

from __future__ import annotations

import math

import pytest

from shared import quality
from shared.events import AggTrade, Feed, Quote, Trade
from shared.ids import Ids
from shared.quality import SECOND, Seconds


def trade(trade_id: int, second: float, price: str = "1.0", source: str = "ws") -> Trade:
    ts = int(second * SECOND)
    return Trade("X", ts, ts, None, ts + 5_000_000, price, "1.0", "buy", trade_id, source)


def quote(bid: str, ask: str) -> Quote:
    return Quote("X", 0, None, None, 0, bid, "1", ask, "1", 7)


def test_an_id_held_twice_is_counted_once_more() -> None:
    held, repeated = quality.held([5, 3, 4, 4, 9, 4])
    assert (held.intervals, repeated) == ([[3, 5], [9, 9]], 2)


def test_ids_in_two_hours_are_repeated_and_interleaved_ones_are_not() -> None:
    held, repeated = quality.union([[(1, 2), (4, 4)], [(3, 3), (5, 6)], [(6, 7)]])
    assert (held.intervals, repeated) == ([[1, 7]], 1)


def test_what_lies_between_held_ids_is_lost_but_for_what_is_explained() -> None:
    held = Ids.from_intervals([(1, 3), (10, 12), (20, 20)])
    assert quality.lost(held, Ids()) == [(4, 9), (13, 19)]
    assert quality.lost(held, Ids.from_intervals([(5, 8), (13, 19)])) == [(4, 4), (9, 9)]
    assert quality.count(quality.lost(held, Ids())) == 13


def test_seconds_between_consecutive_ids_are_proven_empty() -> None:
    found = quality.seconds([trade(1, 10), trade(2, 14.5), trade(3, 14.9), trade(5, 18)])
    assert (found.held, found.empty, found.unknown) == (3, 3, 3)
    assert (found.first, found.last) == ((1, 10), (5, 18))


def test_a_second_with_a_trade_is_held_whatever_is_missing_around_it() -> None:
    # Trade 3 came out of order, in a second between two trades with a hole.
    found = quality.seconds([trade(1, 10), trade(4, 14), trade(3, 12)])
    assert (found.held, found.empty, found.unknown) == (3, 1, 1)


def test_no_trade_proves_nothing() -> None:
    assert quality.seconds([]) == Seconds()
    assert quality.join([], 0, 60, None, None) == Seconds(unknown=60)


def test_parts_join_by_the_ids_at_their_edges() -> None:
    first = quality.seconds([trade(1, 10), trade(2, 12)])
    second = quality.seconds([trade(3, 20), trade(4, 21)])
    third = quality.seconds([trade(9, 30)])
    found = quality.join([first, Seconds(), second, third], 0, 40, None, None)
    assert (found.held, found.empty) == (5, 1 + 7)
    assert found.unknown == 10 + 8 + 9
    assert found.held + found.empty + found.unknown == 40


def test_trades_outside_prove_the_seconds_up_to_them() -> None:
    part = [quality.seconds([trade(5, 10)])]
    assert quality.join(part, 0, 20, (4, -100), (6, 50)).unknown == 0
    assert quality.join(part, 0, 20, (3, -100), (6, 50)).unknown == 10
    assert quality.join(part, 0, 20, (4, -100), (7, 50)).unknown == 9
    assert quality.join([], 0, 20, (4, -1), (5, 21)) == Seconds(empty=20)


def test_crossed_and_locked_quotes_are_told_apart() -> None:
    quotes = [quote("1.0", "2.0"), quote("2.0", "1.9"), quote("2.0", "2.0"), quote("2.0", "2.00")]
    assert quality.crossed(quotes) == (1, 2)


def test_only_what_came_live_has_a_latency() -> None:
    replayed = trade(3, 1)
    replayed.ts_recv += 365 * 86_400 * SECOND
    assert quality.latencies([trade(1, 1), trade(2, 1, source="rest"), quote("1", "2"), replayed]) == [5_000_000]


@pytest.mark.parametrize("value", [0, 1, -1, 999, 1_234_567, 45_000_000, -1_270_000_000, 10**12])
def test_a_histogram_gives_a_value_back_within_its_step(value: int) -> None:
    found = quality.from_histogram(quality.histogram([value]), 0.5)
    assert found == pytest.approx(value, rel=10 ** (0.5 / quality.LATENCY_STEPS) - 1 + 1e-9, abs=0.5)


def test_percentiles_are_those_of_the_sorted_values() -> None:
    values = [-(10**9), *range(1_000_000, 101_000_000, 1_000_000)]
    counts = quality.histogram(values)
    for share in (0.001, 0.5, 0.95, 0.99, 1.0):
        wanted = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
        assert quality.from_histogram(counts, share) == pytest.approx(wanted, rel=0.01)
    assert quality.from_histogram({}, 0.5) is None


def test_clock_offsets_are_what_the_feed_measured() -> None:
    feed = [Feed("clock", 0, 0, [], {"offset_ns": 5}), Feed("clock", 0, 0, [], {"offset_ns": -3}), Feed("gap", 0, 0)]
    assert quality.clock_offsets([*feed, Feed("clock", 0, 0, [], {"offset_ns": "x"})]) == [-3, 5]


def test_a_line_of_another_symbol_or_time_is_misplaced() -> None:
    stranger = trade(1, 5)
    stranger.symbol = "Y"
    lines = [trade(1, 0), trade(2, 9.999), trade(3, 10), trade(4, -1), stranger]
    assert quality.misplaced(lines, "X", 0, 10 * SECOND) == 3


def test_what_cannot_be_is_counted() -> None:
    agg = AggTrade("X", 0, 0, None, 0, "1.0", "1.0", "buy", 1, 5, 4)
    fund = trade(1, 0, price="0")
    fund.trade_type = "INSURANCE_FUND"
    lines: list[Trade | AggTrade | Quote] = [
        trade(1, 0),
        trade(-1, 0),
        trade(1, 0, price="0.0"),
        agg,
        fund,
        quote("0", "0"),
    ]
    assert quality.nonsense(lines) == 3


def test_rows_differ_by_column_by_absence_and_by_being_there() -> None:
    stored: dict[int, dict[str, float | None]] = {
        1: {"close": 1.0, "revision": 4},
        2: {"close": None},
        3: {"close": math.nan},
        4: {"close": 1.0},
    }
    expected = {1: {"close": 1.0, "revision": 0}, 2: {"close": 2.0}, 3: {"close": math.nan}, 5: {"close": 1.0}}
    assert quality.differences(stored, expected) == [(2, ["close"]), (4, ["unexpected"]), (5, ["absent"])]


def test_a_column_that_is_not_stored_differs() -> None:
    assert quality.differences({1: {}}, {1: {"close": 1.0}}) == [(1, ["close"])]


# --- the verdict ---


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({}, "complete"),
        ({"fetched": 3}, "healed"),
        ({"needs_daily": True}, "healed"),
        ({"missing": 1, "fetched": 3}, "partial"),
        ({"outside": 1}, "partial"),
        ({"unknown": 1, "fetched": 3}, "unproven"),
        ({"is_wrong": True}, "unproven"),
        ({"is_wrong": True, "missing": 1}, "partial"),
    ],
)
def test_a_verdict_is_no_better_than_its_worst_part(said: dict[str, int], verdict: str) -> None:
    nothing = {"missing": 0, "outside": 0, "unknown": 0, "fetched": 0, "is_wrong": False}
    assert quality.verdict(**{**nothing, **said}) == verdict  # type: ignore[arg-type]
    assert verdict in quality.VERDICTS


@pytest.mark.parametrize("so_far", quality.VERDICTS)
def test_a_day_that_is_not_over_may_be_known_to_be_partial_and_nothing_better(so_far: str) -> None:
    assert quality.of_open_day(so_far) == ("partial" if so_far == "partial" else "unproven")


def test_quotes_stand_from_the_first_on_and_after_a_cut_from_the_next_one_on() -> None:
    assert quality.quoted([5, 8, 20], [10, 15], 30) == [(5, 10), (20, 30)]
    assert quality.quoted([], [10], 30) == []
    assert quality.quoted([10], [10], 30) == [(10, 30)]  # the quote after the cut, at the same time
    assert quality.quoted([40], [], 30) == []
