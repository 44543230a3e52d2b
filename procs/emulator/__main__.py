"""Emulator: a venue on loopback that speaks Binance's protocol, from a synthetic market or from a recording.

python -m procs.emulator --port-file venue.json                       a market that never was, and never stops
python -m procs.emulator --recording eth.gz --speed 60                what was received once, sixty times as fast
python -m procs.emulator --fault drop:at_s=10,every_s=30 --rate 5000  with faults
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
from aiohttp import web

from procs.emulator import captures
from procs.emulator.faults import Fault, FaultError, Faults, Kind, parse
from procs.emulator.hub import Hub
from procs.emulator.instruments import DEFAULT, instrument
from procs.emulator.ledger import Ledger
from procs.emulator.limits import Attempts, Weights
from procs.emulator.market import Synthetic
from procs.emulator.player import Player, RecordingPlayer, SyntheticPlayer
from procs.emulator.protocol import SPOT, USDM, Rules
from procs.emulator.recording import Recording
from procs.emulator.server import Server

_HOST = "127.0.0.1"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "procs.emulator", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--market", choices=("spot", "usdm"), help="default: spot, or what the recording holds")
    add("--port", type=int, default=0, help="websocket and REST; 0 takes a free one (default)")
    add("--rest-port", type=int, help="another port for REST")
    add("--port-file", type=Path, help='written once it listens: {"ws_url", "rest_url", "pid"}')
    synthetic = parser.add_argument_group("a synthetic market").add_argument
    synthetic("--symbols", help=f"comma-separated; default: {len(DEFAULT)} well-known ones")
    synthetic(
        "--rate",
        type=float,
        default=200.0,
        help="events a second of venue time over all symbols, a quarter of them trades (default 200)",
    )
    synthetic("--seed", type=int, default=1, help="another seed, another market (default 1)")
    synthetic("--start", type=_moment, help="venue time to begin at, like 2025-10-20T23:59:00Z (default: now)")
    synthetic("--stop", type=_moment, help="venue time at which it ends as a recording does")
    recorded = parser.add_argument_group("a recording").add_argument
    recorded("--recording", type=Path, nargs="+", metavar="FILE", help="captures, or raw files or folders of a lake")
    recorded("--streams", help="it starts when these are subscribed, comma-separated (default: all trades and quotes)")
    recorded("--linger", type=float, metavar="S", help="leave so long after the end (default: stay)")
    add(
        "--speed", type=_speed, default=1.0, metavar="X", help="1, 10, 60 ... or max: as fast as it is read (default 1)"
    )
    kinds = ", ".join(get_args(Kind))
    what = f"{kinds}; names and values: procs/emulator/faults.py"
    add("--fault", action="append", default=[], metavar="KIND[:name=value,...]", help=what)
    add("--lifeline", action="store_true", help="leave when stdin ends, or says drain")
    limits = parser.add_argument_group("limits (default: the venue's)").add_argument
    for field in msgspec.structs.fields(Rules):
        limits(f"--rule-{field.name.replace('_', '-')}", type=type(field.default), dest=f"rule_{field.name}")
    limits("--weight-limit", type=int, help="REST weight a minute")
    limits("--attempts-limit", type=int, default=300, help="connection attempts in five minutes")
    return parser


def _moment(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    speed = float(text)
    if speed <= 0:
        raise ValueError
    return speed


def main() -> int:
    parser = arguments()
    options = parser.parse_args()
    try:
        faults = [parse(text) for text in options.fault]
        source = _source(options)
    except (FaultError, ValueError, OSError) as wrong:
        parser.error(str(wrong))
    try:
        return asyncio.run(_serve(options, source, faults))
    except KeyboardInterrupt:
        return 0


def _source(options: argparse.Namespace) -> Recording | Synthetic:
    if options.recording:
        return captures.load(options.recording, options.market)
    names = [name.strip().upper() for name in options.symbols.split(",")] if options.symbols else list(DEFAULT)
    listed = [instrument(name) for name in dict.fromkeys(filter(None, names))]
    return Synthetic(listed, options.rate, options.seed, options.market or "spot")


async def _serve(options: argparse.Namespace, source: Recording | Synthetic, wanted_faults: list[Fault]) -> int:
    faults, ledger = Faults(options.seed), Ledger()
    for fault in wanted_faults:
        faults.add(fault, time.monotonic())
    hub = Hub(source.market, faults, ledger)
    player = _player(options, source, hub)
    given = {f.name: getattr(options, f"rule_{f.name}") for f in msgspec.structs.fields(Rules)}
    rules = msgspec.structs.replace(
        SPOT if source.market == "spot" else USDM, **{name: value for name, value in given.items() if value is not None}
    )
    weights = Weights(options.weight_limit or (6000 if source.market == "spot" else 2400))
    server = Server(source, hub, faults, ledger, rules, weights, Attempts(options.attempts_limit))
    server.player = player
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    ports = [await _listen(runner, port) for port in (options.port, options.rest_port) if port is not None]
    _tell(options.port_file, ports)
    stop = asyncio.Event()
    _obey(stop, options.lifeline)
    try:
        await _until_stopped(options, hub, player, stop)
    finally:
        for peer in list(hub.peers):
            peer.close(1001, "")
        await runner.cleanup()
    return 0


def _player(options: argparse.Namespace, source: Recording | Synthetic, hub: Hub) -> Player:
    if isinstance(source, Recording):
        streams = set(options.streams.split(",")) if options.streams else source.streams()
        return RecordingPlayer(source, hub, streams, options.speed)
    return SyntheticPlayer(source, hub, options.start, options.stop, options.speed)


async def _listen(runner: web.AppRunner, port: int) -> int:
    listener = socket.create_server((_HOST, port), backlog=256)
    await web.SockSite(runner, listener).start()
    return int(listener.getsockname()[1])


def _tell(port_file: Path | None, ports: list[int]) -> None:
    """The file appears whole, and only once connections are accepted."""
    told = {"ws_url": f"ws://{_HOST}:{ports[0]}", "rest_url": f"http://{_HOST}:{ports[-1]}", "pid": os.getpid()}
    if port_file is not None:
        unfinished = port_file.with_name(f"{port_file.name}.{os.getpid()}.tmp")
        unfinished.write_text(json.dumps(told), encoding="utf-8")
        unfinished.replace(port_file)
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()


def _obey(stop: asyncio.Event, lifeline: bool) -> None:
    """Signals, and stdin if it is the lifeline: a thread of its own reads it, for Windows cannot wait for a pipe."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stop.set)

    def wait() -> None:
        said = b""
        while b"drain\n" not in said.replace(b"\r", b"")[-64:]:
            read = os.read(0, 4096)
            if not read:
                break
            said += read
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(stop.set)

    if lifeline:
        threading.Thread(target=wait, daemon=True).start()


async def _until_stopped(options: argparse.Namespace, hub: Hub, player: Player, stop: asyncio.Event) -> None:
    playing = asyncio.create_task(player.run())
    stopping = asyncio.create_task(stop.wait())
    ticking = asyncio.create_task(_tick(hub))
    try:
        await asyncio.wait((playing, stopping, ticking), return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
            await hub.end()
            await asyncio.wait((stopping, ticking), timeout=options.linger, return_when=asyncio.FIRST_COMPLETED)
        if ticking.done():
            ticking.result()
    finally:
        for task in (playing, stopping, ticking):
            task.cancel()


async def _tick(hub: Hub) -> None:
    while True:
        hub.tick(time.monotonic())
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
