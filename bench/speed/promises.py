"""What it costs to keep each promise: the same piece of work with and without it, on this machine, in this minute.

The plain path, event by event where it goes event by event. Batches of the hot path hold columns and are cheaper; the
checksum and the writes are those of any batch.
"""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.speed.market import Market
from shared.events import Batch, Event, Quote, Trade
from shared.files import Files
from shared.ids import Ids
from shared.journal import HEADER, pack, unpack
from shared.lines import line
from shared.numbers import Units
from shared.venues.binance import Venue

Say = Callable[[str], None]
EVENTS: Final = 20_000
RECORD: Final = 2000
"""Events of a record of a busy moment."""
TURNS: Final = 7
WRITES: Final = 60


def _each(work: Callable[[], object], count: int = EVENTS) -> float:
    """Nanoseconds of CPU time per event, the middle of a few turns."""
    found = []
    for _ in range(TURNS):
        began = time.process_time_ns()
        work()
        found.append((time.process_time_ns() - began) / count)
    return statistics.median(found)


def measure(folder: Path, say: Say) -> None:
    """The table."""
    market = Market(9, EVENTS, 20, 2000)
    frames, venue = market.frames(), Venue(market.names)
    view = bytes(frames.data)
    texts = [view[frames.start(at) + 4 : end] for at, end in enumerate(frames.ends.tolist())]
    events: list[Event] = [
        event for text in texts for event in venue.parse(text, 1) if isinstance(event, (Trade, Quote))
    ]
    trades = [event for event in events if isinstance(event, Trade)]
    pieces = [events[at : at + RECORD] for at in range(0, EVENTS, RECORD)]
    batches = [Batch(at * 3000 + 1, 1, piece) for at, piece in enumerate(pieces)]
    records = [pack(batch, batch.first, len(batch.events) + 1) for batch in batches]
    say(f"ns of CPU an event, records of {RECORD:,} events, {sum(map(len, records)) / EVENTS:.0f} bytes an event")
    _compare(say, "a checksum over every record", _each(lambda: [zlib.crc32(one[HEADER.size :]) for one in records]))
    encoded = _each(lambda: [pack(batch, batch.first, len(batch.events) + 1) for batch in batches])
    _compare(say, "typed events in a record (encoded once; what the lanes carry is the same)", encoded)
    _compare(say, "... and each consumer that decodes them", _each(lambda: [unpack(one) for one in records]))
    _compare(say, "a line with the venue's digits", _each(lambda: [line(event) for event in events]),
             "the frame's own bytes", _each(lambda: b"\n".join(texts)))  # fmt: skip
    _compare(say, "a ledger of trade ids (a trade)", _each(lambda: _ledger(trades), len(trades)))
    _compare(say, "exact sums (a trade)", _each(lambda: _exact(trades), len(trades)),
             "sums of floats", _each(lambda: _floats(trades), len(trades)))  # fmt: skip
    _writes(folder, records, say)


def _compare(say: Say, what: str, ns: float, other: str = "", plain: float = 0.0) -> None:
    say(f"  {ns:8.0f}  {what}" + (f"; {other}: {plain:.0f}" if other else ""))


def _ledger(trades: list[Trade]) -> None:
    held: dict[str, Ids] = {}
    for trade in trades:
        found = held.get(trade.symbol)
        if found is None:
            found = held[trade.symbol] = Ids()
        found.add(trade.trade_id)


def _exact(trades: list[Trade]) -> int:
    units, total = Units(), 0
    for trade in trades:
        total += units[trade.price] * units[trade.qty]
    return total


def _floats(trades: list[Trade]) -> float:
    total = 0.0
    for trade in trades:
        total += float(trade.price) * float(trade.qty)
    return total


def _writes(folder: Path, records: list[bytes], say: Say) -> None:
    """The journal's writes, and what waiting for the disk adds to one of them."""
    file = Files(folder).appender("journal.log")
    plain, waited = [], []
    for at in range(WRITES):
        data = records[at % len(records)]
        began = time.perf_counter()
        file.write(data)
        plain.append(time.perf_counter() - began)
        began = time.perf_counter()
        file.sync()
        waited.append(time.perf_counter() - began)
    file.close()
    waited.sort()
    say(f"  {statistics.median(plain) / RECORD * 1e9:8.0f}  a record in the journal, one write (wall)")
    middle, worst = statistics.median(waited) * 1e3, waited[-1] * 1e3
    say(f"  waiting for the disk after a record: {middle:.2f} ms, at worst {worst:.1f}")
    say("  (ingest waits five times a second, the others once)")
