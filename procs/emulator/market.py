"""A market that never was: every id, price, quantity and time follows from (seed, rate, symbol, absolute time) alone.

The clockwork: each minute of a symbol holds the same number of prints, of aggregates and of quotes. So the ids at the
start of any minute are a product, and a hash decides how they fall on its sixty seconds. A second is computed alone; a
venue that was restarted goes on as if it had never stopped, and REST answers today what the websocket sent last week.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from hashlib import blake2b
from itertools import accumulate
from random import Random

import msgspec

from procs.emulator.tape import AGG_TRADE, BOOK_TICKER, TRADE, Agg, Event, Instrument, Market, Print, Top
from procs.emulator.walk import Walk

GENESIS_S = 1_577_836_800
"""2020-01-01: the first minute, and id 1."""

SEND_DELAY_US = 1000
"""What happened in the market is sent this much later."""

_MINUTE = 60
_QUOTES_OF_EVENTS = 0.75
_AGGS_OF_PRINTS = 0.6
_SHAPES_REMEMBERED = 4096
_PRINTS_REMEMBERED = 100_000


class _Shape(msgspec.Struct):
    """How a minute's ids fall on its seconds: counts before each, and in all."""

    prints: list[int]
    aggs: list[int]
    tops: list[int]


class _Line(msgspec.Struct):
    """One symbol and what is constant about it."""

    instrument: Instrument
    key: bytes
    walk: Walk
    prints: int
    """A minute."""
    aggs: int
    tops: int


