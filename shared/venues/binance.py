"""Binance spot: frames into trades and quotes. Facts as of November 2026."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final

import msgspec

from shared.events import AggTrade, Quote, Trade
from shared.venues import (
    KINDS,
    KLINE,
    MAX_FRAME,
    ColumnReader,
    Control,
    Daily,
    Kline,
    Limits,
    OwnBar,
    Reject,
    nanoseconds,
)
from shared.venues._binance_rest import Id, Rest, Word, daily_of, decode

_TRADE_TYPES: Final = frozenset({None, "MARKET", "INSURANCE_FUND", "ADL", "NA"})
_STREAM: Final = {"trade": "trade", "quote": "bookTicker", "agg_trade": "aggTrade"}


class _Data(msgspec.Struct, gc=False):
    """The three events merged, so that one typed pass decodes a frame whatever it holds::

        {"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}
        {"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}
        {"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,
         "m":true,"M":true}

    Futures add "X" to trades, and "e", "T" and "E" to quotes. Until June 2024 trades had order ids in "b" and "a".
    """

    s: Word | None = None
    e: Word | None = None
    E: Id | None = None
    T: Id | None = None
    t: Id | None = None
    p: str | None = None
    q: str | None = None
    m: bool | None = None
    X: Word | None = None
    u: Id | None = None
    b: Id | str | None = None
    B: str | None = None
    a: Id | str | None = None
    A: str | None = None
    f: Id | None = None
    l: Id | None = None  # noqa: E741 - the venue's name


class _Bar(msgspec.Struct, gc=False):
    t: Id
    i: Word
    o: str
    h: str
    l: str  # noqa: E741 - the venue's name
    c: str
    v: str
    q: str
    n: Id
    V: str
    Q: str
    x: bool


class _BarData(msgspec.Struct, gc=False):
    e: Word
    s: Word
    k: _Bar


class _BarFrame(msgspec.Struct, gc=False):
    """The venue's own bar; ``x`` says that it is closed::

    {"stream":"bnbbtc@kline_1s","data":{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,
     "T":1672515780999,"s":"BNBBTC","i":"1s","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015",
     "v":"1000","n":100,"x":true,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}
    """

    data: _BarData


class _Error(msgspec.Struct):
    code: int | None = None
    msg: str = ""


class _Frame(msgspec.Struct, gc=False):
    """What surrounds an event, and what answers a request::

    {"stream":"bnbbtc@trade","data":{…}}    {"result":null,"id":1}    {"error":{"code":2,"msg":"…"},"id":1}
    {"code":3,"msg":"Invalid JSON: …"}      {"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}
    """

    stream: str | None = None
    data: _Data | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: int | str | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str = ""
    e: Word | None = None


class _Named(msgspec.Struct):
    stream: str | None = None


_frames = msgspec.json.Decoder(_Frame)
_named = msgspec.json.Decoder(_Named)
_bare = msgspec.json.Decoder(_Data)
_bars = msgspec.json.Decoder(_BarFrame)


class Venue(Rest):
    """Spot. See :class:`shared.venues.Adapter`."""

    name: ClassVar[str] = "binance"
    ws_url: ClassVar[str] = "wss://stream.binance.com:9443"
    rest_url: ClassVar[str] = "https://api.binance.com"
    public_urls: ClassVar[dict[str, str]] = {
        "ws_url": "wss://data-stream.binance.vision",
        "rest_url": "https://data-api.binance.vision",
    }
    # The venue's figures are 1,024 streams, 5 messages a second, 300 connections in five minutes; it bans offenders.
    limits: ClassVar[Limits] = Limits(
        streams_per_connection=1000, messages_per_s=3, connects_per_5min=240, lifetime_s=86_400, weight_per_min=6000
    )
    kinds: ClassVar[tuple[str, ...]] = KINDS
    ids_have_holes: ClassVar[bool] = False
    kline_s: ClassVar[int] = 1
    daily: ClassVar[Daily | None] = daily_of("spot")
    _url_suffix: ClassVar[str] = "&timeUnit=MICROSECOND"

    def __init__(self, symbols: Iterable[str] = (), streams: Sequence[str] = KINDS) -> None:
        super().__init__()
        makers: dict[str, Callable[[_Data, str, int], Any]] = {
            "trade": self._trade,
            "quote": self._quote,
            "agg_trade": self._aggregate,
        }
        self._streams = {
            self.stream(symbol, kind): (symbol, makers[kind])
            for symbol in symbols
            for kind in streams
            if kind in makers
        }
        self._bars = {self.stream(symbol, KLINE): symbol for symbol in symbols if KLINE in streams}

    # --- websocket ---

    def routes(self, kind: str) -> tuple[str, ...]:
        return ("",)

    def stream(self, symbol: str, kind: str) -> str:
        return f"{symbol.lower()}@{f'kline_{self._kline[0]}' if kind == KLINE else _STREAM[kind]}"

    def url(self, base: str, route: str, streams: Sequence[str]) -> str:
        place = f"{base.rstrip('/')}/{route}".rstrip("/")
        return f"{place}/stream?streams={'/'.join(streams)}{self._url_suffix}"

    def subscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        return msgspec.json.encode({"method": "SUBSCRIBE", "params": list(streams), "id": request_id})

    def unsubscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        return msgspec.json.encode({"method": "UNSUBSCRIBE", "params": list(streams), "id": request_id})

    def parse(self, frame: bytes, ts_recv: int) -> list[Trade | AggTrade | Quote | Control]:
        if len(frame) > MAX_FRAME:
            raise Reject("longer than a frame may be")
        try:
            found = _frames.decode(frame)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._reason(frame, error) from None
        data = found.data
        known = self._streams.get(found.stream)  # type: ignore[arg-type]
        if data is None or known is None:
            return [self._other(found, frame, ts_recv)]
        symbol, make = known
        if data.s != symbol:
            raise Reject("the symbol is not the stream's")
        return [make(data, symbol, ts_recv)]

    def columns(self) -> ColumnReader | None:
        from shared.venues._binance_columns import Reader

        kinds = {"trade": "trade", "bookTicker": "quote"}
        named = ((name, symbol, name.partition("@")[2]) for name, (symbol, _) in self._streams.items())
        found = ((name, symbol, kinds.get(event, "")) for name, symbol, event in named)
        return Reader(found, self.parse, (*_Frame.__struct_fields__, *_Data.__struct_fields__))

    def _reason(self, frame: bytes, error: Exception) -> Reject:
        # Another stream's event has fields of other types: say what it is rather than which field surprised.
        try:
            stream = _named.decode(frame).stream
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            stream = None
        if stream is not None and stream not in self._streams:
            return Reject("a stream that was not asked for")
        return Reject(f"not what was expected: {str(error)[:200]}")

    def _other(self, found: _Frame, frame: bytes, ts_recv: int) -> Trade | AggTrade | Quote | Control:
        """Everything that is rare: bars, answers, announcements, events without an envelope, strangers."""
        if found.stream is not None and found.stream in self._bars:
            return self._own_bar(frame, self._bars[found.stream])
        if "serverShutdown" in (found.e, found.data.e if found.data else None):
            return Control("shutdown")
        number = found.id if isinstance(found.id, int) else None
        if found.error is not None or found.code is not None:
            error = found.error or _Error(found.code, found.msg)
            return Control("error", number, f"{error.code}: {error.msg[:200]}")
        if found.result is not msgspec.UNSET:
            return Control("ack", number)
        if found.stream is not None or found.data is not None:
            raise Reject("a stream that was not asked for")
        data = decode(_bare, frame)
        event = data.e or ("bookTicker" if data.u is not None else "")
        known = self._streams.get(f"{(data.s or '').lower()}@{event}")
        if known is None or known[0] != data.s:
            raise Reject("neither an event nor an answer")
        return known[1](data, known[0], ts_recv)  # type: ignore[no-any-return]

    def _own_bar(self, frame: bytes, symbol: str) -> OwnBar:
        data = decode(_bars, frame).data
        bar = data.k
        if data.e != "kline" or data.s != symbol or bar.i != self._kline[0]:
            raise Reject("not the bar that was asked for")
        if not bar.x:
            return OwnBar(KLINE)
        texts = bar.o, bar.h, bar.l, bar.c, bar.v, bar.q, bar.V, bar.Q
        opened, high, low, close, volume, quote, bought, spent = [
            self._digits.check(text, "price or volume") for text in texts
        ]
        start = nanoseconds(bar.t)
        kline = Kline(start, opened, high, low, close, volume, quote, bar.n, bought, spent)
        return OwnBar(KLINE, symbol=symbol, kline=kline)

    def _trade(self, data: _Data, symbol: str, ts_recv: int) -> Trade:
        price, qty, known = data.p, data.q, self._digits.known
        if data.e != "trade" or data.t is None or data.T is None or data.m is None:
            raise Reject("a trade that lacks a field")
        if data.X not in _TRADE_TYPES and not (data.X.isascii() and data.X.isidentifier()):  # type: ignore[union-attr]
            raise Reject("a trade of no type")
        if price not in known:
            self._digits.check(price, "price")
        if qty not in known:
            self._digits.check(qty, "quantity")
        ts = nanoseconds(data.T)
        sent = None if data.E is None else nanoseconds(data.E)
        side = "sell" if data.m else "buy"
        return Trade(symbol, ts, ts, sent, ts_recv, price, qty, side, data.t, "ws", data.X)  # type: ignore[arg-type]

    def _quote(self, data: _Data, symbol: str, ts_recv: int) -> Quote:
        bid, bid_qty, ask, ask_qty, known = data.b, data.B, data.a, data.A, self._digits.known
        if data.u is None or data.e not in (None, "bookTicker"):
            raise Reject("a quote that lacks a field")
        if not (bid in known and bid_qty in known and ask in known and ask_qty in known):
            for text in (bid, bid_qty, ask, ask_qty):
                self._digits.check(text if isinstance(text, str) else None, "price or quantity")
        at = None if data.T is None else nanoseconds(data.T)
        sent = None if data.E is None else nanoseconds(data.E)
        return Quote(symbol, at or 0, at, sent, ts_recv, bid, bid_qty, ask, ask_qty, data.u)  # type: ignore[arg-type]

    def _aggregate(self, data: _Data, symbol: str, ts_recv: int) -> AggTrade:
        if data.e != "aggTrade" or not isinstance(data.a, int) or data.T is None or data.m is None:
            raise Reject("an aggregate that lacks a field")
        if data.f is None or data.l is None or data.l < data.f:
            raise Reject("an aggregate of no trades")
        price, qty = self._digits.check(data.p, "price"), self._digits.check(data.q, "quantity")
        ts = nanoseconds(data.T)
        sent = None if data.E is None else nanoseconds(data.E)
        side = "sell" if data.m else "buy"
        return AggTrade(symbol, ts, ts, sent, ts_recv, price, qty, side, data.a, data.f, data.l)
