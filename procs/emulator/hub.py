"""All connections of the emulated venue: what is sent goes to whoever subscribed, encoded once for each form of it."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from procs.emulator.faults import Fault, Faults
from procs.emulator.ledger import Ledger
from procs.emulator.protocol import Action, Close, Ping, Pong, Send, Session
from procs.emulator.tape import Event, Market, binary_frame, control_frame, payload, text_frame

_HIGH_WATER = 256 * 1024
"""Bytes that may wait in a connection before a playback waits for its reader."""

_MOST_WAITING = 64 * 1024 * 1024
"""A reader this far behind a live market is cut off."""


class Peer:
    """One connection: its session, and the socket under it."""

    def __init__(
        self, session: Session, ws: web.WebSocketResponse, writer: AbstractStreamWriter, transport: asyncio.Transport
    ) -> None:
        self.session = session
        self.stalled = False
        self.out: list[bytes] = []
        self._ws = ws
        self._writer = writer
        self._transport = transport
        self._closing: asyncio.Task[bool] | None = None
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    @property
    def gone(self) -> bool:
        return self._closing is not None or self._transport.is_closing()

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size()

    def flush(self) -> None:
        if self.out and not self.gone:
            self._transport.write(b"".join(self.out))
        self.out.clear()

    def act(self, actions: list[Action]) -> None:
        """Carries out what the session decided."""
        for action in [] if self.stalled else actions:
            if isinstance(action, Send):
                self.out.append(text_frame(action.data))
            elif isinstance(action, Ping):
                self.out.append(control_frame(0x9, action.payload))
            elif isinstance(action, Pong):
                self.out.append(control_frame(0xA, action.payload))
            elif isinstance(action, Close):
                self.close(action.code, action.reason)
        self.flush()

    def close(self, code: int, reason: str) -> None:
        """What was written before leaves first."""
        self.flush()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._ws.close(code=code, message=reason.encode()))

    def cut(self) -> None:
        """Without a word."""
        self._transport.abort()

    async def drained(self) -> None:
        if self.waiting > _HIGH_WATER and not self.stalled and not self.gone:
            try:
                await self._writer.drain()
            except ConnectionError:
                self.cut()


class Hub:
    """The connections, and what they are sent. ``changed`` is set whenever a subscription changed."""

    def __init__(self, market: Market, faults: Faults, ledger: Ledger) -> None:
        self.peers: set[Peer] = set()
        self.changed = asyncio.Event()
        self.ended = False
        self._market = market
        self._faults = faults
        self._ledger = ledger
        self._by_stream: dict[str, list[Peer]] = {}
        self._heads: dict[str, bytes] = {}

    # who listens

    def join(self, peer: Peer) -> None:
        self.peers.add(peer)
        self.resubscribed(peer)

    def leave(self, peer: Peer) -> None:
        self.peers.discard(peer)
        self._route()

    def resubscribed(self, peer: Peer) -> None:
        self._route()
        if self.ended and peer.session.streams:
            peer.close(1000, "ended")

    def wanted(self) -> set[str]:
        """The streams somebody is subscribed to."""
        return set(self._by_stream)

    def _route(self) -> None:
        self._by_stream = {}
        for peer in self.peers:
            for stream in peer.session.streams:
                if peer.session.delivers(stream):
                    self._by_stream.setdefault(stream, []).append(peer)
        self.changed.set()

    # what they hear

    def play(self, events: list[Event]) -> None:
        """Sends events in this order, with the faults that are on."""
        self.strike(self._faults.due(time.monotonic(), self._ledger.events))
        if self._faults.shaping:
            events = self._faults.shape(events)
        for event in events:
            peers = self._by_stream.get(event.stream)
            if peers is not None:
                self._send(event, peers)
        for peer in self.peers:
            peer.flush()

    def _send(self, event: Event, peers: list[Peer]) -> None:
        frames: dict[tuple[bool, bool], bytes] = {}
        for peer in peers:
            if peer.stalled:
                continue
            form = peer.session.combined, peer.session.micro
            frame = frames.get(form)
            if frame is None:
                frame = frames[form] = self._frame(event, *form)
            peer.out.append(frame)
        if frames and event.id >= 0:
            self._ledger.sent(event)

    def _frame(self, event: Event, combined: bool, micro: bool) -> bytes:
        if event.id < 0 and isinstance(event.body, bytes):  # garbage is sent as it is
            body = event.body
            if event.bare:
                return text_frame(body) if body.isascii() else binary_frame(body)
        else:
            body = payload(event, self._market, micro)
        if not combined:
            return text_frame(body)
        head = self._heads.get(event.stream)
        if head is None:
            head = self._heads[event.stream] = b'{"stream":"%b","data":' % event.stream.encode()
        return text_frame(head + body + b"}")

    # time, faults and the end

    def tick(self, now_s: float) -> None:
        """Pings, limits of time, faults that are due, readers that are hopelessly behind."""
        self.strike(self._faults.due(now_s, self._ledger.events))
        for peer in list(self.peers):
            peer.act(peer.session.tick(now_s))
            if peer.waiting > _MOST_WAITING:
                peer.cut()

    def strike(self, faults: list[Fault]) -> None:
        for fault in faults:
            struck = list(self.peers)[: fault.count]
            for peer in struck:
                if fault.kind == "drop":
                    peer.cut()
                elif fault.kind == "stall":
                    peer.stalled = True
                else:
                    peer.act([Send(peer.session.shutdown(time.time_ns() // 1000))])
                    asyncio.get_running_loop().call_later(fault.delay_ms / 1000, peer.close, 1001, "")
            self._faults.struck[fault.kind] = self._faults.struck.get(fault.kind, 0) + len(struck)

    async def drained(self) -> None:
        """Until the slowest reader has room again."""
        for peer in list(self.peers):
            await peer.drained()

    async def end(self) -> None:
        """All was played: once it has left, every connection is closed with code 1000, ``ended``; so are later ones."""
        while any(peer.waiting and not peer.stalled and not peer.gone for peer in self.peers):
            await asyncio.sleep(0.01)
        self.ended = True
        for peer in list(self.peers):
            peer.close(1000, "ended")
