"""Spot frames by the thousand: the plain ones among them parsed in a few passes over all of them, column by column.

A plain frame is one whose every byte outside its numbers is as the venue has written it for years: a trade or a best
bid and ask of a stream that was subscribed to, numbers with at most eight digits after the point. Whatever else there
is, by a single byte, is left to the parser that takes one frame at a time; that one is the reference, and what is found
here is what it would find. Where the loops are compiled they do all of it, frame by frame; and where the venue writes
otherwise than it did, with blanks, another key or in another order, they learn it from the first such frame. In numpy
those stay with the single parser. Only to be imported where a busy moment has come: an idle process does without
numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import BUY, QUOTE, SELL, Columns, Quote, Trade
from shared.frames import Cut, joined
from shared.venues import Reject, _binance_forms

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Places = NDArray[np.intp]

DIGITS: Final = 8
_U: Final = np.uint64
_QUOTE_MARK: Final = ord('"')
_POINT: Final = ord(".")
_ZERO: Final = ord("0")
_PAD: Final = bytes(256)
"""Behind the last frame, so that no look goes beyond the end: no stream has longer words of its own."""
_ZEROS: Final = _U(0x3030303030303030)
_SIXES: Final = _U(0x0606060606060606)
_HIGH: Final = _U(0xF0F0F0F0F0F0F0F0)
_LOW_BYTES: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=_U)
"""By number: the mask of the first so many characters of a word."""
_TENS: Final = 10 ** np.arange(DIGITS + 1, dtype=np.int64)
_PAIRS: Final = _U(0x000000FF000000FF)
_LONG: Final = 16
"""Digits of the longest integer that is read here."""
_WIDE: Final = 10
"""Digits before the point of the longest price."""

# What a frame looks like between its stream's own words, by the numbers of its quotation marks, counted from its first.

_NAME_END: Final = 3


class _Layout(NamedTuple):
    marks: int
    """Quotation marks in all."""
    symbol: int
    """The mark from which on, one character earlier, the stream's second text stands."""
    whole: tuple[tuple[int, int], ...]
    """Integers: two characters behind the one mark, up to one before the other."""
    money: tuple[tuple[int, int], ...]
    """Numbers between two marks."""
    says: tuple[tuple[bytes, int, int], ...]
    """What else must stand there: text of at most eight characters, mark, and how far from it."""


_TRADE: Final = _Layout(
    32, 12, ((11, 12), (17, 18), (27, 28)), ((20, 21), (24, 25)),
    ((b',"p":"', 18, -1), (b'","q":"', 21, 0), (b'","T":', 25, 0), (b',"m":', 28, -1), (b',"M":', 30, -1)),
)  # fmt: skip
_BEST: Final = _Layout(
    28, 8, ((7, 8),), ((14, 15), (18, 19), (22, 23), (26, 27)),
    ((b'","B":"', 15, 0), (b'","a":"', 19, 0), (b'","A":"', 23, 0), (b'"}}', 27, 0)),
)  # fmt: skip
_MAKER: Final = 29
_MATCH: Final = 31
_NAME_AT: Final = 11
"""Where in a frame the name of its stream begins."""


class Rows:
    """See `shared.venues.Rows`; prices and quantities are in units of 1e-8."""

    __slots__ = ("_lent", "_numbers", "is_plain", "kinds", "short", "symbol", *kernels.COLUMNS)

    def __init__(self, count: int) -> None:
        self.is_plain: Flags = np.zeros(count, np.bool_)
        self.kinds: NDArray[np.uint8] = np.empty(count, np.uint8)
        self.kinds.fill(QUOTE)
        self.symbol: NDArray[np.uint16] = np.zeros(count, np.uint16)
        self.short: NDArray[np.uint16] = np.zeros(count, np.uint16)
        self._numbers = np.zeros((len(kernels.COLUMNS), count), np.int64)  # in that order
        self.ts, self.ts_recv, self.ids, self.price, self.qty, self.ask, self.ask_qty, self.ts_sent = self._numbers
        self._lent: kernels.Rows | None = None

    @property
    def lent(self) -> kernels.Rows:
        if self._lent is None:
            self._lent = kernels.Rows.of(self, self._numbers)
        return self._lent


