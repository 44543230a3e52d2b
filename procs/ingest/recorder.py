"""What ingest writes: events are gathered and become records, journal first, then the very same bytes for who watches,
at once, and in parcels for the lanes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from typing import Final

from procs.ingest.parcel import Parcel
from shared.events import QUOTE, AggTrade, Bar, Batch, Columns, Event, Feed, Quote, Rejected, Trade
from shared.journal import Writer
from shared.wire import Lane, Publisher

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
SYNC_NS: Final = 200 * MS
SYNC_EARLY_NS: Final = 50 * MS
"""A turn so shortly before a sync is due makes it: better than one more wake-up."""
FEW: Final = 40
"""Up to so many events and records between two syncs nobody misses the loop while it waits for the disk, and a thread
that waits in its stead costs wake-ups."""
LONGEST_SYNC_NS: Final = 500 * MS
"""A sync that takes longer is waited for, so that little is written that is not durable: what readers of a damaged
journal take for the work of a power cut is `UNSYNCED_NS` long."""
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
        self.parcel = Parcel(lanes)
        """What is on its way to the lanes."""
        self._publisher = publisher
        self._topic = topic
        self._events: list[Event] = []
        self._before: list[tuple[list[Event] | Columns, int]] = []  # what comes before them, each with its highest time
        self._raw = 0
        self._rejects = float(REJECTS_BURST)
        self._refilled = 0
        self.is_dirty = False
        """Something was written that is not durable yet."""
        self._synced = 0  # when the last sync began, on the monotonic clock
        self._reached = 0  # the last number then
        self._syncing: int | None = None  # the last number that is durable once the sync that goes on is over
        self.ts = 0
        """Venue time of the journal: never goes back."""
        self.written = 0
        """When the last record was written, on the monotonic clock."""
        self.counters = dict.fromkeys(("events_out", "rejected", "rejected_unsaid"), 0)
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

    def first(self, is_quote: bool, symbols: Container[str]) -> int | None:
        """The time of the first quote, or else trade, of these symbols among what waits to be written, behind the last
        disconnect; None where there is none.
        """
        kinds = (Quote,) if is_quote else (Trade, AggTrade)
        found: int | None = None
        for events in (*(part for part, _ in self._before), self._events):
            if isinstance(events, Columns):
                found = next(_times(events, is_quote, symbols), None) if found is None else found
                continue
            for event in events:
                if isinstance(event, Feed):
                    found = None if event.kind == "disconnected" else found
                elif found is None and isinstance(event, kinds) and event.symbol in symbols:
                    found = event.ts
        return found

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
        if not parts:
            return
        *before, (last, _) = parts
        for part, highest in before:
            self.write(part, min(now, highest or max(_ts(event) for event in part)), mono)
        self.write(last, now, mono)

    def write(self, events: list[Event] | Columns, now: int, mono: int) -> None:
        """One record. Without events it is a tick. Raises OSError, after which the process must end."""
        self.ts = max(self.ts, now)
        data = self.writer.append(Batch(self.writer.last + 1, self.ts, events))
        self.is_dirty = True
        self.written = mono
        self.counters["events_out"] += len(events)
        if self._publisher is not None:
            self._publisher.send(self._topic, data)
        self.parcel.add(data, mono)

    def roll(self) -> None:
        """A new segment where one is due; nothing may wait, for its state counts what was taken as written."""
        if self.is_empty:
            self.writer.roll()

    @property
    def sync_due(self) -> int | None:
        """When `make_durable` is wanted at the latest; None where a later call of it will do."""
        return self._synced + SYNC_NS if self.is_dirty and self._syncing is None else None

    def make_durable(self, mono: int) -> None:
        """Now and then, what was written so far, while more is written. It counts as durable when the disk has said so.
        Raises OSError, also that of a sync that went on.
        """
        self._look()
        passed = mono - self._synced
        if passed < (SYNC_NS - SYNC_EARLY_NS if self._syncing is None else LONGEST_SYNC_NS):
            return
        if self._syncing is not None or self.writer.last - self._reached <= FEW:
            self.sync()
        else:
            self._syncing = self.writer.last
            self.writer.begin_sync()
            self._look()
        self._synced, self._reached = mono, self.writer.last

    def _look(self) -> None:
        """Whether the sync that went on is over."""
        if self._syncing is not None and not self.writer.is_syncing:
            self.is_dirty, self._syncing = self.writer.last > self._syncing, None

    def sync(self) -> None:
        """Everything written is durable when it returns. Raises OSError."""
        if self.is_dirty:
            self.writer.sync()
            self.is_dirty, self._syncing = False, None


def _times(columns: Columns, is_quote: bool, symbols: Container[str]) -> Iterator[int]:
    """Those of the quotes, or else the trades, of some symbols: of thousands none is made into an event for it."""
    is_theirs = [symbol in symbols for symbol in columns.symbols]
    owners, ts = memoryview(columns.symbol).cast("H"), memoryview(columns.ts).cast("q")
    for at, kind in enumerate(columns.kinds):
        if (kind == QUOTE) == is_quote and is_theirs[owners[at]]:
            yield ts[at]


def _ts(event: Event) -> int:
    return 0 if isinstance(event, Bar) else event.ts
