"""A closed day of a symbol: one sorted file of bars, its ticks, checksums of all of it and a manifest, in one swap."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from loguru import logger

from procs.compactor import rawrows
from procs.compactor.fold import BAR_OPTIONS, one_a_second, set_aside
from procs.compactor.swap import Made, Swap
from procs.compactor.ticks import Ticks
from shared import archive, manifests, paths, staging, tickfiles
from shared.barstore import bar_hours, read_bars
from shared.files import Disk, checksum
from shared.lines import parse_line
from shared.manifests import Removed
from shared.tables import SCHEMA_VERSION
from shared.tickfiles import KINDS

MANIFEST_VERSION = 1


class File(msgspec.Struct, frozen=True):
    """A file of the day as the manifest names it."""

    path: str
    size: int
    sha256: str
    rows: int


class Day:
    """One symbol's day, all of whose hours are sealed and folded."""

    def __init__(self, disk: Disk, venue: str, symbol: str, date: str, accepts: bool = False) -> None:
        """`accepts`: the user says that lines which are gone were removed on purpose."""
        self._disk, self._accepts = disk, accepts
        self._venue, self._symbol, self._date = venue, symbol, date
        self._raw = paths.raw_dir(venue, symbol, date)
        self._parts = paths.bars_dir(venue, symbol, date)
        self._bars = paths.bars_day(venue, symbol, date)
        self._checksums = paths.checksum_file(venue, symbol, date)

    @property
    def manifest_path(self) -> str:
        return paths.manifest_file(self._venue, self._symbol, self._date)

    def manifest(self) -> dict[str, Any]:
        """As it stands; empty where there is none."""
        return manifests.read(self._disk, self._venue, self._symbol, self._date)

    def is_done(self) -> bool:
        """Whether the day's files are still those that its manifest names, byte for byte."""
        if bar_hours(self._disk, self._parts):
            return False
        manifest = self.manifest()
        if manifest.get("fetched", []) != staging.fetched(self._disk, self._venue, self._symbol, self._date):
            return False
        files = manifest.get("files")
        if not isinstance(files, list):
            return False
        named = {file["path"]: file["sha256"] for file in files}
        raw = {f"{self._raw}/{part.name}" for part in archive.parts(self._disk, self._raw)}
        bars = {self._bars} if self._disk.size(self._bars) is not None else set()
        return (raw | bars) <= named.keys() and all(self._is(path, digest) for path, digest in named.items())

    def _is(self, path: str, digest: str) -> bool:
        return self._disk.size(path) is not None and checksum(self._disk, path) == digest

    def close(self) -> bool:
        """Makes the day's files, or makes them anew. False where an old file is in use, or lines cannot be read."""
        before = self.manifest()
        files = self._sources()
        hours = archive.hours(self._disk, self._raw)
        removed = self._removed(before, set(hours))
        if files is None or removed is None:
            return False
        facts: dict[str, Any] = {"raw_hours": hours}
        facts |= {"removed": removed} if removed.hours else {}
        fetched = staging.fetched(self._disk, self._venue, self._symbol, self._date)
        facts |= {"fetched": fetched} if fetched else {}
        gathered = {kind: Ticks(self._disk, kind) for kind in KINDS}
        try:
            self._gather(gathered, removed)
            return self._put(facts, files, before, gathered)
        finally:
            for ticks in gathered.values():
                ticks.close()

    def _put(
        self, facts: dict[str, Any], files: list[File], before: dict[str, Any], gathered: dict[str, Ticks]
    ) -> bool:
        swap = Swap(self._disk, f"day-{self._checksums.replace('/', '-')}")
        files += self._put_bars(swap, facts)
        files += self._put_ticks(swap, facts, gathered)
        files.sort(key=lambda file: file.path)
        sums = "".join(f"{file.sha256}  {file.path}\n" for file in files).encode()
        if before.get("checksums") == hashlib.sha256(sums).hexdigest():
            issue, replaces = before["issue"], before["replaces"]
        else:
            issue, replaces = before.get("issue", 0) + 1, before.get("checksums")
        swap.bytes(self._checksums, sums)
        manifest = {
            "manifest": MANIFEST_VERSION,
            "schema": SCHEMA_VERSION,
            "venue": self._venue,
            "symbol": self._symbol,
            "date": self._date,
            "issue": issue,
            "replaces": replaces,
            "checksums": hashlib.sha256(sums).hexdigest(),
            **facts,
            "files": files,
        }
        swap.bytes(self.manifest_path, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        done = swap.commit()
        if done and not self._disk.list(self._parts):
            self._disk.rmdir(self._parts)
        return done

    def _sources(self) -> list[File] | None:
        """The folded lines that all the rest is made of; None where one of them is gone or cannot be read whole."""
        files = []
        for part in archive.parts(self._disk, self._raw):
            path = f"{self._raw}/{part.name}"
            try:
                rows = sum(map(len, archive.blocks(self._disk, path)))
            except archive.Damaged as damage:
                logger.error(f"{path}: {damage}; the day is not closed")
                return None
            files.append(File(path, self._disk.size(path) or 0, checksum(self._disk, path), rows))
        return files

    def _removed(self, before: dict[str, Any], present: set[int]) -> Removed | None:
        """The hours whose ticks stand for their lines; None where lines are gone and nobody has said that they may be.

        Without them, and without that word, the day's ticks would shrink.
        """
        known = msgspec.convert(before.get("removed") or {}, Removed)
        gone = sorted({*before.get("raw_hours", ()), *known.hours} - present)
        if gone == known.hours:
            return known
        new = ", ".join(f"{hour:02d}" for hour in gone if hour not in known.hours)
        if new and not self._accepts:
            logger.error(
                f"{self._raw}: the lines of hour {new} are gone; the day's files stay as they were made of them. Where "
                f"they were removed on purpose: python -m procs.compactor --date {self._date} --accept-missing. "
                "Else a backfill brings the trades back"
            )
            return None
        if new and not self._has_ticks(before):
            logger.error(f"{self._raw}: the lines of hour {new} are gone, and the ticks are not those made of them")
            return None
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if new else known.at
        if new:
            logger.info(f"{self._raw}: hour {new} was removed by the user; its ticks stay")
        return Removed(gone, at=at)

    def _has_ticks(self, before: dict[str, Any]) -> bool:
        """Whether the tick files are still those of the manifest."""
        sums = {file["path"]: file["sha256"] for file in before["files"]}
        found = tickfiles.files(self._disk, self._venue, self._symbol, self._date)
        named = [path for path in sums if path.startswith("ticks/")]
        return set(named) == set(found) and all(checksum(self._disk, path) == sums[path] for path in found)

    def _put_bars(self, swap: Swap, facts: dict[str, Any]) -> list[File]:
        old = [f"{self._parts}/{name}" for names in bar_hours(self._disk, self._parts).values() for name in names]
        tables = []
        for path in [self._bars, *old]:
            if self._disk.size(path) is None:
                continue
            table = read_bars(self._disk, path)
            if table is None:  # the validator asks for what was in it
                set_aside(self._disk, path, "no readable Parquet file")
                continue
            tables.append(table)
            if path != self._bars:
                swap.drop(path)
        if not tables:
            return []
        rows = one_a_second(tables)
        facts["bars"] = {"rows": rows.num_rows, **_span(rows.column("window_start").cast("int64").to_pylist(), 1000)}
        return [_file(swap.table(self._bars, rows, **BAR_OPTIONS), rows.num_rows)]

    def _put_ticks(self, swap: Swap, facts: dict[str, Any], gathered: dict[str, Ticks]) -> list[File]:
        """Trades last: while they are not there, a reader takes all of the day from its lines."""
        files = []
        sources: dict[str, int] = {}
        for kind in ("agg_trades", "quotes", "trades"):
            ticks = gathered[kind]
            if not ticks.rows and kind == "agg_trades":  # no venue but of futures has them
                continue
            facts[kind] = ticks.facts
            for source, count in ticks.sources.items():
                sources[source] = sources.get(source, 0) + count
            path = paths.tick_file(self._venue, self._symbol, kind, self._date)
            files.append(_file(swap.groups(path, ticks.schema, ticks.groups, **ticks.options()), ticks.rows))
        facts["sources"] = dict(sorted(sources.items()))
        return files

    def _gather(self, gathered: dict[str, Ticks], removed: Removed) -> None:
        for part in archive.parts(self._disk, self._raw):
            for lines in archive.blocks(self._disk, f"{self._raw}/{part.name}"):
                tables = rawrows.tables(lines)
                for kind, rows in (tables or {}).items():
                    gathered[kind].add_rows(rows)
                if tables is None:
                    events = list(_events(lines))
                    for ticks in gathered.values():
                        ticks.add(events)
        for kind, ticks in gathered.items():
            path = paths.tick_file(self._venue, self._symbol, kind, self._date)
            for hour in removed.hours if self._disk.size(path) is not None else ():
                start = paths.day_start(self._date) + hour * paths.HOUR
                for rows in tickfiles.rows_of(self._disk, path, start, start + paths.HOUR):
                    ticks.add_ticks(rows)


def _events(lines: list[bytes]) -> Iterator[archive.Line]:
    """Of a broken line nothing can be had: the validator names it."""
    for text in lines:
        with contextlib.suppress(ValueError, RecursionError):
            yield parse_line(text)


def _span(times: list[int], unit: int) -> dict[str, int]:
    """The time range, in nanoseconds."""
    return {"first_ts": min(times) * unit, "last_ts": max(times) * unit} if times else {}


def _file(made: Made, rows: int) -> File:
    return File(made.path, made.size, made.sha256, rows)
