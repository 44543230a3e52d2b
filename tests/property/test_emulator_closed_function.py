"""procs.emulator.market and ledger hold for any seed, symbol, rate and moment."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from procs.emulator.instruments import instrument
from procs.emulator.ledger import Intervals
from procs.emulator.market import GENESIS_S, Synthetic

moments = st.integers(GENESIS_S, GENESIS_S + 20 * 366 * 86_400)
rates = st.floats(0.01, 2000)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63), st.text("ABCXYZ019", min_size=1, max_size=8), rates, moments)
def test_every_second_begins_with_the_id_after_the_one_before(seed: int, symbol: str, rate: float, second: int) -> None:
    made = Synthetic([instrument(symbol)], rate, seed)
    made.as_of_us = (second + 2) * 1_000_000
    here, aggs = made.orders_in(symbol, second)
    there, _ = made.orders_in(symbol, second + 1)
    ids = [p.id for p in here + there]
    begin = made.print_at(symbol, second * 1_000_000)
    assert ids == list(range(begin, begin + len(ids)))
    assert made.print_at(symbol, made.as_of_us) == begin + len(ids)
    tops = made.tops_in(symbol, second) + made.tops_in(symbol, second + 1)
    assert all(a.id < b.id for a, b in itertools.pairwise(tops))
    assert [a.first for a in aggs[1:]] == [a.last + 1 for a in aggs[:-1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), rates, moments, st.integers(1, 50))
def test_a_page_from_any_id_is_that_id_and_its_successors(seed: int, rate: float, second: int, limit: int) -> None:
    made = Synthetic([instrument("SOLUSDT")], rate, seed)
    made.as_of_us = (second + 600) * 1_000_000
    begin = made.print_at("SOLUSDT", second * 1_000_000)
    last = made.last_print("SOLUSDT")
    page = made.prints("SOLUSDT", begin, limit)
    assert [p.id for p in page] == list(range(begin, min(begin + limit, last + 1)))
    assert all(p.time_us >= second * 1_000_000 for p in page)


@given(st.lists(st.integers(0, 60)))
def test_ranges_of_ids_are_a_set(ids: list[int]) -> None:
    held, ranges = set[int](), Intervals()
    for ident in ids:
        assert ranges.add(ident) == (ident not in held)
        held.add(ident)
    assert len(ranges) == len(held)
    pairs = ranges.pairs()
    assert [i for first, last in pairs for i in range(first, last + 1)] == sorted(held)
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(pairs))
