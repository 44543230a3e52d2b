"""The stand-in alone.

    python -m bench.standin --ledger ledger.ndjson --symbols 20 --rate 5000

Faults: POST /standin/fault on the REST port, such as {"kind": "cut", "seconds": 90}; see `faults.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from websockets.asyncio.server import serve

from bench.standin.market import Ledger, Market
from bench.standin.rest import Clock, now_us
from bench.standin.venue import Venue


async def main(options: argparse.Namespace) -> None:
    if options.start:
        start = datetime.fromisoformat(options.start).astimezone(UTC)
        Clock.offset_us = int(start.timestamp() * 1e6) - now_us()
    ledger = Ledger(Path(options.ledger))
    is_futures = options.market == "usdm"
    market = Market(options.symbols, options.rate, options.seed, now_us(), is_futures)
    venue = Venue(market, ledger, options.lifetime, is_futures)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(venue.rest.app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.rest_port)
    await site.start()
    server = await serve(
        venue.serve,
        "127.0.0.1",
        options.ws_port,
        process_request=venue.admit,
        compression=None,
        ping_interval=options.ping,
        ping_timeout=3 * options.ping,
        max_size=4096,
    )
    rest_port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    ws_port = next(iter(server.sockets)).getsockname()[1]
    where = {"ws_url": f"ws://127.0.0.1:{ws_port}", "rest_url": f"http://127.0.0.1:{rest_port}", "pid": os.getpid()}
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    tasks = [asyncio.create_task(venue.run()), asyncio.create_task(venue.housekeeping())]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        task.result()
    ledger.note("end", now_us(), venue.state())
    ledger.close()
    os._exit(0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--market", choices=["spot", "usdm"], default="spot")
    parser.add_argument("--ws-port", type=int, default=0)
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5000.0, help="events a second over all symbols")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", help="the venue's time to begin with, such as 2025-10-20T23:58:00Z")
    parser.add_argument("--lifetime", type=float, default=86_400.0, help="seconds a connection lives")
    parser.add_argument("--ping", type=float, default=20.0, help="seconds between the server's pings")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments()))
