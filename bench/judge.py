"""The judge: a lake on disk against a ledger of what a venue issued and sent, with no line of the product's code.

    python -m bench.judge LAKE LEDGER              the ledger of `bench.standin`
    python -m bench.judge LAKE CAPTURE...  --venue binance_usdm

Reads text as text and numbers as `decimal`, makes its own bars, and says everything that differs.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, NamedTuple

SECOND = 1_000_000_000
NINE = ["symbol", "ts_event", "ts_recv", "price", "qty", "side", "bid", "ask", "stream"]
TRADE_KEYS = [*NINE, "ts", "ts_sent", "trade_id", "source"]
QUOTE_KEYS = [*NINE, "ts", "update_id", "bid_qty", "ask_qty"]
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
EXCUSED_US = 3_000_000
"""A quote sent this shortly before its connection broke may have died in a buffer: nobody received it."""
GOODBYE_US = 200_000
"""The same where the client said goodbye: it had read everything until then."""


class Trade(NamedTuple):
    price: str
    qty: str
    ns: int
    side: str
    to: tuple[int, ...] = (0,)
    kind: str | None = None


class Aggregate(NamedTuple):
    price: str
    qty: str
    first: int
    last: int
    ns: int
    side: str
    to: tuple[int, ...]


class Quote(NamedTuple):
    words: tuple[str, str, str, str]
    """Bid, its quantity, ask, its quantity."""
    us: int
    to: tuple[int, ...] = (0,)


@dataclass
class Ledger:
    """What a venue issued, and on which connections it sent it."""

    trades: dict[str, dict[int, Trade]] = field(default_factory=lambda: defaultdict(dict))
    quotes: dict[str, dict[int, Quote]] = field(default_factory=lambda: defaultdict(dict))
    aggregates: dict[str, dict[int, Aggregate]] = field(default_factory=lambda: defaultdict(dict))
    closed: dict[int, int] = field(default_factory=dict)
    excused: dict[int, int] = field(default_factory=dict)
    micro: dict[int, bool] = field(default_factory=dict)
    stalls: dict[int, int] = field(default_factory=dict)
    futures: bool = False
    unread: list[tuple[int, int]] = field(default_factory=list)
    """When the reader was held and then killed: what was sent meanwhile, nobody received."""
    forgotten: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    end: dict[str, Any] = field(default_factory=dict)


def from_standin(path: Path) -> Ledger:
    ledger = Ledger()
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        word = json.loads(line)
        match word[0]:
            case "t":
                _, name, number, price, qty, us, _, maker, to, kind = word
                side = "sell" if maker else "buy"
                ledger.trades[name][number] = Trade(price, qty, us * 1000, side, tuple(to), kind)
                ledger.futures = ledger.futures or kind != "MARKET"
            case "a":
                _, name, number, price, qty, first, last, us, maker, to = word
                side = "sell" if maker else "buy"
                ledger.aggregates[name][number] = Aggregate(price, qty, first, last, us * 1000, side, tuple(to))
            case "q":
                _, name, u, bid, bid_qty, ask, ask_qty, us, to = word
                ledger.quotes[name][u] = Quote((bid, bid_qty, ask, ask_qty), us, tuple(to))
            case "c" if word[2] == "open":
                ledger.micro[word[1]] = word[4]["micro"]
            case "c" if word[2] == "close":
                ledger.closed[word[1]] = word[3]
                ledger.excused[word[1]] = GOODBYE_US if "code 1000" in word[4] else EXCUSED_US
            case "c" if word[2] == "stall":
                ledger.stalls[word[1]] = word[3]
            case "f" if word[2]["kind"] == "unread":
                ledger.unread.append((word[1], word[1] + int(word[2]["seconds"] * 1e6)))
            case "f" if word[2]["kind"] == "forget":
                ledger.forgotten[word[2]["symbol"]].append((word[2]["first"], word[2]["last"]))
            case "end":
                ledger.end = word[2]
    return ledger


def from_captures(paths: Iterable[Path]) -> Ledger:
    """Recorded frames: ``<receive time> <combined-stream envelope>`` a line."""
    ledger = Ledger()
    for path in paths:
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            frame = json.loads(line.split(" ", 1)[1])
            if "data" not in frame:
                continue
            data, kind = frame["data"], frame["stream"].split("@")[1]
            if kind == "trade":
                trade = Trade(
                    data["p"], data["q"], data["T"] * 1_000_000, "sell" if data["m"] else "buy", (0,), data.get("X")
                )
                assert data["t"] not in ledger.trades[data["s"]]
                ledger.trades[data["s"]][data["t"]] = trade
            elif kind == "bookTicker":
                words = (data["b"], data["B"], data["a"], data["A"])
                ledger.quotes[data["s"]][data["u"]] = Quote(words, 0)
    return ledger


class Report:
    """What was counted, and what is wrong: the first few of each kind, and how many there were."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.wrong: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)

    def fault(self, kind: str, says: object) -> None:
        self.wrong[kind] += 1
        if len(self.examples[kind]) < 6:
            self.examples[kind].append(str(says)[:400])

    def __str__(self) -> str:
        lines = [f"{key}: {value}" for key, value in self.figures.items()]
        for kind, count in self.wrong.items():
            lines.append(f"WRONG {kind}: {count}")
            lines += [f"    {example}" for example in self.examples[kind]]
        return "\n".join([*lines, "verdict: " + ("WRONG" if self.wrong else "right")])


