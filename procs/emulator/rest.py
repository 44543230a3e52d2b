"""The venue's REST: a request and the moment in, an answer out. Nothing is opened here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from procs.emulator.bars import STEPS, Wanted, bars
from procs.emulator.faults import RestFault
from procs.emulator.limits import Verdict, Weights
from procs.emulator.listing import listing
from procs.emulator.tape import AGG_TRADE, TRADE, Agg, Print, Source

_SYMBOL = re.compile(r"[A-Z0-9_.\-]{1,20}")


class Request(msgspec.Struct, frozen=True):
    path: str
    params: Mapping[str, str]
    micro: bool = False
    has_key: bool = False


class Answer(msgspec.Struct):
    status: int
    body: bytes
    headers: dict[str, str] = {}


class _Refused(Exception):
    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.status = code, status


class Rest:
    """Answers for one source. ``hidden`` holds the ids that nobody can have any more, by symbol and stream."""

    def __init__(self, source: Source, weights: Weights, hidden: Mapping[tuple[str, str], set[int]]) -> None:
        self._source = source
        self._weights = weights
        self._hidden = hidden
        self._spot = source.market == "spot"
        self._calls: dict[str, tuple[Callable[[Request], int], Callable[[Request, int], Any]]] = {
            "ping": (_weighs(1), lambda request, now: {}),
            "time": (_weighs(1), lambda request, now: {"serverTime": now if request.micro else now // 1000}),
            "exchangeInfo": (_weighs(20 if self._spot else 1), self._exchange_info),
            "trades": (_weighs(25 if self._spot else 5), self._trades),
            "historicalTrades": (_weighs(25 if self._spot else 20), self._historical),
            "aggTrades": (_weighs(4 if self._spot else 20), self._aggs),
            "klines": (_weighs(2) if self._spot else _klines_weight, self._klines),
            "ticker/24hr": (_statistics_weight if self._spot else _usdm_statistics_weight, self._statistics),
        }

    def answer(self, request: Request, now_us: int, now_s: float, fault: RestFault) -> Answer:
        """``now_us`` is venue time, ``now_s`` the wall clock by which weights are counted."""
        prefix = "/api/v3/" if self._spot else "/fapi/v1/"
        name = request.path.removeprefix(prefix)
        if not request.path.startswith(prefix) or name not in self._calls:
            return Answer(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})
        weigh, call = self._calls[name]
        verdict = self._weights.ask(weigh(request), now_s)
        headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
        if fault.status != 200:
            until = int((now_s + fault.retry_after_s) * 1000)
            verdict = Verdict(fault.status, verdict.used, fault.retry_after_s, until)
        if verdict.status != 200:
            return _limited(verdict, headers, self._weights.limit)
        try:
            rows = call(request, now_us)
        except _Refused as refused:
            return Answer(refused.status, msgspec.json.encode({"code": refused.code, "msg": str(refused)}), headers)
        if isinstance(rows, list):
            rows = self._harmed(rows, request, now_us, fault)
        return Answer(200, msgspec.json.encode(rows), headers)

    def _harmed(self, rows: list[Any], request: Request, now_us: int, fault: RestFault) -> list[Any]:
        if fault.late_us:
            newest = (now_us - fault.late_us) // (1 if request.micro else 1000)
            rows = [row for row in rows if _row_time(row) <= newest]
        rows = rows[fault.leave_out :]
        return rows if fault.rows is None else rows[: fault.rows]

    # endpoints

    def _exchange_info(self, request: Request, now_us: int) -> dict[str, Any]:
        names = self._named(request)
        now = now_us if request.micro else now_us // 1000
        described = [self._source.instruments[name] for name in names]
        return listing(described, self._source.market, self._weights.limit, now)

    def _named(self, request: Request) -> list[str]:
        wanted = request.params.get("symbols")
        if wanted is not None:
            try:
                names = msgspec.json.decode(wanted, type=list[str])
            except msgspec.DecodeError:
                raise _Refused(-1100, _illegal("symbols")) from None
        else:
            names = [request.params["symbol"]] if "symbol" in request.params else list(self._source.instruments)
        for name in names:
            if name not in self._source.instruments:
                raise _Refused(-1121, "Invalid symbol.")
        return names

    def _statistics(self, request: Request, now_us: int) -> Any:
        """Of the last 24 hours: which ids they hold. Prices and volumes of a whole day are counted for nobody."""
        rows = [self._day(name, now_us, request.micro) for name in self._named(request)]
        return rows[0] if "symbol" in request.params else rows

    def _day(self, symbol: str, now_us: int, micro: bool) -> dict[str, Any]:
        unit = 1 if micro else 1000
        first, last = self._source.print_at(symbol, now_us - 86_400_000_000), self._source.last_print(symbol)
        times = {"openTime": (now_us - 86_400_000_000) // unit, "closeTime": now_us // unit}
        has_any = 0 <= first <= last
        ids = {"firstId": first, "lastId": last} if has_any else {"firstId": -1, "lastId": -1}
        return {"symbol": symbol, **times, **ids, "count": last - first + 1 if has_any else 0}

    def _trades(self, request: Request, _: int) -> list[dict[str, Any]]:
        symbol, limit = self._symbol(request), _limit(request, 1000)
        return self._prints(request, symbol, self._source.last_print(symbol) - limit + 1, limit)

    def _historical(self, request: Request, _: int) -> list[dict[str, Any]]:
        if not self._spot and not request.has_key:
            raise _Refused(-2014, "API-key format invalid.", 401)
        symbol, limit = self._symbol(request), _limit(request, 1000)
        first = _number(request, "fromId")
        if first is None:
            first = self._source.last_print(symbol) - limit + 1
        return self._prints(request, symbol, first, limit)

    def _prints(self, request: Request, symbol: str, first: int, limit: int) -> list[dict[str, Any]]:
        hidden = self._hidden.get((symbol, TRADE), set())
        found = self._source.prints(symbol, max(first, 0), limit)
        return [_print_row(p, request.micro, self._spot) for p in found if p.id not in hidden]

    def _aggs(self, request: Request, now_us: int) -> list[dict[str, Any]]:
        symbol, limit, first = self._symbol(request), _limit(request, 1000), _number(request, "fromId")
        start, end = _moment(request, "startTime"), _moment(request, "endTime")
        if first is not None and (start is not None or end is not None):
            raise _Refused(-1128, "Combination of optional parameters invalid.")
        if not self._spot and start is not None and end is not None and end - start > 3_600_000_000:
            raise _Refused(-1127, "More than 1 hours between startTime and endTime.")
        stop = self._source.last_agg(symbol) if end is None else self._source.agg_at(symbol, end + 1000) - 1
        if first is None:
            first = stop - limit + 1 if start is None else self._source.agg_at(symbol, start)
        hidden = self._hidden.get((symbol, AGG_TRADE), set())
        found = self._source.aggs(symbol, max(first, 0), limit)
        return [_agg_row(a, request.micro, self._spot) for a in found if a.id <= stop and a.id not in hidden]

    def _klines(self, request: Request, now_us: int) -> list[list[Any]]:
        symbol, interval = self._symbol(request), _required(request, "interval")
        limit = _limit(request, 1000 if self._spot else 1500)
        if interval not in STEPS or (interval == "1s" and not self._spot):
            raise _Refused(-1120, "Invalid interval.")
        start, end = _moment(request, "startTime"), _moment(request, "endTime")
        return bars(self._source, Wanted(symbol, STEPS[interval], start, end, limit), now_us, request.micro)

    def _symbol(self, request: Request) -> str:
        symbol = _required(request, "symbol")
        if not _SYMBOL.fullmatch(symbol):
            raise _Refused(-1100, f"{_illegal('symbol')}; legal range is '^[A-Z0-9-_.]{{1,20}}$'.")
        if symbol not in self._source.instruments:
            raise _Refused(-1121, "Invalid symbol.")
        return symbol


def _weighs(weight: int) -> Callable[[Request], int]:
    return lambda request: weight


def _statistics_weight(request: Request) -> int:
    """Charged by steps: one symbol and up to 20, up to 100, and all."""
    names = request.params.get("symbols", "")
    count = 1 if "symbol" in request.params else names.count(",") + 1 if names else 101
    return 2 if count <= 20 else 40 if count <= 100 else 80


def _usdm_statistics_weight(request: Request) -> int:
    return 1 if "symbol" in request.params else 40


def _klines_weight(request: Request) -> int:
    """Futures: it grows with the page."""
    asked = request.params.get("limit", "500")
    limit = int(asked) if asked.isdigit() else 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _limited(verdict: Verdict, headers: dict[str, str], limit: int) -> Answer:
    if verdict.status == 418:
        text = f"Way too much request weight used; IP banned until {verdict.until_ms}. Please use WebSocket Streams."
    elif verdict.status == 429:
        text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    else:
        text = "An unknown error occurred while processing the request."
    code = -1003 if verdict.status in (418, 429) else -1000
    if verdict.retry_after_s and code == -1003:
        headers = headers | {"Retry-After": str(verdict.retry_after_s)}
    return Answer(verdict.status, msgspec.json.encode({"code": code, "msg": text}), headers)


def _required(request: Request, name: str) -> str:
    value = request.params.get(name)
    if not value:
        raise _Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _number(request: Request, name: str) -> int | None:
    value = request.params.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"\d{1,19}", value):
        raise _Refused(-1100, f"{_illegal(name)}; legal range is '^[0-9]{{1,20}}$'.")
    return int(value)


def _moment(request: Request, name: str) -> int | None:
    """A time in microseconds, given in milliseconds or microseconds."""
    value = _number(request, name)
    return None if value is None else value if value > 10**14 else value * 1000


def _limit(request: Request, most: int) -> int:
    value = _number(request, "limit")
    if value == 0:
        raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(500 if value is None else value, most)


def _illegal(name: str) -> str:
    return f"Illegal characters found in parameter '{name}'"


def _print_row(p: Print, micro: bool, spot: bool) -> dict[str, Any]:
    quote = Decimal(p.price) * Decimal(p.qty)
    row = {
        "id": p.id,
        "price": p.price,
        "qty": p.qty,
        "quoteQty": f"{quote:.8f}" if spot else f"{quote:f}",
        "time": p.time_us if micro else p.time_us // 1000,
        "isBuyerMaker": p.buyer_maker,
    }
    return row | {"isBestMatch": True} if spot else row


def _agg_row(a: Agg, micro: bool, spot: bool) -> dict[str, Any]:
    time = a.time_us if micro else a.time_us // 1000
    row = {"a": a.id, "p": a.price, "q": a.qty, "f": a.first, "l": a.last, "T": time, "m": a.buyer_maker}
    return row | {"M": True} if spot else row


def _row_time(row: Any) -> int:
    """Of a trade, an aggregate or a kline (its open)."""
    time: int = row[0] if isinstance(row, list) else row.get("time", row.get("T", 0))
    return time
