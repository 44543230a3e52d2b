"""The loop that drives a stage: it owns journals, lanes and heartbeat, so that a stage owns none.

    lane or journal ─▶ Inlet ─▶ stage.handle ─▶ Outlet ─▶ journal, then lanes
                                stage.commit once a second, after both journals are durable

A stage object serves one input journal; a process holds one for each of its inputs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from shared import paths, topology
from shared.caution import Caution
from shared.clock import Clock
from shared.edges import IDLE_LOOK_NS, PATIENT_LOOK_NS, Inlet, Outlet
from shared.events import Batch, Beat
from shared.files import Disk
from shared.journal import Reader
from shared.process import C, Setting, arguments, guarded, prepare
from shared.room import DERIVED, Need, Room
from shared.wire import Bus, Inbox

MS = 1_000_000
COMMIT_NS = 1000 * MS
FLUSH_NS = 200 * MS
"""Between two fsyncs of the source for outputs that wait (one serves many): of a bar a second none waits."""
COMMIT_PAUSE = 10
"""After a commit so many times as long passes without one, so that a tenth of the time goes to them at most."""
TRIM_NS = 5000 * MS
CATCHING_UP_NS = 200 * MS
"""Between the beats of who has just started and is behind."""


class Context(msgspec.Struct, frozen=True):
    """Where a stage object stands: its stage's name, the journal it reads, the venue at its root, the lake."""

    stage: str
    journal: str
    venue: str
    disk: Disk
    streams: tuple[str, ...] = ()
    """What that journal's source records, as its entry in the pipeline file says; empty where it does not."""
    symbols: int = 0
    """How many symbols it records."""

    @property
    def checkpoint(self) -> str:
        return paths.checkpoint_base(self.stage, self.journal)


class Stage(Protocol):
    """What the runner asks of a stage, in this order: `open` once; then `handle` and `commit` in turn; `close` once.

    No call is made after `close`, and `close` may not come at all (a kill): what must survive is durable when `commit`
    returns. No call overlaps another, so no lock is needed. A stage never sleeps, never asks a clock, never reads a
    socket; what it emits depends on the batches alone, not on how often it is called.
    """

    given: int
    """Sequence number of the last output handed over (0 for a sink). After `open`: as of the checkpoint."""
    counters: dict[str, int]

    def open(self) -> int:
        """Recovers from the last checkpoint; returns the last sequence number that is part of the output."""

    def handle(self, batch: Batch) -> Iterable[Batch]:
        """Takes a batch; gives what follows from it, numbered from ``given + 1``. The same after every restart."""

    def commit(self, final: bool = False) -> None:
        """Makes what was handled durable, then stores the checkpoint. The source is durable by then. `final`: a drained
        stop.
        """

    def close(self) -> None: ...


@runtime_checkable
class Sparing(Protocol):
    """A stage whose commits are made less often still than those of others, where they are costly."""

    commit_pause: int
    """Times as long without one as a commit took."""


@runtime_checkable
class Resuming(Protocol):
    """A stage with outputs that can go on where its source no longer reaches back to its checkpoint, or it has none."""

    def resume(self, given: int, until: int) -> None:
        """Number and time of the last record it has given: nothing before that time is given again, or in part."""


@runtime_checkable
class Accounting(Protocol):
    """A stage that keeps account of what it never had, for whoever can have it again."""

    def missed(self, first: int, last: int, until: int) -> None:
        """Records `first` to `last` are in the journal no more; the next one there is has the time `until`."""