# --- the archive ---


class Line(NamedTuple):
    ts: int
    text: dict[str, Any]
    file: str


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
    report.figures["feed"] = dict(Counter(_kind(entry) for entry in archive.feed))
    return archive


def _kind(entry: dict[str, Any]) -> str:
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


# --- the archive against the ledger ---


def judge_trades(ledger: Ledger, archive: Archive, report: Report) -> None:
    missing_total = forgotten_total = coarse = 0
    unhealable = [e for e in archive.feed if "unhealable" in _kind(e)]
    for name in sorted(set(ledger.trades) | set(archive.trades)):
        issued, held = ledger.trades[name], archive.trades[name]
        for number, line in held.items():
            trade = issued.get(number)
            if trade is None:
                report.fault("a trade nobody issued", line["where"])
                continue
            coarse += _same_trade(trade, line, ledger, report)
        first_sent = min((number for number, t in issued.items() if t.to), default=None)
        if first_sent is None:
            continue
        first = min(held, default=first_sent)
        if first > first_sent:
            report.fault("begins after the first trade sent", f"{name}: {first}, sent {first_sent}")
        stand_in = covered(archive, name)
        every = range(min(first, first_sent), max(issued) + 1)
        missing = [number for number in every if number not in held and number not in stand_in]
        lost = [n for n in missing if not any(low <= n <= high for low, high in ledger.forgotten[name])]
        if ledger.futures:  # what is in no aggregate, or in one that is held in part, nobody gives without a key
            listed = _listed(unhealable, name)
            lost = [n for n in lost if n not in listed or issued[n].to]
        forgotten_total += len(missing) - len(lost)
        missing_total += len(lost)
        for low, high in _ranges(lost):
            sent = sum(1 for n in range(low, high + 1) if issued[n].to)
            report.fault(
                "trades missing", f"{name} {low}..{high} ({sent} of them were sent), last issued {max(issued)}"
            )
        for low, high in _ranges([n for n in missing if n not in set(lost)]):
            if not any(name in json.dumps(e) and str(low) in json.dumps(e) for e in unhealable):
                report.fault("unhealable and not listed", f"{name} {low}..{high}")
    report.figures["trades missing"] = missing_total
    report.figures["trades nobody can have, missing"] = forgotten_total
    report.figures["trades with ms where us were to be had"] = coarse


def _listed(unhealable: list[dict[str, Any]], name: str) -> set[int]:
    return {n for e in unhealable if name in e["symbols"] for n in range(e["first_id"], e["last_id"] + 1)}


def covered(archive: Archive, name: str) -> set[int]:
    """Trade ids that fetched aggregates stand in for."""
    rows = [line for line in archive.aggregates[name].values() if line["source"] != "ws"]
    return {n for line in rows for n in range(line["first_trade_id"], line["last_trade_id"] + 1)}


