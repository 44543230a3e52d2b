"""A busy moment's frames all at once: what `Intake` does with one event, done with columns of them.

Only the ordinary is done here: plain frames, ids that follow one another, times that nobody doubts. Whatever is not
(a frame, a symbol, a whole read) goes the single way, which says the same of the ordinary.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from procs.ingest.judged import Judged, Run, Stamped, judge
from procs.ingest.reads import Read
from procs.ingest.slots import Link
from procs.ingest.symbols import Book
from procs.ingest.venuetime import DAY_NS
from shared.events import QUOTE, Columns
from shared.venues import ColumnReader, Rows

if TYPE_CHECKING:
    from procs.ingest.intake import Intake

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MOST: Final = 49_152
"""Events in one record at most: what is gathered, and the read that was the last of it. It is 2.9 MB, of the four that
a record may have."""


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
        bounds = list(accumulate(len(read.frames) for read in reads))
        # Numpy's own ways to ask this cost a quiet moment's few rows more than all that is done with them.
        odd = np.flatnonzero(~rows.is_plain).tolist() if b"\0" in rows.is_plain.tobytes() else []
        kinds: set[str] = set()
        for start, behind in pairwise([-1, *odd, len(rows.kinds)]):
            if start >= 0:
                kinds |= self._single(link, reads, bounds, start, start + 1)
            if behind - start == 1:
                continue
            part = start + 1, behind
            taken = self._columns(link, reads, rows, bounds, *part) if behind - start > self._least else None
            kinds |= self._single(link, reads, bounds, *part) if taken is None else taken
        return kinds

    def _single(self, link: Link, reads: Sequence[Read], bounds: list[int], start: int, behind: int) -> set[str]:
        """The frames from `start` up to `behind`, one by one, each with the clocks of its read."""
        kinds: set[str] = set()
        for read, first, end in zip(reads, [0, *bounds], bounds, strict=False):
            part = read.frames[max(start - first, 0) : max(min(end, behind) - first, 0)]
            if part:
                kinds |= self._intake.frames(link, part, read.wall, read.mono)
        return kinds

    def _columns(
        self, link: Link, reads: Sequence[Read], rows: Rows, bounds: list[int], start: int, behind: int
    ) -> set[str] | None:
        """Takes plain rows and gives their kinds; None, having done nothing, where their times are not beyond doubt."""
        judged = judge(rows, bounds, start, behind, len(self._books))
        if self._replay:
            estimates = [0] * len(reads)
        else:
            if not self._is_believable(link, judged, reads[0].mono):
                return None
            estimates = self._heed(link.high, reads, judged, *(bisect_right(bounds, at) for at in (start, behind - 1)))
            if judged.trades:
                link.last, link.implausible = judged.final, 0
        stamped = judged.stamp(estimates, [read.wall for read in reads], link.high)
        link.high = stamped.high
        runs = list(judged.runs())
        each = ("trade", judged.trades), ("quote", behind - start - judged.trades)
        kinds = {kind for kind, count in each if count}
        is_new = self._are_new(rows, start, behind, judged, runs, reads[-1].mono)
        self._intake.counters["events_in"] += behind - start
        if is_new is None and behind - start <= MOST:
            self._give_all(rows, slice(start, behind), stamped, runs)
            return kinds
        if is_new is None:
            is_new = np.ones(behind - start, np.bool_)
        self._intake.counters["duplicates"] += len(is_new) - int(np.count_nonzero(is_new))
        self._give(rows, np.flatnonzero(is_new) + start, stamped.ts[is_new], stamped.ts_recv[is_new])
        return kinds

    def _is_believable(self, link: Link, judged: Judged, mono: int) -> bool:
        """Whether no venue time among these could be refused."""
        if not judged.trades:
            return True
        before = link.last or judged.top
        is_near = self._intake.time.is_near(judged.top, mono)
        return max(judged.top, before) - min(judged.low, before) <= DAY_NS and is_near

    def _heed(self, high: int, reads: Sequence[Read], judged: Judged, first: int, last: int) -> list[int]:
        """Moves our time on, read by read; gives the estimate of each."""
        estimates = [0] * len(reads)
        for at in range(first, last + 1):
            estimates[at] = self._intake.estimate(reads[at].mono)
            if judged.tops[at] > high:
                high = judged.tops[at]
                self._intake.time.believes(high, reads[at].mono)
        return estimates

    def _are_new(
        self, rows: Rows, start: int, behind: int, judged: Judged, runs: Sequence[Run], mono: int
    ) -> Flags | None:
        """Which of them nobody has brought yet; None where all are new."""
        is_new: Flags | None = None
        for symbol, is_quote, first, last, ts, is_odd in runs:
            book = self._books[symbol]
            if is_quote:
                book.quoted = mono
                if not is_odd and book.take_quotes(first, last, judged.quote_ids(symbol)):
                    continue
            else:
                book.traded = mono
                if not is_odd and book.trades.take_run(first, last, ts):
                    continue
            if is_new is None:
                is_new = np.ones(behind - start, np.bool_)
            mine = (rows.kinds[start:behind] == QUOTE) == is_quote
            places = np.flatnonzero(mine & (rows.symbol[start:behind] == symbol))
            is_new[places] = self._singly(book, is_quote, rows.ids[start + places], rows.ts[start + places])
        return is_new

    def _singly(self, book: Book, is_quote: bool, ids: Ints, ts: Ints) -> list[bool]:
        """What is out of the ordinary, id by id."""
        if is_quote:
            is_new, is_old = book.is_new_quote, book.is_old_quote
            return [is_new(one) and not (self._replay and is_old(one)) for one in ids.tolist()]
        take = book.trades.take
        return [take(one, at) for one, at in zip(ids.tolist(), ts.tolist(), strict=True)]

    def _give_all(self, rows: Rows, part: slice, stamped: Stamped, runs: Sequence[Run]) -> None:
        """All of these rows as one record."""
        names, symbol = self._occurring(rows.symbol[part], {symbol for symbol, *_ in runs})
        columns = Columns(
            names, self._reader.digits, rows.kinds[part].tobytes(), symbol.tobytes(), stamped.ts.tobytes(),
            stamped.ts_recv.tobytes(), rows.ids[part].tobytes(), rows.price[part].tobytes(), rows.qty[part].tobytes(),
            stamped.ask.tobytes(), stamped.ask_qty.tobytes(), stamped.ts_sent.tobytes(), _short(rows.short[part]),
        )  # fmt: skip
        self._intake.recorder.add_columns(columns, stamped.latest)

    def _give(self, rows: Rows, places: NDArray[np.intp], ts: Ints, recv: Ints) -> None:
        """Some of them, as records of about one size."""
        size = -(-len(places) // -(-len(places) // MOST)) if len(places) else 1
        for at in range(0, len(places), size):
            some, stamps = places[at : at + size], ts[at : at + size]
            kinds, symbol = rows.kinds[some], rows.symbol[some]
            quotes, trades = some[kinds == QUOTE], some[kinds != QUOTE]
            names, symbol = self._occurring(symbol, set(np.unique(symbol).tolist()))
            columns = Columns(
                names, self._reader.digits, kinds.tobytes(), symbol.tobytes(), stamps.tobytes(),
                recv[at : at + size].tobytes(), rows.ids[some].tobytes(), rows.price[some].tobytes(),
                rows.qty[some].tobytes(), rows.ask[quotes].tobytes(), rows.ask_qty[quotes].tobytes(),
                rows.ts_sent[trades].tobytes(), _short(rows.short[some]),
            )  # fmt: skip
            self._intake.recorder.add_columns(columns, int(stamps.max()))

    def _occurring(self, symbol: NDArray[np.uint16], those: set[int]) -> tuple[list[str], NDArray[np.uint16]]:
        """The symbols that occur, and of each row the place of its own among them."""
        names = self._reader.symbols
        if len(those) == len(names):
            return names, symbol
        place = np.zeros(len(names), np.uint16)
        order = sorted(those)
        place[order] = np.arange(len(order), dtype=np.uint16)
        return [names[at] for at in order], place[symbol]


def _short(column: NDArray[np.uint16]) -> bytes:
    """Nothing where no digit was left out."""
    data = column.tobytes()
    return data if data.strip(b"\0") else b""
