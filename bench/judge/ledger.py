"""What a venue issued, and on which connections it sent it: from the stand-in's ledger or from a recording."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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
