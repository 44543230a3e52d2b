"""The product's classes, each as a process that can be killed and started again."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bench.simulation.bus import SimLane
from bench.simulation.clock import SimClock
from bench.simulation.disk import Killed, Medium, SimDisk, is_injected
from procs.aggregator import Aggregator
from procs.aggregator import Config as AggregatorConfig
from procs.archiver import Archiver
from procs.archiver import Config as ArchiverConfig
from procs.compactor.work import Run as Compaction
from procs.ingest.core import Ingest
from procs.parquet_sink import Config as SinkConfig
from procs.parquet_sink import ParquetSink
from shared.edges import Inlet, Outlet
from shared.journal import Reader, Writer
from shared.paths import checkpoint_base, journal_dir
from shared.runner import Context, Loop, Stage


class Timed:
    """A stage that is given a clock: the product's own are not."""

    clock: SimClock


@dataclass(frozen=True)
class Rules:
    """The classes a history is played with: the product's own, or a mutant's."""

    ingest: type[Ingest] = Ingest
    source_writer: type[Writer] = Writer
    writer: type[Writer] = Writer
    reader: type[Reader] = Reader
    inlet: type[Inlet] = Inlet
    outlet: type[Outlet] = Outlet
    loop: type[Loop] = Loop
    archiver: type[Archiver] = Archiver
    aggregator: type[Aggregator] = Aggregator
    sink: type[ParquetSink] = ParquetSink
    compaction: type[Compaction] = Compaction
    sealing: float = 0.12
    """Part of the histories in which hours pass, and compactor and validator run: they take four times as long."""
    lies: dict[str, frozenset[str]] = field(default_factory=dict)
    """Calls to the disk that do nothing, by part."""


@dataclass(frozen=True)
class Settings:
    """How large everything is in one history."""

    rotate_every_s: int
    flush_every_s: int
    lateness_ms: int
    segment_bytes: int
    lane_room: int
    journal_bytes: int = 2 << 30
    """What a journal may hold before consumers are cut loose, and ingest pauses."""
    busy: int = 10**9
    """Frames at once from which on ingest makes columns of them."""


class Running(Protocol):
    """What stands behind a process."""

    def turn(self) -> object: ...

    def close(self) -> None: ...


MOST_TURNS = 4
"""Of one process, before the others have theirs."""


class Part:
    """One process: alive or not, at a place in its history."""

    def __init__(
        self, name: str, medium: Medium, clock: SimClock, start: Callable[[SimDisk], Running], lies: frozenset[str]
    ) -> None:
        self.name = name
        self._medium = medium
        self._clock = clock
        self._start = start
        self._lies = lies
        self.running: Running | None = None
        self.disk = SimDisk(medium)
        self.restart_at = 0
        self.stalled_until = 0
        self.last_turn = 0
        self.lives = 0
        self.was_busy = False
        self.faults: list[str] = []
        """What no injected fault explains."""
        self.on_death: list[Callable[[], None]] = []
        self.watch: Callable[..., None] | None = None

    @property
    def is_alive(self) -> bool:
        return self.running is not None

    def guarded(self, call: Callable[[], object]) -> bool:
        """Runs a piece of the process. False where it ended."""
        try:
            self.was_busy = call() is True
            return True
        except Killed:
            self.kill()
        except OSError as why:  # injected, or a full disk: the process ends, recovery exists only at start
            if not is_injected(why):
                self.faults.append(f"{self.name} met an error nobody injected:\n{traceback.format_exc()}")
            self.kill()
        except Exception:
            self.faults.append(f"{self.name} crashed by itself:\n{traceback.format_exc()}")
            self.kill()
        return False

    def begin(self) -> bool:
        armed = self.disk
        self.disk = SimDisk(self._medium)
        self.disk.kill_in, self.disk.error_in = armed.kill_in, armed.error_in
        self.disk.lies = set(self._lies)
        self.disk.watch = self.watch
        self.lives += 1

        def start() -> None:
            self.running = self._start(self.disk)

        return self.guarded(start)

    def turn(self) -> None:
        running = self.running
        if running is None:
            if self._clock.mono() >= self.restart_at:
                self.begin()
            return
        if self._clock.mono() < self.stalled_until:
            return
        self.last_turn = self._clock.mono()
        for _ in range(MOST_TURNS):  # as the runner does: again at once, while there is something to do
            if not self.guarded(running.turn) or not self.was_busy:
                return

    def kill(self) -> None:
        """At once; what it wrote stays, nothing of it runs any more."""
        self.disk.is_dead = True
        self.disk.kill_in = self.disk.error_in = None
        self.running = None
        self.restart_at = self._clock.mono() + self._medium.chance.randrange(1500) * 1_000_000
        for told in self.on_death:
            told()


@dataclass
class Wiring:
    """What a consumer reads, and what it gives."""

    stage: str
    journal: str
    source: str
    """The stage that writes that journal."""
    inbox: SimLane
    gives: str = ""
    consumers: tuple[str, ...] = ()
    lanes: tuple[SimLane, ...] = ()


def stage_starter(
    wiring: Wiring, make: Callable[[Context], Stage], rules: Rules, settings: Settings, clock: SimClock
) -> Callable[[SimDisk], Loop]:
    """As `shared.runner` puts a stage between its inlet and its outlet."""

    def start(disk: SimDisk) -> Loop:
        context = Context(wiring.stage, wiring.journal, "binance", disk, ("trade", "quote"))
        folder = journal_dir(wiring.source, wiring.journal)
        outlet = None
        if wiring.gives:
            own = journal_dir(wiring.stage, wiring.gives)
            bases = [checkpoint_base(consumer, wiring.gives) for consumer in wiring.consumers]
            segment, most = settings.segment_bytes, settings.journal_bytes
            writer = rules.writer(disk, own, lambda: b"", bases, segment_bytes=segment, max_bytes=most)
            outlet = rules.outlet(writer, rules.reader(disk, own), wiring.lanes, None, wiring.gives)

        def inlet(position: int) -> Inlet:
            return rules.inlet(rules.reader(disk, folder), wiring.inbox, position)

        return rules.loop(wiring.journal, make(context), inlet, outlet, clock)

    return start


def archiver(rules: Rules, settings: Settings) -> Callable[[Context], Stage]:
    config = ArchiverConfig(rotate_every_s=settings.rotate_every_s)
    return lambda context: rules.archiver(context, config)


def aggregator(rules: Rules, settings: Settings, clock: SimClock) -> Callable[[Context], Stage]:
    config = AggregatorConfig(lateness_ms=settings.lateness_ms)

    def make(context: Context) -> Stage:
        found = rules.aggregator(context, config)
        if isinstance(found, Timed):
            found.clock = clock
        return found

    return make


def sink(rules: Rules, settings: Settings) -> Callable[[Context], Stage]:
    config = SinkConfig(flush_every_s=settings.flush_every_s)
    return lambda context: rules.sink(context, config)
