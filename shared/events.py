"""The words that travel: trades, quotes, feed events and bars, and the batches that carry them.

Times are integer nanoseconds since the epoch, UTC. Prices and quantities are text with the venue's own digits, so that
nothing is rounded between the socket and the archive. Structs are arrays on the wire: new fields go to the end, with a
default; the meaning of a field never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, overload

import msgspec


class Trade(msgspec.Struct, array_like=True, tag=1, gc=False):
    """One execution. ``side`` is the taker's, ``buy`` or ``sell``."""

    symbol: str
    ts: int
    """What files, seconds and order go by: the matching time."""
    ts_event: int
    """The venue's matching time (Binance ``T``)."""
    ts_sent: int | None
    """The venue's sending time (Binance ``E``); None when fetched over REST or from an archive."""
    ts_recv: int
    """Our wall clock right after the socket was read. Recorded, never decided upon."""
    price: str
    qty: str
    side: str
    trade_id: int
    source: str = "ws"
    """``ws``, ``rest`` or ``archive``."""
    trade_type: str | None = None
    """Futures only (Binance ``X``): anything but MARKET is no book execution and stays out of bars."""


class AggTrade(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Executions of one taker order at one price, covering trade ids ``first_trade_id`` to ``last_trade_id``."""

    symbol: str
    ts: int
    ts_event: int
    ts_sent: int | None
    ts_recv: int
    price: str
    qty: str
    side: str
    agg_id: int
    first_trade_id: int
    last_trade_id: int
    source: str = "ws"


class Quote(msgspec.Struct, array_like=True, tag=3, gc=False):
    """Best bid and ask after a change of either."""

    symbol: str
    ts: int
    """The matching time where the venue sends one, else ingest's estimate of the venue's clock at receipt."""
    ts_event: int | None
    ts_sent: int | None
    ts_recv: int
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str
    update_id: int


class Feed(msgspec.Struct, array_like=True, tag=4):
    """Something that happened to the feed: what may have been missed, and why."""

    kind: str
    """One of FEED_KINDS."""
    ts: int
    ts_recv: int
    symbols: list[str] = []
    """The symbols concerned; empty means all of the source."""
    detail: dict[str, Any] = {}
    """What else there is to say: plain JSON values, one flat level."""


FEED_KINDS = (
    "connected",  # quotes of `symbols` flow (again)
    "disconnected",  # quotes of `symbols` no longer stand: nothing covers them now
    "stale",
    "suspended",  # this machine slept; detail.asleep_ms
    "gap",  # ids first_id..last_id of one symbol are missing
    "healed",  # ... and are held now; detail.source
    "unhealable",  # ... and nobody has them; detail.reason
    "symbol_status",
    "clock",  # detail.offset_ns: venue clock minus ours, detail.round_trip_ns
    "ended",  # a recording is over: everything closes
)


class Rejected(msgspec.Struct, array_like=True, tag=5):
    """A frame or answer that could not be understood."""

    reason: str
    ts: int
    ts_recv: int
    size: int
    sha256: str
    raw: str
    """At most 64 KB of the bytes, undecodable ones escaped."""


class Bar(msgspec.Struct, array_like=True, tag=6, gc=False):
    """One second of one symbol: the columns of ``tables.BAR_COLUMNS`` in their order, but for the venue."""

    symbol: str
    window_start: int
    """Nanoseconds here, microseconds in the table."""
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    volume_base: float = 0.0
    volume_quote: float = 0.0
    trade_count: int = 0
    vwap: float | None = None
    bid: float | None = None
    ask: float | None = None
    spread: float | None = None
    bid_qty: float | None = None
    ask_qty: float | None = None
    quote_count: int = 0
    spread_tw: float | None = None
    buy_volume_base: float = 0.0
    buy_volume_quote: float = 0.0
    buy_count: int = 0
    first_trade_id: int | None = None
    last_trade_id: int | None = None
    trade_id_sum: int | None = None
    is_complete: bool | None = None
    quotes_live_ms: int = 0
    revision: int = 0


Event = Trade | AggTrade | Quote | Feed | Rejected | Bar

BUY: Final = 0
SELL: Final = 1
QUOTE: Final = 2


_SHORT: Final = [bytes(two for two in range(256) if max(two & 15, two >> 4) <= digits) for digits in range(19)]
"""By `Columns.digits`: the bytes that may stand in `Columns.short`."""


class Columns(msgspec.Struct, gc=False, omit_defaults=True):
    """Plain trades and quotes of a busy moment, column by column, in the order in which they came.

    The same events as a list of them would be, and as such it can be iterated, measured and cut. Who takes thousands at
    once takes the columns. Each is little-endian integers, one an event, but for those that only quotes or only trades
    have. Only what came over a websocket stands here: futures and everything unusual travels as single events.
    """

    symbols: list[str]
    digits: int
    """Digits after the point of every price and quantity, but for those in `short`; 1 to 18."""
    kinds: bytes
    """uint8: BUY or SELL for a trade, QUOTE for a quote."""
    symbol: bytes
    """uint16: place in `symbols`."""
    ts: bytes
    """int64, nanoseconds; of a trade also its ``ts_event``. Quotes here have none."""
    ts_recv: bytes
    """int64, nanoseconds."""
    ids: bytes
    """int64: trade id or update id."""
    price: bytes
    """int64, in units of the last digit: price, or bid."""
    qty: bytes
    """int64, in units of the last digit: quantity, or that of the bid."""
    ask: bytes
    """int64, quotes only."""
    ask_qty: bytes
    """int64, quotes only."""
    ts_sent: bytes
    """int64, nanoseconds, trades only."""
    short: bytes = b""
    """uint16: how many of the digits, all of them zeros, the venue left out at the end of its price, its quantity, its
    ask and the quantity of that: four bits each, the lowest first. Nothing where it never did.
    """

    def __post_init__(self) -> None:
        """Raises ValueError (a DecodeError when decoded) where the columns do not belong together."""
        quotes, count = self.kinds.count(QUOTE), len(self.kinds)
        whole = (self.ts, self.ts_recv, self.ids, self.price, self.qty)
        if (
            not 1 <= self.digits <= 18
            or self.kinds.translate(None, bytes((BUY, SELL, QUOTE)))
            or any(len(column) != 8 * count for column in whole)
            or len(self.symbol) != 2 * count
            or not len(self.ask) == len(self.ask_qty) == 8 * quotes
            or len(self.ts_sent) != 8 * (count - quotes)
            or len(self.short) not in (0, 2 * count)
            or self.short.translate(None, _SHORT[self.digits])
        ):
            raise ValueError("columns of different lengths")

    def __len__(self) -> int:
        return len(self.kinds)

    def __iter__(self) -> Iterator[Trade | Quote]:
        symbol, digits = memoryview(self.symbol).cast("H"), self.digits
        ts, recv, ids, price, qty = map(_int64, (self.ts, self.ts_recv, self.ids, self.price, self.qty))
        quotes = zip(_int64(self.ask), _int64(self.ask_qty), strict=True)
        sent, short = iter(_int64(self.ts_sent)), memoryview(self.short).cast("H") or bytes(len(self))
        for at, kind in enumerate(self.kinds):
            name, less = self.symbols[symbol[at]], short[at]
            one, more = plain(price[at], digits, less & 15), plain(qty[at], digits, less >> 4 & 15)
            if kind == QUOTE:
                ask, ask_qty = next(quotes)
                ask_text, ask_size = plain(ask, digits, less >> 8 & 15), plain(ask_qty, digits, less >> 12)
                yield Quote(name, ts[at], None, None, recv[at], one, more, ask_text, ask_size, ids[at])
            else:
                side = "sell" if kind == SELL else "buy"
                yield Trade(name, ts[at], ts[at], next(sent), recv[at], one, more, side, ids[at])

    @overload
    def __getitem__(self, which: int) -> Trade | Quote: ...
    @overload
    def __getitem__(self, which: slice) -> list[Trade | Quote]: ...
    def __getitem__(self, which: int | slice) -> Trade | Quote | list[Trade | Quote]:
        return list(self)[which]


def _int64(column: bytes) -> memoryview:
    return memoryview(column).cast("q")


def plain(number: int, digits: int, short: int = 0) -> str:
    """A count of units of the last digit as its text, with `digits` after the point but for the last `short`."""
    text = str(number).zfill(digits + 1)
    whole, rest = text[:-digits], text[-digits : len(text) - short]
    return f"{whole}.{rest}" if rest else whole


class Batch(msgspec.Struct, array_like=True, tag="B"):
    """What one journal record and one lane message hold.

    Each event has a sequence number, ``first`` being that of the first one. The batch's time is a record of its own and
    takes the last number, so a batch without events is a tick: ``last == first + len(events)``.
    """

    first: int
    ts: int
    """Venue time after these events; never goes back within a journal."""
    events: list[Event] | Columns

    @property
    def last(self) -> int:
        return self.first + len(self.events)

    def after(self, position: int) -> Batch:
        """The part of this batch behind ``position``, which lies inside it."""
        if position < self.first:
            return self
        return Batch(position + 1, self.ts, [*self.events[position + 1 - self.first :]])


class State(msgspec.Struct, array_like=True, tag="S"):
    """The first record of a journal segment: what its writer must know to go on."""

    state: bytes


class Beat(msgspec.Struct):
    """A heartbeat, sent from the work loop once a second."""

    stage: str
    pid: int
    token: str
    phase: str = "running"
    """starting, running, draining, ended."""
    ts: int = 0
    """Venue time this stage has reached."""
    counters: dict[str, int] = {}
    """Running totals; ``events_in`` and ``events_out`` always."""
    positions: dict[str, int] = {}
    """Last consumed sequence number by input journal."""
    backlog: int = 0
    """Records known to wait in the input journals: filled in by the supervisor, who hears both ends."""
    note: str = ""
    """One line for people: what is wrong or what is waited for."""
    given: dict[str, int] = {}
    """Last sequence number by output journal."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch | State)


def encode(record: Batch | State) -> bytes:
    return _encoder.encode(record)


def decode(payload: bytes | memoryview) -> Batch | State:
    """Raises ValueError (msgspec.DecodeError is one) or RecursionError on anything that is not a batch or a state."""
    record: Batch | State = _decoder.decode(payload)
    return record
