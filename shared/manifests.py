"""What the compactor says of a closed day: read as it was written, or not at all.

A byte that turned in it must neither end who reads it nor send him to another file.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from shared import hidden, paths
from shared.files import Disk

Path = Annotated[str, msgspec.Meta(pattern=r"^(?:[\w%=-][\w%=.-]*/)*[\w%=-][\w%=.-]*$")]
"""A path inside the lake, as our own names are made."""


class Listed(msgspec.Struct):
    """A file that a manifest or certificate vouches for."""

    path: Path
    size: int
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Removed(msgspec.Struct):
    """The hours whose lines the user has removed: their ticks stand for them."""

    hours: list[int] = []
    by: str = "the user"
    at: str = ""
    """When it was accepted, UTC."""


class _Relied(msgspec.Struct):
    """What its readers rely on."""

    issue: int
    replaces: str | None
    checksums: str
    files: list[Listed]
    raw_hours: list[int]
    removed: Removed = msgspec.field(default_factory=Removed)


def read(disk: Disk, venue: str, symbol: str, date: str) -> dict[str, Any]:
    """As it stands; empty where there is none that can be read."""
    try:
        said = hidden.read(disk, paths.manifest_file(venue, symbol, date))
        found = msgspec.json.decode(said, type=dict[str, Any])
        msgspec.convert(found, _Relied)
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found
