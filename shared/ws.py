"""The websocket client: one interface, two libraries behind it, chosen by what costs less and tested alike.

From websockets the plain messages are taken before it sees them (`shared.frames`): over plain TCP, where a read holds
many, nothing costs less. Over TLS the records cost most, and there picows does, where its wheel is installed. Both are
set the same: no compression, no redirects, no proxy unless one is named, one megabyte a message, a ping after ten idle
seconds whose pong must come within ten, certificates always verified.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

try:
    import picows
except ImportError:  # no wheel for this machine
    picows = None

IMPLEMENTATIONS: Final = ("picows", "websockets") if picows is not None else ("websockets",)
MAX_MESSAGE: Final = 1 << 20
PING_S: Final = 10.0
OPEN_S: Final = 10.0
CLOSE_S: Final = 1.0
"""Venues often never answer a close: the socket is dropped after this long."""
LOST: Final = 1006
"""The code of a connection that ended without one."""

Received = Callable[[Sequence[bytes]], None]
"""Takes messages, one or many, in their order."""
Closed = Callable[[int, str], None]


class ConnectFailed(Exception):
    """No websocket came about: the reason, and the HTTP status where the server gave one."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Socket(Protocol):
    """An open connection. However it ends, `closed` is called once, and `received` never after that."""

    def send(self, text: bytes) -> None:
        """Queues a text message; silently nothing where the connection is ending."""

    def close(self) -> None:
        """Says goodbye and drops the socket at the latest a second later; what is under way still comes."""


