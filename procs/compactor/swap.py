"""Old files for new ones, so that a reader never sees a row twice and a kill at any instant loses none.

1. The new files are written beside the old ones under names no reader looks for, and verified by reading them back.
2. An intent is written that names them all: from here on the swap is finished, whoever finishes it.
3. The old files take names no reader looks for; where that fails (Windows, an open notebook) all is put back.
4. The new files take their names, the old ones are removed, the intent goes.

`recover`, at the next start, does what is left of 3 and 4.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec
from loguru import logger

from shared.files import TMP, Disk, checksum
from shared.hidden import NEW, OLD, beside
from shared.quarantine import set_aside

if TYPE_CHECKING:
    import pyarrow as pa

HOME = "journal/compactor"


class NotAsWritten(OSError):
    """What was read back is not what was written."""


class Made(msgspec.Struct, frozen=True):
    """A new file that waits for its name."""

    path: str
    size: int
    sha256: str


class Intent(msgspec.Struct, frozen=True):
    """A swap: `makes` take their names in this order."""

    makes: list[Made]
    drops: list[str]


class Swap:
    """One swap. `bytes` and `table` as often as needed, `drop` likewise, then `commit`."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._makes: list[Made] = []
        self._drops: list[str] = []

    def bytes(self, path: str, data: bytes) -> Made:
        """A new file of these bytes."""
        new = beside(path, NEW)
        self._disk.write(new, data)
        return self._made(path, hashlib.sha256(data).hexdigest())

    def table(self, path: str, table: pa.Table, **options: Any) -> Made:
        """A new Parquet file of this table."""
        new = beside(path, NEW)
        self._disk.write_table(new, table, **options)
        if not self._disk.read_table(new).equals(table):
            raise NotAsWritten(f"{new}: the rows read back are not those that were written")
        return self._made(path, None)

    def groups(self, path: str, schema: pa.Schema, rows: Callable[[], Iterator[pa.Table]], **options: Any) -> Made:
        """A new Parquet file of the tables that `rows` gives, a row group each; it gives them twice, to compare."""
        new = beside(path, NEW)
        self._disk.write_groups(new, schema, rows(), **options)
        for written, read in zip_longest(rows(), self._disk.read_groups(new)):
            if written is None or read is None or not read.equals(written):
                raise NotAsWritten(f"{new}: the rows read back are not those that were written")
        return self._made(path, None)

    def _made(self, path: str, expected: str | None) -> Made:
        new = beside(path, NEW)
        digest = checksum(self._disk, new)
        if expected not in (None, digest):
            raise NotAsWritten(f"{new}: the bytes read back are not those that were written")
        made = Made(path, self._disk.size(new) or 0, digest)
        self._makes.append(made)
        return made

    def drop(self, path: str) -> None:
        """An old file to go; one whose name a new file takes may be named here or not."""
        self._drops.append(path)

    def commit(self) -> bool:
        """Whether it was done. False where an old file is in use: nothing has changed, try again another time."""
        taken = [made.path for made in self._makes if self._disk.size(made.path) is not None]
        intent = Intent(self._makes, sorted({*self._drops, *taken}))
        path = f"{HOME}/intent-{self._name}.json"
        _sync(self._disk, intent)
        self._disk.write(path + TMP, _packed(intent))
        self._disk.rename(path + TMP, path)
        self._disk.sync_dir(HOME)
        return _finish(self._disk, path, intent)


def recover(disk: Disk) -> None:
    """Finishes the swaps that a kill has interrupted."""
    for name in disk.list(HOME):
        path = f"{HOME}/{name}"
        if name.startswith("intent-") and name.endswith(TMP):
            disk.remove(path)
        elif name.startswith("intent-"):
            logger.info(f"finishing {name.removeprefix('intent-').removesuffix('.json')}, which was interrupted")
            intent = _unpacked(disk.read(path))
            if intent is None:
                set_aside(disk, path, "this intent cannot be read: what it hid is there as old_….tmp")
            else:
                _finish(disk, path, intent)


def _packed(intent: Intent) -> bytes:
    """With its checksum, twice: a byte that turns in a path would have another file removed."""
    said = msgspec.json.encode(intent)
    return b"%08x %s\n" % (zlib.crc32(said), said) * 2


