"""Frames to events: parsed, judged, stamped, and dropped where they are held already. The hot path of ingest.

A trade and a futures quote carry their time. A spot quote has none: it gets our estimate of the venue's clock at
receipt, never below the highest venue time that came over its connection; of a recording exactly that highest time.
Where no venue time is known yet, quotes wait for one: this machine's clock may be a day off, and the time of a journal
never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from procs.ingest.config import Config
from procs.ingest.reads import Read
from procs.ingest.slots import Link
from procs.ingest.venuetime import BELIEVED, DAY_NS
from shared import kernels
from shared.events import AggTrade, Quote, Trade
from shared.venues import Adapter, Control, Reject

if TYPE_CHECKING:
    from procs.ingest.bulk import Bulk
    from procs.ingest.core import Ingest

STALL_NS: Final = 1_000_000_000
FIRST: Final = 63
"""Fewer than make a busy moment."""
MOST_EARLY: Final = 10_000
EARLY_NS: Final = 10_000_000_000
"""A connection over which no venue time came for so long, and none over REST, has only this machine's clock."""
KIND: Final = {Trade: "trade", Quote: "quote", AggTrade: "agg_trade"}
BUSY: Final = 64
"""Frames at once from which on columns cost less than single events …"""
BUSY_IN_NUMPY: Final = 512
"""… where the loops are not compiled."""


