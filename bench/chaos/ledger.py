"""The verdict over a lake: issued, journaled, archived, in bars. Own sums, own reading; the product judges nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bench.chaos.witness import Witness
from shared import checkpoint, paths
from shared.files import Files

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
SCALE = 10**12


class _Line(msgspec.Struct):
    symbol: str
    stream: str
    ts: int
    price: Decimal | None = None
    qty: Decimal | None = None
    side: str | None = None
    trade_id: int | None = None
    update_id: int | None = None


class Sum(msgspec.Struct):
    """A second, added up from its archived trades."""

    first: int
    last: int
    open: int
    close: int
    high: int
    low: int
    volume: int = 0
    quote: int = 0
    count: int = 0
    ids: int = 0


class Verdict(msgspec.Struct):
    figures: dict[str, Any] = {}
    faults: list[str] = []

    def check(self, is_right: bool, says: str) -> None:
        if not is_right:
            self.faults.append(says)


def judge(lake: Path, issued: dict[str, Any], witness: Witness, may_be_unhealable: bool = False) -> Verdict:
    """After a drained stop."""
    verdict = Verdict()
    trades, quotes, sums = _archive(lake, verdict)
    _trades(verdict, issued, witness, trades, may_be_unhealable)
    verdict.figures["quotes_issued"] = sum(rows["bookTicker"]["distinct"] for rows in issued.values())
    verdict.figures["quotes_archived"] = sum(map(len, quotes.values()))
    journaled = sum(witness.quotes.values())
    verdict.check(
        journaled == verdict.figures["quotes_archived"],
        f"quotes: {journaled} received, {verdict.figures['quotes_archived']} archived",
    )
    twice = sum(1 for seen in quotes.values() for n in seen.values() if n > 1)
    verdict.check(not twice, f"{twice} quotes stand twice in the archive")
    verdict.check(not witness.jumps, f"breaks in the journal: {witness.jumps[:3]}")
    _bars(verdict, lake, sums)
    left = [str(path) for path in lake.rglob("*.tmp") if "journal" not in path.parts]
    verdict.check(not left, f"unfinished files: {left[:3]}")
    return verdict


def _trades(
    verdict: Verdict, issued: dict[str, Any], witness: Witness, archived: dict[str, Counter[int]], forgiving: bool
) -> None:
    figures = verdict.figures
    figures["trades_issued"] = sum(rows["trade"]["distinct"] for rows in issued.values())
    figures["trades_journaled"] = sum(map(len, witness.trades.values()))
    figures["trades_archived"] = sum(map(len, archived.values()))
    figures["doubled"] = sum(1 for seen in archived.values() for n in seen.values() if n > 1)
    verdict.check(not figures["doubled"], f"{figures['doubled']} trades stand twice in the archive")
    verdict.check(not witness.twice, f"{witness.twice} trades were received twice")
    lost, missing = 0, 0
    given_up = {
        (symbol, one)
        for event in witness.feed
        if event.kind == "unhealable"
        for symbol in event.symbols
        for one in range(event.detail["first_id"], event.detail["last_id"] + 1)
    }
    for symbol, rows in issued.items():
        held = archived.get(symbol, Counter())
        received = witness.trades.get(symbol)
        for first, last in received.intervals if received is not None else ():
            lost += sum(one not in held for one in range(first, last + 1))
        begin = min(held, default=rows["trade"]["last"] + 1)
        missing += sum(
            one not in held and (symbol, one) not in given_up for one in range(begin, rows["trade"]["last"] + 1)
        )
    figures["lost"], figures["not_found"], figures["unhealable"] = lost, missing, len(given_up)
    verdict.check(not lost, f"{lost} received trades are not in the archive")
    verdict.check(not missing, f"{missing} trades are neither held nor listed")
    verdict.check(forgiving or not given_up, f"{len(given_up)} trades were given up")


def _lines(lake: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted((lake / "raw").rglob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                yield path, line


def _archive(
    lake: Path, verdict: Verdict
) -> tuple[dict[str, Counter[int]], dict[str, Counter[int]], dict[tuple[str, int], Sum]]:
    decode = msgspec.json.Decoder(_Line).decode
    trades: dict[str, Counter[int]] = defaultdict(Counter)
    quotes: dict[str, Counter[int]] = defaultdict(Counter)
    sums: dict[tuple[str, int], Sum] = {}
    strays = 0
    for path, text in _lines(lake):
        try:
            line = decode(text)
        except msgspec.DecodeError as error:
            verdict.faults.append(f"{path}: {error}")
            continue
        strays += line.ts // DAY != _day(path.parent.name)
        if line.update_id is not None:
            quotes[line.symbol][line.update_id] += 1
        elif line.trade_id is not None and line.price is not None and line.qty is not None:
            trades[line.symbol][line.trade_id] += 1
            if trades[line.symbol][line.trade_id] == 1:
                price, qty = int(line.price * SCALE), int(line.qty * SCALE)
                _add(sums, (line.symbol, line.ts // SECOND), line.trade_id, price, qty)
    verdict.check(not strays, f"{strays} lines stand in the folder of another day")
    return trades, quotes, sums


@cache
def _day(date: str) -> int:
    return paths.day_start(date) // DAY


def _add(sums: dict[tuple[str, int], Sum], key: tuple[str, int], one: int, price: int, qty: int) -> None:
    found = sums.get(key)
    if found is None:
        found = sums[key] = Sum(one, one, price, price, price, price)
    if one < found.first:
        found.first, found.open = one, price
    if one >= found.last:
        found.last, found.close = one, price
    found.high, found.low = max(found.high, price), min(found.low, price)
    found.volume += qty
    found.quote += price * qty
    found.count += 1
    found.ids += one


def _bars(verdict: Verdict, lake: Path, sums: dict[tuple[str, int], Sum]) -> None:
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    unreadable = doubled = 0
    for path in sorted((lake / "parquet").rglob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                table = file.read()
        except (OSError, pa.ArrowException):
            unreadable += 1
            continue
        starts = table.column("window_start").cast("int64").to_pylist()
        for start, row in zip(starts, table.to_pylist(), strict=True):
            doubled += (row["symbol"], start // 10**6) in rows
            rows[row["symbol"], start // 10**6] = row
    closed = int(checkpoint.peek(Files(lake), "journal/parquet/ckpt-bars_1s.binance").get("ts", 0)) // SECOND
    wrong = []
    for key, found in sums.items():
        if key[1] < closed and (why := _differs(found, rows.get(key))):
            wrong.append(f"{key}: {why}")
    counted = sum(row["trade_count"] for row in rows.values())
    verdict.figures |= {
        "bars": len(rows), "trades_in_bars": counted, "bars_wrong": len(wrong), "bars_doubled": doubled,
        "unreadable_files": unreadable,
    }  # fmt: skip
    verdict.check(not wrong, f"{len(wrong)} bars are wrong: {wrong[:3]}")
    verdict.check(not doubled, f"{doubled} bars stand twice")
    verdict.check(not unreadable, f"{unreadable} Parquet files cannot be read")


def _differs(found: Sum, row: dict[str, Any] | None) -> str:
    if row is None:
        return "no row"
    expected = {
        "open": found.open / SCALE, "high": found.high / SCALE, "low": found.low / SCALE,
        "close": found.close / SCALE, "volume_base": found.volume / SCALE,
        "volume_quote": found.quote / (SCALE * SCALE), "trade_count": found.count,
        "first_trade_id": found.first, "last_trade_id": found.last, "trade_id_sum": found.ids,
    }  # fmt: skip
    return ", ".join(f"{name} {row[name]} not {value}" for name, value in expected.items() if row[name] != value)
