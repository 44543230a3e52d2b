"""Reads an archive: every line in its place, in its form, once."""

from __future__ import annotations

import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.judge.report import Report

SECOND = 1_000_000_000
NINE = ["symbol", "ts_event", "ts_recv", "price", "qty", "side", "bid", "ask", "stream"]
TRADE_KEYS = [*NINE, "ts", "ts_sent", "trade_id", "source"]
QUOTE_KEYS = [*NINE, "ts", "update_id", "bid_qty", "ask_qty"]


@dataclass
class Archive:
    trades: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    quotes: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    aggregates: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    feed: list[dict[str, Any]] = field(default_factory=list)


def _lines(path: Path) -> Iterator[str]:
    if path.suffix == ".zst":
        import zstandard

        with path.open("rb") as file:
            yield from io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
    else:
        with path.open(encoding="utf-8", newline="\n") as lines:
            yield from lines


def _strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def read_archive(lake: Path, venue: str, report: Report, live: bool = False) -> Archive:
    archive, sources = Archive(), Counter[str]()
    for path in sorted((lake / "raw" / venue).rglob("*")):
        if path.is_dir():
            continue
        name = path.name
        if name.startswith("open_") and live:
            continue
        match = re.fullmatch(r"part_(\d\d)(\d\d)?(\d\d)?(_\d+)?\.jsonl(\.zst)?", name)
        if match is None:
            report.fault("raw: a file that is no part", path)
            continue
        start = datetime.strptime(path.parent.name, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        start += int(match[1]) * 3600 + int(match[2] or 0) * 60 + int(match[3] or 0)
        length = 3600 if match[2] is None else 60
        for at, text in enumerate(_lines(path), 1):
            where = f"{path.relative_to(lake)}:{at}"
            try:
                line = json.loads(text, parse_float=str, parse_constant=str, object_pairs_hook=_strict)
            except ValueError as error:
                report.fault("raw: a broken line", f"{where}: {error}")
                continue
            if not text.endswith("\n") or " " in text:
                report.fault("raw: the form of a line", where)
            if line["symbol"] != path.parent.parent.name:
                report.fault("raw: a line in another symbol's folder", where)
            if not start * SECOND <= line["ts"] < (start + length) * SECOND:
                report.fault("raw: a line in the wrong file for its ts", f"{where}: {line['ts']}")
            _take(archive, line, where, report)
            if "source" in line:
                sources[line["source"]] += 1
    for path in sorted((lake / "feed" / venue).rglob("*.jsonl*")):
        archive.feed += [json.loads(text) for text in _lines(path)]
    for path in sorted((lake / "rejected" / venue).rglob("*.jsonl*")):
        report.figures["rejected"] = report.figures.get("rejected", 0) + sum(1 for _ in _lines(path))
    report.figures["trades"] = sum(map(len, archive.trades.values()))
    report.figures["quotes"] = sum(map(len, archive.quotes.values()))
    report.figures["sources"] = dict(sources)
    report.figures["feed"] = dict(Counter(kind(entry) for entry in archive.feed))
    return archive


def kind(entry: dict[str, Any]) -> str:
    return str(next((entry[key] for key in ("kind", "event", "what", "type") if key in entry), "?"))


def _take(archive: Archive, line: dict[str, Any], where: str, report: Report) -> None:
    keys = list(line)
    if line["stream"] == "trade":
        if keys[:13] != TRADE_KEYS or keys[13:] not in ([], ["trade_type"]):
            report.fault("raw: keys of a trade", f"{where}: {keys}")
        held, number = archive.trades[line["symbol"]], line["trade_id"]
    elif line["stream"] == "bookTicker":
        if [key for key in keys if key != "ts_sent"] != QUOTE_KEYS:
            report.fault("raw: keys of a quote", f"{where}: {keys}")
        held, number = archive.quotes[line["symbol"]], line["update_id"]
    elif line["stream"] == "aggTrade":
        if set(keys) != {*TRADE_KEYS, "agg_id", "first_trade_id", "last_trade_id"} - {"trade_id"}:
            report.fault("raw: keys of an aggregate", f"{where}: {keys}")
        held, number = archive.aggregates[line["symbol"]], line["agg_id"]
    else:
        report.fault("raw: an unknown stream", where)
        return
    if number in held:
        report.fault(f"raw: a {line['stream']} twice", f"{where}: {number}, first {held[number]['where']}")
    held[number] = line | {"where": where}
