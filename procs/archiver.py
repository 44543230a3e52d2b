"""Archiver: every event it receives becomes one line of JSON, once.

Its position in the journal and the size of every open file are one checkpoint: after a crash the files are cut to those
sizes and the rest is taken again. Files are opened, chosen and closed by the time of the records, never by a clock.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from loguru import logger

from shared import archive, paths
from shared.begun import Begun
from shared.checkpoint import Checkpoint
from shared.config import StageConfig
from shared.events import AggTrade, Batch, Columns, Event, Feed, Quote, Trade
from shared.ids import Ids
from shared.lines import line
from shared.openfile import BUFFER_BYTES, DIRECT_BYTES, OpenFile
from shared.quarantine import set_aside
from shared.runner import Context, main
from shared.schedule import file_interval_s
from shared.seals import Seal, Seals, ends_before, reaches

if TYPE_CHECKING:
    from shared.linegroups import LineGroups

CLOSE_AFTER = 2 * paths.SECOND
"""A file is closed when a record's time is so far past its end, so that a slight disorder makes no second file."""
MOST_HELD = 128
"""Files whose descriptors are held from one write to the next; some systems give a process no more than 256."""
KEEP = 120 * paths.SECOND
"""The journal is asked to keep what stands in files that were closed so lately, for they might have to be rewritten."""
MOST_CHECKED = 64 << 20
"""An open file that is longer is not read again at start."""
MOST_LOST = 100
"""Stretches of records in the checkpoint that were lost before they came here; beyond it the oldest become one."""
MOST_INTERVALS = 1000
"""Id intervals of a symbol in the checkpoint; on futures the venue's own holes would make it grow without end."""


class Config(StageConfig, kw_only=True, frozen=True):
    rotate_every_s: int | None = None
    """Seconds of record time in one file, a divisor of 3600; none: 60, and longer above a hundred symbols."""

    def __post_init__(self) -> None:
        if self.rotate_every_s is not None and (self.rotate_every_s < 1 or 3600 % self.rotate_every_s):
            raise ValueError(f"rotate_every_s: {self.rotate_every_s} does not divide 3600")


