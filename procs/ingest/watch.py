"""Silence: which connection or stream should be delivering and is not. An illiquid symbol is no fault, a dead feed is.

Each stream and each connection is measured against its own rhythm. Who is silent for too long is asked about, and who
is asked is the venue itself: a stream owes something where REST knows of trades that came after its last data. Nothing
is cut before another connection delivers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from loguru import logger

from procs.ingest.actions import Action
from procs.ingest.config import Config
from procs.ingest.rhythm import Rhythm
from procs.ingest.slots import Link
from shared.venues import KLINE, Adapter

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
LINK_LEAST_NS: Final = 3 * SECOND
"""Whatever its rhythm, a connection may be silent for this long …"""
LEAST_NS: Final = 5 * SECOND
"""… and a stream for this long."""
FIRST_NS: Final = 8 * SECOND
"""First data are due after this time, if there were any."""
QUIET_NS: Final = 45 * SECOND
"""So often the venue is asked about a symbol that is quiet there, too: what is missing is found within a minute."""
SILENT_NS: Final = 10 * SECOND
"""The same where its stream is known to be dead: its trades come by REST alone."""
SLACK_NS: Final = 2 * SECOND
"""Between the last data and a trade that counts as owed."""
DOUBT_NS: Final = SECOND
"""What is owed may be on its way still."""
OWED_TRADES: Final = 3
"""So many trades move the best bid or ask, or its size: quotes are owed after them."""
BLIND_NS: Final = 10 * SECOND
"""A connection this long silent beyond its rhythm is replaced where REST does not answer either."""
PATIENCE_NS: Final = 60 * SECOND
MOST_PATIENCE_NS: Final = 900 * SECOND
"""Between replacements for one stream, which another connection may not bring back either."""
SPOKESMEN: Final = 3
"""So many symbols speak for a connection."""


class Stream(msgspec.Struct, eq=False):
    """One symbol and kind, over whichever connection."""

    symbol: str
    kind: str
    rhythm: Rhythm = msgspec.field(default_factory=Rhythm)
    link: int = 0
    mark: int = -1
    """The newest trade there was when it was heard last, or when its connection was new."""
    doubt: int = 0
    """Since when something is owed; 0 where nothing is."""
    asked: int = 0
    wait: int = 0
    is_dead: bool = False
    patience: int = 0
    replace_at: int = 0


class Watch:
    """Looks at every connection and stream once a second."""

    def __init__(self, ingest: Ingest, config: Config, venue: Adapter) -> None:
        self._ingest = ingest
        self._venue = venue
        self._most = config.stale_after_s * SECOND
        self._quiet = QUIET_NS
        self._streams: dict[tuple[str, str], Stream] = {}
        self.counters = {"stale": 0, "silent_streams": 0}

    def turn(self) -> None:
        ingest = self._ingest
        if not ingest.links.is_connected:
            if ingest.links.problem and not ingest.paused:
                ingest.healer.asker.offline(ingest.links.problem, ingest.mono)
            return
        for link in list(ingest.links.links.values()):
            if link.slot.current is link and link.is_ready:
                streams = [self._stream(*key) for key in link.streams if key[1] != KLINE]
                if not self._is_silent(link, streams):
                    self._look_at_each(link, streams)
        self.counters["silent_streams"] = len(self._dead())
        self._pace()

    def _pace(self) -> None:
        """Where very many symbols are quiet, asking about them takes a quarter of the venue's weight and no more."""
        quiet = {stream.symbol for stream in self._streams.values() if stream.wait}
        weight = self._ingest.healer.probes.weight(len(quiet))
        self._quiet = max(QUIET_NS, 4 * weight * 60 * SECOND // max(1, self._ingest.listing.weight_per_min))

    @property
    def note(self) -> str:
        """One line for people."""
        dead = [f"{stream.symbol} {stream.kind}" for stream in self._dead()]
        more = f" and {len(dead) - 3} more" if len(dead) > 3 else ""
        return f"silent though subscribed to: {', '.join(dead[:3])}{more}" if dead else ""

    def _dead(self) -> list[Stream]:
        return [stream for stream in self._streams.values() if stream.is_dead]

    def _stream(self, symbol: str, kind: str) -> Stream:
        found = self._streams.get((symbol, kind))
        if found is None:
            found = self._streams[symbol, kind] = Stream(symbol, kind)
        return found

    # --- connections ---

    def _is_silent(self, link: Link, streams: list[Stream]) -> bool:
        """Whether nothing at all comes over it for too long; asks, and has it replaced where something should."""
        slot, mono = link.slot, self._ingest.mono
        slot.rhythm.look(link.data_mono, link.ready)
        quiet = mono - max(link.data_mono, link.ready)
        if link.unseen or quiet < slot.rhythm.limit(LINK_LEAST_NS, self._most):
            slot.ask_wait = 0
            return False
        if any(self._owes(link, stream, link.data_mono) for stream in streams):
            self._replace_silent(link, quiet, "while the venue traded")
        elif self._is_blind(mono - quiet) and quiet > slot.rhythm.limit(BLIND_NS, self._most):
            self._replace_silent(link, quiet, "and REST does not answer")
        elif mono - slot.asked >= slot.ask_wait:
            slot.asked, slot.ask_wait = mono, min(self._quiet, max(SLACK_NS, 2 * slot.ask_wait))
            lively = sorted(streams, key=lambda stream: (stream.rhythm.heard == 0, stream.rhythm.longest))
            self._ingest.healer.probe([stream.symbol for stream in lively[:SPOKESMEN]])
            if slot.ask_wait >= QUIET_NS:
                self._ingest.listing.doubt()
        # Nobody speaks for what one symbol alone has missed.
        books = self._ingest.books
        self._ingest.healer.probe(one.symbol for one in streams if mono - books[one.symbol].probed >= self._quiet)
        return True

    def _is_blind(self, since: int) -> bool:
        """Whether REST has not answered since then."""
        return self._ingest.healer.asker.answered_mono < since

    def _replace_silent(self, link: Link, quiet: int, why: str) -> None:
        ingest = self._ingest
        if link.slot.successor is not None or link.slot.is_old(ingest.mono):
            return
        self.counters["stale"] += 1
        said = f"silent for {quiet / SECOND:.1f} s {why}"
        logger.warning(f"connection {link.number} is stale: {said}; replacing it")
        symbols = sorted({symbol for symbol, kind in link.streams if kind == "quote"})
        if symbols:
            ingest.feed("stale", symbols, {"reason": said})
        ingest.links.replace(link, ingest.mono)

    # --- streams ---

    def _look_at_each(self, link: Link, streams: list[Stream]) -> None:
        count = len(link.streams)
        for stream in streams:
            self._look(link, stream)
            if not link.is_ready or len(link.streams) != count:
                return  # some have moved elsewhere

    def _look(self, link: Link, stream: Stream) -> None:
        ingest, mono = self._ingest, self._ingest.mono
        book = ingest.books[stream.symbol]
        if stream.link != link.number or stream.mark < 0:
            stream.link, stream.mark = link.number, book.newest[0]
        if stream.rhythm.look(book.heard(stream.kind), link.ready):
            stream.mark, stream.wait, stream.doubt = book.newest[0], 0, 0
            self._alive(stream)
            return
        last = max(stream.rhythm.heard, link.ready)
        limit = stream.rhythm.limit(LEAST_NS, self._most)
        if stream.rhythm.heard < link.ready:
            limit = max(FIRST_NS, limit)
        if mono - last < limit:
            return
        if self._owes(link, stream, last):
            self._alarm(link, stream, mono - last)
        if mono - max(stream.asked, book.probed) >= stream.wait:
            longest = SILENT_NS if stream.is_dead else self._quiet
            stream.asked, stream.wait = mono, min(longest, max(limit, 2 * stream.wait))
            ingest.healer.probe([stream.symbol])
            if stream.wait >= QUIET_NS:
                ingest.listing.doubt()

    def _owes(self, link: Link, stream: Stream, last: int) -> bool:
        """Whether trades since a moment of our clock should have made something come over a stream, by the venue's
        word. Replayed time does not run with the clock: there only what is behind all that came counts.
        """
        book, mono = self._ingest.books[stream.symbol], self._ingest.mono
        newest, ts = book.newest if stream.kind == "quote" else (book.newest_id, book.newest_ts)
        is_owed = ts > self._ingest.moment(last, link) + SLACK_NS
        if stream.kind == "quote":
            is_owed = is_owed and 0 <= stream.mark <= newest - OWED_TRADES
        if not is_owed:
            stream.doubt = 0
            return False
        stream.doubt = stream.doubt or mono
        return mono - stream.doubt >= DOUBT_NS

    def _alarm(self, link: Link, stream: Stream, quiet: int) -> None:
        """It is subscribed to, silent, and owes something."""
        ingest = self._ingest
        if not stream.is_dead:
            stream.is_dead = True
            self.counters["stale"] += 1
            said = f"silent for {quiet // SECOND} s while {stream.symbol} traded"
            logger.error(f"{stream.symbol}: {stream.kind} is subscribed to on connection {link.number} and {said}")
            ingest.feed("stale", [stream.symbol], {"stream": stream.kind, "reason": said})
        if stream.kind in link.unseen and len(self._venue.routes(stream.kind)) > 1:
            ingest.act(self._next_route(link, stream))
        elif ingest.mono >= stream.replace_at:
            stream.patience = min(max(PATIENCE_NS, 2 * stream.patience), MOST_PATIENCE_NS)
            stream.replace_at = ingest.mono + stream.patience
            ingest.links.replace(link, ingest.mono)

    def _next_route(self, link: Link, stream: Stream) -> list[Action]:
        """All streams of that kind start afresh there."""
        for other in self._streams.values():
            if other.kind == stream.kind:
                other.link = 0
        return self._ingest.links.try_next_route(link, stream.kind, self._ingest.mono)

    def _alive(self, stream: Stream) -> None:
        if stream.is_dead:
            stream.is_dead, stream.patience, stream.replace_at = False, 0, 0
            logger.info(f"{stream.symbol}: {stream.kind} comes again")
