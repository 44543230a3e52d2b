"""Ids behave as a plain set of integers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.ids import Ids

ONE = st.integers(0, 60)


class IdsAndSet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ids = Ids()
        self.model: set[int] = set()

    @rule(one=ONE)
    def add(self, one: int) -> None:
        assert self.ids.add(one) == (one not in self.model)
        self.model.add(one)

    @rule()
    def add_next(self) -> None:
        one = max(self.model, default=-1) + 1
        assert self.ids.add(one)
        self.model.add(one)

    @rule(first=ONE, last=ONE)
    def add_range(self, first: int, last: int) -> None:
        new = set(range(first, last + 1)) - self.model
        assert self.ids.add_range(first, last) == len(new)
        self.model |= new

    @rule(first=ONE, last=ONE)
    def ask(self, first: int, last: int) -> None:
        span = set(range(first, last + 1))
        assert self.ids.holds(first) == (first in self.model)
        assert self.ids.covers(first, last) == (span <= self.model)
        assert self.ids.overlaps(first, last) == bool(span & self.model)
        lost = [one for a, b in self.ids.missing(first, last) for one in range(a, b + 1)]
        assert lost == sorted(span - self.model)

    @rule()
    def save_and_load(self) -> None:
        self.ids = Ids.from_intervals(self.ids.intervals)

    @invariant()
    def same(self) -> None:
        intervals = self.ids.intervals
        assert {one for a, b in intervals for one in range(a, b + 1)} == self.model
        assert all(a <= b for a, b in intervals)
        assert all(left[1] + 1 < right[0] for left, right in pairwise(intervals))
        assert len(self.ids) == len(self.model)
        assert (self.ids.lowest, self.ids.highest) == (min(self.model, default=None), max(self.model, default=None))
        everything = set(range(min(self.model), max(self.model) + 1)) if self.model else set()
        assert [one for a, b in self.ids.missing() for one in range(a, b + 1)] == sorted(everything - self.model)


TestIdsAndSet = IdsAndSet.TestCase


@given(st.lists(st.tuples(ONE, ONE)))
def test_intervals_may_be_given_in_any_order(pairs: list[tuple[int, int]]) -> None:
    held = {one for a, b in Ids.from_intervals(pairs).intervals for one in range(a, b + 1)}
    assert held == {one for a, b in pairs for one in range(a, b + 1)}
