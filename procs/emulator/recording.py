"""A recording as a market: what was received once is sent again, byte for byte, and REST knows only what was played.

Understands captures with one frame a line (``<receive time, ns> <frame>`` or ``<receive time, s>: <frame>``) and this
lake's own raw lines, from which the frames are put together again.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from procs.emulator.instruments import split
from procs.emulator.tape import AGG_TRADE, BOOK_TICKER, TRADE, Agg, Event, Instrument, Market, Own, Print, Top
from shared.events import AggTrade, Quote, Trade
from shared.lines import parse_line

_Row = TypeVar("_Row", Print, Agg)

_FRAME = re.compile(rb'(?P<at>\d+(?:\.\d+)?):? (?P<head>\{"stream":"(?P<symbol>[^@"]+)@(?P<kind>[^"]+)","data":)')


class _Fields(msgspec.Struct):
    """What must be known of a recorded payload; everything else stays bytes."""

    e: str = ""
    E: int | None = None
    T: int | None = None
    t: int | None = None
    a: Any = None
    """An id, a price or a list: it depends on the stream."""
    f: int | None = None
    l: int | None = None  # noqa: E741 - the venue's name
    u: int | None = None
    p: str = ""
    q: str = ""
    m: bool = False
    X: str = "MARKET"
    b: Any = None
    B: Any = None
    A: Any = None


class _Other(msgspec.Struct):
    """A payload of another stream: only its time matters."""

    reached_us: int


_fields = msgspec.json.Decoder(_Fields)


class Recording:
    """A source. ``played`` is the number of events sent; whoever plays it moves that on."""

    def __init__(self, events: list[Event], market: Market) -> None:
        self.market: Market = market
        self.events = events
        self.played = 0
        self.instruments: dict[str, Instrument] = {}
        self._times = array("q")
        """The highest venue time of the events so far, in microseconds; 0 before the first that has one."""
        self._prints: dict[str, list[tuple[Print, int]]] = {}
        self._aggs: dict[str, list[tuple[Agg, int]]] = {}
        self._index()

    def streams(self) -> set[str]:
        """The trade, aggTrade and bookTicker streams it holds."""
        return {e.stream for e in self.events if e.kind in (TRADE, AGG_TRADE, BOOK_TICKER)}

    def now_us(self) -> int:
        """Venue time: the highest of the events played; before the first, the earliest there will be."""
        reached = self._times[self.played - 1] if self.played else 0
        return reached or next((t for t in self._times if t), 0)

    def prints(self, symbol: str, first_id: int, limit: int) -> list[Print]:
        return _from(self._prints.get(symbol, []), first_id, limit, self.played)

    def aggs(self, symbol: str, first_id: int, limit: int) -> list[Agg]:
        return _from(self._aggs.get(symbol, []), first_id, limit, self.played)

    def last_print(self, symbol: str) -> int:
        return _last(self._prints.get(symbol, []), self.played)

    def last_agg(self, symbol: str) -> int:
        return _last(self._aggs.get(symbol, []), self.played)

    def print_at(self, symbol: str, time_us: int) -> int:
        return _at(self._prints.get(symbol, []), time_us)

    def agg_at(self, symbol: str, time_us: int) -> int:
        return _at(self._aggs.get(symbol, []), time_us)

    def _index(self) -> None:
        reached = 0
        digits: dict[str, list[int]] = {}
        for place, event in enumerate(self.events):
            known = digits.setdefault(event.symbol, [0, 0])
            body = event.body if not isinstance(event.body, bytes) else read(event)
            assert not isinstance(body, Own)  # what was recorded is read from its bytes
            price, qty = "", ""
            if isinstance(body, _Other):
                reached = max(reached, body.reached_us)
            else:
                reached = max(reached, body.sent_us, body.time_us)
                price, qty = (body.ask, body.ask_qty) if isinstance(body, Top) else (body.price, body.qty)
            if isinstance(body, Print):
                self._prints.setdefault(event.symbol, []).append((body, place))
            elif isinstance(body, Agg):
                self._aggs.setdefault(event.symbol, []).append((body, place))
            known[:] = max(known[0], _decimals(price)), max(known[1], _decimals(qty))
            self._times.append(reached)
        for prints in self._prints.values():
            prints.sort(key=_id)
        for aggs in self._aggs.values():
            aggs.sort(key=_id)
        for symbol, (tick, step) in digits.items():
            self.instruments[symbol] = Instrument(symbol, *split(symbol), price=1.0, tick_digits=tick, step_digits=step)


def capture(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events of a capture; lines that are no frame of a combined stream are passed over."""
    for line in lines:
        head = _FRAME.match(line)
        line = line.rstrip()
        if head is None or not line.endswith(b"}"):
            continue
        symbol, kind = head["symbol"].decode(), head["kind"].decode()
        event = Event(_receive_us(head["at"]), f"{symbol}@{kind}", kind, symbol.upper(), 0, line[head.end() : -1])
        try:
            body = read(event)
        except msgspec.DecodeError:
            continue
        event.id = 0 if isinstance(body, _Other) else body.id
        yield event


