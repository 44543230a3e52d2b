"""The loop that drives a stage: it owns lanes, journals, signals, heartbeat and exit code, so that a stage owns none.

    lane or journal ─▶ Inlet ─▶ stage.handle ─▶ Outlet ─▶ journal, then lanes
                                stage.commit once a second, after both journals are durable

A stage object serves one input journal; a process holds one for each of its inputs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from loguru import logger

from shared import config, paths, topology
from shared.clock import Clock, SystemClock
from shared.events import Batch, Beat
from shared.files import Disk, Files
from shared.journal import HEADER, Damaged, Reader, Writer, unpack
from shared.locks import Held, Lock
from shared.logs import setup
from shared.wire import Bus, Inbox, Lane, Publisher, find_mesh

MS = 1_000_000
IDLE_LOOK_NS = 60 * MS
"""After this much silence the journal is looked into: a lost last message has no successor to reveal it."""
BEAT_NS = 1000 * MS
COMMIT_NS = 1000 * MS
FLUSH_NS = 200 * MS
"""Outputs wait at most this long for the fsync of their sources (one fsync serves many)."""
TRIM_NS = 5000 * MS

EXIT_ASKED, EXIT_CRASHED, EXIT_CONFIG = 0, 1, 2


class Context(msgspec.Struct, frozen=True):
    """Where a stage object stands: its stage's name, the journal it reads, the venue at that journal's root, the
    lake.
    """

    stage: str
    journal: str
    venue: str
    disk: Disk

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
        """Makes what was handled durable, then stores the checkpoint. The source is durable by then. `final`: a
        drained stop.
        """

    def close(self) -> None: ...


class Inlet:
    """The consumer's end of an edge: every record once and in order, from the lane or else from the journal."""

    def __init__(self, reader: Reader, inbox: Inbox | None, position: int) -> None:
        self._reader = reader
        self._inbox = inbox
        self._synced = position
        self._waiting: bytes | None = None  # a lane message behind a hole
        self._behind = True  # at start the journal comes first
        self._quiet_since = -IDLE_LOOK_NS
        self.position = position
        self.counters = {"holes": 0, "lost": 0, "damaged": 0}

    def take(self, mono: int) -> list[Batch]:
        """What is there now; empty where nothing is."""
        taken = self._from_lane() if not self._behind else []
        if self._behind or (not taken and mono - self._quiet_since >= IDLE_LOOK_NS):
            self._quiet_since = mono
            found = self._reader.read(self.position)
            for batch in found:
                self._accept(batch)
            if not found:
                self._behind = False
                found = self._after_hole()
            taken += found
        if taken:
            self._quiet_since = mono
        return taken

    def _from_lane(self) -> list[Batch]:
        taken: list[Batch] = []
        while self._inbox is not None and len(taken) < 64 and (data := self._inbox.recv()) is not None:
            try:
                _, _, first, count = HEADER.unpack_from(data)
                if first + count - 1 <= self.position:
                    continue
                if first > self.position + 1:
                    self.counters["holes"] += 1
                    self._waiting, self._behind = data, True
                    break
                batch = unpack(data).after(self.position)
            except (Damaged, ValueError, OverflowError) as why:
                self._damage(str(why))
                continue
            self._accept(batch)
            taken.append(batch)
        return taken

    def _after_hole(self) -> list[Batch]:
        """The journal has no more, so what waits is next: whatever lies between is lost from the journal itself."""
        data, self._waiting = self._waiting, None
        if data is None:
            return []
        try:
            batch = unpack(data)
        except Damaged as why:
            self._damage(str(why))
            return []
        if batch.last <= self.position:
            return []
        batch = batch.after(self.position)
        self._accept(batch)
        return [batch]

    def _accept(self, batch: Batch) -> None:
        missing = batch.first - self.position - 1
        if missing:
            self.counters["lost"] += missing
            logger.error(
                f"records {self.position + 1} to {batch.first - 1} are in the journal no more; trades are healed by id"
            )
        self.position = batch.last

    def _damage(self, why: str) -> None:
        self.counters["damaged"] += 1
        logger.warning(f"a message on the lane is no record ({why}); the journal has it")

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
        self._again: list[Batch] = []
        self.counters = {"events_out": 0, "lane_skipped": 0, "replay_differs": 0}

    def open(self, given: int) -> None:
        """`given` is what the stage's checkpoint counts as handed over: what the journal holds beyond will be given
        again.
        """
        self._writer.open(given)
        position = given
        while found := self._reader.read(position):
            self._again += found
            position = found[-1].last

    @property
    def pending(self) -> int:
        return len(self._pending)

    def give(self, batch: Batch) -> None:
        """Takes an output; one that the journal holds since before a restart is compared with what stands there."""
        if batch.last > self._writer.last:
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
        self._writer.trim()

    def close(self) -> None:
        self._writer.close()


