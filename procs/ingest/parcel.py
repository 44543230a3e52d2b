"""Records on their way to the lanes: at once after a lull, else several in one message.

A message wakes the threads of three processes, which costs more than a small record in it; and who follows a journal
is in no hurry. A lane holds so many messages, too, and a slow consumer's should hold some time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.wire import Lane

APART_NS: Final = 30_000_000
"""From one message to the next at least, unless it is large."""
LARGE: Final = 64 << 10
"""Bytes that are sent at once."""


class Parcel:
    """Times are nanoseconds of the monotonic clock."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._records: list[bytes] = []
        self._size = 0
        self._sent = -APART_NS
        self.counters = {"lane_skipped": 0}
        """Records that a lane had no room for are read from the journal; here each counts once for each lane."""

    @property
    def at(self) -> int | None:
        """When what waits is to be sent; None while nothing does."""
        return self._sent + APART_NS if self._records else None

    def add(self, record: bytes, mono: int) -> None:
        """One more record, which the journal has by now."""
        if self._size + len(record) > LARGE:
            self.hand_on(mono)
        self._records.append(record)
        self._size += len(record)
        if self._size >= LARGE or mono - self._sent >= APART_NS:
            self.hand_on(mono)

    def send(self, mono: int) -> None:
        """What has waited long enough."""
        if mono - self._sent >= APART_NS:
            self.hand_on(mono)

    def hand_on(self, mono: int) -> None:
        """Whatever waits."""
        if not self._records:
            return
        records, self._records = self._records, []
        message = records[0] if len(records) == 1 else b"".join(records)
        self._size, self._sent = 0, mono
        for lane in self._lanes:
            if not lane.send(message):
                self.counters["lane_skipped"] += len(records)