def judge_aggregates(ledger: Ledger, archive: Archive, report: Report) -> None:
    """Every aggregate that was sent is held once, as it was issued; and nothing else is."""
    for name in sorted(set(ledger.aggregates) | set(archive.aggregates)):
        issued, held = ledger.aggregates[name], archive.aggregates[name]
        for number, line in held.items():
            own = issued.get(number)
            if own is None:  # before the ledger began
                continue
            want = (own.price, own.qty, own.side, own.first, own.last, own.ns // 1_000_000)
            keys = ("price", "qty", "side", "first_trade_id", "last_trade_id")
            if (*(line[key] for key in keys), line["ts_event"] // 1_000_000) != want:
                report.fault("an aggregate of other words", f"{line['where']}: {want}")
        sent = [number for number, own in issued.items() if own.to]
        if not sent:
            continue
        missing = [n for n in range(min(sent), max(issued) + 1) if n not in held]
        for low, high in _ranges(missing):
            report.fault("aggregates missing", f"{name} {low}..{high}")
    report.figures["aggregates"] = sum(map(len, archive.aggregates.values()))


def _same_trade(trade: Trade, line: dict[str, Any], ledger: Ledger, report: Report) -> int:
    where = line["where"]
    want = (trade.price, trade.qty, trade.side)
    if (line["price"], line["qty"], line["side"]) != want:
        report.fault("a trade of other digits", f"{where}: {line} is not {want}")
    exact, ms = trade.ns, trade.ns // 1_000_000 * 1_000_000
    if line["ts_event"] not in (exact, ms) or line["ts"] != line["ts_event"]:
        report.fault("a trade of another time", f"{where}: {line['ts_event']}, {line['ts']} is not {exact}")
    if line["source"] == "ws" and not trade.to:
        report.fault("source ws of a trade never sent", where)
    if line["source"] == "ws" and trade.to and ledger.micro and all(ledger.micro.get(n) for n in trade.to):
        if line["ts_event"] != exact:
            report.fault("a time cut to ms", where)
        return 0
    return int(line["ts_event"] != exact)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [(low, high) for low, high in found]


def judge_quotes(ledger: Ledger, archive: Archive, report: Report) -> None:
    excused = lost = early = 0
    for name in sorted(set(ledger.quotes) | set(archive.quotes)):
        issued, held = ledger.quotes[name], archive.quotes[name]
        for u, line in held.items():
            quote = issued.get(u)
            if quote is None:
                report.fault("a quote nobody issued", line["where"])
                continue
            if (line["bid"], line["bid_qty"], line["ask"], line["ask_qty"]) != quote.words:
                report.fault("a quote of other digits", f"{line['where']}: {quote}")
            if quote.us and abs(line["ts"] // 1000 - quote.us) > 2_000_000:
                report.fault("a quote of another time", f"{line['where']}: {line['ts']}, sent {quote.us} us")
            early += bool(quote.us and line["ts"] // 1000 < quote.us - 20_000)
        for u, quote in issued.items():
            if u in held or not quote.to:
                continue
            if all(_may_be_lost(ledger, n, quote.us) for n in quote.to):
                excused += 1
            else:
                lost += 1
                report.fault("a quote sent and not held", f"{name} {u} at {quote.us} us on {quote.to}")
    report.figures["quotes lost"] = lost
    report.figures["quotes sent at the end of a connection that broke, not held"] = excused


def _may_be_lost(ledger: Ledger, connection: int, sent_us: int) -> bool:
    """Whether what was sent over a connection at a moment need not have been received."""
    if connection in ledger.closed and ledger.closed[connection] - sent_us < ledger.excused[connection]:
        return True
    return connection in ledger.stalls or any(start <= sent_us <= end for start, end in ledger.unread)


# --- bars ---


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


def judge_feed(archive: Archive, report: Report) -> None:
    """What was announced of gaps is what happened: healed once each, with the source its trades really have."""
    seen: set[str] = set()
    healed: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for entry in archive.feed:
        text = json.dumps(entry)
        if text in seen:
            report.fault("feed: a line twice", text)
        seen.add(text)
        if entry["kind"] == "healed" and entry.get("stream", "trade") == "trade":
            healed[entry["symbols"][0]].append((entry["first_id"], entry["last_id"], entry["source"]))
    for name, ranges in healed.items():
        high = -1
        for first, last, source in sorted(ranges):
            if first <= high:
                report.fault("feed: ids healed twice", f"{name} {first}..{last}")
            high = max(high, last)
            stand_in = covered(archive, name)
            lines = [archive.trades[name].get(n) for n in range(first, last + 1) if n not in stand_in]
            if stand_in.intersection(range(first, last + 1)):
                continue
            if None in lines:
                report.fault("feed: healed and not held", f"{name} {first}..{last}")
            elif source not in {line["source"] for line in lines if line is not None}:
                report.fault("feed: healed by another source than it says", f"{name} {first}..{last}: {source}")
        claimed = {n for first, last, _ in ranges for n in range(first, last + 1)}
        fetched = {n for n, line in archive.trades[name].items() if line["source"] != "ws"}
        if fetched - claimed:
            report.fault("feed: fetched and never announced", f"{name}: {_ranges(fetched - claimed)[:5]}")


def judge(lake: Path, ledger: Ledger, venue: str = "binance", live: bool = False) -> tuple[Report, Archive]:
    report = Report()
    archive = read_archive(lake, venue, report, live)
    judge_trades(ledger, archive, report)
    judge_quotes(ledger, archive, report)
    judge_aggregates(ledger, archive, report)
    judge_feed(archive, report)
    judge_bars(read_bars(lake, venue, report), archive, ledger, report)
    return report, archive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("ledger", type=Path, nargs="+")
    parser.add_argument("--venue", default="binance")
    options = parser.parse_args()
    captures = all(path.suffix == ".gz" for path in options.ledger)
    ledger = from_captures(options.ledger) if captures else from_standin(options.ledger[0])
    report, _ = judge(options.lake, ledger, options.venue)
    sys.stdout.write(f"{report}\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
