"""Memory of processes over many lives: whether they grow while they live, and whether they start larger and larger.

A machine that is busy makes any single measurement a matter of luck, so medians are compared: of the late and the early
part of the same life, and of the same age in early and late lives.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

import msgspec

WARM_S = 20.0
"""A younger process is still filling its caches."""
LEAST_POINTS = 9
"""A life with fewer measurements tells nothing: three in each of its parts."""
NOISE_MB = 6.0
"""So much two medians differ by where nothing grows …"""
NOISE_PART = 0.1
"""… or by this part of what there is."""
MOST_MB_AN_HOUR = 60.0
"""Less than ten bytes for each of 2,000 events a second."""


class Seen(msgspec.Struct, frozen=True):
    """One look at one process."""

    born: float
    """When it was started: tells lives apart."""
    age: float
    """Seconds."""
    mb: float


class Growth(msgspec.Struct, frozen=True):
    """What many looks at the lives of one stage come to."""

    lives: int
    """Of which enough was seen."""
    in_life_mb: float = 0.0
    """From the early to the late third of a life, the median of all lives."""
    mb_an_hour: float = 0.0
    """The same, by the hour."""
    over_lives_mb: float = 0.0
    """From the early to the late third of the lives, at the same age."""
    level_mb: float = 0.0
    """The early third of a life, the median of all lives."""

    def faults(self, name: str) -> list[str]:
        """What is more than a busy machine explains."""
        noise = max(NOISE_MB, NOISE_PART * self.level_mb)
        found = []
        if not self.lives:
            found.append(f"{name}: no life was long enough to say anything of its memory")
        if self.in_life_mb > noise and self.mb_an_hour > MOST_MB_AN_HOUR:
            found.append(f"{name} grows by {self.in_life_mb:.1f} MB in a life, {self.mb_an_hour:.0f} MB an hour")
        if self.over_lives_mb > noise:
            found.append(f"{name} is {self.over_lives_mb:.1f} MB larger at the same age than its first lives were")
        return found


def growth(seen: Sequence[Seen]) -> Growth:
    """Of one stage."""
    lives: dict[float, list[Seen]] = defaultdict(list)
    for one in seen:
        if one.age >= WARM_S:
            lives[one.born].append(one)
    told = [sorted(lives[born], key=lambda one: one.age) for born in sorted(lives)]
    told = [life for life in told if len(life) >= LEAST_POINTS]
    if not told:
        return Growth(0)
    pairs = [(_middle(first), _middle(last)) for first, last in map(_thirds, told)]
    early = [before for before, _ in pairs]
    risen = statistics.median(then.mb - before.mb for before, then in pairs)
    hourly = statistics.median((then.mb - before.mb) / (then.age - before.age) for before, then in pairs) * 3600
    first, last = _thirds(early)
    over = _level(last) - _level(first) if first else 0.0
    return Growth(len(told), risen, hourly, over, _level(early))


def _thirds(points: list[Seen]) -> tuple[list[Seen], list[Seen]]:
    """The first and the last of them; empty where there are fewer than three."""
    third = len(points) // 3
    return points[:third], points[len(points) - third :]


def _level(points: list[Seen]) -> float:
    return statistics.median(one.mb for one in points)


def _middle(part: list[Seen]) -> Seen:
    return Seen(part[0].born, statistics.median(one.age for one in part), _level(part))
