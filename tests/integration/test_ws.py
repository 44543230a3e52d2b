"""The websocket client, plain and over TLS: servers that keep to the protocol, and servers that do not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared import frames, ws
from shared.wscut import Connection
from tests.fixtures.certificates import contexts, make, server_context

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WAYS = ["ws", "wss", "wss by asyncio", "wss taken late"]
"""Over TLS there are two layers below the client; and what comes is taken at once, or a while later."""
OVER_TLS = [way for way in WAYS if way.startswith("wss")]
LATE_S = 0.03

TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param in ("wss", "wss taken late") and find_spec("aiofastnet") is None:
        pytest.skip("aiofastnet is not installed here")
    if request.param == "wss by asyncio":
        monkeypatch.setattr(ws, "aiofastnet", None)
    return str(request.param)


@pytest.fixture(autouse=True)
def _leaves_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "CLOSE_S", 0.1)


def frame(payload: bytes, kind: int = TEXT, fin: bool = True, first: int = 0) -> bytes:
    head = bytes([(0x80 if fin else 0) | first | kind])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + bytes([126]) + struct.pack(">H", len(payload)) + payload
    return head + bytes([127]) + struct.pack(">Q", len(payload)) + payload


def goodbye(code: int, reason: str = "") -> bytes:
    return frame(struct.pack(">H", code) + reason.encode(), CLOSE)


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Takes the handshake; returns what was asked."""
    asked = await reader.readuntil(b"\r\n\r\n")
    key = next(
        line.split(b":")[1].strip() for line in asked.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n")
    return asked


async def heard(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One small masked frame of the client."""
    first, second = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(second & 0x7F)
    return first & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def taken(socket: ws.Socket) -> list[bytes]:
    """What came and was not taken yet."""
    return [message for brought in socket.take() for message in brought.messages]


class Client:
    """What a connection brought."""

    def __init__(self, way: str, context: ssl.SSLContext | None = None) -> None:
        self._scheme = way.split()[0]
        self._is_late = way.endswith("late")
        self._socket: ws.Socket | None = None
        self._context = (context or contexts()[1]) if self._scheme == "wss" else None
        self.messages: list[bytes] = []
        self.ended: list[tuple[int, str]] = []

    async def open(self, port: int) -> ws.Socket:
        return await ws.connect(
            f"{self._scheme}://localhost:{port}/stream?streams=a@trade",
            self._came,
            self._closed,
            context=self._context,
        )

    def _came(self, socket: ws.Socket, size: int) -> None:
        assert size > 0 and not self.ended
        if not self._is_late:
            self.messages += taken(socket)
        elif self._socket is None:
            self._socket = socket
            asyncio.get_running_loop().call_later(LATE_S, self._take)

    def _take(self) -> None:
        socket, self._socket = self._socket, None
        self.messages += [] if socket is None else taken(socket)

    def _closed(self, code: int, reason: str) -> None:
        self._take()
        self.ended.append((code, reason))

    async def end(self, within_s: float = 8.0) -> tuple[int, str]:
        until = time.monotonic() + within_s
        while not self.ended:
            assert time.monotonic() < until, f"still open after {within_s} s"
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(self.ended) == 1, "the end is told once"
        return self.ended[0]


def against(
    way: str, serve: Serve, work: Callable[[int], Coroutine[None, None, None]], context: ssl.SSLContext | None = None
) -> None:
    """Runs `work` with the port of a server that treats each connection with `serve`."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def main() -> None:
        tls = None if way.split()[0] == "ws" else context or contexts()[0]
        server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
        try:
            async with asyncio.timeout(30):
                await work(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            await asyncio.sleep(0.02)

    asyncio.run(main())


def bad(data: bytes, then_wait: bool = True) -> Serve:
    """A server that shakes hands and then sends `data`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(data)
        await writer.drain()
        if then_wait:
            await reader.read()

    return serve


# --- the protocol ---


def test_messages_arrive_whole_in_order_and_before_the_end(way: str) -> None:
    sent = [b"x" * size for size in (0, 1, 125, 126, 65535, 65536, 1 << 20)] + [b'{"n":%d}' % n for n in range(5000)]
    half = len(sent[-1]) // 2
    parts = (
        frame(sent[-1][:half], fin=False)
        + frame(b"", MORE, fin=False)
        + frame(b"p", PING)
        + frame(sent[-1][half:], MORE)
    )
    data = b"".join(map(frame, sent[:-1])) + parts + goodbye(1000, "ended")

    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        assert await client.end() == (1000, "ended")
        assert client.messages == sent

    against(way, bad(data), work)


@pytest.mark.parametrize("after_s", [0, 0.1])
def test_a_goodbye_that_nobody_took_yet_is_known_when_the_server_hangs_up(
    way: str, after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the handshake, when nobody listens yet, and later."""
    monkeypatch.setattr("tests.integration.test_ws.LATE_S", 30)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        if after_s:
            await writer.drain()
            await asyncio.sleep(after_s)
        writer.write(frame(b"one") + frame(b"two" * 50) + goodbye(1000, "ended"))
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.2)

    async def work(port: int) -> None:
        client = Client(way)
        client._is_late = True
        await client.open(port)
        assert await client.end() == (1000, "ended")
        assert client.messages == [b"one", b"two" * 50]

    against(way, serve, work)


def test_what_is_sent_arrives_pings_are_answered_and_no_compression_is_offered(way: str) -> None:
    got: list[tuple[int, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await accept(reader, writer)
        assert asked.startswith(b"GET /stream?streams=a@trade HTTP/1.1")
        assert b"extensions" not in asked.lower()
        writer.write(frame(b"1234", PING))
        got.extend([await heard(reader), await heard(reader), await heard(reader)])
        writer.write(goodbye(1001))
        await reader.read()

    async def work(port: int) -> None:
        client = Client(way)
        socket = await client.open(port)
        socket.send(b'{"method":"SUBSCRIBE"}')
        socket.send(b"second")
        assert (await client.end())[0] == 1001
        socket.send(b"too late")
        socket.close()
        assert sorted(got) == sorted([(TEXT, b'{"method":"SUBSCRIBE"}'), (TEXT, b"second"), (PONG, b"1234")])

    against(way, serve, work)


def test_a_server_that_never_answers_a_goodbye_is_left(way: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await asyncio.sleep(10)

    async def work(port: int) -> None:
        client = Client(way)
        socket = await client.open(port)
        begun = time.monotonic()
        socket.close()
        socket.close()
        await client.end()
        assert time.monotonic() - begun < 1

    against(way, serve, work)


def test_what_is_under_way_at_our_goodbye_still_comes(way: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        assert (await heard(reader))[0] == CLOSE
        writer.write(frame(b"last") + goodbye(1000))
        await writer.drain()
        await reader.read()

    async def work(port: int) -> None:
        client = Client(way)
        (await client.open(port)).close()
        await client.end()
        assert client.messages == [b"last"]

    against(way, serve, work)


# --- enemies ---

ENEMIES = {
    "random bytes": bytes(range(256)) * 20,
    "unknown opcode": frame(b"x", 5),
    "masked": b"\x81\x81\x00\x00\x00\x00x",
    "reserved bit": frame(b"x", TEXT, first=0x40),
    "length of 2^62": b"\x81\x7f" + struct.pack(">Q", 2**62) + b"x" * 1000,
    "a megabyte and one": frame(b"x" * ((1 << 20) + 1)),
    "fragments without end": frame(b"x" * 70000, fin=False) + frame(b"x" * 70000, MORE, fin=False) * 20,
    "continuation of nothing": frame(b"x", MORE),
    "fragment within fragments": frame(b"x", fin=False) + frame(b"y"),
    "fragmented ping": frame(b"x", PING, fin=False),
    "long ping": b"\x89\x7e" + struct.pack(">H", 200) + b"x" * 200,
    "close of one byte": frame(b"\x03", CLOSE),
    "close with a forbidden code": goodbye(1005),
    "close that is no text": frame(struct.pack(">H", 1000) + b"\xff\xfe", CLOSE),
}


@pytest.mark.parametrize("enemy", ENEMIES)
def test_a_server_that_breaks_the_protocol_is_left(way: str, enemy: str) -> None:
    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        code, _ = await client.end()
        assert code != 1000
        assert client.messages in ([], [b"good"]), "nothing behind an error counts"

    against(way, bad(frame(b"good") + ENEMIES[enemy] + frame(b"never")), work)


def test_an_unfinished_fragment_and_a_cut_are_a_lost_connection(way: str) -> None:
    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        assert await client.end() == (ws.LOST, "connection lost")
        assert client.messages == []

    against(way, bad(frame(b"half", fin=False), then_wait=False), work)


def test_a_half_open_connection_is_noticed(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "PING_S", 0.2)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await asyncio.sleep(20)  # reads no ping, answers none

    async def work(port: int) -> None:
        client = Client(way)
        begun = time.monotonic()
        await client.open(port)
        code, _ = await client.end()
        assert code != 1000
        assert time.monotonic() - begun < 5

    against(way, serve, work)


def test_single_bytes_are_put_together(way: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        for byte in frame(b"one") + frame(b"two" * 50) + goodbye(1000):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        assert (await client.end())[0] == 1000
        assert client.messages == [b"one", b"two" * 50]

    against(way, serve, work)


# --- no connection at all ---


@pytest.mark.parametrize("status", [400, 403, 404, 429, 451, 503])
def test_a_refusal_gives_its_status(way: str, status: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\nnope" % status)
        await writer.drain()
        await reader.read()

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed) as refusal:
            await Client(way).open(port)
        assert refusal.value.status == status

    against(way, serve, work)


def test_a_redirect_is_not_followed(way: str) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        port = writer.get_extra_info("sockname")[1]
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:%d/x\r\nContent-Length: 0\r\n\r\n" % port)
        await writer.drain()
        await reader.read()

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed):
            await Client(way).open(port)
        assert len(asked) == 1

    against(way, serve, work)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Yes\r\n\r\n", b"\x00" * 100_000, b"SSH-2.0-x\r\n\r\n"])
def test_a_server_of_something_else_is_no_venue(way: str, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed):
            await Client(way).open(port)

    against(way, serve, work)


def test_a_server_that_never_answers_is_given_up(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "OPEN_S", 0.3)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed):
            await Client(way).open(port)

    against(way, serve, work)


def test_a_connection_lost_during_the_handshake_is_no_connection(way: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed):
            await Client(way).open(port)

    against(way, serve, work)


def test_nobody_there_is_said(way: str) -> None:
    async def main() -> None:
        with pytest.raises(ws.ConnectFailed) as refusal:
            await Client(way).open(1)
        assert refusal.value.status is None

    asyncio.run(main())


def test_a_proxy_in_the_environment_is_not_used(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "socks_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        await client.end()
        assert client.messages == [b"direct"]

    against(way, bad(frame(b"direct") + goodbye(1000)), work)


# --- certificates ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("certificates"))


over_tls = pytest.mark.parametrize("way", OVER_TLS, indirect=True)


@over_tls
def test_a_certificate_nobody_signed_is_refused(way: str, certificates: Path) -> None:
    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed, match="self-signed"):
            await ws.connect(f"wss://localhost:{port}/", print, print)

    against(way, bad(frame(b"secret")), work, server_context(certificates, "good"))


@over_tls
@pytest.mark.parametrize(("name", "why"), [("other", "ostname mismatch"), ("over", "has expired")])
def test_a_trusted_certificate_of_another_name_or_time_is_refused(
    way: str, certificates: Path, name: str, why: str
) -> None:
    server = server_context(certificates, name)
    trusting = ssl.create_default_context(cafile=certificates / f"{name}.pem")

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed, match=why):
            await Client(way, trusting).open(port)

    against(way, bad(frame(b"secret")), work, server)


def test_plain_and_other_messages_keep_their_order_however_reads_are_cut(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of plain ones with pings among them, of which websockets sees the pings alone; then all sorts."""
    seen: list[bytes] = []
    whole = Connection._hand_over

    def hand_over(self: Connection, size: int) -> None:
        seen.append(bytes(self._inbox.data[:size]))
        whole(self, size)

    monkeypatch.setattr(Connection, "_hand_over", hand_over)
    plain = [b'{"n":%d}' % number * (1 + number % 30) for number in range(3000)]
    wire = b"".join(
        frame(text) + (frame(b"p", PING) if number % 500 == 7 else b"") for number, text in enumerate(plain)
    )
    wire += frame(b"one,", TEXT, fin=False) + frame(b"two", MORE) + frame(b"three") + frame(b"four", BINARY)
    expected = [*plain, b"one,two", b"three", b"four", b"five"]
    assert len(wire) > 4 * frames.MANY

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        for at in range(0, len(wire), 70_001):
            writer.write(wire[at : at + 70_001])
            await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(frame(b"five") + goodbye(1000, "done"))
        await writer.drain()
        await asyncio.sleep(0.3)

    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        assert await client.end() == (1000, "done")
        assert client.messages == expected
        assert seen[1:7] == [frame(b"p", PING)] * 6
        assert len(seen[7]) < 100 + len(goodbye(1000, "done"))

    against(way, serve, work)
