"""The words of the emulated venue: prints, aggregates and tops of book, and how they read on the wire."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol

import msgspec

Market = Literal["spot", "usdm"]

TRADE = "trade"
AGG_TRADE = "aggTrade"
BOOK_TICKER = "bookTicker"


class Instrument(msgspec.Struct, frozen=True):
    """A symbol as ``exchangeInfo`` describes it."""

    symbol: str
    base: str
    quote: str
    price: float
    """A plausible price, around which the synthetic market moves."""
    tick_digits: int
    """Decimals of the smallest price step."""
    step_digits: int
    """Decimals of the smallest quantity step."""
    rhythm: float = 1.0
    """How busy it is, relative to the others."""


class Print(msgspec.Struct, gc=False):
    """One execution, with the digits that are sent."""

    id: int
    price: str
    qty: str
    time_us: int
    sent_us: int
    buyer_maker: bool
    kind: str = "MARKET"
    """Futures only (``X``)."""


class Agg(msgspec.Struct, gc=False):
    """The prints ``first`` to ``last`` of one taker order at one price."""

    id: int
    price: str
    qty: str
    first: int
    last: int
    time_us: int
    sent_us: int
    buyer_maker: bool


class Top(msgspec.Struct, gc=False):
    """Best bid and ask."""

    id: int
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str
    time_us: int
    sent_us: int


class Own(msgspec.Struct):
    """The venue's own bar, closed."""

    interval: str
    row: list[Any]
    """As REST gives it, times in microseconds."""
    first: int
    """Ids of its trades, -1 where it has none."""
    last: int
    time_us: int
    sent_us: int


class Event(msgspec.Struct, gc=False):
    """Something to send to whoever subscribed to ``stream``."""

    at_us: int
    """When it is due: venue time, or the receive time of a recording."""
    stream: str
    kind: str
    """The part of the stream's name behind ``@``."""
    symbol: str
    id: int
    body: Print | Agg | Top | Own | bytes
    """Bytes are the payload itself, kept as recorded."""
    bare: bool = False
    """Sent without the envelope of combined streams (garbage only)."""


class Source(Protocol):
    """A market that can be asked as of the moment it has reached: nothing later is ever answered."""

    market: Market
    instruments: dict[str, Instrument]

    def prints(self, symbol: str, first_id: int, limit: int) -> list[Print]:
        """Prints with at least this id, in order of id."""
        ...

    def last_print(self, symbol: str) -> int:
        """The newest id, or -1."""
        ...

    def print_at(self, symbol: str, time_us: int) -> int:
        """The lowest id of the prints at or after a time."""
        ...

    def aggs(self, symbol: str, first_id: int, limit: int) -> list[Agg]: ...

    def last_agg(self, symbol: str) -> int: ...

    def agg_at(self, symbol: str, time_us: int) -> int: ...


def payload(event: Event, market: Market, micro: bool) -> bytes:
    """The JSON of an event, without any envelope; all times in microseconds if ``micro``."""
    body = event.body
    if isinstance(body, bytes):
        return to_micro(body) if micro else body
    unit = 1 if micro else 1000
    sent, time = body.sent_us // unit, body.time_us // unit
    if isinstance(body, Print):
        return _print(event.symbol, body, sent, time, market).encode()
    if isinstance(body, Own):
        return _own(event.symbol, body, sent, unit)
    if isinstance(body, Top):
        return _top(event.symbol, body, sent, time, market).encode()
    return _agg(event.symbol, body, sent, time, market).encode()


def _print(symbol: str, p: Print, sent: int, time: int, market: Market) -> str:
    maker = "true" if p.buyer_maker else "false"
    if market == "spot":
        return (
            f'{{"e":"trade","E":{sent},"s":"{symbol}","t":{p.id},"p":"{p.price}","q":"{p.qty}",'
            f'"T":{time},"m":{maker},"M":true}}'
        )
    return (
        f'{{"e":"trade","E":{sent},"T":{time},"s":"{symbol}","t":{p.id},"p":"{p.price}","q":"{p.qty}",'
        f'"X":"{p.kind}","m":{maker}}}'
    )


def _top(symbol: str, t: Top, sent: int, time: int, market: Market) -> str:
    if market == "spot":  # no time of its own, and no "e" either
        return f'{{"u":{t.id},"s":"{symbol}","b":"{t.bid}","B":"{t.bid_qty}","a":"{t.ask}","A":"{t.ask_qty}"}}'
    return (
        f'{{"e":"bookTicker","u":{t.id},"s":"{symbol}","b":"{t.bid}","B":"{t.bid_qty}","a":"{t.ask}","A":"{t.ask_qty}",'
        f'"T":{time},"E":{sent}}}'
    )


def _agg(symbol: str, a: Agg, sent: int, time: int, market: Market) -> str:
    tail = ',"M":true' if market == "spot" else ""
    maker = "true" if a.buyer_maker else "false"
    names = f'"s":"{symbol}","a":{a.id}' if market == "spot" else f'"a":{a.id},"s":"{symbol}"'
    return (
        f'{{"e":"aggTrade","E":{sent},{names},"p":"{a.price}","q":"{a.qty}","f":{a.first},"l":{a.last},"T":{time},'
        f'"m":{maker}{tail}}}'
    )


def _own(symbol: str, bar: Own, sent: int, unit: int) -> bytes:
    opened, o, h, l, c, volume, closed, quote, count, bought, spent, _ = bar.row  # noqa: E741 - the venue's names
    told = {
        "t": opened // unit, "T": closed // unit, "s": symbol, "i": bar.interval, "f": bar.first, "L": bar.last,
        "o": o, "c": c, "h": h, "l": l, "v": volume, "n": count, "x": True,
        "q": quote, "V": bought, "Q": spent, "B": "0",
    }  # fmt: skip
    return msgspec.json.encode({"e": "kline", "E": sent, "s": symbol, "k": told})


_TIMES = re.compile(rb'("[ET]":\d{13})(?=[,}])')


def to_micro(body: bytes) -> bytes:
    """A recorded payload as ``timeUnit=MICROSECOND`` would have had it: the same moments, no new knowledge."""
    return _TIMES.sub(rb"\g<1>000", body)


def text_frame(data: bytes) -> bytes:
    """A whole websocket text frame, as servers send it: unmasked, in one piece."""
    return _framed(0x81, data)


def binary_frame(data: bytes) -> bytes:
    return _framed(0x82, data)


def control_frame(opcode: int, data: bytes) -> bytes:
    return _framed(0x80 | opcode, data[:125])


def _framed(first: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((first, size)) + data
    if size < 65536:
        return b"%c\x7e%c%c" % (first, size >> 8, size & 255) + data
    return bytes((first, 127)) + size.to_bytes(8, "big") + data
