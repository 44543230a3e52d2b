"""Ingest without sockets: frames and answers in, records and wishes out. The same class runs in the shell and in a
simulator.

    opened / frames / closed / refused / answered ──▶ Ingest ──▶ journal, then lanes
                                          turn(wall, mono) ──▶ Connect, Send, Close, Get

It asks no clock: wall and monotonic time are arguments. Order of calls: `open` once; then the others as things happen,
`turn` when it is `due`; `drain` and `finish` at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import msgspec
from loguru import logger

from procs.ingest.actions import Action
from procs.ingest.asker import TRYING_ON
from procs.ingest.clocks import Clocks
from procs.ingest.config import Config
from procs.ingest.healer import Healer
from procs.ingest.intake import Intake
from procs.ingest.klines import Klines
from procs.ingest.links import Links
from procs.ingest.listing import Listing
from procs.ingest.pause import Pause
from procs.ingest.plans import Plans
from procs.ingest.reads import Read
from procs.ingest.recorder import Recorder
from procs.ingest.replay import replay
from procs.ingest.slots import Link
from procs.ingest.space import Space
from procs.ingest.symbols import Book
from procs.ingest.venuetime import VenueTime
from procs.ingest.watch import Watch
from shared import checkpoint
from shared.events import Feed, Quote
from shared.files import Disk
from shared.journal import Writer
from shared.rest import Answer, Limited, RestError
from shared.venues import KLINE, Adapter, Control, OwnBar
from shared.wire import Lane, Publisher

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
TURN_NS: Final = 100 * MS
TICK_NS: Final = 100 * MS
LOOK_NS: Final = 250 * MS
SLOW_NS: Final = SECOND
END_WAIT_NS: Final = 30 * SECOND
"""A finished recording waits at most this long for the healing of its gaps."""
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
        self._disk = disk
        self.wall = self.mono = 0
        self.time = VenueTime()
        self.books = {s: Book(s, config.kinds, lambda: self.links.is_doubled) for s in config.symbols}
        self._retired: dict[str, Book] = {}
        self.recorder = Recorder(writer, lanes, publisher, topic)
        streams = [(symbol, kind) for symbol in config.symbols for kind in config.kinds]
        base = config.ws_url or venue.ws_url
        self.links = Links(venue, base, streams, int(config.lifetime_h * 3600 * SECOND), chance)
        self.intake = Intake(self, config, venue)
        folder = f"journal/{topic or config.venue}"
        self.plans = Plans(disk, folder, config.venue)
        self.healer = Healer(self, config, venue, self.plans, chance)
        self._pause = Pause(disk, folder)
        self.listing = Listing(self, config, venue, disk, folder)
        self.watch = Watch(self, config, venue)
        self.klines = Klines(disk, topic or config.venue, config.venue)
        self.ended = False
        """A recording is over and everything of it was written."""
        self.paused = ""
        """Why nothing is received at the moment; empty while it is."""
        self.counters = {"suspended": 0}
        self._actions: list[Action] = []
        self._connected: set[str] = set()
        self._looked = self._slowly = self.turned = 0
        self._clocks = Clocks()
        self._space = Space(writer, disk, config.journal_max_bytes)
        self._ending: int | None = None
        self._draining = False

    # --- start ---

    def open(self, wall: int, mono: int) -> None:
        """Recovers the held ids from the journal."""
        self.wall, self.mono = wall, mono
        writer = self.recorder.writer
        state, batches = writer.open()
        if state is not None:
            self._restore(state)
        for batch in batches:
            replay(batch, self._known)
        self._adopt(writer.consumers)
        if batches:
            self.recorder.ts = max(self.recorder.ts, batches[-1].ts)
        self.recorder.written = self._slowly = self.turned = mono
        self._looked = mono - LOOK_NS
        if writer.cut_bytes:
            logger.warning(f"the journal's end was torn: {writer.cut_bytes} bytes cut; trades are fetched again")
        self.recorder.roll()
        if self.recorder.ts:
            # Whatever stood when the last life ended stands no more; a kill left nobody to say so.
            self.feed("disconnected", [], {"reason": "restarted"}, ts=self.recorder.ts)
        for book in self.books.values():
            book.begin()
        self.listing.begin(mono)
        self.plans.begin()
        self._heed_pause()

    def state(self) -> bytes:
        """What the first record of a segment holds."""
        books = {symbol: book.state() for symbol, book in {**self._retired, **self.books}.items()}
        return msgspec.msgpack.encode({"version": STATE_VERSION, "ts": self.recorder.ts, "books": books})

    def _restore(self, state: bytes) -> None:
        found = msgspec.msgpack.decode(state)
        if found["version"] != STATE_VERSION:
            raise ValueError(f"journal of state version {found['version']}, this is version {STATE_VERSION}")
        self.recorder.ts = found["ts"]
        for symbol, saved in found["books"].items():
            self._known(symbol).restore(saved)

    def _known(self, symbol: str) -> Book:
        """The book of a symbol. One that is recorded no more has its own place: it is asked for nothing, but its ids
        must not be new when it comes back.
        """
        book = self.books.get(symbol) or self._retired.get(symbol)
        if book is None:
            book = self._retired[symbol] = Book(symbol, self._config.kinds)
        return book

    def _adopt(self, consumers: Sequence[str]) -> None:
        """What is archived is held, whatever became of the journal: a damaged end of it must not be fetched again, and
        without a journal an outage is found even so.
        """
        for base in consumers:
            found = checkpoint.peek(self._disk, base)
            self.recorder.ts = max(self.recorder.ts, found.get("ts", 0))
            for symbol, intervals in found.get("ids", {}).items():
                if symbol in self.books:
                    self.books[symbol].trades.adopt(intervals, found.get("ts", 0))
            for symbol, intervals in found.get("agg_ids", {}).items():
                if symbol in self.books:
                    self.books[symbol].aggregates.adopt(intervals, found.get("ts", 0))

    def _heed_pause(self) -> None:
        """The venue may have asked the life before to leave it alone."""
        left = self._pause.left(self.wall)
        if left:
            logger.info(f"the venue's REST asked for a pause before the restart: {left // SECOND} s of it are left")
            self.healer.asker.pause(self.mono + left)

    # --- what happens ---

    def opened(self, number: int, wall: int, mono: int) -> None:
        link = self.links.opened(number, mono)
        if link is None:
            return
        logger.info(f"connection {number} is open: {len(link.streams)} streams of {self._config.venue}")
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
        self.flush(mono)  # what came over it has its time from it
        link = self.links.closed(number, mono)
        if link is None:
            return
        self.wall, self.mono = wall, mono
        if self._config.replay and code == 1000 and reason == "ended":
            link.slot.ended = True
        if not link.closing:
            logger.info(f"connection {number} ended: {code} {reason}".rstrip())
        self.intake.release(link, self.moment(mono, link))
        self._note_coverage("closed")

    def frames(self, number: int, frames: Sequence[bytes], wall: int, mono: int) -> None:
        """What one read of a socket held; `wall` and `mono` are the clocks right after that read."""
        link = self.links.links.get(number)
        if link is None:
            return
        self._note_kinds(link, self.intake.frames(link, frames, wall, mono), wall, mono)

    def reads(self, reads: Sequence[Read]) -> None:
        """What some reads of sockets held, in their order: as `frames` for each, but quicker for many."""
        for number, group in groupby(reads, attrgetter("link")):
            if (link := self.links.links.get(number)) is None:
                continue
            for part in self.intake.portions(link, list(group)):
                self._note_kinds(link, self.intake.reads(link, part), part[-1].wall, part[-1].mono)

    def _note_kinds(self, link: Link, kinds: set[str], wall: int, mono: int) -> None:
        if kinds and self.links.seen(link, kinds, mono):
            self.wall, self.mono = wall, mono
            self._note_coverage("", self._began(link))
        if self.intake.controls:
            self._note_controls(mono)

    def _note_controls(self, mono: int) -> None:
        controls, self.intake.controls = self.intake.controls, []
        for link, said in controls:
            self._control(link, said, mono)

    def _control(self, link: Link, said: Control, mono: int) -> None:
        if isinstance(said, OwnBar):
            self.links.seen(link, (KLINE,), mono)
            if said.kline is not None:
                self.klines.take(said.symbol, said.kline)
            return
        if said.kind == "shutdown":
            logger.info(f"the venue will shut connection {link.number} down: replacing it")
            self.links.shut_down(link, mono)
            return
        self._actions += self.links.answered(link, said.id, said.text if said.kind == "error" else "", mono)
        if link.is_ready:
            self._note_coverage("")
            self.healer.subscribed(link)

    def _began(self, link: Link) -> int | None:
        """The time of the first data that came over a link, while it still waits to be written."""
        return self.recorder.first("quote" in self._config.kinds, {symbol for symbol, _ in link.streams})

    def _note_coverage(self, why: str, ts: int | None = None) -> None:
        """Says of which symbols quotes (or, where there are none, trades) have begun or ceased to flow."""
        kind = "quote" if "quote" in self._config.kinds else next(kind for kind in self._config.kinds if kind != KLINE)
        covered = self.links.covered(kind)
        gone, new = sorted(self._connected - covered), sorted(covered - self._connected)
        self._connected = covered
        if gone:
            self.feed("disconnected", gone, {"reason": why})
        if new:
            self.feed("connected", new, {}, ts)

    def answered(self, number: int, answer: Answer | RestError, wall: int, mono: int) -> None:
        self.wall, self.mono = wall, mono
        self.healer.asker.answered(number, answer, mono)
        if isinstance(answer, Limited) and answer.status is not None:
            self._pause.keep(answer.retry_s, wall)
        self._looked = mono - LOOK_NS  # what follows from it is due now

    # --- what is written ---

    def feed(self, kind: str, symbols: Sequence[str], detail: dict[str, Any], ts: int | None = None) -> None:
        self.recorder.add(Feed(kind, self.now() if ts is None else ts, self.wall, list(symbols), detail))

    def reject(self, raw: bytes, why: str, wall: int) -> None:
        if self.recorder.reject(raw, why, self.now(), wall, self.mono):
            self.flush(self.mono)

    def flush(self, mono: int) -> None:
        """What was gathered becomes records."""
        if not self.recorder.is_empty:
            self.recorder.flush(self._reached(mono), mono)

    def _reached(self, mono: int) -> int:
        """Venue time for the next record: of a recording the highest that came, else our estimate, carried on."""
        highest = max((link.high for link in self.links.links.values()), default=0)
        if self._config.replay:
            return highest
        if self.time.known:
            return max(highest, self.intake.estimate(mono))
        # Never measured and no trade yet: the stamps of quotes that waited in vain are all there is.
        return max((e.ts for e in self.recorder.events if isinstance(e, Quote)), default=0)

    @property
    def knows_time(self) -> bool:
        """Whether the venue's time is known, of a recording its first moment."""
        return self.healer.has_time if self._config.replay else self.time.known

    def now(self) -> int:
        """Venue time for what happens now."""
        known = 0 if self._config.replay and not self.links.links else self._reached(self.mono)
        return max(self.recorder.ts, known) or self.healer.venue_ts or self.wall

    def moment(self, mono: int, link: Link) -> int:
        """Venue time at a moment of the monotonic clock; 0 where nobody knows."""
        return link.high if self._config.replay else self.time.now(mono)

    # --- time ---

    def turn(self, wall: int, mono: int, asleep: int | None = None) -> list[Action]:
        """Everything that is due; returns what is to be done. `asleep`: how long the machine has slept since it was
        started, if it says so.
        """
        self._watch_clocks(wall, mono, asleep)
        self.intake.notice(mono)
        self.wall, self.mono, self.turned = wall, mono, mono
        if mono - self._looked >= LOOK_NS:
            self._looked = mono
            self.healer.turn()
            self.listing.turn(self.healer.asker.is_free(mono))
        if mono - self._slowly >= SLOW_NS:
            self._slowly = mono
            self._watch_space()
            self.watch.turn()
            self.klines.turn(mono)
        self.links.running = self._may_connect and not self.paused and not self._draining
        self._actions += self.links.turn(mono)
        self._actions += self.healer.asker.take()
        if self.time.known and not self._config.replay:
            for link in self.links.links.values():
                if link.early:
                    self.intake.release(link, self.time.now(mono))
        self._end()
        self.flush(mono)
        if self._ticks and mono - self.recorder.written >= TICK_NS:
            self.recorder.write([], self._reached(mono), mono)
        self.recorder.roll()
        self.recorder.make_durable(mono)
        self.recorder.parcel.send(mono)
        actions, self._actions = self._actions, []
        return actions

    @property
    def due(self) -> int:
        """When `turn` is to be called at the latest, on the monotonic clock: a while after the last one, sooner for a
        record of time or what is to become durable, at once where something is wished for.
        """
        due = self.turned + (0 if self._actions else TURN_NS)
        if self._ticks:
            due = min(due, self.recorder.written + TICK_NS)
        sync_due = self.recorder.sync_due
        return due if sync_due is None else min(due, sync_due)

    @property
    def _ticks(self) -> bool:
        """Whether time goes on without events."""
        return self.time.known and not self._config.replay

    @property
    def _may_connect(self) -> bool:
        # The first quotes of a recording need a time.
        return self.listing.may_connect and (self.healer.has_time or not self._config.replay)

    def act(self, actions: Sequence[Action]) -> None:
        self._actions += actions

    def _watch_clocks(self, wall: int, mono: int, asleep: int | None) -> None:
        set_by, slept = self._clocks.look(wall, mono, asleep)
        if self._config.replay:
            return
        if set_by:
            logger.warning(
                f"this machine's clock was set {'on' if set_by > 0 else 'back'} by {abs(set_by) / SECOND:.1f} s"
            )
            self.healer.measure_again()  # only ts_recv goes by it
        if slept:
            self._woke(slept, mono)

    def _woke(self, asleep: int, mono: int) -> None:
        logger.warning(f"this machine slept for {asleep / SECOND:.0f} s: connecting anew")
        self.counters["suspended"] += 1
        self.flush(self.mono)
        self._connected = set()
        self._actions += self.links.drop_all(mono)
        self.time.forget()
        self.healer.woke()
        if self.recorder.ts:
            self.feed("suspended", [], {"asleep_ms": asleep // MS}, ts=self.recorder.ts)  # when it began

    def _watch_space(self) -> None:
        """Stops receiving while there is no room."""
        self._space.turn()
        why = self._space.why
        if why and not self.paused:
            logger.error(f"{why}: receiving pauses until there is room; trades are fetched afterwards, quotes are lost")
            self._actions += self.links.stop()
            self._note_coverage(why)
        elif self.paused and not why:
            logger.info(f"receiving again after: {self.paused}")
        self.paused = why

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
        self.recorder.sync()
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
        if not self.ended and self.recorder.ts:
            self.recorder.write([], self._reached(mono), mono)
        self.recorder.parcel.hand_on(mono)
        self.recorder.sync()
        self.klines.write()
        self.recorder.writer.close()

    @property
    def note(self) -> str:
        """One line for people."""
        if self._space.note:
            return self._space.note
        asker = self.healer.asker
        if not self.links.is_connected and self.links.problem and not asker.is_blocked:
            return f"{self.links.problem}: {TRYING_ON}"
        return self.watch.note or asker.note or self.healer.note

    def totals(self) -> dict[str, int]:
        """All counters."""
        own = (self.klines,) if KLINE in self._config.kinds else ()
        asker, parcel = self.healer.asker, self.recorder.parcel
        parts = (self, self.intake, self.recorder, parcel, self.links, self.healer, asker, self.watch, *own)
        return {key: value for part in parts for key, value in part.counters.items()}