def _unpacked(data: bytes) -> Intent | None:
    half = len(data) // 2
    for one in (data[:half], data[half:]):
        check, said = one[:8], one[9:-1]
        if check == b"%08x" % zlib.crc32(said):
            return msgspec.json.decode(said, type=Intent)
    return None


def sweep(disk: Disk, folder: str) -> None:
    """Removes new files that no intent came to name. Only after `recover`."""
    for name in disk.list(folder):
        if name.startswith(NEW) and name.endswith(TMP):
            _remove_new(disk, f"{folder}/{name}")


def _remove_new(disk: Disk, path: str) -> None:
    try:
        disk.remove(path)
    except PermissionError:  # a virus scanner looks at it: no reader does, and it is swept another time
        logger.debug(f"{path}: still open")


def _finish(disk: Disk, path: str, intent: Intent) -> bool:
    standing = {made.path for made in intent.makes if _stands(disk, made, intent)}
    waiting = [made for made in intent.makes if made.path not in standing]
    if not all(_is(disk, beside(made.path, NEW), made) for made in waiting):
        logger.error(f"{path}: a new file is not as it was written; the old ones stay")
        _put_back(disk, path, intent)
        return False
    try:
        if waiting:
            _hide(disk, intent, standing)
        for made in waiting:
            disk.rename(beside(made.path, NEW), made.path)
    except PermissionError as error:
        logger.warning(f"{path}: {error}; everything stays as it is until next time")
        _put_back(disk, path, intent)
        return False
    _clean_up(disk, path, intent)
    return True


def _stands(disk: Disk, made: Made, intent: Intent) -> bool:
    """Whether a new file has taken its name. An old one of the same bytes has not: it goes with the others."""
    new, old = (disk.size(beside(made.path, prefix)) is not None for prefix in (NEW, OLD))
    is_old = new and not old and made.path in intent.drops
    return not is_old and _is(disk, made.path, made)


def _is(disk: Disk, path: str, made: Made) -> bool:
    return disk.size(path) == made.size and checksum(disk, path) == made.sha256


def _hide(disk: Disk, intent: Intent, standing: set[str]) -> None:
    """Durable when it returns: once a new file is seen to stand, every old one is known to be out of sight."""
    for old in intent.drops:
        # Hidden already: whatever bears its name now came later and is none of ours.
        if old not in standing and disk.size(beside(old, OLD)) is None and disk.size(old) is not None:
            disk.rename(old, beside(old, OLD))
    _sync(disk, intent)


def _put_back(disk: Disk, path: str, intent: Intent) -> None:
    for made in intent.makes:
        hidden = disk.size(beside(made.path, OLD)) is not None
        if (hidden or made.path not in intent.drops) and _is(disk, made.path, made):
            disk.remove(made.path)
    for old in intent.drops:
        if disk.size(beside(old, OLD)) is not None:
            disk.rename(beside(old, OLD), _free_name(disk, old))
    _sync(disk, intent)
    for made in intent.makes:
        _remove_new(disk, beside(made.path, NEW))
    _forget(disk, path)


def _free_name(disk: Disk, path: str) -> str:
    """`path`, or where a late file has taken that name meanwhile, one with a number."""
    stem, dot, ending = path.rpartition("/")[2].partition(".")
    names = (f"{path.rpartition('/')[0]}/{stem}_{k}{dot}{ending}" for k in range(1, 10_000))
    return next(name for name in (path, *names) if disk.size(name) is None)


def _clean_up(disk: Disk, path: str, intent: Intent) -> None:
    """The new files have their names, durably, before the old ones are gone for good."""
    _sync(disk, intent)
    try:
        for old in intent.drops:
            disk.remove(beside(old, OLD))
    except PermissionError:  # opened before it was renamed: no reader finds it any more, it goes next time
        logger.debug(f"{path}: an old file is still open")
        return
    _sync(disk, intent)  # one that came back when no intent names it any more would stand in a later swap's way
    _forget(disk, path)


def _forget(disk: Disk, path: str) -> None:
    """Durably: an intent that came back after a later swap would undo it."""
    disk.remove(path)
    disk.sync_dir(HOME)


def _sync(disk: Disk, intent: Intent) -> None:
    for folder in sorted({path.rpartition("/")[0] for path in (*intent.drops, *(made.path for made in intent.makes))}):
        # One that was emptied and removed holds no name that could come back; the intent itself may have.
        with contextlib.suppress(FileNotFoundError):
            disk.sync_dir(folder)
