"""The stand-in's market and its ledger: what was issued, and to whom it was sent.

Written from the exchange's public documentation alone and sharing no line with the product or its emulator, so that
an error of understanding in the one is not repeated in the other.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TextIO

_BASES = "BTC ETH SOL BNB XRP DOGE ADA SUI AVAX LINK TRX DOT LTC BCH UNI NEAR APT ARB OP 1INCH FIL ATOM ETC INJ SEI"
NAMES = [f"{base}USDT" for base in _BASES.split(" ")]
QUOTES = ("USDT", "USDC", "BTC")


class Trade(NamedTuple):
    id: int
    price: str
    qty: str
    us: int
    """Matching time, microseconds; ``sent_us`` is the venue's sending time."""
    sent_us: int
    maker: bool
    """Whether the buyer was the maker (the exchange's ``m``)."""
    kind: str = "MARKET"
    """Of futures (``X``): INSURANCE_FUND and ADL are no executions of the book, and in no aggregate."""


class Aggregate(NamedTuple):
    id: int
    price: str
    qty: str
    first: int
    last: int
    us: int
    maker: bool


class Quote(NamedTuple):
    u: int
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str


Event = Trade | Aggregate | Quote


class Ledger:
    """A file of JSON arrays, one a line, written as things happen; complete up to its last newline."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1 << 20)

    def trade(self, symbol: str, t: Trade, to: list[int]) -> None:
        maker = "true" if t.maker else "false"
        self._file.write(f'["t","{symbol}",{t.id},"{t.price}","{t.qty}",{t.us},{t.sent_us},{maker},{to},"{t.kind}"]\n')

    def aggregate(self, symbol: str, a: Aggregate, to: list[int]) -> None:
        maker = "true" if a.maker else "false"
        self._file.write(f'["a","{symbol}",{a.id},"{a.price}","{a.qty}",{a.first},{a.last},{a.us},{maker},{to}]\n')

    def quote(self, symbol: str, q: Quote, us: int, to: list[int]) -> None:
        self._file.write(f'["q","{symbol}",{q.u},"{q.bid}","{q.bid_qty}","{q.ask}","{q.ask_qty}",{us},{to}]\n')

    def note(self, *words: Any) -> None:
        self._file.write(json.dumps(words) + "\n")
        self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class Symbol:
    """One market: a walk on the tick grid, orders that fill several resting ones, and everything it ever issued."""

    def __init__(
        self, name: str, rng: random.Random, first_id: int, price_digits: int, qty_digits: int, futures: bool
    ) -> None:
        self.name, self.rng, self.futures = name, rng, futures
        self.price_digits, self.qty_digits = price_digits, qty_digits
        self.tick = rng.randint(2_000, 90_000)
        self.spread = rng.choice((1, 1, 1, 2, 3))
        self.first_id = first_id
        self.trades: list[Trade] = []
        self.times: list[int] = []
        self.aggregates: list[Aggregate] = []
        self.aggregate_first = first_id // 2
        self.update_id = rng.randint(10**9, 4 * 10**10)
        self.last_quote = self.quote()
        self.withheld: set[int] = set()
        self.forgotten: list[tuple[int, int]] = []
        """Ranges of ids that REST will never give."""
        self.silent_until = 0.0
        self.first_sent: int | None = None

    @property
    def last_id(self) -> int:
        return self.first_id + len(self.trades) - 1

    def by_id(self, start: int, limit: int) -> list[Trade]:
        """What REST holds from an id on: trades it forgot are simply not there."""
        at = max(0, start - self.first_id)
        if not self.forgotten:
            return self.trades[at : at + limit]
        found: list[Trade] = []
        for trade in self.trades[at:]:
            if not any(low <= trade.id <= high for low, high in self.forgotten):
                found.append(trade)
                if len(found) == limit:
                    break
        return found

    def between(self, start_us: int, end_us: int) -> list[Trade]:
        return self.trades[bisect_left(self.times, start_us) : bisect_left(self.times, end_us)]

    def order(self, us: int) -> list[Trade]:
        """A taker's order: one to four fills at one moment, from the best price on; its aggregates with it."""
        self._step()
        rng, maker = self.rng, self.rng.random() < 0.5
        fills = rng.choice((1, 1, 1, 1, 2, 2, 3, 4))
        level = 0
        new: list[Trade] = []
        for _ in range(fills):
            level += rng.random() < 0.3
            tick = self.tick - level if maker else self.tick + self.spread + level
            qty = self._digits(rng.randint(1, 10 ** (self.qty_digits + rng.randint(0, 2))), self.qty_digits)
            kind = "INSURANCE_FUND" if self.futures and fills == 1 and rng.random() < 0.01 else "MARKET"
            number = self.last_id + 1 + len(new)
            new.append(Trade(number, self._price(tick), qty, us, us + rng.randint(30, 900), maker, kind))
        self.trades += new
        self.times += [us] * fills
        if new[0].kind == "MARKET":
            self._aggregate(new)
        return new

    def quote(self) -> Quote:
        self._step()
        self.update_id += self.rng.randint(1, 40)
        top = 10 ** (self.qty_digits + 2)
        bid_qty = self._digits(self.rng.randint(1, top), self.qty_digits)
        ask_qty = self._digits(self.rng.randint(1, top), self.qty_digits)
        self.last_quote = Quote(
            self.update_id, self._price(self.tick), bid_qty, self._price(self.tick + self.spread), ask_qty
        )
        return self.last_quote

    def _step(self) -> None:
        self.tick = max(200, self.tick + self.rng.choice((-2, -1, 0, 0, 0, 0, 1, 2)))

    def _price(self, tick: int) -> str:
        return self._digits(tick, self.price_digits)

    def _digits(self, number: int, places: int) -> str:
        """A number as the exchange writes it: always eight decimals, of futures as many as the symbol has."""
        whole, part = divmod(number, 10**places)
        return f"{whole}.{part:0{places}d}{'' if self.futures else '0' * (8 - places)}"

    def _aggregate(self, fills: list[Trade]) -> None:
        group: list[Trade] = []
        for trade in [*fills, None]:
            if group and (trade is None or trade.price != group[0].price):
                total = sum((Decimal(t.qty) for t in group), Decimal(0))
                number = self.aggregate_first + len(self.aggregates)
                head, tail = group[0], group[-1]
                qty = f"{total:.{self.qty_digits if self.futures else 8}f}"
                self.aggregates.append(Aggregate(number, head.price, qty, head.id, tail.id, head.us, head.maker))
                group = []
            if trade is not None:
                group.append(trade)


