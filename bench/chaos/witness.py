"""Reads the journal while it is written and trimmed: which records were received, whatever becomes of them later."""

from __future__ import annotations

import threading
from pathlib import Path

from shared.events import Feed, Quote, Trade
from shared.files import Files
from shared.ids import Ids
from shared.journal import Reader
from shared.paths import journal_dir


class Witness:
    """A thread beside a mesh."""

    def __init__(self, lake: Path) -> None:
        self._reader = Reader(Files(lake), journal_dir("binance", "binance"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self.position = 0
        self.trades: dict[str, Ids] = {}
        self.quotes: dict[str, int] = {}
        self.twice = 0
        """Trades that were received a second time."""
        self.jumps: list[str] = []
        """Breaks in the journal's numbers."""
        self.feed: list[Feed] = []

    def start(self) -> Witness:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.wait(0.2):
            self._read()
        self._read()

    def _read(self) -> None:
        while batches := self._reader.read(self.position):
            for batch in batches:
                if batch.first != self.position + 1:
                    self.jumps.append(f"{batch.first} follows {self.position}")
                self.position = batch.last
                for event in batch.events:
                    if isinstance(event, Trade):
                        ids = self.trades.setdefault(event.symbol, Ids())
                        self.twice += not ids.add(event.trade_id)
                    elif isinstance(event, Quote):
                        self.quotes[event.symbol] = self.quotes.get(event.symbol, 0) + 1
                    elif isinstance(event, Feed):
                        self.feed.append(event)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)
