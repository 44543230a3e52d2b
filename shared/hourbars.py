"""Bars of a whole hour at once, where the loops are compiled: for bars that are made again from the archive.

An hour of which nothing is unusual is summed up second by second in one pass over its columns, and the state is left as
if its trades and quotes had come one by one. Of any other hour nothing is touched: it goes the way of the stream.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.bars import Bars
from shared.events import QUOTE, Bar, Columns, plain
from shared.lineruns import joined
from shared.numbers import DIGITS, Units
from shared.paths import HOUR, SECOND
from shared.seconds import NO_ID, Second, Standing, within

Ints = NDArray[np.int64]

SECONDS: Final = HOUR // SECOND
_HIGH: Final = 1 << 61
"""Sums of a few numbers below this fit 64 bits."""
_PRECISE: Final = 1 << 53
"""Integers up to this are floats, and so a quotient of two is rounded once."""


class HourBars(Bars):
    """As `Bars`; who has a whole hour in columns may give it at once."""

    def take_hour(self, columns: Sequence[Columns], begin: int) -> list[Bar] | None:
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
        trades, standing = np.sort(ids[is_trade]), series.standing_at(begin)
        is_new = not len(trades) or int(trades[0]) > series.top
        is_newer = standing is None or int(ids[~is_trade].min(initial=_HIGH)) >= standing[1]
        book = _book(standing, digits, self._units)
        seconds = _summed(kernels.loops, columns, begin) if is_new and is_newer and book else None
        if seconds is None or book is None:
            return None
        hour = _Hour(digits, begin, seconds, standing, book, series.top)
        if not hour.is_narrow:
            return None
        for run in np.split(trades, np.flatnonzero(np.diff(trades) != 1) + 1):
            if len(run):
                series.ids.add_range(int(run[0]), int(run[-1]))
        series.extend(*hour.left())
        return hour.bars(series.symbol)


def _summed(library: ctypes.CDLL, columns: Sequence[Columns], begin: int) -> Ints | None:
    """What each second of the hour comes to; None where something is not in order even after it was put in order."""
    found = _taken(library, columns, begin)
    return found if found is not None else _taken(library, [_ordered(joined(columns))], begin)


def _taken(library: ctypes.CDLL, columns: Sequence[Columns], begin: int) -> Ints | None:
    seconds = np.zeros((SECONDS, len(kernels.SECOND_FIELDS)), np.int64)
    reached = np.array([NO_ID, begin, NO_ID, begin])
    for one in columns:
        places = kernels.pointers([kernels.address(getattr(one, name)) for name in kernels.COLUMNS])
        taken = library.lake_seconds(
            len(one), kernels.address(one.kinds), ctypes.byref(places), begin, SECONDS, seconds.ctypes.data,
            reached.ctypes.data,
        )  # fmt: skip
        if taken < len(one):
            return None
    return seconds


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


def _book(standing: Standing | None, digits: int, units: Units) -> list[int] | None:
    """Bid, its size, ask, its size of the quote that stands, in units of the last digit; None where that cannot be."""
    if standing is None:
        return [0, 0, 0, 0]
    _, _, bid, bid_qty, ask, ask_qty = standing
    unit = 10 ** (DIGITS - digits)
    numbers = [divmod(units[text], unit) for text in (bid, bid_qty, ask, ask_qty)]
    found = [number for number, _ in numbers]
    return None if any(rest for _, rest in numbers) or max(found) >= _HIGH else found


class _Sums(NamedTuple):
    """Of each second that has a row, in units of the last digit: the members are those of `kernels.SECOND_FIELDS`."""

    trades: Ints
    buys: Ints
    first_id: Ints
    last_id: Ints
    open: Ints
    close: Ints
    high: Ints
    low: Ints
    volume: Ints
    buy_volume: Ints
    paid: Ints
    paid_high: Ints
    buy_paid: Ints
    buy_paid_high: Ints
    id_sum: Ints
    quotes: Ints
    first_ts: Ints
    last_ts: Ints
    weighted: Ints
    update: Ints
    bid: Ints
    bid_qty: Ints
    ask: Ints
    ask_qty: Ints


class _Hour:
    """The seconds of an hour that have a row, in the order of time."""

    def __init__(
        self, digits: int, begin: int, seconds: Ints, standing: Standing | None, book: list[int], top: int
    ) -> None:
        rows = np.flatnonzero(seconds[:, _TRADES] + seconds[:, _QUOTES])
        self._sums = sums = _Sums._make(np.ascontiguousarray(seconds[rows].T))
        self._digits, self._start, self._before = digits, begin + rows * SECOND, standing
        self._has_trades, has_quotes = sums.trades > 0, sums.quotes > 0
        self._tops = np.where(self._has_trades, sums.last_id, NO_ID)
        known = np.maximum.accumulate(np.concatenate([[top], self._tops]))[:-1]  # the highest id before each second
        self._is_complete = (known >= 0) & (sums.last_id - known == sums.trades)
        # The quote that stands: the row of the second in which it came; -1, behind all rows, where it stood before.
        own = np.where(has_quotes, np.arange(len(rows)), -1)
        self._stands = np.maximum.accumulate(own)
        earlier = np.concatenate([[-1], self._stands])[:-1]
        self._book = np.concatenate([[sums.bid, sums.bid_qty, sums.ask, sums.ask_qty], np.array([book]).T], axis=1)
        spread = self._book[2] - self._book[0]
        had = (earlier >= 0) | (standing is not None)
        self._has_book = had | has_quotes
        end = self._start + SECOND
        first = np.where(has_quotes, sums.first_ts, end)
        self._live = end - np.where(had, self._start, first)
        self._weighted = np.where(has_quotes, sums.weighted + spread[own] * (end - sums.last_ts), 0)
        self._weighted += np.where(had, spread[earlier] * (first - self._start), 0)
        widest = max(map(abs, (int(spread.max(initial=0)), int(spread.min(initial=0))))) * SECOND
        self.is_narrow = max(widest, int(np.abs(sums.weighted).max(initial=0))) < _HIGH
        """Whether no sum of spread and time went beyond 64 bits."""

    # --- bars ---

    def bars(self, symbol: str) -> list[Bar]:
        """As `Second.bar` makes them."""
        sums, unit = self._sums, 10**self._digits
        untraded, unquoted = (np.flatnonzero(~has).tolist() for has in (self._has_trades, self._has_book))
        book = self._book[:, self._stands]
        paid, buy_paid = _wide(sums.paid, sums.paid_high), _wide(sums.buy_paid, sums.buy_paid_high)
        volume = sums.volume.tolist()

        def prices(column: Ints, absent: list[int]) -> list[Any]:
            return _without(_quotients(column, unit), absent)

        return list(
            map(
                Bar,
                repeat(symbol),
                self._start.tolist(),
                *(prices(column, untraded) for column in (sums.open, sums.high, sums.low, sums.close)),
                _quotients(sums.volume, unit),
                [number / unit**2 for number in paid],
                sums.trades.tolist(),
                [
                    number / (all_of_it * unit) if all_of_it else None
                    for number, all_of_it in zip(paid, volume, strict=True)
                ],
                *(prices(column, unquoted) for column in (book[0], book[2], book[2] - book[0], book[1], book[3])),
                sums.quotes.tolist(),
                [
                    number / (live * unit) if live else None
                    for number, live in zip(self._weighted.tolist(), self._live.tolist(), strict=True)
                ],
                _quotients(sums.buy_volume, unit),
                [number / unit**2 for number in buy_paid],
                sums.buys.tolist(),
                *(_without(column.tolist(), untraded) for column in (sums.first_id, sums.last_id, sums.id_sum)),
                _without(self._is_complete.tolist(), untraded),
                (self._live // 1_000_000).tolist(),
            )
        )

    # --- what they leave behind ---

    def left(self) -> tuple[list[int], list[int], Callable[[int], Second], list[int], Standing | None]:
        """The seconds, the highest id of each, what is known of each, those that are not complete, what stands."""
        secs: list[int] = (self._start // SECOND).tolist()
        incomplete: list[int] = (self._start[self._has_trades & ~self._is_complete] // SECOND).tolist()
        standing = self._standing(len(secs) - 1) if secs else self._before
        return secs, self._tops.tolist(), self._second, incomplete, standing

    def _standing(self, row: int) -> Standing | None:
        at = int(self._stands[row])
        if at < 0:
            return self._before
        texts = [plain(number, self._digits) for number in self._book[:, at].tolist()]
        return (int(self._sums.last_ts[at]), int(self._sums.update[at]), *texts)  # type: ignore[return-value]

    def _second(self, sec: int) -> Second:
        """As `Series.close` leaves it."""
        row = int(np.searchsorted(self._start, sec * SECOND))
        one = _Sums._make(column[row : row + 1] for column in self._sums)
        unit = 10 ** (DIGITS - self._digits)
        second = Second(quote_count=int(one.quotes[0]), standing=self._standing(row), is_shown=True)
        second.weighted, second.live_ns = int(self._weighted[row]) * unit, int(self._live[row])
        if not self._has_trades[row]:
            return second
        (paid,), (buy_paid,) = _wide(one.paid, one.paid_high), _wide(one.buy_paid, one.buy_paid_high)
        trades, buys, volume, bought = (int(one[at][0]) for at in (_TRADES, _BUYS, _VOLUME, _BUY_VOLUME))
        second.buys, second.buy_volume, second.buy_quote = buys, bought * unit, buy_paid * unit**2
        second.sells, second.sell_volume = trades - buys, (volume - bought) * unit
        second.sell_quote = (paid - buy_paid) * unit**2
        second.first_id, second.first_price = int(one.first_id[0]), int(one.open[0]) * unit
        second.last_id, second.last_price = int(one.last_id[0]), int(one.close[0]) * unit
        second.high, second.low = int(one.high[0]) * unit, int(one.low[0]) * unit
        second.id_sum, second.top = int(one.id_sum[0]), second.last_id
        second.is_complete = bool(self._is_complete[row])
        return second


_TRADES, _BUYS, _VOLUME, _BUY_VOLUME, _QUOTES = map(
    kernels.SECOND_FIELDS.index, ("trades", "buys", "volume", "buy_volume", "quotes")
)


def _wide(low: Ints, high: Ints) -> list[int]:
    """Numbers of 128 bits."""
    lower: list[int] = low.view(np.uint64).tolist()
    if not high.any():
        return lower
    return [more << 64 | number for more, number in zip(high.tolist(), lower, strict=True)]


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
