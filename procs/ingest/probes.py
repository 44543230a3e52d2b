"""The newest trade there is, by the venue's own word: asked of symbols one by one, or of all of them at once.

One answer about all symbols costs what a few answers about one do, but says ids alone. Where trades have contiguous ids
that is enough: what is missing is asked for. Elsewhere, a symbol of which it names a trade that nothing later has
proved is asked about by itself. Asking never takes much of the weight that healing needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from loguru import logger

from procs.ingest.asker import Asker
from procs.ingest.config import Config
from procs.ingest.symbols import Book
from shared.rest import Answer, Refused, RestError
from shared.venues import Adapter, Reject, Request

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND
FEW: Final = 5
"""Up to so many symbols are asked about one by one: that says the time of the trade, too."""
APART_NS: Final = 5 * SECOND
"""Between two questions about all symbols."""
DOUBT_NS: Final = 3 * SECOND
"""What an answer about all symbols names is on its way for so long."""
SHARE: Final = 2
"""One part in so many of our share of the venue's weight is for these questions …"""
SHARE_HEALING: Final = 10
"""… and in so many while something is missing."""


class Probes:
    """Who is asked about next."""

    def __init__(self, ingest: Ingest, config: Config, venue: Adapter, asker: Asker) -> None:
        self._ingest = ingest
        self._symbols = list(config.symbols)
        self._venue = venue
        self._asker = asker
        self._waiting: dict[str, None] = {}
        self._alone: dict[str, None] = {}
        """Those that an answer about all does not do for."""
        self._doubts: dict[str, tuple[int, int]] = {}
        """By symbol the newest id of an answer about all, and when that was asked for."""
        self._unborn: set[str] = set()
        self._spent: deque[tuple[int, int]] = deque()
        """When questions were asked in the last minute, and their weight."""
        self._singles: deque[int] = deque()
        self._is_asking = False
        self._asked_all = -APART_NS
        self._takes_names = True
        self._takes_all = True

    def add(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            if symbol in self._ingest.books:
                self._waiting[symbol] = None

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting or self._alone or self._doubts)

    def turn(self, mono: int, is_healing: bool) -> None:
        """Asks what is due and affordable."""
        self._settle(mono)
        while self._spent and self._spent[0][0] <= mono - MINUTE_NS:
            self._spent.popleft()
        while self._singles and self._singles[0] <= mono - MINUTE_NS:
            self._singles.popleft()
        while (self._waiting or self._alone) and self._asker.is_free(mono):
            if self._alone:
                symbol = next(iter(self._alone))
                request = self._venue.ask_newest(symbol)
                if not self._affords(request, is_healing):
                    return
                del self._alone[symbol]
                self._ask_one(symbol, request)
                continue
            all_of_them = self._about_all()
            if all_of_them is None:
                symbol = next(iter(self._waiting))
                request = self._venue.ask_newest(symbol)
                if not self._affords(request, is_healing):
                    return
                del self._waiting[symbol]
                self._ask_one(symbol, request)
                continue
            if self._is_asking or mono - self._asked_all < APART_NS or not self._affords(all_of_them, is_healing):
                return
            self._ask_all(all_of_them)

    def _affords(self, request: Request, is_healing: bool) -> bool:
        ours = self._ingest.listing.weight_per_min // 2
        spent = sum(weight for _, weight in self._spent)
        return spent + request.weight <= max(ours // (SHARE_HEALING if is_healing else SHARE), request.weight)

    def _spend(self, request: Request) -> None:
        self._spent.append((self._ingest.mono, request.weight))

    def weight(self, count: int) -> int:
        """What it takes to ask about so many symbols."""
        request = self._venue.ask_newest_ids(self._symbols) if self._takes_all and count > FEW else None
        each = count * self._venue.ask_newest(self._symbols[0]).weight
        return each if request is None else min(each, request.weight)

    # --- one symbol ---

    def _ask_one(self, symbol: str, request: Request) -> None:
        book = self._ingest.books[symbol]
        book.probed = self._ingest.mono
        self._singles.append(self._ingest.mono)
        self._spend(request)
        self._asker.ask(request, partial(self._newest, book), partial(self._no_newest, book))

    def _newest(self, book: Book, answer: Answer) -> None:
        try:
            newest = self._venue.parse_newest(answer.body, book.symbol)
        except Reject as why:
            logger.warning(f"the newest trade of {book.symbol}: {why}")
            return
        if newest is not None:
            book.told(newest.trade_id, newest.agg_id, newest.ts)

    def _no_newest(self, book: Book, error: RestError) -> None:
        if not isinstance(error, Refused):
            self._alone[book.symbol] = None

    # --- all symbols ---

    def _about_all(self) -> Request | None:
        """The one question that costs less than those for each who waits, and who was asked about of late."""
        many = len(self._waiting) + len(self._singles)
        if min(many, len(self._symbols)) <= FEW or not self._takes_all:
            return None
        request = self._venue.ask_newest_ids(self._symbols if self._takes_names else ())
        if request is None or request.weight >= many * self._venue.ask_newest(self._symbols[0]).weight:
            return None
        return request

    def _ask_all(self, request: Request) -> None:
        mono = self._ingest.mono
        asked = dict(self._waiting)
        self._waiting.clear()
        self._singles.clear()
        self._is_asking, self._asked_all = True, mono
        self._spend(request)
        for book in self._ingest.books.values():
            book.probed = mono
        self._asker.ask(request, partial(self._newest_ids, asked, mono), partial(self._no_ids, asked))

    def _newest_ids(self, asked: dict[str, None], mono: int, answer: Answer) -> None:
        self._is_asking = False
        try:
            newest = self._venue.parse_newest_ids(answer.body)
        except Reject as why:
            logger.warning(f"the newest trades: {why}")
            self._alone.update(asked)
            return
        for book in self._ingest.books.values():
            one = newest.get(book.symbol)
            is_new = any(tracker.top is None for tracker in book.trackers.values())
            if is_new and book.symbol not in asked:
                continue  # it begins when its stream does, which nobody has said yet
            if one is not None:
                self._told(book, one, mono)
            elif is_new and book.symbol not in self._unborn:
                self._alone[book.symbol] = None  # it did not trade for a day
                self._unborn.add(book.symbol)  # if it never did, the first answer that names it will tell

    def _told(self, book: Book, newest: int, mono: int) -> None:
        if "trade" in book.trackers and not self._venue.ids_have_holes:
            book.trades.told(newest, self._ingest.now())
            if "agg_trade" not in book.trackers:
                return
        self._doubts[book.symbol] = newest, mono

    def _settle(self, mono: int) -> None:
        """Whether what was named came over a stream, or something later did, which tells what is missing."""
        for symbol, (newest, asked) in list(self._doubts.items()):
            book = self._ingest.books[symbol]
            is_new = any(tracker.top is None for tracker in book.trackers.values())
            if not is_new and all(book.heard(kind) > asked for kind in book.trackers):
                del self._doubts[symbol]
            elif is_new or mono - asked >= DOUBT_NS:
                del self._doubts[symbol]
                if is_new or newest > book.newest[0]:
                    self._alone[symbol] = None

    def _no_ids(self, asked: dict[str, None], error: RestError) -> None:
        self._is_asking = False
        self._waiting.update(asked)
        if not isinstance(error, Refused):
            return
        self._asked_all = -APART_NS  # nobody will be asked the same again
        if self._takes_names and len(self._symbols) <= 100 and error.status != 404:
            self._takes_names = False  # one of them is unknown there
        else:
            self._takes_all = False
