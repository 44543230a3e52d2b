"""How old an event is when somebody else has it: from the venue's socket to an event in a second process.

Only trades carry a time, in microseconds, written into the frame as it is sent; theirs are the ages.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.speed import peers
from bench.speed.market import Ints, Market
from bench.speed.server import ROOT, Server
from bench.speed.yardstick import Load, Product

WARM: Final = 2000
"""Trades at the beginning that are not counted."""
SETTLE_S: Final = 1.0


@dataclass(frozen=True)
class Ages:
    """Microseconds."""

    p50: float
    p99: float
    count: int

    @classmethod
    def of(cls, ages: Ints) -> Ages:
        if not len(ages):
            return cls(float("nan"), float("nan"), 0)
        return cls(float(np.percentile(ages, 50)), float(np.percentile(ages, 99)), len(ages))

    def __str__(self) -> str:
        return f"p50 {self.p50:,.0f} us, p99 {self.p99:,.0f} us"


def ours(server: Server, folder: Path, market: Market, rate: float, seconds: float, gather_ms: int | None) -> Ages:
    """Through ingest to a subscriber of what it publishes, decoded. `gather_ms` is a setting of ingest, None as it is
    by default. Raises TimeoutError."""
    load = Load(int(rate * seconds), rate, is_real=True)
    out = folder / "ages.txt"
    more = "" if gather_ms is None else f", gather_ms: {gather_ms}"
    with Product(server, folder, market, load, more=more) as product:
        product.ready()
        listener = subprocess.Popen(
            [sys.executable, "-m", "bench.speed.listener", str(product.lake), str(out)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert listener.stdin is not None and listener.stdout is not None
        try:
            listener.stdout.readline()
            time.sleep(SETTLE_S)
            # Nobody looks on meanwhile, as nobody does with the peers: to read how much memory a process has takes it
            # milliseconds in which it stands still, and a question keeps the load from sending.
            product.watch.stop()
            product.go()
            time.sleep(seconds)
            product.wait("all is sent", lambda: bool(server.order("state")["is_done"]), seconds * 3 + 30)
            time.sleep(SETTLE_S)
            listener.stdin.close()
            listener.wait(30)
        finally:
            listener.kill()
            listener.wait()
    return Ages.of(np.array(out.read_text().split()[WARM:], np.int64))


def cryptofeed(server: Server, folder: Path, market: Market, python: str, rate: float, seconds: float) -> Ages:
    """To its own callback, in its own process. Raises Unavailable."""
    load = Load(int(rate * seconds), rate, is_real=True)
    peers.run(peers.PEERS["cryptofeed"], python, server, folder, market, load, "latency")
    return Ages.of(np.array((folder / "latency.txt").read_text().split(), np.int64))
