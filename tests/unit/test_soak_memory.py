"""The soak's limit on memory: what grows is found, a busy machine is not taken for it."""

from __future__ import annotations

import random

import pytest

from bench.chaos.memory import MOST_MB_AN_HOUR, Seen, growth


def looks(
    lives: int = 12, seconds: int = 240, per_s: float = 0.0, per_life: float = 0.0, level: float = 60.0, every: int = 2
) -> list[Seen]:
    """Measurements of a stage that fills its caches for 20 s, on a machine that is busy: MB more or less at any look,
    and now and then far off.
    """
    chance = random.Random(f"{lives} {seconds} {per_s} {per_life}")
    found = []
    for life in range(lives):
        for age in range(0, seconds, every):
            warm = level * min(1.0, 0.5 + age / 40)
            noise = chance.gauss(0, 1.5) + (chance.uniform(-15, 25) if chance.random() < 0.05 else 0)
            found.append(Seen(1000.0 * life, float(age), warm + per_s * max(age - 20, 0) + per_life * life + noise))
    return found


@pytest.mark.parametrize("lives", [1, 2, 12, 15])
@pytest.mark.parametrize("seconds", [80, 240, 3600])
def test_what_only_varies_is_right(lives: int, seconds: int) -> None:
    found = growth(looks(lives, seconds))
    assert found.faults("x") == [] and found.lives == lives


@pytest.mark.parametrize(
    ("lives", "seconds", "per_s"), [(12, 240, 0.1), (3, 600, 0.05), (1, 3600, 0.02), (15, 80, 0.3)]
)
def test_what_grows_while_it_lives_is_found(lives: int, seconds: int, per_s: float) -> None:
    found = growth(looks(lives, seconds, per_s))
    (fault,) = found.faults("bars_1s")
    assert fault.startswith("bars_1s grows by") and found.mb_an_hour > MOST_MB_AN_HOUR
    assert found.mb_an_hour == pytest.approx(per_s * 3600, rel=0.5)


def test_what_starts_larger_each_time_is_found() -> None:
    (fault,) = growth(looks(per_life=2.0)).faults("archive")
    assert fault.startswith("archive is 1") and "larger at the same age" in fault


def test_growth_in_the_first_seconds_of_each_life_is_none() -> None:
    found = growth([one for one in looks() if one.age < 100])
    assert found.faults("x") == [] and found.level_mb == pytest.approx(60, abs=3)


def test_lives_too_short_to_tell_are_no_proof() -> None:
    assert growth([]).faults("x") == growth(looks(seconds=30)).faults("x") != []
