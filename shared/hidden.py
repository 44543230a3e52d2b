"""Files that a swap has hidden: as long as the new one waits for its name, they are what there is.

The compactor hides the old files of a swap one by one before the new ones take their names, and may be stopped or
killed in between. A reader that went by plain names alone would take a part of an hour for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.files import TMP, Disk

S = TypeVar("S")
T = TypeVar("T")

NEW, OLD = "new_", "old_"
"""Before a name, with TMP behind it: neither ``part_*`` nor ``*.parquet`` matches such a name."""


def beside(path: str, prefix: str) -> str:
    """The path under which a file waits for its name (`NEW`), or is hidden (`OLD`)."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{prefix}{name}{TMP}"


def is_hidden(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(OLD) and name.endswith(TMP)


def plain(name: str) -> str:
    """The name that a hidden file had; any other name as it is."""
    return name[len(OLD) : -len(TMP)] if is_hidden(name) else name


def waiting(names: Iterable[str]) -> list[str]:
    """The names that new files among these wait for.

    The first rename of a new file comes after all old ones are hidden, durably: from then on those count for nothing,
    even where one of them cannot be removed yet.
    """
    return [name[len(NEW) : -len(TMP)] for name in names if name.startswith(NEW) and name.endswith(TMP)]


def read(disk: Disk, path: str) -> bytes:
    """What `path` stands for. Raises FileNotFoundError."""
    for _ in range(_LOOKS):
        try:
            return disk.read(where(disk, path))
        except FileNotFoundError:  # or renamed while we looked
            continue
    return disk.read(path)


_LOOKS = 5


def reread(read: Callable[[S], T], seen: Callable[[], S]) -> T:
    """What `read` makes of what is `seen`. A swap renames file after file: where one is not where it was seen, all are
    read again, as long as what is `seen` changes, and a few times where it does not. Raises FileNotFoundError.
    """
    looks = 0
    while True:
        before = seen()
        try:
            return read(before)
        except FileNotFoundError:
            looks += 1
            if looks >= _LOOKS and seen() == before:
                raise


def where(disk: Disk, path: str) -> str:
    """Where what `path` stands for is to be read: there, or where a swap that is not through has hidden it."""
    if disk.size(path) is None and disk.size(beside(path, NEW)) is not None:
        old = beside(path, OLD)
        return old if disk.size(old) is not None else path
    return path