async def connect(
    url: str,
    received: Received,
    closed: Closed,
    *,
    proxy: str | None = None,
    implementation: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Socket:
    """Opens a connection. `received` is called with whole messages, in order, from the event loop, right after the read
    of the socket that brought them. Raises ConnectFailed.
    """
    implementation = implementation or ("websockets" if url.startswith("ws://") else IMPLEMENTATIONS[0])
    opener = _open_picows if implementation == "picows" else _open_websockets
    try:
        async with asyncio.timeout(OPEN_S):
            return await opener(url, received, closed, proxy, context)
    except TimeoutError:
        raise ConnectFailed(f"no answer within {OPEN_S:.0f} s") from None
    except OSError as error:  # ssl.SSLError is one
        raise ConnectFailed(_plain(error)) from None


def _plain(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


# --- picows ---


class _Picows:
    """Puts fragments together, which picows leaves to us, and tells the end once."""

    def __init__(self, received: Received, closed: Closed) -> None:
        self.transport: Any = None
        self._received, self._closed = received, closed
        self.messages: list[bytes] = []
        """Of one read."""
        self._parts: list[bytes] = []
        self._size = 0
        self._over = self._closing = False
        self.is_whole = True
        """No fragment waits for its successors, and the connection is not over."""
        self._why: tuple[int, str] | None = None

    def frame(self, transport: Any, frame: Any) -> None:
        """Any frame. What nearly all are, the listener hands on by itself, for this is done for each of them."""
        if self._over or (transport.is_close_frame_sent and not self._closing):
            return None  # picows goes on parsing after an error: nothing behind it counts
        kind = frame.msg_type
        if kind == picows.WSMsgType.TEXT and frame.fin and not self._parts:
            if frame.rsv1 or frame.rsv2 or frame.rsv3:
                return self._break(1002, "reserved bits")
            self.add(frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.CLOSE:
            code = int(frame.get_close_code())
            self._why = (code or 1005, frame.get_close_reason() or "")
            transport.send_close(frame.get_close_code())
            asyncio.get_running_loop().call_later(CLOSE_S, transport.disconnect, False)
        elif kind in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            self._part(frame, kind == picows.WSMsgType.CONTINUATION)
        return None

    def _part(self, frame: Any, continues: bool) -> None:
        if continues != bool(self._parts) or frame.rsv1 or frame.rsv2 or frame.rsv3:
            return self._break(1002, "fragments out of order")
        part = frame.get_payload_as_bytes()
        self._parts.append(part)
        self.is_whole = False
        self._size += len(part) + 64  # a flood of empty fragments costs too
        if self._size > MAX_MESSAGE:
            return self._break(1009, "message too long")
        if frame.fin:
            whole = b"".join(self._parts)
            self._parts, self._size = [], 0
            self.is_whole = True
            self.add(whole)
        return None

    def add(self, message: bytes) -> None:
        if not self.messages:
            asyncio.get_running_loop().call_soon(self.flush)
        self.messages.append(message)

    def flush(self) -> None:
        """Hands on what one read brought."""
        if self.messages:
            messages = self.messages.copy()
            self.messages.clear()
            self._received(messages)

    def _break(self, code: int, why: str) -> None:
        self._why = (code, why)
        self.transport.send_close(picows.WSCloseCode(code), why.encode())
        self.transport.disconnect(False)

    def ended(self, transport: Any) -> None:
        if self._over:
            return
        self.flush()
        self._over, self.is_whole = True, False
        if self._why is None:
            handshake = transport.close_handshake
            sent = handshake.sent if handshake is not None else None
            self._why = (int(sent.code), str(sent.reason or "")) if sent is not None else (LOST, "connection lost")
        self._closed(*self._why)

    def send(self, text: bytes) -> None:
        if not (self._over or self.transport.is_close_frame_sent or self.transport.is_disconnected):
            self.transport.send(picows.WSMsgType.TEXT, text)

    def close(self) -> None:
        if self._over or self.transport.is_disconnected:
            return
        if not self.transport.is_close_frame_sent:
            self._closing = True
            self.transport.send_close(picows.WSCloseCode.OK)
        asyncio.get_running_loop().call_later(CLOSE_S, self.transport.disconnect, False)


async def _open_picows(
    url: str, received: Received, closed: Closed, proxy: str | None, context: ssl.SSLContext | None
) -> Socket:
    half, text = _Picows(received, closed), picows.WSMsgType.TEXT
    messages, call_soon = half.messages, asyncio.get_running_loop().call_soon

    class Listener(picows.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: Any) -> None:
            half.transport = transport

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if (
                frame.msg_type is text
                and frame.fin
                and half.is_whole
                and not (frame.rsv1 or frame.rsv2 or frame.rsv3 or transport.is_close_frame_sent)
            ):
                if not messages:
                    call_soon(half.flush)
                messages.append(frame.get_payload_as_bytes())
            else:
                half.frame(transport, frame)

        def on_ws_disconnected(self, transport: Any) -> None:
            half.ended(transport)

    try:
        await picows.ws_connect(
            Listener,
            url,
            ssl_context=context,
            websocket_handshake_timeout=OPEN_S,
            enable_auto_ping=True,
            auto_ping_idle_timeout=PING_S,
            auto_ping_reply_timeout=PING_S,
            max_frame_size=MAX_MESSAGE,
            max_redirects=0,
            proxy=proxy,
        )
    except picows.WSError as error:
        answer = getattr(error, "response", None)
        status = int(answer.status) if answer is not None else None
        raise ConnectFailed(f"HTTP {status}" if status else _plain(error), status) from None
    except TimeoutError:
        raise ConnectFailed("no websocket handshake") from None
    if half.transport is None:  # picows returns as if all were well when the socket is lost during the handshake
        raise ConnectFailed("connection lost during the handshake")
    return half


# --- websockets ---


class _Websockets:
    def __init__(self, connection: Any, received: Received, closed: Closed) -> None:
        self._connection, self._received, self._closed = connection, received, closed
        self._sending: set[asyncio.Task[None]] = set()
        self._reader = asyncio.create_task(self._read())
        self._closer: asyncio.Task[None] | None = None
        connection.begin(received)

    async def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                self._received([await self._connection.recv(decode=False)])
        except ConnectionClosed:
            pass
        await self._connection.wait_closed()
        code, reason = self._connection.close_code, self._connection.close_reason
        self._closed(LOST if code is None else int(code), reason or ("connection lost" if code in (None, LOST) else ""))

    def send(self, text: bytes) -> None:
        task = asyncio.create_task(self._send(text))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, text: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(text, text=True)
        except ConnectionClosed:
            return

    def close(self) -> None:
        if self._closer is None:
            self._closer = asyncio.create_task(self._connection.close())


async def _open_websockets(
    url: str, received: Received, closed: Closed, proxy: str | None, context: ssl.SSLContext | None
) -> Socket:
    from websockets.asyncio.client import connect as websockets_connect
    from websockets.exceptions import InvalidStatus, WebSocketException

    from shared.wscut import Connection

    class Connect(websockets_connect):
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    more: dict[str, Any] = {} if context is None else {"ssl": context}
    try:
        connection = await Connect(
            url,
            compression=None,
            proxy=proxy,
            open_timeout=None,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=CLOSE_S,
            max_size=MAX_MESSAGE,
            max_queue=1024,
            create_connection=Connection,
            **more,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        raise ConnectFailed(f"HTTP {status}", status) from None
    except (WebSocketException, EOFError) as error:
        raise ConnectFailed(_plain(error)) from None
    return _Websockets(connection, received, closed)
