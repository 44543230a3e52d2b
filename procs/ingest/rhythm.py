"""How long something that delivers is silent in between: what counts as too long for it. Pure: time is an argument."""

from __future__ import annotations

from typing import Final

import msgspec

MEMORY: Final = 64
"""A long silence is half forgotten after some 44 seconds with data."""
TIMES: Final = 3
"""So many times the longest silence of late is remarkable."""


class Rhythm(msgspec.Struct):
    """The longest silence of late, looked at once a second."""

    heard: int = 0
    """When data came last, at the last look; 0 where none ever did."""
    longest: int = 0

    def look(self, last: int, since: int) -> bool:
        """Whether data have come since the last look. `since` is when they could begin to: an outage is no rhythm."""
        if last <= self.heard:
            return False
        silence = last - max(self.heard, since) if self.heard else 0
        self.longest = max(silence, self.longest - self.longest // MEMORY)
        self.heard = last
        return True

    def limit(self, least: int, most: int) -> int:
        """The silence from which on somebody should be asked."""
        return min(most, max(least, TIMES * self.longest))
