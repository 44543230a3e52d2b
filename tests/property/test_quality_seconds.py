"""However a day is cut into parts, the same seconds are held, proven empty and unknown."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared import quality
from shared.events import Trade
from shared.quality import SECOND, Seconds

END = 60


@st.composite
def markets(draw: st.DrawFn) -> list[Trade]:
    """Trades whose time rises with their id, some of them lost."""
    seconds = sorted(draw(st.lists(st.integers(0, END - 1), max_size=30)))
    kept = draw(st.lists(st.booleans(), min_size=len(seconds), max_size=len(seconds)))
    return [
        Trade("X", second * SECOND, second * SECOND, None, 0, "1", "1", "buy", number)
        for number, (second, keep) in enumerate(zip(seconds, kept, strict=True))
        if keep
    ]


@given(markets())
def test_every_second_is_one_of_the_three(trades: list[Trade]) -> None:
    found = quality.join([quality.seconds(trades)], 0, END, None, None)
    assert found.held + found.empty + found.unknown == END
    assert found.held == len({trade.ts for trade in trades})


@given(markets(), st.lists(st.integers(0, END), max_size=4))
def test_cutting_changes_nothing(trades: list[Trade], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), END]
    parts: list[Seconds] = [
        quality.seconds(t for t in trades if low <= t.ts // SECOND < high) for low, high in pairwise(edges)
    ]
    assert quality.join(parts, 0, END, None, None) == quality.join([quality.seconds(trades)], 0, END, None, None)


@given(markets())
def test_a_second_is_proven_empty_if_and_only_if_its_neighbours_are_consecutive(trades: list[Trade]) -> None:
    proven = 0
    for second in range(END):
        before = [t.trade_id for t in trades if t.ts // SECOND <= second]
        after = [t.trade_id for t in trades if t.ts // SECOND > second]
        here = any(t.ts // SECOND == second for t in trades)
        proven += bool(not here and before and after and max(before) + 1 == min(after))
    assert quality.join([quality.seconds(trades)], 0, END, None, None).empty == proven
