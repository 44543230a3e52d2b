"""A made market whose every event is known beforehand: frames as Binance spot sends them, and the truth about them.

A quarter of the events are trades, the rest best bid and ask. Prices walk in the symbol's ticks, ids have no holes, all
digits are eight decimals long, and the whole of it follows from a seed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNIT: Final = 10**8
"""Prices and quantities are whole numbers of this scale."""
START_US: Final = 1_760_918_400_000_000
"""2025-10-20 00:00:00 UTC: when the market's own time begins."""
TRADES: Final = 0.25
"""How many of the events are trades, if nothing else is wanted."""
FIRST_ID: Final = 1_000_000
_NAMES: Final = (
    *("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "AVAX", "LINK", "DOT"),
    *("LTC", "TRX", "ATOM", "NEAR", "APT", "ARB", "OP", "SUI", "FIL", "INJ"),
)
_PRICES: Final = (67_000, 2_600, 190, 600, 2, 1, 1, 30, 14, 5, 85, 1, 7, 4, 9, 1, 2, 3, 5, 20)


def symbols(count: int) -> list[str]:
    """The names of the first `count` symbols; made-up ones beyond twenty."""
    return [f"{_NAMES[at]}USDT" if at < len(_NAMES) else f"S{at:04d}USDT" for at in range(count)]


@dataclass(frozen=True)
class Frames:
    """Frames one after the other, with the header of an unmasked websocket text message each.

    `ends[i]` is where event i ends; `stamps` are the places of the event times, two for each trade, in order.
    """

    data: bytearray
    ends: Ints
    stamps: Ints
    digits: int

    def start(self, event: int) -> int:
        return int(self.ends[event - 1]) if event else 0

    def of(self, wanted: npt.NDArray[np.bool_], is_trade: npt.NDArray[np.bool_]) -> Frames:
        """Only some of the events. `is_trade` tells which of all events have stamps."""
        data = bytearray()
        ends: list[int] = []
        stamps: list[int] = []
        stamp = 2 * (np.cumsum(is_trade) - 1)
        for event in np.flatnonzero(wanted).tolist():
            start = self.start(event)
            if is_trade[event]:
                moved = self.stamps[stamp[event] : stamp[event] + 2] - start + len(data)
                stamps += moved.tolist()
            data += self.data[start : int(self.ends[event])]
            ends.append(len(data))
        return Frames(data, np.array(ends, np.int64), np.array(stamps, np.int64), self.digits)


class Market:
    """`count` events of `symbols` symbols, of which `trades` is the share of trades; market time runs at `per_s` events
    a second.
    """

    def __init__(self, seed: int, count: int, symbol_count: int, per_s: int, trades: float = TRADES) -> None:
        chance = np.random.default_rng(seed)
        self.names = symbols(symbol_count)
        self.count, self.per_s = count, per_s
        self.symbol: Ints = chance.integers(0, symbol_count, count)
        self.is_trade: npt.NDArray[np.bool_] = chance.random(count) < trades
        self.at_us: Ints = START_US + np.arange(count, dtype=np.int64) * 1_000_000 // per_s
        self.is_maker: npt.NDArray[np.bool_] = chance.random(count) < 0.5
        self.number: Ints = np.empty(count, np.int64)
        """The trade's id, the quote's update id."""
        self.price: Ints = np.empty(count, np.int64)
        """Of a trade; of a quote the bid."""
        self.ask: Ints = np.empty(count, np.int64)
        self.qty: Ints = np.empty(count, np.int64)
        """Of a trade, in eight decimals; of a quote that of the bid."""
        self.ask_qty: Ints = np.empty(count, np.int64)
        self._made: dict[tuple[int, str], Frames] = {}
        self._making = threading.Lock()
        for index in range(symbol_count):
            self._walk(chance, index)

    def _walk(self, chance: np.random.Generator, index: int) -> None:
        """The events of one symbol."""
        mine = np.flatnonzero(self.symbol == index)
        first = _PRICES[index] if index < len(_PRICES) else 1 + index % 97
        tick = UNIT // (100 if first >= 100 else 1_000 if first >= 10 else 10_000)
        step = UNIT // (100_000 if first >= 100 else 100 if first >= 10 else 10)
        moves = chance.choice(np.array([-1, 0, 0, 0, 1]), len(mine))
        bid = np.maximum(first * UNIT // 2, first * UNIT + np.cumsum(moves) * tick)
        trades = self.is_trade[mine]
        up = chance.integers(0, 2, len(mine))
        self.price[mine] = np.where(trades, bid + up * tick, bid)
        self.ask[mine] = bid + tick * chance.integers(1, 3, len(mine))
        size = np.maximum(1, chance.lognormal(4.0, 1.5, (2, len(mine))).astype(np.int64))
        self.qty[mine], self.ask_qty[mine] = size[0] * step, size[1] * step
        number = np.where(trades, FIRST_ID - 1 + np.cumsum(trades), 40_000_000 + np.cumsum(~trades) * 3)
        self.number[mine] = number

    def frames(self, digits: int = 16, trade: str = "trade") -> Frames:
        """All frames; times of 16 digits are microseconds, of 13 milliseconds; trades as `trade` or `aggTrade`."""
        data = bytearray()
        ends: list[int] = []
        stamps: list[int] = []
        cut = 10 ** (16 - digits)
        heads = [
            (
                f'{{"stream":"{name.lower()}@{trade}","data":{{"e":"{trade}","E":',
                f',"s":"{name}","{"t" if trade == "trade" else "a"}":',
                f'{{"stream":"{name.lower()}@bookTicker","data":{{"u":',
                f',"s":"{name}","b":"',
            )
            for name in self.names
        ]
        columns = (self.symbol, self.is_trade, self.at_us // cut, self.is_maker, self.number)
        numbers = (self.price, self.qty, self.ask, self.ask_qty)
        for symbol, is_trade, at, maker, number, price, qty, ask, ask_qty in zip(
            *(column.tolist() for column in columns), *(_texts(column) for column in numbers), strict=True
        ):
            head = heads[symbol]
            if is_trade:
                side = "true" if maker else "false"
                more = f',"f":{number},"l":{number}' if trade == "aggTrade" else ""
                before = f'{head[0]}{at}{head[1]}{number},"p":"{price}","q":"{qty}"{more},"T":'
                text = f'{before}{at},"m":{side},"M":true}}}}'
                begin = len(data) + (4 if len(text) > 125 else 2)
                stamps += (begin + len(head[0]), begin + len(before))
            else:
                text = f'{head[2]}{number}{head[3]}{price}","B":"{qty}","a":"{ask}","A":"{ask_qty}"}}}}'
            length = len(text)
            data += b"\x81\x7e" + length.to_bytes(2, "big") if length > 125 else bytes((0x81, length))
            data += text.encode()
            ends.append(len(data))
        return Frames(data, np.array(ends, np.int64), np.array(stamps, np.int64), digits)

    def made(self, digits: int, trade: str) -> Frames:
        """The frames in one form, made when they are first asked for and kept."""
        with self._making:
            if (digits, trade) not in self._made:
                self._made[digits, trade] = self.frames(digits, trade)
            return self._made[digits, trade]

    def last_ids(self, name: str) -> tuple[Ints, Ints]:
        """The places of a symbol's trades among all events, and their ids."""
        at = np.flatnonzero((self.symbol == self.names.index(name)) & self.is_trade)
        return at, self.number[at]

    def truth(self, at_us: Ints | None = None, count: int | None = None) -> dict[str, Any]:
        """What a lake must hold of the first `count` events: of each symbol its events, its trade ids and of each
        second the exact sums. `at_us` are other event times than the market's own.
        """
        count = self.count if count is None else count
        at = (self.at_us if at_us is None else at_us)[:count]
        found: dict[str, Any] = {}
        for index, name in enumerate(self.names):
            mine = np.flatnonzero(self.symbol[:count] == index)
            trades = mine[self.is_trade[mine]]
            found[name] = {
                "events": len(mine),
                "trades": len(trades),
                "first_id": FIRST_ID,
                "last_id": FIRST_ID + len(trades) - 1,
                "seconds": self._seconds(trades, at),
            }
        return found

    def _seconds(self, trades: Ints, at: Ints) -> dict[int, dict[str, int]]:
        """By second since the epoch: prices and quantities at 10**8, their products at 10**16, exactly."""
        found: dict[int, dict[str, int]] = {}
        rows = (at[trades] // 1_000_000, self.price[trades], self.qty[trades], self.number[trades])
        for second, price, qty, number in zip(*(row.tolist() for row in rows), strict=True):
            bar = found.get(second)
            if bar is None:
                prices = dict.fromkeys(("open", "high", "low", "close"), price)
                found[second] = {**prices, "base": qty, "quote": price * qty, "count": 1, "ids": number}
                continue
            bar["high"], bar["low"], bar["close"] = max(bar["high"], price), min(bar["low"], price), price
            bar["base"] += qty
            bar["quote"] += price * qty
            bar["count"] += 1
            bar["ids"] += number
        return found


def _texts(column: Ints) -> list[str]:
    whole, rest = np.divmod(column, UNIT)
    return [f"{one}.{two:08d}" for one, two in zip(whole.tolist(), rest.tolist(), strict=True)]
