"""When frames that were read become a record: at once after a lull, else together with what follows them shortly.

A record wakes every process of the mesh, which costs more than a few events in it. So where little comes it waits
longer for more, and what comes in between can still make it sooner.
"""

from __future__ import annotations

from math import inf
from typing import Final

FEW: Final = 8
LONGER: Final = 4
"""Up to so many frames are gathered so many times as long."""
MOST_WAITING: Final = 8000
"""Frames that are taken at once."""


class Gathering:
    """Times are in seconds, of a clock that never goes back."""

    def __init__(self, within_ms: int) -> None:
        self._within = within_ms / 1000
        self._waiting = 0
        self._taken = -inf
        self.at = inf
        """When what waits is to be taken; never, while nothing does."""

    def came(self, frames: int, now: float) -> bool:
        """So many more wait. Whether `at` is another moment now, which is a sooner one."""
        self._waiting += frames
        within = self._within if self._waiting > FEW else self._within * LONGER
        at = now if self._waiting > MOST_WAITING else max(now, self._taken + within)
        if at >= self.at:
            return False
        self.at = at
        return True

    def taken(self, now: float) -> None:
        """Nothing waits any more."""
        self._waiting, self._taken, self.at = 0, now, inf
