"""Bars of recorded markets: against the exchange's own klines, and against a second computation in decimals.

The recordings are not part of the repository; LAKE_REAL_DATA names their folder.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path

import pytest

from shared.bars import Bars, bars_hash
from shared.events import Bar, Event, Quote, Trade

S = 1_000_000_000
MS = 1_000_000
DATA = Path(os.environ.get("LAKE_REAL_DATA", Path(__file__).parents[2] / "../shared/data"))


def recording(*names: str) -> list[Path]:
    found = [DATA / name for name in names]
    if not all(path.is_file() for path in found):
        pytest.skip(f"no recorded market data in {DATA.resolve()} (set LAKE_REAL_DATA)")
    return found


def frames(*paths: Path) -> Iterator[dict[str, object]]:
    for path in paths:
        with gzip.open(path, "rt") as file:
            for line in file:
                frame = json.loads(line.partition(" ")[2])
                if "stream" in frame:
                    yield frame["data"]


@cache
def events(*paths: Path) -> tuple[Event, ...]:
    """Trades and quotes as they came. A spot quote has no time of its own: it takes the highest seen before it."""
    found: list[Event] = []
    highest = 0
    for d in frames(*paths):
        highest = max(highest, int(str(d.get("T", 0))) * MS)
        if d.get("e") == "trade":
            ts, side = int(str(d["T"])) * MS, "sell" if d["m"] else "buy"
            kind = str(d["X"]) if "X" in d else None
            one = int(str(d["t"]))
            found.append(Trade(str(d["s"]), ts, ts, None, 0, str(d["p"]), str(d["q"]), side, one, "ws", kind))
        elif "A" in d:
            ts = int(str(d["T"])) * MS if "T" in d else highest
            texts = (str(d["b"]), str(d["B"]), str(d["a"]), str(d["A"]))
            found.append(Quote(str(d["s"]), ts, None, None, 0, *texts, int(str(d["u"]))))
    return tuple(found)


def streamed(given: list[Event], every: int) -> list[Bar]:
    """The bars of these events, with a time record after each `every` of them."""
    bars, newest, time = Bars(), {}, 0
    for at in range(0, len(given), every):
        part = given[at : at + every]
        bars.take(part)
        time = max(time, max(event.ts for event in part))  # type: ignore[union-attr]
        for closed in (bars.advance(time), bars.advance(time + 10 * S) if at + every >= len(given) else None):
            for bar in closed[1] if closed else ():
                newest[bar.window_start] = bar
    return [newest[start] for start in sorted(newest)]


def exact(number: float | None) -> Decimal:
    return Decimal(repr(number))


def test_a_minute_of_futures_bars_is_the_kline_of_the_exchange_in_all_nine_fields() -> None:
    capture, klines = recording(
        "binance-usdm-ws/btcusdt_20240808.gz",
        "binance-usdm-ws/BTCUSDT-usdm-1m-klines_20240808T2354_20240809T0004.csv",
    )
    minutes: dict[int, list[Bar]] = defaultdict(list)
    for bar in streamed(list(events(capture)), 500):
        if bar.trade_count:
            minutes[bar.window_start // (60 * S)].append(bar)
    checked = 0
    with klines.open() as file:
        for row in csv.DictReader(file):
            minute = int(row["open_time"]) // 60_000
            if minute % 60 not in range(55, 60):
                continue
            bars = minutes[minute]
            mine = {
                "open": exact(bars[0].open),
                "high": max(exact(bar.high) for bar in bars),
                "low": min(exact(bar.low) for bar in bars),
                "close": exact(bars[-1].close),
                "volume": sum(exact(bar.volume_base) for bar in bars),
                "quote_volume": sum(exact(bar.volume_quote) for bar in bars),
                "count": Decimal(sum(bar.trade_count for bar in bars)),
                "taker_buy_volume": sum(exact(bar.buy_volume_base) for bar in bars),
                "taker_buy_quote_volume": sum(exact(bar.buy_volume_quote) for bar in bars),
            }
            assert {key: Decimal(row[key]) for key in mine} == mine
            checked += 1
    assert checked == 5


SPOT = ("binance-spot-ws/ethusdt_20240808.gz", "binance-spot-ws/ethusdt_20240809.gz")


def in_decimals(given: list[Event]) -> dict[int, Bar]:
    """The same bars by sorting, grouping and decimals; for a recording without disconnects and with rising ids."""
    trades: dict[int, list[Trade]] = defaultdict(list)
    quotes: dict[int, list[Quote]] = defaultdict(list)
    for event in given:
        if isinstance(event, Trade):
            trades[event.ts // S].append(event)
        elif isinstance(event, Quote):
            quotes[event.ts // S].append(event)
    bars = {}
    standing: Quote | None = None
    last_id: int | None = None
    for sec in sorted({*trades, *quotes}):
        bar = bars[sec] = Bar("ETHUSDT", sec * S, quote_count=len(quotes[sec]))
        if here := sorted(trades[sec], key=lambda trade: trade.trade_id):
            _count(bar, here, last_id)
            last_id = here[-1].trade_id
        standing = _stand(bar, sec, standing, sorted(quotes[sec], key=lambda quote: quote.update_id))
    return bars


def _count(bar: Bar, here: list[Trade], last_id: int | None) -> None:
    money = [(Decimal(t.price), Decimal(t.qty), t.side == "buy") for t in here]
    bar.open, bar.close = float(here[0].price), float(here[-1].price)
    bar.high, bar.low = float(max(p for p, *_ in money)), float(min(p for p, *_ in money))
    base, quote = sum(q for _, q, _ in money), sum(p * q for p, q, _ in money)
    bar.volume_base, bar.volume_quote, bar.vwap = float(base), float(quote), float(quote / base)
    bar.buy_volume_base = float(sum(q for _, q, b in money if b))
    bar.buy_volume_quote = float(sum(p * q for p, q, b in money if b))
    bar.trade_count, bar.buy_count = len(here), sum(b for *_, b in money)
    ids = [t.trade_id for t in here]
    bar.first_trade_id, bar.last_trade_id, bar.trade_id_sum = ids[0], ids[-1], sum(ids)
    bar.is_complete = last_id is not None and ids == list(range(last_id + 1, last_id + 1 + len(ids)))


def _stand(bar: Bar, sec: int, standing: Quote | None, here: list[Quote]) -> Quote | None:
    parts, at = [], sec * S
    for quote in [*here, None]:
        until = quote.ts if quote else (sec + 1) * S
        if standing is not None:
            parts.append((Decimal(standing.ask) - Decimal(standing.bid), until - at))
        at, standing = until, quote or standing
    live = sum(length for _, length in parts)
    bar.quotes_live_ms = live // MS
    bar.spread_tw = float(sum(spread * length for spread, length in parts) / live) if live else None
    if standing is not None:
        bar.bid, bar.ask = float(standing.bid), float(standing.ask)
        bar.bid_qty, bar.ask_qty = float(standing.bid_qty), float(standing.ask_qty)
        bar.spread = float(Decimal(standing.ask) - Decimal(standing.bid))
    return standing


def test_spot_bars_across_midnight_equal_a_computation_in_decimals() -> None:
    given = list(events(*recording(*SPOT)))
    assert [sum(isinstance(event, kind) for event in given) for kind in (Trade, Quote)] == [14_515, 58_758]
    bars = streamed(given, 200)
    with localcontext() as context:
        context.prec = 100
        expected = in_decimals(given)
    assert bars == [expected[sec] for sec in sorted(expected)]
    with_trades = [bar for bar in bars if bar.trade_count]
    assert (len(with_trades), sum(bar.trade_count for bar in bars)) == (610, 14_515)
    assert sum(bar.is_complete is False for bar in with_trades) == 1


@pytest.mark.parametrize("seed", range(2))
def test_disorder_within_the_lateness_does_not_change_a_bit(seed: int) -> None:
    given = list(events(*recording(*SPOT)))
    chance = random.Random(seed)
    shuffled = sorted(given, key=lambda event: event.ts + chance.randrange(2 * S))  # type: ignore[union-attr]
    assert bars_hash(streamed(shuffled, 333)) == bars_hash(streamed(given, 1_000))
