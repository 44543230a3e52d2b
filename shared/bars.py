"""One-second bars as a pure function of records: the same for streaming, replay, simulation and rebuild.

Events say what happened, time records say how far time has come. A second closes at the first time record that is
`lateness` past its end. Nothing else decides: no clock, no batch boundary, no order of arrival within the lateness.

    bars = Bars()
    bars.take(batch.events)
    closed = bars.advance(batch.ts)      # (closed until, bars) or None
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterable, Sequence
from itertools import groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from shared import kernels
from shared.events import AggTrade, Bar, Columns, Event, Feed, Quote, Trade
from shared.numbers import Units
from shared.paths import SECOND
from shared.seconds import Second
from shared.series import Series

if TYPE_CHECKING:  # numpy costs more than an idle aggregator
    from shared.tally import Tally

STATE_VERSION = 3
ENDS_QUOTES = ("disconnected", "suspended", "stale")
"""After one of these no quote stands until the next one comes."""
FEW = 48
"""Single events that cost less as they are. Of more, a busy moment may follow: what it finds should be rows already."""
COUNTERS = ("duplicates", "excluded", "late_trades", "late_quotes", "late_feed", "unreadable", "revisions")


class Bars:
    """All symbols of one journal.

    `lateness_ns`: how long a second waits for what was overtaken on its way. `revise_ns`: how long after that a trade
    is still merged and the bar given out again. `use_agg`: whether live aggregate trades make the bars, because no raw
    trades are subscribed; otherwise only fetched ones count, and only where no raw trade is held.
    """

    def __init__(self, lateness_ns: int = 2 * SECOND, revise_ns: int = 600 * SECOND, use_agg: bool = False) -> None:
        self._lateness = lateness_ns
        self._revise = revise_ns // SECOND
        self._use_agg = use_agg
        self._units = Units()
        self._series: dict[str, Series] = {}
        self._cuts: list[int] = []  # those of all symbols, for symbols not seen yet
        self._closed: int | None = None  # seconds before this one are closed
        self._stirred: set[str] = set()
        self._ends = False
        self._tally: Tally | None = None  # open seconds of which nothing unusual came
        self.counters = dict.fromkeys(COUNTERS, 0)

    @property
    def closed_until(self) -> int | None:
        """All bars that end by this time were given out."""
        return None if self._closed is None else self._closed * SECOND

    # --- events ---

    def take(self, events: Sequence[Event] | Columns) -> None:
        """Adds events, in the order of their records."""
        if isinstance(events, Columns):
            self._columns(events)
        elif kernels.loops is None or len(events) < FEW:
            self._singly(events)
        else:
            self._gathered(events)

    def _gathered(self, events: Sequence[Event]) -> None:
        """Single events as columns, as far as they can be, so that a second has them all as a row."""
        from shared.barcolumns import columned

        for is_plain, run in groupby(events, _is_plain):
            some = list(run)
            columns = columned(some, self._units) if is_plain else None  # type: ignore[arg-type]
            if columns is None:
                self._singly(some)
            else:
                self._columns(columns)

    def _singly(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Quote):
                self._quote(event)
            elif isinstance(event, Trade):
                self._trade(event)
            elif isinstance(event, AggTrade):
                self._agg_trade(event)
            elif isinstance(event, Feed):
                self._feed(event)

    def add(self, event: Event) -> None:
        self._singly((event,))

    def _quote(self, quote: Quote) -> None:
        series = self._series.get(quote.symbol) or self._begin(quote.symbol)
        if series.is_tallied:
            self._untally(series)
        sec = quote.ts // SECOND
        second = series.open.get(sec)
        if second is None:
            if self._closed is not None and sec < self._closed:
                self.counters["late_quotes"] += 1
                series.late_quote(quote, self._closed * SECOND)
                return
            second = series.open[sec] = Second()
        second.quotes.append(quote)

    def _trade(self, trade: Trade) -> None:
        one = trade.trade_id
        try:
            price, qty = self._units[trade.price], self._units[trade.qty]
        except ValueError:
            self.counters["unreadable"] += 1
            return
        series = self._series.get(trade.symbol) or self._begin(trade.symbol)
        if series.is_tallied:
            self._untally(series)
        if not series.ids.add(one):
            self.counters["duplicates"] += 1
            return
        sec = trade.ts // SECOND
        second = series.open.get(sec)
        counted = trade.trade_type is None or trade.trade_type == "MARKET"
        if second is not None and counted and one > series.top:  # as nearly all are: no hole filled, nothing late
            series.top = one
            second.take(one, one, price, qty, trade.side == "buy")
            return
        self._place(series, sec, one, one, price, qty, trade.side == "buy", counted)

    def _agg_trade(self, trade: AggTrade) -> None:
        if trade.source == "ws" and not self._use_agg:
            return
        first, last = trade.first_trade_id, trade.last_trade_id
        try:
            price, qty = self._units[trade.price], self._units[trade.qty]
        except ValueError:
            self.counters["unreadable"] += 1
            return
        series = self._series.get(trade.symbol) or self._begin(trade.symbol)
        if series.is_tallied:
            self._untally(series)
        if last < first or series.ids.overlaps(first, last):
            self.counters["duplicates"] += 1
            return
        series.ids.add_range(first, last)
        self._place(series, trade.ts // SECOND, first, last, price, qty, trade.side == "buy", True)

    def _place(
        self, series: Series, sec: int, first: int, last: int, price: int, qty: int, is_buy: bool, counted: bool
    ) -> None:
        """Puts newly held ids into their second, whatever state it is in."""
        if first < series.top:
            self._stirred.add(series.symbol)  # may fill a hole in a closed bar
        series.top = max(series.top, last)
        self.counters["excluded"] += not counted
        closed = self._closed is not None and sec < self._closed
        if closed and sec < self._horizon():
            self.counters["late_trades"] += 1
            self._stirred.add(series.symbol)
            series.forgo(last)
            return
        second = series.late(sec) if closed else series.open.setdefault(sec, Second())
        if counted:
            second.take(first, last, price, qty, is_buy)
        second.top = max(second.top, last)
        if closed:
            self._stirred.add(series.symbol)
            series.touch(sec, last, counted)

    def _feed(self, feed: Feed) -> None:
        if feed.kind == "ended":
            self._ends = True
        if feed.kind not in ENDS_QUOTES:
            return
        if self._closed is not None and feed.ts < self._closed * SECOND:
            self.counters["late_feed"] += 1
        if not feed.symbols:
            insort(self._cuts, feed.ts)
        for symbol in feed.symbols or list(self._series):
            (self._series.get(symbol) or self._begin(symbol)).cut(feed.ts)

    def _columns(self, columns: Columns) -> None:
        """The same as taking its events one by one: whatever is not plain is taken so."""
        tally = self._tallying(columns.digits)
        look = tally.look(columns) if tally is not None else None
        if tally is None or look is None:
            self._grouped(columns)
            return
        found = [self._series.get(symbol) or self._begin(symbol) for symbol in columns.symbols]
        since = list(map(tally.since, look.runs, found, repeat(self._closed)))
        rest = tally.rest(look, since)
        if rest is not None:
            self._grouped(rest)
        tally.take(look, since)
        for run, series, begin in zip(look.runs, found, since, strict=True):
            if run.highest >= begin:
                series.is_tallied = True
                if run.trades:
                    series.ids.add_range(run.first_id, run.last_id)
                    series.top = run.last_id

    def _tallying(self, digits: int) -> Tally | None:
        """Where the loops are compiled."""
        if kernels.loops is None:
            return None
        if self._tally is None or self._tally.digits != digits:
            from shared.tally import Tally  # numpy: who makes bars of single events does without

            for series in self._series.values():
                if series.is_tallied:
                    self._untally(series)
            self._tally = Tally(kernels.loops, digits)
        return self._tally

    def _untally(self, series: Series) -> None:
        """What comes next of a symbol is not plain: its rows become seconds."""
        if self._tally is not None:
            series.open.update(self._tally.taken(series))

    def _grouped(self, columns: Columns) -> None:
        """Summed up by symbol and second without the loops; what is not plain, one by one."""
        from shared.barcolumns import grouped

        grouping = grouped(columns)
        if grouping is None:
            self._singly(columns)
            return
        for groups, seconds in grouping.trades():
            symbol = groups[0].symbol
            series = self._seconds_of(symbol)
            is_late = self._closed is not None and groups[0].sec < self._closed
            if seconds is None or is_late or seconds[0].first_id <= series.top:
                self._singly(grouping.single_trades(groups))
                continue
            series.top = seconds[-1].last_id
            series.ids.add_range(seconds[0].first_id, series.top)
            for group, second in zip(groups, seconds, strict=True):
                if (before := series.open.setdefault(group.sec, second)) is not second:
                    before.follow(second)
        for group, stretch in grouping.quotes():
            if self._closed is not None and group.sec < self._closed:
                self._singly(grouping.single_quotes(group))
                continue
            second = self._seconds_of(group.symbol).begun(group.sec)
            if second.runs is None:
                second.runs = grouping.runs()
            second.runs.add(grouping.digits, (grouping.block, group.begin, group.end), stretch)

    def _seconds_of(self, symbol: str) -> Series:
        """A symbol, none of whose open seconds is a row."""
        series = self._series.get(symbol) or self._begin(symbol)
        if series.is_tallied:
            self._untally(series)
        return series

    def _begin(self, symbol: str) -> Series:
        series = self._series[symbol] = Series(symbol, self._units, list(self._cuts))
        return series

    # --- time ---

    def _horizon(self) -> int:
        """The first second that may still be revised."""
        return (self._closed or 0) - self._revise

    def advance(self, ts: int) -> tuple[int, list[Bar]] | None:
        """A time record: what it closes and what is revised, with the time up to which all bars were given out; None
        where that time did not move and nothing was revised."""
        closed = (ts - self._lateness) // SECOND
        if self._ends:
            latest = max((sec for series in self._series.values() for sec in series.open), default=closed)
            tallied = self._tally.latest() if self._tally is not None else None
            closed = max(closed, -(-ts // SECOND), latest + 1, (tallied or 0) + 1)
            self._ends = False
        before = self._closed
        if before is not None and closed <= before:
            if not self._stirred:
                return None
            closed = before
        bars = [bar for symbol in self._stirred for bar in self._series[symbol].revise()]
        self._stirred.clear()
        self.counters["revisions"] += sum(bar.revision > 0 for bar in bars)
        if before is None or closed > before:
            self._close_until(closed, bars)
        elif not bars:
            return None
        bars.sort(key=_in_order)
        return closed * SECOND, bars

    def _close_until(self, closed: int, bars: list[Bar]) -> None:
        self._close_singly(closed, bars)
        if self._tally is not None:  # of a symbol rows are of later seconds than those that stand in its series
            made, odd = self._tally.close(closed, self._series, self._units)
            bars += made
            for series in odd:
                self._untally(series)
            if odd:
                self._close_singly(closed, bars)
            self._tally.move(closed)
        self._closed = closed
        horizon = self._horizon()
        for series in self._series.values():
            series.evict(closed, horizon)
        while self._cuts and self._cuts[0] < horizon * SECOND:
            del self._cuts[0]

    def _close_singly(self, closed: int, bars: list[Bar]) -> None:
        due = sorted((sec, series.symbol) for series in self._series.values() for sec in series.open if sec < closed)
        for sec, symbol in due:
            bar = self._series[symbol].close(sec)
            if bar is not None:
                bars.append(bar)

    # --- state ---

    @property
    def open_quotes(self) -> int:
        """Quotes in seconds summed up as rows that are open: most of a busy moment's state."""
        return self._tally.open_quotes if self._tally is not None else 0

    def state(self) -> bytes:
        """Everything, as msgpack; from it `from_state` goes on as if nothing had been."""
        rows = self._tally.seconds() if self._tally is not None else {}
        series = [self._series[symbol].state(rows.get(symbol, {})) for symbol in sorted(self._series)]
        stirred = sorted(self._stirred)
        return msgspec.msgpack.encode([STATE_VERSION, self._closed, self._ends, self._cuts, stirred, series])

    @classmethod
    def from_state(
        cls, data: bytes, lateness_ns: int = 2 * SECOND, revise_ns: int = 600 * SECOND, use_agg: bool = False
    ) -> Bars:
        version, closed, ends, cuts, stirred, series = msgspec.msgpack.decode(data)
        if version not in (1, 2, STATE_VERSION):  # no quotes in columns, then no rows; else they are the same
            raise ValueError(f"bars of state version {version}, this is version {STATE_VERSION}")
        bars = cls(lateness_ns, revise_ns, use_agg)
        bars._closed, bars._ends, bars._cuts, bars._stirred = closed, ends, cuts, set(stirred)
        bars._series = {one[0]: Series.from_state(one, bars._units) for one in series}
        return bars


_in_order = attrgetter("window_start", "symbol")


def _is_plain(event: Event) -> bool:
    return isinstance(event, Quote) or (isinstance(event, Trade) and event.trade_type is None)


def bars_hash(bars: Iterable[Bar]) -> str:
    """SHA-256 of the bars' values in the order of symbol and time; `revision` stands outside. Proves sameness where the
    bytes of files cannot."""
    digest = hashlib.sha256()
    for bar in sorted(bars, key=lambda bar: (bar.symbol, bar.window_start)):
        values: list[Any] = list(msgspec.structs.astuple(bar))
        del values[-1]
        digest.update(_encode(values))
    return digest.hexdigest()


_encode = msgspec.msgpack.Encoder().encode