class Loop:
    """One stage object between its inlet and its outlet. `turn` is called again and again, by `run` or by a
    simulator.
    """

    def __init__(
        self, name: str, stage: Stage, inlet: Callable[[int], Inlet], outlet: Outlet | None, clock: Clock
    ) -> None:
        self.name = name
        self.stage = stage
        self._clock = clock
        self.inlet = inlet(stage.open())
        self.outlet = outlet
        if outlet is not None:
            outlet.open(stage.given)
        self.ts = 0
        self.events_in = 0
        self._dirty = False
        now = clock.mono()
        self._committed = self._flushed = self._trimmed = now
        self._commit_cost = 0

    def turn(self) -> bool:
        """Takes what is there, hands on what follows, commits when it is time. False where there was nothing to do."""
        batches = self.inlet.take(self._clock.mono())
        for batch in batches:
            for output in self.stage.handle(batch):
                if self.outlet is not None:
                    self.outlet.give(output)
            self.events_in += len(batch.events)
            self.ts = batch.ts
        self._dirty = self._dirty or bool(batches)
        now = self._clock.mono()
        if self.outlet is not None and self.outlet.pending and (not batches or now - self._flushed >= FLUSH_NS):
            self.inlet.sync()
            self.outlet.flush()
            self._flushed = now
        # Where a commit is costly (hundreds of files), it is made less often: at most a tenth of the time goes to it.
        if self._dirty and now - self._committed >= max(COMMIT_NS, 10 * self._commit_cost):
            self.commit()
        return bool(batches)

    def commit(self, final: bool = False) -> None:
        """The one order that survives a power cut: source, own journal, own files, checkpoint."""
        begun = self._clock.mono()
        self.inlet.sync()
        if self.outlet is not None:
            self.outlet.flush()
            self.outlet.sync()
        self.stage.commit(final)
        self._dirty = False
        self._committed = self._clock.mono()
        self._commit_cost = self._committed - begun
        if self.outlet is not None and self._committed - self._trimmed >= TRIM_NS:
            self.outlet.trim()
            self._trimmed = self._committed

    def drain(self, budget_ns: int = 15_000 * MS) -> None:
        """Reads to the journal's end, makes everything durable, releases."""
        until = self._clock.mono() + budget_ns
        idle = 0
        while idle < 3 and self._clock.mono() < until:
            self.inlet.rush()
            idle = 0 if self.turn() else idle + 1
        self.commit(final=True)
        self.close()

    def close(self) -> None:
        self.stage.close()
        if self.outlet is not None:
            self.outlet.close()


