"""Consumers that are away: stopped for a while, gone for a while, or so long that the journal is full."""

from __future__ import annotations

import argparse
import contextlib
import time
from functools import partial
from pathlib import Path

import psutil

from bench.chaos.mesh import Mesh, wait_for
from bench.chaos.run import BEHIND, NotRun, Run, all_past, is_past, report, say
from supervision import asking

CONSUMERS = ("archive", "bars_1s", "parquet")
GROWS_MOST = 10.0
"""Percent of ingest's memory."""
JOURNAL_BYTES = 4 << 20
BEAT_S = 2.0
"""What a process tells of itself is not as old as this."""


def stall(options: argparse.Namespace) -> int:
    """SIGSTOP of each consumer, then all gone for a minute: ingest's memory stays, what waits is caught up with.

    Stopped longer than the supervisor's patience a consumer is killed and started again: that is right, too.
    """
    if not hasattr(psutil.Process, "suspend"):
        raise NotRun("processes cannot be suspended here")
    with Run(options) as run:
        run.begin()
        time.sleep(10)  # until the first buffers have their size
        for name in CONSUMERS:
            victim = run.mesh.stage(name)
            assert victim is not None
            before = _memory(run.mesh)
            victim.suspend()
            time.sleep(options.stopped)
            _grown(run, name, before)
            with contextlib.suppress(psutil.Error):
                victim.resume()
            begun, moment = time.monotonic(), time.time_ns() - BEHIND.get(name, 0)
            wait_for(f"{name} level", partial(is_past, run.mesh, name, moment), 60)
            run.figures[f"{name}_level_s"] = time.monotonic() - begun
            say(f"  {name} stopped for {options.stopped:g} s: level after {run.figures[f'{name}_level_s']:.1f} s")
        _all_gone(run, options.seconds)
        run.settled()
        return report("stall", run.verdict())


def _all_gone(run: Run, seconds: float) -> None:
    before = _memory(run.mesh)
    for name in CONSUMERS:
        asking.ask(run.mesh.lake, {"do": "stop", "stage": name})
    time.sleep(seconds)
    _grown(run, "all", before)
    for name in CONSUMERS:
        asking.ask(run.mesh.lake, {"do": "start", "stage": name})
    begun, moment = time.monotonic(), time.time_ns()
    wait_for("all level", partial(all_past, run.mesh, moment), 120)
    run.figures["all_level_s"] = time.monotonic() - begun
    say(f"  all gone for {seconds:g} s: level after {run.figures['all_level_s']:.1f} s")


def _memory(mesh: Mesh) -> int:
    ingest = mesh.stage("binance")
    assert ingest is not None
    return int(ingest.memory_info().rss)


def _grown(run: Run, name: str, before: int) -> None:
    percent = (_memory(run.mesh) - before) / before * 100
    run.figures[f"{name}_ingest_grew_percent"] = percent
    run.expect(percent <= GROWS_MOST, f"ingest grew by {percent:.0f} % while {name} was away")


# --- a full journal ---


def full_journal(options: argparse.Namespace) -> int:
    """Nobody archives until the journal is full: ingest pauses with a recorded gap and an alarm, never in silence."""
    with Run(options) as run:
        run.mesh.write_config(more=f", journal_max_bytes: {JOURNAL_BYTES}")
        run.begin()
        for turn in range(options.times):
            _fill(run, turn + 1)
        run.settled()
        run.figures["times"] = options.times
        verdict = run.verdict()
        said = [event for event in run.witness.feed if event.kind == "disconnected"]
        pauses = sum(event.detail.get("reason") == "journal full" for event in said)
        verdict.figures["pauses_recorded"] = pauses
        verdict.check(pauses == options.times, f"{pauses} of {options.times} pauses stand in the feed")
        return report("full-journal", verdict)


def _fill(run: Run, turn: int) -> None:
    mesh, log = run.mesh, run.mesh.lake / "logs" / "binance.log"
    alarms = log.read_text().count("journal full: receiving pauses")
    asking.ask(mesh.lake, {"do": "stop", "stage": "archive"})
    wait_for("a full journal", lambda: mesh.rows()["binance"]["note"] == "journal full", 120)
    held = _held(mesh.lake)
    run.figures["most_bytes"] = max(held, run.figures.get("most_bytes", 0))
    run.expect(held < 2 * JOURNAL_BYTES, f"the journal holds {held} bytes of {JOURNAL_BYTES} allowed")
    run.expect(log.read_text().count("journal full: receiving pauses") == alarms + 1, "no alarm in the log")
    run.expect("its consumers are behind" in log.read_text(), "no alarm half way")
    wait_for("an alarm on the console", lambda: mesh.console.count("binance: journal full") == turn, 20)
    time.sleep(BEAT_S)
    received = _received(mesh)
    time.sleep(3)
    run.expect(_received(mesh) == received, "ingest goes on receiving")
    asking.ask(mesh.lake, {"do": "start", "stage": "archive"})
    begun, moment = time.monotonic(), time.time_ns()
    wait_for("receiving again, and all level", partial(all_past, mesh, moment), 90)
    took = time.monotonic() - begun
    run.figures["slowest_back_s"] = max(took, run.figures.get("slowest_back_s", 0.0))
    say(f"  {turn}: full with {held:,} bytes; receiving and level {took:.1f} s after the archiver came back")


def _received(mesh: Mesh) -> int:
    """Events, as of the last beat."""
    return int(mesh.rows()["binance"]["counters"]["events_in"])


def _held(lake: Path) -> int:
    total = 0
    for path in (lake / "journal/binance/binance").glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
