"""What every process of the mesh begins and ends with: settings, lock, log, bus, lifeline, heartbeat and exit code."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from loguru import logger

from shared import compiled, config, paths, topology
from shared.clock import Clock, SystemClock
from shared.events import Beat
from shared.files import Files
from shared.journal import Writer
from shared.locks import Held, Lock
from shared.logs import setup
from shared.tables import SCHEMA_VERSION
from shared.wire import Bus, Lane, Publisher, find_mesh

BEAT_NS = 1_000_000_000
LOCK_LOOK_S = 0.05
EXIT_ASKED, EXIT_CRASHED, EXIT_CONFIG = 0, 1, 2
GARBAGE = 20_000
"""New objects between two searches for cycles; the 700 that Python begins with come with every busy batch."""

C = TypeVar("C", bound=config.StageConfig)


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

    def since(self) -> int:
        """Nanoseconds since the last beat."""
        return self._clock.mono() - self._last

    def due(self) -> bool:
        return self.since() >= BEAT_NS

    def late(self) -> bool:
        """The loop has missed its beat: something keeps it."""
        return self.since() >= 2 * BEAT_NS

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
        self.disk = Files(self.lake, self._pulse)
        self.clock = SystemClock()
        mesh = find_mesh(self.lake) if supervised else None
        self.bus = Bus(self.lake, mesh) if mesh is not None else None
        self.lifeline = Lifeline()
        self.lifeline.watch_signals()
        if supervised:
            self.lifeline.watch_stdin()
        lane = self.bus.push("health") if self.bus else None
        self.heart = Heart(lane, name, mesh.token if mesh else "", self.clock)
        try:
            self.lock = self._locked()
        except Held:
            if self.bus is not None:
                self.bus.close()
            raise

    def _locked(self) -> Lock:
        """Alone: at once or not at all. In a mesh: once the stage that an earlier run left has gone, and says so."""
        while True:
            try:
                lock = Lock(self.lake / paths.stage_lock(self.name), what=f"stage {self.name}")
            except Held as held:
                if self.bus is None or self.lifeline.asked:
                    raise
                self.heart.beat.note = f"waits: {held}"
                if self.heart.due():
                    self.heart.send()
                threading.Event().wait(LOCK_LOOK_S)
                continue
            self.heart.beat.note = ""
            return lock

    def _pulse(self) -> None:
        """The work loop's own beat, wherever the disk keeps it. Only in its stead: this one says nothing new, and sent
        as soon as one was due it would be the only one ever sent.
        """
        if self.heart.late():
            self.heart.send()

    def writer(self, journal: str, state: Callable[[], bytes], **options: int) -> Writer:
        edges = [edge for edge in topology.outputs(self.pipeline, self.name) if edge.journal == journal]
        bases = {edge.consumer: paths.checkpoint_base(edge.consumer, journal) for edge in edges}
        # What is not archived is nowhere else; what the others miss is made again from the archive.
        keepers = [base for name, base in bases.items() if self.pipeline.nodes[name].run == "archiver"]
        folder = paths.journal_dir(self.name, journal)
        return Writer(self.disk, folder, state, list(bases.values()), keepers=keepers, **options)

    def lanes(self, journal: str) -> list[Lane]:
        if self.bus is None:
            return []
        return [
            self.bus.push(edge.name, self.pipeline.nodes[edge.consumer].patience_ms)
            for edge in topology.outputs(self.pipeline, self.name)
            if edge.journal == journal
        ]

    def publisher(self) -> Publisher | None:
        return self.bus.publisher(f"tap.{self.name}") if self.bus else None

    def close(self) -> None:
        if self.bus is not None:
            self.bus.close()
        self.lock.close()


def command_line(description: str) -> argparse.ArgumentParser:
    """A parser that calls the process as people call it, with its docstring as it stands."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else "procs"
    shape = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m {name}", description=description, formatter_class=shape)


def arguments(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line that every stage understands."""
    parser = command_line(description)
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


def check_schema(lake: Path) -> None:
    """Raises ConfigError for a lake that another version of this program writes. A lake that says nothing is new."""
    path = lake / "lake.json"
    try:
        said = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]).get("schema", SCHEMA_VERSION)
    except (OSError, ValueError, RecursionError):
        return  # the supervisor sets a broken one aside
    if said != SCHEMA_VERSION:
        raise config.ConfigError(
            [topology.Fault(str(path), f"is of schema {said!r}, this program writes {SCHEMA_VERSION}: not touched")]
        )


def prepare(run_name: str, kind: type[C], args: argparse.Namespace) -> tuple[Setting, C]:
    """Configuration, lock, log and bus of a process. Ends the process with exit code 2 where the file is at fault, 1
    where the lock is held and nobody waits for it.
    """
    try:
        pipeline = config.load(args.config)
        name = stage_name(pipeline, run_name, args.stage)
        settings = config.convert(pipeline, name, kind)
        check_schema(Path(pipeline.lake))
    except config.ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"{args.config}: {fault}\n")
        sys.exit(EXIT_CONFIG)
    try:
        setting = Setting(pipeline, name, args.supervised)
        compiled.load()
        return setting, settings
    except Held as held:
        sys.stderr.write(f"{held}\n")
        sys.exit(EXIT_CRASHED)


def tune_gc() -> None:
    """Before the work begins: what stands by now stays, and is searched for cycles no more; new objects seldom."""
    gc.freeze()
    gc.set_threshold(GARBAGE)


def guarded(setting: Setting, work: Callable[[], Any]) -> int:
    """Runs `work`; what it raises is logged and becomes the exit code. One of the two places that catch everything."""
    tune_gc()
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
