"""A lake held against the truth of the market that was recorded: every line, every id, every bar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq

from bench.speed.market import UNIT, Ints, Market

_NULL: Final = msgspec.Raw(b"null")
_TOLD: Final = ("gap", "unhealable", "suspended")
"""Kinds of feed lines that say something may be missing."""


class _Line(msgspec.Struct):
    stream: str
    ts: int
    trade_id: int = 0
    update_id: int = 0
    side: str | None = None
    price: msgspec.Raw = _NULL
    qty: msgspec.Raw = _NULL
    bid: msgspec.Raw = _NULL
    bid_qty: msgspec.Raw = _NULL
    ask: msgspec.Raw = _NULL
    ask_qty: msgspec.Raw = _NULL


@dataclass
class Verdict:
    """What was found, and everything that is wrong with it."""

    sent: int
    lines: int = 0
    counted: int = 0
    """Events that the bars count."""
    bars: int = 0
    ids_missing: int = 0
    wrong: list[str] = field(default_factory=list)
    trades: int | None = None
    """Where only lines and trades were counted, how many trades were sent."""

    def __str__(self) -> str:
        if self.trades is not None:
            said = (
                f"{self.sent:,} events sent = {self.lines:,} JSONL lines, {self.trades:,} trades = {self.counted:,} in"
            )
            said = f"{said} {self.bars:,} bars"
            return f"WRONG: {said}; {'; '.join(self.wrong)}" if self.wrong else said
        said = (
            f"{self.sent:,} events sent = {self.lines:,} JSONL lines = {self.counted:,} counted by {self.bars:,} bars"
        )
        if not self.wrong:
            return f"{said}; {self.ids_missing} ids missing; every digit and every bar as sent"
        return f"WRONG: {said}; " + "; ".join(self.wrong[:10])


def lake_against(market: Market, lake: Path, times: Ints, events: int) -> Verdict:
    """The judgement of a lake that was sent the first `events` events at these times."""
    verdict = Verdict(events)
    for index, name in enumerate(market.names):
        mine = np.flatnonzero(market.symbol[:events] == index)
        _lines(market, lake, name, mine, times, verdict)
    truth = market.truth(times, events)
    for name, known in truth.items():
        _bars(lake, name, known, verdict)
    if verdict.lines != events:
        verdict.wrong.append(f"{verdict.lines - events:+,} lines")
    if verdict.counted != events:
        verdict.wrong.append(f"{verdict.counted - events:+,} events in bars")
    for line in _jsonl(lake / "feed"):
        said = msgspec.json.decode(line)
        if said["kind"] in _TOLD:
            verdict.wrong.append(f"feed says {said}")
    rejected = sum(1 for _ in _jsonl(lake / "rejected"))
    if rejected:
        verdict.wrong.append(f"{rejected:,} frames rejected")
    return verdict


def _jsonl(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*.jsonl")):
        yield from path.read_bytes().splitlines()


def _lines(market: Market, lake: Path, name: str, mine: Ints, times: Ints, verdict: Verdict) -> None:
    """Each line of a symbol's archive against the event it is."""
    decode = msgspec.json.Decoder(_Line).decode
    trades: list[tuple[int, ...]] = []
    quotes: list[tuple[int, ...]] = []
    for text in _jsonl(lake / "raw" / "binance" / name):
        line = decode(text)
        if line.stream == "trade":
            digits = _exact(line.price), _exact(line.qty)
            trades.append((line.trade_id, *digits, line.side == "sell", line.ts // 1000))
        else:
            both = (line.bid, line.bid_qty, line.ask, line.ask_qty)
            quotes.append((line.update_id, *(_exact(one) for one in both)))
    verdict.lines += len(trades) + len(quotes)
    is_trade = market.is_trade[mine]
    sent, quoted = mine[is_trade], mine[~is_trade]
    truth = (market.number, market.price, market.qty, market.is_maker.astype(np.int64), times)
    _same(f"{name} trades", trades, np.stack([column[sent] for column in truth], 1), verdict)
    books = (market.number, market.price, market.qty, market.ask, market.ask_qty)
    _same(f"{name} quotes", quotes, np.stack([column[quoted] for column in books], 1), verdict)
    verdict.ids_missing += len(set(market.number[sent].tolist()) - {row[0] for row in trades})


def _exact(digits: msgspec.Raw) -> int:
    """A number of eight decimals, whatever zeros it bears, in units of its last."""
    whole, _, rest = bytes(digits).decode().partition(".")
    return int(whole) * UNIT + int(rest.ljust(8, "0"))


def _same(what: str, found: list[tuple[int, ...]], truth: Ints, verdict: Verdict) -> None:
    have = np.array(sorted(found), np.int64).reshape(-1, truth.shape[1])
    if have.shape != truth.shape:
        verdict.wrong.append(f"{what}: {len(have):,} of {len(truth):,}")
    elif not np.array_equal(have, truth):
        bad = np.flatnonzero((have != truth).any(1))
        verdict.wrong.append(f"{what}: {len(bad):,} differ, the first {have[bad[0]]} instead of {truth[bad[0]]}")


def _bars(lake: Path, name: str, known: dict[str, Any], verdict: Verdict) -> None:
    """A symbol's bars against the exact sums of its seconds."""
    columns = ["window_start", "open", "high", "low", "close", "volume_base", "volume_quote", "vwap", "trade_count",
               "quote_count", "trade_id_sum", "is_complete"]  # fmt: skip
    rows: dict[int, dict[str, Any]] = {}
    for path in sorted((lake / "parquet" / "binance" / name).rglob("*.parquet")):
        for row in pq.ParquetFile(path).read(columns).to_pylist():
            rows[int(row["window_start"].timestamp())] = row
    verdict.bars += len(rows)
    verdict.counted += sum(row["trade_count"] + row["quote_count"] for row in rows.values())
    seconds: dict[int, dict[str, int]] = known["seconds"]
    missing = seconds.keys() - rows.keys()
    if missing:
        verdict.wrong.append(f"{name}: no bar of {len(missing)} seconds with trades")
    for second, row in rows.items():
        bar = seconds.get(second)
        if bar is None:
            if row["trade_count"]:
                verdict.wrong.append(f"{name}: trades in a bar of {second} that had none")
            continue
        truth = {
            **{key: bar[key] / UNIT for key in ("open", "high", "low", "close")},
            "volume_base": bar["base"] / UNIT,
            "volume_quote": bar["quote"] / UNIT**2,
            "vwap": bar["quote"] / (bar["base"] * UNIT),
            "trade_count": bar["count"],
            "trade_id_sum": bar["ids"],
        }
        wrong = {key: (row[key], value) for key, value in truth.items() if row[key] != value}
        if wrong:
            verdict.wrong.append(f"{name} at {second}: {wrong}")
