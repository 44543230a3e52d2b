"""Exclusive locks on folders: kernel locks, so that a killed process never leaves one behind."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import filelock


class Held(Exception):
    """Somebody else has the lock; the text names who."""


class Lock:
    """Takes the lock at once or raises :class:`Held`; released by ``close`` or by the end of the process.

    Who holds it stands in ``<path>.holder``, beside the lock because Windows lets nobody read a locked file. That note
    is for people: it may be stale, and is only read after the lock itself was refused.
    """

    def __init__(self, path: str | Path, what: str = "") -> None:
        self.path = Path(path)
        self._note = self.path.with_name(self.path.name + ".holder")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(str(self.path), thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Held(f"{self.path} is held by {self._holder()}") from None
        with contextlib.suppress(OSError):  # a note that cannot be written (full disk) costs a name, not the lock
            self._note.write_text(json.dumps({"pid": os.getpid(), "what": what, "since": time.time()}))

    def _holder(self) -> str:
        note = holder(self.path)
        if not isinstance(note.get("pid"), int):
            return "another process"
        what = str(note.get("what") or "a process")
        return f"{what}, process {note['pid']}"

    def close(self) -> None:
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._note.unlink()
            self._lock.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def holder(path: str | Path) -> dict[str, Any]:
    """What the holder of a lock wrote about itself; empty when it wrote nothing readable."""
    path = Path(path)
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(path.with_name(path.name + ".holder").read_text())
        if isinstance(note, dict):
            return note
    return {}
