"""The machine's two clocks, one beside the other: whether one of them was set, or the machine slept."""

from __future__ import annotations

from typing import Final

APART_NS: Final = 1_000_000_000
"""Less than this is told as nothing."""


class Clocks:
    """Looked at again and again; each look is compared with the one before."""

    def __init__(self) -> None:
        self._before: tuple[int, int | None] | None = None  # the wall clock beyond the monotonic one; time asleep

    def look(self, wall: int, mono: int, asleep: int | None) -> tuple[int, int]:
        """By how much the wall clock was set since, and how long the machine slept. `asleep`: how long it has slept
        since it was started, where it says so; else a clock that is ahead is taken for a sleep.
        """
        before, self._before = self._before, (wall - mono, asleep)
        if before is None:
            return 0, 0
        set_by, slept = wall - mono - before[0], 0
        if asleep is not None and before[1] is not None:
            slept = asleep - before[1]
            set_by -= slept
        elif set_by > 0:
            slept, set_by = set_by, 0
        return (set_by if abs(set_by) > APART_NS else 0), (slept if slept > APART_NS else 0)
