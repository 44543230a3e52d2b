"""Seconds as the loops sum them up: rows of integers, in units of the last digit.

A row holds all that is known of a second. An open one becomes a `Second` when something unusual comes for it, a closed
one only when it is revised: until then its bytes are all that is kept.
"""

from __future__ import annotations

import struct
from itertools import repeat
from operator import ne
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from shared import kernels
from shared.events import plain
from shared.numbers import DIGITS, Units
from shared.seconds import Second, Standing

_LAYOUT: Final = struct.Struct(f"<{len(kernels.SECOND_FIELDS)}q")
SIZE: Final = _LAYOUT.size
_BOOK: Final = struct.Struct("<6q")
_BOOK_AT: Final = 8 * kernels.SECOND_FIELDS.index("last_ts")
_HAS_BOOK_AT: Final = 8 * kernels.SECOND_FIELDS.index("has_book")
_WORD: Final = (1 << 64) - 1
_MOST: Final = (1 << 63) - 1
T = TypeVar("T")
Book = list[int]
"""Of the quote that stands: ts, update id, bid, bid_qty, ask, ask_qty."""


class Numbers(NamedTuple, Generic[T]):
    """A row, or many by columns: the members are those of `kernels.SECOND_FIELDS`."""

    second: T
    owner: T
    trades: T
    buys: T
    first_id: T
    last_id: T
    open: T
    close: T
    high: T
    low: T
    volume: T
    volume_high: T
    buy_volume: T
    buy_volume_high: T
    paid: T
    paid_high: T
    buy_paid: T
    buy_paid_high: T
    id_sum: T
    id_sum_high: T
    quotes: T
    first_ts: T
    first_update: T
    last_ts: T
    update: T
    bid: T
    bid_qty: T
    ask: T
    ask_qty: T
    weighted: T
    weighted_high: T
    live_ns: T
    is_complete: T
    has_book: T


class Row(msgspec.Struct, array_like=True, gc=False):
    """A second that is closed."""

    digits: int
    numbers: bytes

    def second(self) -> Second:
        """As `Series.close` leaves it."""
        one: Numbers[int] = Numbers._make(_LAYOUT.unpack(self.numbers))
        second = traded(one, self.digits)
        second.quote_count, second.live_ns, second.is_shown = one.quotes, one.live_ns, True
        second.weighted = wide(one.weighted, one.weighted_high) * 10 ** (DIGITS - self.digits)
        second.standing = self.standing()
        if one.trades:
            second.is_complete = bool(one.is_complete)
        return second

    def standing(self) -> Standing | None:
        """The quote at its end."""
        if not any(self.numbers[_HAS_BOOK_AT:]):
            return None
        ts, update, *numbers = _BOOK.unpack_from(self.numbers, _BOOK_AT)
        bid, bid_qty, ask, ask_qty = [plain(number, self.digits) for number in numbers]
        return ts, update, bid, bid_qty, ask, ask_qty

    def book(self, digits: int) -> Book | None:
        """`standing` as numbers; None where they are in other units."""
        return [*_BOOK.unpack_from(self.numbers, _BOOK_AT)] if digits == self.digits else None


def traded(one: Numbers[int], digits: int) -> Second:
    """The trades of a second."""
    if not one.trades:
        return Second()
    unit = 10 ** (DIGITS - digits)
    bought, volume = wide(one.buy_volume, one.buy_volume_high), wide(one.volume, one.volume_high)
    buy_paid, paid = wide(one.buy_paid, one.buy_paid_high), wide(one.paid, one.paid_high)
    return Second(
        one.buys, bought * unit, buy_paid * unit**2,
        one.trades - one.buys, (volume - bought) * unit, (paid - buy_paid) * unit**2,
        one.first_id, one.open * unit, one.last_id, one.close * unit, one.high * unit, one.low * unit,
        wide(one.id_sum, one.id_sum_high), one.last_id,
    )  # fmt: skip


def wide(low: int, high: int) -> int:
    """A sum, of 128 bits."""
    return high << 64 | low & _WORD


def book(stands: Standing, digits: int, units: Units) -> Book | None:
    """A quote as numbers, of which the same texts are made again; None where they would be others."""
    numbers = [units[text] // 10 ** (DIGITS - digits) for text in stands[2:]]
    if max(numbers) > _MOST or any(map(ne, stands[2:], map(plain, numbers, repeat(digits)))):
        return None
    return [*stands[:2], *numbers]