class Market:
    """All symbols and the rate at which they speak."""

    def __init__(
        self, count: int, rate: float, seed: int, now_us: int, futures: bool = False, trade_share: float = 0.35
    ) -> None:
        self.rng = random.Random(seed)
        self.rate, self.trade_share = rate, trade_share
        names = [*NAMES[:count], *(f"T{number:03d}USDT" for number in range(count - len(NAMES)))]
        self.symbols = {
            name: Symbol(
                name,
                random.Random(f"{seed}{name}"),
                1_520_000_000 + 7_000_003 * at,
                2 + at % 3,
                2 + (at * 7) % 4,
                futures,
            )
            for at, name in enumerate(names)
        }
        self._order = list(self.symbols.values())
        self._weights = [1 / (1 + at) ** 0.7 for at in range(count)]
        """A few symbols make most of the noise, as on any exchange."""
        self._owed = 0.0
        for symbol in self._order:
            for back in range(400, 0, -1):
                symbol.order(now_us - 60_000_000 - back * 150_000)

    def events(self, seconds: float, now_us: int) -> Iterator[tuple[Symbol, Event]]:
        """What happens in the next moment; a fill is an event, and so is a quote."""
        self._owed += seconds * self.rate
        while self._owed >= 1:
            symbol = self.rng.choices(self._order, self._weights)[0]
            # One order is 1.9 fills on average: drawn accordingly rarer, so that trades have their share of events.
            if self.rng.random() < self.trade_share / (self.trade_share + 1.9 * (1 - self.trade_share)):
                before = len(symbol.aggregates)
                fills = symbol.order(now_us)
                self._owed -= len(fills)
                yield from ((symbol, fill) for fill in fills)
                yield from ((symbol, aggregate) for aggregate in symbol.aggregates[before:])
            else:
                self._owed -= 1
                yield symbol, symbol.quote()


def kline(symbol: Symbol, start_us: int, length_us: int) -> list[Any] | None:
    """The exchange's own candle in the columns REST gives, times in microseconds; None where nothing ever traded."""
    trades = symbol.between(start_us, start_us + length_us)
    at = bisect_left(symbol.times, start_us)
    if not trades:
        if at == 0:
            return None
        flat = symbol.trades[at - 1].price
        zero = "0.00000000"
        return [start_us, flat, flat, flat, flat, zero, start_us + length_us - 1, zero, 0, zero, zero, "0"]
    prices = [Decimal(t.price) for t in trades]
    sums = [Decimal(0)] * 4
    for trade, price in zip(trades, prices, strict=True):
        qty = Decimal(trade.qty)
        sums[0] += qty
        sums[1] += qty * price
        if not trade.maker:
            sums[2] += qty
            sums[3] += qty * price
    base, quote, buy_base, buy_quote = (f"{total:.8f}" for total in sums)
    return [
        start_us,
        trades[0].price,
        f"{max(prices):.8f}",
        f"{min(prices):.8f}",
        trades[-1].price,
        base,
        start_us + length_us - 1,
        quote,
        len(trades),
        buy_base,
        buy_quote,
        "0",
    ]
