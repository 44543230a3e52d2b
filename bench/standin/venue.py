"""Everything the two servers share, the market's clock, and the life of a connection."""

from __future__ import annotations

import asyncio
import http
import json
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bench.standin.desk import Desk
from bench.standin.faults import Faults
from bench.standin.frames import KINDS, ROUTES, dressed, futures, payload
from bench.standin.market import Aggregate, Event, Ledger, Market, Symbol, Trade
from bench.standin.peers import Peer, goodbye
from bench.standin.rest import Rest, now_us

CONTROL_PER_SECOND = 5
ATTEMPTS_PER_5_MINUTES = 300
SLOW_BYTES = 32 << 20
"""A reader this far behind is cut off, as the exchange does."""
TICK_S = 0.004


class Venue:
    """Everything the two servers share, and the market's clock."""

    def __init__(self, market: Market, ledger: Ledger, lifetime_s: float, futures: bool = False) -> None:
        self.market, self.ledger, self.lifetime_s, self.futures = market, ledger, lifetime_s, futures
        self.rest = Rest(self)
        self.peers: dict[int, Peer] = {}
        self.desk = Desk(self)
        self.faults = Faults(self)
        self.attempts: deque[float] = deque()
        self.most_attempts = 0
        self.connections = 0
        self.paused = False
        self.cut_until = self.hang_until = self.refuse_until = 0.0
        self.cut_rest = True
        self.refuse_status = 0
        self.duplicate = self.reorder = self.withhold = 0.0
        self.held: list[tuple[int, str, Symbol, Event]] = []
        self.issued = self.sent = self.too_fast = 0
        for symbol in market.symbols.values():
            for trade in symbol.trades:
                ledger.trade(symbol.name, trade, [])

    # --- the clock ---

    async def run(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if not self.paused:
                for symbol, event in self.market.events(min(now - last, 0.5), now_us()):
                    self._issue(symbol, event)
                if self.held:
                    self._release()
            last = now

    async def housekeeping(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            self.ledger.flush()
            if self.paused and self.held:
                self._release(all_of_it=True)
            now = time.monotonic()
            for peer in list(self.peers.values()):
                transport = peer.ws.transport
                if now - peer.opened > self.lifetime_s:
                    peer.why = "lifetime"
                    asyncio.get_running_loop().create_task(goodbye(peer))
                    peer.opened = now + 3600
                elif transport is not None and transport.get_write_buffer_size() > SLOW_BYTES:
                    peer.cut("slow")
                elif peer.stalled_until and not peer.stalled:
                    peer.stalled_until = 0.0
                    transport.resume_reading()

    def _issue(self, symbol: Symbol, event: Event) -> None:
        self.issued += 1
        kind = KINDS[type(event)]
        stream = f"{symbol.name.lower()}@{kind}"
        if isinstance(event, Trade) and (
            event.id in symbol.withheld or (self.withhold and symbol.rng.random() < self.withhold)
        ):
            symbol.withheld.discard(event.id)
            self.ledger.trade(symbol.name, event, [])
            return
        if symbol.silent_until > time.monotonic():
            self._deliver(stream, symbol, event, silent=True)
            return
        if self.reorder and self.market.rng.random() < self.reorder:
            self.held.append((self.market.rng.randint(1, 30), stream, symbol, event))
            return
        self._deliver(stream, symbol, event)
        if self.duplicate and self.market.rng.random() < self.duplicate:
            self._send(stream, symbol, event)

    def _release(self, all_of_it: bool = False) -> None:
        kept: list[tuple[int, str, Symbol, Event]] = []
        for ticks, stream, symbol, event in self.held:
            if ticks <= 0 or all_of_it:
                self._deliver(stream, symbol, event)
            else:
                kept.append((ticks - 1, stream, symbol, event))
        self.held = kept

    def _deliver(self, stream: str, symbol: Symbol, event: Event, silent: bool = False) -> None:
        to = [] if silent else self._send(stream, symbol, event)
        if isinstance(event, Trade):
            if to and symbol.first_sent is None:
                symbol.first_sent = event.id
            self.ledger.trade(symbol.name, event, to)
        elif isinstance(event, Aggregate):
            self.ledger.aggregate(symbol.name, event, to)
        else:
            self.ledger.quote(symbol.name, event, now_us(), to)

    def _send(self, stream: str, symbol: Symbol, event: Event) -> list[int]:
        to: list[int] = []
        texts: dict[tuple[bool, bool], str] = {}
        for peer in self.desk.listeners.get(stream, ()):
            if peer.stalled or peer.why or (self.futures and ROUTES[type(event)] != peer.route):
                continue
            dress = (peer.combined, peer.micro)
            if dress not in texts:
                data = (futures if self.futures else payload)(symbol.name, event, peer.micro)
                texts[dress] = dressed(stream, data, peer.combined)
            broadcast((peer.ws,), texts[dress])
            to.append(peer.number)
            self.sent += 1
        return to

    # --- a connection's life ---

    def is_cut(self, rest: bool = False) -> bool:
        return time.monotonic() < self.cut_until and (self.cut_rest or not rest)

    async def admit(self, ws: ServerConnection, request: Request) -> Response | None:
        """The opening handshake: refusals of every kind."""
        now = time.monotonic()
        self.attempts.append(now)
        while now - self.attempts[0] > 300:
            self.attempts.popleft()
        self.most_attempts = max(self.most_attempts, len(self.attempts))
        if now < self.hang_until:
            await asyncio.sleep(self.hang_until - now)
        if self.is_cut():
            ws.transport.abort()
            return ws.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "")
        if len(self.attempts) > ATTEMPTS_PER_5_MINUTES:
            return ws.respond(http.HTTPStatus.TOO_MANY_REQUESTS, "too many connection attempts\n")
        if time.time() < self.refuse_until:
            return ws.respond(http.HTTPStatus(self.refuse_status or 503), "refused\n")
        path = self._place(urlsplit(request.path).path)[1]
        if path != "/stream" and path != "/ws" and not path.startswith("/ws/"):
            return ws.respond(http.HTTPStatus.NOT_FOUND, "no such path\n")
        return None

    async def serve(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        url = urlsplit(ws.request.path)
        query = parse_qs(url.query)
        route, path = self._place(url.path)
        combined = path == "/stream"
        micro = not self.futures and query.get("timeUnit", [""])[0].upper() == "MICROSECOND"
        self.connections += 1
        peer = self.peers[self.connections] = Peer(self.connections, ws, route, combined, micro)
        names = query.get("streams", [""])[0].split("/") if combined else path[4:].split("/")
        self.ledger.note("c", peer.number, "open", now_us(), {"combined": combined, "micro": micro, "route": route})
        self.desk.subscribe(peer, [name for name in names if name])
        try:
            async for message in ws:
                if not self._control(peer, message):
                    peer.why = "too many control messages"
                    await ws.close(1008, "Too many requests")
        except ConnectionClosed:
            pass
        finally:
            self.desk.unsubscribe(peer, list(peer.streams))
            del self.peers[peer.number]
            sent, got = ws.close_code, ws.protocol.close_rcvd
            why = peer.why or f"client (code {sent}, their close frame: {got})"
            self.ledger.note("c", peer.number, "close", now_us(), why)

    def _place(self, path: str) -> tuple[str, str]:
        """Route and path; without a route futures serve what is public."""
        for route in ("public", "market", "private"):
            if self.futures and path.startswith(f"/{route}/"):
                return route, path.removeprefix(f"/{route}")
        return "public", path

    def _control(self, peer: Peer, message: str | bytes) -> bool:
        """Answers one control message; False if there were too many of them in a second."""
        now = time.monotonic()
        peer.controls.append(now)
        while now - peer.controls[0] > 1:
            peer.controls.popleft()
        if len(peer.controls) > CONTROL_PER_SECOND:
            self.too_fast += 1
            return False
        broadcast((peer.ws,), json.dumps(self.desk.answer(peer, message)))
        return True

    # --- faults ---

    def state(self) -> dict[str, Any]:
        limiter = self.rest.limiter
        return {
            "issued": self.issued,
            "sent": self.sent,
            "paused": self.paused,
            "connections": {
                str(p.number): {
                    "streams": len(p.streams),
                    "stalled": p.stalled,
                    "micro": p.micro,
                    "combined": p.combined,
                }
                for p in self.peers.values()
            },
            "connections_ever": self.connections,
            "most_attempts_in_5_minutes": self.most_attempts,
            "control_too_fast": self.too_fast,
            "unknown_streams": self.desk.unknown,
            "rest_requests": limiter.paths,
            "rest_most_weight": limiter.most,
            "rest_early": limiter.early,
            "first_sent": {name: symbol.first_sent for name, symbol in self.market.symbols.items()},
            "last_ids": {name: symbol.last_id for name, symbol in self.market.symbols.items()},
        }