class Reader:
    """The streams of one source: ``(stream name, symbol, "trade" or "quote")`` each. `symbols` is what `Rows.symbol`
    counts in. `parse` is the parser that takes one frame at a time, `known` are the keys that it looks at.
    """

    digits = DIGITS

    def __init__(
        self,
        streams: Iterable[tuple[str, str, str]],
        parse: Callable[[bytes, int], Sequence[object]],
        known: Iterable[str],
    ) -> None:
        found = [stream for stream in streams if stream[2] in ("trade", "quote")]
        self.symbols = list(dict.fromkeys(symbol for _, symbol, _ in found))
        place = {symbol: at for at, symbol in enumerate(self.symbols)}
        keys = np.array([_key(name) for name, _, _ in found], _U)
        order = np.argsort(keys)
        self._keys = keys[order]
        self._is_trade = np.array([kind == "trade" for *_, kind in found], np.bool_)[order]
        self._symbol = np.array([place[symbol] for _, symbol, _ in found], np.uint16)[order]
        self._heads = _Known([_binance_forms.head(name, kind) for name, _, kind in found], order)
        self._middles = _Known([_binance_forms.middle(symbol, kind) for _, symbol, kind in found], order)
        self.is_usable = bool(found) and len(set(keys.tolist())) == len(found)
        names, symbols = [name.encode() for name, *_ in found], [place[symbol] for _, symbol, _ in found]
        forms = [_binance_forms.usual(*stream) for stream in found]
        self._streams = kernels.Streams(_NAME_AT, names, forms, symbols)
        self._named, self._parse, self._known = found, parse, frozenset(key.encode() for key in known)

    def read(self, reads: Sequence[Sequence[bytes]]) -> Rows:
        """Parses what is plain."""
        pieces = joined(reads)
        rows = Rows(sum(map(len, pieces)))
        if not (self.is_usable and len(rows.kinds)):
            return rows
        if kernels.loops is not None:
            self._streams.begin()
            _read(kernels.loops, self._streams, pieces, rows)
            if not rows.is_plain.all() and self._learn(kernels.loops, pieces):
                _read(kernels.loops, self._streams, pieces, rows)
            return rows
        text = _Text(pieces)
        stream, known = self._streams_of(text)
        is_trade = self._is_trade[stream]
        known &= text.marks == np.where(is_trade, _TRADE.marks, _BEST.marks)
        symbol_mark = text.first + np.where(is_trade, _TRADE.symbol, _BEST.symbol)
        symbol_at = text.quotes[np.minimum(symbol_mark, len(text.quotes) - 1)] - 1
        known &= self._heads.stand(text, stream, text.start) & self._middles.stand(text, stream, symbol_at)
        parts = [_Part(text, np.flatnonzero(known & (is_trade == kind)), _TRADE if kind else _BEST) for kind in (1, 0)]
        _read_numbers(text, parts)
        _fill_trades(rows, text, parts[0])
        _fill_quotes(rows, parts[1])
        rows.symbol[:] = self._symbol[stream]
        return rows

    def _learn(self, library: ctypes.CDLL, pieces: Sequence[Sequence[bytes]]) -> bool:
        """Reads forms off frames that fitted none. Whether there were such."""
        has_learned = False
        for stream, row in self._streams.strangers():
            frame = _frame(pieces, row)
            if len(frame) > _binance_forms.LONGEST:
                continue
            form = _binance_forms.of(frame, self._named[stream][2], self._known)
            if self._is_right(library, stream, [frame, *_binance_forms.others(form)], form):
                self._streams.learn(stream, form)
                has_learned = True
        return has_learned

    def _is_right(self, library: ctypes.CDLL, stream: int, frames: Sequence[bytes], form: kernels.Form) -> bool:
        """Whether these frames are by this form exactly what they are to the single parser."""
        name, symbol, _ = self._named[stream]
        rows = Rows(len(frames))
        _read(library, kernels.Streams(_NAME_AT, [name.encode()], [form], [0]), [frames], rows)
        if not rows.is_plain.all():
            return False
        try:
            return _events(rows, symbol) == [event for frame in frames for event in self._parse(frame, 0)]
        except Reject:
            return False

    def _streams_of(self, text: _Text) -> tuple[Places, Flags]:
        """For each frame the place of its stream in our tables, and whether there is one: its bytes are still to be
        compared.
        """
        has_name = text.marks > _NAME_END
        end = text.quotes[np.where(has_name, text.first + _NAME_END, 0)]
        keys = _mixed(text.words[text.start + 11], text.words[np.maximum(end - 7, 0)])
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return place, has_name & (self._keys[place] == keys)


