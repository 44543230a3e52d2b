"""What is missing, asked for page by page: who comes first, by which question, and what counts of an answer.

The newest missing ids come first, a page at a time, one request a symbol. On spot a page is trades by id. Where raw
history is not to be had (futures), the newest trades are tried, then aggregates that lie wholly inside the gap: one
that reaches into what is held would be counted twice or not at all. Ids that consecutive aggregates leave out never
were trades of the book. Where hundreds of spot symbols lack a few trades each, aggregates of a single trade are taken
as the trades they are, for they cost less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from loguru import logger

from procs.ingest.asker import MOST_PAGES, Asker
from procs.ingest.config import Config
from procs.ingest.gaps import PAGE, Gap, Tracker
from procs.ingest.plans import Plans
from procs.ingest.symbols import Book
from shared import paths
from shared.events import AggTrade, Trade
from shared.ids import Ids
from shared.rest import Answer, Refused, RestError
from shared.venues import Adapter, Reject, Request

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
SPAN_NS: Final = 3300 * SECOND
"""Aggregates of at most an hour may be asked for by time."""
DAILY_IDS: Final = 100_000
"""So many ids of days before yesterday are left to the venue's daily archive: they cost a minute's weight by REST."""
MANY_PAGES: Final = 40
"""From so many answers that are still to come, what costs less is tried first …"""
FEW_IDS: Final = 50
"""… where no more ids than these are missing."""
SLACK_NS: Final = 2 * SECOND
CHEAP_TRIES: Final = 20
CHEAP_PAYS: Final = 5
"""After so many tries it has to have done for one gap in so many; the next outage is judged anew."""
MOST_CHEAP: Final = 200
MOST_SHARED: Final = 1000


class Pages:
    """What is under way of one source's missing ids."""

    def __init__(
        self,
        ingest: Ingest,
        config: Config,
        venue: Adapter,
        asker: Asker,
        plans: Plans,
        counters: dict[str, int],
    ) -> None:
        self._ingest = ingest
        self._config = config
        self._venue = venue
        self._plans = plans
        self.asker = asker
        self._healing: set[tuple[str, str]] = set()
        self._no_history = False
        self._cheap = (0, 0)
        """How often the cheaper way was tried of late, and how often nothing else was needed."""
        self.work = (0, 0)
        """How many answers it takes at most, and their weight."""
        self.counters = counters

    def turn(self, mono: int) -> bool:
        """The symbol whose gap has waited longest comes first. Whether anything is being healed."""
        waiting = []
        for book in self._ingest.books.values():
            for kind, tracker in book.trackers.items():
                if tracker.gaps and (book.symbol, kind) not in self._healing:
                    gap = tracker.due(mono)
                    if gap is not None:
                        waiting.append((gap.next_mono, book.symbol, kind))
        for _, symbol, kind in sorted(waiting):
            if not self.asker.is_free(mono, MOST_PAGES):
                return True
            book = self._ingest.books[symbol]
            tracker = book.trackers[kind]
            gap = tracker.due(mono)
            if gap is not None:
                self._heal(book, kind, tracker, gap)
        return bool(self._healing)

    def _heal(self, book: Book, kind: str, tracker: Tracker, gap: Gap) -> None:
        page = tracker.page(gap)
        if page is None:
            return
        if self._is_for_daily(kind, tracker, gap):
            self._ask_where_to_cut(book, kind, tracker, gap)
            return
        first, last = page
        symbol = book.symbol
        history = self._venue.ask_trades(symbol, first, last - first + 1) if not self._no_history else None
        recent = self._venue.ask_recent(symbol)
        if kind == "agg_trade":
            request = self._venue.ask_aggregates(symbol, first, None, None)
            self._fetch(book, kind, gap, request, partial(self._aggregates_by_id, book, tracker, page))
        elif history is not None and self._may_be_cheap(gap, first, last):
            span = max(0, gap.start - SLACK_NS), gap.end + SLACK_NS
            request = self._venue.ask_aggregates(symbol, None, *span)
            self._fetch(book, kind, gap, request, partial(self._singles, book, tracker, gap))
        elif history is not None:
            self._fetch(book, kind, gap, history, partial(self._history, book, tracker, page))
        elif recent is not None and "recent" not in gap.exhausted:
            self._fetch(book, kind, gap, recent, partial(self._recent, book, tracker, gap))
        elif self._venue.ids_have_holes and "aggregates" not in gap.exhausted:
            end = min(gap.end + SECOND, gap.start + SPAN_NS)
            request = self._venue.ask_aggregates(symbol, gap.cursor, gap.start, end)
            self._fetch(book, kind, gap, request, partial(self._aggregates_by_time, book, tracker, gap, end))
        else:
            self._tried(book, kind, tracker, gap.first, gap.last, "no REST endpoint serves them any more")

    def _may_be_cheap(self, gap: Gap, first: int, last: int) -> bool:
        """Whether to try aggregates first: for a sixth of a page's weight they hold what was traded one by one. That
        pays where many symbols lack a little.
        """
        tried, healed = self._cheap
        pays = tried < CHEAP_TRIES or healed * CHEAP_PAYS >= tried
        many = self.work[0] >= MANY_PAGES and "singles" not in gap.exhausted and pays
        return many and last - first < FEW_IDS and gap.start > 0 and gap.end - gap.start <= SPAN_NS

    def _singles(self, book: Book, tracker: Tracker, gap: Gap, answer: Answer) -> None:
        """An aggregate of one trade is that trade. What is still missing has a page of its own."""
        gap.exhausted |= {"singles"}
        rows = self._venue.parse_aggregates(answer.body, book.symbol, answer.had_wall)
        self.take_trades(book, tracker, [_trade(row) for row in rows if row.first_trade_id == row.last_trade_id])
        tried, healed = self._cheap
        tried, healed = tried + 1, healed + (not tracker.holes(gap))
        self._cheap = (tried, healed) if tried < MOST_CHEAP else (tried // 2, healed // 2)

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
                if tracker.puzzled(gap, self._ingest.mono):
                    self._tried(book, kind, tracker, gap.first, gap.last, "the venue's answers make no sense")

        def failed(error: RestError) -> None:
            self._healing.discard(key)
            gap.next_mono = max(self.asker.until, self._ingest.mono + SECOND)
            if not isinstance(error, Refused):
                return
            if "aggTrades" in request.path and kind == "trade" and not self._venue.ids_have_holes:
                gap.exhausted |= {"singles"}  # it was only the cheaper way
                return
            if request.path.endswith("/trades"):
                gap.exhausted |= {"recent"}
                return
            if "historicalTrades" in request.path and error.status in (404, 401) and not self._no_history:
                self._no_history = True
                logger.warning(f"this address serves no history ({error}): only the newest trades can be healed")
                return
            tracker = book.trackers[kind]
            self._tried(book, kind, tracker, gap.first, gap.last, f"the venue refuses: {error}")

        self.asker.ask(request, had, failed)

    def _history(self, book: Book, tracker: Tracker, page: tuple[int, int], answer: Answer) -> None:
        rows = self._venue.parse_trades(answer.body, book.symbol, answer.had_wall)
        brought = self.take_trades(book, tracker, rows)
        self._answered(book, "trade", tracker, page, [row.trade_id for row in rows], brought)

    def _answered(
        self, book: Book, kind: str, tracker: Tracker, page: tuple[int, int], ids: list[int], brought: int
    ) -> None:
        """What an answer passed over is not there; of what lies behind its last row it says nothing."""
        first, last = page
        reach = max(ids, default=first - 1)
        self._tried(book, kind, tracker, first, min(reach, last), "not in the venue's history")
        if reach < last and not brought:
            why = "the venue's history has not come to them"
            self._given_up(book, kind, tracker.lagged(max(first, reach + 1), last, self._ingest.mono), why)

    def _recent(self, book: Book, tracker: Tracker, gap: Gap, answer: Answer) -> None:
        rows = self._venue.parse_trades(answer.body, book.symbol, answer.had_wall)
        self.take_trades(book, tracker, rows)
        gap.exhausted |= {"recent"}
        low = min((row.trade_id for row in rows), default=gap.first)
        for other in tracker.gaps:
            if other.first >= low:  # they were among what was asked for
                other.exhausted |= {"recent"}

    def take_trades(self, book: Book, tracker: Tracker, rows: list[Trade]) -> int:
        brought = self._take_wanted(tracker, ((row.trade_id, row) for row in rows))
        if rows:
            last = max(rows, key=lambda row: row.trade_id)
            book.told(last.trade_id, None, last.ts)
        return brought

    def _take_wanted(self, tracker: Tracker, rows: Iterable[tuple[int, Trade | AggTrade]]) -> int:
        """Takes those of the rows, each with its id, that are missing; how many."""
        brought = 0
        for one, row in rows:
            if tracker.wanted(one):
                tracker.fetched(one)
                tracker.take(one, row.ts)
                self._ingest.recorder.add(row)
                brought += 1
        return brought

    def _aggregates_by_id(self, book: Book, tracker: Tracker, page: tuple[int, int], answer: Answer) -> None:
        rows = self._venue.parse_aggregates(answer.body, book.symbol, answer.had_wall)
        brought = self._take_wanted(tracker, ((row.agg_id, row) for row in rows))
        self._answered(book, "agg_trade", tracker, page, [row.agg_id for row in rows], brought)

    def _aggregates_by_time(self, book: Book, tracker: Tracker, gap: Gap, end: int, answer: Answer) -> None:
        """One page of the walk through the gap's span of time."""
        rows = sorted(
            self._venue.parse_aggregates(answer.body, book.symbol, answer.had_wall), key=lambda row: row.agg_id
        )
        for row in rows:
            if self._fills(tracker, row):
                tracker.fetched(row.first_trade_id, row.last_trade_id - row.first_trade_id + 1)
                tracker.take_range(row.first_trade_id, row.last_trade_id)
                self._ingest.recorder.add(row)
            elif any(first <= row.last_trade_id and last >= row.first_trade_id for first, last in tracker.holes(gap)):
                gap.shared = [*gap.shared, (row.first_trade_id, row.last_trade_id, row.agg_id)][-MOST_SHARED:]
        self._void(book, tracker, rows)
        if len(rows) >= PAGE and rows[-1].last_trade_id < gap.last:
            gap.cursor = rows[-1].agg_id + 1
        elif gap.cursor is None and end < gap.end:
            gap.start = end  # nothing more in this hour: the next one
        else:
            gap.cursor = None
            shared, gap.shared = gap.shared, []
            for begin, end in tracker.tried(gap.first, gap.last, self._ingest.mono):
                self._given_up_by_reason(book, begin, end, shared)

    def _given_up_by_reason(self, book: Book, begin: int, end: int, shared: list[tuple[int, int, int]]) -> None:
        """What a shared aggregate holds of these ids could at most be reckoned from what is held, and only what was
        observed is written.
        """
        said = Ids()
        for first, last, number in sorted(set(shared)):
            inside = max(begin, first), min(end, last)
            if inside[0] <= inside[1]:
                why = f"in aggregate {number} ({first} to {last}) with trades that are held: the daily file will tell"
                self._given_up(book, "trade", [inside], why)
                said.add_range(*inside)
        why = "not in the venue's aggregates: the daily file will tell"
        self._given_up(book, "trade", said.missing(begin, end), why)

    def _void(self, book: Book, tracker: Tracker, rows: list[AggTrade]) -> None:
        for before, after in pairwise(rows):
            if after.agg_id != before.agg_id + 1 or after.first_trade_id <= before.last_trade_id + 1:
                continue
            for first, last in tracker.void(before.last_trade_id + 1, after.first_trade_id - 1):
                self.counters["void_ids"] += last - first + 1
                why = "consecutive aggregates leave them out: no trades of the book"
                detail = {"stream": "trade", "first_id": first, "last_id": last, "reason": why}
                self._ingest.feed("unhealable", [book.symbol], detail)

    def _fills(self, tracker: Tracker, row: AggTrade) -> bool:
        inside = any(gap.first <= row.first_trade_id and row.last_trade_id <= gap.last for gap in tracker.gaps)
        return inside and not tracker.held.overlaps(row.first_trade_id, row.last_trade_id)

    def _tried(self, book: Book, kind: str, tracker: Tracker, first: int, reach: int, why: str) -> None:
        self._given_up(book, kind, tracker.tried(first, reach, self._ingest.mono), why)

    def _given_up(self, book: Book, kind: str, ranges: list[tuple[int, int]], why: str) -> None:
        for begin, end in ranges:
            self.counters["unhealable_ids"] += end - begin + 1
            detail = {"stream": kind, "first_id": begin, "last_id": end, "reason": why}
            self._ingest.feed("unhealable", [book.symbol], detail)
            logger.warning(f"{book.symbol}: {kind} ids {begin} to {end} cannot be healed: {why}")

    # --- what the daily archive is for ---

    def _is_for_daily(self, kind: str, tracker: Tracker, gap: Gap) -> bool:
        """Whether much of a gap may be of days whose file the venue has published."""
        if self._venue.daily is None or kind not in self._venue.daily.folders or self._config.replay:
            return False
        is_old = 0 < gap.start < self._yesterday() and "daily" not in gap.exhausted
        return is_old and sum(last - first + 1 for first, last in tracker.holes(gap)) >= DAILY_IDS

    def _yesterday(self) -> int:
        """When yesterday began at the venue."""
        now = self._ingest.now()
        return now - now % paths.DAY - paths.DAY

    def _ask_where_to_cut(self, book: Book, kind: str, tracker: Tracker, gap: Gap) -> None:
        """The first id of yesterday: what is before it comes from the daily files."""
        yesterday = self._yesterday()
        if gap.end and gap.end < yesterday:
            self._leave(book, kind, tracker, gap, gap.last + 1)
            return

        def had(answer: Answer) -> None:
            gap.exhausted |= {"daily"}  # asked once
            rows = self._venue.parse_aggregates(answer.body, book.symbol, answer.had_wall)
            if rows:
                ids = [row.first_trade_id if kind == "trade" else row.agg_id for row in rows]
                self._leave(book, kind, tracker, gap, min(ids))

        request = self._venue.ask_aggregates(book.symbol, None, yesterday, yesterday + SPAN_NS)
        self._fetch(book, kind, gap, request, had)

    def _leave(self, book: Book, kind: str, tracker: Tracker, gap: Gap, until: int) -> None:
        left = tracker.leave(gap, until)
        if left is None:
            return
        first, last = left
        count = last - first + 1
        days = gap.start, min(gap.end, self._yesterday() - 1)
        self._plans.leave(book.symbol, kind, left, days, self._ingest.wall)
        detail = {"stream": kind, "first_id": first, "last_id": last, "missing": count, "plan": "daily archive"}
        self._ingest.feed("gap", [book.symbol], {**detail, "from_ts": gap.start, "to_ts": gap.end})
        logger.warning(f"{book.symbol}: {count} {kind} ids of days before yesterday are left to the daily archive")

    def weigh(self) -> None:
        """How much is missing, and in how many answers at most."""
        trackers = [t for book in self._ingest.books.values() for t in book.trackers.values() if not t.is_quiet]
        self.counters["ids_daily"] = self._plans.ids
        self.counters["ids_missing"] = sum(tracker.missing for tracker in trackers)
        symbol = self._config.symbols[0]
        by_id = self._venue.ask_trades(symbol, 0, PAGE)
        request = by_id or self._venue.ask_aggregates(symbol, 0, None, None)
        pages = sum(tracker.pages for tracker in trackers)
        self.work = pages, pages * request.weight
        if not pages:
            self._cheap = (0, 0)


def _trade(one: AggTrade) -> Trade:
    """The only trade of an aggregate."""
    of = one.symbol, one.ts, one.ts_event, one.ts_sent, one.ts_recv, one.price, one.qty, one.side
    return Trade(*of, one.first_trade_id, one.source)
