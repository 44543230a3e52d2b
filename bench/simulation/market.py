"""What really happened at the venue: trades with contiguous ids, and quotes. The truth against which all is judged."""

from __future__ import annotations

from random import Random

import msgspec

from shared.paths import MINUTE, SECOND, day_start

BEGIN = day_start("2025-10-21") - 10 * SECOND
"""Ten seconds before midnight, so that every history of some length crosses it."""
MS = 1_000_000


class Deal(msgspec.Struct, frozen=True):
    """A trade as it happened."""

    symbol: str
    trade_id: int
    ts: int
    price: str
    qty: str
    side: str


class Top(msgspec.Struct, frozen=True):
    """Best bid and ask after a change."""

    symbol: str
    update_id: int
    ts: int
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str


class Market:
    """Grows with time. Times are whole milliseconds, and never go back within a symbol."""

    def __init__(self, chance: Random, symbols: list[str], per_second: float) -> None:
        self._chance = chance
        self.symbols = symbols
        self._every = SECOND / per_second
        self._next = float(BEGIN)
        self.deals: dict[str, list[Deal]] = {symbol: [] for symbol in symbols}
        self.tops: dict[str, list[Top]] = {symbol: [] for symbol in symbols}
        self._first_id = {symbol: chance.randrange(1, 10**6) for symbol in symbols}
        self.quiet: set[str] = set()
        """Symbols of which nothing happens for now."""
        self.is_open = True

    def advance(self, now: int) -> list[Deal | Top]:
        """What happens until `now`, in order."""
        new: list[Deal | Top] = []
        while self._next <= now:
            ts = int(self._next) // MS * MS
            self._next += self._every * self._chance.uniform(0.0, 2.0)
            symbol = self._chance.choice(self.symbols)
            if symbol in self.quiet or not self.is_open:
                continue
            new.append(self._deal(symbol, ts) if self._chance.random() < 0.6 else self._top(symbol, ts))
        return new

    def leap(self, now: int, count: int) -> list[Deal | Top]:
        """A long time in which next to nothing happens, until `now`."""
        times = sorted(int(self._chance.uniform(self._next, now)) // MS * MS for _ in range(count))
        self._next = max(self._next, float(now))
        new: list[Deal | Top] = []
        for ts in times:
            symbol = self._chance.choice(self.symbols)
            new.append(self._deal(symbol, ts) if self._chance.random() < 0.6 else self._top(symbol, ts))
        return new

    def _deal(self, symbol: str, ts: int) -> Deal:
        chance, deals = self._chance, self.deals[symbol]
        deal = Deal(
            symbol, self._first_id[symbol] + len(deals), ts, f"{100 + chance.randrange(-300, 300) / 100:.8f}",
            f"{chance.randrange(1, 999) / 100:.8f}", chance.choice(("buy", "sell")),
        )  # fmt: skip
        deals.append(deal)
        return deal

    def _top(self, symbol: str, ts: int) -> Top:
        chance, tops = self._chance, self.tops[symbol]
        bid = 10000 + chance.randrange(-300, 300)
        ask = bid + chance.randrange(1, 20)
        top = Top(
            symbol, self._first_id[symbol] + len(tops), ts, f"{bid / 100:.8f}", f"{chance.randrange(1, 99)}.50000000",
            f"{ask / 100:.8f}", f"{chance.randrange(1, 99)}.25000000",
        )  # fmt: skip
        tops.append(top)
        return top

    def close(self, now: int) -> list[Deal | Top]:
        """One more trade of each symbol, then nothing any more."""
        self.is_open = False
        return [self._deal(symbol, now // MS * MS) for symbol in self.symbols]

    def deal(self, symbol: str, trade_id: int) -> Deal | None:
        at = trade_id - self._first_id[symbol]
        return self.deals[symbol][at] if 0 <= at < len(self.deals[symbol]) else None

    def newest(self, symbol: str) -> Deal | None:
        return self.deals[symbol][-1] if self.deals[symbol] else None


__all__ = ["BEGIN", "MINUTE", "Deal", "Market", "Top"]
