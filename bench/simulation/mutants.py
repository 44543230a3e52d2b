"""Each safety rule switched off, one at a time: a simulation that does not notice proves nothing.

The first sixteen are the rules of delivery, by their numbers; the others are faults that this simulation once found in
the product itself, put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from bench.simulation.parts import Rules, Timed
from procs.aggregator import Aggregator
from procs.archiver import Archiver
from procs.compactor import swap
from procs.compactor.work import Run as Compaction
from procs.ingest.core import Ingest
from procs.parquet_sink import ParquetSink
from shared import checkpoint, hidden
from shared.edges import Inlet, Outlet
from shared.events import Batch
from shared.files import Disk
from shared.journal import Writer, pack, segment_path, segments, unpack_all
from shared.runner import Loop
from shared.wire import Lane

# --- 1: journal, then publish ---


def _early(writer: Writer, lanes: Sequence[Lane]) -> Writer:
    plain = writer.append

    def append(batch: Batch) -> bytes:
        data = pack(batch, batch.first, len(batch.events) + 1)
        for lane in lanes:
            lane.send(data)
        return plain(batch)

    writer.append = append  # type: ignore[method-assign]
    return writer


class PublishesFirst(Ingest):
    def __init__(self, config: Any, venue: Any, writer: Writer, disk: Any, lanes: Sequence[Lane], *rest: Any) -> None:
        super().__init__(config, venue, _early(writer, lanes), disk, (), *rest)


class PublishesFirstToo(Outlet):
    def __init__(self, writer: Writer, reader: Any, lanes: Sequence[Lane], *rest: Any) -> None:
        super().__init__(_early(writer, lanes), reader, (), *rest)


# --- 2: the torn tail is cut before anything is appended ---


class KeepsTornTail(Writer):
    def _cut(self, first: int, data: bytes, good: int) -> None:
        return

    def open(self, at_least: int = 0, is_derived: bool = False) -> tuple[bytes | None, list[Batch]]:
        found = super().open(at_least, is_derived)
        firsts = segments(self._disk, self._folder)
        if firsts:
            self._current = firsts[-1]
            self._file = self._disk.appender(segment_path(self._folder, firsts[-1]))
            self._full = self._segment_bytes  # not yet: else the next record would begin another one
        return found


# --- 4, 5: what the lane lacks is read from the journal ---


class TakesBehindHole(Inlet):
    def _from_lane(self) -> list[Batch]:
        taken: list[Batch] = []
        while self._inbox is not None and (data := self._inbox.recv()) is not None:
            for batch in unpack_all(data, self.position):
                self.position = batch.last
                taken.append(batch)
        return taken


class NeverLooks(Inlet):
    def take(self, mono: int) -> list[Batch]:
        self._quiet_since = mono
        return super().take(mono)


# --- 6: the position is part of the output ---


class PositionBeside(Archiver):
    _BESIDE = "journal/archive/position"

    def open(self) -> int:
        super().open()
        if self._disk.size(self._BESIDE):
            self._position = int(self._disk.read(self._BESIDE))
        return self._position

    def commit(self, final: bool = False) -> None:
        self._disk.write(self._BESIDE, b"%d" % self._position)
        super().commit(final)


# --- 7, 8: source, own files, checkpoint ---


def _without_sync(inlet: Inlet, call: Callable[[], Any]) -> Any:
    plain = inlet.sync
    inlet.sync = lambda: None  # type: ignore[method-assign]
    try:
        return call()
    finally:
        inlet.sync = plain  # type: ignore[method-assign]


class SourceNotDurable(Loop):
    def commit(self, final: bool = False) -> None:
        _without_sync(self.inlet, lambda: super(SourceNotDurable, self).commit(final))


class DerivesTooEarly(Loop):
    def turn(self) -> bool:
        self._plain = self.inlet.sync
        return bool(_without_sync(self.inlet, super().turn))

    def commit(self, final: bool = False) -> None:
        if hasattr(self, "_plain"):
            self._plain()
        super().commit(final)


class CheckpointFirst(Archiver):
    def commit(self, final: bool = False) -> None:
        for entry in self._open.values():
            if entry.lines:
                self._write(entry)
        self._store()
        super().commit(final)


# --- 9: what is emitted depends on records only ---


class ByTheClock(Timed, Aggregator):
    def handle(self, batch: Batch) -> Iterable[Batch]:
        return super().handle(Batch(batch.first, max(batch.ts, self.clock.truth), batch.events))


# --- 10, 11: ids ---


class TakesAgain(Ingest):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for book in self.books.values():
            book.trades.take = _always(book.trades.take)  # type: ignore[method-assign, assignment]


def _always(plain: Callable[[int, int], bool]) -> Callable[[int, int], bool]:
    def take(one: int, ts: int) -> bool:
        plain(one, ts)
        return True

    return take


class ForgetsGaps(Ingest):
    def open(self, wall: int, mono: int) -> None:
        super().open(wall, mono)
        for book in self.books.values():
            held = book.trades.held
            if held.lowest is not None and held.highest is not None:
                held.add_range(held.lowest, held.highest)
            book.trades.gaps.clear()


class NeverAsks(Ingest):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.healer.probe = lambda symbols: None  # type: ignore[method-assign]


class TrustsRest(Ingest):
    """An answer counts for everything that was asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        plain = self.healer.pages.take_trades

        def take_trades(book: Any, tracker: Any, rows: Any) -> int:
            taken = plain(book, tracker, rows)
            for gap in tracker.gaps:
                tracker.take_range(gap.first, gap.last)
            return taken

        self.healer.pages.take_trades = take_trades  # type: ignore[method-assign]


