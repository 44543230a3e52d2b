"""What an event costs in each stage: the real classes one after the other in this process, without bus and sockets.

Beside a whole run (`ours`) it leaves out what the kernel does for sockets and what processes cost each other; so it
hardly moves from one turn to the next, and shows what a change of the code itself is worth.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from loguru import logger

from bench.speed.market import Market
from procs.aggregator import Aggregator
from procs.aggregator import Config as BarConfig
from procs.archiver import Archiver
from procs.archiver import Config as LineConfig
from procs.ingest.actions import Connect
from procs.ingest.config import Config
from procs.ingest.core import Ingest
from procs.ingest.gathering import MOST_WAITING
from procs.ingest.reads import Read
from procs.parquet_sink import Config as SinkConfig
from procs.parquet_sink import ParquetSink
from shared import compiled
from shared.events import Batch
from shared.files import Files
from shared.inbox import Inbox
from shared.journal import Writer, pack, unpack
from shared.paths import SECOND
from shared.runner import Context, Stage
from shared.venues.binance import Venue

Say = Callable[[str], object]
EVENTS: Final = 1_000_000
TURNS: Final = 3
COMMIT_EVENTS: Final = 500_000


class _Lane:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def send(self, data: bytes) -> bool:
        self.records.append(data)
        return True


def _received(root: Path, market: Market, data: bytes, replay: bool) -> tuple[float, list[bytes]]:
    """CPU seconds of ingest, and its records."""
    core: list[Ingest] = []
    disk, lane = Files(root), _Lane()
    config = Config(
        venue="binance", symbols=market.names, replay=replay, ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1"
    )
    writer = Writer(disk, "journal/binance/binance", lambda: core[0].state())
    ingest = Ingest(config, Venue(market.names, config.kinds), writer, disk, [lane])
    core.append(ingest)
    wall, mono = int(market.at_us[0]) * 1000, 1000 * SECOND
    ingest.open(wall, mono)
    ingest.healer.venue_ts, ingest.healer.has_time = wall, True
    link = 0
    while not link:
        mono += SECOND
        link = next((wish.link for wish in ingest.turn(wall, mono) if isinstance(wish, Connect)), 0)
    ingest.opened(link, wall, mono)
    for book in ingest.books.values():  # the first of each kind is told one by one
        link_of = ingest.links.links[link]
        link_of.unseen.discard((book.symbol, "trade"))
        link_of.unseen.discard((book.symbol, "quote"))
    link_of.high = wall
    if not replay:
        ingest.time.measure(wall, mono - 1000, mono)
    del lane.records[:]
    began = time.process_time()
    inbox, at, waiting = Inbox(), 0, 0
    while at < len(data):
        room = inbox.room()
        size = min(len(room), len(data) - at)
        room[:size] = data[at : at + size]
        at, waiting, mono = at + size, waiting + size, mono + 1_000_000
        inbox.came(size, wall + mono, mono)
        if waiting > MOST_WAITING or at == len(data):
            ingest.reads([Read(link, *brought) for brought in inbox.cut()])
            ingest.flush(mono)
            waiting = 0
    used = time.process_time() - began
    writer.close()
    return used, lane.records


def _staged(stage: Stage, records: Sequence[bytes]) -> tuple[float, list[bytes]]:
    """CPU seconds of a stage, and its records."""
    stage.open()
    given: list[bytes] = []
    began, since = time.process_time(), 0
    for record in records:
        batch = unpack(record)
        given += [pack(one, one.first, len(one.events) + 1) for one in stage.handle(batch)]
        since += len(batch.events)
        if since >= COMMIT_EVENTS:
            stage.commit()
            since = 0
    stage.commit(final=True)
    used = time.process_time() - began
    stage.close()
    return used, given


def measure(folder: Path, say: Say, events: int = EVENTS, symbols: int = 20, per_s: int = 2000) -> None:
    """Microseconds of CPU an event, the least of some turns: what disturbs only adds."""
    compiled.build()
    compiled.load()
    market = Market(1, events, symbols, per_s)
    data = bytes(market.frames().data)
    gc.freeze()
    least: dict[str, float] = {}
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            disk = Files(place)
            found: dict[str, float] = {}
            found["ingest"], records = _received(Path(place), market, data, replay=True)
            held = sum(len(unpack(record).events) for record in records)
            if held < events:
                raise RuntimeError(f"{events} events went in, {held} came out")
            archive = Archiver(Context("archive", "binance", "binance", disk), LineConfig())
            found["archiver"], _ = _staged(archive, records)
            bars = Aggregator(Context("bars_1s", "binance", "binance", disk), BarConfig())
            found["aggregator"], made = _staged(bars, records)
            sink = ParquetSink(Context("parquet", "bars_1s.binance", "binance", disk), SinkConfig())
            found["parquet_sink"], _ = _staged(sink, made)
            count = sum(isinstance(unpack(one), Batch) for one in records)
        for name, used in found.items():
            least[name] = min(least.get(name, 1e9), used)
    text = "   ".join(f"{name} {used / events * 1e6:.3f}" for name, used in least.items())
    say(f"us of CPU an event: {text}   together {sum(least.values()) / events * 1e6:.3f}")
    say(f"{count} records of {events / count:,.0f} events, {sum(map(len, records)) / events:.0f} bytes an event")


if __name__ == "__main__":  # of a process that was started as a stage is
    logger.remove()
    with tempfile.TemporaryDirectory() as here:
        measure(Path(here), lambda text: sys.stdout.write(text + "\n"), *map(int, sys.argv[1:]))
