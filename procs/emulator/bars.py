"""The venue's own bars (klines), counted from its prints, and its daily files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from procs.emulator.tape import Agg, Own, Print, Source

STEPS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600}
"""Seconds of each interval."""

_PAGE = 1000
_ZERO = Decimal(0)


class Wanted(msgspec.Struct, frozen=True):
    """Which bars: of which symbol and length, opened from when to when, and how many at most."""

    symbol: str
    step_s: int
    start_us: int | None
    end_us: int | None
    limit: int


def bars(source: Source, wanted: Wanted, now_us: int, micro: bool) -> list[list[Any]]:
    """Rows of twelve columns. An interval without a trade stands at the close before it, with a volume of nothing."""
    symbol, end_us = wanted.symbol, wanted.end_us
    step = wanted.step_s * 1_000_000
    last = min(now_us if end_us is None else end_us, now_us) // step * step
    most = (wanted.limit - 1) * step
    first = last - most if wanted.start_us is None else -(-wanted.start_us // step) * step
    begun = source.prints(symbol, 0, 1)
    if not begun:
        return []
    first = max(first, begun[0].time_us // step * step)  # there are no bars before the first trade
    last = min(last, first + most)
    before = source.prints(symbol, max(source.print_at(symbol, first) - 1, 0), 1)
    close = before[0].price if before and before[0].time_us < first else None
    rows: list[list[Any]] = []
    waiting = _between(source, symbol, first, last + step)
    ahead = next(waiting, None)
    for opened in range(first, last + 1, step):
        held: list[Print] = []
        while ahead is not None and ahead.time_us < opened + step:
            held.append(ahead)
            ahead = next(waiting, None)
        if held:
            close = held[-1].price
        if close is not None:
            rows.append(_row(opened, step, held, close, source.market == "spot", micro))
    return rows


def closed(source: Source, symbol: str, interval: str, start_us: int, sent_us: int) -> Own | None:
    """One bar that is over, as its stream sends it. None where there is none yet."""
    step = STEPS[interval]
    rows = bars(source, Wanted(symbol, step, start_us, start_us, 1), sent_us, micro=True)
    if not rows:
        return None
    first, behind = source.print_at(symbol, start_us), source.print_at(symbol, start_us + step * 1_000_000)
    ids = (first, behind - 1) if rows[0][8] else (-1, -1)
    return Own(interval, rows[0], *ids, start_us, sent_us)


def _row(opened: int, step: int, held: list[Print], close: str, spot: bool, micro: bool) -> list[Any]:
    prices = [Decimal(p.price) for p in held]
    volume = sum((Decimal(p.qty) for p in held), _ZERO)
    quote = sum((Decimal(p.price) * Decimal(p.qty) for p in held), _ZERO)
    bought = sum((Decimal(p.qty) for p in held if not p.buyer_maker), _ZERO)
    spent = sum((Decimal(p.price) * Decimal(p.qty) for p in held if not p.buyer_maker), _ZERO)
    edges = [held[0].price, f"{max(prices):f}", f"{min(prices):f}", close] if held else [close] * 4
    begin, end = (opened, opened + step - 1) if micro else (opened // 1000, (opened + step) // 1000 - 1)
    sums = [f"{x:.8f}" if spot else f"{x:f}" for x in (volume, quote, bought, spent)]
    return [begin, *edges, sums[0], end, sums[1], len(held), sums[2], sums[3], "0"]


def _between(source: Source, symbol: str, start_us: int, stop_us: int) -> Iterator[Print]:
    at = max(source.print_at(symbol, start_us), 0)
    while page := source.prints(symbol, at, _PAGE):
        for p in page:
            if p.time_us >= stop_us:
                return
            yield p
        at = page[-1].id + 1


def _aggs_between(source: Source, symbol: str, start_us: int, stop_us: int) -> Iterator[Agg]:
    at = max(source.agg_at(symbol, start_us), 0)
    while page := source.aggs(symbol, at, _PAGE):
        for a in page:
            if a.time_us >= stop_us:
                return
            yield a
        at = page[-1].id + 1


def daily_file(source: Source, symbol: str, kind: str, name: str, start_us: int) -> bytes:
    """The zip that the venue publishes of a closed day: ``kind`` is trades, aggTrades or an interval of klines."""
    stop = start_us + 86_400_000_000
    spot = source.market == "spot"
    if kind == "trades":
        header = "id,price,qty,quote_qty,time,is_buyer_maker"
        rows: Iterator[str] = (_trade_line(p, spot) for p in _between(source, symbol, start_us, stop))
    elif kind == "aggTrades":
        header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
        rows = (_agg_line(a, spot) for a in _aggs_between(source, symbol, start_us, stop))
    else:
        header = (
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
            "taker_buy_quote_volume,ignore"
        )
        wanted = Wanted(symbol, STEPS[kind], start_us, stop - 1, 86_400 // STEPS[kind])
        found = bars(source, wanted, stop, spot)
        rows = (",".join(map(str, row)) for row in found)
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w", zipfile.ZIP_DEFLATED) as packed:
        inside = zipfile.ZipInfo(f"{name}.csv", (2020, 1, 1, 0, 0, 0))  # the same bytes whenever it is asked for
        inside.compress_type = zipfile.ZIP_DEFLATED
        lines = list(rows) if spot else [header, *rows]
        packed.writestr(inside, "".join(f"{line}\n" for line in lines))
    return text.getvalue()


def checksum(data: bytes, name: str) -> bytes:
    return f"{sha256(data).hexdigest()}  {name}.zip\n".encode()


def _trade_line(p: Print, spot: bool) -> str:
    quote = Decimal(p.price) * Decimal(p.qty)
    if spot:
        return f"{p.id},{p.price},{p.qty},{quote:.8f},{p.time_us},{p.buyer_maker},True"
    return f"{p.id},{p.price},{p.qty},{quote:f},{p.time_us // 1000},{str(p.buyer_maker).lower()}"


def _agg_line(a: Agg, spot: bool) -> str:
    if spot:
        return f"{a.id},{a.price},{a.qty},{a.first},{a.last},{a.time_us},{a.buyer_maker},True"
    return f"{a.id},{a.price},{a.qty},{a.first},{a.last},{a.time_us // 1000},{str(a.buyer_maker).lower()}"
