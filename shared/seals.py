"""Seals: size and checksum of every file that a stage has finished and that nobody has folded yet.

They are what start-up holds the files against: a byte that turned on the disk makes a wrong price as easily as a broken
line. Two slots beside the checkpoint, stored whenever a file is finished, before the checkpoint that counts on it.
"""

from __future__ import annotations

import zlib

import msgspec
from loguru import logger

from shared.checkpoint import Checkpoint, newest_payload
from shared.files import Disk
from shared.journal import HEADER, segment_path, segments

MOST_CHECKED = 256 << 20
"""Bytes that start-up reads again, the newest files first."""


class Seal(msgspec.Struct, array_like=True):
    """One finished file."""

    size: int
    crc: int
    first: int
    """Number of the first record in it: from there on it can be written again, if the journal still reaches so far."""
    end: int
    """Record time until which it may be looked after here."""
    revised: int = 0
    """How often its content was replaced since."""


class Seals:
    """The seals of one stage and journal. `load` comes before all else."""

    def __init__(self, disk: Disk, base: str) -> None:
        self._disk = disk
        self._slots = Checkpoint(disk, base)
        self.of: dict[str, Seal] = {}

    def load(self) -> None:
        self.of = _decoded(self._slots.load())

    def store(self, before: int) -> None:
        """Durable when it returns. What was over by then is forgotten: it is somebody else's."""
        self.of = {path: seal for path, seal in self.of.items() if seal.end > before}
        self._slots.store(msgspec.msgpack.encode(self.of))

    def broken(self) -> dict[str, Seal]:
        """Those whose files are not as they were. One that is not there any more was folded, or never got its name."""
        found, read = {}, 0
        for path, seal in sorted(self.of.items(), key=lambda item: -item[1].end):
            size = self._disk.size(path)
            if size is None:
                del self.of[path]
                continue
            read += seal.size
            if size != seal.size or (read <= MOST_CHECKED and zlib.crc32(self._disk.read(path)) != seal.crc):
                found[path] = seal
        return found


def ends_before(disk: Disk, journal: str) -> int:
    """A number that no record of a journal exceeds, whatever of it can be read; 0 where there is none."""
    for stage in disk.list("journal"):
        folder = f"journal/{stage}/{journal}"
        found = segments(disk, folder)
        if found:  # each number stands for a header or for an event, which is no shorter
            return found[-1] + (disk.size(segment_path(folder, found[-1])) or 0) // HEADER.size
    return 0


def newest(disk: Disk, base: str) -> dict[str, Seal]:
    """What the newest seals of somebody else say."""
    return _decoded(newest_payload(disk, base))


def _decoded(data: bytes | None) -> dict[str, Seal]:
    try:
        return {} if data is None else msgspec.msgpack.decode(data, type=dict[str, Seal])
    except (ValueError, RecursionError):
        logger.warning("the seals are of another version: nothing is checked")
        return {}


def reaches(disk: Disk, journal: str, first: int) -> bool:
    """Whether a journal, whoever writes it, still holds the record `first` and what follows."""
    for stage in disk.list("journal"):
        found = segments(disk, f"journal/{stage}/{journal}")
        if found:
            return found[0] <= first
    return False