class Intake:
    """The receiving end of a source."""

    def __init__(self, ingest: Ingest, config: Config, venue: Adapter) -> None:
        self._ingest = ingest
        self._replay = config.replay
        self._parse = venue.parse
        self._books = ingest.books
        self.time = ingest.time
        self.recorder = ingest.recorder
        self._venue = venue
        self._bulk: Bulk | None = None
        self._is_prepared = False
        self.busy = BUSY_IN_NUMPY if kernels.loops is None else BUSY
        self._stalled_at = self._stalled_until = 0
        self.controls: list[tuple[Link, Control]] = []
        """What the venue said about connections; the core takes it from here."""
        self.counters = {"events_in": 0, "duplicates": 0}

    def frames(self, link: Link, frames: Sequence[bytes], wall: int, mono: int) -> set[str]:
        """Takes what one read held; returns the kinds of data among it."""
        estimate = self.estimate(mono)
        kinds: set[type] = set()
        if link.early and estimate and not self._replay:
            self.release(link, estimate)
        parse, take, add = self._parse, self._take, self.recorder.add
        self.counters["events_in"] += len(frames)
        for frame in frames:
            try:
                for event in parse(frame, wall):
                    kinds.add(type(event))
                    if take(link, event, estimate, mono):
                        add(event)  # type: ignore[arg-type]
            except Reject as why:
                self._ingest.reject(frame, str(why), wall)
        return {KIND[kind] for kind in kinds if kind in KIND}

    def reads(self, link: Link, reads: Sequence[Read]) -> set[str]:
        """Takes what some reads of one connection held; returns the kinds of data among it."""
        bulk = self._bulk_for(link) if sum(len(read.frames) for read in reads) >= self.busy else None
        if bulk is not None:
            return bulk.take(link, reads)
        kinds: set[str] = set()
        for read in reads:
            kinds |= self.frames(link, read.frames, read.wall, read.mono)
        return kinds

    def is_new(self, link: Link) -> bool:
        """Whether a connection's beginnings are still to be seen: its first data, its first time."""
        is_timed = link.high > 0 if self._replay else self.time.known
        return bool(link.early) or not link.data_mono or not is_timed

    def portions(self, link: Link, reads: list[Read]) -> Iterator[list[Read]]:
        """What is to be taken together, and judged before the next: of what comes first over a connection, which goes
        singly, a little at a time.
        """
        while reads and self.is_new(link) and sum(len(read.frames) for read in reads) > FIRST:
            head, others = reads[0].split(FIRST)
            reads = [others, *reads[1:]] if others.frames else reads[1:]
            yield [head]
        if reads:
            yield reads

    def _bulk_for(self, link: Link) -> Bulk | None:
        """The columns' way."""
        if self.is_new(link):
            return None
        self.prepare()
        return self._bulk

    def prepare(self) -> None:
        """Makes ready for a busy moment: what that needs takes a tenth of a second to load."""
        if self._is_prepared:
            return
        self._is_prepared = True
        reader = self._venue.columns()
        if reader is not None:
            from procs.ingest.bulk import Bulk

            self._bulk = Bulk(self, reader, self._books, self._replay)

    def notice(self, mono: int) -> None:
        """Whether this process stood still since its last turn."""
        if mono - self._ingest.mono > STALL_NS:
            self._stalled_at, self._stalled_until = self._ingest.mono, mono + STALL_NS

    def estimate(self, mono: int) -> int:
        """The venue's time for what was just read. After this process stood still, what waits in the socket was sent
        meanwhile: it is not of now; and a record that said it were would make what follows late.
        """
        self.notice(mono)
        return self.time.now(self._stalled_at if mono < self._stalled_until else mono)

    def _take(self, link: Link, event: Trade | AggTrade | Quote | Control, estimate: int, mono: int) -> bool:
        """Whether an event is to be written."""
        if type(event) is Quote:
            if event.ts_event is not None:
                self._heed(link, event.ts, event.ts_sent, mono)
            elif not self._stamp(link, event, estimate, mono):
                return False
            book = self._books[event.symbol]
            book.quoted = mono
            is_new = book.is_new_quote(event.update_id)
            if self._replay and is_new:
                is_new = not book.is_old_quote(event.update_id)
        elif type(event) is Trade:
            self._heed(link, event.ts, event.ts_sent, mono)
            book = self._books[event.symbol]
            is_new = book.trades.take(event.trade_id, event.ts)
            book.traded = mono
        elif type(event) is AggTrade:
            self._heed(link, event.ts, event.ts_sent, mono)
            book = self._books[event.symbol]
            is_new = book.aggregates.take(event.agg_id, event.ts)
            book.aggregated = mono
        else:
            self.controls.append((link, event))  # type: ignore[arg-type]
            return False
        if not is_new:
            self.counters["duplicates"] += 1
        return is_new

    def _stamp(self, link: Link, quote: Quote, estimate: int, mono: int) -> bool:
        """Gives a quote its time; False where it has to wait for one."""
        quote.ts = link.high if self._replay else max(estimate, link.high)
        if quote.ts:
            return True
        link.early.append(quote)
        is_hopeless = not self._replay and link.opened is not None and mono - link.opened > EARLY_NS
        if len(link.early) >= MOST_EARLY or is_hopeless:  # quotes alone never bring a time
            self.release(link, self._ingest.healer.venue_ts or quote.ts_recv)
        return False

    def _heed(self, link: Link, ts: int, sent: int | None, mono: int) -> None:
        """A venue time came over a link: is it to be believed, how far does it move the link's own? Raises Reject."""
        latest = ts if sent is None or sent < ts else sent
        if self._replay:
            if latest > link.high:
                link.high = latest
                if link.early:
                    self.release(link, latest)
            return
        if link.last and not -DAY_NS <= latest - link.last <= DAY_NS:
            link.implausible += 1
            if self.time.measured or link.implausible < BELIEVED:
                raise Reject("a time more than a day from the one before")
        link.last, link.implausible = latest, 0
        if latest > link.high and self.time.believes(latest, mono):
            link.high = latest
            if link.early:
                self.release(link, latest)

    def release(self, link: Link, ts: int) -> None:
        """Quotes that came before any time did get this one; without one they are dropped."""
        early, link.early = link.early, []
        if self._replay:
            link.high = max(link.high, ts)
        for quote in early:
            book = self._books[quote.symbol]
            is_old = self._replay and book.is_old_quote(quote.update_id)
            if ts and book.is_new_quote(quote.update_id) and not is_old:
                quote.ts = ts if self._replay else max(ts, self.recorder.ts)
                self.recorder.add(quote)