# --- 12: a segment goes when the slowest has it ---


class DeletesAtFastest(Writer):
    def trim(self) -> int:
        done = max((int(checkpoint.peek(self._disk, base).get("position", 0)) for base in self._consumers), default=0)
        gone = [first for first, following in pairwise(sorted(self._sizes)) if following - 1 <= done]
        for first in gone:
            self._disk.remove(segment_path(self._folder, first))
            del self._sizes[first]
        return len(gone)


class WaitsForNobody(Writer):
    """A full journal lets the archiver's records go like anybody's."""

    def __init__(self, *args: Any, **sizes: Any) -> None:
        super().__init__(*args, **{**sizes, "keepers": ()})


# --- what the simulation found in the product ---


class TrustsNewest(Writer):
    """A segment goes on the word of a checkpoint that is not durable yet, or the only one that says so."""

    def trim(self) -> int:
        plain = checkpoint.needless, checkpoint.settle
        checkpoint.needless = lambda disk, base, seen: int(checkpoint.peek(disk, base).get("position", 0))
        checkpoint.settle = lambda disk, base: None
        try:
            return super().trim()
        finally:
            checkpoint.needless, checkpoint.settle = plain


class ForgetsNames(Archiver):
    """A power cut takes back a rename that no checkpoint remembers."""

    def _close_named(self) -> None:
        for old, new in self._closing:
            if self._disk.size(old) is not None:
                self._disk.rename(old, new)
        self._closing.clear()


class StateAhead(Writer):
    """A segment's state counts as held what is only about to be written."""

    def roll(self) -> None:
        return

    def append(self, batch: Batch) -> bytes:
        super().roll()
        return super().append(batch)


class KeepsLeftovers(ParquetSink):
    """Parts of a flush that came to no checkpoint stay beside those that replace them."""

    def _beyond(self) -> set[str]:
        return set()


