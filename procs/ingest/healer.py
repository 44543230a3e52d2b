"""What ingest asks the venue over REST: what time it is, the newest ids (`probes`), what is missing (`pages`),
what was lost here (`losses`); and what it says of gaps, when they are found and when they are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from loguru import logger

from procs.ingest.asker import Asker
from procs.ingest.config import Config
from procs.ingest.gaps import Gap, Tracker
from procs.ingest.losses import Losses
from procs.ingest.pages import Pages
from procs.ingest.plans import Plans
from procs.ingest.probes import Probes
from procs.ingest.slots import Link
from procs.ingest.symbols import Book
from shared.rest import Answer, Refused, RestError
from shared.venues import Adapter, Reject

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
MEASURE_NS: Final = 300 * SECOND
SAY_NS: Final = 10 * SECOND
CLOCK_NS: Final = 60 * SECOND
"""A clock further off is worth a word."""
WORTH_SAYING: Final = 20
"""Pages from which people are told how long healing will take."""


class Healer:
    """The REST side of one source."""

    def __init__(
        self, ingest: Ingest, config: Config, venue: Adapter, plans: Plans, chance: Callable[[], float]
    ) -> None:
        self._ingest = ingest
        self._config = config
        self._venue = venue
        self._plans = plans
        self.asker = Asker(config, venue, chance)
        self.probes = Probes(ingest, config, venue, self.asker)
        self._measured = -MEASURE_NS
        self._measurements = 0
        self._subscribed: set[int] = set()
        self._said_clock = False
        self._unsaid: dict[str, int] = {}
        self._said = -SAY_NS
        self.has_time = False
        """The venue has said what time it is, or cannot say it."""
        self.venue_ts = 0
        """What the venue said last when asked for the time."""
        self._weighed = 0
        self.counters = dict.fromkeys(
            ("ids_missing", "ids_daily", "gaps", "healed_ids", "unhealable_ids", "void_ids", "records_damaged"), 0
        )
        self._losses = Losses(ingest, self.counters)
        self.pages = Pages(ingest, config, venue, self.asker, plans, self.counters)

    def turn(self) -> None:
        """Everything that is due."""
        mono = self._ingest.mono
        self._losses.turn(mono)
        if self._free() and mono - self._measured >= (MEASURE_NS if self._measurements > 1 else SECOND):
            self._measured = mono
            self.asker.ask(self._venue.ask_time(), self._time, self._no_time)
        self._look(mono)
        self._say_gaps(mono)
        self.probes.turn(mono, self.pages.turn(mono))
        if mono - self._weighed >= SECOND:
            self._weighed = mono
            self._plans.turn(mono)
            self.pages.weigh()

    def _free(self) -> bool:
        return self.asker.is_free(self._ingest.mono)

    # --- time ---

    def _time(self, answer: Answer) -> None:
        try:
            venue = self._venue.parse_time(answer.body)
        except Reject as why:
            logger.warning(f"the venue's time: {why}")
            return
        self.has_time = True
        self.venue_ts = venue
        if not self._ingest.time.measure(venue, answer.asked_mono, answer.had_mono):
            self.measure_again()
            return
        self._measurements += 1
        trip = answer.had_mono - answer.asked_mono
        offset = venue - (answer.had_wall - trip // 2)
        if not self._config.replay:
            self._ingest.feed("clock", [], {"offset_ns": offset, "round_trip_ns": trip})
            self._say_clock(offset)

    def _say_clock(self, offset: int) -> None:
        if abs(offset) > CLOCK_NS and not self._said_clock:
            minutes = abs(offset) // (60 * SECOND)
            way = "behind" if offset > 0 else "ahead of"
            logger.warning(
                f"this machine's clock is {minutes // 60} h {minutes % 60} min {way} the venue's: set it. "
                "Files and bars go by the venue's time and are right; only ts_recv is not"
            )
        self._said_clock = abs(offset) > CLOCK_NS

    def _no_time(self, error: RestError) -> None:
        self._measured = min(self._measured, self._ingest.mono - MEASURE_NS + 5 * SECOND)
        if isinstance(error, Refused):
            self.has_time = True  # a server without that question: go on without

    def measure_again(self) -> None:
        self._measured = -MEASURE_NS

    def woke(self) -> None:
        """The machine slept: the venue's time is unknown, every connection is new."""
        self.measure_again()
        self._measurements = 0
        self._subscribed.clear()

    # --- newest ids ---

    def subscribed(self, link: Link) -> None:
        """A connection delivers: what was missed before it did is asked for."""
        if link.number not in self._subscribed:
            self._subscribed.add(link.number)
            link.ready = self._ingest.mono
            self.probe(symbol for symbol, kind in link.streams if kind in ("trade", "agg_trade"))

    def probe_all(self) -> None:
        self.probe(self._ingest.books)

    def probe(self, symbols: Iterable[str]) -> None:
        self.probes.add(symbols)

    # --- gaps ---

    def _look(self, mono: int) -> None:
        for book in self._ingest.books.values():
            for kind, tracker in book.trackers.items():
                if tracker.is_quiet:
                    continue
                for gap in tracker.look(mono):
                    self.counters["gaps"] += 1
                    detail = {"stream": kind, "first_id": gap.first, "last_id": gap.last, "missing": gap.missing}
                    self._ingest.feed("gap", [book.symbol], {**detail, "from_ts": gap.start, "to_ts": gap.end})
                    self._unsaid[book.symbol] = self._unsaid.get(book.symbol, 0) + gap.missing
                for gap in tracker.settle():
                    self._settled(book, kind, tracker, gap)

    def _say_gaps(self, mono: int) -> None:
        """One line for many gaps."""
        if self._unsaid and mono - self._said >= SAY_NS:
            parts = [f"{symbol} {count}" for symbol, count in sorted(self._unsaid.items())]
            more = f" and {len(parts) - 10} symbols more" if len(parts) > 10 else ""
            logger.info(f"ids found missing: {', '.join(parts[:10])}{more}; asking for them")
            self._said = mono
            self._unsaid.clear()

    def _settled(self, book: Book, kind: str, tracker: Tracker, gap: Gap) -> None:
        """What of a gap is held now, and was not given up, is healed."""
        for first, last in tracker.gone.missing(gap.first, gap.last):
            detail = {"stream": kind, "first_id": first, "last_id": last}
            self._ingest.feed("healed", [book.symbol], {**detail, "source": "rest" if gap.fetched else "ws"})
        self.counters["healed_ids"] += gap.fetched

    @property
    def note(self) -> str:
        """How long healing will take, where that is worth a word."""
        pages, weight = self.pages.work
        if pages < WORTH_SAYING:
            left = self.counters["ids_daily"]
            return f"{left} ids of days before yesterday come from the daily archive" if left else ""
        minutes = weight / max(1, self._ingest.listing.weight_per_min // 2)
        missing = self.counters["ids_missing"]
        return f"{missing} ids missing: {pages} pages, weight {weight}, about {max(1, round(minutes))} min"

    @property
    def is_busy(self) -> bool:
        """Whether something is still asked for or missing."""
        waiting = any(not t.is_quiet for book in self._ingest.books.values() for t in book.trackers.values())
        return bool(self.asker.is_busy or self.probes.is_busy or waiting)
