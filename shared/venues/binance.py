"""Binance spot: frames into trades and quotes, and its REST answers. Facts as of November 2026."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Final, TypeVar

import msgspec

from shared.events import AggTrade, Quote, Trade
from shared.venues import (
    KINDS,
    MAX_FRAME,
    MAX_ID,
    Control,
    Daily,
    Digits,
    Instrument,
    Kline,
    Limits,
    Newest,
    Reject,
    Request,
    nanoseconds,
)

Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
Word = Annotated[str, msgspec.Meta(max_length=64)]

_TRADE_TYPES: Final = frozenset({None, "MARKET", "INSURANCE_FUND", "ADL", "NA"})
_STREAM: Final = {"trade": "trade", "quote": "bookTicker", "agg_trade": "aggTrade"}
_SECONDS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}


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


class _RestTrade(msgspec.Struct, gc=False):
    """``{"id":28457,"price":"4.00000100","qty":"12.0","quoteQty":"48.0","time":1499865549590,"isBuyerMaker":true}``"""

    id: Id
    price: str
    qty: str
    time: Id
    isBuyerMaker: bool


class _RestAggregate(msgspec.Struct, gc=False):
    """``{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}``"""

    a: Id
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the venue's name
    T: Id
    m: bool


class _RestKline(msgspec.Struct, array_like=True, gc=False):
    """``[1499040000000,"0.0163","0.8","0.0157","0.0158","148.11",1499644799999,"2434.19",308,"1756.87","28.46","0"]``"""

    open_time: Id
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: Id
    quote_volume: str
    count: Id
    buy_volume: str
    buy_quote_volume: str


class _Time(msgspec.Struct):
    serverTime: Id


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: str | None = None
    stepSize: str | None = None
    minQty: str | None = None
    maxQty: str | None = None
    minNotional: str | None = None
    notional: str | None = None


_NO_RULE: Final = _Filter("")


class _Symbol(msgspec.Struct):
    symbol: Word
    status: Word = ""
    contractStatus: Word = ""
    contractType: Word = ""
    baseAsset: Word = ""
    quoteAsset: Word = ""
    filters: list[_Filter] = []


class _RateLimit(msgspec.Struct):
    rateLimitType: str
    interval: str
    intervalNum: int
    limit: int


class _ExchangeInfo(msgspec.Struct):
    """``{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}],"symbols":[…]}``"""

    symbols: list[_Symbol]
    rateLimits: list[_RateLimit] = []


_COLUMNS: Final = {
    "trade": ("id", "price", "qty", "", "time", "maker"),
    "agg_trade": ("id", "price", "qty", "first", "last", "time", "maker"),
}


def daily_of(market: str) -> Daily:
    """Published the next day, sometimes later, and sometimes replaced: ids are worth more than files."""
    path = f"/data/{market}/daily/{{folder}}/{{symbol}}/{{symbol}}-{{folder}}-{{date}}.zip"
    return Daily("https://data.binance.vision", path, {"trade": "trades", "agg_trade": "aggTrades"}, _COLUMNS)


T = TypeVar("T")
_frames = msgspec.json.Decoder(_Frame)
_named = msgspec.json.Decoder(_Named)
_bare = msgspec.json.Decoder(_Data)
_trades = msgspec.json.Decoder(list[_RestTrade])
_aggregates = msgspec.json.Decoder(list[_RestAggregate])
_time = msgspec.json.Decoder(_Time)
_klines = msgspec.json.Decoder(list[_RestKline])
_info = msgspec.json.Decoder(_ExchangeInfo)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Reject(f"not what was expected: {str(error)[:200]}") from None


class Venue:
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
    headers: ClassVar[dict[str, str]] = {"X-MBX-TIME-UNIT": "MICROSECOND"}
    _url_suffix: ClassVar[str] = "&timeUnit=MICROSECOND"
    _api: ClassVar[str] = "/api/v3"
    _weights: ClassVar[dict[str, int]] = {
        "exchangeInfo": 20, "historicalTrades": 25, "trades": 25, "aggTrades": 4, "klines": 2
    }  # fmt: skip
    _kline: ClassVar[tuple[str, int]] = ("1s", 1000)

    def __init__(self, symbols: Iterable[str] = (), streams: Sequence[str] = KINDS) -> None:
        self._digits = Digits()
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

    # --- websocket ---

    def routes(self, kind: str) -> tuple[str, ...]:
        return ("",)

    def stream(self, symbol: str, kind: str) -> str:
        return f"{symbol.lower()}@{_STREAM[kind]}"

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
        """Everything that is rare: answers, announcements, events without an envelope, strangers."""
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
        data = _decode(_bare, frame)
        event = data.e or ("bookTicker" if data.u is not None else "")
        known = self._streams.get(f"{(data.s or '').lower()}@{event}")
        if known is None or known[0] != data.s:
            raise Reject("neither an event nor an answer")
        return known[1](data, known[0], ts_recv)  # type: ignore[no-any-return]

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

    # --- REST ---

    def _ask(self, what: str, *params: tuple[str, object], max_bytes: int = 8 << 20) -> Request:
        given = tuple((key, str(value)) for key, value in params if value is not None)
        return Request(f"{self._api}/{what}", given, self._weights.get(what, 1), max_bytes)

    def ask_time(self) -> Request:
        return self._ask("time")

    def parse_time(self, body: bytes) -> int:
        return nanoseconds(_decode(_time, body).serverTime)

    def ask_instruments(self, symbols: Sequence[str] = ()) -> Request:
        if not symbols or len(symbols) > 100:
            return self._ask("exchangeInfo", ("showPermissionSets", "false"), max_bytes=64 << 20)
        return self._ask("exchangeInfo", ("symbols", msgspec.json.encode(list(symbols)).decode()), max_bytes=64 << 20)

    def parse_instruments(self, body: bytes) -> tuple[list[Instrument], int | None]:
        info = _decode(_info, body)
        weight = [
            limit.limit * 60 // (_SECONDS[limit.interval] * limit.intervalNum)
            for limit in info.rateLimits
            if limit.rateLimitType == "REQUEST_WEIGHT" and limit.interval in _SECONDS and limit.intervalNum > 0
        ]
        return [self._instrument(entry) for entry in info.symbols], min(weight) if weight else None

    def _instrument(self, entry: _Symbol) -> Instrument:
        rules = {rule.filterType: rule for rule in entry.filters}
        price, lot = rules.get("PRICE_FILTER", _NO_RULE), rules.get("LOT_SIZE", _NO_RULE)
        # The latter name is that of before 2022, and of futures.
        least = rules.get("NOTIONAL") or rules.get("MIN_NOTIONAL", _NO_RULE)
        return Instrument(
            entry.symbol,
            entry.status or entry.contractStatus,
            entry.baseAsset,
            entry.quoteAsset,
            entry.contractType.lower() or "spot",
            price.tickSize,
            lot.stepSize,
            lot.minQty,
            lot.maxQty,
            least.minNotional or least.notional,
        )

    def ask_newest(self, symbol: str) -> Request:
        # One aggregate names the newest trade id as well as one trade would, for a sixth of the weight.
        return self._ask("aggTrades", ("symbol", symbol), ("limit", 1))

    def parse_newest(self, body: bytes, symbol: str) -> Newest | None:
        rows = self.parse_aggregates(body, symbol, 0)
        if not rows:
            return None
        last = max(rows, key=lambda row: row.last_trade_id)
        return Newest(last.last_trade_id, last.agg_id, last.ts)

    def ask_trades(self, symbol: str, first_id: int, most: int) -> Request | None:
        limit = max(1, min(1000, most))
        return self._ask("historicalTrades", ("symbol", symbol), ("fromId", first_id), ("limit", limit))

    def ask_recent(self, symbol: str) -> Request | None:
        return self._ask("trades", ("symbol", symbol), ("limit", 1000))

    def parse_trades(self, body: bytes, symbol: str, ts_recv: int) -> list[Trade]:
        found = []
        for row in _decode(_trades, body):
            price, qty = self._digits.check(row.price, "price"), self._digits.check(row.qty, "quantity")
            ts = nanoseconds(row.time)
            side = "sell" if row.isBuyerMaker else "buy"
            found.append(Trade(symbol, ts, ts, None, ts_recv, price, qty, side, row.id, "rest"))
        return found

    def ask_aggregates(self, symbol: str, first_id: int | None, start: int | None, end: int | None) -> Request:
        # Either an id or a span: the venue refuses both together. Rounded outwards to whole milliseconds.
        span = () if first_id is not None else (("startTime", _ms(start, -1)), ("endTime", _ms(end, 1)))
        return self._ask("aggTrades", ("symbol", symbol), ("fromId", first_id), *span, ("limit", 1000))

    def parse_aggregates(self, body: bytes, symbol: str, ts_recv: int) -> list[AggTrade]:
        found = []
        for row in _decode(_aggregates, body):
            if not 0 <= row.f <= row.l <= MAX_ID:
                continue  # cancelled trades leave aggregates with ids of -1: they hold nothing
            price, qty = self._digits.check(row.p, "price"), self._digits.check(row.q, "quantity")
            ts, side = nanoseconds(row.T), "sell" if row.m else "buy"
            found.append(AggTrade(symbol, ts, ts, None, ts_recv, price, qty, side, row.a, row.f, row.l, "rest"))
        return found

    def ask_klines(self, symbol: str, start: int) -> Request:
        interval, most = self._kline
        return self._ask(
            "klines", ("symbol", symbol), ("interval", interval), ("startTime", _ms(start, -1)), ("limit", most)
        )

    def parse_klines(self, body: bytes) -> list[Kline]:
        found = []
        for row in _decode(_klines, body):
            prices = row.open, row.high, row.low, row.close
            volumes = row.volume, row.quote_volume, row.buy_volume, row.buy_quote_volume
            for text in (*prices, *volumes):
                self._digits.check(text, "price or volume")
            start, (volume, quote, bought, spent) = nanoseconds(row.open_time), volumes
            found.append(Kline(start, *prices, volume, quote, row.count, bought, spent))
        return found


def _ms(ts: int | None, outwards: int) -> int | None:
    if ts is None:
        return None
    return ts // 1_000_000 if outwards < 0 else -(-ts // 1_000_000)
