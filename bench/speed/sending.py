"""A websocket server's side of one connection by hand: handshake, control frames, and the flood."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import threading
import time
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from bench.speed.market import START_US, Frames, Ints, Market

CHUNK: Final = 64 << 10
"""Bytes handed to the system in one call, about."""
SEALED_EVENTS: Final = 4096
BUFFER: Final = 4 << 20
PING_S: Final = 20.0
IDLE_S: Final = 0.0005
"""The pause of a paced flood where nothing is due."""
GO_S: Final = 600.0
LAG = 1 << 16
"""Events that may wait in the sockets."""
SETTLED_S = 10.0
"""So long after the last event everything has been read."""
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


def handshake(key: str) -> bytes:
    """The server's answer to a websocket request."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    return "\r\n".join((*lines, f"Sec-WebSocket-Accept: {accept}", "", "")).encode()


class Wire:
    """A socket, plain or under TLS, that one thread reads and others write."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext | None) -> None:
        self.raw = raw
        self.lock = threading.RLock()
        """Whoever writes holds it from the first to the last byte of what belongs together."""
        self.sealer: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        if context is not None:
            self.sealer = context.wrap_bio(self._in, self._out, server_side=True)
            self._shake(self.sealer)

    def _shake(self, sealer: ssl.SSLObject) -> None:
        while True:
            try:
                sealer.do_handshake()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._out.read())
                data = self.raw.recv(CHUNK)
                if not data:
                    raise OSError("gone during the handshake") from None
                self._in.write(data)
                continue
            self.raw.sendall(self._out.read())
            return

    def receive(self) -> bytes:
        """What has come; empty at the end."""
        if self.sealer is None:
            return self.raw.recv(CHUNK)
        while True:
            try:
                with self.lock:
                    return self.sealer.read(CHUNK)
            except ssl.SSLWantReadError:
                data = self.raw.recv(CHUNK)
                if not data:
                    return b""
                with self.lock:
                    self._in.write(data)

    def seal(self, parts: list[memoryview]) -> bytes:
        """A record for each part."""
        assert self.sealer is not None
        for part in parts:
            self.sealer.write(part)
        return self._out.read()

    def send(self, data: bytes | memoryview) -> None:
        """Sends it whole, in one record where it is not longer than one may be."""
        with self.lock:
            if self.sealer is None:
                self.raw.sendall(data)
            else:
                self.sealer.write(data)
                self.raw.sendall(self._out.read())


class Plan:
    """What is sent in one run, how, and how far that has come."""

    def __init__(
        self,
        market: Market,
        events: int,
        rate: float = 0,
        is_real: bool = False,
        closes: bool = True,
        micros: bool = False,
    ) -> None:
        self.micros = micros
        """Everybody gets microseconds, whether asked for or not."""
        self.market, self.events, self.rate, self.is_real, self.closes = market, events, rate, is_real, closes
        self.times: Ints = market.at_us.copy()
        """When each event was, in microseconds; of a run in real time known once it is sent."""
        self.go = threading.Event()
        self.began_ns = self.done_ns = 0
        self.flows: list[Flow] = []
        self._lock = threading.Lock()

    @property
    def sent(self) -> int:
        return sum(flow.sent for flow in self.flows)

    def reached(self, name: str) -> int:
        """How many events of the market are read as far as a symbol's trades go."""
        for flow in self.flows:
            if f"{name.lower()}@" in flow.trades:
                return flow.reached
        return 0

    def now_us(self) -> int:
        """The venue's clock."""
        if self.is_real:
            return time.time_ns() // 1000
        reached = max((flow.reached for flow in self.flows), default=0)
        return int(self.times[reached - 1]) if reached else START_US

    def began(self) -> None:
        with self._lock:
            self.began_ns = self.began_ns or time.time_ns()

    def ended(self) -> None:
        with self._lock:
            if all(flow.is_over for flow in self.flows):
                self.done_ns = time.time_ns()


