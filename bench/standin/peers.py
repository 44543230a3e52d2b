"""One client connection: what it subscribed to, in which dress, and what it asks for."""

from __future__ import annotations

import contextlib
import time
from collections import deque

from websockets.asyncio.server import ServerConnection


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


async def goodbye(peer: Peer) -> None:
    """Its connection ends as the protocol has it."""
    with contextlib.suppress(Exception):
        await peer.ws.close(1001, "")
