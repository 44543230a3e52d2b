"""The venue as its websocket and its REST show the market: with repeats, losses, delays, refusals and half answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlparse

import msgspec

from bench.simulation.clock import SimClock
from bench.simulation.market import MS, Deal, Market, Top
from shared.paths import SECOND
from shared.rest import Answer, Failed, Limited, RestError, Unreachable
from shared.venues import Request

_json = msgspec.json.Encoder().encode


@dataclass
class Manners:
    """How badly the venue behaves: chances of each thing, all zero when the history is over."""

    repeat: float = 0.0
    drop: float = 0.0
    delay: float = 0.0
    garbage: float = 0.0
    hang_up: float = 0.0
    refuse: float = 0.0
    fail: float = 0.0
    short: float = 0.0
    late_start: float = 0.0
    slow: float = 0.0
    shutdown: float = 0.0
    hide: float = 0.0


@dataclass
class Connection:
    """One websocket, seen from the venue."""

    streams: set[str]
    opens_at: int
    is_open: bool = False
    queue: list[tuple[int, bytes]] = field(default_factory=list)
    """When each frame arrives, on the monotonic clock."""


@dataclass
class Pending:
    number: int
    due: int
    asked: int
    request: Request


class Exchange:
    """Binance spot's words. Everything it says of the past is true; it does not always say all."""

    def __init__(self, market: Market, clock: SimClock, chance: Random, manners: Manners) -> None:
        self._market, self._clock, self._chance = market, clock, chance
        self.manners = manners
        self.connections: dict[int, Connection] = {}
        self.hidden: set[tuple[str, int]] = set()
        """Trades that REST will never give."""
        self._pending: list[Pending] = []

    def leave(self) -> None:
        """The client's process is gone."""
        self.connections.clear()
        self._pending.clear()

    # --- websocket ---

    def connect(self, link: int, url: str) -> None:
        streams = set(parse_qs(urlparse(url).query)["streams"][0].split("/"))
        wait = self._chance.randrange(300) * MS
        self.connections[link] = Connection(streams, self._clock.mono() + wait)

    def heard(self, link: int, text: bytes) -> None:
        connection = self.connections.get(link)
        if connection is not None:
            said: dict[str, Any] = msgspec.json.decode(text)
            if said["method"] == "SUBSCRIBE":
                connection.streams |= set(said["params"])
            connection.queue.append((self._clock.mono(), _json({"result": None, "id": said["id"]})))

    def happened(self, news: Sequence[Deal | Top]) -> None:
        """The market's news goes to whoever subscribed."""
        for event in news:
            if isinstance(event, Deal) and self._chance.random() < self.manners.hide:
                self.hidden.add((event.symbol, event.trade_id))
                if self._chance.random() < 0.5:
                    continue
            stream = f"{event.symbol.lower()}@{'trade' if isinstance(event, Deal) else 'bookTicker'}"
            frame = self._frame(stream, event)
            for connection in self.connections.values():
                if connection.is_open and stream in connection.streams:
                    self._send(connection, frame)

    def _send(self, connection: Connection, frame: bytes) -> None:
        chance, manners, now = self._chance, self.manners, self._clock.mono()
        if chance.random() < manners.drop:
            return
        due = now + (chance.randrange(1500) * MS if chance.random() < manners.delay else 0)
        connection.queue.append((due, frame))
        if chance.random() < manners.repeat:
            connection.queue.append((due + chance.randrange(500) * MS, frame))
        if chance.random() < manners.garbage:
            connection.queue.append(
                (now, chance.choice((b"{", frame[:-9], b"\xff\x00", b'{"stream":"x@trade","data":{}}')))
            )
        if chance.random() < manners.shutdown:
            connection.queue.append((now, b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}'))

    def _frame(self, stream: str, event: Deal | Top) -> bytes:
        if isinstance(event, Deal):
            data: dict[str, Any] = {
                "e": "trade", "E": self._clock.truth // 1000, "s": event.symbol, "t": event.trade_id, "p": event.price,
                "q": event.qty, "T": event.ts // 1000, "m": event.side == "sell", "M": True,
            }  # fmt: skip
        else:
            data = {
                "u": event.update_id, "s": event.symbol, "b": event.bid, "B": event.bid_qty, "a": event.ask,
                "A": event.ask_qty,
            }  # fmt: skip
        return _json({"stream": stream, "data": data})

    def arrived(self, connection: Connection) -> list[bytes]:
        """What one read of the socket holds now."""
        now = self._clock.mono()
        due = [frame for at, frame in sorted(connection.queue, key=lambda item: item[0]) if at <= now]
        connection.queue = [item for item in connection.queue if item[0] > now]
        return due

    def hangs_up(self) -> bool:
        return self._chance.random() < self.manners.hang_up

    def refuses(self) -> bool:
        return self._chance.random() < self.manners.refuse

    # --- REST ---

    def ask(self, number: int, request: Request) -> None:
        now, chance = self._clock.mono(), self._chance
        wait = chance.randrange(4000) if chance.random() < self.manners.slow else chance.randrange(120)
        self._pending.append(Pending(number, now + wait * MS, now, request))

    def answers(self) -> list[tuple[int, Answer | RestError]]:
        """What has come back by now, in the order in which it came."""
        now = self._clock.mono()
        due = sorted((one for one in self._pending if one.due <= now), key=lambda one: one.due)
        self._pending = [one for one in self._pending if one.due > now]
        return [(one.number, self._answer(one)) for one in due]

    def _answer(self, one: Pending) -> Answer | RestError:
        chance = self._chance
        if chance.random() < self.manners.fail:
            return chance.choice((Failed("HTTP 503", 503), Unreachable("reset"), Limited("HTTP 429", 429, 2.0)))
        body = self._body(one.request.path.rpartition("/")[2], dict(one.request.params))
        return Answer(_json(body), one.asked, self._clock.mono(), self._clock.wall())

    def _body(self, what: str, params: dict[str, str]) -> Any:
        if what == "time":
            return {"serverTime": self._clock.truth // 1000}
        if what == "exchangeInfo":
            return {"symbols": [{"symbol": symbol, "status": "TRADING"} for symbol in self._market.symbols]}
        symbol = params["symbol"]
        if what == "aggTrades":
            newest = self._market.newest(symbol)
            return [] if newest is None else [_aggregate(newest)]
        if what == "historicalTrades":
            return [_rest(deal) for deal in self._history(symbol, int(params["fromId"]), int(params["limit"]))]
        raise AssertionError(f"nobody simulates {what}")

    def _history(self, symbol: str, first: int, limit: int) -> list[Deal]:
        """Trades from an id on; at times fewer, or silently from a later id on."""
        chance, newest = self._chance, self._market.newest(symbol)
        if newest is None:
            return []
        if chance.random() < self.manners.late_start:
            first += chance.randrange(1, 4)
        last = min(first + limit - 1, newest.trade_id)
        if chance.random() < self.manners.short:
            last = min(last, first + chance.randrange(3))
        found = (self._market.deal(symbol, one) for one in range(first, last + 1))
        return [deal for deal in found if deal is not None and (symbol, deal.trade_id) not in self.hidden]


def _rest(deal: Deal) -> dict[str, Any]:
    return {
        "id": deal.trade_id, "price": deal.price, "qty": deal.qty, "quoteQty": "0", "time": deal.ts // 1000,
        "isBuyerMaker": deal.side == "sell", "isBestMatch": True,
    }  # fmt: skip


def _aggregate(deal: Deal) -> dict[str, Any]:
    return {
        "a": deal.trade_id, "p": deal.price, "q": deal.qty, "f": deal.trade_id, "l": deal.trade_id,
        "T": deal.ts // 1000, "m": deal.side == "sell", "M": True,
    }  # fmt: skip


QUIET_NS = 66 * SECOND
"""A quiet symbol is asked about once a minute."""
