"""What every peer does with an event: a line in a file, and a part of a one-second bar that becomes Parquet.

The least that a user would write, and written to be fast: floats, plain lists, one buffered file, a Parquet file a
thousand bars. Nothing is synchronised to disk, no id is looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import Any

BUFFER = 1 << 20
BARS_A_FILE = 1200
NAMES = ["symbol", "second", "open", "high", "low", "close", "volume", "quote_volume", "count", "bid", "ask"]


class Work:
    """The files of one run. It ends by itself once `events` are handled, or when standard input ends."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._expected: int = args.events
        self._folder: str = args.folder
        self._file = open(f"{args.folder}/events.jsonl", "wb", buffering=BUFFER)  # noqa: PTH123, SIM115
        self._bars: dict[str, list[Any]] = {}
        self._quotes: dict[str, tuple[float, float]] = {}
        self._done: list[list[Any]] = []
        self._files = 0
        self._lock = threading.Lock()
        self.events = 0
        import pyarrow.parquet  # noqa: F401 - before the clock starts, as for everybody

        threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        while os.read(0, 4096):
            pass
        time.sleep(0.2)
        self.end()

    def trade(self, symbol: str, price: float, qty: float, second: int) -> None:
        """One trade, of that second since the epoch."""
        bar = self._bars.get(symbol)
        if bar is None or bar[1] != second:
            if bar is not None:
                self._close(symbol, bar)
            self._bars[symbol] = [symbol, second, price, price, price, price, qty, price * qty, 1]
            return
        if price > bar[3]:
            bar[3] = price
        elif price < bar[4]:
            bar[4] = price
        bar[5] = price
        bar[6] += qty
        bar[7] += price * qty
        bar[8] += 1

    def quote(self, symbol: str, bid: float, ask: float) -> None:
        """Best bid and ask."""
        self._quotes[symbol] = bid, ask

    def _close(self, symbol: str, bar: list[Any]) -> None:
        bar += self._quotes.get(symbol, (None, None))
        self._done.append(bar)
        if len(self._done) >= BARS_A_FILE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._done:
            columns = dict(zip(NAMES, zip(*self._done, strict=True), strict=True))
            table = pa.table({name: pa.array(column) for name, column in columns.items()})
            pq.write_table(table, f"{self._folder}/bars-{self._files:05d}.parquet", compression="zstd")
            self._files += 1
            self._done = []

    def line(self, data: bytes) -> None:
        """The event's line, with its newline; counts it."""
        self._file.write(data)
        self.count()

    def count(self) -> None:
        """One event is handled."""
        self.events += 1
        if self.events == self._expected:
            self.end()

    def end(self) -> None:
        """Everything to disk, one line to standard output, and gone."""
        with self._lock:
            for symbol, bar in self._bars.items():
                self._close(symbol, bar)
            self._flush()
            self._file.close()
            said = {"events": self.events, "done_ns": time.time_ns(), "files": self._files}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()
            os._exit(0)


def arguments() -> argparse.Namespace:
    """What every driver is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ws", required=True)
    parser.add_argument("--rest", required=True)
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--work", choices=("full", "receive", "latency"), default="full")
    args = parser.parse_args()
    args.symbols = args.symbols.split(",")
    return args


class Latency:
    """How old trades are when a callback gets them; the first ones, which warm up, not counted."""

    WARM = 2000

    def __init__(self, args: argparse.Namespace) -> None:
        self._expected: int = args.events
        self._file = f"{args.folder}/latency.txt"
        self._ages: list[int] = []
        self._seen = 0
        threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        while os.read(0, 4096):
            pass
        time.sleep(0.5)
        self.end()

    def trade(self, at_us: float) -> None:
        """A trade that was sent at that moment, in microseconds since the epoch."""
        self._ages.append(time.time_ns() // 1000 - int(at_us))
        self.count()

    def count(self) -> None:
        self._seen += 1
        if self._seen == self._expected:
            self.end()

    def end(self) -> None:
        with open(self._file, "w") as file:  # noqa: PTH123
            file.write("\n".join(map(str, self._ages[self.WARM :])))
        sys.stdout.write(json.dumps({"events": self._seen, "done_ns": time.time_ns(), "files": 0}) + "\n")
        sys.stdout.flush()
        os._exit(0)
