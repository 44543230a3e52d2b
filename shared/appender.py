"""One file that is appended to, by its only writer: in one call to the system, durable when the disk has said so."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from shared.aside import Aside

O_BINARY = getattr(os, "O_BINARY", 0)


class Appender(Protocol):
    """One file open for appending by its only writer."""

    @property
    def size(self) -> int: ...

    def write(self, data: bytes | memoryview) -> None:
        """Appends all of `data` in one call to the system, or raises OSError; then the file may end in a torn piece."""

    def sync(self) -> None: ...

    def forget(self, every: int) -> None:
        """What was written is not read again soon: so many bytes at a time, its room in memory may go to what comes
        next. At a rate at which these come often, a page that is new to the machine costs more than what is written to
        it (on a virtual one five times as much), and all memory would soon be full of them.
        """

    def begin_sync(self) -> None:
        """Makes durable what was written so far while the caller goes on; one at a time, and `sync` and `close` wait
        for it. What goes wrong with it is raised by whatever is called next, `write` too.
        """

    @property
    def is_syncing(self) -> bool:
        """Whether what `begin_sync` began is still under way. Raises OSError, what it ended with."""

    def close(self) -> None: ...


class FileAppender:
    def __init__(self, path: Path, pulse: Callable[[], None]) -> None:
        self._pulse = pulse
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | O_BINARY, 0o644)
        self.size = self._handed = self._forgotten = os.fstat(self._fd).st_size
        self._aside: Aside | None = None

    def write(self, data: bytes | memoryview) -> None:
        if self._aside is not None:
            self._aside.check()
        try:
            write_whole(self._fd, data)
        except OSError:
            with contextlib.suppress(OSError):  # start-up cuts it anyway; a reader need not see it until then
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def sync(self) -> None:
        if self._aside is not None:
            self._aside.wait()
        fsync(self._fd)
        self._pulse()

    def forget(self, every: int) -> None:
        if self.size - self._handed < every or not hasattr(os, "posix_fadvise"):
            return
        # The system begins to write what is not on disk yet, and lets go what is: what it was handed the last time.
        with contextlib.suppress(OSError):  # advice: a file system that takes none has lost nothing
            os.posix_fadvise(self._fd, self._forgotten, self.size - self._forgotten, os.POSIX_FADV_DONTNEED)
        self._forgotten, self._handed = self._handed, self.size

    def begin_sync(self) -> None:
        if self._aside is None:
            self._aside = Aside(lambda: fsync(self._fd))
        self._aside.begin()

    @property
    def is_syncing(self) -> bool:
        return self._aside is not None and self._aside.is_busy

    def close(self) -> None:
        try:
            if self._aside is not None:
                self._aside.end()  # the number of a closed file may soon be another's
        finally:
            os.close(self._fd)


def write_whole(fd: int, data: bytes | memoryview) -> None:
    """One call to the system. A write that came short is never gone on with: what shortens it is a full disk."""
    written = os.write(fd, data)
    if written != len(data):
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {written} of {len(data)} bytes written")


def fsync(fd: int) -> None:
    if sys.platform == "darwin":  # plain fsync stops at the drive's cache there
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)
