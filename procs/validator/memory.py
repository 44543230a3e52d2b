"""What was judged of a day's hours, kept from run to run."""

from __future__ import annotations

import msgspec

from procs.validator.hour import Hour, Interval
from shared.files import Disk

VERSION = 3
"""Of the judgement: what another version judged is judged again."""


class Memory(msgspec.Struct):
    """The judgements of a day's hours, kept until the day is closed and settled."""

    version: int = VERSION
    before: Interval | None = None
    """Id and second of the last trade held before the day."""
    follows: bool = False
    """The day before was recorded too."""
    hours: list[Hour] = []
    lead: list[str] = []
    """Names and sizes of the last lines of the day before, as `Hour.files`."""
    lead_hash: str = ""


def remembered(disk: Disk, path: str) -> Memory:
    """Empty where nothing is, or nothing that can be read."""
    try:
        memory = msgspec.json.decode(disk.read(path), type=Memory)
    except (FileNotFoundError, ValueError, RecursionError):
        return Memory()
    return memory if memory.version == VERSION else Memory()
