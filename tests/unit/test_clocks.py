"""Whether a clock was set or the machine slept, from two clocks and what the machine says of its sleep."""

from __future__ import annotations

import pytest

from procs.ingest.clocks import APART_NS, Clocks

S = 1_000_000_000


@pytest.mark.parametrize(
    ("wall", "asleep", "found"),
    [
        (10 * S, 0, (0, 0)),
        (10 * S + APART_NS, 0, (0, 0)),
        (10 * S + APART_NS + 1, 0, (APART_NS + 1, 0)),
        (3 * S, 0, (-7 * S, 0)),
        (70 * S, 60 * S, (0, 60 * S)),
        (75 * S, 60 * S, (5 * S, 60 * S)),
        (10 * S, 60 * S, (-60 * S, 60 * S)),
        (70 * S, None, (0, 60 * S)),
        (3 * S, None, (-7 * S, 0)),
    ],
)
def test_a_clock_that_was_set_is_told_from_a_sleep(wall: int, asleep: int | None, found: tuple[int, int]) -> None:
    it = Clocks()
    assert it.look(100 * S, 0, None if asleep is None else 0) == (0, 0), "there was no look before"
    assert it.look(100 * S + wall, 10 * S, asleep) == found
    assert it.look(101 * S + wall, 11 * S, asleep) == (0, 0), "each is told once"
