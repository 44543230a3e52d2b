"""All that is judged of a lake."""

from __future__ import annotations

from pathlib import Path

from bench.judge.archive import Archive, read_archive
from bench.judge.bars import judge_bars, read_bars
from bench.judge.events import judge_aggregates, judge_quotes, judge_trades
from bench.judge.feed import judge_feed
from bench.judge.ledger import Ledger
from bench.judge.report import Report


def judge(lake: Path, ledger: Ledger, venue: str = "binance", live: bool = False) -> tuple[Report, Archive]:
    report = Report()
    archive = read_archive(lake, venue, report, live)
    judge_trades(ledger, archive, report)
    judge_quotes(ledger, archive, report)
    judge_aggregates(ledger, archive, report)
    judge_feed(archive, report)
    judge_bars(read_bars(lake, venue, report), archive, ledger, report)
    return report, archive