class Loop:
    """One stage object between its inlet and its outlet. `turn` is called over and over, by `run` or a simulator."""

    def __init__(
        self,
        name: str,
        stage: Stage,
        inlet: Callable[[int], Inlet],
        outlet: Outlet | None,
        clock: Clock,
        caution: Caution | None = None,
    ) -> None:
        self.name = name
        self._caution = caution
        self.stage = stage
        self._commit_pause = stage.commit_pause if isinstance(stage, Sparing) else COMMIT_PAUSE
        self._clock = clock
        self.inlet = inlet(stage.open())
        if caution is not None:
            caution.begin(self.inlet.position)
        self.outlet = outlet
        if outlet is not None:
            outlet.open(stage.given)
            if outlet.last and not self.inlet.is_whole:
                self._go_on_from(outlet)
        self._next = self.inlet.position + 1
        self.ts = 0
        self.events_in = 0
        self._dirty = False
        self._is_twofold = not self.inlet.position
        """Both slots of the checkpoint say where it stands."""
        now = clock.mono()
        self._committed = self._flushed = self._trimmed = now
        self._commit_cost = 0

    def turn(self) -> bool:
        """Takes what is there, hands on what follows, commits when it is time. False where there was nothing to do."""
        batches = self.inlet.take(self._clock.mono())
        for batch in batches:
            if batch.first != self._next and self.outlet is not None and self.outlet.is_repeating:
                self._go_on_from(self.outlet)  # cut loose since it started
            if batch.first != self._next and isinstance(self.stage, Accounting):
                self.stage.missed(self._next, batch.first - 1, batch.ts)
            self._next = batch.last + 1
            for output in self._handled(batch):
                if self.outlet is not None:
                    self.outlet.give(output)
            self.events_in += len(batch.events)
            self.ts = batch.ts
        self._dirty = self._dirty or bool(batches)
        now = self._clock.mono()
        if self.outlet is not None and self.outlet.pending and now - self._flushed >= FLUSH_NS:
            self.inlet.sync()
            self.outlet.flush()
            self._flushed = now
        # Where a commit is costly (hundreds of files), it is made less often.
        # And once more where nothing follows: journals let go what both slots of a checkpoint know of.
        is_due = self._dirty or not (batches or self._is_twofold)
        if is_due and now - self._committed >= max(COMMIT_NS, self._commit_pause * self._commit_cost):
            self.commit()
        return bool(batches)

    @property
    def look(self) -> int:
        """When a turn has something to do though nothing comes, on the monotonic clock: in the journal, or outputs."""
        waits = self.outlet is not None and self.outlet.pending
        return min(self.inlet.look, self._flushed + FLUSH_NS) if waits else self.inlet.look

    def _go_on_from(self, outlet: Outlet) -> None:
        """What made the outputs behind the checkpoint is gone: they cannot be given again."""
        if isinstance(self.stage, Resuming):
            self.stage.resume(outlet.last, outlet.ts)
            outlet.begin_anew()

    def _handled(self, batch: Batch) -> Iterable[Batch]:
        if self._caution is None:
            return self.stage.handle(batch)
        batch = self._caution.taking(batch, self.stage)
        try:
            outputs = list(self.stage.handle(batch))
        except OSError:  # the disk's fault
            self._caution.taken()
            raise
        self._caution.taken()
        return outputs

    def commit(self, final: bool = False) -> None:
        """The one order that survives a power cut: source, own journal, own files, checkpoint."""
        begun = self._clock.mono()
        self.inlet.sync()
        if self.outlet is not None:
            self.outlet.flush()
            self.outlet.sync()
        self.stage.commit(final)
        if self._caution is not None:
            self._caution.committed()
        self._is_twofold = not self._dirty
        self._dirty = False
        self._committed = self._clock.mono()
        self._commit_cost = self._committed - begun
        if self.outlet is not None and self._committed - self._trimmed >= TRIM_NS:
            self.outlet.trim()
            self._trimmed = self._committed

    def drain(self, budget_ns: int = 15_000 * MS) -> None:
        """Reads to the journal's end, makes everything durable, releases. Without a budget: takes nothing more."""
        until = self._clock.mono() + budget_ns
        idle = 0
        while idle < 3 and self._clock.mono() < until:
            self.inlet.rush()
            idle = 0 if self.turn() else idle + 1
        self.commit(final=True)
        self.close()

    def close(self) -> None:
        if self._caution is not None:
            self._caution.close()
        self.stage.close()
        if self.outlet is not None:
            self.outlet.close()


def _loops(setting: Setting, make: Callable[[Context], Stage]) -> list[Loop]:
    loops = []
    journals = topology.journals(setting.pipeline, setting.name)
    publisher = setting.publisher() if journals else None
    patience_ms = setting.pipeline.nodes[setting.name].patience_ms
    look_ns = patience_ms * MS + PATIENT_LOOK_NS if patience_ms else IDLE_LOOK_NS
    for edge in topology.inputs(setting.pipeline, setting.name):
        folder = paths.journal_dir(edge.producer, edge.journal)
        inbox = setting.bus.pull(edge.name) if setting.bus else None
        outlet = None
        own = f"{setting.name}.{edge.journal}"
        if own in journals:
            reader = Reader(setting.disk, paths.journal_dir(setting.name, own))
            outlet = Outlet(setting.writer(own, lambda: b""), reader, setting.lanes(own), publisher, own)
        source = topology.source_of(setting.pipeline, edge.journal)
        venue, streams = topology.venue_of(setting.pipeline, edge.journal), source.options.get("streams", ())
        symbols = len(source.options.get("symbols", ()))
        context = Context(setting.name, edge.journal, venue, setting.disk, tuple(map(str, streams)), symbols)

        def inlet(position: int, folder: str = folder, inbox: Inbox | None = inbox) -> Inlet:
            return Inlet(Reader(setting.disk, folder), inbox, position, look_ns)

        caution = Caution(setting.disk, context.checkpoint, edge.journal)
        loops.append(Loop(edge.journal, make(context), inlet, outlet, setting.clock, caution))
    return loops


