"""What a socket brought and nobody took yet: bytes in memory that is used again and again, and when each read was made.

To note a read costs a hundredth of what it costs to cut it: so many are cut together, when their messages are wanted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from shared.frames import cut, part

READ: Final = 256 << 10
"""Bytes that one read may bring …"""
LEAST: Final = 64 << 10
"""… and for which there is room at least."""
TOGETHER_NS: Final = 50_000
"""Reads that follow one another so shortly count as one: TLS may hand on each of its records by itself."""


class Brought(NamedTuple):
    """The messages that ended with one read, and both clocks right after it, in nanoseconds."""

    messages: Sequence[bytes]
    wall: int
    mono: int


class Inbox:
    """The receiving end of one connection. Messages stay in its memory: they are good until the next `room`."""

    def __init__(self) -> None:
        self._memory = bytearray(READ)
        self._begin = self._end = 0
        self._reads: list[tuple[int, int, int]] = []
        """Where each ends, and its clocks; those of which something is left."""

    def room(self) -> memoryview:
        """Where the next read goes."""
        if self._begin:  # what is left is less than a message, as a rule
            left = self.data.tobytes()
            self._memory[: len(left)] = left
            self._reads = [(end - self._begin, wall, mono) for end, wall, mono in self._reads]
            self._begin, self._end = 0, len(left)
        if len(self._memory) - self._end < LEAST:
            larger = bytearray(2 * len(self._memory))
            larger[: self._end] = self.data
            self._memory = larger
        return memoryview(self._memory)[self._end : self._end + READ]

    def came(self, size: int, wall: int, mono: int) -> None:
        """A read has brought so many bytes into the room."""
        self._end += size
        if self._reads and mono - self._reads[-1][2] < TOGETHER_NS:
            _, wall, mono = self._reads.pop()
        self._reads.append((self._end, wall, mono))

    @property
    def data(self) -> memoryview:
        """What is left."""
        return memoryview(self._memory)[self._begin : self._end]

    def cut(self) -> list[Brought]:
        """Takes the plain messages that come first; none where something else does, or nothing whole."""
        messages, ends = cut(self.data)
        if not len(messages):
            return []
        found, first = [], 0
        for end, wall, mono in self._reads:
            behind = bisect_right(ends, end - self._begin, first)
            if behind > first:
                found.append(Brought(part(messages, first, behind), wall, mono))
                first = behind
        self.skip(int(ends[-1]))
        return found

    def skip(self, size: int) -> None:
        """Takes so many bytes."""
        self._begin += size
        self._reads = [read for read in self._reads if read[0] > self._begin]
