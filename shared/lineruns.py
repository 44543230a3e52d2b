"""Lines of the archive by the thousand: from the bytes of a file to columns, as far as a bar asks.

The counterpart of `linecolumns`, where the loops are compiled. A line that is like `lines.line` writes a trade or a
quote becomes a row; any other, by a single byte, is left to `lines.parse_line`, in its place in the order.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import QUOTE, AggTrade, Columns, Quote, Trade
from shared.kernels import MONEY, NOTHING, SIDE, TIME, WHOLE, WORD
from shared.lines import line

Array = NDArray[Any]
Line = Trade | AggTrade | Quote

DIGITS: Final = 8
"""Digits after the point of what is read in columns; a number with more is read singly."""
SHORT: Final = 24
"""Fewer lines than these, between others, are read faster singly."""
SHORTEST: Final = 150
"""Bytes of a plain line, at least."""
MOST_CUTS: Final = 100
"""So often at most an hour is cut where trade ids are missing: bars take unbroken runs as wholes."""
_MARKS: Final = {
    "70000000000000001": (WHOLE, "ts"),
    "70000000000000002": (WHOLE, "ts_recv"),
    "70000000000000003": (TIME, "ts_sent"),
    "70000000000000004": (WHOLE, "ids"),
    "7000.1": (MONEY, "price"),
    "7000.2": (MONEY, "qty"),
    "7000.3": (MONEY, "ask"),
    "7000.4": (MONEY, "ask_qty"),
    "the side": (SIDE, ""),
    "the source": (WORD, ""),
}
_MARKED: Final = re.compile("(" + "|".join(map(re.escape, _MARKS)) + ")")
_TS, _RECV, _SENT, _ID = (int(mark) for mark in list(_MARKS)[:4])


def _form(event: Trade | Quote) -> kernels.Form:
    """What stands in the lines that are like that of an event made of marks."""
    texts = _MARKED.split(line(event).removesuffix("\n"))
    follows = [*(_MARKS[mark] for mark in texts[1::2]), (NOTHING, "")]
    return [(text.encode(), *what) for text, what in zip(texts[::2], follows, strict=True)]


class _Forms:
    """How the lines of a symbol look, for the loop to read: trades and quotes as they come, then those of futures."""

    def __init__(self, symbol: str) -> None:
        trade = Trade(symbol, _TS, _TS, _SENT, _RECV, "7000.1", "7000.2", "the side", _ID, "the source")
        quote = Quote(symbol, _TS, None, None, _RECV, "7000.1", "7000.2", "7000.3", "7000.4", _ID)
        futures = msgspec.structs.replace(trade, trade_type="MARKET")
        matched = Quote(symbol, _TS, _TS, _SENT, _RECV, "7000.1", "7000.2", "7000.3", "7000.4", _ID)
        events: list[Trade | Quote] = [trade, quote, futures, matched]
        self._forms = kernels.Forms([_form(event) for event in events])
        self._all = kernels.LineForms(
            len(events), self._forms.text_at, kernels.pointers([self._forms.piece_at(at) for at in range(len(events))]),
            bytes(isinstance(event, Quote) for event in events),
        )  # fmt: skip
        self.at = ctypes.addressof(self._all)


_forms = lru_cache(64)(_Forms)


class _Found:
    """Memory for the rows of so many lines."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kinds = np.empty(most, np.uint8)
        self._columns = {name: np.empty(most, np.int64) for name in kernels.COLUMNS}
        places = [column.ctypes.data for column in self._columns.values()]
        self._all = kernels.Found(self._kinds.ctypes.data, kernels.pointers(places))
        self.at = ctypes.addressof(self._all)

    def columns(self, symbol: str, rows: int, quotes: int) -> Columns:
        partial = {"ask": quotes, "ask_qty": quotes, "ts_sent": rows - quotes}
        whole = {name: column[: partial.get(name, rows)].tobytes() for name, column in self._columns.items()}
        return Columns([symbol], DIGITS, self._kinds[:rows].tobytes(), bytes(2 * rows), **whole)


class LineRuns:
    """The reader of one symbol's files, one after the other."""

    def __init__(self, library: ctypes.CDLL, symbol: str) -> None:
        self._library, self._symbol = library, symbol
        self._forms = _forms(symbol)
        self._found = _Found(0)  # those of a day have much the same length

    def runs(self, data: bytes) -> Iterator[Columns | bytes]:
        """All lines of a file, in their order: plain ones as columns, others as their bytes, which end with a line."""
        size, at = len(data), 0
        most = size // SHORTEST + 1
        if self._found.most < most:
            self._found = _Found(most)
        found, begin = self._found, kernels.address(data)
        ended, quotes = ctypes.c_int64(), ctypes.c_int64()
        singly = 0
        """Where the lines begin that are left to others."""
        while at < size:
            rows = self._library.lake_parse(
                self._forms.at, begin + at, size - at, found.most, found.at, ctypes.byref(ended), ctypes.byref(quotes)
            )
            end = at + ended.value
            if rows >= SHORT or ended.value == size:
                if singly < at:
                    yield data[singly:at]
                yield found.columns(self._symbol, rows, quotes.value)
                singly = end
            at = data.find(b"\n", end) + 1 or size
        if singly < size:
            yield data[singly:]


# --- rows of several files ---


def gathered(found: Iterable[Columns | Line]) -> list[Columns | list[Line]]:
    """The same events; single ones that follow each other are a list."""
    made: list[Columns | list[Line]] = []
    for one in found:
        if isinstance(one, Columns):
            made.append(one)
        elif made and isinstance(made[-1], list):
            made[-1].append(one)
        else:
            made.append([one])
    return made


_COLUMNS: Final = ("kinds", "symbol", *kernels.COLUMNS)


def joined(columns: Sequence[Columns]) -> Columns:
    """Of one symbol, behind each other."""
    if len(columns) == 1:
        return columns[0]
    whole = {name: b"".join([getattr(one, name) for one in columns]) for name in _COLUMNS}
    return Columns(columns[0].symbols, DIGITS, **whole)


def cut(columns: Columns) -> list[Columns]:
    """The same rows, in pieces between which trade ids are missing: a run of ids without a hole is taken as one."""
    trades = np.flatnonzero(np.frombuffer(columns.kinds, np.uint8) != QUOTE)
    ids = np.frombuffer(columns.ids, np.int64)[trades]
    breaks = trades[1:][np.diff(ids) != 1].tolist()
    if not 0 < len(breaks) <= MOST_CUTS:
        return [columns]
    ranks = np.searchsorted(trades, breaks).tolist()  # trades before each
    bounds = pairwise([(0, 0), *zip(breaks, ranks, strict=True), (len(columns), len(trades))])
    return [_part(columns, *begin, *end) for begin, end in bounds]


def _part(columns: Columns, begin: int, trades: int, end: int, more: int) -> Columns:
    """The rows `begin` to `end`, of which the trades are `trades` to `more`."""
    quotes = slice(8 * (begin - trades), 8 * (end - more))
    partial = {"ask": quotes, "ask_qty": quotes, "ts_sent": slice(8 * trades, 8 * more)}
    whole = {name: getattr(columns, name)[partial.get(name, slice(8 * begin, 8 * end))] for name in kernels.COLUMNS}
    return Columns(columns.symbols, DIGITS, columns.kinds[begin:end], columns.symbol[2 * begin : 2 * end], **whole)
