"""Archiver: every event it receives becomes one line of JSON, once.

Its position in the journal and the size of every open file are one checkpoint: after a crash the files are cut to those
sizes and the rest is taken again. Files are opened, chosen and closed by the time of the records, never by a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from loguru import logger

from shared import paths
from shared.checkpoint import Checkpoint
from shared.config import StageConfig
from shared.events import AggTrade, Batch, Event, Feed, Quote, Trade
from shared.ids import Ids
from shared.lines import line
from shared.runner import Context, main
from shared.schedule import file_interval_s

CLOSE_AFTER = 2 * paths.SECOND
"""A file is closed when a record's time is past its end by this much, so that a slight disorder makes no second file.
"""
BUFFER_BYTES = 1 << 20
MOST_INTERVALS = 1000
"""Id intervals of a symbol in the checkpoint; on futures the venue's own holes would make it grow without end."""


class Config(StageConfig, kw_only=True, frozen=True):
    rotate_every_s: int | None = None
    """Seconds of record time in one file, a divisor of 3600; none: 60, and longer above a hundred symbols."""

    def __post_init__(self) -> None:
        if self.rotate_every_s is not None and (self.rotate_every_s < 1 or 3600 % self.rotate_every_s):
            raise ValueError(f"rotate_every_s: {self.rotate_every_s} does not divide 3600")


class _Open:
    """A file that is not closed yet, and what is not written to it yet. It holds no descriptor: a page of healed trades
    of a quiet symbol may concern a thousand minutes.
    """

    __slots__ = ("end", "fresh", "lines", "path", "size", "unsynced", "waiting")

    def __init__(self, path: str, end: int, size: int = 0) -> None:
        self.path = path
        self.end = end
        self.size = size
        self.lines: list[str] = []
        self.waiting = 0
        self.unsynced = False
        self.fresh = True
        """Its name is not durable yet."""


