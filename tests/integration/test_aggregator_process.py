"""The aggregator as a process of its own: killed again and again while its input grows, it writes each bar once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.bars import Bars
from shared.checkpoint import peek
from shared.events import Bar, Batch, Event, Quote, Trade
from shared.files import Files
from shared.journal import Reader, Writer

ROOT = Path(__file__).parents[2]
S = 1_000_000_000
T = 1_760_922_000 * S
PIPELINE = """
lake: ./lake
sources:
  binance: {run: ingest, venue: binance, symbols: [AAA, BBB]}
transforms:
  bars_1s: {run: aggregator, inputs: [binance]}
sinks:
  parquet: {run: parquet_sink, inputs: [bars_1s]}
"""
SOURCE, OWN = "journal/binance/binance", "journal/bars_1s/bars_1s.binance"


def market(at: int) -> list[Event]:
    """A tenth of a second; one trade of it comes half a second late, one in every 20 a minute late."""
    ts, events = T + at * S // 10, list[Event]()
    for symbol in ("AAA", "BBB"):
        late = 60 * S if at % 20 == 0 else S // 2
        events.append(Trade(symbol, ts, ts, ts, ts, "10.01", "0.3", "buy", 2 * at))
        events.append(Trade(symbol, max(T, ts - late), ts, ts, ts, "10.02", "0.1", "sell", 2 * at + 1))
        events.append(Quote(symbol, ts, None, None, ts, "10.0", "1.0", "10.1", "1.0", at))
    return events


def start(folder: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "procs.aggregator", "--config", str(folder / "pipeline.yml"), "--supervised"]
    return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, env=dict(os.environ))


def written(disk: Files) -> list[Batch]:
    reader, found, position = Reader(disk, OWN), list[Batch](), 0
    while more := reader.read(position):
        found += more
        position = more[-1].last
    return found


def wait_for(what: str, reached: object, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < until, f"{what} was not reached in {seconds} s"
        time.sleep(0.02)


@pytest.mark.timeout(120)
def test_killed_again_and_again_it_writes_each_bar_once_and_right(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yml").write_text(PIPELINE)
    disk = Files(tmp_path / "lake")
    writer = Writer(disk, SOURCE, lambda: b"", [])
    writer.open()
    writer.roll()
    batches: list[Batch] = []
    for kill in range(4):
        process = start(tmp_path)
        for at in range(kill * 400, kill * 400 + 400):
            events = market(at)
            batches.append(Batch(batches[-1].last + 1 if batches else 1, T + at * S // 10, events))
            writer.append(batches[-1])
        if kill < 3:
            some = len(written(disk)) + 5
            wait_for(f"{some} records", lambda some=some: len(written(disk)) >= some)
            process.kill()
        process.communicate(timeout=30)  # the end of its standard input asks the last one to drain
    assert process.returncode == 0

    bars, expected = Bars(), list[tuple[int, list[Bar]]]()
    for batch in batches:
        bars.take(batch.events)
        if given := bars.advance(batch.ts):
            expected.append(given)
    found = written(disk)
    assert [batch.first for batch in found[1:]] == [batch.last + 1 for batch in found[:-1]]
    assert [(batch.ts, batch.events) for batch in found] == expected
    newest = {(b.symbol, b.window_start): b for batch in found for b in batch.events if isinstance(b, Bar)}
    assert sum(bar.trade_count for bar in newest.values() if bar.revision) > 0
    still_open = sum(isinstance(e, Trade) and e.ts >= found[-1].ts for batch in batches for e in batch.events)
    assert sum(bar.trade_count for bar in newest.values()) == 1600 * 4 - still_open
    saved = peek(disk, "journal/bars_1s/ckpt-binance")
    assert (saved["position"], saved["out_seq"]) == (batches[-1].last, found[-1].last)
