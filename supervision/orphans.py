"""What a killed supervisor left behind: stages that still hold their locks while the next run wants to write.

They leave by themselves, for their standard input has ended: they drain, and the new stage waits at the lock meanwhile.
One that cannot (stopped by a signal, hung) is killed after a while, which is correct at any instant. The lake's lock is
ours by then, so whoever holds a stage's lock and says that he is supervised has no supervisor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil
from loguru import logger

from shared import locks, paths
from shared.lifecycle import SECOND

LEAVING_ALLOWED = 25 * SECOND
"""A stage drains for 15 s at the most, then commits."""
LOOK_EVERY = SECOND // 4


class Orphans:
    """Looked after by the supervisor's loop until the last has gone."""

    def __init__(self, lake: Path, stages: Iterable[str], now: int) -> None:
        self._left = {name: found for name in stages if (found := _orphan(lake, name)) is not None}
        self._until, self._next = now + LEAVING_ALLOWED, now
        for name, process in self._left.items():
            logger.warning("{} of an earlier run is still here (process {}): the new one waits", name, process.pid)

    def __bool__(self) -> bool:
        return bool(self._left)

    def turn(self, now: int) -> None:
        """Notes who has gone, and kills who should have."""
        if not self._left or now < self._next:
            return
        self._next = now + LOOK_EVERY
        for name, process in list(self._left.items()):
            if not _is_there(process):
                logger.info("{} of an earlier run has gone (process {})", name, process.pid)
                del self._left[name]
            elif now >= self._until:
                logger.warning("{} of an earlier run does not leave (process {}); killed", name, process.pid)
                with contextlib.suppress(psutil.Error):
                    process.kill()


def _is_there(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _orphan(lake: Path, stage: str) -> psutil.Process | None:
    """Who the note beside a stage's lock names, if that is such a stage: a note may be old, and ids are used again."""
    pid = locks.holder(lake / paths.stage_lock(stage)).get("pid")
    if not isinstance(pid, int):
        return None
    with contextlib.suppress(psutil.Error, ValueError, OverflowError, IndexError):
        process = psutil.Process(pid)
        words = process.cmdline()
        if "--supervised" in words and words[words.index("--stage") + 1] == stage and _is_there(process):
            return process
    return None
