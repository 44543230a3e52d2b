"""A pause that the venue's REST asked for, kept over restarts: asking on would earn a ban."""

from __future__ import annotations

from typing import Final

import msgspec

from procs.ingest import keepsake
from shared.files import Disk
from shared.rest import LONGEST_PAUSE_S

SECOND: Final = 1_000_000_000


class Pause:
    """Of one source."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._path = f"{folder}/pause.json"

    def left(self, wall: int) -> int:
        """Nanoseconds that are left of it; 0 where there is none. A clock that was set makes it no longer."""
        data = keepsake.read(self._disk, self._path)
        try:
            until, longest = msgspec.json.decode(data or b"[0,0]", type=tuple[int, int])
        except (ValueError, RecursionError):
            return 0
        return max(0, min(until - wall, longest, int(LONGEST_PAUSE_S) * SECOND))

    def keep(self, wait_s: float, wall: int) -> None:
        """From now on, so long."""
        wait = int(wait_s * SECOND)
        keepsake.write(self._disk, self._path, msgspec.json.encode((wall + wait, wait)))
