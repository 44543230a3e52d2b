"""The load over real sockets: handshake, frames as made, the goodbye, and REST that never shows a gap."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.speed import load, sending
from bench.speed.market import FIRST_ID, START_US, Market
from bench.speed.sending import _cut, handshake
from shared import ws

MARKET = Market(7, 3000, 3, 1000)
WAIT_S = 30.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from bench.speed.server import certificate

    try:
        return certificate(tmp_path_factory.mktemp("tls"))
    except OSError:
        pytest.skip("no openssl to make a certificate with")


def get(port: int, path: str, **headers: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return json.loads(answer.read())


def into(frames: list[bytes]) -> Callable[[ws.Socket, int], None]:
    def came(socket: ws.Socket, size: int) -> None:
        frames.extend(frame for brought in socket.take() for frame in brought.messages)

    return came


async def received(url: str, port: int, ask: str, context: ssl.SSLContext | None = None) -> tuple[list[bytes], str]:
    """Everything that comes in one run, and how it ended."""
    frames: list[bytes] = []
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await ws.connect(url, into(frames), lambda code, why: ended.set_result(f"{code} {why}"), context=context)
    for what in (f"set?{ask}", "prepare", "go"):
        await asyncio.to_thread(get, port, f"/load/{what}")
    return frames, await asyncio.wait_for(ended, WAIT_S)


def all_streams(names: list[str]) -> str:
    return "/".join(f"{name.lower()}@{kind}" for name in names for kind in ("trade", "bookTicker"))


@pytest.fixture
def serving() -> Iterator[tuple[load.Venue, int]]:
    venue = load.Venue(MARKET)
    with load.listen(venue) as listener:
        yield venue, load.port(listener)
        listener.shutdown(socket.SHUT_RDWR)  # the thread that accepts would go on holding it


def payloads(count: int) -> list[bytes]:
    frames = MARKET.frames()
    view = bytes(frames.data)
    return [view[frames.start(at) + 4 : int(frames.ends[at])] for at in range(count)]


def test_the_answer_to_a_handshake_is_that_of_the_standard() -> None:
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in handshake("dGhlIHNhbXBsZSBub25jZQ==")


def test_a_masked_frame_is_read_once_it_is_whole() -> None:
    body = b'{"method":"SUBSCRIBE"}' * 9
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
    frame = b"\x81" + bytes((0x80 | 126,)) + len(body).to_bytes(2, "big") + mask + masked

    assert all(_cut(frame[:at]) is None for at in range(len(frame)))
    assert _cut(frame + b"rest") == (1, body, b"rest")


def test_every_frame_arrives_as_it_was_made_and_then_the_goodbye_of_a_recording(
    serving: tuple[load.Venue, int],
) -> None:
    _, port = serving
    url = f"ws://127.0.0.1:{port}/stream?streams={all_streams(MARKET.names)}&timeUnit=MICROSECOND"

    frames, end = asyncio.run(received(url, port, "events=2500&end=close"))

    assert frames == payloads(2500)
    assert end == "1000 ended"


def test_over_tls_the_same_comes(serving: tuple[load.Venue, int], certificate: Any) -> None:
    venue, port = serving
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)

    with load.listen(venue, server) as secure:
        place = f"wss://localhost:{load.port(secure)}"
        url = f"{place}/stream?streams={all_streams(MARKET.names)}&timeUnit=MICROSECOND"
        frames, end = asyncio.run(received(url, port, "events=2500&end=close", trusting))
        secure.shutdown(socket.SHUT_RDWR)

    assert frames == payloads(2500)
    assert end == "1000 ended"


def test_only_what_was_subscribed_to_is_sent(serving: tuple[load.Venue, int]) -> None:
    _, port = serving
    name = MARKET.names[1].lower()
    url = f"ws://127.0.0.1:{port}/stream?streams={name}@trade&timeUnit=MICROSECOND"

    frames, _ = asyncio.run(received(url, port, "events=3000&end=close"))

    trades = (MARKET.symbol == 1) & MARKET.is_trade
    assert frames == [text for text, mine in zip(payloads(3000), trades, strict=True) if mine]


def test_in_real_time_each_trade_bears_the_moment_that_is_told_afterwards(serving: tuple[load.Venue, int]) -> None:
    venue, port = serving
    url = f"ws://127.0.0.1:{port}/stream?streams={all_streams(MARKET.names)}&timeUnit=MICROSECOND"
    before = time.time_ns() // 1000

    frames, _ = asyncio.run(received(url, port, "events=1000&rate=20000&time=real&end=close"))

    times = [json.loads(text)["data"].get("T") for text in frames]
    assert [one for one in times if one] == venue.plan.times[:1000][MARKET.is_trade[:1000]].tolist()
    assert min(one for one in times if one) >= before
    assert [json.loads(text)["data"].get("E") for text in frames] == times
    sent_before = MARKET.made(16, "trade").data
    assert sent_before == MARKET.frames().data  # others are sent the market's own times


def test_the_newest_trade_over_rest_is_the_last_that_was_read(
    serving: tuple[load.Venue, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SETTLED_S", 1e9)
    _, port = serving
    name = MARKET.names[0]
    asks = f"/api/v3/aggTrades?symbol={name}&limit=1"
    url = f"ws://127.0.0.1:{port}/stream?streams={all_streams(MARKET.names)}"

    assert get(port, asks)[0]["l"] == FIRST_ID - 1
    assert get(port, "/api/v3/time") == {"serverTime": START_US // 1000}

    async def run_and_ask() -> tuple[Any, Any]:
        # The connection stays: what was sent over it is what there is.
        frames: list[bytes] = []
        over = asyncio.Event()
        connection = await ws.connect(url, into(frames), lambda code, why: over.set())
        for what in ("set?events=2000&end=stay", "prepare", "go"):
            await asyncio.to_thread(get, port, f"/load/{what}")
        async with asyncio.timeout(WAIT_S):
            while len(frames) < 2000:
                await asyncio.sleep(0.02)
        early = await asyncio.to_thread(get, port, asks)
        assert early[0]["l"] == FIRST_ID - 1  # all of it may wait in a socket yet
        monkeypatch.setattr(sending, "SETTLED_S", 0)
        async with asyncio.timeout(WAIT_S):
            while not (await asyncio.to_thread(get, port, "/load/state"))["is_done"]:
                await asyncio.sleep(0.02)
        newest = await asyncio.to_thread(get, port, asks, **{"X-MBX-TIME-UNIT": "MICROSECOND"})
        history = await asyncio.to_thread(
            get, port, f"/api/v3/historicalTrades?symbol={name}&fromId={FIRST_ID}&limit=5"
        )
        connection.close()
        await asyncio.wait_for(over.wait(), WAIT_S)
        return newest[0], history

    newest, history = asyncio.run(run_and_ask())
    mine = [at for at in range(2000) if MARKET.is_trade[at] and MARKET.symbol[at] == 0]
    assert newest["l"] == MARKET.number[mine[-1]]
    assert newest["T"] == MARKET.at_us[mine[-1]]
    assert [row["id"] for row in history] == list(range(FIRST_ID, FIRST_ID + 5))
