"""Bars of a whole hour at once, where the loops are compiled: for bars that are made again from the archive.

An hour of which nothing is unusual is summed up second by second in one pass over its columns, and the state is left as
if its trades and quotes had come one by one. Of any other hour nothing is touched: it goes the way of the stream.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

import numpy as np

from shared import kernels
from shared.bars import Bars
from shared.events import QUOTE, Columns
from shared.lineruns import joined
from shared.paths import HOUR, SECOND
from shared.rowbars import AT, BarRows, Due, Ints, closed
from shared.seconds import NO_ID, within

SECONDS: Final = HOUR // SECOND


class HourBars(Bars):
    """As `Bars`; who has a whole hour in columns may give it at once."""

    def take_hour(self, columns: Sequence[Columns], begin: int) -> BarRows | None:
        """The bars of the hour that begins at `begin` (nanoseconds), of the one symbol all of whose trades and quotes
        these are, one or more columns of the same digits; `advance` to its end must follow. None, and nothing has
        changed, where they must go as a stream.
        """
        if kernels.loops is None or self._stirred:
            return None
        (symbol,), digits = columns[0].symbols, columns[0].digits
        series = self._series.get(symbol) or self._begin(symbol)
        is_late = self._closed is not None and self._closed * SECOND > begin
        if is_late or not series.is_settled or within(series.cuts, begin, begin + HOUR):
            return None
        is_trade = np.frombuffer(b"".join([one.kinds for one in columns]), np.uint8) != QUOTE
        ids = np.frombuffer(b"".join([one.ids for one in columns]), np.int64)
        trades = np.sort(ids[is_trade])
        is_new = not len(trades) or int(trades[0]) > series.top
        rows = _summed(kernels.loops, columns, begin) if is_new else None
        if rows is None:
            return None
        bars, odd = closed(kernels.loops, Due([series], [len(rows)], rows, digits), self._units)
        if odd:
            return None
        for run in np.split(trades, np.flatnonzero(np.diff(trades) != 1) + 1):
            if len(run):
                series.ids.add_range(int(run[0]), int(run[-1]))
        return bars


def _summed(library: ctypes.CDLL, columns: Sequence[Columns], begin: int) -> Ints | None:
    """A row of each second in which something was; None where it is not in order even after it was put in order."""
    found = _taken(library, columns, begin)
    return found if found is not None else _taken(library, [_ordered(joined(columns))], begin)


def _taken(library: ctypes.CDLL, columns: Sequence[Columns], begin: int) -> Ints | None:
    seconds = np.zeros((SECONDS, len(kernels.SECOND_FIELDS)), np.int64)
    reached = np.array([NO_ID, begin, NO_ID, begin], np.int64)
    for one in columns:
        places = kernels.pointers([kernels.address(getattr(one, name)) for name in kernels.COLUMNS])
        taken = library.lake_seconds(
            len(one), kernels.address(one.kinds), ctypes.byref(places), begin, SECONDS, seconds.ctypes.data,
            reached.ctypes.data,
        )  # fmt: skip
        if taken < len(one):
            return None
    seconds[:, AT.second] = np.arange(begin // SECOND, begin // SECOND + SECONDS)
    return seconds[(seconds[:, AT.trades] > 0) | (seconds[:, AT.quotes] > 0)]


def _ordered(columns: Columns) -> Columns:
    """The trades by id, then the quotes by time and id."""
    kinds = np.frombuffer(columns.kinds, np.uint8)
    ts, ids = np.frombuffer(columns.ts, np.int64), np.frombuffer(columns.ids, np.int64)
    trades, quotes = np.flatnonzero(kinds != QUOTE), np.flatnonzero(kinds == QUOTE)
    by_id = np.argsort(ids[trades], kind="stable")
    by_time = np.lexsort((ids[quotes], ts[quotes]))
    order = np.concatenate([trades[by_id], quotes[by_time]])
    partial_order = {"ask": by_time, "ask_qty": by_time, "ts_sent": by_id}
    made = {
        name: np.frombuffer(getattr(columns, name), np.int64)[partial_order.get(name, order)].tobytes()
        for name in kernels.COLUMNS
    }
    return Columns(columns.symbols, columns.digits, kinds[order].tobytes(), columns.symbol, **made)
