"""Ends of a connection that a venue's documents do not describe."""

from __future__ import annotations

import asyncio

import pytest

from shared import ws


def test_a_connection_lost_during_the_handshake_is_no_connection() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def main() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ws.ConnectFailed):
            await ws.connect(f"ws://127.0.0.1:{port}/ws", lambda socket, size: None, lambda code, why: None)
        server.close()

    asyncio.run(main())
