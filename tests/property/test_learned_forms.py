"""Frames that the venue writes otherwise than it did: columns learn how, and say what the single parser says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import kernels
from shared.venues._binance_columns import Reader
from shared.venues.binance import Venue
from tests.fixtures.loops import loops as loops
from tests.property.test_frames_in_bulk import SYMBOLS, as_cut, event_of, parsed

STREAMS = {"trade": "trade", "quote": "bookTicker"}
SEEDS = st.integers(0, 2**64 - 1)
US = 1_760_918_400_123_456
Value = Callable[[Random], str]


def number(r: Random) -> str:
    return str(r.randrange(10 ** r.choice((1, 2, 9, 16))))


def time(r: Random) -> str:
    return str(r.choice((US, US // 1000)) + r.randrange(10**5))


def money(r: Random) -> str:
    decimals = r.choice((8, 8, 2, r.randrange(9)))
    return (
        f'"{r.randrange(10 ** r.choice((1, 5, 10)))}{f".{r.randrange(10**decimals):0{decimals}}" if decimals else ""}"'
    )


def word(r: Random) -> str:
    return r.choice(("true", "false"))


def text(r: Random) -> str:
    return '"' + "".join(r.choice("aZ09 !#[]~_.,:{}") for _ in range(r.randrange(12))) + '"'


def always(value: str) -> Value:
    return lambda r: value


VALUES: dict[str, dict[str, Value]] = {
    "trade": {
        "e": always('"trade"'), "E": time, "s": text, "t": number, "p": money, "q": money, "T": time, "m": word,
        "M": word,
    },
    "quote": {"u": number, "s": text, "b": money, "B": money, "a": money, "A": money},
}  # fmt: skip
CONSTANTS = (
    "null", "-1.5", '"\u00e9"', '[1,"a:"]', '{"y":-1}', r'"x\"y"', "1e5", "0.5", '""', '"a"', "[]", "7", "true",
)  # fmt: skip
ODD = (*CONSTANTS, '{"p":"1.5"}', '"trade"', '"MARKET"', '"SOLUSDT"', f"{US}", '"1.0"', "0e3", "01", "1.0")
NEW = ("x", "st", "pair", "L", "y")
KNOWN = (*"eEstpqTmMubBaAXfl", "stream", "data", "id", "code", "result", *NEW)
BLANKS = ("", "", "", " ", "  ", "\n", "\t")
PUT_IN = (b"", b'"', b"0", b" ", b"\\", b"}", b"x", b".", b",", b"5", b"-", b"e", b"\n", b"\x00", b"\xff")


class Style:
    """How a venue writes a kind of frame: in another order, with blanks, and with more keys, each of which has values
    of a kind that a form knows or always the same; or else odd ones, under keys that are there already.
    """

    def __init__(self, r: Random, kind: str, is_odd: bool) -> None:
        self.event = STREAMS[kind]
        self.data = list(VALUES[kind].items())
        for key in r.sample(KNOWN if is_odd else NEW, r.randrange(4)):
            odd: list[Value] = [lambda r: r.choice(ODD), always(r.choice(ODD))] if is_odd else []
            self.data.append((key, r.choice([number, word, text, always(r.choice(CONSTANTS)), *odd])))
        if r.randrange(2):
            r.shuffle(self.data)
        self.colon, self.comma = r.choice(BLANKS) + ":" + r.choice(BLANKS), "," + r.choice(BLANKS)
        self.ends = r.choice(BLANKS)
        self.is_data_first = r.randrange(4) == 0

    def object(self, values: Iterable[tuple[str, str]]) -> str:
        inner = self.comma.join(f'"{key}"{self.colon}{value}' for key, value in values)
        return f"{{{self.ends}{inner}{self.ends}}}"

    def frame(self, r: Random, symbol: str) -> bytes:
        name = f'"{symbol}"'
        data = self.object((key, name if key == "s" and value is text else value(r)) for key, value in self.data)
        whole = [("stream", f'"{symbol.lower()}@{self.event}"'), ("data", data)]
        return self.object(reversed(whole) if self.is_data_first else whole).encode()


def histories(r: Random, is_odd: bool) -> Iterator[list[bytes]]:
    """For some ways to write a kind of frame: a frame of each symbol and more; and frames that follow them."""
    kind = r.choice(list(STREAMS))
    for _ in range(r.randint(1, 3)):
        style = Style(r, kind, is_odd)
        yield [style.frame(r, symbol) for symbol in SYMBOLS * 2]
        yield [style.frame(r, r.choice(SYMBOLS)) for _ in range(20)]


def reader(venue: Venue) -> Reader:
    found = venue.columns()
    assert isinstance(found, Reader)
    return found


def checked(found: Reader, venue: Venue, frames: list[bytes]) -> list[bool]:
    """Which frames are plain; those are what they should be."""
    rows = found.read([frames[:1], as_cut(frames[1:])])
    for at, frame in enumerate(frames):
        if rows.is_plain[at]:
            assert parsed(venue, frame) == event_of(rows, at, found.symbols[rows.symbol[at]]), frame
    return rows.is_plain.tolist()  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.Streams, "PATIENCE", 0)


@settings(deadline=None, max_examples=150)
@given(SEEDS)
def test_what_is_written_otherwise_is_plain_again(seed: int) -> None:
    venue = Venue(SYMBOLS, ["trade", "quote"])
    found = reader(venue)
    for frames in histories(Random(seed), is_odd=False):
        is_plain = checked(found, venue, frames)
        assert kernels.loops is None or all(is_plain), frames


@settings(deadline=None, max_examples=200)
@given(SEEDS)
def test_whatever_was_learned_a_plain_frame_is_what_the_single_parser_finds(seed: int) -> None:
    """Also where the keys that we know come twice, or stand in other places, and where bytes of a frame are damaged."""
    venue, r = Venue(SYMBOLS, ["trade", "quote"]), Random(seed)
    found = reader(venue)
    for frames in histories(r, is_odd=True):
        damaged = []
        for frame in frames:
            at = r.randrange(len(frame))
            damaged.append(frame[:at] + r.choice(PUT_IN) + frame[at + r.randrange(2) :])
        checked(found, venue, frames)
        checked(found, venue, damaged + frames)
