"""Trades summed up by windows of time: exact integers, whatever the order of rows and however large, then floats, each
rounded once.

Open and close are the prices of the lowest and the highest id. Where the loops are compiled trades go through piece by
piece; without them, or where they are in disorder or huge, all pieces at once, with the same result.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared import kernels

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Numbers = NDArray[Any]
"""int64, or Python's integers where these do not hold them."""

_PRECISE: Final = 1 << 53
"""Integers up to this are floats, and so a quotient of two is rounded once."""
_MOST_DIGITS: Final = 22
"""Powers of ten up to this one are floats."""
_FEW: Final = 64


class Trades(NamedTuple):
    """Columns of one symbol's trades, in the order of their ids. Prices and quantities are counts of the last digit."""

    ts: Ints
    ids: Ints
    price: Numbers
    qty: Numbers
    side: NDArray[np.int32]
    buy: int
    """What stands in `side` for a buy."""


class Sums(NamedTuple):
    """Of each window with trades, in the order of time."""

    begin: Ints
    trade_count: Ints
    buy_count: Ints
    first_trade_id: Ints
    last_trade_id: Ints
    trade_id_sum: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume_base: Floats
    buy_volume_base: Floats
    volume_quote: Floats
    buy_volume_quote: Floats
    vwap: Floats
    """Not a number where the trades come to nothing."""


_WHOLE: Final = 6
"""So many of these are integers."""


class Digits(NamedTuple):
    """How many there are after the point."""

    price: int
    qty: int


def summed(read: Callable[[], Iterable[Trades]], width: int, most: int, digits: Digits) -> Sums:
    """Windows of `width` nanoseconds, of which there should be no more than `most`. `read` gives the pieces, and may be
    asked again.
    """
    found = _streamed(read, width, most, digits)
    if found is None:
        trades = _ordered(_joined(read()), width)
        found = _streamed(lambda: [trades], width, len(trades.ts), digits) or _gathered(trades, width, digits)
    return found


# --- with the compiled loops ---


def _streamed(read: Callable[[], Iterable[Trades]], width: int, most: int, digits: Digits) -> Sums | None:
    """None where the pieces are not in order, or hold too much for 64 bits."""
    if kernels.loops is None:
        return None
    zeros: Digits | None = None
    while True:
        windows, refused = None, None
        for piece in read():
            if piece.price.dtype != np.int64 or piece.qty.dtype != np.int64:
                return None
            if zeros is None:  # as many zeros at the end of all numbers as the first ones have, until another is seen
                zeros = _zeros(piece.price[:_FEW], piece.qty[:_FEW], digits)
            if sum(digits) - sum(zeros) > _MOST_DIGITS:
                return None
            windows = windows or _Windows(kernels.loops, width, most, digits, zeros)
            if not windows.take(piece):
                refused = piece
                break
        if refused is None:
            return windows.sums() if windows is not None else _NO_SUMS
        fewer = _zeros(refused.price, refused.qty, zeros or digits)
        if fewer == zeros:
            return None
        zeros = fewer


def _zeros(price: Ints, qty: Ints, most: Digits) -> Digits:
    """With how many zeros all of these end, up to so many."""
    return Digits(*map(_zeros_of, (price, qty), most))


def _zeros_of(numbers: Ints, most: int) -> int:
    return next((zeros for zeros in range(most) if (numbers % 10 ** (zeros + 1)).any()), most)


