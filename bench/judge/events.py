"""Trades, aggregates and quotes of an archive against the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bench.judge.archive import Archive, kind
from bench.judge.ledger import Ledger, Trade
from bench.judge.report import Report


def judge_trades(ledger: Ledger, archive: Archive, report: Report) -> None:
    missing_total = forgotten_total = coarse = 0
    unhealable = [e for e in archive.feed if "unhealable" in kind(e)]
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
        for low, high in ranges(lost):
            sent = sum(1 for n in range(low, high + 1) if issued[n].to)
            report.fault(
                "trades missing", f"{name} {low}..{high} ({sent} of them were sent), last issued {max(issued)}"
            )
        for low, high in ranges([n for n in missing if n not in set(lost)]):
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
        for low, high in ranges(missing):
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


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
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
