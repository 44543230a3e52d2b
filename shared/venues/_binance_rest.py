"""Binance over REST: questions and what their answers say. Spot's words, of which futures change a few. Facts as of
November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, TypeVar

import msgspec

from shared.events import AggTrade, Trade
from shared.venues import MAX_ID, Daily, Digits, Instrument, Kline, Newest, Reject, Request, nanoseconds

Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
Word = Annotated[str, msgspec.Meta(max_length=64)]

_SECONDS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}


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


class _Statistics(msgspec.Struct, gc=False):
    """Of the last 24 hours; ids of -1 where nothing was traded: ``{"symbol":"BNBBTC","firstId":0,"lastId":18150,…}``"""

    symbol: Word
    lastId: int


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
_trades = msgspec.json.Decoder(list[_RestTrade])
_aggregates = msgspec.json.Decoder(list[_RestAggregate])
_statistics = msgspec.json.Decoder(list[_Statistics])
_time = msgspec.json.Decoder(_Time)
_klines = msgspec.json.Decoder(list[_RestKline])
_info = msgspec.json.Decoder(_ExchangeInfo)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Reject(f"not what was expected: {str(error)[:200]}") from None


class Rest:
    """What spot answers. See :class:`shared.venues.Adapter`."""

    headers: ClassVar[dict[str, str]] = {"X-MBX-TIME-UNIT": "MICROSECOND"}
    _api: ClassVar[str] = "/api/v3"
    _weights: ClassVar[dict[str, int]] = {
        "exchangeInfo": 20, "historicalTrades": 25, "trades": 25, "aggTrades": 4, "klines": 2, "ticker/24hr": 80
    }  # fmt: skip
    _kline: ClassVar[tuple[str, int]] = ("1s", 1000)

    def __init__(self) -> None:
        self._digits = Digits()

    def _ask(self, what: str, *params: tuple[str, object], max_bytes: int = 8 << 20) -> Request:
        given = tuple((key, str(value)) for key, value in params if value is not None)
        return Request(f"{self._api}/{what}", given, self._weights.get(what, 1), max_bytes)

    def ask_time(self) -> Request:
        return self._ask("time")

    def parse_time(self, body: bytes) -> int:
        return nanoseconds(decode(_time, body).serverTime)

    def ask_instruments(self, symbols: Sequence[str] = ()) -> Request:
        if not symbols or len(symbols) > 100:
            return self._ask("exchangeInfo", ("showPermissionSets", "false"), max_bytes=64 << 20)
        return self._ask("exchangeInfo", ("symbols", msgspec.json.encode(list(symbols)).decode()), max_bytes=64 << 20)

    def parse_instruments(self, body: bytes) -> tuple[list[Instrument], int | None]:
        info = decode(_info, body)
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

    def ask_newest_ids(self, symbols: Sequence[str] = ()) -> Request | None:
        # Charged by steps: up to 20 symbols, up to 100, and all there are.
        if not symbols or len(symbols) > 100:
            return self._ask("ticker/24hr", ("type", "MINI"))
        weight = 2 if len(symbols) <= 20 else 40
        named = msgspec.json.encode(list(symbols)).decode()
        return msgspec.structs.replace(self._ask("ticker/24hr", ("symbols", named), ("type", "MINI")), weight=weight)

    def parse_newest_ids(self, body: bytes) -> dict[str, int]:
        return {row.symbol: row.lastId for row in decode(_statistics, body) if 0 <= row.lastId <= MAX_ID}

    def ask_trades(self, symbol: str, first_id: int, most: int) -> Request | None:
        limit = max(1, min(1000, most))
        return self._ask("historicalTrades", ("symbol", symbol), ("fromId", first_id), ("limit", limit))

    def ask_recent(self, symbol: str) -> Request | None:
        return self._ask("trades", ("symbol", symbol), ("limit", 1000))

    def parse_trades(self, body: bytes, symbol: str, ts_recv: int) -> list[Trade]:
        found = []
        for row in decode(_trades, body):
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
        for row in decode(_aggregates, body):
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
        for row in decode(_klines, body):
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