class _Windows:
    """The windows that `lake_windows` has made and goes on with, or `lake_wide_windows` where the processor can."""

    def __init__(self, library: ctypes.CDLL, width: int, most: int, digits: Digits, zeros: Digits) -> None:
        self._sum = library.lake_wide_windows if library.lake_is_wide() else library.lake_windows
        # in one piece, for which the allocator keeps memory: a column a piece would be given back and asked for again
        block = np.empty((len(Sums._fields), most), np.int64)
        self._columns = [*block[:_WHOLE], *block[_WHOLE:].view(np.float64)]
        places = [column.ctypes.data for column in self._columns]
        self._all = kernels.Windows(
            width, most, kernels.pointers(places[:_WHOLE]), kernels.pointers(places[_WHOLE:]),
            kernels.Trim(zeros.price), kernels.Trim(zeros.qty),
            *(float(10**some // 5**trimmed) for some, trimmed in zip(digits, zeros, strict=True)),
        )  # fmt: skip

    def take(self, piece: Trades) -> bool:
        """Whether all of it was in order, and small and plain enough."""
        return not len(piece.ts) or self._taken(piece) == len(piece.ts)

    def _taken(self, piece: Trades) -> int:
        columns = kernels.pointers([column.ctypes.data for column in piece[:4]])
        side = piece.side.ctypes.data
        taken: int = self._sum(len(piece.ts), columns, side, piece.buy, ctypes.byref(self._all))
        return taken

    def sums(self) -> Sums | None:
        """When all was taken; None where the last window is too large."""
        if self._taken(_NONE):
            return None
        return Sums(*(column[: self._all.count] for column in self._columns))


# --- without ---


def _joined(pieces: Iterable[Trades]) -> Trades:
    """As one."""
    found = [piece._replace(side=np.equal(piece.side, piece.buy).astype(np.int32)) for piece in pieces] or [_NONE]
    return Trades._make([*(np.concatenate([piece[at] for piece in found]) for at in range(5)), 1])


def _ordered(trades: Trades, width: int) -> Trades:
    """By window, then by id, each id once."""
    order = np.argsort(trades.ids, kind="stable")
    order = order[_begins(trades.ids[order])]
    order = order[np.argsort(trades.ts[order] // width, kind="stable")]
    return Trades._make([*(column[order] for column in trades[:5]), trades.buy])


def _gathered(trades: Trades, width: int, digits: Digits) -> Sums:
    """Of trades in order."""
    window = trades.ts // width
    begin = _begins(window)
    if not len(begin):
        return _NO_SUMS
    last = np.append(begin[1:], len(window)) - 1
    is_buy = trades.side == trades.buy
    bought = np.where(is_buy, trades.qty, 0)
    one = np.ones(len(window), np.int64)
    volume, paid = _products(one, trades.qty, begin), _products(trades.price, trades.qty, begin)
    price, qty = 10**digits.price, 10**digits.qty
    return Sums(
        begin=window[begin] * width,
        trade_count=last - begin + 1,
        buy_count=np.add.reduceat(is_buy.astype(np.int64), begin),
        first_trade_id=trades.ids[begin],
        last_trade_id=trades.ids[last],
        trade_id_sum=_products(one, trades.ids, begin).astype(np.int64),
        open=_quotients(trades.price[begin], price),
        high=_quotients(np.maximum.reduceat(trades.price, begin), price),
        low=_quotients(np.minimum.reduceat(trades.price, begin), price),
        close=_quotients(trades.price[last], price),
        volume_base=_quotients(volume, qty),
        buy_volume_base=_quotients(_products(one, bought, begin), qty),
        volume_quote=_quotients(paid, price * qty),
        buy_volume_quote=_quotients(_products(trades.price, bought, begin), price * qty),
        vwap=_quotients(paid, volume.astype(object) * price),
    )


def _begins(column: Ints) -> Ints:
    """The rows whose value is not that of the row before."""
    is_other = np.ones(len(column), np.bool_)
    np.not_equal(column[1:], column[:-1], out=is_other[1:])
    return np.flatnonzero(is_other)


def _products(numbers: Numbers, factors: Numbers, begin: Ints) -> Numbers:
    """Sums of products: as many bits of the factors at a time as leave each sum within 63."""
    longest = int(np.diff(begin, append=len(numbers)).max())
    room = 62 - int(numbers.max()).bit_length() - longest.bit_length()
    if room < 1 or numbers.dtype == object or factors.dtype == object:
        return np.asarray(np.add.reduceat(numbers.astype(object) * factors, begin))
    total: Numbers = np.add.reduceat(numbers * (factors & (1 << room) - 1), begin)
    shift = room
    while shift < 63 and (factors >> shift).any():
        part = np.add.reduceat(numbers * (factors >> shift & (1 << room) - 1), begin)
        total = total.astype(object) + (part.astype(object) << shift)
        shift += room
    return total


def _quotients(numbers: Numbers, divisors: Numbers | int) -> Floats:
    """Each as the float that is nearest to it; not a number where the divisor is 0."""
    below = np.asarray(divisors)
    if numbers.max() <= _PRECISE and below.max() <= _PRECISE:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(numbers.astype(np.float64), below.astype(np.float64))
    pairs = zip(numbers.tolist(), np.broadcast_to(below, numbers.shape).tolist(), strict=True)
    return np.array([number / divisor if divisor else np.nan for number, divisor in pairs])


_INTS: Final[Ints] = np.empty(0, np.int64)
_NONE: Final = Trades(_INTS, _INTS, _INTS, _INTS, np.empty(0, np.int32), 0)
_NO_SUMS: Final = Sums._make(_INTS.astype(np.int64 if at < _WHOLE else np.float64) for at in range(len(Sums._fields)))
