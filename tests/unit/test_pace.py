"""When there is a pause between reads: only where they follow one another, and bring little each."""

from __future__ import annotations

from itertools import pairwise

import pytest

from procs.ingest.pace import IN_A_ROW, MUCH, PAUSE_S, Pace


def reads(seconds: float, apart: float, size: int = 200, is_wanted: bool = True) -> list[float]:
    """When reads are made where something comes every `apart` seconds, from a moment on."""
    it, made, now = Pace(is_wanted), [], 7.0
    while now < 7.0 + seconds:
        made.append(now)
        now = max(made[-1] + it.pause(size, now), made[-1] + apart)
    return made


def test_what_comes_now_and_then_is_read_at_once() -> None:
    it = Pace(True)
    assert all(it.pause(1, number * 2.01 * PAUSE_S) == 0 for number in range(1000))


def test_a_burst_after_a_lull_is_read_at_once_up_to_its_sixteenth_read() -> None:
    it = Pace(True)
    for second in range(5):
        pauses = [it.pause(1, second + number * 1e-5) for number in range(IN_A_ROW + 3)]
        assert pauses == [0.0] * IN_A_ROW + [PAUSE_S] * 3


def test_where_reads_follow_one_another_they_are_a_pause_apart() -> None:
    made = reads(1.0, 1e-5)
    assert [round(b - a, 6) for a, b in pairwise(made[IN_A_ROW:])] == [PAUSE_S] * (len(made) - IN_A_ROW - 1)


@pytest.mark.parametrize("apart", [PAUSE_S * 0.4, PAUSE_S * 1.2, PAUSE_S * 1.9])
def test_it_goes_on_although_reads_and_pauses_take_longer_together(apart: float) -> None:
    it, now = Pace(True), 0.0
    for number in range(1000):
        pause = it.pause(1, now)
        assert pause == (PAUSE_S if number >= IN_A_ROW else 0)
        now += max(apart, pause)


def test_who_brings_much_is_read_on_at_once_and_who_gathers_nothing_never_waits() -> None:
    assert len(reads(0.1, 0.0001, MUCH)) >= 999
    assert len(reads(0.1, 0.0001, is_wanted=False)) >= 999
