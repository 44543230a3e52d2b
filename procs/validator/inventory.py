"""The files of a symbol's day with their checksums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared import archive, paths
from shared.barstore import bar_files
from shared.files import Disk, checksum
from shared.hidden import is_hidden


def inventory(
    disk: Disk, venue: str, symbol: str, date: str, manifest: dict[str, Any], before: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """``path size sha256`` of each that is final, and of all that a closed day's manifest names.

    Lines that were summed up `before` never change under their name.
    """
    known = {
        (file["path"], file["size"]): file["sha256"] for file in before if file["path"].endswith((".jsonl", ".zst"))
    }
    closed = {file["path"]: file for file in manifest.get("files", ())}
    found = []
    for path in sorted({*names(disk, venue, symbol, date), *closed}):
        size = disk.size(path)
        if path in closed and closed[path]["size"] == size:
            found.append({key: closed[path][key] for key in ("path", "size", "sha256")})
            continue
        try:
            digest = known.get((path, size)) or checksum(disk, path)
        except FileNotFoundError:  # folded while we looked: the next run names what it became
            continue
        found.append({"path": path, "size": size, "sha256": digest})
    return found


def names(disk: Disk, venue: str, symbol: str, date: str) -> list[str]:
    """The final files of lines, feed and bars; what is still being written is none, nor what a swap is about to
    replace.
    """
    found = []
    for folder in (paths.raw_dir(venue, symbol, date), paths.feed_dir(venue, date)):
        found += [f"{folder}/{part.name}" for part in archive.parts(disk, folder) if not part.is_open]
    for files in bar_files(disk, venue, symbol, date).values():
        found += files
    return [path for path in found if not is_hidden(path)]


def is_being_written(disk: Disk, venue: str, symbol: str, date: str) -> bool:
    """Whether a file of lines is open, or was left open by a kill."""
    folders = (paths.raw_dir(venue, symbol, date), paths.feed_dir(venue, date))
    return any(part.is_open for folder in folders for part in archive.parts(disk, folder))
