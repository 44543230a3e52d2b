"""How often sockets are read: a read wakes this process, and that costs as much as twenty frames.

What comes now and then is read at once, for its time of receipt is that of the read. Where reads follow one another
for long, a pause between two of them lets the next one bring more.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final

PAUSE_S: Final = 0.004
IN_A_ROW: Final = 16
"""It is made where so many reads came within two pauses each …"""
MUCH: Final = 192 << 10
"""… unless the last brought so many bytes: a read costs little beside them, and the system holds only so many."""


class Pace:
    """Times are in seconds, of a clock that never goes back."""

    def __init__(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._reads = deque([-inf] * IN_A_ROW, IN_A_ROW)

    def pause(self, size: int, now: float) -> float:
        """How long to read nothing after a read that brought so many bytes."""
        is_row = now - self._reads[0] < 2 * IN_A_ROW * PAUSE_S
        self._reads.append(now)
        return PAUSE_S if self._is_wanted and is_row and size < MUCH else 0.0
