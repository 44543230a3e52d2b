"""What a busy moment's rows come to, before anything of it is taken: their times, and the ids of each symbol.

    judged = judge(rows, behind, start, end, symbols)        what there is
    stamped = judged.stamp(estimates, walls, high)           with the times that they get

In one pass over the rows where the loops are compiled, else in numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress, pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import QUOTE
from shared.venues import Rows

Ints = NDArray[np.int64]


Run = tuple[int, bool, int, int, int, int]
"""The trades or the quotes of a symbol: its number, whether they are quotes, their first and last id, the time of the
last one, and whether they are odd: ids of trades that do not follow one another, or of quotes that do not rise.
"""


class Stamped(NamedTuple):
    """Rows with their times; what only quotes or only trades have stands together."""

    high: int
    """The highest venue time so far."""
    latest: int
    """The latest time given."""
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

    def runs(self) -> Iterable[Run]:
        """Those of all trades, then those of all quotes."""

    def quote_ids(self, symbol: int) -> bytes:
        """In their order, int64."""

    def stamp(self, estimates: Sequence[int], walls: Sequence[int], high: int) -> Stamped:
        """A trade keeps its time, a quote has the estimate of its read or the highest venue time before it, whichever
        is later. `high` is that of the rows before. To be called once: it may write into the rows.
        """


def judge(rows: Rows, behind: list[int], start: int, end: int, symbols: int) -> Judged:
    """The rows from `start` up to `end`; `behind` is the row behind each read's last."""
    library, each = kernels.loops, np.array(behind, np.int64)
    if library is not None:
        return _Compiled(library, rows, each, start, end, symbols)
    return _InNumpy(rows, each, start, end)


class _Compiled:
    """All that the loops fill lies in one piece of memory: to ask each array where it is takes longer than to judge the
    rows of a quiet moment.
    """

    def __init__(self, library: ctypes.CDLL, rows: Rows, behind: Ints, start: int, end: int, symbols: int) -> None:
        self._library, self._rows = library, rows
        self._part, self._symbols = slice(start, end), range(symbols)
        places = list(accumulate((len(behind), *(2 * symbols,) * 5, symbols, end - start), initial=0))
        memory = np.empty(places[-1], np.int64)
        self._held, at = (behind, memory), kernels.address(memory)
        self._judged = found = kernels.Judged(
            len(behind), symbols, kernels.address(behind), *(at + 8 * place for place in places[:-1])
        )
        library.lake_judge(ctypes.byref(rows.lent), start, end, ctypes.byref(found))
        *numbers, ids = (memory[begin:end] for begin, end in pairwise(places))
        self._ids = ids.tobytes()
        self.tops, *self._of_each, self._until = (column.tolist() for column in numbers)
        self.low, self.top, self.final, self.trades = found.low, found.top, found.final, found.trades

    def runs(self) -> Iterable[Run]:
        symbols, (count, *numbers) = self._symbols, self._of_each
        is_quote = [False] * len(symbols) + [True] * len(symbols)
        return compress(zip((*symbols, *symbols), is_quote, *numbers, strict=True), count)

    def quote_ids(self, symbol: int) -> bytes:
        return self._ids[8 * self._until[symbol - 1] if symbol else 0 : 8 * self._until[symbol]]

    def stamp(self, estimates: Sequence[int], walls: Sequence[int], high: int) -> Stamped:
        part, rows = self._part, self._rows
        trades, quotes = self.trades, part.stop - part.start - self.trades
        clocks = np.array((*estimates, *walls), np.int64)
        partial = np.empty(2 * quotes + trades, np.int64)
        first, at = kernels.address(clocks), kernels.address(partial)
        high = self._library.lake_stamp(
            ctypes.byref(rows.lent), part.start, part.stop, ctypes.byref(self._judged), first, first + 8 * len(walls),
            high, at, at + 8 * quotes, at + 16 * quotes,
        )  # fmt: skip
        ask, ask_qty, sent = partial[:quotes], partial[quotes : 2 * quotes], partial[2 * quotes :]
        return Stamped(high, self._judged.latest, rows.ts[part], rows.ts_recv[part], ask, ask_qty, sent)


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

    def runs(self) -> Iterable[Run]:
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
                yield symbol, is_quote, int(ids[begin]), int(ids[end - 1]), int(ts[last]), symbol in odd

    def quote_ids(self, symbol: int) -> bytes:
        found: Ints = self._ids[self._is_quote & (self._symbol == symbol)]
        return found.tobytes()

    def stamp(self, estimates: Sequence[int], walls: Sequence[int], high: int) -> Stamped:
        rows, part, is_quote = self._rows, self._part, self._is_quote
        highs = np.maximum(np.maximum.accumulate(self._latest), high)
        own, recv = (np.array(clock, np.int64)[self._read_of] for clock in (estimates, walls))
        ts = np.where(is_quote, np.maximum(own, highs), rows.ts[part])
        partial = (rows.ask[part][is_quote], rows.ask_qty[part][is_quote], rows.ts_sent[part][~is_quote])
        return Stamped(int(highs[-1]), int(ts.max()), ts, recv, *partial)
