"""What one read of a socket held, with both clocks right after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Read(NamedTuple):
    """Frames of one connection; nanoseconds of the wall and of the monotonic clock."""

    link: int
    frames: Sequence[bytes]
    wall: int
    mono: int
