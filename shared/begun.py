"""Which days a start looks into for files that were begun and came to no checkpoint.

To look into all folders of hundreds of symbols and years would take minutes. Nearly all files are begun around the
checkpoint's own time; the days of others (a machine that slept for long, trades healed from days ago) are noted before.
"""

from __future__ import annotations

import msgspec

from shared import paths
from shared.files import Disk


class Begun:
    """The days of one stage and journal. `load` comes before all else."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self.ts = 0
        """Time of the newest checkpoint; 0 while there is none, and nothing is looked for."""
        self.far: set[str] = set()

    def load(self) -> None:
        try:
            self.far = set(msgspec.json.decode(self._disk.read(self._path), type=list[str]))
        except (FileNotFoundError, ValueError, RecursionError):
            self.far = set()

    def note(self, date: str) -> None:
        """A file of this day is about to be begun. Durable where it has to be."""
        if self.ts and date not in self.far and date not in _around(self.ts):
            self.far.add(date)
            self._disk.write(self._path, msgspec.json.encode(sorted(self.far)))
            self._disk.sync_dir(self._path.rpartition("/")[0])

    @property
    def days(self) -> set[str]:
        return _around(self.ts) | self.far


def _around(ts: int) -> set[str]:
    """The day of a time, the one before and the one after."""
    return {paths.date_of(max(ts + days * paths.DAY, 0)) for days in (-1, 0, 1)}