def _read(library: ctypes.CDLL, streams: kernels.Streams, pieces: Sequence[Sequence[bytes]], rows: Rows) -> None:
    into, row = rows.lent, 0
    for frames in pieces:
        data, begins, ends = _piece(frames)
        count = len(frames)
        if count:
            places = map(kernels.address, (begins, ends))
            library.lake_read(streams.at, kernels.address(data), count, *places, ctypes.byref(into), row)
        row += count


def _frame(pieces: Sequence[Sequence[bytes]], row: int) -> bytes:
    for frames in pieces:
        if row < len(frames):
            return frames[row]
        row -= len(frames)
    raise IndexError("a row beyond the last")


def _events(rows: Rows, symbol: str) -> list[Trade | Quote]:
    """Plain rows of one symbol, singly."""
    quotes = rows.kinds == QUOTE
    partial = rows.ask[quotes], rows.ask_qty[quotes], rows.ts_sent[~quotes]
    columns = rows.kinds, rows.symbol, rows.ts, rows.ts_recv, rows.ids, rows.price, rows.qty, *partial
    return list(Columns([symbol], DIGITS, *(column.tobytes() for column in (*columns, rows.short))))


class _Known:
    """Texts that streams have, as words; the last word of each overlaps the one before it."""

    def __init__(self, texts: Sequence[bytes], order: Places) -> None:
        most = max((len(text) for text in texts), default=8)
        self._at = np.array(
            [[min(8 * row, len(text) - 8) for text in texts] for row in range(-(-most // 8))], np.int64
        )[:, order]
        self._same = [int(row[0]) if (row == row[0]).all() else None for row in self._at]
        found = [[int.from_bytes(text[at : at + 8], "little") for text, at in zip(texts, row, strict=True)]
                 for row in self._at[:, np.argsort(order)].tolist()]  # fmt: skip
        self._words = np.array(found, _U)[:, order]

    def stand(self, text: _Text, stream: Places, at: Places) -> Flags:
        """Whether the text of each stream stands at these places."""
        same = np.ones(len(at), np.bool_)
        for places, place, words in zip(self._at, self._same, self._words, strict=True):
            same &= text.words[at + (places[stream] if place is None else place)] == words[stream]
        return same


def _key(name: str) -> int:
    """What tells a stream by its name: eight characters from its first, and the last eight with its end."""
    text = f'{{"stream":"{name}","data":'.encode()
    end = 11 + len(name)
    words = (int.from_bytes(text[at : at + 8], "little") for at in (11, end - 7))
    return int(_mixed(*(np.array([word], _U) for word in words))[0])


def _mixed(one: Words, other: Words) -> Words:
    mixed: Words = one * _U(0x9E3779B97F4A7C15) ^ other
    return mixed


class _Text:
    """Frames one after another, and where their quotation marks are."""

    def __init__(self, given: Sequence[Sequence[bytes]]) -> None:
        pieces, starts, ends, base = [], [], [], 0
        for frames in given:
            # Between the frames of a cut are their lengths: one that looks like a quotation mark makes a frame unplain.
            piece, begin, end = _piece(frames)
            pieces.append(piece)
            starts.append(begin + base)
            ends.append(end + base)
            base += len(piece)
        data = b"".join((*pieces, _PAD))
        self.start, self.end = np.concatenate(starts), np.concatenate(ends)
        self.bytes = np.frombuffer(data, np.uint8)
        self.words: Words = np.ndarray((len(data) - 7,), np.dtype("<u8"), data, 0, (1,))
        """Eight characters from each place on."""
        found = np.flatnonzero(self.bytes == _QUOTE_MARK)
        self.quotes: Places = found if len(found) else np.zeros(1, np.intp)
        self.first: Places = np.searchsorted(self.quotes, self.start)
        """Of each frame the place in `quotes` of its first quotation mark."""
        self.marks = np.diff(self.first, append=len(self.quotes))
        """How many quotation marks each frame has."""


def _piece(frames: Sequence[bytes]) -> tuple[bytes | memoryview, Ints, Ints]:
    """Text that holds the frames, and where in it each begins and ends."""
    if isinstance(frames, Cut):
        return frames.data, frames.begins, frames.ends
    sizes = np.fromiter(map(len, frames), np.int64, len(frames))
    end = np.cumsum(sizes)
    return b"".join(frames), end - sizes, end


class _Part:
    """The frames of one kind, and whether they are plain as far as they were looked at."""

    def __init__(self, text: _Text, at: Places, layout: _Layout) -> None:
        self.at = at
        self._quotes = text.quotes
        self._first = text.first[at]
        self.end = text.end[at]
        self.whole_from = self.marks(first for first, _ in layout.whole) + 2
        self.whole_to = self.marks(last for _, last in layout.whole) - 1
        self.money_from = self.marks(first for first, _ in layout.money) + 1
        self.money_to = self.marks(last for _, last in layout.money)
        texts = np.array([int.from_bytes(said, "little") for said, _, _ in layout.says], _U)[:, None]
        masks = _LOW_BYTES[[len(said) for said, _, _ in layout.says]][:, None]
        places = self.marks(mark for _, mark, _ in layout.says)
        places += np.array([behind for _, _, behind in layout.says])[:, None]
        self.is_plain: Flags = np.all(text.words[places] & masks == texts, axis=0)
        self.whole: Ints = np.zeros(0, np.int64)
        self.money: Ints = np.zeros(0, np.int64)
        self.lacks: Ints = np.zeros(0, np.int64)

    def marks(self, numbers: Iterable[int]) -> Places:
        """Where these quotation marks are, a row each."""
        found: Places = self._quotes[np.fromiter(numbers, np.intp)[:, None] + self._first]
        return found


def _read_numbers(text: _Text, parts: Sequence[_Part]) -> None:
    """All numbers of all frames at once: what costs is the call, not the row."""
    whole_from, whole_to = (np.concatenate([getattr(p, n).ravel() for p in parts]) for n in ("whole_from", "whole_to"))
    money_from, money_to = (np.concatenate([getattr(p, n).ravel() for p in parts]) for n in ("money_from", "money_to"))
    lacks = _lacking(text, money_to)
    point = money_to - np.where(lacks == DIGITS, 0, DIGITS + 1 - lacks)
    size = np.concatenate([whole_to - whole_from, point - money_from])
    start, end = np.concatenate([whole_from, money_from]), np.concatenate([whole_to, point])
    wholes = len(whole_from)
    odd = size < 1
    odd[:wholes] |= size[:wholes] > _LONG
    odd[wholes:] |= size[wholes:] > _WIDE
    odd |= (text.bytes[start] == _ZERO) & (size > 1)  # JSON knows no number that begins so, nor do we
    np.clip(size, 0, _LONG, out=size)
    count = len(size)
    long = count if size[wholes:].max(initial=0) > 8 else wholes  # prices seldom have more digits before the point
    low = _blank(text.words[end - 8], _LOW_BYTES[8 - np.minimum(size, 8)])
    high = _blank(text.words[end[:long] - 16], _LOW_BYTES[16 - np.maximum(size[:long], 8)])
    rest = _blank(text.words[money_to - 8], _LOW_BYTES[lacks])
    found, strange = _eight(np.concatenate([low, rest, high]))
    fraction, upper = found[count : 2 * count - wholes], found[2 * count - wholes :]
    odd |= strange[:count]
    odd[wholes:] |= strange[count : 2 * count - wholes]
    odd[:long] |= strange[2 * count - wholes :]
    found = found[:count]
    found[:long] += upper * 10**8
    money = found[wholes:] * 10**DIGITS + fraction * _TENS[lacks]
    seen = spent = 0
    for part in parts:
        rows, more = part.whole_from.shape, part.money_from.shape
        behind, further = seen + part.whole_from.size, spent + part.money_from.size
        part.whole, part.money = found[seen:behind].reshape(rows), money[spent:further].reshape(more)
        part.lacks = lacks[spent:further].reshape(more)
        part.is_plain &= ~odd[seen:behind].reshape(rows).any(axis=0)
        part.is_plain &= ~odd[wholes + spent : wholes + further].reshape(more).any(axis=0)
        seen, spent = behind, further


def _lacking(text: _Text, end: Places) -> Ints:
    """How many of eight digits each number lacks: its point, which is looked for among its last characters, tells."""
    lacks = np.zeros(len(end), np.int64)
    other = np.flatnonzero(text.bytes[end - DIGITS - 1] != _POINT)
    if len(other):
        points = text.bytes[end[other] - np.arange(2, DIGITS + 1)[:, None]] == _POINT
        lacks[other] = np.where(points.any(axis=0), DIGITS - 1 - points.argmax(axis=0), DIGITS)
    return lacks


def _short(lacks: Ints) -> NDArray[np.uint16]:
    """As in `Columns.short`."""
    found: Ints = (lacks << np.arange(0, 4 * len(lacks), 4)[:, None]).sum(axis=0)
    return found.astype(np.uint16)


def _blank(words: Words, mask: Words) -> Words:
    """The first characters replaced by zeros."""
    return (words & ~mask) | (_ZEROS & mask)


def _eight(words: Words) -> tuple[Ints, Flags]:
    """Eight characters each as the number that they are; and whether they are not, being no digits."""
    words ^= _ZEROS
    strange = ((words | (words + _SIXES)) & _HIGH) != 0
    words = words * _U(10) + (words >> _U(8))
    found = (words & _PAIRS) * _U(0x000F424000000064) + ((words >> _U(16)) & _PAIRS) * _U(0x0000271000000001)
    found >>= _U(32)
    return found.view(np.int64), strange


def _fill_trades(rows: Rows, text: _Text, part: _Part) -> None:
    sent, ids, ts = part.whole
    maker_at, maker_end, match_at = part.marks((_MAKER, _MAKER + 1, _MATCH))
    maker, is_word = _truth(text, maker_at + 2, maker_end - 1)
    _, is_too = _truth(text, match_at + 2, part.end - 2)
    braces = text.words[part.end - 2] & _LOW_BYTES[2] == _U(int.from_bytes(b"}}", "little"))
    (ts, sent), is_time = _nanoseconds(np.stack([ts, sent]))
    at = part.at
    rows.is_plain[at] = part.is_plain & is_word & is_too & braces & is_time.all(axis=0)
    rows.kinds[at] = np.where(maker, SELL, BUY)
    rows.ts[at], rows.ts_sent[at], rows.ids[at] = ts, sent, ids
    rows.price[at], rows.qty[at] = part.money
    rows.short[at] = _short(part.lacks)


def _truth(text: _Text, start: Places, end: Places) -> tuple[Flags, Flags]:
    """Whether ``true`` stands there, and whether it or ``false`` does."""
    word, size = text.words[start], end - start
    is_true = (word & _LOW_BYTES[4] == _U(int.from_bytes(b"true", "little"))) & (size == 4)
    is_false = (word & _LOW_BYTES[5] == _U(int.from_bytes(b"false", "little"))) & (size == 5)
    return is_true, is_true | is_false


def _nanoseconds(stamp: Ints) -> tuple[Ints, Flags]:
    """As `shared.venues.nanoseconds`: milliseconds and microseconds are told apart by their size."""
    is_milli = (stamp >= 10**11) & (stamp < 9_223_372_036_854)
    is_micro = (stamp >= 10**14) & (stamp < 9_223_372_036_854_775)
    factor = np.where(is_milli, 1_000_000, np.where(is_micro, 1_000, 0))
    return stamp * factor, is_milli | is_micro


def _fill_quotes(rows: Rows, part: _Part) -> None:
    at = part.at
    ends = part.money_to[-1] + 3 == part.end
    rows.is_plain[at] = part.is_plain & ends
    rows.ids[at] = part.whole[0]
    rows.price[at], rows.qty[at], rows.ask[at], rows.ask_qty[at] = part.money
    rows.short[at] = _short(part.lacks)
