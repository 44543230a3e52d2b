"""A busy moment's frames all at once: what `Intake` does with one event, done with columns of them.

Only the ordinary is done here: plain frames, ids that follow one another, times that nobody doubts. Whatever is not
(a frame, a symbol, a whole read) goes the single way, which says the same of the ordinary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from procs.ingest.reads import Read
from procs.ingest.slots import Link
from procs.ingest.symbols import Book
from procs.ingest.venuetime import DAY_NS
from shared.events import QUOTE, Columns
from shared.venues import ColumnReader, Rows

if TYPE_CHECKING:
    from procs.ingest.intake import Intake

Ints = NDArray[np.int64]
Places = NDArray[np.intp]
Flags = NDArray[np.bool_]

MOST: Final = 12_288
"""Events in one record at most: what is gathered, and the read that was the last of it."""


class Bulk:
    """The columns' way into a source."""

    def __init__(self, intake: Intake, reader: ColumnReader, books: dict[str, Book], replay: bool) -> None:
        self._intake = intake
        self._replay = replay
        self._least = intake.busy // 8
        """So many frames without an unusual one among them are worth columns once there are many in all."""
        self._reader = reader
        self._books = [books[symbol] for symbol in reader.symbols]

    def take(self, link: Link, reads: Sequence[Read]) -> set[str]:
        """Takes what some reads of one connection held; returns the kinds of data among it."""
        rows = self._reader.read([read.frames for read in reads])
        bounds = np.cumsum([len(read.frames) for read in reads])
        odd = np.flatnonzero(~rows.is_plain)
        kinds: set[str] = set()
        for start, behind in pairwise([-1, *odd.tolist(), len(rows.kinds)]):
            if start >= 0:
                kinds |= self._single(link, reads, bounds, start, start + 1)
            if behind - start == 1:
                continue
            if behind - start <= self._least or not self._columns(link, reads, rows, bounds, start + 1, behind):
                kinds |= self._single(link, reads, bounds, start + 1, behind)
            else:
                kinds |= {"trade", "quote"}
        return kinds

    def _single(self, link: Link, reads: Sequence[Read], bounds: Places, start: int, behind: int) -> set[str]:
        """The frames from `start` up to `behind`, one by one, each with the clocks of its read."""
        kinds: set[str] = set()
        for read, first, end in zip(reads, [0, *bounds.tolist()], bounds.tolist(), strict=False):
            part = read.frames[max(start - first, 0) : max(min(end, behind) - first, 0)]
            if part:
                kinds |= self._intake.frames(link, part, read.wall, read.mono)
        return kinds

    def _columns(self, link: Link, reads: Sequence[Read], rows: Rows, bounds: Places, start: int, behind: int) -> bool:
        """Takes plain rows; False, having done nothing, where their times are not beyond doubt."""
        part = slice(start, behind)
        is_quote = rows.kinds[part] == QUOTE
        latest = np.where(is_quote, 0, np.maximum(rows.ts[part], rows.ts_sent[part]))
        read_of = np.searchsorted(bounds, np.arange(start, behind), side="right")
        high = np.maximum(np.maximum.accumulate(latest), link.high)
        if self._replay:
            ts = np.where(is_quote, high, rows.ts[part])
        else:
            trades = latest[~is_quote]
            if not self._is_believable(link, trades, reads[0].mono):
                return False
            estimates = self._heed(link.high, reads, latest, read_of)
            ts = np.where(is_quote, np.maximum(estimates, high), rows.ts[part])
            if len(trades):
                link.last, link.implausible = int(trades[-1]), 0
        link.high = int(high[-1])
        symbol, ids = rows.symbol[part], rows.ids[part]
        is_new = self._are_new(symbol, ids, ts, is_quote, reads[-1].mono)
        self._intake.counters["events_in"] += behind - start
        self._intake.counters["duplicates"] += len(is_new) - int(np.count_nonzero(is_new))
        recv = np.array([read.wall for read in reads], np.int64)[read_of]
        self._give(rows, np.flatnonzero(is_new) + start, ts[is_new], recv[is_new])
        return True

    def _is_believable(self, link: Link, latest: Ints, mono: int) -> bool:
        """Whether no venue time among these could be refused."""
        if not len(latest):
            return True
        low, top, time = int(latest.min()), int(latest.max()), self._intake.time
        before = link.last or top
        return max(top, before) - min(low, before) <= DAY_NS and time.is_near(top, mono)

    def _heed(self, high: int, reads: Sequence[Read], latest: Ints, read_of: Places) -> Ints:
        """Moves our time on, read by read; gives the estimate of each row's read."""
        estimates = np.zeros(len(reads), np.int64)
        for at in range(int(read_of[0]), int(read_of[-1]) + 1):
            estimates[at] = self._intake.estimate(reads[at].mono)
            top = int(latest[read_of == at].max(initial=0))
            if top > high:
                self._intake.time.believes(top, reads[at].mono)
                high = top
        return estimates[read_of]

    def _are_new(self, symbol: NDArray[np.uint16], ids: Ints, ts: Ints, is_quote: Flags, mono: int) -> Flags:
        """Which of them nobody has brought yet."""
        is_new = np.ones(len(ids), np.bool_)
        for kind in (False, True):
            places = np.flatnonzero(is_quote == kind)
            places = places[np.argsort(symbol[places], kind="stable")]
            if not len(places):
                continue
            owner, sorted_ids = symbol[places], ids[places]
            step, same = np.diff(sorted_ids), np.diff(owner) == 0
            breaks = np.flatnonzero(~same) + 1
            # Trades follow one another without a hole; quotes only rise.
            unusual = set(owner[1:][same & ((step < 1) if kind else (step != 1))].tolist())
            take = self._take_quotes if kind else self._take_trades
            for begin, end in pairwise([0, *breaks.tolist(), len(places)]):
                book, mine = self._books[owner[begin]], places[begin:end]
                is_new[mine] = take(book, sorted_ids[begin:end], ts[mine], owner[begin] in unusual, mono)
        return is_new

    def _take_trades(self, book: Book, ids: Ints, ts: Ints, is_unusual: bool, mono: int) -> Flags | bool:
        book.traded = mono
        if not is_unusual and book.trades.take_run(int(ids[0]), int(ids[-1]), int(ts[-1])):
            return True
        take = book.trades.take
        return np.array([take(one, at) for one, at in zip(ids.tolist(), ts.tolist(), strict=True)], np.bool_)

    def _take_quotes(self, book: Book, ids: Ints, ts: Ints, is_unusual: bool, mono: int) -> Flags | bool:
        book.quoted = mono
        if not is_unusual and book.take_quotes(ids):
            return True
        is_new, is_old = book.is_new_quote, book.is_old_quote
        return np.array([is_new(one) and not (self._replay and is_old(one)) for one in ids.tolist()], np.bool_)

    def _give(self, rows: Rows, places: Places, ts: Ints, recv: Ints) -> None:
        size = -(-len(places) // -(-len(places) // MOST)) if len(places) else 1  # records of about one size
        for at in range(0, len(places), size):
            some = places[at : at + size]
            stamps = ts[at : at + size]
            columns = _columns_of(rows, some, stamps, recv[at : at + size], self._reader)
            self._intake.recorder.add_columns(columns, int(stamps.max()))


def _columns_of(rows: Rows, places: Places, ts: Ints, recv: Ints, reader: ColumnReader) -> Columns:
    """Rows as they travel, with the symbols that occur among them."""
    kinds, symbol = rows.kinds[places], rows.symbol[places]
    occurs = np.bincount(symbol, minlength=len(reader.symbols)) > 0
    renumbered = np.cumsum(occurs, dtype=np.uint16) - np.uint16(1)
    is_quote = kinds == QUOTE
    quotes, trades = places[is_quote], places[~is_quote]
    return Columns(
        symbols=[reader.symbols[at] for at in np.flatnonzero(occurs).tolist()],
        digits=reader.digits,
        kinds=kinds.tobytes(),
        symbol=renumbered[symbol].tobytes(),
        ts=ts.tobytes(),
        ts_recv=recv.tobytes(),
        ids=rows.ids[places].tobytes(),
        price=rows.price[places].tobytes(),
        qty=rows.qty[places].tobytes(),
        ask=rows.ask[quotes].tobytes(),
        ask_qty=rows.ask_qty[quotes].tobytes(),
        ts_sent=rows.ts_sent[trades].tobytes(),
    )
