"""A TCP proxy between ingest and the venue: it resets, stalls, slows and garbles when told to, and a mesh behind it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from random import Random
from urllib.parse import urlparse

from bench.chaos.ledger import Verdict
from bench.chaos.run import Run, report, say, spread
from shared.events import Feed
from shared.paths import SECOND

WAYS = ("reset", "stall", "drip", "garble", "refuse", "delay")


class Proxy:
    """Runs in a thread of its own with a loop of its own."""

    def __init__(self, target: str, seed: int) -> None:
        where = urlparse(target)
        self._host, self._to = str(where.hostname), int(where.port or 0)
        self._chance = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._pairs: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self.port = 0
        self.way = ""
        """How it misbehaves now."""
        threading.Thread(target=self._run, name="proxy", daemon=True).start()
        self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        self._loop.run_forever()

    def misbehave(self, way: str) -> None:
        """From now on: one of WAYS; empty for well."""
        self.way = way
        if way == "reset":
            self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in list(self._pairs):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.way == "refuse":
            writer.transport.abort()
            return
        try:
            there, thither = await asyncio.open_connection(self._host, self._to)
        except OSError:
            writer.transport.abort()
            return
        self._pairs |= {writer, thither}
        await asyncio.gather(self._pump(reader, thither, False), self._pump(there, writer, True))
        self._pairs -= {writer, thither}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, from_venue: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                while self.way == "stall":
                    await asyncio.sleep(0.05)
                if self.way == "delay":
                    await asyncio.sleep(self._chance.uniform(0, 1.0))
                if from_venue and self.way == "garble":
                    at = self._chance.randrange(len(data))
                    data = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
                step = 97 if self.way == "drip" else len(data)
                for at in range(0, len(data), step):
                    sink.write(data[at : at + step])
                    await sink.drain()
        sink.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


FOUND_S = 60.0
STALE_S = 5
LONG = 0.06
"""So many of the faults last longer than ingest trusts a silence."""


def network(options: argparse.Namespace) -> int:
    """Resets, half-open stalls, one-byte trickles, delays, flipped bytes and refusals between ingest and the venue."""
    with Run(options) as run:
        proxy = Proxy(run.mesh.where["ws_url"], options.seed)
        more = f", stale_after_s: {STALE_S}"
        run.mesh.write_config(f"ws://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{proxy.port}", more)
        run.begin()
        struck = dict.fromkeys(WAYS, 0)
        for turn in range(options.times):
            way = run.chance.choice(WAYS)
            struck[way] += 1
            proxy.misbehave(way)
            is_long = run.chance.random() < LONG
            time.sleep(run.chance.uniform(STALE_S + 1, STALE_S + 3) if is_long else run.chance.uniform(0.1, 1.5))
            proxy.misbehave("")
            time.sleep(run.chance.uniform(0.1, 0.8))
            if (turn + 1) % 20 == 0:
                say(f"  {turn + 1} of {options.times} faults")
        run.figures |= {"faults": options.times, **{f"struck_{way}": n for way, n in struck.items()}}
        begun = time.monotonic()
        run.settled()
        run.figures["healed_after_s"] = time.monotonic() - begun
        run.expect(run.figures["healed_after_s"] <= FOUND_S, "gaps were not closed within 60 s of the last fault")
        verdict = run.verdict(may_be_unhealable=True)  # flipped bytes spoil answers, too: then they are listed
        _gaps(verdict, run.witness.feed)
        proxy.close()
        return report("network", verdict)


def _gaps(verdict: Verdict, feed: list[Feed]) -> None:
    """How long after the first trade behind a gap, by the venue's clock, the gap was announced."""
    waits = [
        (event.ts - event.detail["to_ts"]) / SECOND
        for event in feed
        if event.kind == "gap" and event.detail.get("to_ts") and event.detail.get("stream", "trade") == "trade"
    ]
    late = sum(seconds > FOUND_S for seconds in waits) + verdict.figures["not_found"]
    verdict.figures |= {"gaps": len(waits), "found": spread(waits), "gaps_not_found_within_60_s": late}
    verdict.check(bool(waits), "no gap came about: nothing was tried")
    verdict.check(not late, f"{late} gaps were not found within 60 s")
