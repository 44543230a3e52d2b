"""One second of one symbol: exact sums while it is open, a bar when it closes, then a few bytes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from shared.events import Bar, Quote
from shared.numbers import SCALE, Units
from shared.paths import SECOND

if TYPE_CHECKING:  # numpy costs more than an idle aggregator
    from shared.quoteruns import QuoteRuns

NO_ID = -1
_HIGH_ID = 1 << 64
_HIGH_PRICE = 1 << 256
_INT64 = (1 << 63) - 1
_IN_ORDER = attrgetter("ts", "update_id", "bid", "bid_qty", "ask", "ask_qty")

REACH = 60 * SECOND
"""How far the time of a quote may lie behind that of an older one. The times of spot quotes are estimates, each
connection's its own; where one was wrong by more, or a venue counts anew, ids would hold back what is newer."""

Standing = tuple[int, int, str, str, str, str]
"""A quote as far as it stands: ts, update_id, bid, bid_qty, ask, ask_qty."""


class Second(msgspec.Struct, gc=False):
    """What is known of one second. Money is in units of 1e-18, money times quantity in units of 1e-36."""

    buys: int = 0
    buy_volume: int = 0
    buy_quote: int = 0
    sells: int = 0
    sell_volume: int = 0
    sell_quote: int = 0
    first_id: int = _HIGH_ID
    first_price: int = 0
    last_id: int = NO_ID
    last_price: int = 0
    high: int = NO_ID
    low: int = _HIGH_PRICE
    id_sum: int = 0
    top: int = NO_ID
    """Highest id held in this second, counted or not."""
    quotes: list[Quote] = []
    """As they came, until the second closes."""
    quote_count: int = 0
    standing: Standing | None = None
    """The quote at the end of the second."""
    weighted: int = 0
    """Spread times nanoseconds, over the part of the second in which a quote stood."""
    live_ns: int = 0
    is_complete: bool | None = None
    revision: int = 0
    is_shown: bool = False
    """A bar of this second was given out."""
    runs: QuoteRuns | None = None
    """Quotes that came in columns, until the second closes."""

    def take(self, first: int, last: int, price: int, qty: int, is_buy: bool) -> None:
        """Counts the trades ``first`` to ``last``, all at one price, with `qty` in all."""
        count = last - first + 1
        if is_buy:
            self.buys += count
            self.buy_volume += qty
            self.buy_quote += price * qty
        else:
            self.sells += count
            self.sell_volume += qty
            self.sell_quote += price * qty
        self.id_sum += first if count == 1 else (first + last) * count // 2
        if last > self.last_id:
            self.last_id = last
            self.last_price = price
        if first < self.first_id:
            self.first_id = first
            self.first_price = price
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        if last > self.top:
            self.top = last

    def follow(self, later: Second) -> None:
        """Counts the trades of the same second that `later` holds, whose ids are above all that were held."""
        self.buys += later.buys
        self.buy_volume += later.buy_volume
        self.buy_quote += later.buy_quote
        self.sells += later.sells
        self.sell_volume += later.sell_volume
        self.sell_quote += later.sell_quote
        self.id_sum += later.id_sum
        if self.last_id < 0:
            self.first_id, self.first_price = later.first_id, later.first_price
        self.last_id = self.top = later.last_id
        self.last_price = later.last_price
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)

    def settle(self, start: int, standing: Standing | None, cuts: Sequence[int], units: Units) -> None:
        """Makes the quotes of the second into what its bar says of them, see `fold`; `standing` is from before it."""
        before = standing
        if standing is not None and is_beyond(start, standing[0]):
            standing = (standing[0], NO_ID, *standing[2:])  # whatever id the next one bears, it is newer
        self._settle(start, standing, cuts, units)
        if self.standing is standing:
            self.standing = before

    def _settle(self, start: int, standing: Standing | None, cuts: Sequence[int], units: Units) -> None:
        if (runs := self.runs) is not None:
            self.runs = None
            if not cuts and (folded := runs.fold(self.quotes, standing, start, units)) is not None:
                self.standing, self.weighted, self.live_ns = folded
                self.quote_count = runs.count + len(self.quotes)
                self.quotes = []
                return
            self.quotes += runs.quotes()
        try:
            self.standing, self.weighted, self.live_ns = fold(self.quotes, standing, cuts, start, units)
        except ValueError:  # ingest lets no such quote through; if one comes all the same, it alone is left out
            self.quotes = [quote for quote in self.quotes if is_readable(quote, units)]
            self.standing, self.weighted, self.live_ns = fold(self.quotes, standing, cuts, start, units)
        self.quote_count = len(self.quotes)
        self.quotes = []

    @property
    def has_row(self) -> bool:
        return self.last_id >= 0 or self.quote_count > 0

    def bar(self, symbol: str, start: int, units: Units) -> Bar:
        """The second as its columns: every sum exact until the one division that makes it a float."""
        volume = self.buy_volume + self.sell_volume
        quote = self.buy_quote + self.sell_quote
        bar = Bar(symbol, start, revision=self.revision, quote_count=self.quote_count)
        if self.last_id >= 0:
            bar.open, bar.high = self.first_price / SCALE, self.high / SCALE
            bar.low, bar.close = self.low / SCALE, self.last_price / SCALE
            bar.volume_base = volume / SCALE
            bar.volume_quote = quote / _SQUARE
            bar.trade_count = self.buys + self.sells
            bar.vwap = quote / (volume * SCALE) if volume else None
            bar.buy_volume_base = self.buy_volume / SCALE
            bar.buy_volume_quote = self.buy_quote / _SQUARE
            bar.buy_count = self.buys
            bar.first_trade_id, bar.last_trade_id = self.first_id, self.last_id
            bar.trade_id_sum = self.id_sum if self.id_sum <= _INT64 else None
            bar.is_complete = self.is_complete
        if self.standing is not None:
            _, _, bid, bid_qty, ask, ask_qty = self.standing
            bar.bid, bar.ask = units[bid] / SCALE, units[ask] / SCALE
            bar.bid_qty, bar.ask_qty = units[bid_qty] / SCALE, units[ask_qty] / SCALE
            bar.spread = (units[ask] - units[bid]) / SCALE
        if self.live_ns:
            bar.spread_tw = self.weighted / (self.live_ns * SCALE)
            bar.quotes_live_ms = self.live_ns // 1_000_000
        return bar

    def pack(self) -> bytes:
        """Some 200 bytes; integers beyond 64 bits, which msgpack has none of, as bytes."""
        values = list(msgspec.structs.astuple(self))
        for at in _WIDE:
            values[at] = values[at].to_bytes((values[at].bit_length() + 8) // 8, "little", signed=True)
        if self.quotes:
            values[_QUOTES] = [_IN_ORDER(quote) for quote in self.quotes]
        if self.runs is not None:
            values[_RUNS] = self.runs.pack()
        return _encode(values)

    @classmethod
    def unpack(cls, data: bytes) -> Second:
        values = _decode(data)
        for at in _WIDE:
            values[at] = int.from_bytes(values[at], "little", signed=True)
        values[_QUOTES] = [
            Quote("", ts, None, None, 0, bid, bid_qty, ask, ask_qty, update_id)
            for ts, update_id, bid, bid_qty, ask, ask_qty in values[_QUOTES]
        ]
        if values[_STANDING] is not None:
            values[_STANDING] = tuple(values[_STANDING])
        second = cls(*values)
        if second.runs is not None:
            from shared.quoteruns import QuoteRuns

            second.runs = QuoteRuns.unpack(values[_RUNS])
        return second


_SQUARE: int = SCALE**2
_NAMES = Second.__struct_fields__
_WIDE = [
    _NAMES.index(name)
    for name in (
        "buy_volume", "buy_quote", "sell_volume", "sell_quote", "first_id", "first_price", "last_price", "high", "low",
        "id_sum", "weighted",
    )
]  # fmt: skip
_QUOTES = _NAMES.index("quotes")
_RUNS = _NAMES.index("runs")
_STANDING = _NAMES.index("standing")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode


def is_beyond(ts: int, other: int) -> bool:
    """Whether a quote of the second of `ts` is newer than one of the time `other`, whatever ids they bear."""
    return other + REACH < ts - ts % SECOND


def fold(
    quotes: list[Quote], standing: Standing | None, cuts: Sequence[int], start: int, units: Units
) -> tuple[Standing | None, int, int]:
    """What stood during the second that begins at `start`: the quote at its end, spread times nanoseconds, nanoseconds.

    At any instant that quote stands which has the highest update_id of those up to then, so that one overtaken on its
    way is counted but never stands after a newer one; for how long at most, `settle` decides. A cut (a disconnect) at
    ``t`` ends whatever has a time up to ``t``. Raises ValueError where a price cannot be read.
    """
    quotes.sort(key=_IN_ORDER)
    end = start + SECOND
    if not cuts:
        return _stretch(quotes, standing, start, end, units)
    weighted = live = done = 0
    for cut in cuts:
        behind = bisect_right(quotes, cut, lo=done, key=_TS)
        _, more, longer = _stretch(quotes[done:behind], standing, start, cut, units)
        weighted, live, done = weighted + more, live + longer, behind
        standing, start = None, cut
    standing, more, longer = _stretch(quotes[done:], None, start, end, units)
    return standing, weighted + more, live + longer


_TS = attrgetter("ts")


def _stretch(
    quotes: Sequence[Quote], standing: Standing | None, start: int, end: int, units: Units
) -> tuple[Standing | None, int, int]:
    """`fold` without a cut between."""
    weighted = 0
    newest: Quote | None = None
    at = begun = start
    if standing is not None:
        spread = units[standing[4]] - units[standing[2]]
        highest = standing[1]
    elif quotes:
        newest = quotes[0]
        at = begun = newest.ts
        spread = units[newest.ask] - units[newest.bid]
        highest = newest.update_id
    else:
        return None, 0, 0
    for quote in quotes:
        if quote.update_id >= highest:
            ts = quote.ts
            weighted += spread * (ts - at)
            at = ts
            spread = units[quote.ask] - units[quote.bid]
            highest = quote.update_id
            newest = quote
    weighted += spread * (end - at)
    if newest is not None:
        units[newest.bid_qty], units[newest.ask_qty]  # so that what stands can be read
        standing = (newest.ts, newest.update_id, newest.bid, newest.bid_qty, newest.ask, newest.ask_qty)
    return standing, weighted, end - begun


def is_readable(quote: Quote, units: Units) -> bool:
    try:
        return all(units[text] >= 0 for text in (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty))
    except ValueError:
        return False


def within(cuts: Sequence[int], since: int, until: int) -> Sequence[int]:
    """The cuts from `since` up to but not including `until`; `cuts` is sorted."""
    if not cuts:
        return cuts
    return cuts[bisect_left(cuts, since) : bisect_left(cuts, until)]
