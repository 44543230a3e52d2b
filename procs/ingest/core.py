"""Ingest without sockets: frames and answers in, batches and wishes out. The same class runs in the shell and in a
simulator.

    opened / frames / closed / refused / answered ──▶ Ingest ──▶ journal, then lanes
                                          turn(wall, mono) ──▶ Connect, Send, Close, Get

It asks no clock: wall and monotonic time are arguments. Order of calls: `open` once; then the others as things happen,
`turn` at least every 100 ms; `drain` and `finish` at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from loguru import logger

from procs.ingest.actions import Action
from procs.ingest.config import Config
from procs.ingest.healer import Healer
from procs.ingest.links import Link, Links
from procs.ingest.symbols import Book
from procs.ingest.venuetime import DAY_NS, VenueTime
from procs.ingest.watch import Watch
from shared.events import AggTrade, Bar, Batch, Event, Feed, Quote, Rejected, Trade
from shared.files import Disk
from shared.journal import Writer
from shared.rest import Answer, RestError
from shared.venues import Adapter, Control, Reject
from shared.wire import Lane, Publisher

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
TICK_NS: Final = 100 * MS
SYNC_NS: Final = 200 * MS
LOOK_NS: Final = 250 * MS
SLOW_NS: Final = SECOND
SUSPEND_NS: Final = SECOND
"""Wall and monotonic clock part by more than this when a machine has slept."""
BATCH_EVENTS: Final = 2000
BATCH_RAW: Final = 512 << 10
"""Bytes of rejected frames in one batch."""
RAW_BYTES: Final = 64 << 10
REJECTS_PER_S: Final = 50
REJECTS_BURST: Final = 1000
END_WAIT_NS: Final = 30 * SECOND
"""A finished recording waits at most this long for the healing of its gaps."""
MOST_EARLY: Final = 10_000
STATE_VERSION: Final = 1


class Ingest:
    """One source."""

    def __init__(
        self,
        config: Config,
        venue: Adapter,
        writer: Writer,
        disk: Disk,
        lanes: Sequence[Lane] = (),
        publisher: Publisher | None = None,
        topic: str = "",
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self._config = config
        self._venue = venue
        self._writer = writer
        self._disk = disk
        self._lanes = lanes
        self._publisher = publisher
        self._topic = topic
        streams = [(symbol, kind) for symbol in config.symbols for kind in config.kinds]
        base = config.ws_url or venue.ws_url
        self.links = Links(venue, base, streams, int(config.lifetime_h * 3600 * SECOND), chance)
        self.books = {symbol: Book(symbol, config.kinds) for symbol in config.symbols}
        self.time = VenueTime()
        self.healer = Healer(self, config, venue, chance)
        self.watch = Watch(self, config)
        self.ts = 0
        """Venue time of the journal: never goes back."""
        self.wall = self.mono = 0
        self.ended = False
        """A recording is over and everything of it was written."""
        self.paused = ""
        """Why nothing is received at the moment; empty while it is."""
        self.counters = dict.fromkeys(
            ("events_in", "events_out", "duplicates", "rejected", "rejected_unsaid", "lane_skipped", "suspended"), 0
        )
        self._actions: list[Action] = []
        self._events: list[Event] = []
        self._raw_bytes = 0
        self._connected: set[str] = set()
        self._batched = self._synced = self._looked = self._slowly = 0
        self._dirty = False
        self._parted: int | None = None
        self._rejects = float(REJECTS_BURST)
        self._full = False
        self._ending: int | None = None
        self._draining = False

    # --- start ---

    def open(self, wall: int, mono: int) -> None:
        """Recovers the held ids from the journal, or from the archiver's checkpoint where there is no journal."""
        self.wall, self.mono = wall, mono
        state, batches = self._writer.open()
        if state is not None:
            self._restore(state)
        for batch in batches:
            self._replay(batch)
        if batches:
            self.ts = max(self.ts, batches[-1].ts)
        self._batched = self._synced = self._slowly = mono
        self._looked = mono - LOOK_NS
        if self._writer.cut_bytes:
            logger.warning(f"the journal's end was torn: {self._writer.cut_bytes} bytes cut; trades are fetched again")
        self.healer.begin(mono)

    def state(self) -> bytes:
        """What the first record of a segment holds."""
        books = {symbol: book.state() for symbol, book in self.books.items()}
        return msgspec.msgpack.encode({"version": STATE_VERSION, "ts": self.ts, "books": books})

    def _restore(self, state: bytes) -> None:
        found = msgspec.msgpack.decode(state)
        if found["version"] != STATE_VERSION:
            raise ValueError(f"journal of state version {found['version']}, this is version {STATE_VERSION}")
        self.ts = found["ts"]
        for symbol, saved in found["books"].items():
            # Symbols that are recorded no more are kept: their ids must not be new when they come back.
            book = self.books.get(symbol) or self.books.setdefault(symbol, Book(symbol, self._config.kinds))
            book.restore(saved)

    def _replay(self, batch: Batch) -> None:
        for event in batch.events:
            symbols = event.symbols if isinstance(event, Feed) else [getattr(event, "symbol", "")]
            for symbol in symbols:
                if symbol in self.books:
                    self.books[symbol].replay(event)

    # --- what happens ---

    def opened(self, number: int, wall: int, mono: int) -> None:
        link = self.links.opened(number, mono)
        if link is None:
            return
        logger.info(f"connection {number} is open: {len(link.streams)} streams of {self._venue.name}")
        self.healer.asker.online()
        link.last = self.time.now(mono)
        if self._config.replay and link.slot.fresh:
            # A recording waits until all is subscribed: this is its first moment. Later connections find theirs.
            link.high = self.healer.venue_ts
        link.slot.fresh = False
        if link.is_ready:
            self.healer.subscribed(link)

    def refused(self, number: int, why: str, status: int | None, mono: int) -> None:
        self.links.refused(number, why, status, mono)
        if status in (451, 403):
            self.healer.asker.blocked(status)

    def closed(self, number: int, code: int, reason: str, wall: int, mono: int) -> None:
        link = self.links.closed(number, mono)
        if link is None:
            return
        if self._config.replay and code == 1000 and reason == "ended":
            link.slot.ended = True
        if not link.closing:
            logger.info(f"connection {number} ended: {code} {reason}".rstrip())
        self._flush_early(link)
        self._note_coverage("closed")

    def frames(self, number: int, frames: Sequence[bytes], wall: int, mono: int) -> None:
        """What one read of a socket held; `wall` and `mono` are the clocks right after that read."""
        link = self.links.links.get(number)
        if link is None:
            return
        estimate = self.time.now(mono)
        parse = self._venue.parse
        kinds: set[type] = set()
        self.counters["events_in"] += len(frames)
        for frame in frames:
            try:
                for event in parse(frame, wall):
                    kinds.add(type(event))
                    self._take(link, event, estimate, mono)
            except Reject as why:
                self._reject(frame, str(why), wall)
        self._note_kinds(link, kinds, mono)

    def _take(self, link: Link, event: Trade | AggTrade | Quote | Control, estimate: int, mono: int) -> None:
        if type(event) is Quote:
            book = self.books[event.symbol]
            if event.ts_event is not None:
                self._heed(link, event.ts, event.ts_sent, mono)
            elif self._config.replay:
                if not link.high:
                    link.early.append(event)
                    if len(link.early) >= MOST_EARLY:  # quotes alone have no time but the venue's own word
                        link.high = self.healer.venue_ts or event.ts_recv
                        self._flush_early(link)
                    return None
                event.ts = link.high
            else:
                event.ts = max(estimate, link.high) or event.ts_recv
            if not book.is_new_quote(event.update_id):
                self.counters["duplicates"] += 1
                return None
        elif type(event) is Trade:
            self._heed(link, event.ts, event.ts_sent, mono)
            if not self.books[event.symbol].trades.take(event.trade_id, event.ts):
                self.counters["duplicates"] += 1
                return None
            self.books[event.symbol].traded = mono
        elif type(event) is AggTrade:
            self._heed(link, event.ts, event.ts_sent, mono)
            if not self.books[event.symbol].aggregates.take(event.agg_id, event.ts):
                self.counters["duplicates"] += 1
                return None
        else:
            return self._control(link, event, mono)  # type: ignore[arg-type]
        self._events.append(event)
        return None

    def _heed(self, link: Link, ts: int, sent: int | None, mono: int) -> None:
        """A venue time came over a link: is it to be believed, and how far does it move the link's time? Raises
        Reject.
        """
        latest = ts if sent is None or sent < ts else sent
        if self._config.replay:
            if latest > link.high:
                link.high = latest
                if link.early:
                    self._flush_early(link)
            return
        if link.last and not -DAY_NS <= latest - link.last <= DAY_NS:
            link.implausible += 1
            if self.time.measured or link.implausible < 20:
                raise Reject("a time more than a day from the one before")
        link.last, link.implausible = latest, 0
        if latest > link.high and self.time.believes(latest, mono):
            link.high = latest

    def _flush_early(self, link: Link) -> None:
        """Quotes of a recording that came before any time did."""
        early, link.early = link.early, []
        for event in early:
            if link.high and self.books[event.symbol].is_new_quote(event.update_id):
                event.ts = link.high
                self._events.append(event)

    def _control(self, link: Link, said: Control, mono: int) -> None:
        if said.kind == "shutdown":
            logger.info(f"the venue will shut connection {link.number} down: replacing it")
            self.links.replace(link, mono)
        else:
            self._actions += self.links.answered(link, said.id, said.text if said.kind == "error" else "", mono)
        if link.is_ready:
            self.healer.subscribed(link)

    def _note_kinds(self, link: Link, kinds: set[type], mono: int) -> None:
        words = {_KIND[kind] for kind in kinds if kind in _KIND}
        if words and self.links.seen(link, words, mono):
            self._note_coverage("")
            if link.is_ready:
                self.healer.subscribed(link)

    def _note_coverage(self, why: str) -> None:
        """Says of which symbols quotes (or, where there are none, trades) have begun or ceased to flow."""
        kind = "quote" if "quote" in self._config.kinds else self._config.kinds[0]
        covered = self.links.covered(kind)
        gone, new = sorted(self._connected - covered), sorted(covered - self._connected)
        self._connected = covered
        if gone:
            self.feed("disconnected", gone, {"reason": why or self.paused or "closed"})
        if new:
            self.feed("connected", new, {})

    def answered(self, number: int, answer: Answer | RestError, wall: int, mono: int) -> None:
        self.wall, self.mono = wall, mono
        self.healer.asker.answered(number, answer, mono)
        self._looked = mono - LOOK_NS  # what follows from it is due now

    # --- what is written ---

    def add(self, event: Event) -> None:
        """An event from elsewhere than a stream."""
        self._events.append(event)

    def feed(self, kind: str, symbols: Sequence[str], detail: dict[str, Any], ts: int | None = None) -> None:
        self._events.append(Feed(kind, self._now() if ts is None else ts, self.wall, list(symbols), detail))

    def _now(self) -> int:
        """Venue time for what happens now."""
        if self._config.replay:
            return max(self.ts, self._highest()) or self.healer.venue_ts or self.wall
        return max(self.ts, self.time.now(self.mono)) or self.wall

    def moment(self, mono: int, link: Link) -> int:
        """Venue time at a moment of the monotonic clock; 0 where nobody knows."""
        return link.high if self._config.replay else self.time.now(mono)

    def _highest(self) -> int:
        return max((link.high for link in self.links.links.values()), default=0)

    def _reject(self, raw: bytes, why: str, wall: int) -> None:
        self.counters["rejected"] += 1
        if self._rejects < 1:
            self.counters["rejected_unsaid"] += 1
            return
        self._rejects -= 1
        text = raw[:RAW_BYTES].decode("utf-8", "backslashreplace")
        digest = hashlib.sha256(raw).hexdigest()
        self._events.append(Rejected(why, self._now(), wall, len(raw), digest, text))
        self._raw_bytes += len(text)
        if self._raw_bytes > BATCH_RAW:
            self.flush(self.mono)

    def flush(self, mono: int) -> None:
        """What was gathered becomes records: one write each, then one message on each lane."""
        self._raw_bytes = 0
        while self._events:
            part, self._events = self._events[:BATCH_EVENTS], self._events[BATCH_EVENTS:]
            self._write(part, mono)

    def _write(self, events: list[Event], mono: int) -> None:
        now = self._highest() if self._config.replay else max(self.time.now(mono), self._latest(events, mono))
        self.ts = max(self.ts, now)
        data = self._writer.append(Batch(self._writer.last + 1, self.ts, events))
        self._dirty = True
        self._batched = mono
        self.counters["events_out"] += len(events)
        for lane in self._lanes:
            if not lane.send(data):
                self.counters["lane_skipped"] += 1
        if self._publisher is not None:
            self._publisher.send(self._topic, data)

    def _latest(self, events: list[Event], mono: int) -> int:
        """Where the venue's clock was never measured, the events themselves say what time it is."""
        return self._highest() if self.time.known else max((e.ts for e in events if not isinstance(e, Bar)), default=0)

    # --- time ---

    def turn(self, wall: int, mono: int) -> list[Action]:
        """Everything that is due; returns what is to be done."""
        self._watch_clocks(wall, mono)
        self.wall, self.mono = wall, mono
        if mono - self._looked >= LOOK_NS:
            self._looked = mono
            self.healer.turn()
            self._rejects = min(REJECTS_BURST, self._rejects + REJECTS_PER_S * LOOK_NS / SECOND)
        if mono - self._slowly >= SLOW_NS:
            self._slowly = mono
            self._watch_space()
            self.watch.turn()
        self.links.running = self.healer.may_connect and not self.paused and not self._draining
        self._actions += self.links.turn(mono)
        self._actions += self.healer.asker.take()
        self._end()
        self.flush(mono)
        if mono - self._batched >= TICK_NS and not self._config.replay and self.time.known and not self.ended:
            self._write([], mono)
        if self._dirty and mono - self._synced >= SYNC_NS:
            self._writer.sync()
            self._dirty, self._synced = False, mono
        actions, self._actions = self._actions, []
        return actions

    def act(self, actions: Sequence[Action]) -> None:
        self._actions += actions

    def _watch_clocks(self, wall: int, mono: int) -> None:
        parted, before = wall - mono, self._parted
        self._parted = parted
        if before is None or self._config.replay or abs(parted - before) <= SUSPEND_NS:
            return
        asleep = parted - before
        if asleep < 0:
            # Nobody sleeps backwards: the wall clock was set. Only ts_recv goes by it.
            logger.warning(f"this machine's clock went back by {-asleep / SECOND:.1f} s")
            self.healer.measure_again()
            return
        logger.warning(f"this machine slept for {asleep / SECOND:.0f} s: connecting anew")
        self.counters["suspended"] += 1
        if self.ts:
            self.feed("suspended", [], {"asleep_ms": asleep // MS}, ts=self.ts)  # when it began
        self._connected = set()
        self._actions += self.links.drop_all(mono)
        self.time.forget()
        self.healer.woke()

    def _watch_space(self) -> None:
        """Stops receiving while the journal is full or the disk nearly so; what is not archived is never deleted."""
        self._writer.trim()
        held, most = self._writer.held_bytes, self._config.journal_max_bytes
        if held > most // 2 and not self._full:
            logger.error(f"the journal holds {held >> 20} MB of at most {most >> 20}: its consumers are behind")
        self._full = held > most // 2
        free, total = self._disk.free()
        why = ""
        if held >= most or (self.paused.startswith("journal") and held > most * 3 // 4):
            why = "journal full"
        elif free < total // 100 or (self.paused.startswith("disk") and free < total // 50):
            why = "disk full"
        if why and not self.paused:
            logger.error(f"{why}: receiving pauses until there is room; trades are fetched afterwards, quotes are lost")
            self.paused = why
            self._actions += self.links.stop()
            self._note_coverage(why)
        elif self.paused and not why:
            logger.info(f"receiving again after: {self.paused}")
            self.paused = ""

    # --- the end ---

    def _end(self) -> None:
        """A recording has ended once every connection says so and what can be healed is."""
        if self.ended or not self._config.replay or not all(slot.ended for slot in self.links.slots):
            return
        if self._ending is None:
            self._ending = self.mono
            self.healer.probe_all()
        if self.healer.is_busy and self.mono - self._ending < END_WAIT_NS:
            return
        self.feed("ended", [], {})
        self.flush(self.mono)
        self._writer.sync()
        self.ended = True
        logger.info("the recording has ended")

    def drain(self) -> list[Action]:
        """Asks for the end of every connection."""
        self._draining = True
        actions: list[Action] = [*self._actions, *self.links.stop()]
        self._actions = []
        return actions

    def finish(self, wall: int, mono: int) -> None:
        """The last events and a last record of time, durable when it returns."""
        self.wall, self.mono = wall, mono
        self._note_coverage("stopped")
        self.flush(mono)
        if not self.ended and self.ts:
            self._write([], mono)
        self._writer.sync()
        self._writer.close()

    @property
    def note(self) -> str:
        """One line for people."""
        if self.paused:
            return self.paused
        if self._full:
            return "journal more than half full"
        return self.links.problem if not self.links.is_connected else self.healer.asker.note

    def totals(self) -> dict[str, int]:
        parts = (self.counters, self.links.counters, self.healer.counters, self.healer.asker.counters)
        return {key: value for part in (*parts, self.watch.counters) for key, value in part.items()}


_KIND: Final = {Trade: "trade", Quote: "quote", AggTrade: "agg_trade"}
