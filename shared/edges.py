"""The two ends of an edge: what takes records from a lane or else from the journal, and what gives them.

lane or journal ─▶ Inlet ─▶ stage ─▶ Outlet ─▶ journal, then lanes
"""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from shared.events import Batch
from shared.journal import HEADER, Damaged, Reader, Writer, unpack_all
from shared.wire import Inbox, Lane, Publisher

MOST = 64
"""Records taken in one go …"""
MUCH = 1 << 20
"""… and bytes of messages: their memory can serve again sooner than if all were taken that wait."""
IDLE_LOOK_NS = 100_000_000
"""After this much silence the journal is looked into: a lost last message has no successor to reveal it. As long as a
source at rest is silent between two records of time, so that who follows one seldom looks."""
PATIENT_LOOK_NS = 200_000_000
"""The same beyond the time that lies between the messages of who may wait."""


class Inlet:
    """The consumer's end of an edge: every record once and in order, from the lane or else from the journal, which is
    looked into after `look_ns` of silence.
    """

    def __init__(self, reader: Reader, inbox: Inbox | None, position: int, look_ns: int = IDLE_LOOK_NS) -> None:
        self._reader = reader
        self._look_ns = look_ns
        self._inbox = inbox
        self._synced = position
        self._waiting: bytes | memoryview | None = None  # a lane message behind a hole
        self._behind = True  # at start the journal comes first
        self._quiet_since = -look_ns
        self.position = position
        self.counters = {"holes": 0, "lost": 0, "damaged": 0}

    @property
    def is_whole(self) -> bool:
        """The journal reaches back to the record behind the position."""
        begins = self._reader.begins
        return begins is None or begins <= self.position + 1

    @property
    def is_behind(self) -> bool:
        """Whether the journal is to be looked into at once."""
        return self._behind

    @property
    def look(self) -> int:
        """When the journal is looked into next, on the monotonic clock, where nothing comes before."""
        return self._quiet_since + (0 if self._behind else self._look_ns)

    def take(self, mono: int) -> list[Batch]:
        """What is there now; empty where nothing is."""
        taken = self._from_lane() if not self._behind else []
        if self._behind or (not taken and mono - self._quiet_since >= self._look_ns):
            self._quiet_since = mono
            found = self._reader.read(self.position)
            for batch in found:
                self._accept(batch)
            self._behind = bool(found)  # there may be more: one read is at most a segment
            if not found:
                found = self._after_hole()
            taken += found
        if taken:
            self._quiet_since = mono
        return taken

    def _from_lane(self) -> list[Batch]:
        """What waits there, as far as the journal need not come first."""
        taken, size = list[Batch](), 0
        while not self._behind and len(taken) < MOST and size < MUCH:
            data = self._inbox.recv() if self._inbox is not None else None
            if data is None:
                break
            size += len(data)
            if len(data) >= HEADER.size and HEADER.unpack_from(data)[2] > self.position + 1:
                self.counters["holes"] += 1
                self._waiting, self._behind = data, True
            else:
                taken += self._unpacked(data)
        return taken

    def _after_hole(self) -> list[Batch]:
        """The journal has no more, so what waits is next: whatever lies between is lost from the journal itself."""
        data, self._waiting = self._waiting, None
        return self._unpacked(data) if data is not None else []

    def _unpacked(self, data: bytes | memoryview) -> list[Batch]:
        """Of a message what lies behind the position, which moves on; nothing where it is none."""
        try:
            batches = unpack_all(data, self.position)
        except Damaged as why:
            self.counters["damaged"] += 1
            logger.warning(f"a message on the lane is no record ({why}); the journal has it")
            return []
        for batch in batches:
            self._accept(batch)
        return batches

    def _accept(self, batch: Batch) -> None:
        missing = batch.first - self.position - 1
        if missing:
            self._reader.settle()  # who goes on without them must not find them there at his next start
            self.counters["lost"] += missing
            logger.error(
                f"records {self.position + 1} to {batch.first - 1} are in the journal no more: "
                "trades among them are fetched again, and their bars made again from the archive"
            )
        self.position = batch.last

    def rush(self) -> None:
        """The next `take` looks into the journal, silence or not."""
        self._behind = True

    def sync(self) -> None:
        """The source is durable up to the position when it returns."""
        if self.position > self._synced:
            self._reader.sync(self._synced, self.position)
            self._synced = self.position


class Outlet:
    """The producer's end of its edges: journal first, then the very same bytes on each lane."""

    def __init__(
        self, writer: Writer, reader: Reader, lanes: Sequence[Lane], publisher: Publisher | None = None, topic: str = ""
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._lanes = lanes
        self._publisher = publisher
        self._topic = topic
        self._pending: list[Batch] = []
        self.ts = 0
        """Time of the last record that the journal held at `open`."""
        self._again: list[Batch] = []
        self.counters = {"events_out": 0, "lane_skipped": 0, "replay_differs": 0}

    def open(self, given: int) -> None:
        """`given` is what the stage's checkpoint counts as handed over: what the journal holds beyond will be given
        again.
        """
        self._writer.open(given, is_derived=True)
        position = given
        while found := self._reader.read(position):
            self._again += found
            position, self.ts = found[-1].last, found[-1].ts

    @property
    def is_repeating(self) -> bool:
        """Whether the journal holds what was not given again yet."""
        return bool(self._again)

    def begin_anew(self) -> None:
        """Nothing that the journal holds will be given again."""
        self._again.clear()

    @property
    def last(self) -> int:
        """Last sequence number in the journal."""
        return self._writer.last

    @property
    def pending(self) -> int:
        return len(self._pending)

    def give(self, batch: Batch) -> None:
        """Takes an output; one that the journal holds since before a restart is compared with what stands there."""
        if batch.last > self._writer.last:
            self._again.clear()
            self._pending.append(batch.after(self._writer.last) if not self._pending else batch)
        elif self._again and self._again[0].first <= batch.first:
            while self._again and self._again[0].last < batch.first:
                del self._again[0]
            if self._again and self._again[0] != batch:
                self.counters["replay_differs"] += 1
                logger.error(
                    f"replay of {self._topic} {batch.first} to {batch.last} differs from what stood before the restart"
                )

    def flush(self) -> None:
        """The sources of all pending outputs must be durable: a derived record may not outlive what it was derived
        from.
        """
        for batch in self._pending:
            self._writer.roll()  # a derived journal has no state
            data = self._writer.append(batch)
            self.counters["events_out"] += len(batch.events)
            for lane in self._lanes:
                if not lane.send(data):
                    self.counters["lane_skipped"] += 1
            if self._publisher is not None:
                self._publisher.send(self._topic, data)
        self._pending.clear()

    def sync(self) -> None:
        self._writer.sync()

    def trim(self) -> None:
        before = set(self._writer.cut_loose)
        self._writer.trim()
        say_cut_loose(self._writer.cut_loose - before)

    def close(self) -> None:
        self._writer.close()


def say_cut_loose(bases: set[str]) -> None:
    """An alarm for each consumer that a full journal did not wait for."""
    for base in sorted(bases):
        logger.error(f"{base} is too far behind and was cut loose: its hours are made again from the archive")
