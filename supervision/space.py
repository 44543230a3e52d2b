"""The disk under watch: batches wait, the reserve is let go and made again, and who died for want of room is told.

The rules are `shared/room.py`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from loguru import logger

from shared.lifecycle import SECOND
from shared.room import BATCHES, MB, RECEIVING, RESERVE, Room
from supervision import machine

LOOK_EVERY = SECOND
_CHUNK = 1 << 20


class Space:
    """The disk of a lake. `turn` looks once a second."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._reserve = lake / "run" / "reserve"
        self._batches, self._receiving = Room(BATCHES), Room(RECEIVING)
        self._looked: int | None = None

    @property
    def batches_wait(self) -> bool:
        return self._batches.short

    def turn(self, now: int) -> bool:
        """Whether there is room again after there was none: then nobody need wait any longer."""
        if self._looked is not None and now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        try:
            free, total = machine.disk(self._lake)
        except OSError:
            return False
        could_wait, had_none = self._batches.short, self._receiving.short
        if self._batches.look(free, total) != could_wait:
            self._say_batches(free)
        if self._receiving.look(free, total):
            if not had_none:
                self._let_go(free)
        elif free - RESERVE.least(total) >= 2 * BATCHES.least(total):
            self._keep_back(RESERVE.least(total))
        return had_none and not self._receiving.short

    def _say_batches(self, free: int) -> None:
        if self._batches.short:
            logger.warning("the disk is nearly full ({} MB are free): batches wait", free // MB)
        else:
            logger.info("there is room on the disk again: batches go on")

    def _let_go(self, free: int) -> None:
        """What was received is to be made durable; nothing more is received until somebody makes room."""
        logger.error("the disk is full ({} MB are free): nothing more is received until there is room", free // MB)
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def _keep_back(self, size: int) -> None:
        """Real blocks, not a hole in a file."""
        if self._reserve.exists():
            return
        tmp = self._reserve.with_suffix(".tmp")
        try:
            with tmp.open("wb", buffering=0) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    for _ in range(0, size, _CHUNK):
                        file.write(bytes(_CHUNK))
            tmp.replace(self._reserve)
        except OSError as error:
            logger.debug("no reserve could be made: {}", error)
            with contextlib.suppress(OSError):
                tmp.unlink(missing_ok=True)

    def close(self) -> None:
        """Who does not run needs no reserve."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
