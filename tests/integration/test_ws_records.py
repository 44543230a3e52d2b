"""The websocket client over TLS where the server chooses what a record holds and what a packet does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import compress

import pytest

from shared import ws
from shared.frames import Cut
from shared.inbox import READ
from tests.fixtures.certificates import contexts
from tests.integration.test_ws import OVER_TLS, Client, accept, frame, goodbye, taken
from tests.integration.test_ws import _leaves_soon as _leaves_soon
from tests.integration.test_ws import against as serving
from tests.integration.test_ws import way as way

pytestmark = [
    pytest.mark.parametrize("way", OVER_TLS, indirect=True),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MIB = 1 << 20


class Sealer:
    """The server's side of one connection, record by record."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.raw, self.writer = reader, writer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = contexts()[0].wrap_bio(self._in, self._out, server_side=True)
        self._plain = b""

    async def shake(self) -> None:
        """Both handshakes; what TLS sends after its own leaves in one piece with the answer and what is sealed next."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.flush()
                self._in.write(await self.raw.read(MIB))
        await accept(self, self)  # type: ignore[arg-type]

    # What `accept` needs of a reader and of a writer.

    async def readuntil(self, end: bytes) -> bytes:
        while end not in self._plain:
            self._plain += await self.read()
        found, _, self._plain = self._plain.partition(end)
        return found + end

    async def read(self) -> bytes:
        """Some of what the client says."""
        while True:
            try:
                return self._tls.read(MIB)
            except ssl.SSLWantReadError:
                data = await self.raw.read(MIB)
                if not data:
                    raise asyncio.IncompleteReadError(b"", None) from None
                self._in.write(data)

    def write(self, data: bytes) -> None:
        """Seals it as one record, which leaves with the next flush."""
        self._tls.write(data)

    def sealed(self) -> bytes:
        """What would leave now."""
        return self._out.read()

    async def flush(self) -> None:
        await self.send(self.sealed())

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def say_end(self) -> None:
        """Seals the end of TLS: nothing comes after it."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()


Talk = Callable[[Sealer], Awaitable[None]]
Work = Callable[[int], Coroutine[None, None, None]]


