"""Histories of a stage: what its supervisor does about each."""

from __future__ import annotations

import pytest

from shared import lifecycle
from shared.lifecycle import MOVES, SECOND, Do, Life, Moment, State, Word

MIDDLE = 0.5


def born(now: int = 0) -> Life:
    return lifecycle.started(lifecycle.asked_to_start(Life(), now), now)


def running(now: int = 0) -> Life:
    return lifecycle.beaten(born(now), now, "running")


def dead(life: Life, now: int, code: int = 1) -> Life:
    return lifecycle.exited(life, now, code, MIDDLE, ended=False)


def test_every_state_is_reached_and_left() -> None:
    reached = {state for moves in MOVES.values() for state in moves.values()}
    assert reached == set(State)
    assert all(MOVES[state] for state in State)


def test_it_is_running_from_its_first_beat() -> None:
    life = born()
    assert life.state == State.STARTING
    assert lifecycle.beaten(life, SECOND, "starting").state == State.STARTING
    assert lifecycle.beaten(life, SECOND, "running").state == State.RUNNING


def test_ten_seconds_of_silence_are_a_hang() -> None:
    life = running()
    assert lifecycle.looked(life, 10 * SECOND - 1)[1] == Do.NOTHING
    life, do = lifecycle.looked(life, 10 * SECOND)
    assert do == Do.KILL
    assert lifecycle.looked(life, 11 * SECOND)[1] == Do.NOTHING, "killed once"
    assert dead(life, 11 * SECOND, -9).state == State.BACKING_OFF


def test_a_start_has_thirty_seconds_from_its_last_word() -> None:
    life = born()
    assert lifecycle.looked(life, 30 * SECOND - 1)[1] == Do.NOTHING
    assert lifecycle.looked(life, 30 * SECOND)[1] == Do.KILL
    recovering = lifecycle.beaten(life, 20 * SECOND, "starting")
    assert lifecycle.looked(recovering, 49 * SECOND)[1] == Do.NOTHING


def test_delays_double_from_a_fifth_of_a_second_to_half_a_minute() -> None:
    life, now, waits = born(), 0, []
    for _ in range(10):
        life = dead(life, now)
        assert life.due is not None
        waits.append((life.due - now) / SECOND)
        now = life.due
        life, do = lifecycle.looked(life, now)
        assert do == Do.START
        life = lifecycle.started(life, now)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_jitter_is_a_quarter_either_way() -> None:
    life = dead(born(), 0)
    assert lifecycle.delay(life, 0.0) == 0.15 * SECOND
    assert lifecycle.delay(life, 1.0) == 0.25 * SECOND


def test_a_minute_of_health_forgives_earlier_deaths() -> None:
    life = born()
    for _ in range(6):
        life = lifecycle.started(dead(life, 0), 0)
    for second in range(61):
        life = lifecycle.beaten(life, second * SECOND, "running")
    life = dead(life, 61 * SECOND)
    assert life.due == 61 * SECOND + lifecycle.FIRST_DELAY


def test_more_than_ten_deaths_in_five_minutes_are_an_alarm_and_one_try_a_minute_for_ever() -> None:
    life, now = born(), 0
    for death in range(1, 200):
        life = dead(life, now)
        assert life.alarm == (death > 10 and life.deaths[-1] - life.deaths[0] < 300 * SECOND and len(life.deaths) > 10)
        assert life.due is not None
        if life.alarm:
            assert life.due - now == 60 * SECOND
        now += SECOND // 10
        life = lifecycle.started(life, now)
    assert life.alarm and life.alive


def test_who_gets_somewhere_between_two_deaths_is_back_soon_however_often_it_is_killed() -> None:
    life, now, waits = born(), 0, []
    for _ in range(40):
        for _ in range(20):
            life = lifecycle.beaten(life, now, "running")
            now += SECOND
        life = dead(life, now, -9)
        assert life.due is not None
        waits.append((life.due - now) / SECOND)
        now = life.due
        life = lifecycle.started(life, now)
    assert max(waits) == 0.2 and life.alarm
    # When it is killed again before it gets anywhere
    life = dead(lifecycle.beaten(life, now, "running"), now + SECOND, -9)
    assert life.due == now + 1.4 * SECOND


def test_who_dies_as_soon_as_it_runs_waits_ever_longer() -> None:
    life, now, waits = born(), 0, []
    for _ in range(8):
        life = dead(lifecycle.beaten(life, now, "running"), now + SECOND)
        assert life.due is not None
        waits.append((life.due - now - SECOND) / SECOND)
        now = life.due
        life = lifecycle.started(life, now)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]


def test_an_alarm_ends_when_the_deaths_are_five_minutes_old() -> None:
    life = born()
    for _ in range(12):
        life = lifecycle.started(dead(life, 0), 0)
    assert life.alarm
    assert not lifecycle.beaten(life, 300 * SECOND, "running").alarm


def test_bad_configuration_is_not_restarted() -> None:
    life = dead(running(), SECOND, code=2)
    assert life.state == State.FAILED
    assert lifecycle.looked(life, 1000 * SECOND)[1] == Do.NOTHING
    assert lifecycle.looked(lifecycle.asked_to_start(life, SECOND), SECOND)[1] == Do.START