class Archiver:
    """The archive of one source's journal: ``raw/``, ``feed/`` and ``rejected/`` of the open hours."""

    keeps_rejected = True

    def __init__(self, context: Context, config: Config) -> None:
        self._disk = context.disk
        self._venue = context.venue
        self._every_s = config.rotate_every_s or file_interval_s(context.symbols)
        self._every = self._every_s * paths.SECOND
        self._checkpoint = Checkpoint(context.disk, context.checkpoint)
        self._open: dict[tuple[str, int], OpenFile] = {}
        self._held: list[OpenFile] = []
        """Those of them with a descriptor."""
        self._lines: LineGroups | None = None
        self._closing: list[tuple[str, str]] = []
        self._named: tuple[set[str], set[str]] = set(), set()
        """What the last two checkpoints close: once more begun, it would be taken for the file that was."""
        self._journal = context.journal
        self._seals = Seals(context.disk, paths.beside_checkpoint(context.checkpoint, "seals"))
        self._doubt = 0
        """Up to this record more may stand on disk than the checkpoint knows of."""
        self._broken: dict[str, int] = {}
        self._ids: dict[str, Ids] = {}
        self._agg_ids: dict[str, Ids] = {}
        self._lost: list[list[int]] = []
        """First and last record, time before and after: lost in the journal, and its writer has not heard of it yet."""
        self._is_whole = False
        """The ids are those of every record since the first."""
        self._begun = Begun(context.disk, paths.beside_checkpoint(context.checkpoint, "days"))
        self._position = 0
        self._ts = 0
        self._ended = False
        self.given = 0
        self.counters = {"lines": 0, "late_files": 0, "bytes_written": 0, "redone": 0}

    # --- recovery ---

    def open(self) -> int:
        from shared.linegroups import LineGroups  # numpy: a tenth of a second, which the first busy moment has not

        self._lines = LineGroups()
        stored = self._checkpoint.load()
        self._seals.load()
        self._begun.load()
        if stored is not None:
            self._recover(msgspec.msgpack.decode(stored))
        elif self._checkpoint.is_doubtful:
            self._close_strays()
        else:
            self._is_whole = True
        if self._checkpoint.is_doubtful:  # one that cannot be read knew of no record that the journal has not
            self._doubt = max(self._doubt, ends_before(self._disk, self._journal))
        broken = self._seals.broken().items()
        # A sealed hour is the compactor's by now.
        self._broken |= {path: seal.first for path, seal in broken if seal.end + paths.SEAL_AFTER > self._ts}
        self._redo()
        return self._position

    def _recover(self, saved: dict[str, Any]) -> None:
        self._position, self._ts, self._ended = saved["position"], saved["ts"], saved["ended"]
        self._begun.ts = self._ts
        self._doubt = saved.get("doubt", 0)
        self._ids = {symbol: Ids.from_intervals(held) for symbol, held in saved["ids"].items()}
        self._agg_ids = {symbol: Ids.from_intervals(held) for symbol, held in saved.get("agg_ids", {}).items()}
        self._lost, self._is_whole = saved.get("lost", []), saved.get("whole", False)
        self._closing = [(old, new) for old, new in saved["closing"]]
        self._close_named()
        is_damaged = self._checkpoint.is_doubtful
        if is_damaged and not reaches(self._disk, self._journal, self._position + 1):
            self._close_strays()  # what a newer checkpoint counted on must not be cut: it would come no more
            self._is_whole = False
            return
        kept = set()
        for folder, start, path, size, *more in saved["open"]:
            first, crc = more or (self._position + 1, None)
            if is_damaged and self._disk.size(path) is None:
                continue  # closed after this checkpoint, by one that cannot be read
            kept.add(path)
            cut = self._cut(path, size, first)
            if cut < size:
                crc = None
            if path in self._broken or not self._is_as_written(path, cut, crc):
                self._broken[path] = first
                continue
            entry = self._open[folder, start] = OpenFile(path, start + self._every, first, cut, crc)
            entry.fresh = cut == 0  # it may stand in no folder yet
        self._sweep(kept)

    def _cut(self, path: str, size: int, first: int) -> int:
        """Cuts an open file to the size of the checkpoint; one that lost bytes and cannot be written again, to its last
        whole line. Its size.
        """
        found = self._disk.size(path) or 0
        if found < size and reaches(self._disk, self._journal, first):
            self._broken[path] = first
            return found
        if found < size:
            logger.error(f"{path} should hold {size} bytes and holds {found}: lines are lost")
            size = self._disk.read(path).rfind(b"\n") + 1 if found else 0
        if found > size:
            self._disk.truncate(path, size)
            self._disk.sync(path)
        return size

    def _is_as_written(self, path: str, size: int, crc: int | None) -> bool:
        return crc is None or not 0 < size <= MOST_CHECKED or zlib.crc32(self._disk.read(path)) == crc

    def _redo(self) -> None:
        """Moves files away that are not as they were written, and goes back to where what they held began."""
        again = {path for path, first in self._broken.items() if reaches(self._disk, self._journal, first)}
        if again:
            self._doubt = max(self._doubt, self._position)  # what else stands of these is not written twice
            self._position = min(self._position, *(self._broken[path] - 1 for path in again))
            for _ in range(2):  # in both slots, before they go: nobody would miss them in a life after this one
                self._store()
        for path in self._broken:
            self.counters["redone"] += 1
            says = "is not as it was written"
            if path in again:
                says += "; what it held is taken again from the journal"
            else:
                says += ", and the journal reaches back no further: its lines are lost"
            if self._disk.size(path) is not None:
                set_aside(self._disk, path, says)
            else:
                logger.error(f"{path} is gone: {says}")
            self._seals.of.pop(path, None)

    def _close_strays(self) -> None:
        """Without a checkpoint to go by: what was open is cut behind its last whole line and closed."""
        newest = {date for top in self._tops() for date in self._disk.list(top)[-2:]}
        for path in self._opened(newest | self._begun.far):
            self._disk.truncate(path, self._disk.read(path).rfind(b"\n") + 1)
            self._disk.sync(path)
            self._closing.append((path, path.replace("/open_", "/part_")))
        self._close_named()
        # A life before this one may have named some of them, and died before that was durable.
        self._disk.sync_dirs([f"{top}/{date}" for top in self._tops() for date in self._disk.list(top)[-2:]])

    def _sweep(self, kept: set[str]) -> None:
        """Deletes files begun after the checkpoint: their lines are taken again."""
        for path in self._opened(self._begun.days):
            if path not in kept:
                self._disk.remove(path)

    def _tops(self) -> list[str]:
        """The folders that hold one for each day."""
        raw = paths.venue_dir("raw", self._venue)
        symbols = [f"{raw}/{name}" for name in self._disk.list(raw)]
        return [paths.venue_dir("feed", self._venue), paths.venue_dir("rejected", self._venue), *symbols]

    def _opened(self, dates: set[str]) -> list[str]:
        """The open files of some days. To look into all days there are would take minutes where there are years."""
        folders = [f"{top}/{date}" for top in self._tops() for date in sorted(dates)]
        return [f"{at}/{name}" for at in folders for name in self._disk.list(at) if name.startswith("open_")]

    # --- records in, lines out ---

    def handle(self, batch: Batch) -> Iterable[Batch]:
        events = batch.events
        if not isinstance(events, Columns) or not self._take_columns(events, batch.first):
            for event in events:
                self._take(event, batch.first)
        self.counters["lines"] += len(events)
        self._position, self._ts = batch.last, batch.ts
        return ()

    def missed(self, first: int, last: int, until: int) -> None:
        """Ingest reads of it in the checkpoint, and knows by the ids which trades to fetch again."""
        self._is_whole = self._is_whole and self._position > 0
        if self._is_whole:
            self._lost.append([first, last, self._ts, until])
        if len(self._lost) > MOST_LOST:
            oldest, second = self._lost[:2]
            self._lost[:2] = [[oldest[0], second[1], oldest[2], second[3]]]

    def _take(self, event: Event, first: int) -> None:
        entry = self._entry(_folder_key(event), event.ts - event.ts % self._every, first)  # type: ignore[union-attr]
        text = line(event)
        if not self._is_doubtful or self._is_news(entry, text):
            entry.add(text.encode("utf-8", "surrogatepass"))
        if entry.waiting > BUFFER_BYTES:
            self._write(entry)
        self._note(event)
        self._ended = isinstance(event, Feed) and event.kind == "ended"

    def _take_columns(self, columns: Columns, first: int) -> bool:
        """The same for all of these events at once. False where nothing was taken, for they must come singly."""
        if self._is_doubtful or self._lines is None:
            return False
        made = self._lines.of(columns, self._every)
        if made is None:
            return False
        for symbol, start, data in made.groups:
            entry = self._entry(symbol, start, first)
            if len(data) > DIRECT_BYTES:
                self._write(entry, data)
                continue
            entry.add(bytes(data))
            if entry.waiting > BUFFER_BYTES:
                self._write(entry)
        for symbol, lowest, highest in made.runs:
            _of(self._ids, symbol).add_range(lowest, highest)
        self._ended = self._ended and not len(columns)
        return True

    @property
    def _is_doubtful(self) -> bool:
        """Whether what comes may stand on disk already: in the checkpoint, too, for a life may end on the way there."""
        return self._position < self._doubt

    def _entry(self, key: str, start: int, first: int) -> OpenFile:
        return self._open.get((key, start)) or self._begin(key, start, first)

    def _note(self, event: Event) -> None:
        """The ids now held: from them ingest knows what is missing where its own journal is lost."""
        if isinstance(event, Trade):
            _of(self._ids, event.symbol).add(event.trade_id)
        elif isinstance(event, AggTrade):
            _of(self._agg_ids, event.symbol).add(event.agg_id)
            if event.source != "ws":  # it stands for trades that were missed
                _of(self._ids, event.symbol).add_range(event.first_trade_id, event.last_trade_id)
        elif isinstance(event, Feed) and "records" in event.detail:
            self._lost = [one for one in self._lost if one[:2] != event.detail["records"]]

    def _folder(self, key: str, date: str) -> str:
        if key == _FEED:
            return paths.feed_dir(self._venue, date)
        return paths.rejected_dir(self._venue, date) if key == _REJECTED else paths.raw_dir(self._venue, key, date)

    def _is_news(self, entry: OpenFile, text: str) -> bool:
        """After damage more is taken again than is missing: what stands on disk already is not written twice."""
        if entry.known is None:
            folder, _, name = entry.path.rpartition("/")
            clock = name.split("_")[1].removesuffix(".jsonl")
            entry.known = archive.standing(self._disk, folder, clock)
        return text not in entry.known

    def _begin(self, key: str, start: int, first: int) -> OpenFile:
        """A file for this folder and time; the k-th where earlier ones are closed already."""
        date = paths.date_of(start)
        self._begun.note(date)
        folder = self._folder(key, date)
        clock = paths.clock_name(start, self._every_s)
        k, suffix = 0, ""
        sealed = self._stands(f"{folder}/part_{clock[:2]}.jsonl.zst")
        path = f"{folder}/open_{clock}.jsonl"
        # Asked for by name: late in a day a folder has thousands of others.
        while (
            (sealed and not k)
            or self._stands(path.replace("/open_", "/part_"))
            or any(path in old for old in self._named)
        ):
            k, suffix = k + 1, f"_{k + 1}"
            path = f"{folder}/open_{clock}{suffix}.jsonl"
        self.counters["late_files"] += bool(k)
        if self._stands(path):  # begun by a life that never came to name it: its lines come again
            self._disk.truncate(path, 0)
        return self._open.setdefault((key, start), OpenFile(path, start + self._every, first))

    def _stands(self, path: str) -> bool:
        return self._disk.size(path) is not None

    def _write(self, entry: OpenFile, more: bytes | memoryview = b"") -> None:
        """Appends what waits, and `more`."""
        is_held = entry.is_held
        self.counters["bytes_written"] += entry.write(self._disk, more)
        if is_held:
            return
        self._held.insert(0, entry)
        if len(self._held) > MOST_HELD:  # for what is over, the fewest lines still come
            least = min(self._held, key=attrgetter("end"))  # the newcomer itself where none is older
            least.release()
            self._held.remove(least)

    # --- durability ---

    def commit(self, final: bool = False) -> None:
        folders = set()
        for entry in self._open.values():
            if entry.lines:
                self._write(entry)
            if entry.fresh and entry.size:
                folders.add(entry.path.rpartition("/")[0])
                entry.fresh = False
        unsynced = [entry for entry in self._open.values() if entry.unsynced]
        self._disk.sync_files([entry.path for entry in unsynced])
        for entry in unsynced:
            entry.unsynced = False
        self._disk.sync_dirs(sorted(folders))
        everything = final or self._ended
        done = [key for key, entry in self._open.items() if everything or entry.end + CLOSE_AFTER <= self._ts]
        for key in done:
            self._finish(self._open.pop(key))
        if done:
            self._seals.store(before=self._ts - paths.HOUR - paths.SEAL_AFTER)
        self._store()
        self._close_named()

    def _finish(self, entry: OpenFile) -> None:
        if entry.is_held:
            self._held.remove(entry)
            entry.release()
        if not entry.size:  # all of it stood elsewhere already
            return
        path = entry.path.replace("/open_", "/part_")
        self._closing.append((entry.path, path))
        if entry.crc is not None:
            self._seals.of[path] = Seal(entry.size, entry.crc, entry.first, entry.end)

    def _keep(self) -> int:
        """The last record of which nothing would be needed if a file that is open, or lately was, had to be redone."""
        firsts = [entry.first for entry in self._open.values()]
        firsts += [seal.first for seal in self._seals.of.values() if seal.end + KEEP > self._ts]
        return min(firsts, default=self._position + 1) - 1

    def _store(self) -> None:
        """The checkpoint names the files about to be renamed: a crash in between is finished at the next start."""
        saved = {
            "position": self._position,
            "ts": self._ts,
            "ended": self._ended,
            "doubt": self._doubt,
            "keep": self._keep(),
            "open": [(*key, entry.path, entry.size, entry.first, entry.crc) for key, entry in self._open.items()],
            "closing": self._closing,
            "lost": self._lost,
            "whole": self._is_whole,
            "ids": _newest(self._ids),
            "agg_ids": _newest(self._agg_ids),
        }
        self._checkpoint.store(msgspec.msgpack.encode(saved))
        self._begun.ts = self._ts

    def _close_named(self) -> None:
        """Renames what the checkpoint names as closing. The names are durable before the next checkpoint forgets them:
        else a power cut could bring an ``open_`` file back that no checkpoint knows, to be swept.
        """
        for old, new in self._closing:
            if self._disk.size(old) is not None:
                name = self._free(new)
                self._disk.rename(old, name)
                if name != new:
                    self._seals.of.pop(new, None)
        self._disk.sync_dirs(sorted({new.rpartition("/")[0] for _, new in self._closing}))
        self._named = self._named[1], {old for old, _ in self._closing}
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
        for entry in self._held:
            entry.release()
        self._held.clear()
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
_OF_A_SYMBOL = (Trade, Quote, AggTrade)


def _folder_key(event: Event) -> str:
    if isinstance(event, _OF_A_SYMBOL):
        return event.symbol
    return _FEED if isinstance(event, Feed) else _REJECTED


if __name__ == "__main__":
    # It goes on to the last byte: what it takes frees the journal.
    main("archiver", Archiver, Config, __doc__ or "", need=None)
