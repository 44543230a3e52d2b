"""Ingest as a process against the emulated venue: killed, drained and refused."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from shared.events import Event, Feed, Quote, Rejected, Trade
from shared.files import Files
from shared.journal import Reader
from shared.klinestore import live_klines
from shared.paths import SECOND, date_of
from shared.venues.binance import Venue
from tests.integration.emulators import ROOT, Emulator, emulator, wait_until

pytestmark = pytest.mark.timeout(120)

RUN = """
import sys
{first}
sys.argv = ["ingest", "--config", {config!r}, "--supervised"]
from procs.ingest.__main__ import main
main()
"""


class Ingest:
    """A lake with one source, and the process that records it."""

    def __init__(
        self,
        folder: Path,
        venue: Emulator,
        symbols: str = "SOLUSDT, ADAUSDT",
        first: str = "",
        more: str = "",
    ) -> None:
        self.lake = folder / "lake"
        self.config = folder / "pipeline.yml"
        self.config.write_text(
            f"lake: ./lake\nsources:\n  src: {{run: ingest, venue: binance, symbols: [{symbols}],"
            f' ws_url: "{venue.ws_url}", rest_url: "{venue.rest_url}"{more}}}\n'
            "sinks:\n  archive: {run: archiver, inputs: [src]}\n"
        )
        self.first = first

    @contextlib.contextmanager
    def run(self) -> Iterator[subprocess.Popen[bytes]]:
        code = RUN.format(first=self.first, config=str(self.config))
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def events(self, kind: type) -> list[Any]:
        reader, position = Reader(Files(self.lake), "journal/src/src"), 0
        found: list[Event] = []
        while batches := reader.read(position):
            position = batches[-1].last
            found += [event for batch in batches for event in batch.events if isinstance(event, kind)]
        return found

    def wait_for(self, count: int, seconds: float = 20) -> None:
        wait_until(lambda: len(self.events(Trade)) >= count, seconds)

    def missing(self) -> dict[str, int]:
        """Ids between the first and last of each symbol that are not there exactly once."""
        ids: dict[str, list[int]] = {}
        for trade in self.events(Trade):
            ids.setdefault(trade.symbol, []).append(trade.trade_id)
        return {
            symbol: len(set(range(min(held), max(held) + 1)) ^ set(held)) + len(held) - len(set(held))
            for symbol, held in ids.items()
        }


def drained(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    process.stdin.write(b"drain\n")
    process.stdin.flush()
    return process.wait(10)


def test_a_drained_stop_exits_0_with_everything_received(tmp_path: Path) -> None:
    with emulator(tmp_path, "--rate", "1000", "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue)
        with ingest.run() as process:
            ingest.wait_for(300)
            begun = time.monotonic()
            assert drained(process) == 0
            assert time.monotonic() - begun < 5
        assert set(ingest.missing().values()) == {0}
        quotes = [(quote.symbol, quote.update_id) for quote in ingest.events(Quote)]
        assert len(quotes) == len(set(quotes)) > 300
        assert [feed.kind for feed in ingest.events(Feed)][-1] == "disconnected"


BAD_DISK = """
import os, threading
from procs.ingest import recorder
recorder.FEW = 0
plain, count = os.fsync, []
def fsync(fd):
    if threading.current_thread().name == "aside":
        count.append(fd)
        if len(count) == 3:
            raise OSError(5, "Input/output error")
    plain(fd)
os.fsync = fsync
"""


def test_a_sync_that_fails_beside_the_loop_ends_the_process(tmp_path: Path) -> None:
    with emulator(tmp_path, "--rate", "1000", "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue, first=BAD_DISK)
        with ingest.run() as process:
            assert process.wait(40) == 1
        held = len(ingest.events(Trade))
        assert held > 0 and "Input/output error" in (ingest.lake / "logs" / "src.log").read_text()
        ingest.first = ""
        with ingest.run() as process:  # recovery exists only at start
            ingest.wait_for(held + 300)
            wait_until(lambda: set(ingest.missing().values()) == {0}, 30)
            assert drained(process) == 0


def test_kills_leave_no_trade_missing_and_none_doubled(tmp_path: Path) -> None:
    with emulator(tmp_path, "--rate", "2000", "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue)
        for _ in range(4):
            with ingest.run() as process:
                ingest.wait_for(len(ingest.events(Trade)) + 500)
                process.kill()
                process.wait(5)
        with ingest.run() as process:
            wait_until(lambda: set(ingest.missing().values()) == {0} and len(ingest.events(Trade)) > 2500, 30)
            assert drained(process) == 0
        healed = [trade for trade in ingest.events(Trade) if trade.source == "rest"]
        assert healed, "the kills cost something, and it was fetched"


def test_the_venues_own_bars_are_kept_as_rest_gives_them(tmp_path: Path) -> None:
    with emulator(tmp_path, "--rate", "200", "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue, more=", streams: [trade, kline_1s]")
        with ingest.run() as process:
            ingest.wait_for(50)
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 4, 20)
            assert drained(process) == 0
        assert ingest.events(Rejected) == []
        for symbol in ("SOLUSDT", "ADAUSDT"):
            dates = {date_of(trade.ts) for trade in ingest.events(Trade)}
            live = [one for date in sorted(dates) for one in live_klines(Files(ingest.lake), "binance", symbol, date)]
            assert len(live) >= 3
            assert {later.start - earlier.start for earlier, later in pairwise(live)} == {SECOND}
            asked = f"symbol={symbol}&interval=1s&startTime={live[0].start // 1_000_000}&limit=1000"
            told = Venue().parse_klines(json.dumps(venue.get(f"/api/v3/klines?{asked}")).encode())
            assert told[: len(live)] == live


def test_the_end_of_standard_input_is_a_drained_stop(tmp_path: Path) -> None:
    with emulator(tmp_path, "--rate", "500", "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue)
        with ingest.run() as process:
            ingest.wait_for(50)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0


def test_an_unknown_symbol_ends_it_as_a_wrong_configuration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with emulator(tmp_path, "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue, "SOLUSDT, ADAUSTD")
        with ingest.run() as process:
            assert process.wait(20) == 2
    log = (ingest.lake / "logs" / "src.log").read_text()
    assert "sources.src.symbols: binance has no ADAUSTD - did you mean ADAUSDT?" in log
    assert ingest.events(Trade) == []


def test_a_second_ingest_on_the_same_lake_leaves_at_once(tmp_path: Path) -> None:
    with emulator(tmp_path, "--rate", "500", "--symbols", "SOLUSDT,ADAUSDT") as venue:
        ingest = Ingest(tmp_path, venue)
        with ingest.run() as first, ingest.run() as second:
            wait_until(lambda: first.poll() is not None or second.poll() is not None, 10)
            codes = [first.poll(), second.poll()]
            assert codes.count(None) == 1
            assert codes.count(1) == 1
