"""Quotes of one second that came in columns: kept as they came, and summed up while they come.

Nearly always they are in order, none came otherwise and what stood before is older. Then the sums are all that the bar
asks for. Else all quotes of the second are put in order; and where that is not enough, they become single quotes again
and `seconds.fold` decides.
"""

from __future__ import annotations

from operator import attrgetter, mul
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.events import Quote, plain
from shared.numbers import DIGITS, Units
from shared.paths import SECOND

Block = NDArray[np.int64]
"""A column a quote; its rows are these."""
TS, ID, BID, BID_QTY, ASK, ASK_QTY = range(6)
FIELDS = 6
_SINGLE = -1
_PRICES = attrgetter("bid", "ask")


class Stretch(msgspec.Struct, gc=False):
    """What the quotes of one symbol and second in one batch come to."""

    first: list[int]
    """As a column of a block, like `last`."""
    last: list[int]
    weighted: int | None
    """Spread times nanoseconds from the first to the last, in units of the last digit; None where they are not in
    order."""


class QuoteRuns:
    """The quotes of one symbol and second, of all batches. Prices are in units of the last digit."""

    __slots__ = ("_digits", "_first", "_last", "_parts", "_weighted", "count", "is_straight")

    def __init__(self, digits: int) -> None:
        self._digits = digits
        self._parts: list[tuple[int, Block, int, int]] = []  # digits, block, from, to
        self._first = (0, 0)
        self._last: list[int] = []
        self._weighted = 0  # spread times nanoseconds, from the first to the last quote
        self.count = 0
        self.is_straight = True
        """Times do not fall, update ids rise, and the digits are the same: the order of arrival is that of time."""

    def add(self, digits: int, part: tuple[Block, int, int], stretch: Stretch) -> None:
        """Columns of a block, from one up to but not including another, and what they come to. The block stays held."""
        block, begin, end = part
        first, last, weighted = stretch.first, stretch.last, stretch.weighted
        self.count += end - begin
        self._parts.append((digits, block, begin, end))
        if not self._last:
            self._first = (first[0], first[1])
        elif weighted is not None:
            ts, one, bid, _, ask, _ = self._last
            if first[0] < ts or first[1] <= one:
                weighted = None
            else:
                self._weighted += (ask - bid) * (first[0] - ts)
        if weighted is None or digits != self._digits:
            self.is_straight = False
        else:
            self._weighted += weighted
        self._last = last

    def fold(self, quotes: list[Quote], standing: Any, start: int, units: Units) -> tuple[Any, int, int] | None:
        """As `seconds.fold` of these and of `quotes`, which came one by one, where no cut is between them; None where
        only that can tell."""
        if quotes or not self.is_straight or (standing is not None and standing[1] > self._first[1]):
            block = self._in_order(quotes, units)
            if block is None:
                return None
            ids = block[ID]
            stands = ids == np.maximum.accumulate(ids)
            block = block[:, stands if standing is None else stands & (ids >= standing[1])]
            if not block.shape[1]:
                return standing, _spread(standing, units) * SECOND, SECOND
            first_ts, last = int(block[TS, 0]), block[:, -1].tolist()
            weighted = sum(map(mul, (block[ASK] - block[BID])[:-1].tolist(), np.diff(block[TS]).tolist()))
        else:
            first_ts, last, weighted = self._first[0], self._last, self._weighted
        ts, one, *prices = last
        bid, _, ask, _ = prices
        unit, end = 10 ** (DIGITS - self._digits), start + SECOND
        weighted = (weighted + (ask - bid) * (end - ts)) * unit
        begun = first_ts
        if standing is not None:
            weighted += _spread(standing, units) * (first_ts - start)
            begun = start
        if prices[1] == _SINGLE:
            newest = _standing(quotes[prices[3]], units)
            return newest and (newest, weighted, end - begun)
        texts = [plain(number, self._digits) for number in prices]
        for text, number in zip(texts, prices, strict=True):
            units.note(text, number * unit)  # the bar asks for these at once
        return (ts, one, *texts), weighted, end - begun

    def _in_order(self, quotes: list[Quote], units: Units) -> Block | None:
        """These and `quotes` by time and update id; None where digits do not fit or two quotes have both in common.

        In the place of its sizes a single quote has _SINGLE and where it stands in `quotes`.
        """
        blocks = [block[:, begin:end] for digits, block, begin, end in self._parts if digits == self._digits]
        if len(blocks) < len(self._parts):
            return None
        if quotes:
            single = np.full((FIELDS, len(quotes)), _SINGLE, np.int64)
            single[ASK_QTY] = np.arange(len(quotes))
            unit = 10 ** (DIGITS - self._digits)
            try:
                bids, asks = ([units[text] for text in texts] for texts in zip(*map(_PRICES, quotes), strict=True))
                single[TS], single[ID] = [quote.ts for quote in quotes], [quote.update_id for quote in quotes]
                single[BID], single[ASK] = [bid // unit for bid in bids], [ask // unit for ask in asks]
            except (ValueError, OverflowError):
                return None
            if any(number % unit for number in (*bids, *asks)):
                return None
            blocks.append(single)
        block = np.concatenate(blocks, axis=1)
        block = block[:, np.lexsort((block[ID], block[TS]))]
        same = (block[TS, 1:] == block[TS, :-1]) & (block[ID, 1:] == block[ID, :-1])
        return None if same.any() else block

    def quotes(self) -> list[Quote]:
        """One by one, as far as a bar asks."""
        return [
            quote
            for digits, block, begin, end in self._parts
            for quote in single_quotes("", digits, block[:, begin:end])
        ]

    # --- state ---

    def pack(self) -> list[Any]:
        """48 bytes a quote, as msgpack takes them."""
        parts: dict[int, list[Block]] = {}
        for digits, block, begin, end in self._parts:
            parts.setdefault(digits, []).append(block[:, begin:end])
        stored = [
            [digits, np.ascontiguousarray(blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)).data]
            for digits, blocks in parts.items()
        ]
        weighted = self._weighted.to_bytes(16, "little", signed=True)
        return [self._digits, stored, self._first, self._last, weighted, self.is_straight]

    @classmethod
    def unpack(cls, stored: list[Any]) -> QuoteRuns:
        digits, parts, first, last, weighted, is_straight = stored
        runs = cls(digits)
        for own, data in parts:
            block = np.frombuffer(data, np.int64).reshape(FIELDS, -1)
            runs._parts.append((own, block, 0, block.shape[1]))
            runs.count += block.shape[1]
        runs._first, runs._last = (first[0], first[1]), last
        runs._weighted, runs.is_straight = int.from_bytes(weighted, "little", signed=True), is_straight
        return runs


def _standing(quote: Quote, units: Units) -> tuple[int, int, str, str, str, str] | None:
    """None where a size cannot be read."""
    try:
        units[quote.bid_qty], units[quote.ask_qty]
    except ValueError:
        return None
    return quote.ts, quote.update_id, quote.bid, quote.bid_qty, quote.ask, quote.ask_qty


def _spread(standing: Any, units: Units) -> int:
    return units[standing[4]] - units[standing[2]]


def single_quotes(symbol: str, digits: int, block: Block) -> list[Quote]:
    """One by one, in their order, as far as a bar asks."""
    found = []
    for ts, one, *prices in block.T.tolist():
        bid, bid_qty, ask, ask_qty = (plain(number, digits) for number in prices)
        found.append(Quote(symbol, ts, None, None, 0, bid, bid_qty, ask, ask_qty, one))
    return found
