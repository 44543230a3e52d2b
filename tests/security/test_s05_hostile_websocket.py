"""S5: servers that break the websocket protocol, one after the other and for a while: each is left, memory stays flat.

Each way of breaking it is tried alone in tests/integration/test_ws.py; limits and timeouts are those of shared/ws.py.
"""

from __future__ import annotations

import asyncio
import gc
import random
import struct
import tracemalloc
import zlib

import pytest

from shared import ws
from tests.integration.test_ws import BINARY, CLOSE, ENEMIES, MORE, TEXT, Client, accept, against, frame, goodbye
from tests.integration.test_ws import way as way

ROUNDS = 60
BOMB = zlib.compress(bytes(200 << 20), 9)
MORE_ENEMIES = {
    **ENEMIES,
    "a compressed bomb": frame(BOMB, TEXT, first=0x40),
    "a megabyte of empty fragments": frame(b"x", fin=False) + frame(b"", MORE, fin=False) * 50_000,
    "a flood of pings": b"".join(b"\x89\x04" + struct.pack(">I", n) for n in range(20_000)) + goodbye(1001),
    "binary noise": frame(bytes(range(256)), BINARY) * 200 + goodbye(1011, "x" * 100),
    "half a header": b"\x81",
    "a frame that never ends": b"\x81\x7f" + struct.pack(">Q", 1 << 20) + b"x" * 1000,
    "closed at once": frame(b"", CLOSE),
    "nothing": b"",
}


@pytest.mark.timeout(120)
def test_enemies_for_a_while_cost_neither_memory_nor_a_hang(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "CLOSE_S", 0.05)
    monkeypatch.setattr(ws, "PING_S", 0.3)
    chance = random.Random(5)
    names = list(MORE_ENEMIES)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(frame(b"good") + MORE_ENEMIES[chance.choice(names)])
        await writer.drain()
        await reader.read(1)

    async def meet(port: int) -> int:
        client = Client(way)
        socket = await client.open(port)
        for _ in range(300):
            if client.ended:
                break
            await asyncio.sleep(0.01)
        socket.close()
        await client.end()
        assert max(map(len, client.messages), default=0) <= ws.MAX_MESSAGE
        return len(client.messages)

    async def work(port: int) -> None:
        await asyncio.gather(*(meet(port) for _ in range(10)))
        tracemalloc.start()
        try:
            held = []
            for _ in range(2):
                for _ in range(ROUNDS // 20):
                    await asyncio.gather(*(meet(port) for _ in range(10)))
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert held[1] - held[0] < 3 << 20, "what enemies brought is not kept"
        assert most < 96 << 20

    against(way, serve, work)


def test_the_limits_are_what_the_documents_say() -> None:
    assert ws.MAX_MESSAGE == 1 << 20 and ws.PING_S == 10 and ws.OPEN_S == 10
