"""A closed day of a symbol: one sorted file of bars, its ticks, checksums of all of it and a manifest, in one swap."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from loguru import logger

from procs.compactor.fold import BAR_OPTIONS, one_a_second, set_aside
from procs.compactor.swap import Made, Swap
from procs.compactor.ticks import KINDS, OPTIONS, Ticks
from shared import archive, paths, staging
from shared.barstore import bar_hours, read_bars
from shared.files import Disk
from shared.ids import Ids
from shared.tables import SCHEMA_VERSION

MANIFEST_VERSION = 1


class File(msgspec.Struct, frozen=True):
    """A file of the day as the manifest names it."""

    path: str
    size: int
    sha256: str
    rows: int


class Day:
    """One symbol's day, all of whose hours are sealed and folded."""

    def __init__(self, disk: Disk, venue: str, symbol: str, date: str) -> None:
        self._disk = disk
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
        try:
            found = msgspec.json.decode(self._disk.read(self.manifest_path))
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

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
        return self._disk.size(path) is not None and hashlib.sha256(self._disk.read(path)).hexdigest() == digest

    def close(self) -> bool:
        """Makes the day's files, or makes them anew. False where an old file is in use, or lines cannot be read."""
        swap = Swap(self._disk, f"day-{self._checksums.replace('/', '-')}")
        files, hours = self._sources()
        if files is None:
            return False
        facts: dict[str, Any] = {"raw_hours": hours}
        fetched = staging.fetched(self._disk, self._venue, self._symbol, self._date)
        facts |= {"fetched": fetched} if fetched else {}
        files += self._put_bars(swap, facts)
        files += self._put_ticks(swap, facts)
        files.sort(key=lambda file: file.path)
        sums = "".join(f"{file.sha256}  {file.path}\n" for file in files).encode()
        before = self.manifest()
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

    def _sources(self) -> tuple[list[File] | None, list[int]]:
        """The folded lines that all the rest is made of; None where one of them is gone or cannot be read whole."""
        parts = archive.parts(self._disk, self._raw)
        if gone := self._gone({part.hour for part in parts}):
            logger.error(
                f"{self._raw}: the lines of hour {', '.join(gone)} are gone; the day's files stay as they were made of "
                "them. A backfill brings the trades back"
            )
            return None, []
        files = []
        for part in parts:
            path = f"{self._raw}/{part.name}"
            data = self._disk.read(path)
            lines, trouble = archive.unpack(data)
            if trouble:
                logger.error(f"{path}: {trouble}; the day is not closed")
                return None, []
            files.append(File(path, len(data), hashlib.sha256(data).hexdigest(), lines.count(b"\n")))
        return files, sorted({part.hour for part in parts})

    def _gone(self, hours: set[int]) -> list[str]:
        """Hours that the day was made of before and that are not among these. Without them its ticks would shrink."""
        before = self.manifest().get("raw_hours")
        return [f"{hour:02d}" for hour in before if hour not in hours] if isinstance(before, list) else []

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

    def _put_ticks(self, swap: Swap, facts: dict[str, Any]) -> list[File]:
        """Trades last: while they are not there, a reader takes all of the day from its lines."""
        gathered = {kind: Ticks(kind) for kind in KINDS}
        sources: dict[str, int] = {}
        for _, lines, _ in archive.read_day(self._disk, self._venue, self._symbol, self._date):
            for ticks in gathered.values():
                ticks.add(lines)
        files = []
        for kind in ("agg_trades", "quotes", "trades"):
            table = gathered.pop(kind).table()
            if not table.num_rows and kind == "agg_trades":  # no venue but of futures has them
                continue
            ids = table.column(KINDS[kind][2]).to_pylist()
            facts[kind] = {"rows": table.num_rows, **_span(table.column("ts").cast("int64").to_pylist(), 1)}
            facts[kind] |= {"first_id": ids[0], "last_id": ids[-1]} if ids else {}
            if kind != "quotes":
                held = Ids()
                repeated = sum(not held.add(one) for one in ids)
                facts[kind] |= {"missing": held.missing(), "repeated": repeated}
                for value in table.column("source").to_pylist():
                    sources[value] = sources.get(value, 0) + 1
            path = paths.tick_file(self._venue, self._symbol, kind, self._date)
            files.append(_file(swap.table(path, table, **OPTIONS), table.num_rows))
        facts["sources"] = dict(sorted(sources.items()))
        return files


def _span(times: list[int], unit: int) -> dict[str, int]:
    """The time range, in nanoseconds."""
    return {"first_ts": min(times) * unit, "last_ts": max(times) * unit} if times else {}


def _file(made: Made, rows: int) -> File:
    return File(made.path, made.size, made.sha256, rows)
