"""Back-off grows, is jittered over its whole range, and is reset by health alone."""

from __future__ import annotations

from shared.backoff import SECOND, Backoff, ceiling

ALWAYS = 1.0 - 1e-12


def test_the_ceiling_doubles_up_to_its_limit() -> None:
    waits = [ceiling(n, SECOND, 60 * SECOND) // SECOND for n in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_chance_picks_any_part_of_it() -> None:
    assert Backoff().down(0, 0.0) == 0
    assert Backoff(first_ns=10).down(0, 0.5) == 5


def test_a_minute_of_health_resets_it() -> None:
    it = Backoff(first_ns=SECOND)
    for _ in range(5):
        it.down(0, ALWAYS)
    it.up(0)
    assert it.down(60 * SECOND, ALWAYS) <= SECOND


def test_a_connection_that_falls_at_once_resets_nothing() -> None:
    it = Backoff(first_ns=SECOND)
    waits = []
    for turn in range(5):
        it.up(turn * SECOND)
        waits.append(it.down(turn * SECOND + SECOND // 2, ALWAYS))
    assert waits == sorted(waits) and waits[-1] > 15 * SECOND


def test_being_up_twice_does_not_start_health_anew() -> None:
    it = Backoff(first_ns=SECOND, attempt=5)
    it.up(0)
    it.up(59 * SECOND)
    assert it.down(60 * SECOND, ALWAYS) <= SECOND


def test_a_wait_that_was_asked_for_is_kept() -> None:
    assert Backoff().down(0, 0.0, least_ns=7 * SECOND) == 7 * SECOND


def test_it_never_gives_up_nor_grows_without_end() -> None:
    it = Backoff()
    assert max(it.down(0, ALWAYS) for _ in range(10_000)) <= it.most_ns