class Lifeline:
    """The supervisor's hold on a stage: standard input. A line ``drain``, or its end, asks the stage to leave."""

    def __init__(self) -> None:
        self.asked = False

    def watch_stdin(self) -> None:
        """One daemon thread, because Windows cannot poll a pipe; ``os.read``, because the buffered reader aborts at
        exit.
        """
        threading.Thread(target=self._read, name="lifeline", daemon=True).start()

    def watch_signals(self) -> None:
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: self.ask())

    def ask(self) -> None:
        self.asked = True

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                data = os.read(0, 4096)
            except OSError:
                data = b""
            *lines, pending = (pending + data).split(b"\n")
            if not data or b"drain" in [line.strip() for line in lines]:
                self.ask()
                return


class Heart:
    """Sends a Beat a second, from the work loop and from nowhere else: a hung loop cannot look alive."""

    def __init__(self, lane: Lane | None, stage: str, token: str, clock: Clock) -> None:
        self._lane = lane
        self._clock = clock
        self._last = -BEAT_NS
        self.beat = Beat(stage, os.getpid(), token, phase="starting")

    def due(self) -> bool:
        return self._clock.mono() - self._last >= BEAT_NS

    def send(self) -> None:
        self._last = self._clock.mono()
        if self._lane is not None:
            self._lane.send(msgspec.msgpack.encode(self.beat))


class Setting:
    """What every process of the mesh begins with: its configuration, its lock, its log, its bus."""

    def __init__(self, pipeline: topology.Pipeline, name: str, supervised: bool) -> None:
        self.pipeline = pipeline
        self.name = name
        self.lake = Path(pipeline.lake)
        self.lake.mkdir(parents=True, exist_ok=True)
        setup(self.lake, name, console=not supervised)
        self.disk = Files(self.lake)
        self.clock = SystemClock()
        self.lock = Lock(self.lake / paths.stage_lock(name), what=f"stage {name}")
        mesh = find_mesh(self.lake) if supervised else None
        self.bus = Bus(self.lake, mesh) if mesh is not None else None
        self.lifeline = Lifeline()
        self.lifeline.watch_signals()
        if supervised:
            self.lifeline.watch_stdin()
        lane = self.bus.push("health") if self.bus else None
        self.heart = Heart(lane, name, mesh.token if mesh else "", self.clock)

    def writer(self, journal: str, state: Callable[[], bytes], **options: int) -> Writer:
        edges = [edge for edge in topology.outputs(self.pipeline, self.name) if edge.journal == journal]
        bases = [paths.checkpoint_base(edge.consumer, journal) for edge in edges]
        return Writer(self.disk, paths.journal_dir(self.name, journal), state, bases, **options)

    def lanes(self, journal: str) -> list[Lane]:
        if self.bus is None:
            return []
        return [
            self.bus.push(edge.name) for edge in topology.outputs(self.pipeline, self.name) if edge.journal == journal
        ]

    def publisher(self) -> Publisher | None:
        return self.bus.publisher(f"tap.{self.name}") if self.bus else None

    def close(self) -> None:
        if self.bus is not None:
            self.bus.close()
        self.lock.close()


def _loops(setting: Setting, make: Callable[[Context], Stage]) -> list[Loop]:
    loops = []
    journals = topology.journals(setting.pipeline, setting.name)
    publisher = setting.publisher() if journals else None
    for edge in topology.inputs(setting.pipeline, setting.name):
        folder = paths.journal_dir(edge.producer, edge.journal)
        inbox = setting.bus.pull(edge.name) if setting.bus else None
        outlet = None
        own = f"{setting.name}.{edge.journal}"
        if own in journals:
            reader = Reader(setting.disk, paths.journal_dir(setting.name, own))
            outlet = Outlet(setting.writer(own, lambda: b""), reader, setting.lanes(own), publisher, own)
        context = Context(setting.name, edge.journal, topology.venue_of(setting.pipeline, edge.journal), setting.disk)

        def inlet(position: int, folder: str = folder, inbox: Inbox | None = inbox) -> Inlet:
            return Inlet(Reader(setting.disk, folder), inbox, position)

        loops.append(Loop(edge.journal, make(context), inlet, outlet, setting.clock))
    return loops


