"""When frames that were read become a record: at once after a lull, else together with what follows them shortly.

A record wakes every process of the mesh, which costs more than a few events in it. So where little comes it waits
longer for more: about twice as long, and at best until a read that wakes this process anyway. What comes in between can
still make it sooner.
"""

from __future__ import annotations

from math import inf
from typing import Final

FEW: Final = 1600
"""Up to so many bytes, some eight frames, are gathered longer."""
FROM, UNTIL = 1.75, 2.25
"""Times as long: from then on a read takes what waits along with itself, then it is taken without one."""
MOST_WAITING: Final = 5_000_000
"""Bytes that are taken at once: some 32,000 frames."""


class Gathering:
    """Times are in seconds, of a clock that never goes back."""

    def __init__(self, within_ms: int) -> None:
        self._within = within_ms / 1000
        self._waiting = 0
        self._taken = -inf
        self.at = inf
        """When what waits is to be taken; never, while nothing does."""

    def came(self, size: int, now: float) -> bool:
        """So many bytes more wait. Whether `at` is another moment now, which is a sooner one."""
        self._waiting += size
        passed = now - self._taken
        if self._waiting > MOST_WAITING or passed >= self._within * FROM:
            at = now
        else:
            at = max(now, self._taken + self._within * (1 if self._waiting > FEW else UNTIL))
        if at >= self.at:
            return False
        self.at = at
        return True

    def taken(self, now: float) -> None:
        """Nothing waits any more."""
        self._waiting, self._taken, self.at = 0, now, inf
