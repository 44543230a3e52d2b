"""Columns out of single events, as ingest makes them under load."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from shared.events import BUY, QUOTE, SELL, Columns, Quote, Trade


def columns_of(events: Sequence[Trade | Quote], digits: int = 8) -> Columns:
    """The same events as columns. Their numbers have at most `digits` digits after the point."""
    symbols = list(dict.fromkeys(event.symbol for event in events))
    place = {symbol: at for at, symbol in enumerate(symbols)}
    quotes = [event for event in events if isinstance(event, Quote)]
    trades = [event for event in events if isinstance(event, Trade)]

    def lacks(text: str) -> int:
        return digits - len(text.partition(".")[2])

    def units(text: str) -> int:
        return int(text.replace(".", "") + "0" * lacks(text))

    def texts(event: Trade | Quote) -> list[str]:
        if isinstance(event, Quote):
            return [event.bid, event.bid_qty, event.ask, event.ask_qty]
        return [event.price, event.qty]

    short = [sum(lacks(text) << 4 * at for at, text in enumerate(texts(event))) for event in events]

    def int64(values: Sequence[int | None]) -> bytes:
        return struct.pack(f"<{len(values)}q", *values)

    return Columns(
        symbols=symbols,
        digits=digits,
        kinds=bytes(QUOTE if isinstance(e, Quote) else SELL if e.side == "sell" else BUY for e in events),
        symbol=struct.pack(f"<{len(events)}H", *(place[event.symbol] for event in events)),
        ts=int64([event.ts for event in events]),
        ts_recv=int64([event.ts_recv for event in events]),
        ids=int64([e.update_id if isinstance(e, Quote) else e.trade_id for e in events]),
        price=int64([units(e.bid if isinstance(e, Quote) else e.price) for e in events]),
        qty=int64([units(e.bid_qty if isinstance(e, Quote) else e.qty) for e in events]),
        ask=int64([units(event.ask) for event in quotes]),
        ask_qty=int64([units(event.ask_qty) for event in quotes]),
        ts_sent=int64([event.ts_sent for event in trades]),
        short=struct.pack(f"<{len(events)}H", *short) if any(short) else b"",
    )