def test_exit_0_ends_a_source_and_brings_a_consumer_back() -> None:
    assert lifecycle.exited(running(), SECOND, 0, MIDDLE, ended=True).state == State.ENDED
    assert lifecycle.exited(running(), SECOND, 0, MIDDLE, ended=False).state == State.BACKING_OFF


@pytest.mark.parametrize("code", [0, 1, 2, -9, 3221225786])
def test_who_was_asked_to_stop_stays_away_whatever_the_exit_code(code: int) -> None:
    life = lifecycle.asked_to_stop(running(), SECOND)
    assert life.state == State.DRAINING
    assert dead(life, 2 * SECOND, code).state == State.STOPPED


def test_a_drain_has_twenty_seconds_and_asking_again_gives_no_more() -> None:
    life = lifecycle.asked_to_stop(running(), 0)
    life = lifecycle.asked_to_stop(life, 15 * SECOND)
    assert lifecycle.looked(life, 20 * SECOND - 1)[1] == Do.NOTHING
    assert lifecycle.looked(life, 20 * SECOND)[1] == Do.KILL


def test_a_draining_stage_that_beats_is_still_held_to_its_time() -> None:
    life = lifecycle.beaten(lifecycle.asked_to_stop(running(), 0), 19 * SECOND, "draining")
    assert lifecycle.looked(life, 20 * SECOND)[1] == Do.KILL


def test_a_restart_drains_and_then_starts_at_once() -> None:
    life = lifecycle.asked_to_restart(running(), 0)
    assert life.state == State.DRAINING
    life = dead(life, SECOND, 0)
    assert lifecycle.looked(life, SECOND)[1] == Do.START
    assert life.deaths == () and life.restarts == 1


def test_a_restart_of_what_is_not_there_is_a_start() -> None:
    for life in (Life(), dead(running(), 0), dead(running(), 0, code=2)):
        assert lifecycle.looked(lifecycle.asked_to_restart(life, SECOND), SECOND)[1] == Do.START


def test_a_stop_takes_back_a_restart_and_a_start_takes_back_a_stop() -> None:
    life = lifecycle.asked_to_stop(lifecycle.asked_to_restart(running(), 0), 1)
    assert dead(life, 2, 0).state == State.STOPPED
    life = lifecycle.asked_to_start(lifecycle.asked_to_stop(running(), 0), 1)
    assert lifecycle.looked(dead(life, 2, 0), 2)[1] == Do.START


def test_a_stage_that_waits_for_its_next_try_stops_at_once() -> None:
    assert lifecycle.asked_to_stop(dead(running(), 0), 1).state == State.STOPPED


def test_whose_trouble_is_mended_starts_at_once_and_is_forgiven() -> None:
    life = Life(State.BACKING_OFF, due=500 * SECOND, deaths=tuple(range(20)), attempt=20, restarts=20)
    assert life.alarm
    life = lifecycle.relieved(life, 100 * SECOND)
    assert not life.alarm
    assert lifecycle.looked(life, 100 * SECOND)[1] == Do.START
    life = lifecycle.exited(lifecycle.started(life, 100 * SECOND), 101 * SECOND, 1, 0.5)
    assert life.due is not None and life.due - 101 * SECOND == SECOND // 5, "its next death is its first"


def test_relief_starts_nobody_who_is_not_wanted_and_hides_no_hang() -> None:
    for life in (Life(), Life(State.FAILED), Life(State.ENDED), Life(State.RUNNING, due=7 * SECOND)):
        relieved = lifecycle.relieved(life, 3 * SECOND)
        assert (relieved.state, relieved.due) == (life.state, life.due)


def test_a_machine_that_slept_is_seen_by_either_clock() -> None:
    awake = Moment(0, 0)
    assert not lifecycle.slept(awake, Moment(SECOND, SECOND))
    assert lifecycle.slept(awake, Moment(SECOND, 3600 * SECOND)), "monotonic time stood still: Linux, macOS"
    assert lifecycle.slept(awake, Moment(3600 * SECOND, 3600 * SECOND)), "it did not: Windows"
    assert not lifecycle.slept(awake, Moment(SECOND, -3600 * SECOND)), "a clock that was set back is no sleep"


def test_a_sleep_is_no_hang() -> None:
    after = 3600 * SECOND
    life = lifecycle.excused(running(), after)
    assert lifecycle.looked(life, after)[1] == Do.NOTHING
    assert lifecycle.looked(life, after + 10 * SECOND)[1] == Do.KILL, "but a stage that does not come back is one"


def test_a_clock_that_jumps_every_second_does_not_hide_a_hang() -> None:
    life, do, second = running(), Do.NOTHING, 0
    while do == Do.NOTHING and second < 100:
        second += 1
        life, do = lifecycle.looked(lifecycle.excused(life, second * SECOND), second * SECOND)
    assert do == Do.KILL and second <= 12


def test_words_that_a_state_does_not_know_change_nothing() -> None:
    assert lifecycle.beaten(Life(), 5, "running") == Life()
    assert Word.BEAT not in MOVES[State.STOPPED]
