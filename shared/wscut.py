"""A connection of the websockets library that sees only what is not plain: `shared.frames` takes the rest before it.

The handshake, control frames, and from the first fragment or binary message on everything, are the library's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

from shared.frames import TEXT, cut

READ: Final = 256 << 10
"""Bytes that one read may bring …"""
MARGIN: Final = 4 << 10
"""… and room before them for the beginning of a message whose end they bring."""
MANY: Final = 32 << 10
"""Bytes of a read that are not worth a copy: their room stays with them."""
_CONTROL: Final = (0x88, 0x89, 0x8A)
"""First bytes of whole close, ping and pong frames."""


class Connection(ClientConnection, asyncio.BufferedProtocol):
    """The library's own, but for what it is given to see."""

    _room: bytearray | None = None

    _received: Callable[[Sequence[bytes]], None] | None = None
    _rest = b""
    """What came and was not looked at yet."""
    _is_plain = True
    _is_leaving = False

    def begin(self, received: Callable[[Sequence[bytes]], None]) -> None:
        """From now on messages are handed on."""
        self._received = received
        if self._is_plain:
            self.data_received(b"")

    def eof_received(self) -> None:
        self._keep()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep()
        super().connection_lost(exc)

    def _keep(self) -> None:
        """What came with a handshake whose connection has ended since is kept by the library."""
        if self._is_plain and self._received is None:
            rest, self._rest = self._rest, b""
            self._give_up(rest)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        if self._room is None:
            self._room = bytearray(MARGIN + READ)
        return memoryview(self._room)[MARGIN:]

    def buffer_updated(self, nbytes: int) -> None:
        """Where a read brought much, its messages stay where they are: the next one has a room of its own."""
        assert self._room is not None
        data = memoryview(self._room)[MARGIN : MARGIN + nbytes]
        if nbytes >= MANY and len(self._rest) <= MARGIN and self._received is not None and self._is_plain:
            start = MARGIN - len(self._rest)
            self._room[start:MARGIN] = self._rest
            data, self._room, self._rest = memoryview(self._room)[start : MARGIN + nbytes], None, b""
            self._rest = self._messages(data, self._received)
        else:
            self.data_received(bytes(data))

    def data_received(self, data: bytes) -> None:
        if not self._is_plain:
            self._hand_over(data)
            return
        data, self._rest = self._rest + data if self._rest else data, b""
        if self.response is None:
            data = self._answer(data)
        if self._is_plain and self._received is not None:
            data = self._messages(data, self._received)
        self._rest = data

    def _answer(self, data: bytes) -> bytes:
        """The end of the handshake is the library's; returns what follows it."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return data
        self._hand_over(data[:end])
        if self.protocol.state is State.OPEN:
            return data[end:]
        return self._give_up(data[end:])

    def _messages(self, data: bytes | memoryview, received: Callable[[Sequence[bytes]], None]) -> bytes:
        """Plain messages are handed on, control frames are the library's; returns what is not whole yet."""
        while data:
            messages, offset = cut(data)
            if messages:
                received(messages)
                data = data[offset:]
                continue
            if len(data) < 2 or (data[0] == TEXT and data[1] <= 126):
                break
            if data[0] not in _CONTROL or data[1] > 125:
                return self._give_up(bytes(data))
            end = 2 + data[1]
            if len(data) < end:
                break
            self._hand_over(bytes(data[:end]))
            data = data[end:]
            if self.protocol.close_rcvd is not None or self.protocol.parser_exc is not None:
                return self._give_up(bytes(data))
        return bytes(data)

    def _give_up(self, data: bytes) -> bytes:
        """What comes from here on is the library's, whatever it is."""
        self._is_plain = False
        if data:
            self._hand_over(data)
        return b""

    def _hand_over(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.state is State.CLOSING and not self._is_leaving:
            # It would wait for ever for a server that says goodbye, or talks nonsense, and then stays.
            self._is_leaving = True
            asyncio.get_running_loop().call_later(self.close_timeout or 0, self.transport.abort)
