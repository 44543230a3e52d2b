"""One websocket connection as the venue sees it: subscriptions, control messages, pings and limits.

No socket and no clock in here: what a client did and the time go in, what the server has to do comes out.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from procs.emulator.tape import BOOK_TICKER, TRADE, Market

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Rules(msgspec.Struct, frozen=True):
    """The venue's limits; all times in seconds."""

    ping_every_s: float = 20.0
    pong_within_s: float = 60.0
    messages_per_s: int = 5
    streams: int = 1024
    life_s: float = 86_400.0
    trade_route: str = "public"
    """Futures: which route carries raw trades; it is documented nowhere."""


SPOT = Rules()
USDM = Rules(ping_every_s=180.0, pong_within_s=600.0, messages_per_s=10)


class Send(msgspec.Struct, frozen=True):
    data: bytes


class Ping(msgspec.Struct, frozen=True):
    payload: bytes


class Pong(msgspec.Struct, frozen=True):
    payload: bytes


class Close(msgspec.Struct, frozen=True):
    code: int
    reason: str


Action = Send | Ping | Pong | Close


class _Refused(Exception):
    """A control message the venue answers with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Session:
    """What one connection asked for, and what it is owed.

    ``streams`` keeps the order of subscription; ``combined`` says whether data goes out in an envelope.
    """

    def __init__(self, path: str, query: str, rules: Rules, market: Market, now_s: float) -> None:
        self.rules = rules
        self.route, shape, named = _parts(path, market)
        self.combined = shape == "stream"
        options = parse_qs(query, keep_blank_values=True)
        if self.combined:
            named = [s for value in options.get("streams", []) for s in value.split("/")]
        unit = options.get("timeUnit", ["MILLISECOND"])[-1]
        self.micro = market == "spot" and unit.upper() == "MICROSECOND"
        self.streams: dict[str, None] = dict.fromkeys(s for s in named if s)
        self.too_many = len(self.streams) > rules.streams
        self._market = market
        self._opened = now_s
        self._heard: deque[float] = deque(maxlen=rules.messages_per_s + 1)
        self._next_ping = now_s + rules.ping_every_s
        self._unanswered: dict[bytes, float] = {}

    def delivers(self, stream: str) -> bool:
        """Futures: a stream of another route is acknowledged and stays silent."""
        if self._market == "spot":
            return True
        kind = stream.partition("@")[2]
        public = kind.startswith((BOOK_TICKER, "depth")) or stream.startswith("!bookTicker")
        if kind == TRADE:
            public = self.rules.trade_route == "public"
        return self.route in ("", "public") if public else self.route == "market"

    # what the client does

    def text(self, data: str, now_s: float) -> list[Action]:
        """A text message arrived."""
        if closing := self._counted(now_s):
            return closing
        try:
            asked = json.loads(data)
        except (json.JSONDecodeError, RecursionError) as fault:
            line, column = (fault.lineno, fault.colno) if isinstance(fault, json.JSONDecodeError) else (1, 1)
            return [_error(3, f"Invalid JSON: expected value at line {line} column {column}", None)]
        ident = asked.get("id") if isinstance(asked, dict) else None
        try:
            return [_result(self._obey(asked, len(data)), ident)]
        except _Refused as refused:
            return [_error(refused.code, str(refused), ident)]

    def ping(self, payload: bytes, now_s: float) -> list[Action]:
        return self._counted(now_s) or [Pong(payload)]

    def pong(self, payload: bytes, now_s: float) -> list[Action]:
        """An answer to our ping carries its payload; any other is allowed and does not keep the connection alive."""
        if payload in self._unanswered:
            self._unanswered.clear()  # what was sent before it has been heard too
        return self._counted(now_s)

    # what time does

    def tick(self, now_s: float) -> list[Action]:
        """To be called now and then: pings that are due, and the ends of a connection."""
        if now_s - self._opened >= self.rules.life_s:
            return [Close(1001, "")]
        if any(now_s - sent >= self.rules.pong_within_s for sent in self._unanswered.values()):
            return [Close(1008, "Pong timeout")]
        if now_s < self._next_ping:
            return []
        self._next_ping = now_s + self.rules.ping_every_s
        payload = str(int(now_s * 1000)).encode()
        self._unanswered[payload] = now_s
        return [Ping(payload)]

    def shutdown(self, now_us: int) -> bytes:
        """The event that announces the end of this server."""
        event = b'{"e":"serverShutdown","E":%d}' % (now_us if self.micro else now_us // 1000)
        return b'{"stream":"!serverShutdown","data":%b}' % event if self.combined else event

    # control messages

    def _counted(self, now_s: float) -> list[Action]:
        self._heard.append(now_s)
        full = len(self._heard) > self.rules.messages_per_s
        return [Close(1008, "Too many requests")] if full and now_s - self._heard[0] < 1.0 else []

    def _obey(self, asked: Any, size: int) -> Any:
        if not isinstance(asked, dict):
            raise _Refused(2, "Invalid request: expected a JSON object")
        method = asked.get("method")
        if method is None:
            raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {size}")
        if method not in METHODS:
            known = ", ".join(f"`{name}`" for name in METHODS)
            text = f"unknown variant `{method}`, expected one of {known} at line 1 column 28"
            raise _Refused(2, f"Invalid request: {text}")
        if "id" not in asked or not _is_id(asked["id"]):
            raise _Refused(2, "Invalid request: request ID must be an unsigned integer")
        if set(asked) - {"method", "params", "id"}:
            raise _Refused(2, "Invalid request: too many parameters")
        params = asked.get("params", [])
        if not isinstance(params, list):
            raise _Refused(2, "Invalid request: params must be an array")
        if method.endswith("PROPERTY"):
            return self._property(method, params)
        if method == "LIST_SUBSCRIPTIONS":
            return list(self.streams)
        return self._change(method, params)

    def _change(self, method: str, params: list[Any]) -> None:
        if not params or not all(isinstance(name, str) for name in params):
            raise _Refused(2, "Invalid request: params must be stream names")
        if method == "UNSUBSCRIBE":
            for name in params:
                self.streams.pop(name, None)
            return
        wanted = self.streams | dict.fromkeys(params)
        if len(wanted) > self.rules.streams:
            raise _Refused(2, f"Invalid request: more than {self.rules.streams} streams")
        self.streams = wanted  # a symbol that does not exist is accepted too, and never heard of

    def _property(self, method: str, params: list[Any]) -> bool | None:
        if not params or not isinstance(params[0], str):
            raise _Refused(2, "Invalid request: property name must be a string")
        if len(params) > (2 if method == "SET_PROPERTY" else 1):
            raise _Refused(2, "Invalid request: too many parameters")
        if params[0] != "combined":
            raise _Refused(0, "Unknown property")
        if method == "GET_PROPERTY":
            return self.combined
        if len(params) != 2 or not isinstance(params[1], bool):
            raise _Refused(1, "Invalid value type: expected Boolean")
        self.combined = params[1]
        return None


def is_stream_path(path: str, market: Market) -> bool:
    return _parts(path, market)[1] in ("ws", "stream")


def _parts(path: str, market: Market) -> tuple[str, str, list[str]]:
    """Route, ``ws`` or ``stream``, and the streams that a path names."""
    parts = unquote(path).strip("/").split("/")
    route = parts.pop(0) if market == "usdm" and parts[0] in ("public", "market", "private") else ""
    return route, parts[0] if parts else "", parts[1:]


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, str) and len(value) <= 36)


def _result(result: Any, ident: Any) -> Send:
    return Send(msgspec.json.encode({"result": result, "id": ident}))


def _error(code: int, text: str, ident: Any) -> Send:
    told = {"code": code, "msg": text}
    return Send(msgspec.json.encode(told | {"id": ident} if _is_id(ident) and ident is not None else told))
