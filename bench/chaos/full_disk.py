"""A small disk that a stranger fills and frees under a mesh that records, in three ways.

    slow     in steps: aggregator and sink wait first, then ingest pauses; nobody dies
    sudden   to the last byte at once, and whatever is let go is taken, too: everybody may die
    brief    full for a moment, again and again, so that nobody sees it coming

After each way the disk is freed and all stages must be level within 35 s; while it is full and at the end every Parquet
file must be readable.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.chaos.mesh import wait_for
from bench.chaos.run import NotRun, Run, all_past, report, say
from bench.chaos.small_disk import NoDisk, Stranger, found_disk, in_own_namespace
from shared.room import DERIVED, RECEIVING

BACK_S = 35.0
"""From room on the disk to the last stage that is level again."""


class Trial:
    """One mesh on one small disk."""

    def __init__(self, run: Run, stranger: Stranger) -> None:
        self.run, self.stranger = run, stranger
        self.back: list[float] = []
        self.unreadable = 0

    # --- the three ways ---

    def sudden(self) -> None:
        self.stranger.leaves(0)
        self._while_full(self.run.chance.uniform(3, 8))

    def slow(self) -> None:
        total = self.stranger.total
        between = (DERIVED.least(total) + RECEIVING.least(total)) // 2
        self.stranger.leaves(between)
        wait_for("aggregator and sink wait", lambda: self._waiting() == {"bars_1s", "parquet"})
        lines, bars = self._counted("archive", "lines"), self._counted("bars_1s", "events_in")
        self._while_full(2)
        expect = self.run.expect
        expect(self._counted("archive", "lines") > lines, "nothing was archived while aggregator and sink waited")
        expect(self._counted("bars_1s", "events_in") == bars, "the aggregator did not wait")
        self.stranger.leaves(RECEIVING.least(total) // 2)
        wait_for("ingest pauses", lambda: self.run.mesh.rows()["binance"]["note"] == "disk full")
        wait_for("the reserve is let go", lambda: not (self.run.mesh.lake / "run" / "reserve").exists())
        self._while_full(2)

    def brief(self) -> None:
        for _ in range(self.run.chance.randint(2, 5)):
            self.stranger.leaves(0)
            time.sleep(self.run.chance.uniform(0.05, 0.5))
            self.stranger.leaves(None)
            time.sleep(self.run.chance.uniform(0.2, 1.0))
        self.stranger.leaves(0)
        self._while_full(1)

    # --- what is looked at ---

    def _waiting(self) -> set[str]:
        return {name for name, row in self.run.mesh.rows().items() if "waits" in row["note"]}

    def _counted(self, stage: str, what: str) -> int:
        return int(self.run.mesh.rows()[stage]["counters"].get(what, 0))

    def _while_full(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.5)
            self.unreadable += unreadable(self.run.mesh.lake)

    def free_again(self) -> None:
        self.stranger.leaves(None)
        begun, moment = time.monotonic(), time.time_ns()
        with contextlib.suppress(TimeoutError):
            wait_for("all stages level", partial(all_past, self.run.mesh, moment), BACK_S + 25)
        self.back.append(time.monotonic() - begun)
        self.run.expect(self.back[-1] <= BACK_S, f"all stages level only after {self.back[-1]:.0f} s")


def unreadable(lake: Path) -> int:
    """Parquet files by a final name that cannot be read."""
    found = 0
    for path in (lake / "parquet").rglob("*.parquet"):
        try:
            pq.read_metadata(path)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowException):
            found += 1
    return found


def full_disk(options: argparse.Namespace) -> int:
    """A small disk that a stranger fills slowly, at once or for moments, and frees, over and over."""
    words = ["--times", str(options.times), "--rate", str(options.rate), "--megabytes", str(options.megabytes)]
    if options.disk is None:
        code = in_own_namespace(["full-disk", *words, "--seed", str(options.seed)])
        if code is not None:
            return code
    try:
        with found_disk(options.megabytes, options.disk) as (disk, what):
            say(f"  on an {what}" if what.startswith("ext4") else f"  on {what}")
            return _on(disk, options)
    except NoDisk as why:
        raise NotRun(str(why)) from None


def _on(disk: Path, options: argparse.Namespace) -> int:
    stranger = Stranger(disk)
    try:
        with Run(options, lake=disk / "lake") as run:
            run.begin()
            return _play(Trial(run, stranger), options.times)
    finally:
        stranger.close()


def _play(trial: Trial, times: int) -> int:
    ways: list[Callable[[], None]] = [trial.slow, trial.sudden, trial.brief]
    for turn in range(times):
        time.sleep(trial.run.chance.uniform(2, 4))
        ways[turn % len(ways)]()
        trial.free_again()
        say(f"  {turn + 1} of {times}, {ways[turn % len(ways)].__name__}: all level after {trial.back[-1]:.1f} s")
    rows = trial.run.mesh.rows()
    trial.run.figures |= {
        "filled": times,
        "slowest_back_s": max(trial.back),
        "deaths": sum(row["restarts"] for row in rows.values()),
        "unreadable_while_full": trial.unreadable,
    }
    trial.run.expect(not trial.unreadable, f"{trial.unreadable} Parquet files were unreadable while the disk was full")
    trial.run.settled()
    return report("full-disk", trial.run.verdict())