def market_of(events: list[Event]) -> Market:
    """Futures say the event type and time of every quote; spot says neither."""
    for event in events:
        if event.kind == BOOK_TICKER and isinstance(event.body, bytes):
            return "usdm" if b'"e":"bookTicker"' in event.body else "spot"
    return "spot"


def lake(lines: Iterable[bytes]) -> list[Event]:
    """The events of this lake's raw lines, in the order they were received.

    A trade that was fetched later takes its place before the next trade of its symbol; broken lines are passed over.
    """
    heard: list[Trade | AggTrade | Quote] = []
    healed: dict[tuple[str, type], list[Trade | AggTrade]] = {}
    for line in lines:
        try:
            event = parse_line(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, Quote) or event.source == "ws":
            heard.append(event)
        else:
            healed.setdefault((event.symbol, type(event)), []).append(event)
    heard.sort(key=lambda e: e.ts_recv)
    for waiting in healed.values():
        waiting.sort(key=_number, reverse=True)
    return list(_in_place(heard, healed))


def _in_place(
    heard: list[Trade | AggTrade | Quote], healed: dict[tuple[str, type], list[Trade | AggTrade]]
) -> Iterator[Event]:
    at = 0
    for event in heard:
        at = event.ts_recv // 1000
        if not isinstance(event, Quote):
            waiting = healed.get((event.symbol, type(event)), [])
            while waiting and _number(waiting[-1]) < _number(event):
                yield _event(waiting.pop(), at)
        yield _event(event, at)
    for rest in healed.values():
        yield from (_event(event, at) for event in reversed(rest))


def _event(event: Trade | AggTrade | Quote, at_us: int) -> Event:
    low, time = event.symbol.lower(), (event.ts_event or event.ts) // 1000
    sent = (event.ts_sent or event.ts_event or event.ts) // 1000
    if isinstance(event, Trade):
        maker, kind = event.side == "sell", event.trade_type or "MARKET"
        sold = Print(event.trade_id, event.price, event.qty, time, sent, maker, kind)
        return Event(at_us, f"{low}@{TRADE}", TRADE, event.symbol, sold.id, sold)
    if isinstance(event, Quote):
        top = Top(event.update_id, event.bid, event.bid_qty, event.ask, event.ask_qty, time, sent)
        return Event(at_us, f"{low}@{BOOK_TICKER}", BOOK_TICKER, event.symbol, top.id, top)
    first, last, maker = event.first_trade_id, event.last_trade_id, event.side == "sell"
    agg = Agg(event.agg_id, event.price, event.qty, first, last, time, sent, maker)
    return Event(at_us, f"{low}@{AGG_TRADE}", AGG_TRADE, event.symbol, agg.id, agg)


def read(event: Event) -> Print | Agg | Top | _Other:
    """What a recorded payload says."""
    f = _fields.decode(event.body)  # type: ignore[arg-type]
    time, sent = _us(f.T or 0), _us(f.E or 0)
    if event.kind == TRADE and f.t is not None:
        return Print(f.t, f.p, f.q, time, sent, f.m, f.X)
    if event.kind == AGG_TRADE and isinstance(f.a, int) and f.f is not None and f.l is not None:
        return Agg(f.a, f.p, f.q, f.f, f.l, time, sent, f.m)
    if event.kind == BOOK_TICKER and f.u is not None:
        return Top(f.u, str(f.b), str(f.B), str(f.a), str(f.A), time, sent)
    return _Other(max(time, sent))


def _from(rows: list[tuple[_Row, int]], first_id: int, limit: int, played: int) -> list[_Row]:
    found: list[_Row] = []
    for at in range(bisect_left(rows, first_id, key=_id), len(rows)):
        if len(found) == limit:
            break
        if rows[at][1] < played:
            found.append(rows[at][0])
    return found


def _last(rows: list[tuple[_Row, int]], played: int) -> int:
    return next((row.id for row, place in reversed(rows) if place < played), -1)


def _at(rows: list[tuple[_Row, int]], time_us: int) -> int:
    """Times follow ids on a venue, so a search by time is one in the list by id."""
    at = bisect_left(rows, time_us, key=_row_time)
    return rows[at][0].id if at < len(rows) else (rows[-1][0].id + 1 if rows else 0)


def _id(row: tuple[_Row, int]) -> int:
    return row[0].id


def _row_time(row: tuple[_Row, int]) -> int:
    return row[0].time_us


def _number(event: Trade | AggTrade) -> int:
    return event.trade_id if isinstance(event, Trade) else event.agg_id


def _receive_us(text: bytes) -> int:
    """Seconds have a point, nanoseconds have none."""
    return round(float(text) * 1_000_000) if b"." in text else int(text) // 1000


def _us(time: int) -> int:
    """Milliseconds and microseconds differ by their size."""
    return time if time > 10**14 else time * 1000


def _decimals(number: str) -> int:
    """Decimals in use: the venue pads its numbers with zeros."""
    return len(number.rstrip("0").partition(".")[2])
