"""The machine's clock is set, again and again, under processes that run: an hour back, a day ahead, to 2038.

The venue keeps the true time, and so must all that is recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import time
from pathlib import Path

from bench.chaos.mesh import wait_for
from bench.chaos.run import Run, all_past, report, say
from bench.chaos.wall import Wall
from shared.paths import SECOND

HOUR, DAY = 3600, 86_400
BEFORE_S = 60
"""Records may be so much older than the start of the run: what the venue's REST says of the time before."""
AFTER_S = 5


def clock(options: argparse.Namespace) -> int:
    """The wall clock of all processes steps back and forth: no restart, no reconnect, every record in its own time."""
    with Run(options) as run:
        wall = Wall(run.folder)
        say(f"  by {wall.by}")
        run.mesh.env = wall.env
        run.begin()
        begun = time.time_ns()
        time.sleep(3)
        connects = _connects(run)
        _steps(run, wall, options.steps)
        rows = run.mesh.rows()
        restarts = {name: row["restarts"] for name, row in rows.items() if row["restarts"]}
        run.figures |= {"steps": options.steps, "restarts": sum(restarts.values())}
        run.figures["reconnects"] = _connects(run) - connects
        run.expect(not restarts, f"stages died: {restarts}")
        run.expect(not run.figures["reconnects"], f"{run.figures['reconnects']} reconnects")
        run.settled()
        verdict = run.verdict()
        first, last = _times(run.mesh.lake)
        early, late = (begun - first) / SECOND, (last - time.time_ns()) / SECOND
        verdict.check(early < BEFORE_S, f"a record bears a time {early:.0f} s before the run")
        verdict.check(late < AFTER_S, f"a record bears a time {late:.0f} s after the run")
        verdict.figures["records_span_s"] = (last - first) // SECOND
        return report("clock", verdict)


def _steps(run: Run, wall: Wall, count: int) -> None:
    to_2038 = int(2_147_483_647 - 2 - time.time())  # and over its end
    steps = [-HOUR, DAY, 0, HOUR, -DAY, to_2038, 30 * DAY, -1, 1, -30 * DAY]
    for turn in range(count):
        wall.set(steps[turn] if turn < len(steps) else run.chance.randint(-2 * DAY, 2 * DAY))
        time.sleep(run.chance.uniform(0.2, 2.0))
        if (turn + 1) % 10 == 0:
            say(f"  {turn + 1} of {count} steps")
    wall.set(0)
    moment = time.time_ns()
    with contextlib.suppress(TimeoutError):
        wait_for("all level", lambda: all_past(run.mesh, moment), 60)


def _connects(run: Run) -> int:
    return int(run.mesh.rows()["binance"]["counters"].get("connects", 0))


def _times(lake: Path) -> tuple[int, int]:
    """First and last time of all archived lines."""
    lines = (text for path in (lake / "raw").rglob("*.jsonl") for text in re.findall(rb'"ts":(\d+)', path.read_bytes()))
    found = [int(text) for text in lines]
    return min(found), max(found)
