"""A connection of the websockets library that sees only what is not plain: the rest waits in `shared.inbox` until
somebody takes it.

The handshake, control frames, and from the first fragment or binary message on everything, are the library's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

from shared.frames import TEXT
from shared.inbox import Brought, Inbox

_CONTROL: Final = (0x88, 0x89, 0x8A)
"""First bytes of whole close, ping and pong frames."""


class Connection(ClientConnection, asyncio.BufferedProtocol):
    """The library's own, but for what it is given to see."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._inbox = Inbox()
        self._whole: list[Brought] = []
        """What was cut, and not taken yet."""
        self._came: Callable[[int], None] | None = None
        self._is_plain = True
        self._is_leaving = False

    def begin(self, came: Callable[[int], None]) -> None:
        """From now on it is said that something came: how many bytes."""
        self._came = came
        if waiting := len(self._inbox.data):
            came(waiting)

    def take(self) -> list[Brought]:
        """The messages that came; they are good until control goes back to the event loop."""
        self._cut()
        taken, self._whole = self._whole, []
        return taken

    def add(self, message: bytes) -> None:
        """One that the library made."""
        self._whole.append(Brought([message], time.time_ns(), time.monotonic_ns()))
        assert self._came is not None
        self._came(len(message))

    def eof_received(self) -> None:
        self._end()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _end(self) -> None:
        """A goodbye that came is known before the end is; what came with a handshake, the library keeps."""
        if self._came is not None:
            self._cut()
        elif self._is_plain:
            self._give_up()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._inbox.room()

    def buffer_updated(self, nbytes: int) -> None:
        self._inbox.came(nbytes, time.time_ns(), time.monotonic_ns())
        if self.response is None and self._is_plain:
            self._answer()
        if not self._is_plain:
            self._give_up()
        elif self._came is not None:
            self._came(nbytes)

    def data_received(self, data: bytes) -> None:
        while data:
            room = self.get_buffer(len(data))
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.buffer_updated(size)
            data = data[size:]

    def _answer(self) -> None:
        """The end of the handshake is the library's."""
        end = bytes(self._inbox.data).find(b"\r\n\r\n") + 4
        if end < 4:
            return
        self._hand_over(end)
        if self.protocol.state is not State.OPEN:
            self._give_up()

    def _cut(self) -> None:
        """Plain messages wait to be taken, control frames are the library's at once; what is not whole yet stays."""
        while self._is_plain and len(data := self._inbox.data):
            if found := self._inbox.cut():
                self._whole += found
            elif len(data) < 2 or (data[0] == TEXT and data[1] <= 126):
                return
            elif data[0] not in _CONTROL or data[1] > 125:
                self._give_up()
            elif len(data) < 2 + data[1]:
                return
            else:
                self._hand_over(2 + data[1])
                if self.protocol.close_rcvd is not None or self.protocol.parser_exc is not None:
                    self._give_up()

    def _give_up(self) -> None:
        """What comes from here on is the library's, whatever it is."""
        self._is_plain = False
        if waiting := len(self._inbox.data):
            self._hand_over(waiting)

    def _hand_over(self, size: int) -> None:
        """So many bytes are the library's."""
        data = bytes(self._inbox.data[:size])
        self._inbox.skip(size)
        super().data_received(data)
        if self.protocol.state is State.CLOSING and not self._is_leaving:
            # It would wait for ever for a server that says goodbye, or talks nonsense, and then stays.
            self._is_leaving = True
            asyncio.get_running_loop().call_later(self.close_timeout or 0, self.transport.abort)
