"""Many seconds at once: rows that are due become bars in a few passes over all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import Bar
from shared.numbers import Units
from shared.paths import SECOND
from shared.rows import SIZE, Book, Numbers, Row, book, standing, wide
from shared.seconds import NO_ID, within
from shared.series import Series

Ints = NDArray[np.int64]

AT: Final[Numbers[int]] = Numbers._make(range(len(kernels.SECOND_FIELDS)))
"""Where each number of a row is."""
_NO_BOOK: Final = [0] * 6
_INT64: Final = (1 << 63) - 1
_PRECISE: Final = 1 << 53
"""Integers up to this are floats, and so a quotient of two is rounded once."""


class Closing:
    """Rows of one or more symbols, all of one number of digits. Their series are touched when they are closed."""

    def __init__(self, digits: int, units: Units) -> None:
        self._digits, self._units = digits, units
        self._due: list[tuple[Series, Ints]] = []
        self._before: list[Book] = []

    def add(self, series: Series, rows: Ints, stood: Book | None) -> bool:
        """Rows of one symbol in the order of time; whether they can be closed as rows: no quote ceased to stand while
        they last, and what stood before is in the same units and not newer than the first of them. `stood`: the quote
        of `series.standing`, where that is known.
        """
        begin, end = int(rows[0, AT.second]) * SECOND, (int(rows[-1, AT.second]) + 1) * SECOND
        if within(series.cuts, begin, end):
            return False
        stands = series.standing_at(begin)
        if stands is None:
            known = _NO_BOOK
        else:
            found = stood or book(stands, self._digits, self._units)
            quoted = np.flatnonzero(rows[:, AT.quotes])
            if found is None or (len(quoted) and int(rows[quoted[0], AT.first_update]) < found[1]):
                return False
            known = found
        self._due.append((series, rows))
        self._before.append([series.closed_top, stands is not None, *known])
        return True

    def close(self, library: ctypes.CDLL) -> tuple[list[Bar], list[Book | None]]:
        """The bars, and of each symbol, in the order in which they were added, the quote that stands now."""
        if not self._due:
            return [], []
        counts = [len(rows) for _, rows in self._due]
        rows = np.concatenate([rows for _, rows in self._due])
        rows[:, AT.owner] = np.repeat(np.arange(len(counts)), counts)
        before = np.array(self._before, np.int64)
        library.lake_close(len(rows), rows.ctypes.data, before.ctypes.data)
        bars = made([series.symbol for series, _ in self._due], rows, self._digits)
        books = [book if has_book else None for _, has_book, *book in before.tolist()]
        rows[:, AT.owner] = 0
        self._keep(rows, counts, books)
        return bars, books

    def _keep(self, rows: Ints, counts: list[int], books: list[Book | None]) -> None:
        has_trades = rows[:, AT.trades] > 0
        secs: list[int] = rows[:, AT.second].tolist()
        tops: list[int] = np.where(has_trades, rows[:, AT.last_id], NO_ID).tolist()
        lacks = (has_trades & (rows[:, AT.is_complete] == 0)).tolist()
        data, digits = rows.tobytes(), self._digits
        packs = [Row(digits, data[at : at + SIZE]) for at in range(0, len(data), SIZE)]
        at = 0
        for (series, _), count, stands in zip(self._due, counts, books, strict=True):
            end = at + count
            incomplete = [sec for sec, lack in zip(secs[at:end], lacks[at:end], strict=True) if lack]
            newest = standing(stands, digits) if stands else None
            series.extend(secs[at:end], tops[at:end], packs[at:end], incomplete, newest)
            at = end


def made(symbols: Sequence[str], rows: Ints, digits: int) -> list[Bar]:
    """The bars of closed rows, as `Second.bar` makes them."""
    unit = 10**digits
    one: Numbers[Ints] = Numbers._make(rows.T)
    untraded, unquoted = np.flatnonzero(one.trades == 0).tolist(), np.flatnonzero(one.has_book == 0).tolist()
    volume, bought = _wide(one.volume, one.volume_high), _wide(one.buy_volume, one.buy_volume_high)
    paid, buy_paid = _wide(one.paid, one.paid_high), _wide(one.buy_paid, one.buy_paid_high)
    id_sum = [number if number <= _INT64 else None for number in _wide(one.id_sum, one.id_sum_high)]
    prices = (one.open, one.high, one.low, one.close, one.bid, one.ask, one.ask - one.bid, one.bid_qty, one.ask_qty)
    traded = [_without(_quotients(column, unit), untraded) for column in prices[:4]]
    quoted = [_without(_quotients(column, unit), unquoted) for column in prices[4:]]
    return list(
        map(
            Bar,
            [symbols[owner] for owner in one.owner.tolist()],
            (one.second * SECOND).tolist(),
            *traded,
            [number / unit for number in volume],
            [number / unit**2 for number in paid],
            one.trades.tolist(),
            [number / (whole * unit) if whole else None for number, whole in zip(paid, volume, strict=True)],
            *quoted,
            one.quotes.tolist(),
            [
                number / (live * unit) if live else None
                for number, live in zip(_wide(one.weighted, one.weighted_high), one.live_ns.tolist(), strict=True)
            ],
            [number / unit for number in bought],
            [number / unit**2 for number in buy_paid],
            one.buys.tolist(),
            *(_without(column, untraded) for column in (one.first_id.tolist(), one.last_id.tolist(), id_sum)),
            _without((one.is_complete > 0).tolist(), untraded),
            (one.live_ns // 1_000_000).tolist(),
        )
    )


def _wide(low: Ints, high: Ints) -> list[int]:
    return list(map(wide, low.tolist(), high.tolist()))


def _quotients(numbers: Ints, unit: int) -> list[float]:
    """Each as the float that is nearest to it."""
    if max(int(numbers.max(initial=0)), -int(numbers.min(initial=0))) <= _PRECISE:
        quotients: list[float] = (numbers / unit).tolist()
        return quotients
    return [number / unit for number in numbers.tolist()]


def _without(values: list[Any], absent: list[int]) -> list[Any]:
    """Nothing in these places."""
    for at in absent:
        values[at] = None
    return values