def run(setting: Setting, loops: Sequence[Loop]) -> None:
    """Turns until asked to leave, then drains."""
    beat = setting.heart.beat
    beat.phase = "running"
    while not setting.lifeline.asked:
        busy = [loop.turn() for loop in loops]
        if setting.heart.due():
            _describe(beat, loops)
            setting.heart.send()
        if not any(busy):
            _wait(setting.bus)
    beat.phase = "draining"
    setting.heart.send()
    for loop in loops:
        loop.drain()
    _describe(beat, loops)
    beat.phase = "ended"
    setting.heart.send()


def _wait(bus: Bus | None) -> None:
    if bus is not None:
        bus.wait(20)
    else:
        threading.Event().wait(0.05)


def _describe(beat: Beat, loops: Sequence[Loop]) -> None:
    totals: dict[str, int] = {"events_in": 0, "events_out": 0}
    for loop in loops:
        totals["events_in"] += loop.events_in
        parts = [loop.stage.counters, loop.inlet.counters, loop.outlet.counters if loop.outlet else {}]
        for part in parts:
            for key, value in part.items():
                totals[key] = totals.get(key, 0) + value
    beat.counters = totals
    beat.positions = {loop.name: loop.inlet.position for loop in loops}
    beat.ts = max((loop.ts for loop in loops), default=0)


def arguments(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line that every stage understands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="pipeline.yml", help="the pipeline file (default: %(default)s)")
    parser.add_argument("--stage", help="its key in that file; needed where several entries run this process")
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="started by supervisor.py: join the bus, leave when standard input ends",
    )
    return parser.parse_args(argv)


def stage_name(pipeline: topology.Pipeline, run_name: str, wanted: str | None) -> str:
    """The entry of the pipeline file that is meant. Raises ConfigError."""
    names = [node.name for node in pipeline.nodes.values() if node.run == run_name]
    if wanted in names:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    says = f"no entry that runs {run_name}" if not names else f"name one of {', '.join(names)} with --stage"
    raise config.ConfigError([topology.Fault("--stage", f"{wanted or 'not given'}: {says}")])


C = TypeVar("C", bound=config.StageConfig)


def prepare(run_name: str, kind: type[C], args: argparse.Namespace) -> tuple[Setting, C]:
    """Configuration, lock, log and bus of a process. Ends the process with exit code 2 where the file is at fault, 1
    where the
    lock is held."""
    try:
        pipeline = config.load(args.config)
        name = stage_name(pipeline, run_name, args.stage)
        settings = config.convert(pipeline, name, kind)
    except config.ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"{args.config}: {fault}\n")
        sys.exit(EXIT_CONFIG)
    try:
        return Setting(pipeline, name, args.supervised), settings
    except Held as held:
        sys.stderr.write(f"{held}\n")
        sys.exit(EXIT_CRASHED)


def guarded(setting: Setting, work: Callable[[], Any]) -> int:
    """Runs `work`; what it raises is logged and becomes the exit code. One of the two places that catch everything."""
    try:
        work()
        return EXIT_ASKED
    except config.ConfigError as error:
        for fault in error.faults:
            logger.error(str(fault))
        return EXIT_CONFIG
    except MemoryError:
        raise
    except OSError as error:
        logger.error(f"{type(error).__name__}: {error}: the stage ends and recovers at its next start")
        logger.opt(exception=True).debug("where it happened")
        return EXIT_CRASHED
    except Exception:
        logger.exception(f"stage {setting.name} crashed")
        return EXIT_CRASHED
    finally:
        setting.close()


def main(run_name: str, make: Callable[[Context, C], Stage], kind: type[C], description: str) -> None:
    """The body of a stage's process."""
    setting, settings = prepare(run_name, kind, arguments(description))
    setting.heart.send()

    def work() -> None:
        run(setting, _loops(setting, lambda context: make(context, settings)))

    sys.exit(guarded(setting, work))
