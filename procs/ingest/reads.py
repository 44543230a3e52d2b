"""What one read of a socket held, with both clocks right after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shared.frames import part


class Read(NamedTuple):
    """Frames of one connection; nanoseconds of the wall and of the monotonic clock."""

    link: int
    frames: Sequence[bytes]
    wall: int
    mono: int

    def split(self, count: int) -> tuple[Read, Read]:
        """The first so many frames, and the others."""
        return self._replace(frames=self.frames[:count]), self._replace(frames=part(self.frames, count))
