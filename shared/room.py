"""Room on the disk: who goes without first as it runs out, and when they go on.

    what can wait (batches)  <  what can catch up (aggregator, sink)  <  what is received  <  what was received

A share of the disk decides on a small one; on a large one bytes do, for a nearly full large disk has room for days. Who
went without goes on only when there is twice as much, so that nobody starts and stops all the time. The archiver never
goes without: what it takes lets the journal go, and it needs least.
"""

from __future__ import annotations

import msgspec

MB = 1 << 20


class Need(msgspec.Struct, frozen=True):
    """What must be free for somebody to work."""

    share: float
    most: int
    """Bytes that are enough on any disk."""

    def least(self, total: int) -> int:
        """Bytes, on a disk of so many."""
        return min(int(total * self.share), self.most)


BATCHES = Need(0.05, 2000 * MB)
"""Compaction, validation and backfill."""
DERIVED = Need(0.02, 800 * MB)
"""Aggregator and sink: what they do not take stands in the journal."""
RECEIVING = Need(0.01, 400 * MB)
"""Ingest: below it connections are closed and the gap is noted; trades are fetched when there is room."""
STARTING = Need(0.01, 64 * MB)
"""The supervisor: with less even the first files cannot be written."""
RESERVE = Need(0.01, 64 * MB)
"""What is kept back, to be let go when nothing can be received any more: then what was received has room to be made
durable. No more than RECEIVING needs, so that letting it go makes nobody go on."""


class NoRoom(OSError):
    """A piece of work is not begun: the disk is too full."""


def demand(need: Need, free: int, total: int) -> None:
    """For work that comes in pieces, before each of them. Raises NoRoom."""
    if free < need.least(total):
        raise NoRoom(f"only {free // MB} MB of the disk's {total // MB} are free")


class Room:
    """Whether there is room for one need, with a memory: it is short below the need, until there is twice as much."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self.short = False

    def look(self, free: int, total: int) -> bool:
        """Takes notice of the disk; whether room is short now."""
        least = self.need.least(total)
        self.short = free < (2 * least if self.short else least)
        return self.short

    @property
    def says(self) -> str:
        """For people."""
        return f"less than {self.need.share:.0%} of the disk is free"
