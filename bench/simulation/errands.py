"""Compactor and validator as processes that are started for one run, and that run piece by piece beside the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from bench.simulation.clock import SimClock
from bench.simulation.disk import Killed, Medium, SimDisk
from bench.simulation.parts import Part
from procs.compactor import Config as CompactorConfig
from procs.compactor.work import Run as Compaction
from procs.validator import Config as ValidatorConfig
from procs.validator import hour
from procs.validator.work import Run as Validation
from procs.validator.work import examine
from shared.errand import Errand
from shared.process import Lifeline
from shared.room import NoRoom
from shared.topology import Node, Pipeline

C = TypeVar("C", CompactorConfig, ValidatorConfig)
PIECE = 40
"""Calls to the disk, at the most, until the others have their turn."""
PIPELINE = Pipeline(
    "/pipeline.yml",
    "/",
    {
        "binance": Node("binance", "sources", "ingest", (), {"venue": "binance", "streams": ["trade", "quote"]}),
        "bars_1s": Node("bars_1s", "transforms", "aggregator", ("binance",)),
        "archive": Node("archive", "sinks", "archiver", ("binance",)),
        "parquet": Node("parquet", "sinks", "parquet_sink", ("bars_1s",)),
    },
)


class Excursion:
    """One run. It has a thread to itself, for it is one long call; only ever one thread of a history runs."""

    def __init__(self, work: Callable[[SimDisk], None], disk: SimDisk) -> None:
        self._work = work
        self._disk = disk
        self._left = 0
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._ended: BaseException | None = None
        self.is_over = False
        disk.pause = self._pause
        threading.Thread(target=self._body, daemon=True).start()

    def turn(self) -> None:
        """Goes on for a piece. Raises what ends the process."""
        self._left = self._disk.medium.chance.randrange(1, PIECE)
        self._resume()
        if self._ended is not None:
            raise self._ended

    def abandon(self) -> None:
        """The process was killed between two pieces: what it meets next is its end."""
        if not self.is_over:
            self._resume()

    def close(self) -> None:
        return

    def _resume(self) -> None:
        self._go.release()
        self._back.acquire()

    def _pause(self) -> None:
        if self._disk.is_dead:
            raise Killed
        self._left -= 1
        if self._left < 0:
            self._back.release()
            self._go.acquire()
            if self._disk.is_dead:
                raise Killed

    def _body(self) -> None:
        self._go.acquire()
        try:
            if not self._disk.is_dead:
                self._work(self._disk)
        except NoRoom:  # it goes, and comes again when it is due
            pass
        except BaseException as why:
            self._ended = why
        self.is_over = True
        self._back.release()


class ErrandPart(Part):
    """The process of an errand: it is not there until it is sent, and if it was killed it is sent again at once."""

    def __init__(
        self, name: str, medium: Medium, clock: SimClock, work: Callable[[SimDisk], None], lies: frozenset[str]
    ) -> None:
        super().__init__(name, medium, clock, lambda disk: Excursion(work, disk), lies)
        self.is_wanted = False
        self.runs = 0

    def turn(self) -> None:
        if self.running is None and not self.is_wanted:
            return
        super().turn()
        if isinstance(self.running, Excursion) and self.running.is_over:
            self.running, self.is_wanted = None, False
            self.runs += 1

    def kill(self) -> None:
        found = self.running
        super().kill()
        if isinstance(found, Excursion):
            found.abandon()

    def run(self) -> None:
        """From beginning to end, with nobody and nothing in between; what it is at is finished first."""
        self.restart_at = 0
        while self.running is not None and not self.faults:
            self.turn()
        self.is_wanted = True
        while self.is_wanted and not self.faults:
            self.turn()


def _errand(disk: SimDisk, settings: C) -> Errand[C]:
    return Errand(disk, settings, PIPELINE, None, False, Lifeline())


def compacts(run: type[Compaction]) -> Callable[[SimDisk], None]:
    return lambda disk: run(_errand(disk, CompactorConfig())).work()


def validates(clock: SimClock) -> Callable[[SimDisk], None]:
    def work(disk: SimDisk) -> None:
        errand = _errand(disk, ValidatorConfig(klines=False))
        waits, hour.LOOK_AGAIN_S = hour.LOOK_AGAIN_S, 0.0  # nobody else would go on while it sleeps
        try:
            examine(errand, Validation(errand, clock.truth))
        finally:
            hour.LOOK_AGAIN_S = waits

    return work
