"""A day being filled: what the lake holds of each sealed hour, with what was fetched, staged as whole hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import zstandard
from loguru import logger

from shared import archive, hidden, paths, staging
from shared.events import AggTrade, Trade
from shared.files import TMP, Disk
from shared.holdings import Merged, merge
from shared.ids import Ids
from shared.lines import line

LEVEL = 3
"""Of zstd, as the compactor's default."""
NAMED = 100
"""Ids that differ are named up to here, the others counted."""


class Day:
    """One symbol's day. What is staged already, by a run before this one, counts as held."""

    def __init__(
        self, disk: Disk, venue: str, symbol: str, date: str, is_sealed: Callable[[int], bool], force: bool
    ) -> None:
        self._disk = disk
        self.venue, self.symbol, self.date = venue, symbol, date
        self.start = paths.day_start(date)
        self._force = force
        self._said = staging.read(disk, venue, symbol, date) or staging.Backfill()
        self._before = set(self._said.hours)
        self._ids: dict[int, tuple[Ids, Ids]] = {}
        self._rows: dict[int, int] = {}
        self.sealed = [hour for hour in range(24) if is_sealed(self.start + (hour + 1) * paths.HOUR)]
        self.left = 0
        """Events of hours that are still open: ingest's own."""
        self.damaged: set[str] = set()
        """Files of the lake that cannot be read whole: their hours are not touched."""

    @property
    def added(self) -> int:
        return self._said.added

    # --- what is held ---

    def ids(self, kind: str) -> Ids:
        """All ids of the day that are held or staged."""
        held = archive.held_hours(self._disk, self.venue, self.symbol, self.date)
        for hour in {*held, *self._said.hours}:
            if hour not in self._ids:
                self._note(hour, merge(self._lines(hour), ()))
        at = 0 if kind == "trade" else 1
        return Ids.from_intervals(span for both in self._ids.values() for span in both[at].intervals)

    def _note(self, hour: int, merged: Merged) -> None:
        self._ids[hour] = (merged.trades, merged.aggregates)
        self._rows[hour] = len(merged.lines)

    def _lines(self, hour: int) -> list[bytes]:
        """Those of the lake and, where there are, the staged ones."""
        held = self._held(hour)
        if hour not in self._said.hours:
            return held
        staged = self._read(staging.part(self.venue, self.symbol, self.date, hour))
        return merge(held, archive.trades_of(staged), hour in self._said.force).lines if held else staged

    def _held(self, hour: int) -> list[bytes]:
        folder = paths.raw_dir(self.venue, self.symbol, self.date)

        def there() -> list[str]:
            return [f"{folder}/{one.name}" for one in archive.parts(self._disk, folder, hour)]

        if there() or hour not in archive.held_hours(self._disk, self.venue, self.symbol, self.date):
            return hidden.reread(lambda files: self._read(*files), there)
        # Its lines are gone: what the ticks hold is held, and if anything is added it becomes lines again.
        events, _ = archive.read_hour(self._disk, self.venue, self.symbol, self.date, hour)
        return [line(event).encode() for event in sorted(events, key=lambda event: event.ts)]

    def _read(self, *files: str) -> list[bytes]:
        lines, problems = archive.read_lines(self._disk, files)
        for problem in problems:
            logger.error(f"{problem.path}: {problem.reason}")
            self.damaged.add(problem.path)
        return lines

    # --- what comes ---

    def take(self, hour: int, events: Iterable[Trade | AggTrade], source: dict[str, Any]) -> None:
        """Stages the hour with these where that adds or replaces anything; counts into `source`."""
        if hour not in self.sealed:
            self.left += sum(1 for _ in events)
            return
        before = len(self.damaged)
        merged = merge(self._lines(hour), events, self._force)
        if len(self.damaged) > before:
            return
        self._note(hour, merged)
        for key, value in (("added", merged.added), ("same", merged.same), ("different", len(merged.different))):
            source[key] = source.get(key, 0) + value
        source.setdefault("different_ids", [])
        source["different_ids"] += sorted(merged.different)[: NAMED - len(source["different_ids"])]
        if merged.added or merged.replaced:
            source["replaced"] = source.get("replaced", 0) + merged.replaced
            self._stage(hour, merged)

    def _stage(self, hour: int, merged: Merged) -> None:
        path = staging.part(self.venue, self.symbol, self.date, hour)
        lines = b"".join(merged.lines)
        packed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(lines)
        self._disk.write(path + TMP, packed)
        if archive.unpack(self._disk.read(path + TMP)) != (lines, ""):
            raise OSError(f"{path}: what was read back is not what was written")
        # A part that an older backfill.json names is replaced by one that holds no less: it may be installed as well.
        self._disk.replace(path + TMP, path)
        self._said.hours = sorted({*self._said.hours, hour})
        self._said.added += merged.added
        if self._force and merged.replaced:
            self._said.force = sorted({*self._said.force, hour})

    def close(self, sources: list[dict[str, Any]]) -> bool:
        """Whether there is anything for the compactor: hours, or the word of a source on what is held."""
        if not self._said.hours and not sources:
            return False
        for kind in ("trade", "agg_trade"):
            ids = self.ids(kind)
            if ids:
                self._said.ids = [ids.lowest or 0, ids.highest or 0]
                break
        self._said.rows = sum(self._rows.get(hour, 0) for hour in self._said.hours)
        self._said.sources += sources
        self._disk.mkdir(staging.folder(self.venue, self.symbol, self.date))
        self._disk.sync_dir(staging.folder(self.venue, self.symbol, self.date))
        staging.write(self._disk, self.venue, self.symbol, self.date, self._said)
        return True
