"""What ingest writes: events are gathered and become records, journal first, then the very same bytes on each lane."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from shared.events import Bar, Batch, Columns, Event, Rejected
from shared.journal import Writer
from shared.wire import Lane, Publisher

SECOND: Final = 1_000_000_000
BATCH_EVENTS: Final = 2000
BATCH_RAW: Final = 512 << 10
"""Characters of rejected frames in one record."""
RAW_BYTES: Final = 64 << 10
REJECTS_PER_S: Final = 50
REJECTS_BURST: Final = 1000


class Recorder:
    """The writing end of a source."""

    def __init__(self, writer: Writer, lanes: Sequence[Lane], publisher: Publisher | None, topic: str) -> None:
        self.writer = writer
        self._lanes = lanes
        self._publisher = publisher
        self._topic = topic
        self._events: list[Event] = []
        self._before: list[tuple[list[Event] | Columns, int]] = []  # what comes before them, each with its highest time
        self._raw = 0
        self._rejects = float(REJECTS_BURST)
        self._refilled = 0
        self.is_dirty = False
        """Something was written that is not durable yet."""
        self.ts = 0
        """Venue time of the journal: never goes back."""
        self.written = 0
        """When the last record was written, on the monotonic clock."""
        self.counters = dict.fromkeys(("events_out", "rejected", "rejected_unsaid", "lane_skipped"), 0)
        self.add = self._events.append

    @property
    def events(self) -> list[Event]:
        """What waits to be written."""
        return self._events

    def add_columns(self, columns: Columns, highest: int) -> None:
        """Many events at once, the latest of which is of `highest`: they make a record of their own."""
        if self._events:
            self._before.append((self._events, 0))
            self._events = []
            self.add = self._events.append
        self._before.append((columns, highest))

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be written."""
        return not (self._events or self._before)

    def reject(self, raw: bytes, why: str, ts: int, wall: int, mono: int) -> bool:
        """One line for what could not be understood; beyond a rate only counted. True where the record is full now."""
        self.counters["rejected"] += 1
        self._rejects += (mono - self._refilled) * REJECTS_PER_S / SECOND
        self._rejects, self._refilled = min(self._rejects, REJECTS_BURST), mono
        if self._rejects < 1:
            self.counters["rejected_unsaid"] += 1
            return False
        self._rejects -= 1
        text = raw[:RAW_BYTES].decode("utf-8", "backslashreplace")
        self.add(Rejected(why, ts, wall, len(raw), hashlib.sha256(raw).hexdigest(), text))
        self._raw += len(text)
        return self._raw > BATCH_RAW

    def flush(self, now: int, mono: int) -> None:
        """Writes what was gathered; `now` is the venue time after it.

        Where it takes more than one record, only the last one has come so far: with `now` in the first of them, what
        follows would be late.
        """
        self._raw = 0
        parts, self._before = self._before, []
        events = self._events
        for at in range(0, len(events), BATCH_EVENTS):
            parts.append((events[at : at + BATCH_EVENTS], 0))
        events.clear()
        for number, (part, highest) in enumerate(parts, 1):
            so_far = highest or max(_ts(event) for event in part)
            self.write(part, now if number == len(parts) else min(now, so_far), mono)

    def write(self, events: list[Event] | Columns, now: int, mono: int) -> None:
        """One record. Without events it is a tick. Raises OSError, after which the process must end."""
        self.ts = max(self.ts, now)
        data = self.writer.append(Batch(self.writer.last + 1, self.ts, events))
        self.is_dirty = True
        self.written = mono
        self.counters["events_out"] += len(events)
        for lane in self._lanes:
            if not lane.send(data):
                self.counters["lane_skipped"] += 1
        if self._publisher is not None:
            self._publisher.send(self._topic, data)

    def roll(self) -> None:
        """A new segment where one is due; nothing may wait, for its state counts what was taken as written."""
        if self.is_empty:
            self.writer.roll()

    def sync(self) -> None:
        if self.is_dirty:
            self.writer.sync()
            self.is_dirty = False


def _ts(event: Event) -> int:
    return 0 if isinstance(event, Bar) else event.ts
