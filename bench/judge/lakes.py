"""Two lakes of one recording are the same but for our own receive times and revisions; minutes of bars are the
exchange's own klines; a quote of a recording has the highest venue time that came before it.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.judge.archive import Archive, read_archive
from bench.judge.bars import read_bars
from bench.judge.report import Report


def differences(one: Path, two: Path, venue: str) -> Report:
    """Everything that differs between two lakes and should not."""
    report = Report()
    first, second = (read_archive(lake, venue, report) for lake in (one, two))
    for kind in ("trades", "quotes"):
        left, right = (_plain(getattr(archive, kind)) for archive in (first, second))
        for key in left.keys() | right.keys():
            if left.get(key) != right.get(key):
                report.fault(f"two lakes: {kind}", f"{key}: {left.get(key)} and {right.get(key)}")
        report.figures[f"{kind} the same"] = len(left)
    rows, others = read_bars(one, venue, report), read_bars(two, venue, report)
    for place in rows.keys() | others.keys():
        left_row, right_row = ({k: v for k, v in r.get(place, {}).items() if k != "revision"} for r in (rows, others))
        if left_row != right_row:
            changed = [k for k in left_row.keys() | right_row.keys() if left_row.get(k) != right_row.get(k)]
            report.fault("two lakes: bars", f"{place}: {[(k, left_row.get(k), right_row.get(k)) for k in changed]}")
    report.figures["bars the same"] = len(rows)
    names = [sorted(p.relative_to(lake).as_posix() for p in (lake / "raw").rglob("*.*")) for lake in (one, two)]
    if names[0] != names[1]:
        report.fault("two lakes: names of raw files", sorted(set(names[0]) ^ set(names[1])))
    return report


def _plain(held: dict[str, dict[int, dict[str, Any]]]) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (name, number): {k: v for k, v in line.items() if k not in ("ts_recv", "where")}
        for name, lines in held.items()
        for number, line in lines.items()
    }


def judge_ticks(lake: Path, venue: str, archive: Archive, report: Report) -> None:
    """Tick files of closed days hold every line of the archive, once, in the order of ids, digit for digit."""
    import pyarrow.parquet as pq

    rows = 0
    for kind, held, key in (("trades", archive.trades, "trade_id"), ("quotes", archive.quotes, "update_id")):
        for path in sorted((lake / "ticks" / venue).glob(f"*/{kind}/*.parquet")):
            table = pq.ParquetFile(path).read()
            got = table.select([key, "price", "qty", "side", "bid", "ask", "bid_qty", "ask_qty", "source"]).to_pylist()
            times = table.column("ts").cast("int64").to_pylist()
            numbers = [row[key] for row in got]
            lines = held[path.parts[-3]]
            start = int(datetime.strptime(path.stem, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
            day = sorted(n for n, line in lines.items() if start <= line["ts"] < start + 86_400 * 10**9)
            if numbers != day:
                report.fault(f"ticks: {kind} of a day", f"{path}: {len(numbers)} rows, the archive has {len(day)}")
                continue
            for number, row, ts in zip(numbers, got, times, strict=True):
                line = lines[number]
                same = all(
                    line.get(k) is None if row[k] is None else Decimal(line[k]) == row[k]
                    for k in ("price", "qty", "bid", "ask", "bid_qty", "ask_qty")
                )
                if not same or row["side"] != line["side"] or ts != line["ts"]:
                    report.fault(f"ticks: {kind}", f"{path}: {row}, the archive has {line}")
            rows += len(numbers)
    report.figures["ticks compared"] = rows


def klines(lake: Path, venue: str, table: Path, minutes: Iterable[str]) -> Report:
    """Bars rolled up to minutes against the exchange's file, all nine fields, to the last digit."""
    report = Report()
    rows = read_bars(lake, venue, report)
    by_minute: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for (_, second), row in sorted(rows.items(), key=lambda pair: pair[0]):
        if row["trade_count"]:
            by_minute[second // 60 * 60].append(row)
    wanted = set(minutes)
    compared = 0
    for theirs in csv.DictReader(table.open()):
        start = int(theirs["open_time"]) // 1000
        if datetime.fromtimestamp(start, UTC).strftime("%H:%M") not in wanted:
            continue
        ours = by_minute.get(start, [])
        if not ours:
            report.fault("klines: a minute we do not have", start)
            continue
        got = {
            "open": _exact(ours[0]["open"]),
            "high": max(_exact(r["high"]) for r in ours),
            "low": min(_exact(r["low"]) for r in ours),
            "close": _exact(ours[-1]["close"]),
            "volume": sum(_exact(r["volume_base"]) for r in ours),
            "quote_volume": sum(_exact(r["volume_quote"]) for r in ours),
            "count": Decimal(sum(r["trade_count"] for r in ours)),
            "taker_buy_volume": sum(_exact(r["buy_volume_base"]) for r in ours),
            "taker_buy_quote_volume": sum(_exact(r["buy_volume_quote"]) for r in ours),
        }
        for key, value in got.items():
            if value != Decimal(theirs[key]):
                report.fault(f"klines: {key}", f"{start}: {value}, the exchange says {theirs[key]}")
            compared += 1
    report.figures["fields of klines compared"] = compared
    if compared != 9 * len(wanted):
        report.fault("klines: not all minutes compared", compared)
    return report


def _exact(number: float) -> Decimal:
    """The shortest decimal of a float: what was meant, where the sum behind it had at most 15 digits."""
    return Decimal(repr(number))


def quote_times(captures: Iterable[Path], archive: Archive, report: Report) -> None:
    """With `replay: true` a spot quote's ts is exactly the highest venue time seen before it on its connection."""
    highest = {"T": 0, "E": 0}
    agree = {"T": 0, "E": 0}
    total = 0
    for path in captures:
        for text in gzip.decompress(path.read_bytes()).decode().splitlines():
            frame = json.loads(text.split(" ", 1)[1])
            data, kind = frame.get("data", {}), frame.get("stream", "").partition("@")[2]
            if kind == "trade":
                for key in highest:
                    highest[key] = max(highest[key], data[key] * 1_000_000)
            elif kind == "bookTicker":
                line = archive.quotes[data["s"]].get(data["u"])
                if line is not None and highest["T"]:  # those before any venue time have the first that came
                    total += 1
                    for key in highest:
                        agree[key] += line["ts"] == highest[key]
    report.figures["quotes with the time of the trades before them"] = {**agree, "of": total}
    if total not in agree.values():
        report.fault("ts of quotes", agree)
