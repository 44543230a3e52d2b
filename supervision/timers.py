"""Batches: started when their time has come, one run of each at a time; they leave when the mesh stops.

A batch is safe to kill at any instant and does what is left at its next start, so one that was killed is started again
at once; one that ended with exit 1 has said what it found (the validator) or what failed, and waits for its time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from shared import config
from shared.backoff import ceiling
from shared.lifecycle import FIRST_DELAY, LONGEST_DELAY, SECOND, Moment
from shared.schedule import Schedule
from shared.topology import Node
from supervision import machine
from supervision.children import last_error, size_of
from supervision.prompts import COMPACTOR, Prompts
from supervision.watched import Process, Spawn

FOLDS_EVERY = {"compactor": 180}
"""Seconds between runs beside those in the file: hours are folded as they are sealed, and a killed run is mended."""
FIRST_RUN = 20 * SECOND
"""After the start: the live stages come first."""
LONGEST_RUN = 6 * 3600 * SECOND
PROMPTS_APART = 10 * SECOND
"""Between the end of a run and one before its time; and never less than that run took."""


class Batch:
    """One entry under ``batches``."""

    def __init__(
        self, node: Node, command: Sequence[str], lake: Path, spawn: Spawn, now: Moment, last_wall: int
    ) -> None:
        self.node = node
        self.name = node.name
        self.schedule = self._with_folding(config.schedule(node))
        self.process: Process | None = None
        self.exit_code: int | None = None
        self._command, self._spawn = command, spawn
        self._said = lake / "run" / "said" / f"{node.name}.txt"
        self._log = lake / "logs" / f"{node.run}.log"  # by hand or by timer, it writes the same log
        self._log_from = 0
        self._begun = now.mono
        self._first = now.mono + FIRST_RUN if node.run in FOLDS_EVERY else None
        self._last_wall = last_wall
        self._deaths = 0
        self._again: int | None = None
        self._cut_short = False
        self._prompted = self._is_prompted_run = False
        self._ended = now.mono + FIRST_RUN - PROMPTS_APART  # as if: nothing is prompted before the first run either

    def _with_folding(self, schedule: Schedule) -> Schedule:
        folds = FOLDS_EVERY.get(self.node.run)
        if folds is None or (schedule.every_s or folds + 1) <= folds:
            return schedule
        return Schedule(folds, schedule.daily_at_s)

    @property
    def last_wall(self) -> int:
        return self._last_wall

    def due(self, now: Moment) -> bool:
        if self.process is not None:
            return False
        if self._again is not None:
            return now.mono >= self._again
        if self._first is not None and now.mono >= self._first:
            return True
        if self._prompted and now.mono - self._ended >= max(PROMPTS_APART, self._ended - self._begun):
            return True
        return self.schedule.every_due(self._begun, now.mono) or self.schedule.daily_due(self._last_wall, now.wall)

    def prompt(self) -> None:
        """It runs as soon as it may: something waits for it."""
        self._prompted = True

    def take_prompted_end(self) -> bool:
        """Whether a run that was prompted has ended since this was asked last."""
        is_over = self._is_prompted_run and self.process is None
        self._is_prompted_run = self._is_prompted_run and not is_over
        return is_over

    def start(self, now: Moment) -> None:
        self._begun, self._last_wall = now.mono, now.wall
        self._is_prompted_run, self._prompted = self._prompted, False
        self._first = self._again = None
        self._log_from = size_of(self._log)
        try:
            self.process = self._spawn(self._command, self._said)
            logger.debug("{} starts (process {})", self.name, self.process.pid)
        except OSError as error:
            logger.error("{} cannot be started: {}", self.name, error)

    def look(self, now: Moment) -> None:
        """Notes its end; ends it where it has no end of its own."""
        if self.process is None:
            return
        code = self.process.exit_code()
        self._ended = now.mono
        if code is None:
            if now.mono - self._begun > LONGEST_RUN:
                logger.error("{} has run for six hours; killed", self.name)
                self.process.kill()
            return
        words = last_error(self._log, self._log_from, ("WARNING", "ERROR")) or self.process.last_words()
        if self._cut_short:
            self._cut_short, self._again = False, now.mono
        self.process, changed, self.exit_code = None, code != self.exit_code, code
        if code in (0, 1, 2):
            self._deaths = 0
            if code and changed:
                logger.warning("{} ended with exit {}: {}", self.name, code, words)
            return
        wait = ceiling(self._deaths, FIRST_DELAY, LONGEST_DELAY)
        self._deaths += 1
        self._again = now.mono + wait
        logger.warning("{} died (exit {}), again in {:.1f} s", self.name, code, wait / SECOND)

    def drain(self) -> None:
        if self.process is not None:
            self.process.drain()

    def interrupt(self) -> None:
        """It leaves now, and does the rest as soon as batches go on."""
        self._cut_short = self.process is not None
        self.drain()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def row(self, now: Moment) -> dict[str, Any]:
        state = "running" if self.process else "waiting" if self.exit_code in (None, 0) else f"exit {self.exit_code}"
        pid = self.process.pid if self.process else None
        return {
            "stage": self.name,
            "run": self.node.run,
            "section": "batches",
            "state": state,
            "pid": pid,
            "uptime_s": round((now.mono - self._begun) / SECOND, 1) if self.process else None,
            "last_run_ns": self._last_wall or None,
            "memory_bytes": machine.memory(pid) if pid is not None else None,
        }


class Timers:
    """All batches of a mesh."""

    def __init__(
        self, nodes: Sequence[Node], command: Callable[[Node], Sequence[str]], lake: Path, spawn: Spawn, now: Moment
    ):
        self._file = lake / "run" / "batches.json"
        self._waits = False
        self._prompts = Prompts(lake)
        last = self._remembered()
        self.batches = [
            # One that never ran is not late: its first time of day is the next one.
            Batch(node, command(node), lake, spawn, now, last.get(node.name, now.wall))
            for node in nodes
        ]

    def turn(self, now: Moment, waits: bool = False) -> None:
        """Starts what is due, unless all of them wait (for room on the disk, so that what is received still has it)."""
        for batch in self.batches:
            batch.look(now)
            if waits and not self._waits:
                batch.interrupt()
        self._waits = waits
        self._prompt(now)
        due = [batch for batch in self.batches if batch.due(now)]
        if not due or waits:
            return
        for batch in due:
            batch.start(now)
        self._remember()

    def count(self, stage: str, pid: int, counters: Mapping[str, int], now: Moment) -> None:
        """What a stage's heartbeat counts: rows that came too late for it have the validator look."""
        self._prompts.count(stage, pid, counters, now.mono)

    def _prompt(self, now: Moment) -> None:
        for batch in self.batches:
            if batch.node.run == COMPACTOR and batch.take_prompted_end():
                self._prompts.installed()
        wanted = self._prompts.take(now.mono)
        for batch in self.batches:
            if batch.node.run in wanted:
                batch.prompt()

    def run_now(self, name: str, now: Moment) -> bool:
        """On request. False where it runs already."""
        for batch in self.batches:
            if batch.name == name and batch.process is None:
                batch.start(now)
                return True
        return False

    def drain(self) -> None:
        """All that run leave after the piece of work they are at."""
        for batch in self.batches:
            batch.drain()

    def kill(self) -> None:
        for batch in self.batches:
            batch.kill()

    @property
    def alive(self) -> bool:
        return any(batch.process is not None for batch in self.batches)

    def look(self, now: Moment) -> None:
        for batch in self.batches:
            batch.look(now)

    def _remembered(self) -> dict[str, int]:
        """When each batch last ran, over restarts: a machine that was off at 01:30 does it when it is on again."""
        try:
            said = json.loads(self._file.read_bytes())
            return {str(name): int(when) for name, when in said.items()}
        except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            return {}

    def _remember(self) -> None:
        with contextlib.suppress(OSError):
            tmp = self._file.with_suffix(".tmp")
            tmp.write_text(json.dumps({batch.name: batch.last_wall for batch in self.batches}))
            tmp.replace(self._file)
