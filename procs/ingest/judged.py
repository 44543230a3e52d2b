"""What a busy moment's rows come to, before anything of it is taken: their times, and the ids of each symbol.

    judged = judge(rows, behind, start, end, symbols)        what there is
    stamped = judged.stamp(estimates, walls, high)           with the times that they get

In one pass over the rows where the loops are compiled, else in numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import QUOTE
from shared.venues import Rows

Ints = NDArray[np.int64]


class Run(NamedTuple):
    """The trades or the quotes of a symbol."""

    symbol: int
    is_quote: bool
    first: int
    last: int
    ts: int
    """Of the last one."""
    is_odd: bool
    """Ids of trades that do not follow one another, or of quotes that do not rise."""


class Stamped(NamedTuple):
    """Rows with their times; what only quotes or only trades have stands together."""

    high: int
    """The highest venue time so far."""
    ts: Ints
    ts_recv: Ints
    ask: Ints
    ask_qty: Ints
    ts_sent: Ints


class Judged(Protocol):
    """Rows of one connection, all of them plain."""

    low: int
    top: int
    final: int
    """Lowest, highest and last venue time of trades."""
    trades: int
    tops: list[int]
    """Of each read the highest venue time of its trades; 0 where it has none."""

    def runs(self) -> Iterator[Run]:
        """Those of all trades, then those of all quotes."""

    def quote_ids(self, symbol: int) -> Ints:
        """In their order."""

    def stamp(self, estimates: Sequence[int], walls: Sequence[int], high: int) -> Stamped:
        """A trade keeps its time, a quote has the estimate of its read or the highest venue time before it, whichever
        is later. `high` is that of the rows before. To be called once: it may write into the rows.
        """


def judge(rows: Rows, behind: Ints, start: int, end: int, symbols: int) -> Judged:
    """The rows from `start` up to `end`; `behind` is the row behind each read's last."""
    library = kernels.loops
    if library is not None:
        return _Compiled(library, rows, behind, start, end, symbols)
    return _InNumpy(rows, behind, start, end)


class _Compiled:
    def __init__(self, library: ctypes.CDLL, rows: Rows, behind: Ints, start: int, end: int, symbols: int) -> None:
        self._library, self._behind = library, behind
        self._columns = rows
        self._part = slice(start, end)
        self._rows = kernels.Rows.of(rows)
        numbers = np.empty((4, 2 * symbols), np.int64)
        until, tops, ids = (np.empty(size, np.int64) for size in (symbols, len(behind), end - start))
        odd = np.empty(2 * symbols, np.uint8)
        self._judged = found = kernels.Judged(
            len(behind), symbols, behind.ctypes.data, tops.ctypes.data, *(row.ctypes.data for row in numbers),
            odd.ctypes.data, until.ctypes.data, ids.ctypes.data,
        )  # fmt: skip
        library.lake_judge(ctypes.byref(self._rows), start, end, ctypes.byref(found))
        self._symbols, self._numbers, self._odd = symbols, numbers, odd
        self._until: list[int] = until.tolist()
        self._ids: Ints = ids
        self.tops: list[int] = tops.tolist()
        self.low, self.top, self.final, self.trades = found.low, found.top, found.final, found.trades

    def runs(self) -> Iterator[Run]:
        symbols, odd = self._symbols, self._odd.tolist()
        for own, (count, first, last, ts) in enumerate(zip(*self._numbers.tolist(), strict=True)):
            if count:
                yield Run(own % symbols, own >= symbols, first, last, ts, bool(odd[own]))

    def quote_ids(self, symbol: int) -> Ints:
        return self._ids[self._until[symbol - 1] if symbol else 0 : self._until[symbol]]

    def stamp(self, estimates: Sequence[int], walls: Sequence[int], high: int) -> Stamped:
        start, end = self._part.start, self._part.stop
        count = end - start
        recv = np.empty(count, np.int64)
        ask, ask_qty = np.empty((2, count - self.trades), np.int64)
        sent = np.empty(self.trades, np.int64)
        clocks = np.array((estimates, walls), np.int64)
        high = self._library.lake_stamp(
            ctypes.byref(self._rows), start, end, ctypes.byref(self._judged), clocks[0].ctypes.data,
            clocks[1].ctypes.data, high, *(column.ctypes.data for column in (recv, ask, ask_qty, sent)),
        )  # fmt: skip
        return Stamped(high, self._columns.ts[self._part], recv, ask, ask_qty, sent)


class _InNumpy:
    def __init__(self, rows: Rows, behind: Ints, start: int, end: int) -> None:
        part = slice(start, end)
        self._rows, self._part, self._symbol = rows, part, rows.symbol[part]
        self._ids: Ints = rows.ids[part]
        self._is_quote = rows.kinds[part] == QUOTE
        self._latest = np.where(self._is_quote, 0, np.maximum(rows.ts[part], rows.ts_sent[part]))
        self._read_of = np.searchsorted(behind, np.arange(start, end), side="right")
        trades = self._latest[~self._is_quote]
        self.trades = len(trades)
        self.low, self.top, self.final = (
            (int(trades.min()), int(trades.max()), int(trades[-1])) if len(trades) else ((1 << 63) - 1, 0, 0)
        )
        self.tops = [int(self._latest[self._read_of == at].max(initial=0)) for at in range(len(behind))]

    def runs(self) -> Iterator[Run]:
        ts = self._rows.ts[self._part]
        for is_quote in (False, True):
            places = np.flatnonzero(self._is_quote == is_quote)
            places = places[np.argsort(self._symbol[places], kind="stable")]
            if not len(places):
                continue
            owner, ids = self._symbol[places], self._ids[places]
            step, same = np.diff(ids), np.diff(owner) == 0
            odd = set(owner[1:][same & ((step < 1) if is_quote else (step != 1))].tolist())
            breaks = (np.flatnonzero(~same) + 1).tolist()
            for begin, end in pairwise([0, *breaks, len(places)]):
                symbol, last = int(owner[begin]), int(places[end - 1])
                yield Run(symbol, is_quote, int(ids[begin]), int(ids[end - 1]), int(ts[last]), symbol in odd)

    def quote_ids(self, symbol: int) -> Ints:
        found: Ints = self._ids[self._is_quote & (self._symbol == symbol)]
        return found

    def stamp(self, estimates: Sequence[int], walls: Sequence[int], high: int) -> Stamped:
        rows, part, is_quote = self._rows, self._part, self._is_quote
        highs = np.maximum(np.maximum.accumulate(self._latest), high)
        own, recv = (np.array(clock, np.int64)[self._read_of] for clock in (estimates, walls))
        ts = np.where(is_quote, np.maximum(own, highs), rows.ts[part])
        partial = (rows.ask[part][is_quote], rows.ask_qty[part][is_quote], rows.ts_sent[part][~is_quote])
        return Stamped(int(highs[-1]), ts, recv, *partial)
