"""Connections that end when they must: the next one delivers before, and no quote is missed between the two."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.events import Feed, Quote, Trade
from tests.integration.emulators import Emulator, emulator, wait_until
from tests.integration.test_ingest_process import Ingest, drained

pytestmark = pytest.mark.timeout(180)
SYMBOLS = "SOLUSDT,ADAUSDT"


def ended(venue: Emulator) -> bool:
    return bool(venue.get("/emulator/status")["ended"])


def all_of_it(ingest: Ingest, venue: Emulator) -> None:
    """Every event that was sent to anybody stands in the journal, once."""
    ledger: dict[str, Any] = venue.get("/emulator/ledger")["symbols"]
    for symbol in SYMBOLS.split(","):
        quotes = [quote.update_id for quote in ingest.events(Quote) if quote.symbol == symbol]
        trades = [trade.trade_id for trade in ingest.events(Trade) if trade.symbol == symbol]
        assert len(quotes) == len(set(quotes)) == ledger[symbol]["bookTicker"]["distinct"]
        assert quotes == sorted(quotes)
        assert len(trades) == len(set(trades)) == ledger[symbol]["trade"]["distinct"]
    assert {trade.source for trade in ingest.events(Trade)} == {"ws"}, "nothing had to be fetched"


def change(folder: Path, seconds: int, settings: str, *options: str) -> tuple[Ingest, int]:
    """A market of some seconds under load; how many connections there were."""
    stop = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with emulator(folder, "--rate", "4000", "--symbols", SYMBOLS, "--stop", stop, *options) as venue:
        ingest = Ingest(folder, venue)
        ingest.config.write_text(ingest.config.read_text().replace("run: ingest,", f"run: ingest, {settings}"))
        with ingest.run() as process:
            wait_until(lambda: ended(venue), seconds + 30)
            time.sleep(0.5)
            assert drained(process) == 0
        all_of_it(ingest, venue)
        return ingest, (ingest.lake / "logs/src.log").read_text().count(" is open: ")


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ("", ("--fault", "shutdown:at_s=3,every_s=2,delay_ms=1500")),
        ("lifetime_h: 0.001,", ("--rule-life-s", "6")),
    ],
    ids=["announced", "age"],
)
def test_a_change_of_connections_costs_no_quote_and_no_question(
    tmp_path: Path, settings: str, options: tuple[str, ...]
) -> None:
    ingest, connections = change(tmp_path, 25, settings, *options)
    assert connections >= 6
    disconnected = [event for event in ingest.events(Feed) if event.kind == "disconnected"]
    assert disconnected[0].ts >= max(quote.ts for quote in ingest.events(Quote)), "quotes stood all the time"
