"""The sockets of the emulated venue: one port for websocket and REST, or one each, on loopback only."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from procs.emulator.bars import STEPS, checksum, daily_file
from procs.emulator.faults import FaultError, Faults, convert
from procs.emulator.hub import Hub, Peer
from procs.emulator.ledger import Ledger
from procs.emulator.limits import Attempts, Weights
from procs.emulator.player import Player
from procs.emulator.protocol import Action, Rules, Session, is_stream_path
from procs.emulator.rest import Request, Rest
from procs.emulator.tape import Source

_LOCAL = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_DAILY = re.compile(
    r"/data/(?P<market>spot|futures/um)/daily/(?P<kind>trades|aggTrades|klines)/(?P<symbol>[^/]+)/(?:(?P<step>\w+)/)?"
    r"(?P<name>[^/]+-(?P<date>\d{4}-\d\d-\d\d))\.zip(?P<checksum>\.CHECKSUM)?"
)
_FILES_KEPT = 16


class Server:
    """Turns requests and messages into calls of the pure parts, and their answers into bytes."""

    def __init__(
        self,
        source: Source,
        hub: Hub,
        faults: Faults,
        ledger: Ledger,
        rules: Rules,
        weights: Weights,
        attempts: Attempts,
    ) -> None:
        self.player: Player | None = None
        self._source = source
        self._hub = hub
        self._faults = faults
        self._ledger = ledger
        self._rules = rules
        self._attempts = attempts
        self._rest = Rest(source, weights, faults.hidden)
        self._files: dict[str, bytes] = {}
        self._begin = {s: source.last_print(s) for s in source.instruments}

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/emulator/{what}", self._control)
        app.router.add_get("/data/{tail:.*}", self._daily)
        app.router.add_get("/{tail:.*}", self._any)
        return app

    async def _any(self, request: web.Request) -> web.StreamResponse:
        if is_stream_path(request.path, self._source.market) and "upgrade" in request.headers:
            return await self._websocket(request)
        return await self._ask(request)

    # websocket

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        now_s, transport = time.monotonic(), request.transport
        if transport is None or self._faults.refuses():
            if transport is not None:
                transport.abort()
            return web.Response(status=503)
        if not self._attempts.allow(now_s):
            return web.Response(status=429, headers={"Retry-After": str(int(Attempts.WINDOW_S))})
        session = Session(request.path, request.query_string, self._rules, self._source.market, now_s)
        if session.too_many:
            return web.Response(status=400, text="too many streams")
        ws = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20, timeout=2.0)
        peer = Peer(session, ws, await ws.prepare(request), transport)
        self._hub.join(peer)
        try:
            await self._listen(peer, ws)
        finally:
            self._hub.leave(peer)
        return ws

    async def _listen(self, peer: Peer, ws: web.WebSocketResponse) -> None:
        session = peer.session
        while True:
            message = await ws.receive()
            now_s, actions = time.monotonic(), list[Action]()
            before = list(session.streams)
            if message.type is WSMsgType.TEXT:
                actions = session.text(message.data, now_s)
            elif message.type is WSMsgType.PING:
                actions = session.ping(bytes(message.data), now_s)
            elif message.type is WSMsgType.PONG:
                actions = session.pong(bytes(message.data), now_s)
            elif message.type is not WSMsgType.BINARY:
                return
            if not peer.stalled:
                peer.act(actions)
                if before != list(session.streams):
                    self._hub.resubscribed(peer)

    # REST

    async def _ask(self, http: web.Request) -> web.StreamResponse:
        micro = self._source.market == "spot" and http.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"
        request = Request(http.path, dict(http.query), micro, bool(http.headers.get("X-MBX-APIKEY")))
        fault = self._faults.rest()
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        call: Callable[[], Any] = lambda: self._rest.answer(request, self._now_us(), time.time(), fault)  # noqa: E731
        # bars are counted from prints, which takes a while: the streams go on meanwhile
        answer = await asyncio.to_thread(call) if request.path.endswith("/klines") else call()
        headers = {"Content-Type": "application/json;charset=UTF-8"} | answer.headers
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def _daily(self, http: web.Request) -> web.StreamResponse:
        """The venue's archive of closed days."""
        place = _DAILY.fullmatch(http.path)
        if place is None or not self._has(place):
            return web.Response(status=404)
        kind, name = place["kind"], place["name"]
        start_us = _day_us(place["date"])
        step = place["step"] if kind == "klines" else kind
        if (
            start_us is None
            or start_us + 86_400_000_000 > self._now_us()
            or name != f"{place['symbol']}-{step}-{place['date']}"
        ):
            return web.Response(status=404)
        data = self._files.get(name)
        if data is None:
            data = await asyncio.to_thread(daily_file, self._source, place["symbol"], step, name, start_us)
            while len(self._files) >= _FILES_KEPT:
                self._files.pop(next(iter(self._files)))
            self._files[name] = data
        return web.Response(body=checksum(data, name) if place["checksum"] else data)

    def _has(self, place: re.Match[str]) -> bool:
        market = "spot" if self._source.market == "spot" else "futures/um"
        is_step = place["step"] in STEPS if place["kind"] == "klines" else place["step"] is None
        return place["market"] == market and place["symbol"] in self._source.instruments and is_step

    def _now_us(self) -> int:
        return self.player.now_us() if self.player is not None else 0

    # the emulator itself

    async def _control(self, http: web.Request) -> web.StreamResponse:
        """Not the venue's: faults, the ledger and the state. No web page may reach it."""
        if "Origin" in http.headers or not _LOCAL.fullmatch(http.host):
            return web.Response(status=403)
        what = f"{http.method} {http.match_info['what']}"
        if what == "GET ledger":
            return _json({"symbols": self._ledger.as_json(), "withheld": self._withheld()})
        if what == "GET status":
            return _json(self._status())
        if what == "GET faults":
            return _json(self._faults.describe())
        if what == "DELETE faults":
            self._faults.clear()
            return _json(self._faults.describe())
        if what == "POST faults" and http.content_type == "application/json":
            return await self._accept(http)
        return web.Response(status=404)

    async def _accept(self, http: web.Request) -> web.StreamResponse:
        try:
            asked = json.loads(await http.read())
            faults = [convert(fields) for fields in (asked if isinstance(asked, list) else [asked])]
        except (ValueError, RecursionError, FaultError) as wrong:
            return web.Response(status=400, text=str(wrong))
        for fault in faults:
            self._faults.add(fault, time.monotonic())
        self._hub.tick(time.monotonic())
        return _json(self._faults.describe())

    def _withheld(self) -> list[dict[str, Any]]:
        rows = []
        for (symbol, kind), ids in self._faults.withheld.items():
            hidden = self._faults.hidden.get((symbol, kind), set())
            rows.append({"symbol": symbol, "stream": kind, "ids": ids, "hidden": sorted(hidden)})
        return rows

    def _status(self) -> dict[str, Any]:
        issued = {s: [self._begin[s] + 1, self._source.last_print(s)] for s in self._source.instruments}
        return {
            "market": self._source.market,
            "venue_time_us": self._now_us(),
            "ended": self._hub.ended,
            "connections": len(self._hub.peers),
            "streams": sorted(self._hub.wanted()),
            "events_sent": self._ledger.events,
            "issued": issued,
        }


def _json(told: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(told), content_type="application/json")


def _day_us(date: str) -> int | None:
    try:
        return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        return None
