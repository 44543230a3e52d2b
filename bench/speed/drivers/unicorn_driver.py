# mypy: ignore-errors
"""unicorn-binance-websocket-api with picows, the faster of its two libraries: a callback that gets the raw text."""

from __future__ import annotations

import threading

import orjson
from unicorn_binance_websocket_api import BinanceWebSocketApiManager
from work import Work, arguments

args = arguments()
work = Work(args)


def on_text(text):
    message = orjson.loads(text)
    data = message.get("data")
    if data is None:
        return  # an answer
    if "t" in data:
        work.trade(data["s"], float(data["p"]), float(data["q"]), data["T"] // 1000)
    else:
        work.quote(data["s"], float(data["b"]), float(data["a"]))
    work.line(text.encode() + b"\n")


def count(text):
    if text.startswith('{"stream"'):
        work.count()


manager = BinanceWebSocketApiManager(
    exchange="binance.com",
    websocket_base_uri=f"{args.ws}/",
    process_stream_data=on_text if args.work == "full" else count,
    output_default="raw_data",
    high_performance=True,
    websocket_library="picows",
    disable_colorama=True,
    warn_on_update=False,
)
manager.create_stream(["trade", "bookTicker"], [symbol.lower() for symbol in args.symbols])
threading.Event().wait()