def against(talk: Talk, work: Work, *, shakes: bool = True) -> None:
    """Runs `work` with the port of a server that says to each client what `talk` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sealer = Sealer(reader, writer)
        if shakes:
            await sealer.shake()
        await talk(sealer)

    serving("ws", serve, work)  # the sealer does what TLS there is


def expecting(
    way: str, messages: Sequence[bytes], end: tuple[int, str]
) -> Callable[[int], Coroutine[None, None, None]]:
    """A client that gets these messages and that end, and nothing afterwards."""

    async def work(port: int) -> None:
        client = Client(way)
        await client.open(port)
        assert await client.end() == end
        assert client.messages == messages

    return work


LOST = (ws.LOST, "connection lost")
TEXTS = [b'{"n":%d}' % number + b" " * (number % 300) for number in range(3000)]


def test_a_record_may_be_cut_anywhere(way: str) -> None:
    texts: list[bytes] = []

    async def talk(sealer: Sealer) -> None:
        await sealer.flush()
        at, size = 0, 1
        while at < size:
            pair = [b"first %d" % at, b"second %d" % at]
            texts.extend(pair)
            for text in pair:
                sealer.write(frame(text))
            data = sealer.sealed()
            size = len(data)
            await sealer.send(data[:at])
            await asyncio.sleep(0.002)
            await sealer.send(data[at:])
            await asyncio.sleep(0.001)
            at += 1
        sealer.write(goodbye(1000))
        await sealer.flush()
        await sealer.read()

    against(talk, expecting(way, texts, (1000, "")))
    assert len(texts) > 100


def test_a_frame_may_be_cut_anywhere_between_records(way: str) -> None:
    data = frame(b"first") + frame(b"second" * 30) + frame(b"third")
    texts = [b"first", b"second" * 30, b"third"] * (len(data) - 1)

    async def talk(sealer: Sealer) -> None:
        for at in range(1, len(data)):
            sealer.write(data[:at])
            await sealer.flush()
            sealer.write(data[at:])
            await sealer.flush()
            await asyncio.sleep(0)
        sealer.write(goodbye(1000))
        await sealer.flush()
        await sealer.read()

    against(talk, expecting(way, texts, (1000, "")))


@pytest.mark.parametrize("how", ["goodbye", "end of TLS", "cut"])
def test_what_comes_in_one_piece_with_the_handshake_arrives_and_so_does_its_end(way: str, how: str) -> None:
    async def talk(sealer: Sealer) -> None:
        for text in TEXTS[:100]:
            sealer.write(frame(text))
        if how == "goodbye":
            sealer.write(goodbye(1000, "done"))
        elif how == "end of TLS":
            sealer.say_end()
        await sealer.flush()
        if how != "cut":
            await sealer.raw.read()

    against(talk, expecting(way, TEXTS[:100], (1000, "done") if how == "goodbye" else LOST))


def test_many_records_of_a_read_are_handed_on_together_and_in_their_place(way: str) -> None:
    given: list[list[bytes]] = []
    are_cut: list[bool] = []
    over = asyncio.Event()

    def came(socket: ws.Socket, size: int) -> None:
        for brought in socket.take():
            given.append(list(brought.messages))
            are_cut.append(isinstance(brought.messages, Cut))

    async def talk(sealer: Sealer) -> None:
        await sealer.flush()
        await asyncio.sleep(0.05)
        for text in TEXTS:
            sealer.write(frame(text))
        data = sealer.sealed()
        assert len(data) > 2 * READ
        await sealer.send(data)
        sealer.write(goodbye(1000))
        await sealer.flush()
        await sealer.read()

    async def work(port: int) -> None:
        url = f"wss://localhost:{port}/"
        await ws.connect(url, came, lambda code, why: over.set(), context=contexts()[1])
        await over.wait()
        assert [message for messages in given for message in messages] == TEXTS
        assert sum(map(len, compress(given, are_cut))) > len(TEXTS) / 2
        assert len(given) < len(TEXTS) / 20

    against(talk, work)


def test_a_record_of_16_kib_and_messages_longer_than_one_arrive(way: str) -> None:
    texts = [b"x" * size for size in (16 << 10, MIB, 70_000, 3)] * 2

    async def talk(sealer: Sealer) -> None:
        sealer.write(b"".join(map(frame, texts)) + goodbye(1000))
        await sealer.flush()
        await sealer.read()

    against(talk, expecting(way, texts, (1000, "")))


@pytest.mark.parametrize("how", ["reset", "cut"])
def test_what_came_before_an_end_within_a_record_arrives(way: str, how: str) -> None:
    async def talk(sealer: Sealer) -> None:
        for text in TEXTS[:100]:
            sealer.write(frame(text))
        await sealer.flush()
        sealer.write(frame(b"never whole"))
        await sealer.send(sealer.sealed()[:-5])
        await asyncio.sleep(0.1)
        if how == "reset":
            own = sealer.writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    against(talk, expecting(way, TEXTS[:100], LOST))


def test_nothing_counts_from_a_record_on_that_somebody_altered(way: str) -> None:
    async def talk(sealer: Sealer) -> None:
        for text in TEXTS[:100]:
            sealer.write(frame(text))
        await sealer.flush()
        await asyncio.sleep(0.1)
        sealer.write(frame(b"altered"))
        data = bytearray(sealer.sealed())
        data[len(data) // 2] ^= 1
        sealer.write(frame(b"behind it"))
        await sealer.send(bytes(data) + sealer.sealed())
        await sealer.raw.read()

    against(talk, expecting(way, TEXTS[:100], LOST))


def test_a_server_that_ends_tls_and_stays_is_left(way: str) -> None:
    async def talk(sealer: Sealer) -> None:
        for text in TEXTS[:100]:
            sealer.write(frame(text))
        await sealer.flush()
        sealer.say_end()
        await sealer.flush()
        await asyncio.sleep(20)

    against(talk, expecting(way, TEXTS[:100], LOST))


def test_what_is_under_way_at_our_goodbye_still_comes(way: str) -> None:
    async def talk(sealer: Sealer) -> None:
        await sealer.flush()
        await sealer.read()
        for text in TEXTS:
            sealer.write(frame(text))
        sealer.write(goodbye(1000))
        sealer.say_end()
        await sealer.flush()
        await sealer.raw.read()

    async def work(port: int) -> None:
        client = Client(way)
        (await client.open(port)).close()
        await client.end()
        assert client.messages == TEXTS

    against(talk, work)


def test_what_is_sent_waits_for_a_server_that_reads_late(way: str) -> None:
    async def talk(sealer: Sealer) -> None:
        await sealer.flush()
        await asyncio.sleep(0.3)
        heard = 0
        while heard < 16 * (MIB + 14):
            heard += len(await sealer.read())
        sealer.write(frame(b"all of it") + goodbye(1000))
        await sealer.flush()
        await sealer.read()

    async def work(port: int) -> None:
        client = Client(way)
        connection = await client.open(port)
        for _ in range(16):
            connection.send(b"x" * MIB)
        assert (await client.end())[0] == 1000
        assert client.messages == [b"all of it"]

    against(talk, work)


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("stays", [False, True])
def test_a_handshake_that_comes_to_no_end_is_no_connection(
    way: str, begins: bool, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ws, "OPEN_S", 0.3)

    async def talk(sealer: Sealer) -> None:
        await sealer.raw.read(MIB)
        if begins:
            await sealer.send(b"\x16\x03\x03\x00\x7a\x02\x00")
        if stays:
            await sealer.raw.read()

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed):
            await Client(way).open(port)

    against(talk, work, shakes=False)


def test_a_server_without_tls_is_no_connection(way: str) -> None:
    async def talk(sealer: Sealer) -> None:
        await sealer.raw.read(MIB)
        await sealer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await sealer.raw.read()

    async def work(port: int) -> None:
        with pytest.raises(ws.ConnectFailed, match=r"(?i)ssl"):
            await Client(way).open(port)

    against(talk, work, shakes=False)


def test_the_faster_layer_is_taken_where_it_is_installed(way: str) -> None:
    async def talk(sealer: Sealer) -> None:
        await sealer.flush()
        await sealer.read()

    async def work(port: int) -> None:
        connection = await Client(way).open(port)
        layer = type(connection._connection.transport).__module__.split(".")[0]
        assert layer == ("aiofastnet" if "asyncio" not in way else "asyncio")
        connection.close()

    against(talk, work)


def test_a_named_proxy_is_used(way: str) -> None:
    asked: list[bytes] = []

    async def talk(sealer: Sealer) -> None:
        sealer.write(frame(b"through") + goodbye(1000))
        await sealer.flush()
        await sealer.read()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        port = int(asked[0].split()[1].rpartition(b":")[2])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pass_on(one: asyncio.StreamReader, other: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await one.read(MIB):
                    other.write(data)
            other.close()

        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async def work(port: int) -> None:
        proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
        messages: list[bytes] = []
        over = asyncio.Event()
        await ws.connect(
            f"wss://localhost:{port}/",
            lambda socket, size: messages.extend(taken(socket)),
            lambda code, why: over.set(),
            proxy=f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}",
            context=contexts()[1],
        )
        await over.wait()
        proxy.close()
        assert messages == [b"through"] and asked[0].startswith(b"CONNECT localhost:%d " % port)

    against(talk, work)