class Flow:
    """The part of a plan that goes over one connection."""

    def __init__(self, plan: Plan, wire: Wire, streams: set[str], frames: Frames, places: Ints) -> None:
        self.plan, self._wire, self._frames, self._places = plan, wire, frames, places
        self.trades = {name.split("@")[0] + "@" for name in streams if "rade" in name}
        self.sent = 0
        self._over_at: float | None = None
        self._view = memoryview(frames.data)
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(frames.data, np.uint8)
        self._stamped = 0
        self._trades_before: Ints = np.concatenate(([0], np.cumsum(plan.market.is_trade[places])))
        self._sealed: list[tuple[int, bytes]] = []
        if wire.sealer is not None and not plan.is_real and not plan.rate:
            self._seal_all(len(places))

    @property
    def is_over(self) -> bool:
        return self._over_at is not None

    @property
    def reached(self) -> int:
        """The place in the market behind the last event that the client has surely read.

        REST speaks of those: what waits in the socket of a client that is behind would be a gap to it.
        """
        is_settled = self._over_at is not None and time.monotonic() - self._over_at >= SETTLED_S
        read = self.sent if is_settled else self.sent - LAG
        return int(self._places[read - 1]) + 1 if read > 0 else 0

    def _seal_all(self, count: int) -> None:
        for at in range(0, count, SEALED_EVENTS):
            until = min(at + SEALED_EVENTS, count)
            self._sealed.append((until, self._wire.seal(self._parts(at, until))))

    def _parts(self, at: int, until: int) -> list[memoryview]:
        ends = self._frames.ends[at:until].tolist()
        return [self._view[start:end] for start, end in zip([self._frames.start(at), *ends], ends, strict=False)]

    def run(self) -> None:
        """Everything, from the moment the plan says so."""
        if not self.plan.go.wait(GO_S):
            return
        self.plan.began()
        try:
            if self._sealed:
                self._flood_sealed()
            elif self.plan.rate:
                self._pace(self.plan.rate * len(self._places) / max(1, self.plan.events))
            else:
                self._flood()
            if self.plan.closes:
                goodbye = (1000).to_bytes(2, "big") + b"ended"
                self._wire.send(bytes((0x80 | _CLOSE, len(goodbye))) + goodbye)
        finally:
            self._over_at = time.monotonic()
            self.plan.ended()

    def _flood_sealed(self) -> None:
        # What is sealed stands in the order of its making: no other record may come between.
        with self._wire.lock:
            for until, data in self._sealed:
                self._wire.raw.sendall(data)
                self.sent = until
        self._sealed.clear()

    def _flood(self) -> None:
        count, ends = len(self._places), self._frames.ends
        while self.sent < count:
            end = self._frames.start(self.sent) + CHUNK
            self._put(min(count, max(self.sent + 1, int(ends.searchsorted(end, "right")))))

    def _pace(self, rate: float) -> None:
        """Each event at its moment, or as soon as possible after it."""
        began = pinged = time.perf_counter()
        count = len(self._places)
        while self.sent < count:
            now = time.perf_counter()
            due = min(count, int((now - began) * rate))
            if due > self.sent:
                self._put(due)
            else:
                time.sleep(max(IDLE_S, min(0.01, (self.sent + 1) / rate - (now - began))) if rate < 1500 else 0.0001)
            if now - pinged > PING_S:
                pinged = now
                self._wire.send(bytes((0x80 | _PING, 0)))

    def _put(self, until: int) -> None:
        """The events before that place."""
        if self.plan.is_real:
            self._stamp(until)
        with self._wire.lock:
            if self._wire.sealer is None:
                self._wire.raw.sendall(self._view[self._frames.start(self.sent) : self._frames.start(until)])
            else:
                self._wire.raw.sendall(self._wire.seal(self._parts(self.sent, until)))
        self.sent = until

    def _stamp(self, until: int) -> None:
        """Writes this moment into the frames up to that event."""
        now = time.time_ns() // 1000
        self.plan.times[self._places[self.sent : until]] = now
        before, behind = (2 * int(self._trades_before[at]) for at in (self.sent, until))
        digits = np.frombuffer(str(now)[: self._frames.digits].encode(), np.uint8)
        self._bytes[self._frames.stamps[before:behind, None] + np.arange(len(digits))] = digits


class Session:
    """One websocket."""

    def __init__(self, wire: Wire, market: Market, micros: bool) -> None:
        self.streams: set[str] = set()
        self._wire, self._market, self._digits = wire, market, 16 if micros else 13

    def subscribe(self, names: list[str]) -> None:
        self.streams.update(names)

    def prepare(self, plan: Plan) -> None:
        """Makes what this connection will be sent, and waits in a thread of its own for the plan's beginning."""
        if not self.streams:
            return
        kinds = {name.split("@")[1] for name in self.streams}
        frames = self._market.made(16 if plan.micros else self._digits, "aggTrade" if "aggTrade" in kinds else "trade")
        has = np.array(
            [
                [f"{name.lower()}@bookTicker" in self.streams, bool(self.streams & _trade_streams(name))]
                for name in self._market.names
            ]
        )
        wanted = has[self._market.symbol, self._market.is_trade.astype(np.int8)]
        wanted[plan.events :] = False
        places = np.flatnonzero(wanted)
        if not wanted[: plan.events].all():
            frames = frames.of(wanted, self._market.is_trade)
        elif plan.is_real:  # what is stamped is no longer what others are sent
            frames = replace(frames, data=bytearray(frames.data))
        flow = Flow(plan, self._wire, set(self.streams), frames, places)
        plan.flows.append(flow)
        threading.Thread(target=self._run, args=(flow,), daemon=True).start()

    def _run(self, flow: Flow) -> None:
        try:
            flow.run()
        except OSError:
            return  # the client left

    # --- what a client says ---

    def read(self, pending: bytes) -> None:
        """Reads and answers until the end."""
        while True:
            frame = _cut(pending)
            if frame is None:
                data = self._wire.receive()
                if not data:
                    return
                pending += data
                continue
            kind, body, pending = frame
            if kind == _TEXT:
                self._asked(body)
            elif kind == _PING:
                self._wire.send(bytes((0x80 | _PONG, len(body))) + body)
            elif kind == _CLOSE:
                self._wire.send(bytes((0x80 | _CLOSE, len(body))) + body)
                return

    def _asked(self, body: bytes) -> None:
        asked = json.loads(body)
        names = [name.lower().replace("bookticker", "bookTicker").replace("aggtrade", "aggTrade")
                 for name in asked.get("params", [])]  # fmt: skip
        if asked.get("method") == "SUBSCRIBE":
            self.streams.update(names)
        elif asked.get("method") == "UNSUBSCRIBE":
            self.streams.difference_update(names)
        text = json.dumps({"result": None, "id": asked.get("id")}).encode()
        self._wire.send(bytes((0x81, len(text))) + text)


def _trade_streams(name: str) -> set[str]:
    return {f"{name.lower()}@trade", f"{name.lower()}@aggTrade"}


def _cut(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Kind and body of the first frame, unmasked, and what follows it; None while it is not whole."""
    if len(data) < 6:
        return None
    size, at = data[1] & 127, 2
    if size == 126:
        size, at = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(data[2:10], "big"), 10
    if len(data) < at + 4 + size:
        return None
    mask = data[at : at + 4]
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[at + 4 : at + 4 + size]))
    return data[0] & 15, body, data[at + 4 + size :]
