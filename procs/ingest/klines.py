"""The venue's own bars: what its stream says of each that is closed goes to a file for the validator to compare with.

They pass by the journal, for nothing is lost with them: what a kill takes of the last minute is compared with the bars
that REST gives.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from loguru import logger

from shared import klinestore, paths
from shared.files import Disk
from shared.venues import Kline

WRITE_NS: Final = 60 * paths.SECOND
DAYS: Final = 3
"""Kept of each symbol: a day is compared when it is closed."""


class Klines:
    """The bars of one source. `stage` names its folder below ``journal/``."""

    def __init__(self, disk: Disk, stage: str, venue: str) -> None:
        self._disk = disk
        self._stage = stage
        self._venue = venue
        self._waiting: dict[tuple[str, str], list[bytes]] = {}
        self._begun: set[str] = set()
        self._written = 0
        self._is_failing = False
        self.counters = {"klines": 0}

    def take(self, symbol: str, kline: Kline) -> None:
        date = paths.date_of(kline.start)
        self._waiting.setdefault((symbol, date), []).append(klinestore.line(kline))
        self.counters["klines"] += 1

    def turn(self, mono: int) -> None:
        """Writes once a minute."""
        if mono - self._written >= WRITE_NS:
            self._written = mono
            self.write()

    def write(self) -> None:
        """What waits goes to the files; what the disk does not take is dropped and said once."""
        waiting, self._waiting = self._waiting, {}
        try:
            for (symbol, date), lines in waiting.items():
                self._append(symbol, date, b"".join(lines))
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                logger.warning(f"the venue's own bars could not be kept: {error}")
            self._is_failing = True

    def _append(self, symbol: str, date: str, data: bytes) -> None:
        folder = klinestore.folder(self._stage, self._venue, symbol)
        path = f"{folder}/{date}.jsonl"
        if path not in self._begun:
            self._begun.add(path)
            data = b"\n" + data  # a life before may have left a torn line
            self._forget(folder, date)
        appender = self._disk.appender(path)
        try:
            appender.write(data)
        finally:
            appender.close()

    def _forget(self, folder: str, date: str) -> None:
        older = [name for name in self._disk.list(folder) if name < f"{date}.jsonl"]
        for name in older[: 1 - DAYS]:
            with suppress(OSError):  # somebody reads it: next day then
                self._disk.remove(f"{folder}/{name}")
