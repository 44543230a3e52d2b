# mypy: ignore-errors
"""cryptofeed: a FeedHandler with one Binance feed, callbacks for trades and tickers, uvloop as it does by default."""

from __future__ import annotations

import orjson
from cryptofeed import FeedHandler
from cryptofeed.connection import AsyncConnection, RestEndpoint, Routes, WebsocketEndpoint, WSAsyncConn
from cryptofeed.defines import TICKER, TRADES
from cryptofeed.exchanges import Binance
from work import Latency, Work, arguments

args = arguments()


def _any_address(self, address, conn_id, subscription=None, **kwargs):
    # Its own, without the demand for wss://.
    self.address = address
    AsyncConnection.__init__(self, f"{conn_id}.ws.{self.conn_count}", subscription=subscription)
    self.ws_kwargs = kwargs


WSAsyncConn.__init__ = _any_address
Binance.websocket_endpoints = [WebsocketEndpoint(args.ws)]
Binance.rest_endpoints = [RestEndpoint(args.rest, routes=Routes("/api/v3/exchangeInfo"))]

work = Latency(args) if args.work == "latency" else Work(args)


async def on_trade(trade, receipt_timestamp):
    work.trade(trade.symbol, float(trade.price), float(trade.amount), int(trade.timestamp))
    work.line(orjson.dumps(trade.raw, option=orjson.OPT_APPEND_NEWLINE))


async def on_ticker(ticker, receipt_timestamp):
    work.quote(ticker.symbol, float(ticker.bid), float(ticker.ask))
    work.line(orjson.dumps(ticker.raw, option=orjson.OPT_APPEND_NEWLINE))


async def count(event, receipt_timestamp):
    work.count()


async def age(trade, receipt_timestamp):
    work.trade(trade.timestamp * 1e3)  # it takes them for milliseconds, and is sent microseconds here


callbacks = {
    "full": {TRADES: on_trade, TICKER: on_ticker},
    "receive": {TRADES: count, TICKER: count},
    "latency": {TRADES: age, TICKER: count},
}[args.work]
handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": True})
pairs = [f"{symbol.removesuffix('USDT')}-USDT" for symbol in args.symbols]
handler.add_feed(Binance(symbols=pairs, channels=[TRADES, TICKER], callbacks=callbacks))
handler.run()
