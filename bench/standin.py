"""A stand-in for the exchange, for judging: documented websocket streams on one port, REST on another, faults on
request, and a ledger of everything issued and of everything sent to whom.

    python -m bench.standin --ledger ledger.ndjson --symbols 20 --rate 5000

Faults: POST /standin/fault on the REST port, such as {"kind": "cut", "seconds": 90}; see `Venue.fault`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http
import json
import os
import signal
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bench.standin_market import Aggregate, Event, Ledger, Market, Quote, Symbol, Trade
from bench.standin_rest import Clock, Rest, now_us

MAX_STREAMS = 1024
CONTROL_PER_SECOND = 5
ATTEMPTS_PER_5_MINUTES = 300
SLOW_BYTES = 32 << 20
"""A reader this far behind is cut off, as the exchange does."""
TICK_S = 0.004


class Peer:
    """One client connection: what it subscribed to and in which dress it wants it."""

    def __init__(self, number: int, ws: ServerConnection, route: str, combined: bool, micro: bool) -> None:
        self.number, self.ws, self.combined, self.micro = number, ws, combined, micro
        self.route = route
        """Of futures: ``public`` or ``market``; what belongs to the other is acknowledged and never comes."""
        self.streams: set[str] = set()
        self.opened = time.monotonic()
        self.stalled_until = 0.0
        self.controls: deque[float] = deque()
        self.why = ""

    @property
    def stalled(self) -> bool:
        return self.stalled_until > time.monotonic()

    def cut(self, why: str) -> None:
        self.why = self.why or why
        self.ws.transport.abort()


class Venue:
    """Everything the two servers share, and the market's clock."""

    def __init__(self, market: Market, ledger: Ledger, lifetime_s: float, futures: bool = False) -> None:
        self.market, self.ledger, self.lifetime_s, self.futures = market, ledger, lifetime_s, futures
        self.rest = Rest(self)
        self.peers: dict[int, Peer] = {}
        self.listeners: dict[str, list[Peer]] = {}
        self.attempts: deque[float] = deque()
        self.most_attempts = 0
        self.connections = 0
        self.paused = False
        self.cut_until = self.hang_until = self.refuse_until = 0.0
        self.cut_rest = True
        self.refuse_status = 0
        self.duplicate = self.reorder = self.withhold = 0.0
        self.held: list[tuple[int, str, Symbol, Event]] = []
        self.issued = self.sent = self.too_fast = self.unknown = 0
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
                    asyncio.get_running_loop().create_task(_close(peer))
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
        for peer in self.listeners.get(stream, ()):
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
        self._subscribe(peer, [name for name in names if name])
        try:
            async for message in ws:
                if not self._control(peer, message):
                    peer.why = "too many control messages"
                    await ws.close(1008, "Too many requests")
        except ConnectionClosed:
            pass
        finally:
            self._unsubscribe(peer, list(peer.streams))
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

    def _subscribe(self, peer: Peer, names: list[str]) -> bool:
        if len(peer.streams | set(names)) > MAX_STREAMS:
            return False
        for name in names:
            if name.partition("@")[0].upper() not in self.market.symbols or name != name.lower().replace(
                "bookticker", "bookTicker"
            ).replace("aggtrade", "aggTrade"):
                self.unknown += 1  # accepted silently, and nothing ever comes
            if name not in peer.streams:
                peer.streams.add(name)
                self.listeners.setdefault(name, []).append(peer)
        self.ledger.note("c", peer.number, "subscribe", now_us(), names)
        return True

    def _unsubscribe(self, peer: Peer, names: list[str]) -> None:
        for name in names:
            if name in peer.streams:
                peer.streams.discard(name)
                self.listeners[name].remove(peer)

    def _control(self, peer: Peer, message: str | bytes) -> bool:
        """Answers one control message; False if there were too many of them in a second."""
        now = time.monotonic()
        peer.controls.append(now)
        while now - peer.controls[0] > 1:
            peer.controls.popleft()
        if len(peer.controls) > CONTROL_PER_SECOND:
            self.too_fast += 1
            return False
        broadcast((peer.ws,), json.dumps(self._answer(peer, message)))
        return True

    def _answer(self, peer: Peer, message: str | bytes) -> dict[str, Any]:
        try:
            asked = json.loads(message)
        except ValueError:
            return {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}
        number = asked.get("id") if isinstance(asked, dict) else None
        method, params = (asked.get("method"), asked.get("params", [])) if isinstance(asked, dict) else (None, [])
        if not isinstance(params, list):
            return {"code": 2, "msg": "Invalid request: params must be an array", "id": number}
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not params or not all(isinstance(name, str) and "@" in name for name in params):
                return {"code": 2, "msg": "Invalid request: invalid stream", "id": number}
            if method == "UNSUBSCRIBE":
                self._unsubscribe(peer, params)
            elif not self._subscribe(peer, params):
                return {"code": 2, "msg": "Invalid request: too many streams", "id": number}
            return {"result": None, "id": number}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(peer.streams), "id": number}
        if method == "GET_PROPERTY" and params == ["combined"]:
            return {"result": peer.combined, "id": number}
        if method == "SET_PROPERTY" and params[:1] == ["combined"]:
            if len(params) != 2 or not isinstance(params[1], bool):
                return {"code": 1, "msg": "Invalid value type: expected Boolean", "id": number}
            peer.combined = params[1]
            return {"result": None, "id": number}
        if method in ("GET_PROPERTY", "SET_PROPERTY"):
            return {"code": 0, "msg": "Unknown property", "id": number}
        return {"code": 2, "msg": "Invalid request: unknown variant", "id": number}

    # --- faults ---

    def fault(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One fault, or its end. Every one is noted in the ledger with its time."""
        self.ledger.note("f", now_us(), asked)
        kind, now = asked["kind"], time.monotonic()
        seconds, rate = float(asked.get("seconds", 0)), float(asked.get("rate", 0))
        peers = list(self.peers.values())
        if "connection" in asked and peers:
            peers = [peers[asked["connection"] % len(peers)]]
        if kind in ("pause", "resume"):
            self.paused = kind == "pause"
        elif kind == "unread":
            pass  # a word to the judge
        elif kind in ("duplicate", "reorder"):
            setattr(self, kind, rate)
        elif kind == "withhold":
            self._withhold(asked, rate)
        elif kind == "forget":
            self.market.symbols[asked["symbol"]].forgotten.append((asked["first"], asked["last"]))
        elif kind == "silence":
            self.market.symbols[asked["symbol"]].silent_until = now + seconds
        elif kind == "cut":
            self.cut_until, self.cut_rest = now + seconds, asked.get("rest", True)
            for peer in peers:
                peer.cut("cut")
        elif kind == "drop":
            for peer in peers:
                peer.cut("drop")
        elif kind == "stall":
            for peer in peers:
                peer.stalled_until = now + seconds
                peer.ws.transport.pause_reading()
                self.ledger.note("c", peer.number, "stall", now_us(), seconds)
            if asked.get("new_too"):
                self.hang_until = now + seconds
        elif kind == "shutdown":
            self._shut_down(peers, float(asked.get("grace", 10)))
        elif kind == "garbage":
            for peer in peers:
                for frame in garbage(peer.combined):
                    broadcast((peer.ws,), frame)
        elif kind == "rest_limit":
            self.rest.limiter.forced_until = time.time() + seconds
            self.rest.limiter.forced_status = int(asked.get("status", 429))
        elif kind == "rest_garbage":
            self.rest.garbage_until = time.time() + seconds
        elif kind == "rest_lag":
            self.rest.lag = seconds
        elif kind == "refuse":
            self.refuse_until, self.refuse_status = time.time() + seconds, int(asked.get("status", 503))
        elif kind == "lifetime":
            self.lifetime_s = seconds
        elif kind == "rate":
            self.market.rate = rate
        else:
            return {"error": f"unknown fault {kind}"}
        return {"done": kind, "connections": len(peers)}

    def _withhold(self, asked: dict[str, Any], rate: float) -> None:
        if "symbol" not in asked:
            self.withhold = rate
            return
        symbol = self.market.symbols[asked["symbol"]]
        first, count, gone = symbol.last_id + 1, int(asked["count"]), int(asked.get("forget", 0))
        symbol.withheld.update(range(first, first + count))
        if gone:  # the last of them REST will never give either
            span = {"symbol": symbol.name, "first": first + count - gone, "last": first + count - 1}
            self.fault({"kind": "forget", **span})

    def _shut_down(self, peers: list[Peer], grace: float) -> None:
        for peer in peers:
            event = json.dumps({"e": "serverShutdown", "E": now_us() if peer.micro else now_us() // 1000})
            broadcast((peer.ws,), dressed("!serverShutdown", event, peer.combined))

        def end() -> None:
            for peer in peers:
                if peer.number in self.peers and not peer.why:
                    peer.why = "shutdown"
                    asyncio.get_running_loop().create_task(_close(peer))

        asyncio.get_running_loop().call_later(grace, end)

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
            "unknown_streams": self.unknown,
            "rest_requests": limiter.paths,
            "rest_most_weight": limiter.most,
            "rest_early": limiter.early,
            "first_sent": {name: symbol.first_sent for name, symbol in self.market.symbols.items()},
            "last_ids": {name: symbol.last_id for name, symbol in self.market.symbols.items()},
        }


async def _close(peer: Peer) -> None:
    with contextlib.suppress(Exception):
        await peer.ws.close(1001, "")


KINDS = {Trade: "trade", Aggregate: "aggTrade", Quote: "bookTicker"}
ROUTES = {Trade: "public", Aggregate: "market", Quote: "public"}


def payload(name: str, event: Event, micro: bool) -> str:
    """The documented JSON of one event of the spot market."""
    if isinstance(event, Aggregate):
        matched = event.us if micro else event.us // 1000
        maker = "true" if event.maker else "false"
        return (
            f'{{"e":"aggTrade","E":{matched},"s":"{name}","a":{event.id},"p":"{event.price}","q":"{event.qty}",'
            f'"f":{event.first},"l":{event.last},"T":{matched},"m":{maker},"M":true}}'
        )
    if isinstance(event, Quote):
        return (
            f'{{"u":{event.u},"s":"{name}","b":"{event.bid}","B":"{event.bid_qty}",'
            f'"a":"{event.ask}","A":"{event.ask_qty}"}}'
        )
    matched, sent = (event.us, event.sent_us) if micro else (event.us // 1000, event.sent_us // 1000)
    maker = "true" if event.maker else "false"
    return (
        f'{{"e":"trade","E":{sent},"s":"{name}","t":{event.id},"p":"{event.price}","q":"{event.qty}",'
        f'"T":{matched},"m":{maker},"M":true}}'
    )


def futures(name: str, event: Event, micro: bool) -> str:
    """The same of USD-M futures: milliseconds, and every event has its times."""
    if isinstance(event, Quote):
        ms = now_us() // 1000
        return (
            f'{{"e":"bookTicker","u":{event.u},"s":"{name}","b":"{event.bid}","B":"{event.bid_qty}",'
            f'"a":"{event.ask}","A":"{event.ask_qty}","T":{ms},"E":{ms}}}'
        )
    matched, maker = event.us // 1000, "true" if event.maker else "false"
    if isinstance(event, Aggregate):
        return (
            f'{{"e":"aggTrade","E":{matched},"a":{event.id},"s":"{name}","p":"{event.price}","q":"{event.qty}",'
            f'"f":{event.first},"l":{event.last},"T":{matched},"m":{maker}}}'
        )
    return (
        f'{{"e":"trade","E":{event.sent_us // 1000},"T":{matched},"s":"{name}","t":{event.id},"p":"{event.price}",'
        f'"q":"{event.qty}","X":"{event.kind}","m":{maker}}}'
    )


def dressed(stream: str, data: str, combined: bool) -> str:
    return f'{{"stream":"{stream}","data":{data}}}' if combined else data


def garbage(combined: bool) -> list[str | bytes]:
    """Frames no exchange should ever send."""
    ms = now_us() // 1000
    trade = {"e": "trade", "E": ms, "s": "BTCUSDT", "t": 1, "p": "1.0", "q": "1.0", "T": ms, "m": True, "M": True}
    wrong: list[dict[str, Any]] = [
        trade | {"t": 2**63},
        trade | {"t": -5},
        trade | {"t": "12"},
        trade | {"p": "NaN"},
        trade | {"q": "-1.00000000"},
        trade | {"p": "Infinity"},
        trade | {"p": 12.5},
        trade | {"s": "../../x"},
        trade | {"s": "NOSUCHUSDT"},
        trade | {"T": 0},
        trade | {"T": 2**62},
        trade | {"e": "nosuch"},
        {key: value for key, value in trade.items() if key != "T"},
        {"u": -1, "s": "BTCUSDT", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"},
        {"u": 5, "s": "BTCUSDT", "b": "x", "B": "1.0", "a": "2.0", "A": "1.0"},
        {"u": 5, "s": "\u001b[31mBTC\n", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"},
    ]
    frames: list[str | bytes] = [
        dressed("btcusdt@bookTicker" if "u" in data else "btcusdt@trade", json.dumps(data), combined) for data in wrong
    ]
    return [
        *frames,
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "\x00\x01\x02",
        b"\x00\xff binary",
        "[" * 5000,
        '{"stream":"btcusdt@trade"}',
        '{"stream":"../../etc/passwd@trade","data":{}}',
        '{"stream":5,"data":null}',
        "x" * 200_000,
    ]


async def main(options: argparse.Namespace) -> None:
    if options.start:
        start = datetime.fromisoformat(options.start).astimezone(UTC)
        Clock.offset_us = int(start.timestamp() * 1e6) - now_us()
    ledger = Ledger(Path(options.ledger))
    is_futures = options.market == "usdm"
    market = Market(options.symbols, options.rate, options.seed, now_us(), is_futures)
    venue = Venue(market, ledger, options.lifetime, is_futures)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(venue.rest.app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.rest_port)
    await site.start()
    server = await serve(
        venue.serve,
        "127.0.0.1",
        options.ws_port,
        process_request=venue.admit,
        compression=None,
        ping_interval=options.ping,
        ping_timeout=3 * options.ping,
        max_size=4096,
    )
    rest_port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    ws_port = next(iter(server.sockets)).getsockname()[1]
    where = {"ws_url": f"ws://127.0.0.1:{ws_port}", "rest_url": f"http://127.0.0.1:{rest_port}", "pid": os.getpid()}
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    tasks = [asyncio.create_task(venue.run()), asyncio.create_task(venue.housekeeping())]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        task.result()
    ledger.note("end", now_us(), venue.state())
    ledger.close()
    os._exit(0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--market", choices=["spot", "usdm"], default="spot")
    parser.add_argument("--ws-port", type=int, default=0)
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5000.0, help="events a second over all symbols")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", help="the venue's time to begin with, such as 2025-10-20T23:58:00Z")
    parser.add_argument("--lifetime", type=float, default=86_400.0, help="seconds a connection lives")
    parser.add_argument("--ping", type=float, default=20.0, help="seconds between the server's pings")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments()))
