"""``tap``: what flows through a mesh, seen from any terminal.

Watching is lossy by design: a watcher that is slow loses records and is told how many; the mesh does not notice it.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from shared import topology
from shared.events import AggTrade, Bar, Beat, Columns, Feed, Quote, Rejected, Trade
from shared.journal import Damaged, unpack
from shared.lines import line
from shared.logs import escape
from shared.topology import Pipeline
from shared.wire import Bus, Mesh, Subscriber, find_mesh

WAIT_MS = 500
ALIASES = {"quote": "bookTicker", "quotes": "bookTicker", "trades": "trade", "bars": "bar", "health": "beat"}
STREAMS = ("trade", "aggTrade", "bookTicker", "bar", "feed", "rejected", "beat")
_NAMES = {Trade: "trade", AggTrade: "aggTrade", Quote: "bookTicker", Bar: "bar", Feed: "feed", Rejected: "rejected"}

Seen = Trade | AggTrade | Quote | Bar | Feed | Rejected | Beat


class Tap:
    """Yields what passes the filters; counts what was missed, from the jumps in each journal's numbers."""

    def __init__(self, pipeline: Pipeline, mesh: Mesh, streams: set[str], symbols: set[str], stages: set[str]) -> None:
        self._lake = Path(pipeline.lake)
        self._mesh = mesh
        self._streams, self._symbols, self._stages = streams, symbols, stages
        producers = [node.name for node in pipeline.section("sources", "transforms")]
        self._edges = [f"tap.{name}" for name in producers if not stages or name in stages]
        if "beat" in streams or not (streams or symbols):  # a heartbeat is of no symbol
            self._edges.append("tap.supervisor")
        self._next: dict[str, int] = {}
        self._beat = msgspec.msgpack.Decoder(Beat)
        self.missed = 0

    def follow(self) -> Generator[tuple[str, Seen | int], None, None]:
        """(journal, event), (``beat``, heartbeat) or (journal, records just missed), until the mesh is gone.

        Nothing at all is given as ("", 0) twice a second, so that the caller stays awake.
        """
        bus = Bus(self._lake, self._mesh)
        try:
            subscriber, endpoints = self._subscribe(bus)
            while True:
                found = subscriber.recv(WAIT_MS)
                if found is not None:
                    yield from self._read(*found)
                    continue
                now = find_mesh(self._lake)
                if now is None or now.token != self._mesh.token:
                    return
                if bus.moves and endpoints != self._endpoints(bus):  # a restarted stage has another port
                    subscriber, endpoints = self._subscribe(bus)
                yield "", 0
        finally:
            bus.close()

    def _endpoints(self, bus: Bus) -> list[str | None]:
        return [bus.endpoint(edge) for edge in self._edges]

    def _subscribe(self, bus: Bus) -> tuple[Subscriber, list[str | None]]:
        return bus.subscriber(self._edges), self._endpoints(bus)

    def _read(self, topic: str, data: bytes) -> Iterator[tuple[str, Seen | int]]:
        if topic == "beat":
            beat = self._beat.decode(data)
            if self._wants_stream("beat") and (not self._stages or beat.stage in self._stages):
                yield "beat", beat
            return
        try:
            batch = unpack(data)
        except Damaged:
            return
        missed = batch.first - self._next.get(topic, batch.first)
        self._next[topic] = batch.last + 1
        if missed > 0:
            self.missed += missed
            yield topic, missed
        if isinstance(batch.events, Columns) and not self._wants_some(batch.events):
            return  # thousands at once need not be looked at one by one
        for event in batch.events:
            if self._wants_stream(_NAMES[type(event)]) and self._wants_symbol(event):
                yield topic, event

    def _wants_some(self, columns: Columns) -> bool:
        is_wanted = self._wants_stream("trade") or self._wants_stream("bookTicker")
        return is_wanted and (not self._symbols or not self._symbols.isdisjoint(columns.symbols))

    def _wants_stream(self, stream: str) -> bool:
        return not self._streams or stream in self._streams

    def _wants_symbol(self, event: Seen) -> bool:
        if not self._symbols or isinstance(event, Rejected):
            return not self._symbols
        if isinstance(event, Feed):
            return not event.symbols or not self._symbols.isdisjoint(event.symbols)
        return not isinstance(event, Beat) and event.symbol in self._symbols


def streams(names: list[str]) -> set[str]:
    """The names as they stand on disk; ValueError for one that is none."""
    found = {ALIASES.get(name, name) for name in names}
    for name in found:
        if name not in STREAMS:
            raise ValueError(f"there is no stream {name}{topology.nearest(name, STREAMS)}")
    return found


def as_json(journal: str, seen: Seen | int) -> str:
    """One object: a raw line where it is an event, with the journal before it."""
    if isinstance(seen, int):
        return json.dumps({"journal": journal, "missed": seen})
    if isinstance(seen, Trade | AggTrade | Quote):
        return f'{{"journal":{json.dumps(journal)},' + line(seen).strip()[1:]
    if isinstance(seen, Beat):
        return json.dumps({"stream": "beat", **{key: value for key, value in _fields(seen).items() if key != "token"}})
    return json.dumps({"journal": journal, "stream": _NAMES[type(seen)], **_fields(seen)})


def _fields(seen: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(seen)


def as_text(journal: str, seen: Seen | int) -> str:
    """One line for a terminal, which obeys nothing in it."""
    return escape(_shown(journal, seen))


def _shown(journal: str, seen: Seen | int) -> str:
    if isinstance(seen, int):
        return f"             {journal}: {seen} records missed here"
    if isinstance(seen, Beat):
        counters = " ".join(f"{key}={value}" for key, value in seen.counters.items() if value)
        return f"{_clock(seen.ts)} {seen.stage:12} {seen.phase} {counters} {seen.note}".rstrip()
    if isinstance(seen, Feed | Rejected):
        return f"{_clock(seen.ts)} {journal:12} {as_json(journal, seen)}"
    if isinstance(seen, Quote):
        return f"{_clock(seen.ts)} {seen.symbol:12} quote  {seen.bid} x {seen.bid_qty} | {seen.ask} x {seen.ask_qty}"
    if isinstance(seen, Bar):
        ohlc = " ".join(
            "-" if value is None else f"{value:g}" for value in (seen.open, seen.high, seen.low, seen.close)
        )
        return f"{_clock(seen.window_start)} {seen.symbol:12} bar    {ohlc}  {seen.trade_count} trades"
    number = seen.agg_id if isinstance(seen, AggTrade) else seen.trade_id
    return f"{_clock(seen.ts)} {seen.symbol:12} {seen.side:6} {seen.qty} at {seen.price}  #{number}"


def _clock(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%H:%M:%S.%f}"[:-3] if ns else " " * 12
