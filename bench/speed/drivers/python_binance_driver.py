# mypy: ignore-errors
"""python-binance: the BinanceSocketManager's multiplex socket, read in a loop, as its pages show.

Its queue holds 100 messages by default and it breaks off at the first burst, so it is given one without a bound. It
uses orjson where that is installed: it is. uvloop as the loop costs nothing and is taken.
"""

from __future__ import annotations

import orjson
import uvloop
from binance import AsyncClient, BinanceSocketManager
from work import Work, arguments

args = arguments()
AsyncClient.API_URL = f"{args.rest}/api"
BinanceSocketManager.STREAM_URL = f"{args.ws}/"
work = Work(args)


async def main():
    client = await AsyncClient.create()
    sockets = BinanceSocketManager(client, max_queue_size=1 << 60)
    streams = [f"{symbol.lower()}@{kind}" for symbol in args.symbols for kind in ("trade", "bookTicker")]
    async with sockets.multiplex_socket(streams) as socket:
        while True:
            message = await socket.recv()
            if args.work == "receive":
                work.count()
                continue
            data = message.get("data")
            if data is None:
                continue  # its own words about the connection
            if "t" in data:
                work.trade(data["s"], float(data["p"]), float(data["q"]), data["T"] // 1000)
            else:
                work.quote(data["s"], float(data["b"]), float(data["a"]))
            work.line(orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE))


uvloop.run(main())
