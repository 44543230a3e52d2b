"""A file of the archive that is not closed yet, and what is not written to it yet."""

from __future__ import annotations

from shared.appender import Appender
from shared.files import Disk
from shared.kernels import crc32

BUFFER_BYTES = 1 << 18
"""So much waits at most …"""
DIRECT_BYTES = 1 << 17
"""… and what is longer than this does not wait at all: to write it is little beside it, and it is still in the
caches."""
FORGET_BYTES = 1 << 19
"""Of a minute at which this is little, nothing is forgotten: the hour will be read once more, to be folded."""


class OpenFile:
    """What is appended waits, until `write`. Its descriptor is held between two writes; `release` lets it go."""

    __slots__ = ("_file", "crc", "end", "first", "fresh", "known", "lines", "path", "size", "unsynced", "waiting")

    def __init__(self, path: str, end: int, first: int, size: int = 0, crc: int | None = 0) -> None:
        self._file: Appender | None = None
        self.path = path
        self.end = end
        self.first = first
        """Number of the first record that it may hold something of."""
        self.size = size
        self.crc = crc
        """Of its bytes; None where nobody knows."""
        self.known: set[str] | None = None
        """Lines that stand on disk already, where that is in doubt."""
        self.lines: list[bytes] = []
        """One or many in each."""
        self.waiting = 0
        """How many bytes they are."""
        self.unsynced = False
        self.fresh = True
        """Its name is not durable yet."""

    def add(self, data: bytes) -> None:
        self.lines.append(data)
        self.waiting += len(data)

    @property
    def is_held(self) -> bool:
        """Whether it has a descriptor."""
        return self._file is not None

    def write(self, disk: Disk, more: bytes | memoryview = b"") -> int:
        """Appends what waits, and `more` behind it; how many bytes. Raises OSError, after which the process must
        end.
        """
        data = b"".join([*self.lines, more]) if self.lines else more
        if self._file is None:
            self._file = disk.appender(self.path)
        self._file.write(data)
        self._file.forget(FORGET_BYTES)
        self.size = self._file.size
        self.crc = None if self.crc is None else crc32(data, self.crc)
        self.unsynced = True
        self.lines.clear()
        self.waiting = 0
        return len(data)

    def release(self) -> None:
        """Holds nothing: a page of healed trades of a quiet symbol may concern a thousand minutes."""
        if self._file is not None:
            self._file.forget(FORGET_BYTES)
            self._file.close()
            self._file = None