class Synthetic:
    """A source. ``as_of_us`` is the moment it has reached; whoever plays it moves that on."""

    def __init__(self, instruments: list[Instrument], rate: float, seed: int, market: Market = "spot") -> None:
        self.market: Market = market
        self.instruments = {i.symbol: i for i in instruments}
        self.as_of_us = 0
        total = sum(i.rhythm for i in instruments)
        self._lines = {i.symbol: _line(i, rate * i.rhythm / total, seed, market) for i in instruments}
        self._shapes: dict[tuple[str, int], _Shape] = {}
        self._orders: dict[tuple[str, int], tuple[list[Print], list[Agg]]] = {}
        self._held = 0

    # what happens

    def events(self, symbol: str, second: int, kinds: set[str]) -> list[Event]:
        """One second of a symbol's streams of these kinds, in order of time."""
        low = symbol.lower()
        events: list[Event] = []
        if BOOK_TICKER in kinds:
            stream = f"{low}@{BOOK_TICKER}"
            events += [Event(t.time_us, stream, BOOK_TICKER, symbol, t.id, t) for t in self.tops_in(symbol, second)]
        if TRADE in kinds:
            stream = f"{low}@{TRADE}"
            events += [Event(p.time_us, stream, TRADE, symbol, p.id, p) for p in self.orders_in(symbol, second)[0]]
        if AGG_TRADE in kinds:
            stream = f"{low}@{AGG_TRADE}"
            events += [Event(a.time_us, stream, AGG_TRADE, symbol, a.id, a) for a in self.orders_in(symbol, second)[1]]
        events.sort(key=_due)
        return events

    def orders_in(self, symbol: str, second: int) -> tuple[list[Print], list[Agg]]:
        """The prints of a second and their aggregates, in order of time and id. Remembered, for REST asks in pages."""
        found = self._orders.get((symbol, second))
        if found is None:
            if self._held > _PRINTS_REMEMBERED:
                self._orders.clear()
                self._held = 0
            found = self._orders[symbol, second] = self._make_orders(self._lines[symbol], second)
            self._held += 1 + len(found[0])
        return found

    def tops_in(self, symbol: str, second: int) -> list[Top]:
        """The quotes of a second, in order of time and id."""
        line = self._lines[symbol]
        minute, into = divmod(second - GENESIS_S, _MINUTE)
        shape = self._shape(line, minute)
        count = shape.tops[into + 1] - shape.tops[into]
        if not count or minute < 0:
            return []
        moves = _Moves(line, second, self.market, _random(line.key, second << 2 | 2))
        return moves.tops(second, minute * line.tops + shape.tops[into] + 1, count)

    # what can be asked (see tape.Source)

    def prints(self, symbol: str, first_id: int, limit: int) -> list[Print]:
        line, found = self._lines[symbol], list[Print]()
        second = self._second_of(line, max(first_id, 1), line.prints, "prints")
        while len(found) < limit and second * 1_000_000 <= self.as_of_us:
            found += [p for p in self.orders_in(symbol, second)[0] if p.id >= first_id and p.time_us <= self.as_of_us]
            second += 1
        return found[:limit]

    def aggs(self, symbol: str, first_id: int, limit: int) -> list[Agg]:
        line, found = self._lines[symbol], list[Agg]()
        second = self._second_of(line, max(first_id, 1), line.aggs, "aggs")
        while len(found) < limit and second * 1_000_000 <= self.as_of_us:
            found += [a for a in self.orders_in(symbol, second)[1] if a.id >= first_id and a.time_us <= self.as_of_us]
            second += 1
        return found[:limit]

    def last_print(self, symbol: str) -> int:
        return self.print_at(symbol, self.as_of_us + 1) - 1

    def last_agg(self, symbol: str) -> int:
        return self.agg_at(symbol, self.as_of_us + 1) - 1

    def print_at(self, symbol: str, time_us: int) -> int:
        second = max(time_us // 1_000_000, GENESIS_S)
        before = bisect_left(self.orders_in(symbol, second)[0], time_us, key=_time)
        return self._first(self._lines[symbol], second, "prints") + before

    def agg_at(self, symbol: str, time_us: int) -> int:
        second = max(time_us // 1_000_000, GENESIS_S)
        before = bisect_left(self.orders_in(symbol, second)[1], time_us, key=_time)
        return self._first(self._lines[symbol], second, "aggs") + before

    # the clockwork

    def _first(self, line: _Line, second: int, what: str) -> int:
        """The id that the first print (aggregate, quote) at or after the start of a second has."""
        minute, into = divmod(second - GENESIS_S, _MINUTE)
        counts: list[int] = getattr(self._shape(line, minute), what)
        return minute * counts[_MINUTE] + counts[into] + 1

    def _second_of(self, line: _Line, wanted: int, a_minute: int, what: str) -> int:
        """The second in which an id falls."""
        minute, within = divmod(wanted - 1, a_minute)
        counts: list[int] = getattr(self._shape(line, minute), what)
        return GENESIS_S + minute * _MINUTE + bisect_right(counts, within) - 1

    def _shape(self, line: _Line, minute: int) -> _Shape:
        found = self._shapes.get((line.instrument.symbol, minute))
        if found is None:
            if len(self._shapes) >= _SHAPES_REMEMBERED:
                self._shapes.clear()
            found = self._shapes[line.instrument.symbol, minute] = _shape(line, minute)
        return found

    def _make_orders(self, line: _Line, second: int) -> tuple[list[Print], list[Agg]]:
        minute, into = divmod(second - GENESIS_S, _MINUTE)
        shape = self._shape(line, minute)
        orders, fills = (counts[into + 1] - counts[into] for counts in (shape.aggs, shape.prints))
        if not orders or minute < 0:
            return [], []
        random = _random(line.key, second << 2 | 1)
        first_agg = minute * line.aggs + shape.aggs[into] + 1
        first_print = minute * line.prints + shape.prints[into] + 1
        moves = _Moves(line, second, self.market, random)
        return moves.orders(second, first_agg, first_print, _sizes(orders, fills, random))


def _due(event: Event) -> int:
    return event.at_us


def _time(p: Print | Agg) -> int:
    return p.time_us


def _random(key: bytes, place: int) -> Random:
    """Numbers that depend on the key and the place only: Python promises the same ``random()`` for the same integer."""
    return Random(int.from_bytes(key, "big") << 48 ^ place)


def _line(instrument: Instrument, rate: float, seed: int, market: Market) -> _Line:
    key = blake2b(f"{seed} {market} {instrument.symbol}".encode(), digest_size=16).digest()
    prints = max(1, round(rate * _MINUTE * (1 - _QUOTES_OF_EVENTS)))
    aggs = max(1, round(prints * _AGGS_OF_PRINTS))
    return _Line(instrument, key, Walk(key), prints, aggs, max(1, round(rate * _MINUTE * _QUOTES_OF_EVENTS)))


def _shape(line: _Line, minute: int) -> _Shape:
    """Most seconds are calm, a few are many times busier; quotes are busy when trades are."""
    random = _random(line.key, minute << 2).random
    busy = list(accumulate((1 / (0.08 + random()) for _ in range(_MINUTE)), initial=0.0))
    aggs = [int(line.aggs * b / busy[_MINUTE]) for b in busy[:_MINUTE]] + [line.aggs]
    more = line.prints - line.aggs  # prints beyond one for each aggregate fall where aggregates are
    prints = [a + more * a // line.aggs for a in aggs]
    calm = busy[_MINUTE] / _MINUTE
    tops = [int(line.tops * (b + calm * i) / (2 * busy[_MINUTE])) for i, b in enumerate(busy[:_MINUTE])] + [line.tops]
    return _Shape(prints, aggs, tops)


def _sizes(orders: int, fills: int, random: Random) -> list[int]:
    """How many prints each aggregate covers."""
    sizes = [1] * orders
    for _ in range(fills - orders):
        sizes[int(random.random() * random.random() * orders)] += 1
    return sizes


class _Moves:
    """One second of one symbol: prices between where the second begins and where it ends, in whole ticks."""

    def __init__(self, line: _Line, second: int, market: Market, random: Random) -> None:
        instrument, begin, end = line.instrument, line.walk.at(second), line.walk.at(second + 1)
        ticks = instrument.price * 10**instrument.tick_digits
        self._begin, self._change = begin * ticks, (end - begin) * ticks
        self._random = random.random
        self._spread = max(1, second * 2_654_435_761 % 18 - 13)  # one tick for most seconds, up to four
        self._buys = 0.62 if end > begin else 0.38
        self._size = max(2.0, 200 / instrument.price * 10**instrument.step_digits)
        self._tick = _Digits(instrument.tick_digits, market)
        self._step = _Digits(instrument.step_digits, market)

    def tops(self, second: int, first: int, count: int) -> list[Top]:
        found, start = [], second * 1_000_000
        sent = start + _delay(second)
        random, tick, step, size = self._random, self._tick, self._step, self._size * 8
        for n, into in enumerate(sorted([random() for _ in range(count)])):
            bid, ask = self._book(into)
            time = int(into * 1_000_000)
            number = (first + n) * 7 + int(random() * 5)  # rises, with holes, as the venue's do
            bid_qty, ask_qty = 1 + int(size * random() / (0.1 + random())), 1 + int(size * random() / (0.1 + random()))
            found.append(Top(number, tick(bid), step(bid_qty), tick(ask), step(ask_qty), start + time, sent + time))
        return found

    def orders(self, second: int, agg_id: int, print_id: int, sizes: list[int]) -> tuple[list[Print], list[Agg]]:
        prints: list[Print] = []
        aggs: list[Agg] = []
        random, start, step = self._random, second * 1_000_000, self._step
        time, price, buy, sent = 0, 0, True, start + _delay(second)
        for into, fills in zip(sorted([random() for _ in sizes]), sizes, strict=True):
            if aggs and random() < 0.35:  # the same order eats into the next level, or another follows at its heels
                follows = random()
                time = min(time + (0 if follows < 0.6 else int(follows * 900)), 999_999)
                price = max(1, price + (1 if buy else -1))
            else:
                time = max(time, int(into * 1_000_000))
                buy = random() < self._buys
                price = self._book(time / 1_000_000)[buy]
            text, total, first = self._tick(price), 0, print_id
            for _ in range(fills):
                qty = 1 + int(self._size * random() / (0.05 + 4 * random()))
                total += qty
                prints.append(Print(print_id, text, step(qty), start + time, sent + time, not buy))
                print_id += 1
            aggs.append(Agg(agg_id, text, step(total), first, print_id - 1, start + time, sent + time, not buy))
            agg_id += 1
        return prints, aggs

    def _book(self, into: float) -> tuple[int, int]:
        """Best bid and ask at a part of the second."""
        jitter = (self._random() - 0.5) * 3 * into * (1 - into)
        bid = max(1, math.floor(self._begin + self._change * into + jitter))
        return bid, bid + self._spread


def _delay(second: int) -> int:
    """Between matching and sending: below SEND_DELAY_US, and one for a second, so that sending keeps the order."""
    return 200 + second * 7919 % 700


class _Digits:
    """Whole steps as decimal text: eight decimals on spot, the symbol's own on futures."""

    def __init__(self, digits: int, market: Market) -> None:
        decimals = 8 if market == "spot" else digits
        self._factor: int = 10 ** (decimals - digits)
        self._unit: int = 10**decimals
        self._format = f"%d.%0{decimals}d" if decimals else "%d%.0s"

    def __call__(self, steps: int) -> str:
        return self._format % divmod(steps * self._factor, self._unit)
