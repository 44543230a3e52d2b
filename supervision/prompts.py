"""What has a batch run before its time.

    late rows        a sink or an aggregator counts rows for hours that are closed to it: the validator looks
    waiting work     hours that the validator wants made again, backfills, rebuilt days: the compactor installs them
    work done        the validator says of the day what became of it

All of it would be seen by the timers too, minutes later. Whoever wrote something is its only writer here as well: names
and counters are looked at, nothing is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared import paths, staging
from shared.lifecycle import SECOND
from shared.locks import Held, Lock

LATE = ("late_sealed", "late_trades")
"""Counters of trades that came when nobody but the compactor could put them into their bars."""
QUIET = 5 * SECOND
"""The validator waits until nothing more has come for so long,"""
LONGEST_QUIET = 30 * SECOND
"""but no longer than this from the first."""
LOOK_EVERY = 2 * SECOND
VALIDATOR, COMPACTOR = "validator", "compactor"


class Prompts:
    """`take` says which batches are wanted, each time once."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._counted: dict[str, tuple[int, int]] = {}
        self._first_late: int | None = None
        self._last_late = 0
        self._looked: int | None = None
        self._seen: set[tuple[str, int]] = set()

    def count(self, stage: str, pid: int, counters: Mapping[str, int], now: int) -> None:
        """What a heartbeat counts. A process that was started again counts from zero."""
        count = sum(counters.get(name, 0) for name in LATE)
        known_pid, known = self._counted.get(stage, (pid, 0))
        self._counted[stage] = pid, count
        if count > (known if known_pid == pid else 0):
            self._last_late = now
            if self._first_late is None:
                self._first_late = now

    def installed(self) -> None:
        """A run of the compactor that was prompted is over: its work is to be looked at."""
        self._first_late, self._last_late = self._first_late or 0, 0

    def take(self, now: int) -> set[str]:
        """The runs that are wanted now."""
        wanted = set()
        first = self._first_late
        if first is not None and (now - self._last_late >= QUIET or now - first >= LONGEST_QUIET):
            self._first_late = None
            wanted.add(VALIDATOR)
        if self._looked is None or now - self._looked >= LOOK_EVERY:
            self._looked = now
            waiting = set(self._waiting())
            if waiting - self._seen:
                wanted.add(COMPACTOR)
            self._seen = waiting  # what a run leaves waiting is tried again at the compactor's own time
        return wanted

    def _waiting(self) -> Iterator[tuple[str, int]]:
        """Each with the time at which it was written."""
        yield from _found(self._lake / paths.REQUESTS, "*/*/*.json")
        for name, lock in (("backfill.json", staging.LOCK), ("bars.json", paths.REBUILD_LOCK)):
            staged = set(_found(self._lake / staging.STAGING, f"*/*/*/{name}"))
            # While its maker is at work more will come, and it holds the lock that the compactor needs. Asked for only
            # where something is new: whoever takes a lock to look at it is in the way for that moment.
            if not staged - self._seen or _is_free(self._lake / lock):
                yield from staged
            else:
                yield from staged & self._seen


def _found(folder: Path, pattern: str) -> Iterator[tuple[str, int]]:
    for path in folder.glob(pattern):
        try:
            yield os.fspath(path), path.stat().st_mtime_ns
        except OSError:  # installed, or withdrawn, at this moment
            continue


def _is_free(path: Path) -> bool:
    try:
        Lock(path, "a look").close()
    except (Held, OSError):
        return False
    return True
