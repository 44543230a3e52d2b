"""Lines of the archive by the thousand: from columns to finished bytes, the very ones that `lines.line` would write.

A line is constant pieces with numbers between them, and all lines of a form have the same pieces. So all numbers are
made at once, each flush right in a field that may be too wide, and all lines are written piece by piece from their ends
to their beginnings: what a field has too much on its left is written over by the piece before it. Where the loops are
compiled, `linegroups` has them write line by line instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import BUY, QUOTE, SELL, Columns, plain
from shared.kernels import MONEY, NOTHING, WHOLE
from shared.lines import line, quoted

Array = NDArray[Any]

MOST_ROWS: Final = 8192
"""Lines made in one go: they and what they are made of stay within a few megabytes."""
_FOUR: Final = np.array([int.from_bytes(b"%04d" % number, "little") for number in range(10_000)], "<u4")
"""The four digits of a number as they stand in memory."""
_EIGHT: Final = np.uint64(10**8)
_TEN_THOUSAND: Final = np.uint32(10**4)


class Group(NamedTuple):
    """The lines of one symbol in one interval, in the order in which their events came."""

    symbol: str
    start: int
    """Begin of the interval, nanoseconds."""
    data: bytes | memoryview


def groups(columns: Columns, every: int) -> list[Group] | None:
    """The lines of all events, by symbol and by interval of `every` nanoseconds, in the order of each group's first.

    None where the columns must go the plain way: with a number below zero, a symbol named twice, or times or
    symbols of most different lengths. Raises IndexError for a symbol that is not named.
    """
    rows, names = _Rows.of(columns), tuple(columns.symbols)
    if not rows.are_positive() or len(set(names)) != len(names):
        return None
    found: dict[tuple[int, int], list[bytes]] = {}
    for part in rows.parts():
        made = _written(part, names, columns.digits, every)
        if made is None:
            return None
        for place, interval, data in made:
            found.setdefault((place, interval), []).append(data)
    return [
        Group(names[place], interval * every, data[0] if len(data) == 1 else b"".join(data))
        for (place, interval), data in found.items()
    ]


def trade_runs(columns: Columns) -> Iterator[tuple[str, int, int]]:
    """``symbol, first, last`` of every unbroken run of trade ids, in the order of their first; together all of them."""
    trades = np.flatnonzero(np.frombuffer(columns.kinds, "u1") != QUOTE)
    symbol = np.frombuffer(columns.symbol, "<u2")[trades]
    order = np.argsort(symbol, kind="stable")
    symbol, ids = symbol[order], np.frombuffer(columns.ids, "<i8")[trades[order]]
    begins = np.ones(len(ids), np.bool_)
    begins[1:] = (ids[1:] - ids[:-1] != 1) | (symbol[1:] != symbol[:-1])
    firsts = np.flatnonzero(begins)
    ends = np.append(firsts[1:], len(ids))[: len(firsts)]
    by = np.argsort(order[firsts])
    firsts, ends = firsts[by], ends[by]
    runs = (symbol[firsts], ids[firsts], ids[ends - 1])
    for place, first, last in zip(*(column.tolist() for column in runs), strict=True):
        yield columns.symbols[place], first, last


class _Rows(NamedTuple):
    """The columns as arrays."""

    kinds: Array
    symbol: Array
    ts: Array
    ts_recv: Array
    ids: Array
    price: Array
    qty: Array
    ask: Array
    ask_qty: Array
    ts_sent: Array
    short: Array

    @classmethod
    def of(cls, c: Columns) -> _Rows:
        int64 = (c.ts, c.ts_recv, c.ids, c.price, c.qty, c.ask, c.ask_qty, c.ts_sent)
        whole = [np.frombuffer(column, "<i8") for column in int64]
        short = np.frombuffer(c.short or bytes(2 * len(c)), "<u2")
        return cls._make([np.frombuffer(c.kinds, "u1"), np.frombuffer(c.symbol, "<u2"), *whole, short])

    def are_positive(self) -> bool:
        return all(not len(column) or int(column.min()) >= 0 for column in self[2:])

    def parts(self) -> Iterator[_Rows]:
        """The same rows, at most MOST_ROWS at a time."""
        quotes = trades = 0
        for begin in range(0, len(self.kinds), MOST_ROWS):
            whole = [column[begin : begin + MOST_ROWS] for column in self[:7]]
            count = int(np.count_nonzero(whole[0] == QUOTE))
            ask, size = (column[quotes : quotes + count] for column in (self.ask, self.ask_qty))
            sent = self.ts_sent[trades : trades + len(whole[0]) - count]
            quotes, trades = quotes + count, trades + len(sent)
            yield _Rows._make([*whole, ask, size, sent, self.short[begin : begin + MOST_ROWS]])


# --- pieces of a line ---


class _Texts(NamedTuple):
    """Texts, each flush right in a field, with anything before it."""

    fields: Array
    """Void, all of one width; a single one stands for all lines."""
    lengths: Array
    """How many bytes at the end of its field each has."""
    surplus: int
    """So much at most has a field too much."""

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> _Texts:
        lengths = [len(text) for text in texts]
        width = max(lengths)
        fields = np.frombuffer(b"".join(text.rjust(width) for text in texts), f"V{width}")
        return cls(fields, np.array(lengths, np.int64), width - min(lengths))

    def take(self, which: Array | slice) -> _Texts:
        return _Texts(self.fields[which], self.lengths[which], self.surplus)


def _joined(count: int, texts: Sequence[_Texts]) -> _Texts:
    """Texts that follow each other in every line, of which only the first may have a surplus."""
    if len(texts) == 1:
        return texts[0]
    template = b"".join(text.fields[:1].tobytes() for text in texts)
    width, at = len(template), 0
    memory = bytearray(template) * count
    for text in texts:
        if len(text.fields) > 1:
            np.ndarray((count,), text.fields.dtype, memory, at, (width,))[:] = text.fields
        at += text.fields.itemsize
    lengths = texts[0].lengths + (width - texts[0].fields.itemsize)
    return _Texts(np.frombuffer(memory, f"V{width}"), lengths, texts[0].surplus)


def _fours(numbers: Array, count: int) -> Iterator[Array]:
    """The last four digits of numbers (uint64), then the four before them, `count` times: each as uint32."""
    for left in range(count, 0, -2):
        higher = numbers // _EIGHT if left > 2 else None
        eight = (numbers if higher is None else numbers - higher * _EIGHT).astype("u4")
        upper = eight // _TEN_THOUSAND
        yield _FOUR[eight - upper * _TEN_THOUSAND]
        if left > 1:
            yield _FOUR[upper]
        numbers = numbers if higher is None else higher


def _numbers(signed: Array, digits: int) -> _Texts:
    """Numbers not below zero (int64) with so many digits after the point; with none, there is no point."""
    count, most, least = len(signed), int(signed.max(initial=0)), int(signed.min(initial=2**63 - 1))
    numbers, unit = signed.astype("u8"), np.uint64(10**digits)
    groups = -(-len(str(most // 10**digits)) // 4)
    width = at = 4 * groups + digits + bool(digits)
    memory = np.empty(count * width, "u1")

    def put(fours: Iterator[Array]) -> None:
        nonlocal at
        for four in fours:
            at -= 4
            np.ndarray((count,), "<u4", memory, at, (width,))[:] = four

    whole = numbers
    if digits:
        whole = numbers // unit
        put(_fours(numbers - whole * unit, -(-digits // 4)))
        at = width - digits - 1  # zeros that stand over are written over
        memory[at::width] = ord(".")
    put(_fours(whole, groups))
    shortest, longest = (max(len(str(number)), digits + 1) for number in (least, most))
    lengths = np.full(count, shortest + bool(digits), np.int64)
    for more in range(shortest, longest):
        lengths += numbers >= np.uint64(10**more)
    own = longest + bool(digits)
    fields = np.ndarray((count,), f"V{own}", memory, width - own, (width,))
    return _Texts(fields, lengths, own - shortest - bool(digits))


def _shorter(numbers: _Texts, digits: int, by: Array) -> _Texts:
    """Without so many digits at the end of each; where that would be all of them, one zero stands: see `lines.line`."""
    width = numbers.fields.itemsize
    less = np.minimum(by, digits - 1).astype(np.int64)
    places = np.maximum(np.arange(width) - less[:, None], 0)
    moved = np.take_along_axis(np.ascontiguousarray(numbers.fields).view("u1").reshape(-1, width), places, 1)
    moved[by == digits, -1] = ord("0")
    lengths = numbers.lengths - less
    return _Texts(moved.view(f"V{width}").ravel(), lengths, width - int(lengths.min()))


_HEAD: Final = '{"symbol":'
_WHOLE: Final = ("ts", "ts_recv", "ids", "ts_sent")
_EXACT: Final = ("price", "qty", "ask", "ask_qty")
_PARTIAL: Final = ("ts_sent", "ask", "ask_qty")
"""Columns of only trades, or only quotes."""
_MARKS: Final = {name: 7_000_000_000_000_001_00 + at for at, name in enumerate(_WHOLE + _EXACT)}


class _Form(NamedTuple):
    """How all lines of a form are made."""

    columns: tuple[str, ...]
    """The columns whose numbers stand in them."""
    pieces: tuple[_Texts, ...]
    """What stands between the symbol and the first number, and behind each number; more than one text: by kind."""
    room: tuple[int, ...]
    """How many bytes of constant pieces stand between the symbol and each number."""

    @classmethod
    def of(cls, *kinds: int) -> _Form:
        columns, _ = _marked(kinds[0])
        pieces = [list(dict.fromkeys(texts)) for texts in zip(*(_marked(kind)[1] for kind in kinds), strict=True)]
        room = accumulate(min(map(len, texts)) for texts in pieces[:-1])
        return cls(columns, tuple(map(_Texts.of, pieces)), tuple(room))


def _marked(kind: int) -> tuple[tuple[str, ...], list[bytes]]:
    """The columns of the numbers in the line of a kind, and the pieces between them, read off a line with marks."""
    absent = ("ts_sent",) if kind == QUOTE else ("ask", "ask_qty")
    numbers = {name: b"" if name in absent else mark.to_bytes(8, "little") for name, mark in _MARKS.items()}
    (event,) = Columns([""], 1, bytes((kind,)), b"\0\0", **numbers)
    marks = {plain(mark, 1) if name in _EXACT else str(mark): name for name, mark in _MARKS.items()}
    text = line(event).removeprefix(_HEAD + '""')
    first, *rest = re.split("(" + "|".join(map(re.escape, marks)) + ")", text)
    return tuple(marks[number] for number in rest[::2]), [piece.encode() for piece in (first, *rest[1::2])]


@cache
def _forms() -> tuple[_Form, _Form]:
    """Of trades and of quotes."""
    return _Form.of(BUY, SELL), _Form.of(QUOTE)


@lru_cache(8)
def _heads(symbols: tuple[str, ...]) -> _Texts:
    """How the lines of each symbol begin."""
    return _Texts.of([(_HEAD + quoted(symbol)).encode() for symbol in symbols])


# --- lines ---

_Data = Iterable[tuple[int, int, bytes]]
"""Place of the symbol, number of the interval, and lines of each group, in the order of their first events."""


def _written(rows: _Rows, symbols: tuple[str, ...], digits: int, every: int) -> _Data | None:
    """The lines of all rows; None where they must come singly. Raises IndexError for a symbol that is not named."""
    lines = _both(rows, symbols, digits)
    return _grouped(rows, lines, every) if all(some.fit for some in lines) else None


@lru_cache(8)
def texts(symbols: tuple[str, ...]) -> kernels.Forms:
    """How lines go on, by kind, and behind these how those of each symbol begin: for the compiled loop."""
    kinds = []
    for kind in (BUY, SELL, QUOTE):
        columns, pieces = _marked(kind)
        follows = [(MONEY if name in _EXACT else WHOLE, name) for name in columns]
        kinds.append([(text, *more) for text, more in zip(pieces, [*follows, (NOTHING, "")], strict=True)])
    heads = [[((_HEAD + quoted(symbol)).encode(), NOTHING, "")] for symbol in symbols]
    return kernels.Forms([*kinds, *heads])


class _Lines:
    """Some lines of one form, in the order in which their events came."""

    def __init__(self, form: _Form, which: Array, heads: _Texts, kinds: Array, numbers: Mapping[str, _Texts]) -> None:
        self.which = which
        """Places of their rows."""
        self.margin = heads.fields.itemsize
        """Bytes that the first line of all may stand over."""
        self._heads = heads
        columns = [numbers[name] for name in form.columns]
        self.fit = heads.surplus <= form.room[-1] and all(
            text.surplus <= room for text, room in zip(columns, form.room, strict=True)
        )
        """Whether no number is so much shorter than others that its field would reach into the symbol, and no symbol so
        much shorter that its field would reach into the symbol of the line before.
        """
        pieces = [piece if len(piece.fields) == 1 else piece.take(kinds) for piece in form.pieces]
        parts = [[pieces[0]]]
        for text in (text for both in zip(columns, pieces[1:], strict=True) for text in both):
            if text.surplus:
                parts.append([text])
            else:
                parts[-1].append(text)
        self._parts = [_joined(len(which), texts) for texts in parts]
        self.lengths = sum((part.lengths for part in self._parts), heads.lengths)

    def begin(self, memory: Array, ends: Array) -> None:
        """Writes their heads, which may stand over into the lines before them."""
        _put(memory, ends - self.lengths + self._heads.lengths, self._heads.fields)

    def end(self, memory: Array, ends: Array) -> None:
        """Writes what follows, each line from its end back. All heads have been written by then."""
        for part in reversed(self._parts):
            _put(memory, ends, part.fields)
            ends = ends - part.lengths


def _put(memory: Array, ends: Array, fields: Array) -> None:
    """Each field into memory, so that it ends where it should."""
    width = fields.itemsize
    np.ndarray((len(memory) - width + 1,), fields.dtype, memory, 0, (1,))[ends - width] = fields


def _both(rows: _Rows, symbols: tuple[str, ...], digits: int) -> list[_Lines]:
    """Those of the trades and those of the quotes."""
    trades, quotes = np.flatnonzero(rows.kinds != QUOTE), np.flatnonzero(rows.kinds == QUOTE)
    by = np.concatenate([trades, quotes])
    count, border, heads = len(by), len(trades), _heads(symbols).take(rows.symbol[by])
    times = _numbers(np.concatenate([rows.ts[by], rows.ts_recv[by], rows.ts_sent]), 0)
    ids = _numbers(rows.ids[by], 0)
    exact = _numbers(np.concatenate([rows.price[by], rows.qty[by], rows.ask, rows.ask_qty]), digits)
    if rows.short.any():
        short, asks = rows.short[by], rows.short[quotes]
        exact = _shorter(exact, digits, np.concatenate([short, short >> 4, asks >> 8, asks >> 12]) & 15)
    texts = {"ids": ids}
    for name, source, begin, many in (
        ("ts", times, 0, count),
        ("ts_recv", times, count, count),
        ("ts_sent", times, 2 * count, border),
        ("price", exact, 0, count),
        ("qty", exact, count, count),
        ("ask", exact, 2 * count, len(quotes)),
        ("ask_qty", exact, 2 * count + len(quotes), len(quotes)),
    ):
        texts[name] = source.take(slice(begin, begin + many))
    found = []
    for form, which, begin, end in zip(_forms(), (trades, quotes), (0, border), (border, count), strict=True):
        if begin < end:
            own = slice(begin, end)
            numbers = {
                name: texts[name].take(slice(0, end - begin) if name in _PARTIAL else own) for name in form.columns
            }
            found.append(_Lines(form, which, heads.take(own), rows.kinds[which], numbers))
    return found


def _grouped(rows: _Rows, lines: Sequence[_Lines], every: int) -> _Data:
    count, interval = len(rows.kinds), rows.ts // every
    lengths = np.empty(count, np.int64)
    for some in lines:
        lengths[some.which] = some.lengths
    order, bounds = _order(rows.symbol, interval)
    margin = max(some.margin for some in lines)
    ends = np.empty(count, np.int64)
    ends[order] = np.cumsum(lengths[order]) + margin
    memory = np.empty(int(lengths.sum()) + margin, "u1")
    for some in lines:
        some.begin(memory, ends[some.which])
    for some in lines:
        some.end(memory, ends[some.which])
    for first, last in bounds:
        one = order[first]
        data = memory[int(ends[one] - lengths[one]) : int(ends[order[last]])].tobytes()
        yield int(rows.symbol[one]), int(interval[one]), data


def _order(symbol: Array, interval: Array) -> tuple[Array, list[tuple[int, int]]]:
    """The rows ordered by symbol and interval; and first and last place of each such group in that order, the groups in
    the order of their first rows.
    """
    least = interval.min()
    span = int(interval.max() - least) + 1
    key = symbol.astype(np.int64) * span + (interval - least)
    if int(key.max()) < 1 << 16:
        key = key.astype("u2")  # sorted by its two bytes, in a tenth of the time
    order = np.argsort(key, kind="stable")
    key = key[order]
    firsts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    lasts = np.concatenate([firsts[1:], [len(key)]]) - 1
    by = np.argsort(order[firsts])
    return order, list(zip(firsts[by].tolist(), lasts[by].tolist(), strict=True))
