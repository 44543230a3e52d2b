"""A small stand-in for ingest: it journals what the market did, late and out of order at times, and forgets nothing."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from bench.simulation.market import MS, Deal, Market, Top
from shared.clock import Clock
from shared.events import Batch, Event, Feed, Quote, Trade
from shared.ids import Ids
from shared.journal import Writer
from shared.wire import Lane


def trade_of(deal: Deal, recv: int, source: str = "ws") -> Trade:
    return Trade(deal.symbol, deal.ts, deal.ts, deal.ts, recv, deal.price, deal.qty, deal.side, deal.trade_id, source)


def quote_of(top: Top, recv: int) -> Quote:
    return Quote(top.symbol, top.ts, None, None, recv, top.bid, top.bid_qty, top.ask, top.ask_qty, top.update_id)


class Source:
    """Journal first, then the lanes. Every trade of the market comes once, however often this process dies."""

    def __init__(self, writer: Writer, lanes: Sequence[Lane], clock: Clock, market: Market, chance: Random) -> None:
        self._writer, self._lanes, self._clock = writer, lanes, clock
        self._market, self._chance = market, chance
        self._held: dict[str, Ids] = {symbol: Ids() for symbol in market.symbols}
        self._told: dict[str, int] = dict.fromkeys(market.symbols, -1)
        self._ts = 0
        self._late: dict[tuple[str, int], int] = {}
        self._ticked = self._synced = self._trimmed = clock.mono()

    def open(self) -> None:
        state, batches = self._writer.open()
        if state is not None:
            ts, held, told = msgspec.msgpack.decode(state)
            self._ts, self._told = ts, self._told | told
            self._held |= {symbol: Ids.from_intervals(found) for symbol, found in held.items()}
        for batch in batches:
            self._remember(batch)

    def state(self) -> bytes:
        held = {symbol: ids.intervals for symbol, ids in self._held.items()}
        return msgspec.msgpack.encode([self._ts, held, self._told])

    def _remember(self, batch: Batch) -> None:
        self._ts = max(self._ts, batch.ts)
        for event in batch.events:
            if isinstance(event, Trade):
                self._held[event.symbol].add(event.trade_id)
            elif isinstance(event, Quote):
                self._told[event.symbol] = max(self._told[event.symbol], event.update_id)

    def turn(self, last: bool = False) -> None:
        mono = self._clock.mono()
        events = self._new(self._market_time(), last)
        if events or mono - self._ticked >= 100 * MS or last:
            self._ticked = mono
            self._ts = max(self._ts, self._market_time())
            batch = Batch(self._writer.last + 1, self._ts, events)
            data = self._writer.append(batch)
            self._remember(batch)
            for lane in self._lanes:
                lane.send(data)
        if mono - self._synced >= 200 * MS:
            self._writer.sync()
            self._synced = mono
        if mono - self._trimmed >= 700 * MS:
            self._writer.trim()
            self._trimmed = mono

    def _market_time(self) -> int:
        return self._clock.truth  # type: ignore[attr-defined, no-any-return]

    def _new(self, now: int, last: bool) -> list[Event]:
        """What is not held yet: some of it only later, and not in order."""
        events: list[Event] = []
        for symbol in self._market.symbols:
            for deal in self._market.deals[symbol]:
                if self._held[symbol].holds(deal.trade_id):
                    continue
                due = self._late.setdefault((symbol, deal.trade_id), self._delay(now))
                if due <= now or last:
                    events.append(trade_of(deal, self._clock.wall()))
            for top in self._market.tops[symbol]:
                if top.update_id > self._told[symbol]:
                    events.append(quote_of(top, self._clock.wall()))
        if self._chance.random() < 0.02:
            kind = self._chance.choice(("disconnected", "connected"))
            events.append(
                Feed(kind, max(self._ts, now), self._clock.wall(), [self._chance.choice(self._market.symbols)])
            )
        if self._chance.random() < 0.3:
            self._chance.shuffle(events)
        return events

    def _delay(self, now: int) -> int:
        return now + (self._chance.randrange(4000) * MS if self._chance.random() < 0.05 else 0)

    def close(self) -> None:
        self._writer.close()
