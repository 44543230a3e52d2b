"""Reads every bar under `parquet/` and compares it with bars of its own, made of the archive's text."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, NamedTuple

from bench.judge.archive import SECOND, Archive
from bench.judge.events import covered
from bench.judge.ledger import Ledger
from bench.judge.report import Report

COLUMNS = {
    "symbol": "string",
    "window_start": "timestamp[us, tz=UTC]",
    **dict.fromkeys(("open", "high", "low", "close", "volume_base", "volume_quote"), "double"),
    "trade_count": "int64",
    **dict.fromkeys(("vwap", "bid", "ask", "spread", "bid_qty", "ask_qty"), "double"),
    "quote_count": "int64",
    **dict.fromkeys(("spread_tw", "buy_volume_base", "buy_volume_quote"), "double"),
    **dict.fromkeys(("buy_count", "first_trade_id", "last_trade_id", "trade_id_sum"), "int64"),
    "is_complete": "bool",
    "quotes_live_ms": "int16",
    "revision": "int32",
    "venue": "string",
}


class Bar(NamedTuple):
    open: float
    high: float
    low: float
    close: float
    volume_base: float
    volume_quote: float
    trade_count: int
    vwap: float
    buy_volume_base: float
    buy_volume_quote: float
    buy_count: int
    first_trade_id: int
    last_trade_id: int
    trade_id_sum: int


def own_bars(trades: dict[int, tuple[int, str, str, str]]) -> dict[int, Bar]:
    """Bars by second from ``id: (ns, price, qty, side)``, exact until the last step."""
    seconds: dict[int, list[int]] = defaultdict(list)
    for number, (ns, *_) in trades.items():
        seconds[ns // SECOND].append(number)
    with localcontext() as context:
        context.prec = 80
        return {second: _bar(sorted(numbers), trades) for second, numbers in seconds.items()}


def _bar(numbers: list[int], trades: dict[int, tuple[int, str, str, str]]) -> Bar:
    prices = [Decimal(trades[n][1]) for n in numbers]
    sums = [Decimal(0)] * 4
    bought = 0
    for number, price in zip(numbers, prices, strict=True):
        qty, buy = Decimal(trades[number][2]), trades[number][3] == "buy"
        bought += buy
        sums[0] += qty
        sums[1] += qty * price
        if buy:
            sums[2] += qty
            sums[3] += qty * price
    base, quote, buy_base, buy_quote = sums
    return Bar(
        float(prices[0]),
        float(max(prices)),
        float(min(prices)),
        float(prices[-1]),
        float(base),
        float(quote),
        len(numbers),
        float(quote / base),
        float(buy_base),
        float(buy_quote),
        bought,
        numbers[0],
        numbers[-1],
        sum(numbers),
    )


def read_bars(lake: Path, venue: str, report: Report) -> dict[tuple[str, int], dict[str, Any]]:
    """Every row under ``parquet/``, by symbol and second; complains of what should not be there."""
    import pyarrow.parquet as pq

    for top in ("parquet", "ticks"):
        for path in (lake / top).rglob("*"):
            if path.is_file() and path.suffix not in (".parquet", ".tmp"):
                report.fault("a stranger among the Parquet files", path)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    where: dict[tuple[str, int], Path] = {}
    files = sorted((lake / "parquet").glob("**/*.parquet"))
    for path in files:
        try:
            table = pq.ParquetFile(path).read()
        except Exception as error:
            report.fault("an unreadable Parquet file", f"{path}: {error}")
            continue
        types = {column.name: str(column.type).replace("large_string", "string") for column in table.schema}
        if list(types.items()) != list(COLUMNS.items()):
            report.fault("columns of a Parquet file", f"{path}: {types}")
        for row in table.to_pylist():
            if row["venue"] != venue:
                continue
            key = (row["symbol"], int(row["window_start"].timestamp()))
            if key in rows:
                report.fault("a bar twice under the glob", f"{key} in {path} and {where[key]}")
            day = path.relative_to(lake / "parquet").parts
            date = row["window_start"].strftime("%Y-%m-%d")
            folder = row["window_start"].strftime("year=%Y/month=%m/day=%d")
            if day[:2] != (venue, row["symbol"]) or (day[2:-1] != tuple(folder.split("/")) and path.stem != date):
                report.fault("a bar in the wrong folder", f"{key} in {path}")
            rows[key], where[key] = row, path
    report.figures["parquet files"], report.figures["bars"] = len(files), len(rows)
    return rows


def judge_bars(rows: dict[tuple[str, int], dict[str, Any]], archive: Archive, ledger: Ledger, report: Report) -> None:
    seconds: set[tuple[str, int]] = set()
    last_bits = 0
    for name in sorted(set(archive.trades) | set(archive.quotes)):
        held = {
            n: (line["ts"], line["price"], line["qty"], line["side"])
            for n, line in archive.trades[name].items()
            if line.get("trade_type") in (None, "MARKET")
        }
        stand_in = covered(archive, name)
        for number in stand_in - held.keys():  # an aggregate stands for the very trades it was made of
            trade = ledger.trades[name].get(number)
            if trade is not None:
                held[number] = (trade.ns, trade.price, trade.qty, trade.side)
        bars = own_bars(held)
        quotes = _quotes_by_second(archive.quotes[name])
        seconds |= {(name, s) for s in bars} | {(name, s) for s in quotes}
        everything = archive.trades[name] | {number: {} for number in stand_in}
        for second, bar in bars.items():
            row = rows.get((name, second))
            if row is None:
                report.fault("a second with trades and no bar", f"{name} {second}")
                continue
            last_bits += _same_bar(name, second, bar, row, report)
            _same_completeness(name, second, bar, row, everything, report)
        for second, (count, stand) in quotes.items():
            row = rows.get((name, second))
            if row is None:
                report.fault("a second with quotes and no bar", f"{name} {second}")
                continue
            if second not in bars:
                _quiet(name, second, row, report)
            _same_quotes(name, second, count, stand, row, report)
    for key in sorted(set(rows) - seconds):
        report.fault("a bar of nothing", key)
    report.figures["bars compared"] = len(seconds & set(rows))
    report.figures["vwap differs in the last bit"] = last_bits
    revisions = Counter(row["revision"] for row in rows.values())
    report.figures["revisions"] = dict(sorted(revisions.items()))


def _same_bar(name: str, second: int, bar: Bar, row: dict[str, Any], report: Report) -> int:
    for column, want in bar._asdict().items():
        got = row[column]
        if got == want:
            continue
        if column == "vwap" and got is not None and abs(got - want) <= 1e-14 * want:
            return 1
        report.fault(
            f"bar: {column}", f"{name} {second}: {got!r}, own computation {want!r}, revision {row['revision']}"
        )
    return 0


def _same_completeness(
    name: str, second: int, bar: Bar, row: dict[str, Any], held: dict[int, Any], report: Report
) -> None:
    """True if no id is missing between the trade held before this second and the last of this second."""
    numbers = [n for n in range(bar.first_trade_id, bar.last_trade_id + 1) if n not in held]
    before = [n for n in (bar.first_trade_id - 1,) if n in held]
    want = not numbers and bool(before)
    if bar.first_trade_id == min(held):
        if row["is_complete"]:
            report.fault("is_complete without a trade before", f"{name} {second}")
    elif row["is_complete"] is not want:
        report.fault("is_complete", f"{name} {second}: {row['is_complete']}, should be {want}")


def _quotes_by_second(quotes: dict[int, dict[str, Any]]) -> dict[int, tuple[int, list[list[str]]]]:
    """How many quotes each second has, and which may stand at its end: of all until then the one with the highest
    update id, which overtakes those that came late; or, after a disconnect, the highest of that second.
    """
    found: dict[int, tuple[int, list[list[str]]]] = {}
    top = here = -1
    for line in sorted(quotes.values(), key=lambda line: (line["ts"], line["update_id"])):
        second, u = line["ts"] // SECOND, line["update_id"]
        if second not in found:
            here = -1
        top, here = max(top, u), max(here, u)
        count = found[second][0] if second in found else 0
        stand = [[quotes[n][key] for key in ("bid", "bid_qty", "ask", "ask_qty")] for n in {top, here}]
        found[second] = (count + 1, stand)
    return found


def _same_quotes(
    name: str, second: int, count: int, stand: list[list[str]], row: dict[str, Any], report: Report
) -> None:
    if row["quote_count"] != count:
        report.fault("bar: quote_count", f"{name} {second}: {row['quote_count']}, the archive holds {count}")
    if row["bid"] is None:
        report.figures["bars with quotes that end without one"] = (
            report.figures.get("bars with quotes that end without one", 0) + 1
        )
        return
    got = (row["bid"], row["bid_qty"], row["ask"], row["ask_qty"], row["spread"])
    want = [(*map(float, words), float(Decimal(words[2]) - Decimal(words[0]))) for words in stand]
    if got not in want:
        report.fault("bar: its quote", f"{name} {second}: {got}, the last of the archive {want}")
    if not 0 <= row["quotes_live_ms"] <= 1000:
        report.fault("bar: quotes_live_ms", f"{name} {second}: {row['quotes_live_ms']}")


def _quiet(name: str, second: int, row: dict[str, Any], report: Report) -> None:
    nulls = ("open", "high", "low", "close", "vwap", "first_trade_id", "last_trade_id", "trade_id_sum", "is_complete")
    zeros = ("volume_base", "volume_quote", "trade_count", "buy_volume_base", "buy_volume_quote", "buy_count")
    if any(row[key] is not None for key in nulls) or any(row[key] != 0 for key in zeros):
        report.fault("bar: a second without trades", f"{name} {second}: {row}")
