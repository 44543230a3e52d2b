"""Consumers that are away: stopped for a while, or so long that the journal is full."""

from __future__ import annotations

import argparse
import contextlib
import time
from functools import partial

import psutil

from bench.chaos.mesh import wait_for
from bench.chaos.run import Run, is_past, report
from shared.paths import SECOND


def stall(options: argparse.Namespace) -> int:
    """SIGSTOP of each consumer in turn: ingest's memory stays, and what waits is caught up with."""
    with Run(options) as run:
        run.begin()
        time.sleep(5)
        for name in ("archive", "bars_1s", "parquet"):
            ingest, victim = run.mesh.stage("binance"), run.mesh.stage(name)
            assert ingest is not None and victim is not None
            before = ingest.memory_info().rss
            victim.suspend()
            time.sleep(options.seconds)
            grown = (ingest.memory_info().rss - before) / before * 100
            with contextlib.suppress(psutil.Error):  # the supervisor may have lost its patience: that is right, too
                victim.resume()
            begun, moment = time.monotonic(), time.time_ns() - 4 * SECOND
            wait_for(f"{name} level", partial(is_past, run.mesh, name, moment), 60)
            run.figures |= {f"{name}_level_s": time.monotonic() - begun, f"{name}_ingest_grew_percent": grown}
            if grown > 10:
                run.faults.append(f"ingest grew by {grown:.0f} % while {name} stood still")
        run.settled()
        return report("stall", run.verdict())
