"""The stand-in's REST side: the documented endpoints with their weights, limits and errors, and its own control."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bench.standin.market import QUOTES, Symbol, Trade, kline

if TYPE_CHECKING:
    from bench.standin.venue import Venue

WEIGHT_LIMIT = 6000
INTERVALS = {"1s": 1_000_000, "1m": 60_000_000, "5m": 300_000_000, "1h": 3_600_000_000}
GARBAGE = (
    b"",
    b"<html>502</html>",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b'[{"id":1}]',
    b'[{"id":-1,"price":"1","qty":"1","quoteQty":"1","time":1,"isBuyerMaker":true,"isBestMatch":true}]',
    b'[{"id":"1","price":"NaN","qty":"-1","quoteQty":"1","time":99999999999999999999,"isBuyerMaker":1}]',
    b"[" * 100_000,
    b'[{"a":1,"p":"1","q":"1","f":9,"l":1,"T":1,"m":true,"M":true}]',
)
"""Answers of status 200 that no exchange should ever give."""


class Refusal(Exception):
    """An answer with an error of the exchange's own numbering."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.status = code, status


class Limiter:
    """Weights per minute, 429 beyond them, 418 for those who go on. Counts whoever asks before he may."""

    def __init__(self) -> None:
        self.minute, self.used = 0, 0
        self.banned_until = self.banned_since = 0.0
        self.refused = 0
        self.forced_until, self.forced_status = 0.0, 429
        self.early = 0
        """Requests made although Retry-After had not passed: nobody well-behaved has any."""
        self.most = 0
        self.requests = 0
        self.paths: dict[str, int] = {}

    def charge(self, weight: int, path: str, limit: int) -> tuple[int, int] | None:
        """None if the request may pass; else the status and the seconds to wait."""
        now = time.time()
        self.requests += 1
        self.paths[path] = self.paths.get(path, 0) + 1
        if now // 60 != self.minute:
            self.minute, self.used = int(now // 60), 0
        if now < self.banned_until - 0.5:
            on_its_way = now < self.banned_since + 0.5
            self.early += not on_its_way
            self.refused += not on_its_way
            if self.refused > 5:
                self.banned_until = max(self.banned_until, now + 120)
                return 418, int(self.banned_until - now) + 1
            return 429, int(self.banned_until - now) + 1
        if now < self.forced_until:
            self.banned_until, self.banned_since = self.forced_until, now
            return self.forced_status, int(self.forced_until - now) + 1
        self.refused = 0
        self.used += weight
        self.most = max(self.most, self.used)
        if self.used > limit:
            self.banned_until, self.banned_since = (self.minute + 1) * 60, now
            return 429, int(self.banned_until - now) + 1
        return None


class Rest:
    def __init__(self, venue: Venue) -> None:
        self.venue, self.limiter = venue, Limiter()
        self.weight_limit = 2400 if venue.futures else WEIGHT_LIMIT
        self.lag = 0.0
        self.garbage_until = 0.0
        self._garbage = itertools.cycle(GARBAGE)
        self.app = web.Application()
        base = "/fapi/v1" if venue.futures else "/api/v3"
        for path, weight, futures_weight, answer in (
            ("ping", 1, 1, self.ping),
            ("time", 1, 1, self.time),
            ("exchangeInfo", 20, 1, self.exchange_info),
            ("trades", 25, 5, self.recent),
            ("historicalTrades", 25, 20, self.historical),
            ("aggTrades", 4, 20, self.aggregates),
            ("klines", 2, 5, self.klines),
            ("ticker/bookTicker", 4, 2, self.book_ticker),
            ("ticker/24hr", 80, 40, self.statistics),
        ):
            cost = futures_weight if venue.futures else weight
            self.app.router.add_get(f"{base}/{path}", self._guarded(path, cost, answer))
        self.app.router.add_post("/standin/fault", self.fault)
        self.app.router.add_get("/standin/state", self.state)

    def _guarded(
        self, path: str, weight: int, answer: Callable[[web.Request], Any]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            if self.venue.is_cut(rest=True):
                if request.transport is not None:
                    request.transport.abort()
                raise web.HTTPServiceUnavailable
            if self.venue.refuse_status and time.time() < self.venue.refuse_until:
                return web.json_response(
                    {"code": 0, "msg": "Service unavailable from a restricted location."},
                    status=self.venue.refuse_status,
                )
            if self.lag:
                await asyncio.sleep(self.lag)
            verdict = self.limiter.charge(weight, path, self.weight_limit)
            headers = {"X-MBX-USED-WEIGHT": str(self.limiter.used), "X-MBX-USED-WEIGHT-1M": str(self.limiter.used)}
            if verdict is not None:
                status, wait = verdict
                self.venue.ledger.note("r", now_us(), status, path, wait)
                body = {"code": -1003, "msg": "Too much request weight used; please use WebSocket Streams."}
                return web.json_response(body, status=status, headers={**headers, "Retry-After": str(wait)})
            if time.time() < self.garbage_until:
                return web.Response(body=next(self._garbage), content_type="application/json", headers=headers)
            try:
                body = answer(request)
            except Refusal as error:
                body = {"code": error.code, "msg": str(error)}
                return web.json_response(body, status=error.status, headers=headers)
            return web.json_response(body, headers=headers)

        return handler

    # --- the exchange's ---

    def ping(self, request: web.Request) -> dict[str, Any]:
        return {}

    def time(self, request: web.Request) -> dict[str, int]:
        return {"serverTime": _unit(request)(now_us())}

    def exchange_info(self, request: web.Request) -> dict[str, Any]:
        wanted = self._wanted(request)
        return {
            "timezone": "UTC",
            "serverTime": now_us() // 1000,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.weight_limit},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
            ],
            "exchangeFilters": [],
            "symbols": [_listing(symbol) for symbol in wanted],
        }

    def recent(self, request: web.Request) -> list[dict[str, Any]]:
        symbol, limit = self._symbol(request), _limit(request)
        last = symbol.by_id(symbol.last_id + 1 - limit, limit)
        return _rows(last, _unit(request))

    def historical(self, request: web.Request) -> list[dict[str, Any]]:
        if self.venue.futures and "X-MBX-APIKEY" not in request.headers:
            raise Refusal(-2014, "API-key format invalid.", 401)
        symbol, limit = self._symbol(request), _limit(request)
        start = _number(request, "fromId")
        if start is None:
            start = symbol.last_id + 1 - limit
        return _rows(symbol.by_id(start, limit), _unit(request))

    def aggregates(self, request: web.Request) -> list[dict[str, Any]]:
        symbol, limit, unit = self._symbol(request), _limit(request), _unit(request)
        start, begin, end = _number(request, "fromId"), _us(request, "startTime"), _us(request, "endTime")
        if start is not None and (begin is not None or end is not None):
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        every = symbol.aggregates
        if start is not None:
            at = max(0, start - symbol.aggregate_first)
            found = every[at : at + limit]
        elif begin is not None or end is not None:
            low, high = begin or 0, end if end is not None else 1 << 62
            inside = [a for a in every if low <= a.us <= high]
            found = inside[:limit] if begin is not None else inside[-limit:]
        else:
            found = every[-limit:]
        keys = ("a", "p", "q", "f", "l", "T", "m", "M")
        return [
            dict(zip(keys, (a.id, a.price, a.qty, a.first, a.last, unit(a.us), a.maker, True), strict=True))
            for a in found
        ]

    def klines(self, request: web.Request) -> list[list[Any]]:
        symbol, unit = self._symbol(request), _unit(request)
        limit = _limit(request)
        length = INTERVALS.get(request.query.get("interval", ""))
        if length is None or (self.venue.futures and length < 60_000_000):
            raise Refusal(-1120, "Invalid interval.")
        now = now_us()
        begin, end = _us(request, "startTime"), _us(request, "endTime")
        end = now if end is None else min(end, now)
        start = end - end % length - (limit - 1) * length if begin is None else -(-begin // length) * length
        rows: list[list[Any]] = []
        while start <= end and len(rows) < limit:
            row = kline(symbol, start, length)
            if row is not None:
                rows.append([unit(row[0]), *row[1:6], unit(row[6]), *row[7:]])
            elif start < symbol.times[0] - length:
                start = symbol.times[0] - symbol.times[0] % length - length
            start += length
        return rows

    def book_ticker(self, request: web.Request) -> dict[str, Any]:
        symbol = self._symbol(request)
        q = symbol.last_quote
        return {"symbol": symbol.name, "bidPrice": q.bid, "bidQty": q.bid_qty, "askPrice": q.ask, "askQty": q.ask_qty}

    def statistics(self, request: web.Request) -> list[dict[str, Any]]:
        """Of the last day; charged like that of all symbols, however few are named."""
        return [
            {
                "symbol": symbol.name,
                "closeTime": _unit(request)(now_us()),
                "firstId": symbol.first_id if symbol.trades else -1,
                "lastId": symbol.last_id if symbol.trades else -1,
                "count": len(symbol.trades),
            }
            for symbol in self._wanted(request)
        ]

    def _wanted(self, request: web.Request) -> Iterable[Symbol]:
        if "symbol" in request.query:
            return [self._symbol(request)]
        if "symbols" in request.query:
            try:
                names = json.loads(request.query["symbols"])
            except ValueError:
                raise Refusal(-1100, "Illegal characters found in parameter 'symbols'.") from None
            if any(name not in self.venue.market.symbols for name in names):
                raise Refusal(-1121, "Invalid symbol.")
            return [self.venue.market.symbols[name] for name in names]
        return self.venue.market.symbols.values()

    def _symbol(self, request: web.Request) -> Symbol:
        name = request.query.get("symbol")
        if name is None:
            raise Refusal(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        symbol = self.venue.market.symbols.get(name)
        if symbol is None:
            raise Refusal(-1121, "Invalid symbol.")
        return symbol

    # --- the judge's ---

    async def fault(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.venue.faults.fault(await request.json()))

    async def state(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.venue.state())


class Clock:
    """The venue's clock: this machine's, or hours apart from it, so that midnight can be had at any time."""

    offset_us = 0


def now_us() -> int:
    return time.time_ns() // 1000 + Clock.offset_us


def _unit(request: web.Request) -> Callable[[int], int]:
    if request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND":
        return lambda us: us
    return lambda us: us // 1000


def _number(request: web.Request, key: str) -> int | None:
    text = request.query.get(key)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise Refusal(-1100, f"Illegal characters found in parameter '{key}'.")
    return int(text)


def _us(request: web.Request, key: str) -> int | None:
    """A time parameter may be milliseconds or microseconds."""
    number = _number(request, key)
    return number if number is None or number > 10**14 else number * 1000


def _limit(request: web.Request) -> int:
    number = _number(request, "limit")
    return min(500 if number is None else number, 1000)


def _rows(trades: list[Trade], unit: Callable[[int], int]) -> list[dict[str, Any]]:
    return [
        {
            "id": t.id,
            "price": t.price,
            "qty": t.qty,
            "quoteQty": f"{float(t.price) * float(t.qty):.8f}",
            "time": unit(t.us),
            "isBuyerMaker": t.maker,
            "isBestMatch": True,
        }
        for t in trades
    ]


def _listing(symbol: Symbol) -> dict[str, Any]:
    quote = next(q for q in QUOTES if symbol.name.endswith(q))
    tick = f"{10**-symbol.price_digits:.8f}"
    step = f"{10**-symbol.qty_digits:.8f}"
    return {
        "symbol": symbol.name,
        "status": "TRADING",
        "baseAsset": symbol.name.removesuffix(quote),
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
