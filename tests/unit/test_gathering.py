"""When frames become a record: soon where many come, later where few do, and at once after a lull."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest

from procs.ingest.gathering import FEW, FROM, MOST_WAITING, UNTIL, Gathering


def records(moments: list[float], within_ms: int, size: int = 200) -> list[tuple[float, int]]:
    """When records are made, and of how many bytes, where so many come at each of these moments."""
    it, out, waiting = Gathering(within_ms), [], 0
    for moment in [*moments, inf]:
        if it.at <= moment and waiting:
            out.append((round(it.at, 6), waiting))
            it.taken(it.at)
            waiting = 0
        if moment < inf:
            it.came(size, moment)
            waiting += size
    return out


def test_what_comes_after_a_lull_is_taken_at_once() -> None:
    assert records([5.0, 9.0], 20) == [(5.0, 200), (9.0, 200)]


def test_where_little_comes_it_is_gathered_longer() -> None:
    made = records([k * 0.02 for k in range(51)], 40)
    assert [round(b[0] - a[0], 6) for a, b in pairwise(made[:-1])] == [0.08] * (len(made) - 2)
    assert sum(count for _, count in made) == 51 * 200


def test_from_a_moment_on_a_read_takes_along_what_waits() -> None:
    it = Gathering(20)
    it.taken(1.0)
    assert it.came(1, 1.02) and it.at == 1.0 + 0.02 * UNTIL
    assert not it.came(1, 1.03)
    moment = 1.001 + 0.02 * FROM
    assert it.came(1, moment) and it.at == moment


def test_where_much_comes_it_is_gathered_as_long_as_was_asked_for() -> None:
    made = records([k * 0.001 for k in range(1000)], 20)
    apart = [b[0] - a[0] for a, b in pairwise(made[:-1])]
    assert max(apart) < 0.022 and min(apart) > 0.019


def test_a_burst_makes_what_waits_come_sooner() -> None:
    it = Gathering(20)
    it.taken(1.0)
    assert it.came(FEW, 1.005) and it.at == 1.0 + 0.02 * UNTIL
    assert it.came(1, 1.006) and it.at == 1.02
    assert not it.came(1, 1.007)
    assert it.came(MOST_WAITING, 1.008) and it.at == 1.008


def test_more_in_a_long_wait_is_taken_at_once_where_the_short_one_is_over() -> None:
    it = Gathering(20)
    it.taken(1.0)
    it.came(FEW, 1.01)
    assert it.came(1, 1.03) and it.at == 1.03


@pytest.mark.parametrize("apart", [0.0001, 0.02, 1.0])
def test_who_gathers_nothing_waits_for_nothing(apart: float) -> None:
    moments = [k * apart for k in range(100)]
    assert [when for when, _ in records(moments, 0)] == [pytest.approx(moment, abs=1e-6) for moment in moments]
