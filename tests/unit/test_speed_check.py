"""The judge of the benchmark: a lake as sent passes, and every way of being wrong is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.speed.check import Verdict, lake_against
from bench.speed.market import UNIT, Market
from shared.barfiles import bar_table
from shared.events import Bar, Quote, Trade
from shared.lines import line

MARKET = Market(5, 600, 2, 200)


def text(value: int) -> str:
    return f"{value // UNIT}.{value % UNIT:08d}"


def raw_line(at: int) -> str:
    symbol, ts = MARKET.names[int(MARKET.symbol[at])], int(MARKET.at_us[at]) * 1000
    price, qty, number = text(int(MARKET.price[at])), text(int(MARKET.qty[at])), int(MARKET.number[at])
    if MARKET.is_trade[at]:
        return line(Trade(symbol, ts, ts, ts, ts, price, qty, "sell" if MARKET.is_maker[at] else "buy", number))
    ask, ask_qty = text(int(MARKET.ask[at])), text(int(MARKET.ask_qty[at]))
    return line(Quote(symbol, ts, None, None, ts, price, qty, ask, ask_qty, number))


def bars_of(name: str, index: int) -> list[Bar]:
    seconds = MARKET.truth()[name]["seconds"]
    quotes = (MARKET.at_us[(MARKET.symbol == index) & ~MARKET.is_trade] // 1_000_000).tolist()
    bars = []
    for second in sorted({*seconds, *quotes}):
        bar = Bar(name, second * 1_000_000_000, quote_count=quotes.count(second))
        known = seconds.get(second)
        if known:
            bar.open, bar.high, bar.low, bar.close = (known[key] / UNIT for key in ("open", "high", "low", "close"))
            bar.volume_base, bar.volume_quote = known["base"] / UNIT, known["quote"] / UNIT**2
            bar.vwap = known["quote"] / (known["base"] * UNIT)
            bar.trade_count, bar.trade_id_sum = known["count"], known["ids"]
        bars.append(bar)
    return bars


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for index, name in enumerate(MARKET.names):
        raw = tmp_path / "raw" / "binance" / name / "2025-10-20"
        raw.mkdir(parents=True)
        mine = np.flatnonzero(MARKET.symbol == index).tolist()
        (raw / "part_0000.jsonl").write_text("".join(map(raw_line, mine)))
        parquet = tmp_path / "parquet" / "binance" / name
        parquet.mkdir(parents=True)
        pq.write_table(bar_table(bars_of(name, index), "binance"), parquet / "part.parquet")
    return tmp_path


def judged(lake: Path) -> Verdict:
    return lake_against(MARKET, lake, MARKET.at_us, MARKET.count)


def test_a_lake_as_sent_has_nothing_wrong(lake: Path) -> None:
    verdict = judged(lake)

    assert verdict.wrong == []
    assert verdict.lines == verdict.counted == 600
    assert verdict.ids_missing == 0


def lines_of(lake: Path) -> tuple[Path, list[str]]:
    path = lake / "raw" / "binance" / MARKET.names[0] / "2025-10-20" / "part_0000.jsonl"
    return path, path.read_text().splitlines(keepends=True)


def without_a_trade(lake: Path) -> None:
    path, lines = lines_of(lake)
    del lines[next(at for at, one in enumerate(lines) if '"trade"' in one)]
    path.write_text("".join(lines))


def a_line_twice(lake: Path) -> None:
    path, lines = lines_of(lake)
    path.write_text("".join([*lines, lines[-1]]))


def another_digit(lake: Path) -> None:
    path, lines = lines_of(lake)
    at = next(at for at, one in enumerate(lines) if '"trade"' in one)
    head, _, tail = lines[at].partition('"qty":')
    digits, _, rest = tail.partition(",")
    lines[at] = f'{head}"qty":{digits[:-1]}{(int(digits[-1]) + 1) % 10},{rest}'
    path.write_text("".join(lines))


def another_side(lake: Path) -> None:
    path, lines = lines_of(lake)
    at = next(at for at, one in enumerate(lines) if '"side":"buy"' in one)
    lines[at] = lines[at].replace('"side":"buy"', '"side":"sell"')
    path.write_text("".join(lines))


def bars_changed(lake: Path, change: Callable[[list[Bar]], object]) -> None:
    bars = bars_of(MARKET.names[1], 1)
    change(bars)
    pq.write_table(bar_table(bars, "binance"), lake / "parquet" / "binance" / MARKET.names[1] / "part.parquet")


def a_bar_less(lake: Path) -> None:
    bars_changed(lake, lambda bars: bars.pop())


def an_ulp_more(lake: Path) -> None:
    bars_changed(lake, lambda bars: setattr(bars[0], "volume_quote", float(np.nextafter(bars[0].volume_quote, 1e18))))


def another_close(lake: Path) -> None:
    bars_changed(lake, lambda bars: setattr(bars[0], "close", (bars[0].close or 0) + 0.01))


def a_quote_uncounted(lake: Path) -> None:
    bars_changed(lake, lambda bars: setattr(bars[0], "quote_count", bars[0].quote_count - 1))


def a_gap(lake: Path) -> None:
    (lake / "feed" / "binance").mkdir(parents=True)
    (lake / "feed" / "binance" / "part.jsonl").write_text('{"kind":"gap","ts":1,"ts_recv":1,"symbols":[]}\n')


def a_rejected_frame(lake: Path) -> None:
    (lake / "rejected" / "binance").mkdir(parents=True)
    (lake / "rejected" / "binance" / "part.jsonl").write_text('{"reason":"x"}\n')


@pytest.mark.parametrize(
    "spoil",
    [
        without_a_trade,
        a_line_twice,
        another_digit,
        another_side,
        a_bar_less,
        an_ulp_more,
        another_close,
        a_quote_uncounted,
        a_gap,
        a_rejected_frame,
    ],
)
def test_every_way_of_being_wrong_is_said(lake: Path, spoil: Callable[[Path], None]) -> None:
    spoil(lake)

    verdict = judged(lake)

    assert verdict.wrong
    assert str(verdict).startswith("WRONG")


def test_a_missing_id_is_counted(lake: Path) -> None:
    without_a_trade(lake)

    assert judged(lake).ids_missing == 1
