"""A client that others wrote works against procs.emulator, unchanged but for the URL: python-binance."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.emulators import Emulator, emulator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it still imports an old name of websockets
    binance = pytest.importorskip("binance", reason="python-binance is not installed (requirements-dev.txt)")

pytestmark = pytest.mark.filterwarnings("ignore")
SYMBOLS = "SOLUSDT,SUIUSDT,ADAUSDT"


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("venue"), "--symbols", SYMBOLS, "--rate", "300") as found:
        yield found


def point_at(venue: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance.AsyncClient, "API_URL", f"{venue.rest_url}/api")
    monkeypatch.setattr(binance.AsyncClient, "FUTURES_URL", f"{venue.rest_url}/fapi")
    monkeypatch.setattr(binance.BinanceSocketManager, "STREAM_URL", f"{venue.ws_url}/")
    monkeypatch.setattr(binance.BinanceSocketManager, "FSTREAM_URL", f"{venue.ws_url}/")


def test_its_rest_calls_are_answered(venue: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(venue, monkeypatch)

    async def ask() -> dict[str, Any]:
        client = await binance.AsyncClient.create()  # pings
        try:
            now = (await client.get_server_time())["serverTime"]
            newest = (await client.get_recent_trades(symbol="SOLUSDT", limit=1))[0]["id"]
            with pytest.raises(binance.exceptions.BinanceAPIException) as refused:
                await client.get_recent_trades(symbol="NOSUCHUSDT")
            return {
                "now": now,
                "symbol": await client.get_symbol_info("ADAUSDT"),
                "listed": await client.get_exchange_info(),
                "newest": newest,
                "older": await client.get_historical_trades(symbol="SOLUSDT", fromId=newest - 9, limit=10),
                "aggregates": await client.get_aggregate_trades(symbol="SOLUSDT", limit=5),
                "bars": await client.get_klines(symbol="SOLUSDT", interval="1s", startTime=now - 10_000, limit=5),
                "walk": [k async for k in await client.get_historical_klines_generator("SOLUSDT", "1m", now - 300_000)],
                "code": refused.value.code,
            }
        finally:
            await client.close_connection()

    told = asyncio.run(ask())
    assert abs(told["now"] / 1000 - time.time()) < 5
    assert told["symbol"]["baseAsset"] == "ADA"
    assert [s["symbol"] for s in told["listed"]["symbols"]] == SYMBOLS.split(",")
    assert [t["id"] for t in told["older"]] == list(range(told["newest"] - 9, told["newest"] + 1))
    assert len(told["aggregates"]) == 5
    assert len(told["bars"]) == 5
    assert len(told["walk"]) == 5
    assert told["code"] == -1121


def test_its_sockets_hear_trades_and_quotes(venue: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(venue, monkeypatch)

    async def listen() -> dict[str, list[Any]]:
        client = await binance.AsyncClient.create()
        manager = binance.BinanceSocketManager(client, max_queue_size=10_000)
        heard = {}
        try:
            for name, socket in {
                "trade": manager.trade_socket("SOLUSDT"),
                "quote": manager.symbol_book_ticker_socket("ADAUSDT"),
                "aggregate": manager.aggtrade_socket("SOLUSDT"),
                "multiplex": manager.multiplex_socket(["solusdt@trade", "suiusdt@bookTicker"]),
            }.items():
                async with socket as stream:
                    heard[name] = [await stream.recv() for _ in range(30)]
        finally:
            await client.close_connection()
        return heard

    heard = asyncio.run(asyncio.wait_for(listen(), 50))
    ids = [t["t"] for t in heard["trade"]]
    assert ids == list(range(ids[0], ids[0] + 30))
    assert all(float(q["b"]) < float(q["a"]) for q in heard["quote"])
    assert {a["e"] for a in heard["aggregate"]} == {"aggTrade"}
    assert {m["stream"] for m in heard["multiplex"]} == {"solusdt@trade", "suiusdt@bookTicker"}


def test_its_futures_socket_hears_the_futures_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen() -> list[Any]:
        client = binance.AsyncClient()
        manager = binance.BinanceSocketManager(client)
        try:
            async with manager.futures_multiplex_socket(["btcusdt@aggTrade"], category="market") as stream:
                told = [await stream.recv() for _ in range(3)]
            rows = await client.futures_aggregate_trades(symbol="BTCUSDT", fromId=told[0]["data"]["a"], limit=3)
            return [[t["data"]["a"] for t in told], [r["a"] for r in rows]]
        finally:
            await client.close_connection()

    with emulator(tmp_path, "--market", "usdm", "--symbols", "BTCUSDT") as venue:
        point_at(venue, monkeypatch)
        sent, asked = asyncio.run(asyncio.wait_for(listen(), 30))
    assert sent == asked
