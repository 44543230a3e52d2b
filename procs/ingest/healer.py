"""Everything ingest asks the venue over REST: what time it is, which symbols there are, the newest ids, what is
missing.

Healing asks for the lowest missing ids first, a page at a time, one request a symbol. On spot a page is trades by id.
Where raw history is not to be had (futures), the newest trades are tried, then aggregates that lie wholly inside the
gap: one that reaches into what is held would be counted twice or not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from loguru import logger

from procs.ingest.asker import Asker
from procs.ingest.config import Config
from procs.ingest.gaps import PAGE, Gap, Tracker
from procs.ingest.links import Link
from procs.ingest.symbols import Book
from shared.events import AggTrade, Trade
from shared.rest import Answer, Refused, RestError
from shared.topology import nearest
from shared.venues import MAX_ID, Adapter, Instrument, Reject, Request

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
MEASURE_NS: Final = 300 * SECOND
PROBE_NS: Final = 60 * SECOND
WAIT_NS: Final = 5 * SECOND
"""The venue is given this long to say which symbols it has before anything is connected."""
SPAN_NS: Final = 3300 * SECOND
"""Aggregates of at most an hour may be asked for by time."""
SAY_NS: Final = 10 * SECOND
CLOCK_NS: Final = 60 * SECOND
"""A clock further off is worth a word."""


class Healer:
    """The REST side of one source."""

    def __init__(self, ingest: Ingest, config: Config, venue: Adapter, chance: Callable[[], float]) -> None:
        self._ingest = ingest
        self._config = config
        self._venue = venue
        self.asker = Asker(config, venue, chance)
        self._probes: deque[str] = deque()
        self._healing: set[tuple[str, str]] = set()
        self._measured = -MEASURE_NS
        self._measurements = 0
        self._begun = 0
        self._subscribed: set[int] = set()
        self._checked = self._checking = self._has_time = self._said_clock = False
        self._no_history = False
        self._warned = False
        self._unsaid: dict[str, int] = {}
        self._said = -SAY_NS
        self.unknown: list[str] = []
        """Symbols the venue does not have, with suggestions: found before anything was connected, they end the
        process.
        """
        self.weight_per_min = venue.limits.weight_per_min
        self.venue_ts = 0
        """What the venue said last when asked for the time."""
        self.counters = {"gaps": 0, "healed_ids": 0, "unhealable_ids": 0}

    # --- start ---

    def begin(self, mono: int) -> None:
        self._begun = mono

    @property
    def may_connect(self) -> bool:
        if self.unknown:
            return False
        if self._config.replay and not self._has_time:  # the first quotes of a recording need a time
            return False
        return self._checked or self._ingest.mono - self._begun > WAIT_NS

    def turn(self) -> None:
        """Everything that is due."""
        mono = self._ingest.mono
        if self._free() and mono - self._measured >= (MEASURE_NS if self._measurements > 1 else SECOND):
            self._measured = mono
            self.asker.ask(self._venue.ask_time(), self._time, self._no_time)
        if self._free() and not self._checked and not self._checking:
            self._check(self._config.symbols)
        if not self._checked and not self._warned and mono - self._begun > WAIT_NS:
            self._warned = True
            logger.warning("the venue could not be asked which symbols it has: checked as soon as it answers")
        self._look(mono)
        self._say_gaps(mono)
        self._ask_about_gaps(mono)
        self._ask_about_quiet(mono)
        while self._probes and self._free():
            self._probe(self._probes.popleft())

    def _free(self) -> bool:
        return self.asker.is_free(self._ingest.mono)

    # --- time ---

    def _time(self, answer: Answer) -> None:
        try:
            venue = self._venue.parse_time(answer.body)
        except Reject as why:
            logger.warning(f"the venue's time: {why}")
            return
        self._has_time = True
        self._measurements += 1
        self.venue_ts = venue
        self._ingest.time.measure(venue, answer.asked_mono, answer.had_mono)
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
            self._has_time = True  # a server without that question: go on without

    def measure_again(self) -> None:
        self._measured = -MEASURE_NS

    def woke(self) -> None:
        """The machine slept: the venue's time is unknown, every connection is new."""
        self.measure_again()
        self._measurements = 0
        self._subscribed.clear()

    # --- symbols ---

    def _check(self, symbols: list[str]) -> None:
        self._checking = True
        request = self._venue.ask_instruments(symbols)
        self.asker.ask(request, self._instruments, partial(self._no_instruments, len(symbols) > 0))

    def _no_instruments(self, named: bool, error: RestError) -> None:
        self._checking = False
        if isinstance(error, Refused):
            if named:
                self._check([])  # one of the names is unknown: the whole list tells which
            else:
                self._checked = True
                logger.warning(f"the venue does not say which symbols it has ({error}): they are not checked")

    def _instruments(self, answer: Answer) -> None:
        self._checking = False
        try:
            found, weight = self._venue.parse_instruments(answer.body)
        except Reject as why:
            self._checked = True
            logger.warning(f"the venue's list of symbols: {why}")
            return None
        self.weight_per_min = weight or self.weight_per_min
        known = {instrument.symbol: instrument for instrument in found}
        missing = [symbol for symbol in self._config.symbols if symbol not in known]
        if missing and set(known) <= set(self._config.symbols):
            return self._check([])  # what came is what was named: suggestions need all of them
        self._checked = True
        self._say_status([known[symbol] for symbol in self._config.symbols if symbol in known])
        if not missing:
            return None
        texts = [f"{self._venue.name} has no {symbol}{nearest(symbol, known)}" for symbol in missing]
        if self._ingest.links.running:
            logger.error("; ".join(texts) + "; dropped")
            self._ingest.links.forget(missing)
        else:
            self.unknown = texts
        return None

    def _say_status(self, instruments: list[Instrument]) -> None:
        halted = [f"{i.symbol} ({i.status})" for i in instruments if i.status not in ("", "TRADING")]
        if halted:
            logger.warning(f"not trading at the moment: {', '.join(halted)}")

    # --- newest ids ---

    def subscribed(self, link: Link) -> None:
        """A connection delivers: what was missed before it did is asked for."""
        if link.number not in self._subscribed:
            self._subscribed.add(link.number)
            link.ready_ts = self._ingest.moment(self._ingest.mono, link)
            self.probe(symbol for symbol, kind in link.streams if kind != "quote")

    def probe_all(self) -> None:
        self.probe(self._ingest.books)

    def probe(self, symbols: Iterable[str]) -> None:
        waiting = set(self._probes)
        for symbol in dict.fromkeys(symbols):
            book = self._ingest.books[symbol]
            if symbol not in waiting and book.trackers and symbol in self._config.symbols:
                self._probes.append(symbol)

    def _ask_about_quiet(self, mono: int) -> None:
        if not self._ingest.links.is_connected:
            return
        for symbol in self._config.symbols:
            book = self._ingest.books[symbol]
            if book.trackers and mono - max(book.traded, book.probed) >= PROBE_NS:
                book.probed = mono
                self.probe([symbol])

    def _probe(self, symbol: str) -> None:
        book = self._ingest.books[symbol]
        book.probed = self._ingest.mono
        self.asker.ask(self._venue.ask_newest(symbol), partial(self._newest, book), partial(self._no_newest, book))

    def _newest(self, book: Book, answer: Answer) -> None:
        try:
            newest = self._venue.parse_newest(answer.body, book.symbol)
        except Reject as why:
            logger.warning(f"the newest trade of {book.symbol}: {why}")
            return
        if newest is None:
            return
        book.newest_ts = max(book.newest_ts, newest.ts)
        if "trade" in book.trackers:
            book.trades.told(newest.trade_id, newest.ts)
        if "agg_trade" in book.trackers and newest.agg_id is not None:
            book.aggregates.told(newest.agg_id, newest.ts)

    def _no_newest(self, book: Book, error: RestError) -> None:
        if not isinstance(error, Refused):
            self._probes.append(book.symbol)

    # --- gaps ---

    def _look(self, mono: int) -> None:
        for book in self._ingest.books.values():
            for kind, tracker in book.trackers.items():
                if tracker.is_quiet:
                    continue
                for gap in tracker.look(mono):
                    self.counters["gaps"] += 1
                    book.note_gap(gap, tracker, mono)
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

    def _ask_about_gaps(self, mono: int) -> None:
        """The symbol whose gap has waited longest comes first."""
        waiting = []
        for book in self._ingest.books.values():
            for kind, tracker in book.trackers.items():
                if tracker.gaps and (book.symbol, kind) not in self._healing:
                    gap = tracker.due(mono)
                    if gap is not None:
                        waiting.append((gap.next_mono, book.symbol, kind))
        for _, symbol, kind in sorted(waiting):
            if not self._free():
                return
            book = self._ingest.books[symbol]
            tracker = book.trackers[kind]
            gap = tracker.due(mono)
            if gap is not None:
                self._heal(book, kind, tracker, gap)

    def _heal(self, book: Book, kind: str, tracker: Tracker, gap: Gap) -> None:
        page = tracker.page(gap)
        if page is None:
            return
        first, last = page
        symbol = book.symbol
        history = self._venue.ask_trades(symbol, first, last - first + 1) if not self._no_history else None
        recent = self._venue.ask_recent(symbol)
        if kind == "agg_trade":
            request = self._venue.ask_aggregates(symbol, first, None, None)
            self._fetch(book, kind, gap, request, partial(self._aggregates_by_id, book, tracker, gap, first))
        elif history is not None:
            self._fetch(book, kind, gap, history, partial(self._history, book, tracker, gap, first))
        elif recent is not None and "recent" not in gap.exhausted:
            self._fetch(book, kind, gap, recent, partial(self._recent, book, tracker, gap))
        elif self._venue.ids_have_holes and "aggregates" not in gap.exhausted:
            end = min(gap.end + SECOND, gap.start + SPAN_NS)
            request = self._venue.ask_aggregates(symbol, gap.cursor, gap.start, end)
            self._fetch(book, kind, gap, request, partial(self._aggregates_by_time, book, tracker, gap, end))
        else:
            self._tried(book, kind, tracker, gap, gap.first, gap.last, "no REST endpoint serves them any more")

    def _fetch(self, book: Book, kind: str, gap: Gap, request: Request, handler: Callable[[Answer], None]) -> None:
        key = (book.symbol, kind)
        self._healing.add(key)

        def had(answer: Answer) -> None:
            self._healing.discard(key)
            try:
                handler(answer)
            except Reject as why:
                logger.warning(f"{book.symbol}: an answer that should have healed: {why}")
                tracker = book.trackers[kind]
                self._tried(book, kind, tracker, gap, gap.first, gap.last, "the venue's answers make no sense")

        def failed(error: RestError) -> None:
            self._healing.discard(key)
            gap.next_mono = max(self.asker.until, self._ingest.mono + SECOND)
            if not isinstance(error, Refused):
                return
            if "historicalTrades" in request.path and error.status in (404, 401) and not self._no_history:
                self._no_history = True
                logger.warning(f"this address serves no history ({error}): only the newest trades can be healed")
                return
            tracker = book.trackers[kind]
            self._tried(book, kind, tracker, gap, gap.first, gap.last, f"the venue refuses: {error}")

        self.asker.ask(request, had, failed)

    def _history(self, book: Book, tracker: Tracker, gap: Gap, first: int, answer: Answer) -> None:
        rows = self._venue.parse_trades(answer.body, book.symbol, answer.had_wall)
        self._take_trades(book, tracker, rows)
        # An answer says nothing of what lies behind its last row; an empty one says that there is nothing more.
        reach = max((row.trade_id for row in rows), default=MAX_ID)
        self._tried(book, "trade", tracker, gap, first, reach, "not in the venue's history")

    def _recent(self, book: Book, tracker: Tracker, gap: Gap, answer: Answer) -> None:
        rows = self._venue.parse_trades(answer.body, book.symbol, answer.had_wall)
        self._take_trades(book, tracker, rows)
        gap.exhausted |= {"recent"}

    def _take_trades(self, book: Book, tracker: Tracker, rows: list[Trade]) -> None:
        for row in rows:
            if tracker.wanted(row.trade_id):
                tracker.fetched(row.trade_id)
                tracker.take(row.trade_id, row.ts)
                self._ingest.recorder.add(row)

    def _aggregates_by_id(self, book: Book, tracker: Tracker, gap: Gap, first: int, answer: Answer) -> None:
        rows = self._venue.parse_aggregates(answer.body, book.symbol, answer.had_wall)
        for row in rows:
            if tracker.wanted(row.agg_id):
                tracker.fetched(row.agg_id)
                tracker.take(row.agg_id, row.ts)
                self._ingest.recorder.add(row)
        reach = max((row.agg_id for row in rows), default=MAX_ID)
        self._tried(book, "agg_trade", tracker, gap, first, reach, "not in the venue's history")

    def _aggregates_by_time(self, book: Book, tracker: Tracker, gap: Gap, end: int, answer: Answer) -> None:
        """One page of the walk through the gap's span of time."""
        rows = sorted(
            self._venue.parse_aggregates(answer.body, book.symbol, answer.had_wall), key=lambda row: row.agg_id
        )
        for row in rows:
            if self._fills(tracker, gap, row):
                tracker.fetched(row.first_trade_id, row.last_trade_id - row.first_trade_id + 1)
                tracker.take_range(row.first_trade_id, row.last_trade_id)
                self._ingest.recorder.add(row)
        if len(rows) >= PAGE and rows[-1].last_trade_id < gap.last:
            gap.cursor = rows[-1].agg_id + 1
        elif gap.cursor is None and end < gap.end:
            gap.start = end  # nothing more in this hour: the next one
        else:
            gap.cursor = None
            why = "not in the venue's aggregates, or in one whose other trades are held"
            self._tried(book, "trade", tracker, gap, gap.first, gap.last, why)

    def _fills(self, tracker: Tracker, gap: Gap, row: AggTrade) -> bool:
        inside = gap.first <= row.first_trade_id and row.last_trade_id <= gap.last
        return inside and not tracker.held.overlaps(row.first_trade_id, row.last_trade_id)

    def _tried(self, book: Book, kind: str, tracker: Tracker, gap: Gap, first: int, reach: int, why: str) -> None:
        for begin, end in tracker.tried(first, reach, self._ingest.mono):
            self.counters["unhealable_ids"] += end - begin + 1
            detail = {"stream": kind, "first_id": begin, "last_id": end, "reason": why}
            self._ingest.feed("unhealable", [book.symbol], detail)
            logger.warning(f"{book.symbol}: {kind} ids {begin} to {end} cannot be healed: {why}")

    @property
    def is_busy(self) -> bool:
        """Whether something is still asked for or missing."""
        waiting = any(not t.is_quiet for book in self._ingest.books.values() for t in book.trackers.values())
        return bool(self.asker.is_busy or self._probes or waiting)
