"""One stage under watch: its process, its life, its last heartbeat, and what is to be said about it."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from loguru import logger

from shared import lifecycle
from shared.events import Beat
from shared.lifecycle import SECOND, Do, Life, State
from shared.logs import escape
from shared.topology import Node
from supervision import machine
from supervision.children import last_error, size_of

RATE_BEATS = 10
"""Events a second are taken over so many heartbeats."""
NOTE_AGAIN = 60 * SECOND
NOTE_APART = 5 * SECOND

_DIGITS = re.compile(r"\d+")


class Process(Protocol):
    """A child process (children.Child), or what a test puts in its place."""

    pid: int

    def exit_code(self) -> int | None: ...

    def drain(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout_s: float) -> None: ...

    def last_words(self) -> str: ...


Spawn = Callable[[Sequence[str], Path], Process]


class Watched:
    """Carries out what `lifecycle` decides for one stage."""

    def __init__(self, node: Node, command: Sequence[str], lake: Path, spawn: Spawn) -> None:
        self.node = node
        self.name = node.name
        self.life = Life()
        self.beat: Beat | None = None
        self.positions: dict[str, int] = {}
        self.given: dict[str, int] = {}
        """What it last said it had taken and given, by journal: its death does not make it unsaid."""
        self.process: Process | None = None
        self._command = command
        self._said = lake / "run" / "said" / f"{node.name}.txt"
        self._log = lake / "logs" / f"{node.name}.log"
        self._log_from = 0
        self._spawn = spawn
        self._rates: deque[tuple[int, int, int]] = deque(maxlen=RATE_BEATS)
        self._flows = False
        self._note, self._noted = "", -NOTE_AGAIN

    # --- what happens to it ---

    def take_beat(self, beat: Beat, now: int) -> None:
        # On Windows the interpreter of a venv is a child of the process that was started.
        if self.process is None or (beat.pid != self.process.pid and sys.platform != "win32"):
            return
        before = self.life.state
        self.beat = beat
        self.positions |= beat.positions
        self.given |= beat.given
        self.life = lifecycle.beaten(self.life, now, beat.phase)
        if before != State.RUNNING and self.life.state == State.RUNNING:
            logger.info("{} runs (process {})", self.name, beat.pid)
        counters = beat.counters
        self._rates.append((now, counters.get("events_in", 0), counters.get("events_out", 0)))
        if self.node.section == "sources" and not self._flows and counters.get("events_out"):
            self._flows = True
            logger.info("{} receives", self.name)
        self._take_note(beat.note, now)

    def _take_note(self, note: str, now: int) -> None:
        """What a stage wants people to know: once when it changes, then once a minute. Only its numbers are none."""
        note = escape(note)
        apart = now - self._noted
        is_new = _DIGITS.sub("", note) != _DIGITS.sub("", self._note)
        if note and (apart >= NOTE_AGAIN or (is_new and apart >= NOTE_APART)):
            logger.warning("{}: {}", self.name, note)
            self._note, self._noted = note, now
        elif not note and self._note:
            logger.info("{}: over: {}", self.name, self._note)
            self._note, self._noted = "", -NOTE_AGAIN

    def take_exit(self, now: int, chance: float) -> bool:
        """Whether its process has gone since the last look."""
        if self.process is None or (code := self.process.exit_code()) is None:
            return False
        was, words = self.life, self.process.last_words() or last_error(self._log, self._log_from)
        self.process, self.beat = None, None
        self._rates.clear()
        # A source whose recording is over leaves unasked, with exit 0. Nobody else does: a stage that somebody told to
        # drain (a signal from a terminal) is wanted back.
        over = self.node.section == "sources" and self.node.options.get("replay") is True
        self.life = lifecycle.exited(self.life, now, code, chance, over)
        self._say_exit(was, code, words, now)
        return True

    def _say_exit(self, was: Life, code: int, words: str, now: int) -> None:
        why = f": {words}" if words and code else ""
        again = f", again in {((self.life.due or now) - now) / SECOND:.1f} s"
        state = self.life.state
        if state == State.ENDED:
            logger.info("{} has come to its end", self.name)
        elif state == State.FAILED:
            logger.error("{} cannot run with these settings{}", self.name, why)
        elif was.state == State.DRAINING:
            logger.info("{} stopped{}", self.name, f" (exit {code})" if code else "")
        elif self.life.alarm:
            deaths = len(self.life.deaths)
            logger.error("{} died {} times in five minutes (exit {}){}{}", self.name, deaths, code, why, again)
        else:
            logger.warning("{} died (exit {}){}{}", self.name, code, why, again)

    def look(self, now: int) -> None:
        """Starts it or kills it where its time has come."""
        state = self.life.state
        self.life, do = lifecycle.looked(self.life, now)
        if do == Do.START:
            self._start(now)
        elif do == Do.KILL and self.process is not None:
            says = "did not drain in time" if state == State.DRAINING else "hangs: no heartbeat"
            logger.warning("{} {}; killed", self.name, says)
            self.process.kill()

    def _start(self, now: int) -> None:
        self._flows = False
        self._log_from = size_of(self._log)
        try:
            self.process = self._spawn(self._command, self._said)
        except OSError as error:  # no memory, no descriptors, full disk: as if it had died at once
            logger.error("{} cannot be started: {}", self.name, error)
            self.life = lifecycle.exited(lifecycle.started(self.life, now), now, 1, 0.5, ended=False)
            return
        self.life = lifecycle.started(self.life, now)
        logger.debug("{} starts (process {})", self.name, self.process.pid)

    # --- what is asked of it ---

    def start(self, now: int) -> None:
        self.life = lifecycle.asked_to_start(self.life, now)

    def stop(self, now: int, allowed: int = lifecycle.DRAIN_ALLOWED) -> None:
        self._drain(lifecycle.asked_to_stop(self.life, now, allowed))

    def restart(self, now: int) -> None:
        self._drain(lifecycle.asked_to_restart(self.life, now))

    def _drain(self, life: Life) -> None:
        if self.process is not None and self.life.state != State.DRAINING and life.state == State.DRAINING:
            self.process.drain()
        self.life = life

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    # --- what is said of it ---

    def row(self, now: int, backlog: int | None = None) -> dict[str, Any]:
        """One line of `status`."""
        beat, process = self.beat, self.process
        pid = beat.pid if beat else process.pid if process else None
        incoming, outgoing = self._per_second()
        due = self.life.due if self.life.state == State.BACKING_OFF else None
        return {
            "stage": self.name,
            "run": self.node.run,
            "section": self.node.section,
            "state": str(self.life.state),
            "pid": pid,
            "uptime_s": round((now - self.life.since) / SECOND, 1) if self.life.alive else None,
            "again_in_s": round(max(0, due - now) / SECOND, 1) if due is not None else None,
            "restarts": self.life.restarts,
            "alarm": self.life.alarm,
            "events_in_s": incoming,
            "events_out_s": outgoing,
            "backlog": backlog,
            "last_event_ns": beat.ts or None if beat else None,
            "memory_bytes": machine.memory(pid) if pid is not None else None,
            "counters": beat.counters if beat else {},
            "note": escape(beat.note) if beat else "",
        }

    def _per_second(self) -> tuple[float | None, float | None]:
        if len(self._rates) < 2 or self._rates[-1][0] <= self._rates[0][0]:
            return None, None
        (begin, in_0, out_0), (end, in_1, out_1) = self._rates[0], self._rates[-1]
        seconds = (end - begin) / SECOND
        return round((in_1 - in_0) / seconds, 1), round((out_1 - out_0) / seconds, 1)
