"""Timers of batches: how they are written, when they are due."""

from __future__ import annotations

from typing import Any

import pytest

from shared.schedule import Schedule, duration, file_interval_s, time_of_day

HOUR = 3600 * 10**9
DAY = 24 * HOUR


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0m", "-5m", "5 m", "1.5h", "5M", "5m\n", 300, None, "9999999s"])
def test_anything_else_is_refused_with_an_example(text: Any) -> None:
    with pytest.raises(ValueError, match="write 90s, 5m, 2h or 1d"):
        duration(text)


def test_a_time_of_day_is_utc_hours_and_minutes() -> None:
    assert time_of_day("01:30") == 5400
    assert time_of_day("23:59") == 86340


@pytest.mark.parametrize("text", ["24:00", "1:30", "01:60", "noon", None, "01:30\n"])
def test_what_is_no_time_of_day_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match='write "01:30"'):
        time_of_day(text)


def test_a_time_that_yaml_took_for_a_number_is_given_back_in_quotes() -> None:
    with pytest.raises(ValueError, match='"11:30"'):
        time_of_day(690)


def test_every_counts_from_start_to_start() -> None:
    five = Schedule(every_s=300)
    assert not five.every_due(0, 299 * 10**9)
    assert five.every_due(0, 300 * 10**9)
    assert not Schedule().every_due(0, DAY)


def test_daily_is_due_once_its_time_has_passed_since_the_last_run() -> None:
    night = Schedule(daily_at_s=5400)
    day = 20_000 * DAY
    assert not night.daily_due(day, day + HOUR)
    assert night.daily_due(day, day + 2 * HOUR)
    assert not night.daily_due(day + 2 * HOUR, day + 20 * HOUR)
    assert night.daily_due(day + 2 * HOUR, day + DAY + 2 * HOUR)


def test_a_machine_that_was_off_at_that_time_runs_it_once_later() -> None:
    night = Schedule(daily_at_s=5400)
    day = 20_000 * DAY
    assert night.daily_due(day, day + 5 * DAY)
    assert not night.daily_due(day + 5 * DAY, day + 5 * DAY + HOUR)


def test_files_of_the_open_hours_grow_with_the_number_of_symbols() -> None:
    found = [file_interval_s(symbols) for symbols in (0, 3, 100, 101, 500, 1500, 10_000)]
    assert found == [60, 60, 60, 120, 300, 900, 3600]
    assert all(3600 % seconds == 0 for seconds in found)
