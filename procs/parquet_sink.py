"""Parquet sink: bars become files, each of them whole before it bears its name.

Its position is the sequence number up to which every symbol's rows are on disk. The rows of a flush go to parts named
by the range they came from; what a crash left behind that position goes when the range is written again. A bar for a
second that was closed at the last flush (a late or healed trade) rewrites the part that holds its row, or is new if
none does.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
from loguru import logger

from shared import paths
from shared.barfiles import bar_table, bar_tables, starts, with_newer
from shared.checkpoint import Checkpoint
from shared.config import StageConfig
from shared.events import Bar, Batch, Feed
from shared.files import TMP
from shared.quarantine import set_aside
from shared.runner import Context, main
from shared.schedule import file_interval_s
from shared.seals import Seal, Seals, reaches
from shared.tables import SCHEMA_VERSION

FIRST_FLUSH = 5 * paths.SECOND
"""A newcomer sees a file at once."""
REVISED = "lake.revised"
"""Metadata of a part: how often rows of it were replaced."""
LAYOUT: Final[dict[str, Any]] = {
    "use_dictionary": ["symbol", "venue"],
    "write_statistics": ["symbol", "window_start"],
}
"""Of a minute's few rows: numbers repeat too little, and nobody prunes by more. Half the work, and smaller files."""
MOST_ROWS = 200_000
"""Rows in memory at which a flush comes early (a day replayed in a minute)."""


class Config(StageConfig, kw_only=True, frozen=True):
    flush_every_s: int | None = None
    """Seconds of record time between two flushes, which readers lag behind; none: 60, and longer above a hundred
    symbols.
    """
    compression: Literal["snappy", "zstd", "lz4", "none"] = "snappy"
    """Codec of the open hours' files; compacted days are written with zstd."""

    def __post_init__(self) -> None:
        if self.flush_every_s is not None and not 1 <= self.flush_every_s <= 3600:
            raise ValueError(f"flush_every_s: {self.flush_every_s} is not between 1 and 3600")


Place = tuple[str, int]
"""A symbol and the start of an hour: the rows of one part."""


