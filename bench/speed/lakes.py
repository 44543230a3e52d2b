"""P6 to P8: what can be done with what lies there. Made lakes, the product's own compactor, DuckDB and pandas."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.speed.figures import Goal, Spread
from bench.speed.market import UNIT, Ints, Market
from bench.speed.peers import DRIVERS
from bench.speed.questions import DATE, SYMBOL
from bench.speed.server import ROOT
from shared import compiled, paths
from shared.barfiles import bar_table
from shared.events import Bar, Quote, Trade
from shared.lines import line
from supervision import children

Say = Callable[[str], None]
WORK_S: Final = 3600.0
DAY_S: Final = 86_400
COPIES: Final = 20


def _process(command: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a process says at its end, and how long it took as a whole. Raises RuntimeError."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=WORK_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    said["wall"] = time.perf_counter() - began
    return said


def _ours(what: str, lake: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.speed.questions", what, str(lake), str(out)]
    return _process(command, children.environment(gently=True) if what == "rebuild" else None)  # as a batch has it


def compact(lake: Path) -> float:
    """Seconds that the product's compactor took over a lake. Raises RuntimeError."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "procs.compactor", "--lake", str(lake)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WORK_S, check=False)
    if done.returncode:
        raise RuntimeError(f"the compactor: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - began


# --- raw lines ---


def _text(value: int) -> str:
    return f"{value // UNIT}.{value % UNIT:08d}"


def _minutes(market: Market, places: Ints, folder: Path, form: Callable[[int], str]) -> None:
    """One file a minute, lines as `form` makes them of a place in the market."""
    folder.mkdir(parents=True)
    minute = market.at_us[places] // 60_000_000
    for rows in np.split(places, np.flatnonzero(np.diff(minute)) + 1):
        name = paths.clock_name(int(market.at_us[rows[0]]) * 1000)
        (folder / f"part_{name}.jsonl").write_text("".join(map(form, rows.tolist())))


def ours_line(market: Market, at: int) -> str:
    """A line of the archive."""
    ts, number = int(market.at_us[at]) * 1000, int(market.number[at])
    price, qty = _text(int(market.price[at])), _text(int(market.qty[at]))
    if market.is_trade[at]:
        return line(Trade(SYMBOL, ts, ts, ts, ts, price, qty, "sell" if market.is_maker[at] else "buy", number))
    ask, ask_qty = _text(int(market.ask[at])), _text(int(market.ask_qty[at]))
    return line(Quote(SYMBOL, ts, None, None, ts, price, qty, ask, ask_qty, number))


def seed_line(market: Market, at: int) -> str:
    """A line as the seed's collector writes it."""
    ts, is_trade = int(market.at_us[at]) // 1000, bool(market.is_trade[at])
    price, qty = int(market.price[at]) / UNIT, int(market.qty[at]) / UNIT
    record = {
        "symbol": SYMBOL,
        "ts_event": ts,
        "ts_recv": ts,
        "price": price if is_trade else None,
        "qty": qty if is_trade else None,
        "side": ("sell" if market.is_maker[at] else "buy") if is_trade else None,
        "bid": None if is_trade else price,
        "ask": None if is_trade else int(market.ask[at]) / UNIT,
        "stream": "trade" if is_trade else "bookTicker",
        "trade_id": int(market.number[at]) if is_trade else None,
    }
    return json.dumps(record) + "\n"


def _raw(lake: Path) -> Path:
    return lake / paths.raw_dir("binance", SYMBOL, DATE)


# --- P6, and the size of ticks ---


def symbol_day(folder: Path, pandas: str | None, events: int, rounds: int, say: Say) -> tuple[Goal, Goal]:
    """P6 and the second half of P8."""
    market = Market(6, events, 1, max(1, -(-events // DAY_S)))
    lake, seed = folder / "day", folder / "day-seed"
    places = np.arange(events)
    _minutes(market, places, _raw(lake), lambda at: ours_line(market, at))
    trades = int(market.is_trade.sum())
    compiled.build()  # as the supervisor does when it starts
    walls: dict[str, list[float]] = {"rebuild": [], "lines": [], "pandas": []}
    if pandas:
        _minutes(market, places, seed, lambda at: seed_line(market, at))
    for number in range(rounds):
        for what in ("rebuild", "lines"):
            said = _ours(what, lake, folder / f"{what}.parquet")
            walls[what].append(said["wall"])
            if said["trades"] != trades:
                raise RuntimeError(f"{what}: {said['trades']:,} of {trades:,} trades")
        if pandas:
            command = [pandas, str(DRIVERS / "pandas_driver.py"), "transform", str(seed), str(folder / "seed.parquet")]
            walls["pandas"].append(_process(command)["wall"])
        last = ", ".join(f"{name} {wall[number]:.1f} s" for name, wall in walls.items() if wall)
        say(f"  a symbol-day of {events:,} raw lines to Parquet bars: {last}")
    wanted = "a symbol-day of raw JSONL to Parquet bars: at least 10x the seed's pandas transformer"
    goal = Goal("P6", wanted, "no pandas to compare with")
    if pandas:
        ratios = {
            what: Spread.of([theirs / mine for theirs, mine in zip(walls["pandas"], walls[what], strict=True)])
            for what in ("rebuild", "lines")
        }
        measured = (
            f"all columns, exact, as the compactor makes them again, {ratios['rebuild'].text()}; "
            f"in one statement over the lake's views {ratios['lines'].text()}"
        )
        goal = Goal("P6", wanted, measured, ratios["rebuild"].middle >= 10)
    return goal, _tick_size(lake, market, say)


def _tick_size(lake: Path, market: Market, say: Say) -> Goal:
    seconds = compact(lake)
    path = lake / paths.tick_file("binance", SYMBOL, "trades", DATE)
    rows = pq.ParquetFile(path).read(["trade_id", "price", "qty"])
    trades = np.flatnonzero(market.is_trade)
    each = path.stat().st_size / len(trades)
    is_exact = rows.column("trade_id").to_pylist() == market.number[trades].tolist()
    for name, truth in (("price", market.price), ("qty", market.qty)):
        units = [int(number.scaleb(8)) for number in rows.column(name).to_pylist()]
        is_exact = is_exact and units == truth[trades].tolist()
    say(f"  compacted in {seconds:.1f} s: {each:.2f} bytes a trade, {'exact' if is_exact else 'NOT AS SENT'}")
    text = f"{each:.2f} bytes a trade, {'every digit as sent' if is_exact else 'WRONG DIGITS'}"
    return Goal("P8b", "compacted ticks take at most 7.5 bytes a trade, exact", text, each <= 7.5 and is_exact)


# --- P7 ---


def ticks(folder: Path, pandas: str | None, trades: int, rounds: int, say: Say) -> Goal:
    """Ticks of twenty symbols to bars of one second; `trades` in all.

    pandas has them as float64 in Parquet files of a symbol each (prices, quantities and times, nothing else), reads one
    after the other and makes open, high, low, close, two sums and a count; its open and close are those of the order of
    rows. The product has its own tick files, with every key of a line and exact decimals, and makes all the columns of
    a bar that trades tell, sums exact, open and close by trade id; it uses all cores. Nobody writes anything.
    """
    wanted = "ticks to 1 s bars: at least 5x pandas resample, with deterministic open and close"
    each = trades // COPIES
    market = Market(7, each * 4 + each // 10, 1, max(1, -(-each * 4 // DAY_S) + 1))
    mine = np.flatnonzero(market.is_trade)[:each]
    lake, theirs = folder / "ticks", folder / "ticks-pandas"
    _minutes(market, mine, _raw(lake), lambda at: ours_line(market, at))
    compact(lake)
    made = lake / paths.tick_file("binance", SYMBOL, "trades", DATE)
    theirs.mkdir()
    columns = {
        "ts": pa.array(market.at_us[mine], pa.timestamp("us", tz="UTC")),
        "price": market.price[mine] / UNIT,
        "qty": market.qty[mine] / UNIT,
    }
    pq.write_table(pa.table(columns), theirs / f"{SYMBOL}.parquet", compression="snappy")
    for number in range(1, COPIES):
        other = lake / paths.tick_file("binance", f"COPY{number:02d}", "trades", DATE)
        other.parent.mkdir(parents=True)
        other.write_bytes(made.read_bytes())
        (theirs / f"COPY{number:02d}.parquet").write_bytes((theirs / f"{SYMBOL}.parquet").read_bytes())
    compiled.build()  # as the supervisor does when it starts
    seconds: dict[str, list[float]] = {"ticks": [], "statement": []}
    others: list[float] = []
    for _ in range(rounds):
        for what, spent in seconds.items():
            said = _ours(what, lake, folder)
            if said["trades"] != len(mine) * COPIES:
                raise RuntimeError(f"{what}: {said['trades']:,} of {len(mine) * COPIES:,} trades")
            spent.append(said["seconds"])
        if pandas:
            command = [pandas, str(DRIVERS / "pandas_driver.py"), "resample", str(theirs), str(folder)]
            others.append(_process(command)["seconds"])
        last = f"; pandas {others[-1]:.2f} s" if others else ""
        ours = ", ".join(f"{what} {spent[-1]:.2f} s" for what, spent in seconds.items())
        say(f"  {len(mine) * COPIES:,} trades to 1 s bars: {ours}{last}")
    if not others:
        return Goal("P7", wanted, "no pandas to compare with")
    ratios = {
        what: Spread.of([theirs_s / ours_s for theirs_s, ours_s in zip(others, spent, strict=True)])
        for what, spent in seconds.items()
    }
    measured = (
        f"{ratios['ticks'].text()} by trade_bars: all columns, exact, open and close by trade id; "
        f"in one statement over the lake's views {ratios['statement'].text()}"
    )
    return Goal("P7", wanted, measured, ratios["ticks"].middle >= 5)


# --- P8 ---


def rollup(folder: Path, days: int, say: Say) -> Goal:
    """One symbol's minutes out of `days` of seconds, on minute files and after the compactor."""
    lake = folder / "rollup"
    began = time.perf_counter()
    _minute_bars(lake, days)
    say(f"  {days} days of bars in {days * 1440:,} minute files, made in {time.perf_counter() - began:.0f} s")
    before = _ours("rollup", lake, folder)
    seconds = compact(lake)
    after = _ours("rollup", lake, folder)
    is_same = before["answer"] == after["answer"]
    ratio = before["query"] / after["query"]
    say(
        f"  one symbol's minutes: {before['query']:.2f} s (connecting {before['connect']:.2f} s); compacted in "
        f"{seconds:.0f} s; then {after['query']:.3f} s (connecting {after['connect']:.2f} s); "
        f"{after['rows']:,} rows, {'the same' if is_same else 'NOT THE SAME'}"
    )
    text = f"{ratio:.1f}x over {days} days ({before['query'] * 1e3:,.0f} to {after['query'] * 1e3:,.0f} ms)"
    wanted = "after compaction the 30-day 1-minute rollup of one symbol at least 20x faster than on minute files"
    return Goal("P8a", wanted, text if is_same else f"WRONG: another answer; {text}", ratio >= 20 and is_same)


def _minute_bars(lake: Path, days: int) -> None:
    """One file a minute, named and packed as the sink does by default."""
    chance = np.random.default_rng(8)
    first = paths.day_start(DATE)
    for day in range(days):
        price = 67_000 + np.round(np.cumsum(chance.normal(0, 0.5, DAY_S)), 2)
        volume = np.round(chance.lognormal(-2, 1, DAY_S), 5)
        begin = first + day * paths.DAY
        folder = lake / paths.bars_dir("binance", SYMBOL, paths.date_of(begin))
        folder.mkdir(parents=True)
        rows = enumerate(zip(price.tolist(), volume.tolist(), strict=True))
        table = bar_table([_bar(begin + at * paths.SECOND, *row) for at, row in rows], "binance")
        for minute in range(DAY_S // 60):
            number = (day * 1440 + minute) * 10 + 1
            clock = paths.clock_name(begin + minute * paths.MINUTE)
            name = f"part_{clock}_{number:016d}_{number + 9:016d}.parquet"
            pq.write_table(table.slice(minute * 60, 60), folder / name, compression="snappy")


def _bar(start: int, price: float, volume: float) -> Bar:
    bar = Bar(SYMBOL, start, price, price + 0.5, price - 0.5, price + 0.1, volume, price * volume, 20, price)
    bar.bid, bar.ask, bar.spread, bar.quote_count = price, price + 0.01, 0.01, 60
    bar.first_trade_id, bar.is_complete, bar.quotes_live_ms = start // paths.SECOND * 20, True, 1000
    bar.last_trade_id = start // paths.SECOND * 20 + 19
    bar.buy_volume_base, bar.buy_volume_quote, bar.buy_count = volume / 2, price * volume / 2, 10
    return bar
