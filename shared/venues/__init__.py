"""Venues: what each sends and allows. An adapter turns bytes into words and wishes into requests; it opens nothing and
asks no clock.

A new venue is one file here, called what ``venue:`` in the pipeline file calls it, with a class ``Venue`` of the shape
of :class:`Adapter`; a part of one has a name that begins with an underscore.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

from shared.events import AggTrade, Quote, Trade

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shared import kernels

KLINE = "kline"
"""The venue's own bars: a check and no record, so nothing is owed or missing of them."""
KINDS = ("trade", "quote", "agg_trade", KLINE)
"""What can be subscribed to, in our words; adapters know the venue's."""
MAX_FRAME = 1 << 20
"""Bytes of one websocket message; a longer one is not decoded."""
MAX_ID = 2**63 - 1

_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]{1,18})?")


class Reject(ValueError):
    """Bytes that cannot be understood, or must not be believed. The text is the reason, without what was sent."""


class Control(msgspec.Struct, frozen=True):
    """What a venue says about the connection rather than the market."""

    kind: str
    """``ack``, ``error`` or ``shutdown``."""
    id: int | None = None
    """The request it answers."""
    text: str = ""


class Request(msgspec.Struct, frozen=True):
    """A REST question as plain data."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    """What the venue charges for it."""
    max_bytes: int = 8 << 20
    """A longer answer is not read."""


class Limits(msgspec.Struct, frozen=True):
    """What the venue allows a client, as planned with: below what it says where that is uncertain."""

    streams_per_connection: int
    messages_per_s: float
    """Messages we may send on one connection, pongs included."""
    connects_per_5min: int
    weight_per_min: int
    """REST, until the venue has told its own figure."""
    lifetime_s: int
    """The venue cuts a connection of this age."""
    url_streams: int = 200
    """So many streams stand in the URL, which every server understands; the others are subscribed to afterwards."""
    subscribe_chunk: int = 100
    """Streams in one SUBSCRIBE."""


class Instrument(msgspec.Struct, frozen=True):
    """What the venue says of a symbol. Sizes are text with the venue's digits."""

    symbol: str
    status: str
    base: str = ""
    quote: str = ""
    kind: str = "spot"
    tick_size: str | None = None
    lot_size: str | None = None
    min_qty: str | None = None
    max_qty: str | None = None
    min_notional: str | None = None


class Kline(msgspec.Struct, frozen=True):
    """The venue's own bar. Prices and volumes are text with the venue's digits."""

    start: int
    """Nanoseconds since the epoch."""
    open: str
    high: str
    low: str
    close: str
    volume_base: str
    volume_quote: str
    trade_count: int
    buy_volume_base: str
    buy_volume_quote: str


class OwnBar(Control, frozen=True):
    """The venue's own bar as its stream sends it, ``kind`` being ``kline``."""

    symbol: str = ""
    kline: Kline | None = None
    """None while it is not closed."""


class Daily(msgspec.Struct, frozen=True):
    """The venue's archive of closed days: for each symbol, day and kind a zip of one CSV, its checksum beside it."""

    url: str
    path: str
    """With ``{folder}``, ``{symbol}`` and ``{date}``; the CSV is called like the zip."""
    folders: dict[str, str]
    """By our kind of stream."""
    columns: dict[str, tuple[str, ...]]
    """By our kind: ``id price qty first last time maker`` where they stand, empty what is not read; more may follow."""


class Newest(msgspec.Struct, frozen=True):
    """The last trade of a symbol there is, by the venue's own word."""

    trade_id: int
    agg_id: int | None
    ts: int


class Rows(Protocol):
    """Frames parsed together, a row each, in numpy columns; see `shared.events.Columns` for their meaning. All are as
    long as there were frames; where `is_plain` is False, a frame is left to `Adapter.parse` and its row means nothing.
    """

    is_plain: NDArray[np.bool_]
    kinds: NDArray[np.uint8]
    symbol: NDArray[np.uint16]
    ts: NDArray[np.int64]
    """Of trades; 0 for a quote."""
    ts_recv: NDArray[np.int64]
    """Nothing yet: room for whoever knows it."""
    ts_sent: NDArray[np.int64]
    ids: NDArray[np.int64]
    price: NDArray[np.int64]
    qty: NDArray[np.int64]
    ask: NDArray[np.int64]
    ask_qty: NDArray[np.int64]
    short: NDArray[np.uint16]

    @property
    def lent(self) -> kernels.Rows:
        """Where all that is, for the compiled loops, of one row at least; good as long as the rows are held."""


class ColumnReader(Protocol):
    """Parses the plain trades and quotes among many frames, and says of each exactly what `Adapter.parse` says."""

    symbols: list[str]
    digits: int

    def read(self, reads: Sequence[Sequence[bytes]]) -> Rows:
        """The frames of some reads, one after another."""


