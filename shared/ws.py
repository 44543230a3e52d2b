"""The websocket client: the library websockets, from which `shared.wscut` takes the plain messages before it sees them.

Over TLS a venue sends a record a frame, and opening records costs most: where the wheel of aiofastnet is installed, it
opens all that a read brought before we are called, else asyncio's own TLS does. Either way: no compression, no
redirects, no proxy unless one is named, one megabyte a message, a ping after ten idle seconds whose pong must come
within ten, certificates always verified.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from shared.inbox import Brought

if TYPE_CHECKING:
    from shared.wscut import Connection

try:
    import aiofastnet
except ImportError:  # no wheel for this machine
    aiofastnet = None

MAX_MESSAGE: Final = 1 << 20
PING_S: Final = 10.0
OPEN_S: Final = 10.0
CLOSE_S: Final = 1.0
"""Venues often never answer a close: the socket is dropped after this long."""
LOST: Final = 1006
"""The code of a connection that ended without one."""

Came = Callable[["Socket", int], None]
"""Hears that so many bytes came."""
Closed = Callable[[int, str], None]


class ConnectFailed(Exception):
    """No websocket came about: the reason, and the HTTP status where the server gave one."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


async def connect(
    url: str,
    came: Came,
    closed: Closed,
    *,
    proxy: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Socket:
    """Opens a connection. `came` is called from the event loop right after each read of the socket; whoever hears it
    takes what came before long, for pings are answered with that, too. Raises ConnectFailed.
    """
    try:
        async with asyncio.timeout(OPEN_S):
            return Socket(await _shaken(url, proxy, context), came, closed)
    except TimeoutError:
        raise ConnectFailed(f"no answer within {OPEN_S:.0f} s") from None
    except OSError as error:  # ssl.SSLError is one
        raise ConnectFailed(_plain(error)) from None


def _plain(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


class Socket:
    """An open connection. However it ends, `closed` is called once, and `came` never after that; what came before can
    still be taken.
    """

    def __init__(self, connection: Connection, came: Came, closed: Closed) -> None:
        self._connection, self._closed = connection, closed
        self._sending: set[asyncio.Task[None]] = set()
        self._reader = asyncio.create_task(self._read())
        self._closer: asyncio.Task[None] | None = None
        connection.begin(partial(came, self))

    async def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                self._connection.add(await self._connection.recv(decode=False))
        except ConnectionClosed:
            pass
        await self._connection.wait_closed()
        code, reason = self._connection.close_code, self._connection.close_reason
        self._closed(LOST if code is None else int(code), reason or ("connection lost" if code in (None, LOST) else ""))

    def take(self) -> list[Brought]:
        """The messages that came, in order, by read; they are good until control goes back to the event loop."""
        return self._connection.take()

    def send(self, text: bytes) -> None:
        """Queues a text message; silently nothing where the connection is ending."""
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
        """Says goodbye and drops the socket at the latest a second later; what is under way still comes."""
        if self._closer is None:
            self._closer = asyncio.create_task(self._connection.close())


async def _shaken(url: str, proxy: str | None, context: ssl.SSLContext | None) -> Connection:
    """A connection of ours after its handshake. Raises ConnectFailed, OSError."""
    from websockets.asyncio.client import connect as websockets_connect
    from websockets.exceptions import InvalidStatus, WebSocketException

    from shared.wscut import Connection

    class Connect(websockets_connect):
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

        async def open_tcp_connection(self) -> Any:
            place = self.ws_uri
            if aiofastnet is None or proxy is not None or not place.secure:
                return await super().open_tcp_connection()
            _, connection = await aiofastnet.create_connection(
                asyncio.get_running_loop(),
                lambda: self.factory(place),
                place.host,
                place.port,
                ssl=context or ssl.create_default_context(),
                server_hostname=place.host,
            )
            return connection

    more: dict[str, Any] = {} if context is None else {"ssl": context}
    try:
        connection: Any = await Connect(
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
        return cast("Connection", connection)
    except InvalidStatus as error:
        status = error.response.status_code
        raise ConnectFailed(f"HTTP {status}", status) from None
    except (WebSocketException, EOFError) as error:
        raise ConnectFailed(_plain(error)) from None
