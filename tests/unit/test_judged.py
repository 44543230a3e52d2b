"""What the loops say of a busy moment's rows is what numpy says of them."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from procs.ingest.judged import Judged, judge
from shared import kernels
from shared.events import QUOTE, SELL
from shared.paths import SECOND
from shared.venues import Rows
from shared.venues._binance_columns import Rows as BinanceRows
from tests.fixtures.loops import library as library

SYMBOLS = 5
NOW = 1_760_000_000 * SECOND


def some_rows(random: np.random.Generator, count: int) -> Rows:
    """Quotes and trades, the ids of which mostly follow one another."""
    rows = BinanceRows(count)
    rows.is_plain[:] = True
    rows.kinds[:] = random.choice([0, SELL, QUOTE, QUOTE], count)
    rows.symbol[:] = random.choice([0, 2, 4], count) if count % 2 else random.integers(0, SYMBOLS, count)
    is_trade = rows.kinds != QUOTE
    rows.ids[:] = np.arange(count) + random.choice([0, 0, 0, 1], count)
    for symbol in range(SYMBOLS):
        mine = np.flatnonzero(is_trade & (rows.symbol == symbol))
        rows.ids[mine] = np.arange(len(mine)) + 100 * symbol + (np.arange(len(mine)) > 8)
    for column in (rows.ts, rows.ts_sent):
        column[is_trade] = NOW + random.integers(0, 1000, np.count_nonzero(is_trade))
    rows.ask[~is_trade], rows.ask_qty[~is_trade] = random.integers(1, 1000, (2, np.count_nonzero(~is_trade)))
    return rows


def said(judged: Judged, estimates: list[int], walls: list[int], high: int) -> dict[str, object]:
    runs = list(judged.runs())
    ids = {symbol: judged.quote_ids(symbol) for symbol, is_quote, *_ in runs if is_quote}
    counts = judged.low, judged.top, judged.final, judged.trades, judged.tops
    stamped = judged.stamp(estimates, walls, high)
    columns = [np.asarray(column).tolist() for column in stamped[2:]]
    return {"runs": runs, "ids": ids, "counts": counts, "stamped": (stamped.high, stamped.latest, columns)}


@pytest.mark.parametrize("seed", range(40))
def test_both_ways_say_the_same(seed: int, library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 60))
    cuts = sorted(random.integers(0, count + 1, 3).tolist())
    behind = [*cuts, count]
    start = int(random.integers(0, count))
    end = int(random.integers(start, count)) + 1
    estimates = [NOW + int(random.integers(0, 1000)) for _ in behind]
    given = estimates, [at + 7 for at in estimates], NOW + int(random.integers(0, 1000))
    found = said(judge(some_rows(np.random.default_rng(seed), count), behind, start, end, SYMBOLS), *given)
    monkeypatch.setattr(kernels, "loops", None)
    assert found == said(judge(some_rows(np.random.default_rng(seed), count), behind, start, end, SYMBOLS), *given)