def run(setting: Setting, loops: Sequence[Loop], need: Need | None = DERIVED) -> None:
    """Turns until asked to leave, then drains. While the disk has less than `need`, nothing is taken: it waits in the
    journal.
    """
    beat = setting.heart.beat
    beat.phase = "running"
    room = Room(need) if need is not None else None
    is_short = room is not None and _look(room, setting, loops)
    is_level = False
    beat.note = _note(room, loops)
    setting.heart.send()
    while not setting.lifeline.asked:
        busy = [] if is_short else [loop.turn() for loop in loops]
        is_news = not is_level and (not any(busy) or setting.heart.since() >= CATCHING_UP_NS)
        if setting.heart.due() or is_news:  # how far it has caught up is said often, and at once that it is level
            is_level = is_level or not any(busy)
            is_short = room is not None and _look(room, setting, loops)
            _describe(beat, loops, room)
            setting.heart.send()
        is_more = not is_short and any(loop.inlet.is_behind for loop in loops)
        until = min(loop.look for loop in loops)
        _wait(None if is_short else setting.bus, 0 if is_more else max(MS, until - setting.clock.mono()))
    beat.phase = "draining"
    setting.heart.send()
    for loop in loops:
        loop.drain(*([0] if is_short else []))
    _describe(beat, loops, room)
    beat.phase = "ended"
    setting.heart.send()


def _look(room: Room, setting: Setting, loops: Sequence[Loop]) -> bool:
    """Whether room is short; what was taken is made durable as it becomes so."""
    before = room.short
    if room.look(*setting.disk.free()) and not before:
        for loop in loops:
            loop.commit()
    return room.short


def _note(room: Room | None, loops: Sequence[Loop]) -> str:
    """One line for people. What was lost is said as long as this life lasts."""
    if room is not None and room.short:
        return f"{room.says}: waits, and catches up when there is room"
    lost = sum(loop.inlet.counters["lost"] for loop in loops)
    return f"{lost} records were damaged in the journal, or let go before they were taken" if lost else ""


def _wait(bus: Bus | None, ns: int) -> None:
    """Until something comes over the bus, or an inlet is to look into its journal. That is two thirds of a second at
    most: neither a beat nor a commit nor who asks it to leave needs a wake-up of its own. With 0 it only hears what is
    there.
    """
    if bus is not None:
        bus.wait(-(-ns // MS))
    elif ns:
        threading.Event().wait(0.05)


def _describe(beat: Beat, loops: Sequence[Loop], room: Room | None) -> None:
    totals: dict[str, int] = {"events_in": 0, "events_out": 0}
    for loop in loops:
        totals["events_in"] += loop.events_in
        parts = [loop.stage.counters, loop.inlet.counters, loop.outlet.counters if loop.outlet else {}]
        for part in parts:
            for key, value in part.items():
                totals[key] = totals.get(key, 0) + value
    beat.counters = totals
    beat.positions = {loop.name: loop.inlet.position for loop in loops}
    beat.given = {f"{beat.stage}.{loop.name}": loop.outlet.last for loop in loops if loop.outlet is not None}
    beat.ts = max((loop.ts for loop in loops), default=0)
    beat.note = _note(room, loops)


def main(
    run_name: str,
    make: Callable[[Context, C], Stage],
    kind: type[C],
    description: str,
    need: Need | None = DERIVED,
) -> None:
    """The body of a stage's process. `need` is the room on the disk without which it waits."""
    setting, settings = prepare(run_name, kind, arguments(description))
    setting.heart.send()

    def work() -> None:
        run(setting, _loops(setting, lambda context: make(context, settings)), need)

    sys.exit(guarded(setting, work))
