"""Columns as bars take them: grouped by symbol and second, each group summed up in a few passes over all of them.

Every sum is exact. Where one may not fit 64 bits it is made modulo 2**64, as integers do by themselves, and once more
in floats, which say which multiple of 2**64 is missing: they need not be nearer than that.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.events import BUY, QUOTE, SELL, Columns, Quote, Trade, plain
from shared.numbers import DIGITS, Units
from shared.paths import SECOND
from shared.quoteruns import ASK, BID, BID_QTY, FIELDS, ID, TS, Block, QuoteRuns, Stretch, single_quotes
from shared.seconds import Second

ROW_DIGITS = 8
"""Of columns made of single events: as those of spot."""
_INT64 = (1 << 63) - 1
_WRAP = 2.0**64
_PRECISE = 2.0**114
"""A float sum of n products is off by less than n + 4 roundings to 53 bits: by less than 2**62 where the sum times that
is below this."""
Ints = NDArray[np.int64]


class Group(msgspec.Struct, gc=False):
    """One symbol in one second: the rows `begin` to `end` of a `Grouping`."""

    symbol: str
    sec: int
    begin: int
    end: int


def columned(events: Sequence[Trade | Quote], units: Units) -> Columns | None:
    """What a bar asks of these; None where a number has too many digits for columns."""
    places: dict[str, int] = {}
    kinds, symbol = bytearray(), array("H")
    texts: tuple[list[str], list[str], list[str], list[str]] = ([], [], [], [])
    prices, sizes, asks, ask_sizes = texts
    for event in events:
        symbol.append(places.setdefault(event.symbol, len(places)))
        if isinstance(event, Trade):
            kinds.append(BUY if event.side == "buy" else SELL)
            prices.append(event.price)
            sizes.append(event.qty)
        else:
            kinds.append(QUOTE)
            prices.append(event.bid)
            sizes.append(event.bid_qty)
            asks.append(event.ask)
            ask_sizes.append(event.ask_qty)
    unit = 10 ** (DIGITS - ROW_DIGITS)
    try:
        found = [[divmod(units[text], unit) for text in column] for column in texts]
        if any(rest for column in found for _, rest in column):
            return None
        price, qty, ask, ask_qty = (array("q", [number for number, _ in column]).tobytes() for column in found)
        ts, ids = array("q", [event.ts for event in events]).tobytes(), array("q", map(_id, events)).tobytes()
    except (ValueError, OverflowError):
        return None
    unknown = bytes(8 * (len(events) - len(asks)))
    return Columns(
        list(places), ROW_DIGITS, bytes(kinds), symbol.tobytes(), ts, ts, ids, price, qty, ask, ask_qty, unknown
    )


def _id(event: Trade | Quote) -> int:
    return event.trade_id if isinstance(event, Trade) else event.update_id


def grouped(columns: Columns) -> Grouping | None:
    """None where there is something unusual, so that single events must decide."""
    if len(set(columns.symbols)) < len(columns.symbols) or not len(columns):
        return None
    grouping = Grouping(columns)
    return None if grouping.has_negative else grouping


class Grouping:
    """Columns in the order of symbol and second, trades first; within a group as they came."""

    def __init__(self, columns: Columns) -> None:
        self.digits = columns.digits
        kinds = np.frombuffer(columns.kinds, np.uint8)
        is_quote = kinds == QUOTE
        key, first_sec, seconds = _keys(columns, is_quote)
        order = np.argsort(key, kind="stable")
        self._order = order
        self._is_buy = kinds[order] == BUY
        self._traded = len(columns.ts_sent) // 8
        self.block: Block = np.empty((FIELDS, len(kinds)), np.int64)
        """Trades have price and quantity where quotes have those of the bid, and nothing behind."""
        whole = (columns.ts, columns.ids, columns.price, columns.qty)
        for row, column in enumerate(whole):
            np.take(_int64(column), order, out=self.block[row], mode="clip")
        if columns.ask:
            among = (np.cumsum(is_quote, dtype=np.int32) - 1)[order[self._traded :]]
            np.take(_int64(columns.ask), among, out=self.block[ASK, self._traded :], mode="clip")
            np.take(_int64(columns.ask_qty), among, out=self.block[ASK + 1, self._traded :], mode="clip")
        key = key[order]
        starts = np.flatnonzero(key[1:] != key[:-1]) + 1
        self._begins, self._ends = np.concatenate(([0], starts)), np.concatenate((starts, [len(kinds)]))
        names, begins = columns.symbols * 2, self._begins.tolist()
        groups = [
            Group(names[number // seconds], first_sec + number % seconds, begin, end)
            for number, begin, end in zip(key[self._begins].tolist(), begins, self._ends.tolist(), strict=True)
        ]
        at = bisect_left(begins, self._traded)
        self._trade_groups, self._quote_groups = groups[:at], groups[at:]

    @property
    def has_negative(self) -> bool:
        """Whether any number but a time is below zero."""
        asks = self.block[ASK:, self._traded :]
        return bool(self.block[ID:ASK].min() < 0 or (asks.size and asks.min() < 0))

    # --- trades ---

    def trades(self) -> Iterator[tuple[list[Group], list[Second] | None]]:
        """The groups of each symbol, and what they come to, as seconds in which nothing else was; None where the ids of
        the symbol are not all of a first to a last one, in the order of time."""
        if not self._trade_groups:
            return
        ids = self.block[ID, : self._traded]
        breaks = (np.flatnonzero(ids[1:] - ids[:-1] != 1) + 1).tolist()
        fills, at = self._fills(), 0
        for _, found in groupby(self._trade_groups, _symbol):
            groups = list(found)
            is_run = bisect_right(breaks, groups[0].begin) == bisect_left(breaks, groups[-1].end)
            yield groups, fills[at : at + len(groups)] if fills and is_run else None
            at += len(groups)

    def _fills(self) -> list[Second] | None:
        """Of all groups; None where the numbers are too large for exact sums."""
        count, groups = self._traded, self._trade_groups
        begins, ends = self._begins[: len(groups)], self._ends[: len(groups)]
        price, qty, is_buy = self.block[BID, :count], self.block[BID_QTY, :count], self._is_buy[:count]
        ints = np.empty((5, count), np.int64)  # quantity, price times quantity; the same of the buys; their number
        ints[0] = qty
        np.multiply(price, qty, out=ints[1])
        np.multiply(ints[:2], is_buy, out=ints[2:4])
        ints[4] = is_buy
        sums = np.add.reduceat(ints, begins, axis=1)
        exact = sums.tolist()
        highest = int(qty.max()) * count
        if highest * max(int(price.max()), 1) > _INT64:
            floats = np.empty((4, count))
            floats[0] = qty
            np.multiply(price, floats[0], out=floats[1])
            np.multiply(floats[:2], is_buy, out=floats[2:])
            about = np.add.reduceat(floats, begins, axis=1)
            if about[1].max() * (count + 4) > _PRECISE:
                return None
            exact[:4] = _exact(sums[:4], about)
        firsts, lasts = self.block[ID : BID + 1, begins].tolist(), self.block[ID : BID + 1, ends - 1].tolist()
        highs, lows = np.maximum.reduceat(price, begins).tolist(), np.minimum.reduceat(price, begins).tolist()
        one = 10 ** (DIGITS - self.digits)
        square = one * one
        return [
            Second(
                buys, bought * one, paid * square,
                end - begin - buys, (volume - bought) * one, (quote - paid) * square,
                first, opens * one, last, closes * one, high * one, low * one,
                (first + last) * (end - begin) // 2, last,
            )
            for begin, end, first, opens, last, closes, high, low, volume, quote, bought, paid, buys in zip(
                begins.tolist(), ends.tolist(), *firsts, *lasts, highs, lows, *exact, strict=True
            )
        ]  # fmt: skip

    def single_trades(self, groups: list[Group]) -> list[Trade]:
        """Those of a symbol, in the order in which they came, as far as a bar asks."""
        begin, end = groups[0].begin, groups[-1].end
        rows = np.argsort(self._order[begin:end]) + begin
        found = []
        for (ts, one, price, qty), is_buy in zip(
            self.block[: BID_QTY + 1, rows].T.tolist(), self._is_buy[rows].tolist(), strict=True
        ):
            side = "buy" if is_buy else "sell"
            texts = plain(price, self.digits), plain(qty, self.digits)
            found.append(Trade(groups[0].symbol, ts, ts, None, 0, *texts, side, one))
        return found

    # --- quotes ---

    def quotes(self) -> Iterator[tuple[Group, Stretch]]:
        groups = self._quote_groups
        if not groups:
            return
        block = self.block[:, self._traded :]
        begins, ends = (edge[-len(groups) :] - self._traded for edge in (self._begins, self._ends))
        later = np.diff(block[TS])
        in_order = (np.diff(block[ID]) > 0) & (later >= 0)
        edges = ends[:-1] - 1
        later[edges], in_order[edges] = 0, True
        spread = block[ASK] - block[BID]
        weighted = np.zeros(len(spread), np.int64)
        np.multiply(spread[:-1], later, out=weighted[:-1])
        sums = np.add.reduceat(weighted, begins)
        exact: list[int | None] = sums.tolist()
        if max(int(spread.max()), -int(spread.min())) * SECOND > _INT64:
            floats = np.zeros(len(spread))
            np.multiply(spread[:-1], later.astype(np.float64), out=floats[:-1])
            (exact,) = _exact(sums[None], np.add.reduceat(floats, begins)[None])
        if not in_order.all():
            for at in np.unique(np.searchsorted(begins, np.flatnonzero(~in_order), "right") - 1).tolist():
                exact[at] = None
        firsts, lasts = block[:, begins].T.tolist(), block[:, ends - 1].T.tolist()
        yield from zip(groups, map(Stretch, firsts, lasts, exact), strict=True)

    def runs(self) -> QuoteRuns:
        """Of a second of which nothing came before."""
        return QuoteRuns(self.digits)

    def single_quotes(self, group: Group) -> list[Quote]:
        """In the order in which they came, as far as a bar asks."""
        return single_quotes(group.symbol, self.digits, self.block[:, group.begin : group.end])


def _keys(columns: Columns, is_quote: NDArray[np.bool_]) -> tuple[NDArray[Any], int, int]:
    """A number for each group, in the order in which groups stand; the first second, and how many the numbers count."""
    ts = _int64(columns.ts)
    first, last = int(ts.min()) // SECOND, int(ts.max()) // SECOND
    seconds, symbols = last - first + 1, len(columns.symbols)
    kind = np.uint16 if 2 * symbols * seconds <= 1 << 16 else np.int64  # the short one is sorted by its digits
    key: NDArray[Any] = np.frombuffer(columns.symbol, np.uint16).astype(kind)
    if key.max() >= symbols:
        raise IndexError("columns name a symbol that they do not hold")
    key += is_quote * kind(symbols)
    if seconds > 1:
        key *= kind(seconds)
        key += (ts // SECOND - first).astype(kind)
    return key, first, seconds


def _exact(low: Ints, about: NDArray[np.float64]) -> list[list[Any]]:
    """The numbers that are `low` modulo 2**64 and nearest to `about`; both of two dimensions."""
    missing: list[list[int]] = np.rint((about - low) / _WRAP).astype(np.int64).tolist()
    return [
        [number + (times << 64) for number, times in zip(numbers, counts, strict=True)]
        for numbers, counts in zip(low.tolist(), missing, strict=True)
    ]


def _int64(column: bytes) -> Ints:
    return np.frombuffer(column, np.int64)


def _symbol(group: Group) -> str:
    return group.symbol