class StampsByWall(Ingest):
    """Where no venue time is known yet, this machine's is taken."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        plain = self.intake._stamp

        def stamp(link: Any, quote: Any, estimate: int, mono: int) -> bool:
            return plain(link, quote, estimate or quote.ts_recv, mono)

        self.intake._stamp = stamp  # type: ignore[method-assign]


# --- the compactor ---


class Patched(Compaction):
    """A run in which something of the swap is otherwise."""

    name: str
    instead: Callable[..., Any]

    def work(self) -> None:
        plain = getattr(swap, self.name)
        setattr(swap, self.name, type(self).instead)
        try:
            super().work()
        finally:
            setattr(swap, self.name, plain)


class NamesFirst(Patched):
    """The new files take their names beside the old ones."""

    name = "_finish"

    @staticmethod
    def instead(disk: Disk, path: str, intent: swap.Intent) -> bool:
        for made in intent.makes:
            if disk.size(hidden.beside(made.path, hidden.NEW)) is not None:
                disk.replace(hidden.beside(made.path, hidden.NEW), made.path)
        for old in intent.drops:
            if old not in {made.path for made in intent.makes}:
                disk.remove(old)
        swap._forget(disk, path)
        return True


class SwapsInAGo(Compaction):
    """Without an intent nobody knows what a kill has left half done."""

    def work(self) -> None:
        plain = swap.Swap.commit
        swap.Swap.commit = _in_a_go  # type: ignore[method-assign]
        try:
            super().work()
        finally:
            swap.Swap.commit = plain  # type: ignore[method-assign]


def _in_a_go(self: swap.Swap) -> bool:
    disk = self._disk
    for old in self._drops:
        disk.remove(old)
    for made in self._makes:
        disk.replace(hidden.beside(made.path, hidden.NEW), made.path)
    return True


class LeavesOldNames(Patched):
    """What was removed may come back after a power cut, when no intent names it any more."""

    name = "_clean_up"

    @staticmethod
    def instead(disk: Disk, path: str, intent: swap.Intent) -> None:
        swap._sync(disk, intent)
        for old in intent.drops:
            disk.remove(hidden.beside(old, hidden.OLD))
        swap._forget(disk, path)


def _lies(part: str, call: str) -> dict[str, frozenset[str]]:
    return {part: frozenset((call,))}


MUTANTS: dict[str, Rules] = {
    "publish_before_journal": Rules(ingest=PublishesFirst, outlet=PublishesFirstToo),
    "no_torn_tail_cut": Rules(source_writer=KeepsTornTail, writer=KeepsTornTail),
    "no_reread_on_hole": Rules(inlet=TakesBehindHole),
    "no_idle_poll": Rules(inlet=NeverLooks),
    "no_truncate_to_checkpoint": Rules(lies=_lies("archive", "truncate")),
    "offset_beside_output": Rules(archiver=PositionBeside),
    "no_wal_rule": Rules(loop=SourceNotDurable),
    "checkpoint_before_fsync": Rules(archiver=CheckpointFirst),
    "rename_before_fsync": Rules(lies=_lies("parquet", "sync_table")),
    "derived_before_durable": Rules(loop=DerivesTooEarly),
    "clock_driven_bars": Rules(aggregator=ByTheClock),
    "no_id_dedup": Rules(ingest=TakesAgain),
    "gap_forgotten_on_restart": Rules(ingest=ForgetsGaps),
    "no_probe": Rules(ingest=NeverAsks),
    "trust_rest": Rules(ingest=TrustsRest),
    "delete_at_fastest": Rules(source_writer=DeletesAtFastest, writer=DeletesAtFastest),
}
"""The sixteen, by the names the rules give them."""

FOUND: dict[str, Rules] = {
    "names_forgotten": Rules(archiver=ForgetsNames),
    "tail_not_synced_at_start": Rules(lies=_lies("binance", "sync_segment")),
    "newest_slot_trusted": Rules(source_writer=TrustsNewest, writer=TrustsNewest),
    "state_ahead_of_journal": Rules(source_writer=StateAhead),
    "leftover_parts_kept": Rules(sink=KeepsLeftovers),
    "stamped_by_wall_clock": Rules(ingest=StampsByWall),
    "old_names_come_back": Rules(compaction=LeavesOldNames),
}
"""Faults this simulation found in the product."""

SWAPS: dict[str, Rules] = {
    "swap_without_intent": Rules(compaction=SwapsInAGo),
    "new_beside_old": Rules(compaction=NamesFirst),
}
"""The rules of the compactor: how old files become new ones."""

LIMITS: dict[str, Rules] = {"archiver_cut_loose": Rules(source_writer=WaitsForNobody)}
"""What holds when a journal is full."""

ALL = MUTANTS | FOUND | SWAPS | LIMITS
