"""How frames look, for the compiled loop to read: as the venue has written them for years, or read off one of them."""

from __future__ import annotations

import re
from typing import Final

from shared.kernels import MONEY, NOTHING, NUMBER, SIDE, TEXT, TIME, WHOLE, WORD, Form

LONGEST: Final = 2048
"""Bytes of a frame that a form is read off."""
_COLUMNS: Final = {
    "trade": {
        b"E": (TIME, "ts_sent"), b"t": (WHOLE, "ids"), b"p": (MONEY, "price"), b"q": (MONEY, "qty"),
        b"T": (TIME, "ts"), b"m": (SIDE, ""),
    },
    "quote": {
        b"u": (WHOLE, "ids"), b"b": (MONEY, "price"), b"B": (MONEY, "qty"), b"a": (MONEY, "ask"),
        b"A": (MONEY, "ask_qty"),
    },
}  # fmt: skip
_VALUE: Final = re.compile(rb'"(\w+)"\s*:\s*(?:([0-9]+)|(true|false)|"([ !#-\[\]-~]*)")')
"""A key and a number, a word or a text."""
_ANY: Final = ((NUMBER, ""), (WORD, ""), (TEXT, ""))


def head(name: str, kind: str) -> bytes:
    """All that comes before the first number of a usual frame."""
    event = '"e":"trade","E":' if kind == "trade" else '"u":'
    return f'{{"stream":"{name}","data":{{{event}'.encode()


def middle(symbol: str, kind: str) -> bytes:
    """From the comma behind its first number to the next number."""
    return f',"s":"{symbol}","t":'.encode() if kind == "trade" else f',"s":"{symbol}","b":"'.encode()


def usual(name: str, symbol: str, kind: str) -> Form:
    """All of a usual frame."""
    first, second = head(name, kind), middle(symbol, kind)
    if kind == "trade":
        return (
            (first, TIME, "ts_sent"), (second, WHOLE, "ids"), (b',"p":"', MONEY, "price"), (b'","q":"', MONEY, "qty"),
            (b'","T":', TIME, "ts"), (b',"m":', SIDE, ""), (b',"M":', WORD, ""), (b"}}", NOTHING, ""),
        )  # fmt: skip
    return (
        (first, WHOLE, "ids"), (second, MONEY, "price"), (b'","B":"', MONEY, "qty"),
        (b'","a":"', MONEY, "ask"), (b'","A":"', MONEY, "ask_qty"), (b'"}}', NOTHING, ""),
    )  # fmt: skip


def of(frame: bytes, kind: str, known: frozenset[bytes]) -> Form:
    """The form of a frame, which is still to be tried. What is no column's may be any number, any word, or, under a key
    that is not `known` to the parser, any text; all the rest stays as it is.
    """
    form, end, columns = list[tuple[bytes, int, str]](), 0, dict(_COLUMNS[kind])
    for found in _VALUE.finditer(frame):
        key, group = found[1], found.lastindex or 0
        what = columns.pop(key, _ANY[group - 2])
        if what[0] != TEXT or key not in known:
            form.append((frame[end : found.start(group)], *what))
            end = found.end(group)
    return [*form, (frame[end:], NOTHING, "")]


def others(form: Form) -> list[bytes]:
    """Frames of the same form in which no number is as another, and every word another one than who made the price."""
    found = []
    for words in ({SIDE: b"true", WORD: b"false", NOTHING: b""}, {SIDE: b"false", WORD: b"true", NOTHING: b""}):
        numbers = ((1_500_000_000_000 if follows == TIME else 0) + at for at, (_, follows, _) in enumerate(form))
        values = (words.get(follows, b"%d" % number) for (_, follows, _), number in zip(form, numbers, strict=True))
        found.append(b"".join(text + value for (text, *_), value in zip(form, values, strict=True)))
    return found