class Archiver:
    """The archive of one source's journal: ``raw/``, ``feed/`` and ``rejected/`` of the open hours."""

    def __init__(self, context: Context, config: Config) -> None:
        self._disk = context.disk
        self._venue = context.venue
        self._every_s = config.rotate_every_s or file_interval_s(context.symbols)
        self._every = self._every_s * paths.SECOND
        self._checkpoint = Checkpoint(context.disk, context.checkpoint)
        self._open: dict[tuple[str, int], _Open] = {}
        self._closing: list[tuple[str, str]] = []
        self._ids: dict[str, Ids] = {}
        self._agg_ids: dict[str, Ids] = {}
        self._position = 0
        self._ts = 0
        self._ended = False
        self.given = 0
        self.counters = {"lines": 0, "late_files": 0, "bytes_written": 0}

    # --- recovery ---

    def open(self) -> int:
        stored = self._checkpoint.load()
        if stored is not None:
            self._recover(msgspec.msgpack.decode(stored))
        return self._position

    def _recover(self, saved: dict[str, Any]) -> None:
        self._position, self._ts, self._ended = saved["position"], saved["ts"], saved["ended"]
        self._ids = {symbol: Ids.from_intervals(held) for symbol, held in saved["ids"].items()}
        self._agg_ids = {symbol: Ids.from_intervals(held) for symbol, held in saved.get("agg_ids", {}).items()}
        self._closing = [(old, new) for old, new in saved["closing"]]
        self._close_named()
        kept = set()
        for folder, start, path, size in saved["open"]:
            kept.add(path)
            entry = self._open[folder, start] = _Open(path, start + self._every, self._cut(path, size))
            entry.fresh = False
        self._sweep(kept)

    def _cut(self, path: str, size: int) -> int:
        """Cuts an open file to the size of the checkpoint; one that lost bytes, to its last whole line. Its size."""
        found = self._disk.size(path) or 0
        if found < size:
            logger.error(f"{path} should hold {size} bytes and holds {found}: lines are lost")
            size = self._disk.read(path).rfind(b"\n") + 1 if found else 0
        if found > size:
            self._disk.truncate(path, size)
            self._disk.sync(path)
        return size

    def _sweep(self, kept: set[str]) -> None:
        """Deletes files begun after the checkpoint: their lines are taken again. Only around its date, where there can
        be many.
        """
        dates = {paths.date_of(max(self._ts + days * paths.DAY, 0)) for days in (-1, 0, 1)}
        folders = [f"{top}/{self._venue}/{date}" for top in ("feed", "rejected") for date in dates]
        for symbol in self._disk.list(f"raw/{self._venue}"):
            folders += [f"raw/{self._venue}/{symbol}/{date}" for date in dates]
        for folder in folders:
            for name in self._disk.list(folder):
                path = f"{folder}/{name}"
                if name.startswith("open_") and path not in kept:
                    self._disk.remove(path)

    # --- records in, lines out ---

    def handle(self, batch: Batch) -> Iterable[Batch]:
        for event in batch.events:
            key = _folder_key(event)
            start = event.ts - event.ts % self._every  # type: ignore[union-attr]
            entry = self._open.get((key, start)) or self._begin(key, start)
            text = line(event)
            entry.lines.append(text)
            entry.waiting += len(text)
            if entry.waiting > BUFFER_BYTES:
                self._write(entry)
            self._note(event)
            self._ended = isinstance(event, Feed) and event.kind == "ended"
        self.counters["lines"] += len(batch.events)
        self._position, self._ts = batch.last, batch.ts
        return ()

    def _note(self, event: Event) -> None:
        """The ids now held: from them ingest knows what is missing where its own journal is lost."""
        if isinstance(event, Trade):
            _of(self._ids, event.symbol).add(event.trade_id)
        elif isinstance(event, AggTrade):
            _of(self._agg_ids, event.symbol).add(event.agg_id)
            if event.source != "ws":  # it stands for trades that were missed
                _of(self._ids, event.symbol).add_range(event.first_trade_id, event.last_trade_id)

    def _folder(self, key: str, date: str) -> str:
        if key == _FEED:
            return paths.feed_dir(self._venue, date)
        return paths.rejected_dir(self._venue, date) if key == _REJECTED else paths.raw_dir(self._venue, key, date)

    def _begin(self, key: str, start: int) -> _Open:
        """A file for this folder and time; the k-th where earlier ones are closed already."""
        folder = self._folder(key, paths.date_of(start))
        clock = paths.clock_name(start, self._every_s)
        names = set(self._disk.list(folder))
        k, suffix = 0, ""
        sealed = f"part_{clock[:2]}.jsonl.zst" in names
        while f"part_{clock}{suffix}.jsonl" in names or (sealed and not suffix):
            k, suffix = k + 1, f"_{k + 1}"
        self.counters["late_files"] += bool(k)
        path = f"{folder}/open_{clock}{suffix}.jsonl"
        if f"open_{clock}{suffix}.jsonl" in names:  # begun by a life that never came to name it: its lines come again
            self._disk.truncate(path, 0)
        entry = self._open[key, start] = _Open(path, start + self._every)
        return entry

    def _write(self, entry: _Open, durably: bool = False) -> None:
        """Appends what waits."""
        data = "".join(entry.lines).encode("utf-8", "surrogatepass")
        appender = self._disk.appender(entry.path)
        try:
            appender.write(data)
            if durably:
                appender.sync()
        finally:
            appender.close()
        entry.size = appender.size
        entry.unsynced = not durably
        self.counters["bytes_written"] += len(data)
        entry.lines.clear()
        entry.waiting = 0

    # --- durability ---

    def commit(self, final: bool = False) -> None:
        folders = set()
        for entry in self._open.values():
            if entry.lines:
                self._write(entry, durably=True)
            elif entry.unsynced:
                self._disk.sync(entry.path)
                entry.unsynced = False
            if entry.fresh:
                folders.add(entry.path.rpartition("/")[0])
                entry.fresh = False
        for folder in sorted(folders):
            self._disk.sync_dir(folder)
        everything = final or self._ended
        done = [key for key, entry in self._open.items() if everything or entry.end + CLOSE_AFTER <= self._ts]
        for key in done:
            path = self._open.pop(key).path
            self._closing.append((path, path.replace("/open_", "/part_")))
        self._store()
        self._close_named()

    def _store(self) -> None:
        """The checkpoint names the files about to be renamed: a crash in between is finished at the next start."""
        saved = {
            "position": self._position,
            "ts": self._ts,
            "ended": self._ended,
            "open": [(key, start, entry.path, entry.size) for (key, start), entry in self._open.items()],
            "closing": self._closing,
            "ids": _newest(self._ids),
            "agg_ids": _newest(self._agg_ids),
        }
        self._checkpoint.store(msgspec.msgpack.encode(saved))

    def _close_named(self) -> None:
        """Renames what the checkpoint names as closing. The names are durable before the next checkpoint forgets them:
        else a power cut could bring an ``open_`` file back that no checkpoint knows, to be swept.
        """
        for old, new in self._closing:
            if self._disk.size(old) is not None:
                self._disk.rename(old, self._free(new))
        for folder in sorted({new.rpartition("/")[0] for _, new in self._closing}):
            self._disk.sync_dir(folder)
        self._closing.clear()

    def _free(self, path: str) -> str:
        """This name, or the next one where it is taken: by a file restored from a backup, or one that came back."""
        stem, number = path.removesuffix(".jsonl"), 0
        if stem.rpartition("/")[2].count("_") > 1:
            stem, _, text = stem.rpartition("_")
            number = int(text)
        while self._disk.size(path) is not None:
            number += 1
            path = f"{stem}_{number}.jsonl"
        return path

    def close(self) -> None:
        """Holds nothing open between two writes."""
        self._open.clear()


def _of(ids: dict[str, Ids], symbol: str) -> Ids:
    found = ids.get(symbol)
    if found is None:
        found = ids[symbol] = Ids()
    return found


def _newest(ids: dict[str, Ids]) -> dict[str, list[list[int]]]:
    for held in ids.values():
        held.forget_oldest(MOST_INTERVALS)
    return {symbol: held.intervals for symbol, held in ids.items()}


_FEED, _REJECTED = "feed/", "rejected/"  # with a slash, for no symbol of a venue has one


def _folder_key(event: Event) -> str:
    if isinstance(event, Trade | Quote | AggTrade):
        return event.symbol
    return _FEED if isinstance(event, Feed) else _REJECTED


if __name__ == "__main__":
    # It goes on to the last byte: what it takes frees the journal.
    main("archiver", Archiver, Config, __doc__ or "", need=None)
