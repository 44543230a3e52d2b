"""Silence: which connection or stream should be delivering and is not. An illiquid symbol is no fault, a dead feed is.

What is asked is always the venue itself: a stream is silent where REST knows of trades that came after it was
subscribed to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loguru import logger

from procs.ingest.config import Config
from procs.ingest.links import Link

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
FIRST_NS: Final = 10 * SECOND
"""First data are due after this time, if there were any."""
SLACK_NS: Final = 2 * SECOND
"""Venue time between a trade and the moment from which it counts as owed."""
BLIND: Final = 4
"""Where REST does not answer, a silent connection is replaced after so many times the limit."""
STRIKES: Final = 2


class Watch:
    """Looks at every connection once a second."""

    def __init__(self, ingest: Ingest, config: Config) -> None:
        self._ingest = ingest
        self._stale_ns = config.stale_after_s * SECOND
        self.counters = {"stale": 0}

    def turn(self) -> None:
        ingest = self._ingest
        if not ingest.links.is_connected:
            if ingest.links.problem and not ingest.paused:
                ingest.healer.asker.offline(ingest.links.problem, ingest.mono)
            return
        for link in list(ingest.links.links.values()):
            if link.is_ready and link.slot.current is link:
                self._first_data(link)
                self._later_data(link)
        self._strikes()

    def _owed(self, link: Link, since: int) -> bool:
        """Whether there were trades of its symbols after a moment of venue time, by the venue's word."""
        books = self._ingest.books
        return any(books[symbol].newest_ts > since + SLACK_NS for symbol, _ in link.streams)

    def _ask(self, link: Link) -> None:
        """A few symbols speak for the connection."""
        books = self._ingest.books
        symbols = list(dict.fromkeys(symbol for symbol, _ in link.streams))
        symbols.sort(key=lambda symbol: books[symbol].probed)
        due = self._ingest.mono - FIRST_NS
        self._ingest.healer.probe([symbol for symbol in symbols[:5] if books[symbol].probed <= due])

    def _first_data(self, link: Link) -> None:
        mono = self._ingest.mono
        if not link.unseen or link.opened is None or mono - link.opened < FIRST_NS:
            return
        # Replayed time does not run with the clock: only what came since counts there, and that is seen.
        since = link.ready_ts
        if since and self._owed(link, since):
            kind = min(link.unseen)
            self.counters["stale"] += 1
            link.ready_ts = 0
            self._ingest.act(self._ingest.links.try_next_route(link, kind, mono))
        else:
            self._ask(link)

    def _later_data(self, link: Link) -> None:
        mono = self._ingest.mono
        quiet = mono - link.data_mono
        if link.unseen or quiet < self._stale_ns:
            return
        if self._owed(link, self._ingest.moment(link.data_mono, link)):
            self._stale(link, f"silent for {quiet // SECOND} s while the venue traded")
        elif quiet > BLIND * self._stale_ns and self._ingest.healer.asker.until > mono:
            self._stale(link, f"silent for {quiet // SECOND} s, and REST does not answer")
        else:
            self._ask(link)

    def _stale(self, link: Link, why: str) -> None:
        ingest = self._ingest
        if link.slot.successor is not None or link.slot.is_old(ingest.mono):
            return
        self.counters["stale"] += 1
        logger.warning(f"connection {link.number} is stale: {why}; replacing it")
        symbols = sorted({symbol for symbol, kind in link.streams if kind == "quote"})
        if symbols:
            ingest.feed("stale", symbols, {"reason": why})
        ingest.links.replace(link, ingest.mono)

    def _strikes(self) -> None:
        """A symbol whose trades twice came over REST alone has lost its stream inside a healthy connection."""
        ingest = self._ingest
        for book in ingest.books.values():
            if book.strikes < STRIKES:
                continue
            book.strikes = 0
            for link in list(ingest.links.links.values()):
                if link.slot.current is link and (book.symbol, "trade") in link.streams and link.is_ready:
                    self.counters["stale"] += 1
                    logger.warning(f"{book.symbol} has gone silent inside connection {link.number}: replacing it")
                    ingest.links.replace(link, ingest.mono)