class ParquetSink:
    """The bars of one journal: ``parquet/`` of the open hours."""

    commit_pause = 50
    """A file costs more than the rows in it: who catches up writes fewer and longer ones."""

    def __init__(self, context: Context, config: Config) -> None:
        self._disk = context.disk
        self._venue = context.venue
        self._every = (config.flush_every_s or file_interval_s(context.symbols)) * paths.SECOND
        self._compression = config.compression
        self._checkpoint = Checkpoint(context.disk, context.checkpoint)
        self._rows: dict[Place, dict[int, Bar]] = defaultdict(dict)
        self._late: dict[Place, dict[int, Bar]] = defaultdict(dict)
        self._seals = Seals(context.disk, paths.beside_checkpoint(context.checkpoint, "seals"))
        self._journal = context.journal
        self._leftover: set[str] = set()
        self._is_lost = False
        """There was no checkpoint: any row may be on disk already."""
        self._lost_until = 0
        """Last sequence number that a part held then: up to there it stays so, over restarts."""
        self._count = 0
        self._position = 0
        self._durable = 0
        self._ts = 0
        self._sealed_before = 0
        self._next_flush: int | None = None
        self._ended = False
        self.given = 0
        self.counters = {"rows": 0, "parts": 0, "rewritten": 0, "late_sealed": 0, "waiting": 0, "redone": 0}

    def open(self) -> int:
        stored = self._checkpoint.load()
        if stored is not None:
            saved = msgspec.msgpack.decode(stored)
            self._position = self._durable = saved["position"]
            self._ts = self._sealed_before = saved["ts"]
            self._ended = saved["ended"]
            self._lost_until = saved.get("lost_until", 0)
            for bar in msgspec.convert(saved["waiting"], list[Bar]):
                self._late[_place(bar)][bar.window_start] = bar
        self._is_lost = stored is None or self._position < self._lost_until
        self._seals.load()
        leftover = self._beyond()
        if self._redo(leftover):
            leftover = {path for path in self._beyond() if not self._is_over(path)}
        # Without a checkpoint nothing says which parts came to one: all stay, and rows that come again replace theirs.
        self._leftover = set() if self._is_lost else leftover
        if self._is_lost:
            spans = (_span(path.rpartition("/")[2]) for path in leftover)
            self._lost_until = max([self._lost_until, *(span[1] for span in spans if span is not None)])
        return self._position

    def _redo(self, leftover: set[str]) -> bool:
        """Sets parts aside that are not as they were written; whether they, and what followed, are written again."""
        broken = {path: seal.first for path, seal in self._seals.broken().items() if not self._is_revised(path, seal)}
        for at in self._partitions():
            for path in [f"{at}/{name}" for name in self._disk.list(at)]:
                span = _span(path.rpartition("/")[2])
                if span is not None and path not in self._seals.of and self._disk.table_meta(path) is None:
                    broken[path] = span[0]
        durable = self._durable
        for path, first in broken.items():
            if path in leftover or self._is_over(path):
                continue  # written again anyhow; the compactor's
            self.counters["redone"] += 1
            if reaches(self._disk, self._journal, first):
                says = "is not as it was written; its rows are made again from the journal"
                self._position = min(self._durable, first - 1)
                self._next_flush = self._ts
                for _ in range(2):  # in both slots, before it goes: nobody would miss it in a life after this one
                    self._store()
            else:
                says = "is not as it was written, and the journal reaches back no further: from the archive, later"
            set_aside(self._disk, path, says)
            self._seals.of.pop(path, None)
        return self._durable < durable

    def _is_revised(self, path: str, seal: Seal) -> bool:
        """A part whose rows were replaced just before a crash: sound, and newer than its seal."""
        try:
            meta = self._disk.table_meta(path)
            self._disk.read_table(path)
            return meta is not None and int(meta[1].get(REVISED, "0")) > seal.revised
        except (OSError, ValueError):
            return False

    def _is_over(self, path: str) -> bool:
        """Whether the hour of a part is the compactor's."""
        parts = path.split("/")
        date = "-".join(part.partition("=")[2] for part in parts[3:6])
        hour = paths.day_start(date) + int(parts[6][len("part_") :][:2]) * paths.HOUR
        return self._is_sealed((parts[2], hour))

    def _beyond(self) -> set[str]:
        """Parts of a flush that came to no checkpoint; unfinished files go at once.

        Looked for in every partition there is: compacted days have none, and one flush can reach days ahead of the
        checkpoint where the machine slept in between.
        """
        found = set()
        for at in self._partitions():
            for name in self._disk.list(at):
                if name.startswith("part_") and name.endswith(TMP):
                    self._disk.remove(f"{at}/{name}")
                elif (span := _span(name)) is not None and span[1] > self._durable:
                    found.add(f"{at}/{name}")
        return found

    def _partitions(self) -> list[str]:
        top = paths.venue_dir("parquet", self._venue)
        folders = [f"{top}/{name}" for name in self._disk.list(top)]
        for begin in paths.PARTITION:
            folders = [f"{at}/{name}" for at in folders for name in self._disk.list(at) if name.startswith(begin)]
        return folders

    def handle(self, batch: Batch) -> Iterable[Batch]:
        if batch.events:
            last = batch.events[-1]
            self._ended = isinstance(last, Feed) and last.kind == "ended"
        for bar in batch.events:
            if not isinstance(bar, Bar):
                continue
            place = _place(bar)
            if self._is_sealed(place):
                self.counters["late_sealed"] += 1
                continue
            # Every second before the last flush's time was closed then: its row may stand in a part already.
            is_closed = self._is_lost or bar.window_start < self._sealed_before
            late = is_closed and bar.window_start not in self._rows[place]
            rows = (self._late if late else self._rows)[place]
            rows[bar.window_start] = bar
            self._count += 1
        self._position, self._ts = batch.last, batch.ts
        if self._next_flush is None:
            self._next_flush = batch.ts + min(FIRST_FLUSH, self._every)
        return ()

    def _is_sealed(self, place: Place) -> bool:
        # Judged by what the last checkpoint said, for that is what the compactor goes by.
        return place[1] + paths.HOUR + paths.SEAL_AFTER <= self._sealed_before

    def commit(self, final: bool = False) -> None:
        due = self._next_flush is not None and self._ts >= self._next_flush
        if not (due or final or self._ended or self._count >= MOST_ROWS) or self._position == self._durable:
            return
        self._flush()
        self._next_flush = self._ts - self._ts % self._every + self._every

    def _flush(self) -> None:
        folders: set[str] = set()
        self._place_late(folders)
        self._leave_compacted()
        parts = {place: [rows[start] for start in sorted(rows)] for place, rows in sorted(self._rows.items()) if rows}
        tables = bar_tables([*parts.values()], self._venue)
        ready = [self._write_part(*part, table) for part, table in zip(parts.items(), tables, strict=True)]
        self._disk.sync_files([tmp for tmp, _ in ready])
        self._clear_leftover()
        for tmp, path in ready:
            self._seal(path, tmp)
            self._disk.rename(tmp, path)
            folders.add(path.rpartition("/")[0])
        self._disk.sync_dirs(sorted(folders))
        self._seals.store(before=self._ts - paths.HOUR - paths.SEAL_AFTER)
        self._store()
        self._rows.clear()
        self._count = 0
        self.counters["parts"] += len(ready)

    def _leave_compacted(self) -> None:
        """What a checkpoint slot counted on that cannot be read any more may have been folded since: its rows stand."""
        for place, rows in self._rows.items():
            folder = paths.bars_dir(self._venue, place[0], paths.date_of(place[1]))
            if rows and self._is_compacted(place, folder):
                self.counters["late_sealed"] += len(rows)
                self._rows[place] = {}

    def _clear_leftover(self) -> None:
        """Durably, before what replaces them gets its names: a power cut must not bring them back beside it."""
        for path in sorted(self._leftover):
            self._disk.remove(path)
        self._disk.sync_dirs(sorted({path.rpartition("/")[0] for path in self._leftover}))
        self._leftover.clear()

    def _write_part(self, place: Place, bars: list[Bar], table: Any) -> tuple[str, str]:
        symbol, hour = place
        first = self._durable + 1
        name = f"part_{paths.clock_name(bars[0].window_start)}_{first:016d}_{self._position:016d}.parquet"
        path = f"{paths.bars_dir(self._venue, symbol, paths.date_of(hour))}/{name}"
        metadata = {"lake.schema": str(SCHEMA_VERSION), "lake.first": str(first), "lake.last": str(self._position)}
        self._disk.write_table(path + TMP, table, self._compression, metadata, durably=False, **LAYOUT)
        self.counters["rows"] += len(bars)
        return path + TMP, path

    def _seal(self, path: str, written: str, revised: int = 0) -> None:
        data = self._disk.read(written)
        span = _span(path.rpartition("/")[2])
        first, end = (span[0] if span else 1), self._ts + paths.HOUR
        self._seals.of[path] = Seal(len(data), zlib.crc32(data), first, end, revised)

    # --- bars for seconds that were closed before ---

    def _place_late(self, folders: set[str]) -> None:
        """Late bars replace their rows where they stand; the others become new rows of this flush."""
        for place, bars in sorted(self._late.items()):
            folder = paths.bars_dir(self._venue, place[0], paths.date_of(place[1]))
            if self._is_compacted(place, folder):
                # The hour is the compactor's now; the validator sees the difference and has it rebuilt.
                self.counters["late_sealed"] += len(bars)
                self._late[place] = {}
                continue
            blocked: dict[int, Bar] = {}
            for path in self._parts_of(place, folder):
                if bars:
                    blocked |= self._rewrite(path, bars)
                    folders.add(folder)
            self._rows[place] |= bars
            self._late[place] = blocked
        self._late = defaultdict(dict, {place: bars for place, bars in self._late.items() if bars})
        self.counters["waiting"] = sum(map(len, self._late.values()))

    def _is_compacted(self, place: Place, folder: str) -> bool:
        if self._is_sealed(place) or f"hour_{paths.hour_of(place[1]):02d}.parquet" in self._disk.list(folder):
            return True
        return self._disk.size(paths.bars_day(self._venue, place[0], paths.date_of(place[1]))) is not None

    def _parts_of(self, place: Place, folder: str) -> list[str]:
        begin = f"part_{paths.hour_of(place[1]):02d}"
        names = [name for name in self._disk.list(folder) if name.startswith(begin) and name.endswith(".parquet")]
        return [path for path in (f"{folder}/{name}" for name in names) if path not in self._leftover]

    def _rewrite(self, path: str, bars: dict[int, Bar]) -> dict[int, Bar]:
        """Replaces the rows of this part that `bars` holds and takes them out of it; returns those that must wait."""
        meta = self._disk.table_meta(path)
        if meta is None:  # cannot be read: set aside by the validator, rebuilt from the archive
            return {}
        old = self._disk.read_table(path)
        hits = {start: bars.pop(start) for start in starts(old) if start in bars}
        if not hits:
            return {}
        newer = with_newer(old, bar_table([hits[start] for start in sorted(hits)], self._venue))
        revised = int(meta[1].get(REVISED, "0")) + 1
        said = meta[1] | {REVISED: str(revised)}
        self._disk.write_table(path + TMP, newer, self._compression, said, **LAYOUT)
        try:
            self._disk.replace(path + TMP, path)
        except PermissionError:  # an open notebook on Windows: nothing has changed, the next flush tries again
            self._disk.remove(path + TMP)
            logger.warning(f"{path} is open in another program; its newer rows wait")
            return hits
        self._seal(path, path, revised)
        self.counters["rewritten"] += len(hits)
        return {}

    def _store(self) -> None:
        waiting = [bar for bars in self._late.values() for bar in bars.values()]
        saved = {"position": self._position, "ts": self._ts, "ended": self._ended, "waiting": waiting}
        saved["lost_until"] = self._lost_until
        self._checkpoint.store(msgspec.msgpack.encode(saved))
        self._durable, self._sealed_before = self._position, self._ts
        self._is_lost = self._position < self._lost_until

    def close(self) -> None:
        """Holds nothing open between flushes."""


def _place(bar: Bar) -> Place:
    return bar.symbol, bar.window_start - bar.window_start % paths.HOUR


def _span(name: str) -> tuple[int, int] | None:
    """First and last sequence number in a part's name."""
    pieces = name.removesuffix(".parquet").split("_")
    if len(pieces) != 4 or pieces[0] != "part" or not name.endswith(".parquet"):
        return None
    return (int(pieces[2]), int(pieces[3])) if pieces[2].isdigit() and pieces[3].isdigit() else None


class _Absent:
    """A finder of modules for which one package is not there."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._package:
            raise ModuleNotFoundError(f"{name} is not wanted in this process", name=name)


if __name__ == "__main__":
    # Where pandas is installed, pyarrow imports it for the first array it makes: 0.2 s and 50 MB, for nothing.
    sys.meta_path.insert(0, _Absent("pandas"))
    importlib.import_module("pyarrow.parquet")  # before the first flush waits for it
    main("parquet_sink", ParquetSink, Config, __doc__ or "")