class Adapter(Protocol):
    """One venue, for a fixed allow-list of symbols: nothing of another symbol ever comes out of it.

    Prices and quantities stay text. Times are nanoseconds. A quote without a venue time has ``ts == 0``: whoever knows
    the venue's clock fills it in. Every `parse…` raises :class:`Reject` and nothing else, whatever the bytes.
    """

    name: ClassVar[str]
    ws_url: ClassVar[str]
    rest_url: ClassVar[str]
    public_urls: ClassVar[dict[str, str]]
    """Settings for the pipeline file that reach the public data where the main addresses refuse."""
    limits: ClassVar[Limits]
    kinds: ClassVar[tuple[str, ...]]
    """The streams this venue has."""
    ids_have_holes: ClassVar[bool]
    """Raw trade ids are not contiguous at the venue itself; aggregates prove what is missing."""
    kline_s: ClassVar[int]
    """Seconds of the shortest bar that the venue itself makes; 0 where it makes none."""
    daily: ClassVar[Daily | None]
    """None where the venue publishes no days."""

    def __init__(self, symbols: Iterable[str] = (), streams: Sequence[str] = KINDS) -> None: ...

    # websocket
    def routes(self, kind: str) -> tuple[str, ...]:
        """Where a kind of stream may be served, most likely first."""

    def stream(self, symbol: str, kind: str) -> str: ...

    def url(self, base: str, route: str, streams: Sequence[str]) -> str: ...

    def subscribe(self, streams: Sequence[str], request_id: int) -> bytes: ...

    def unsubscribe(self, streams: Sequence[str], request_id: int) -> bytes: ...

    def parse(self, frame: bytes, ts_recv: int) -> list[Trade | AggTrade | Quote | Control]: ...

    def columns(self) -> ColumnReader | None:
        """What parses frames by the thousand; None where a venue has nothing of the kind."""

    # REST
    headers: ClassVar[dict[str, str]]

    def ask_time(self) -> Request: ...

    def parse_time(self, body: bytes) -> int: ...

    def ask_instruments(self, symbols: Sequence[str] = ()) -> Request:
        """All symbols where none are named."""

    def parse_instruments(self, body: bytes) -> tuple[list[Instrument], int | None]:
        """The symbols, and the REST weight a minute if it says so."""

    def ask_newest(self, symbol: str) -> Request: ...

    def parse_newest(self, body: bytes, symbol: str) -> Newest | None: ...

    def ask_newest_ids(self, symbols: Sequence[str] = ()) -> Request | None:
        """The newest trade ids of these symbols, or of all there are, in one question; None where there is none."""

    def parse_newest_ids(self, body: bytes) -> dict[str, int]:
        """By symbol, whether it was asked about or not. A symbol that did not trade of late is not among them."""

    def ask_trades(self, symbol: str, first_id: int, most: int) -> Request | None:
        """Trades from an id on; None where the venue does not give them to strangers."""

    def ask_recent(self, symbol: str) -> Request | None:
        """The newest trades there are, as many as one answer holds."""

    def parse_trades(self, body: bytes, symbol: str, ts_recv: int) -> list[Trade]: ...

    def ask_aggregates(self, symbol: str, first_id: int | None, start: int | None, end: int | None) -> Request:
        """Aggregates from an id on, or of a span of time (nanoseconds)."""

    def parse_aggregates(self, body: bytes, symbol: str, ts_recv: int) -> list[AggTrade]: ...

    def ask_klines(self, symbol: str, start: int) -> Request:
        """The venue's own shortest bars from a time on (nanoseconds), as many as one answer holds."""

    def parse_klines(self, body: bytes) -> list[Kline]: ...


def names() -> list[str]:
    """The venues there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> type[Adapter]:
    """The adapter of a venue. Raises LookupError for a name that is none."""
    if name not in names():
        raise LookupError(f"there is no venue {name}")
    adapter: type[Adapter] = importlib.import_module(f"{__name__}.{name}").Venue
    return adapter


class Digits:
    """Says whether texts are numbers as venues write prices: plain decimals, at most 18 places, at most 40 characters.

    Prices and sizes repeat, and looking one up costs a tenth of checking it.
    """

    MOST = 1 << 16

    def __init__(self) -> None:
        self.known: set[str] = set()

    def check(self, text: str | None, what: str) -> str:
        """The text itself. Raises Reject."""
        if text is None or len(text) > 40 or _NUMBER.fullmatch(text) is None:
            raise Reject(f"{what} is no plain number")
        if len(self.known) >= self.MOST:
            self.known.clear()
        self.known.add(text)
        return text


def nanoseconds(stamp: int) -> int:
    """A venue's milliseconds or microseconds, told apart by their size (1973 and later). Raises Reject."""
    if 10**11 <= stamp < 9_223_372_036_854:
        return stamp * 1_000_000
    if 10**14 <= stamp < 9_223_372_036_854_775:
        return stamp * 1_000
    raise Reject("a time that is neither milliseconds nor microseconds")
