"""Whether there is room to receive: receiving stops while the journal is full or the disk nearly so, and goes on after.

What is not archived is never deleted for it.
"""

from __future__ import annotations

from loguru import logger

from shared.edges import say_cut_loose
from shared.files import Disk
from shared.journal import Writer
from shared.room import RECEIVING, Room


class Space:
    """Of one source's journal, and of the disk that it is on."""

    def __init__(self, writer: Writer, disk: Disk, most: int) -> None:
        self._writer = writer
        self._disk = disk
        self._most = most
        self._room = Room(RECEIVING)
        self._is_half_full = False
        self.why = ""
        """Why nothing is to be received at the moment; empty while something is."""

    def turn(self) -> None:
        """Once a second: deletes what every consumer has, and looks at what is left."""
        before = set(self._writer.cut_loose)
        self._writer.trim()
        say_cut_loose(self._writer.cut_loose - before)
        held = self._writer.held_bytes
        is_half_full = held > self._most // 2
        if is_half_full and not self._is_half_full:
            logger.error(f"the journal holds {held >> 20} MB of at most {self._most >> 20}: its consumers are behind")
        self._is_half_full = is_half_full
        short = self._room.look(*self._disk.free())
        if held >= self._most or (self.why == "journal full" and held > self._most * 3 // 4):
            self.why = "journal full"
        else:
            self.why = "disk full" if short else ""

    @property
    def note(self) -> str:
        """One line for people."""
        return self.why or ("journal more than half full" if self._is_half_full else "")
