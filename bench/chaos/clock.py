"""The machine's clock is set, again and again, under processes that run: an hour back, a day ahead, to 2038.

By libfaketime, which reads the offset from a file while the mesh runs and leaves monotonic time alone. The venue keeps
the true time, and so must all that is recorded.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from bench.chaos.run import NotRun, Run, all_past, report, say
from shared.paths import SECOND

PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/opt/homebrew/lib/faketime")
NAMES = ("libfaketimeMT.so.1", "libfaketimeMT.1.dylib")
ABSENT = "libfaketime is not here (Debian: apt-get install faketime; macOS: brew install libfaketime)"
HOUR, DAY = 3600, 86_400
SECONDS_APART = 5
"""A record may be so far from when the venue had it."""
AT_ONCE_S = 0.3
"""How long the processes may take to see a new time."""

PROBE = """
import sys, time
for line in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


def clock(options: argparse.Namespace) -> int:
    """The wall clock of all processes steps back and forth: no restart, no reconnect, every record in its own time."""
    library = _library()
    with Run(options) as run:
        file = run.folder / "clock"
        _set(file, 0)
        run.mesh.env = _env(library, file)
        _check(run.mesh.env, file)
        run.begin()
        begun = time.time_ns()
        time.sleep(3)
        connects = _connects(run)
        to_2038 = int(2_147_483_647 - 5 - time.time())
        steps = [-HOUR, DAY, 0, HOUR, -DAY, to_2038, 30 * DAY, -1, 1, -30 * DAY]
        for turn in range(options.steps):
            step = steps[turn] if turn < len(steps) else run.chance.randint(-2 * DAY, 2 * DAY)
            _set(file, step)
            time.sleep(run.chance.uniform(0.5, 2.5))
            if (turn + 1) % 10 == 0:
                say(f"  {turn + 1} of {options.steps} steps")
        _set(file, 0)
        moment = time.time_ns()
        while not all_past(run.mesh, moment) and time.time_ns() < moment + 60 * SECOND:
            time.sleep(0.2)
        rows = run.mesh.rows()
        restarts = {name: row["restarts"] for name, row in rows.items() if row["restarts"]}
        run.figures |= {"steps": options.steps, "restarts": sum(restarts.values())}
        run.figures["reconnects"] = _connects(run) - connects
        run.expect(not restarts, f"stages died: {restarts}")
        run.expect(not run.figures["reconnects"], f"{run.figures['reconnects']} reconnects")
        run.settled()
        verdict = run.verdict()
        first, last = _times(run.mesh.lake)
        slack = SECONDS_APART * SECOND
        verdict.check(first > begun - 60 * SECOND, f"a record bears a time {(begun - first) / SECOND:.0f} s early")
        verdict.check(last < time.time_ns() + slack, f"a record bears {(last - time.time_ns()) / SECOND:.0f} s to come")
        verdict.figures["records_span_s"] = (last - first) // SECOND
        return report("clock", verdict)


def _connects(run: Run) -> int:
    return int(run.mesh.rows()["binance"]["counters"].get("connects", 0))


def _times(lake: Path) -> tuple[int, int]:
    """First and last time of all archived lines."""
    found = [
        int(text) for path in (lake / "raw").rglob("*.jsonl") for text in re.findall(rb'"ts":(\d+)', path.read_bytes())
    ]
    return min(found), max(found)


# --- the library ---


def _library() -> Path:
    for place in PLACES:
        parent = Path(place.split("*")[0])
        for name in NAMES:
            found = [*parent.glob(f"*/faketime/{name}")] if "*" in place else [Path(place) / name]
            if found and found[0].exists():
                return found[0]
    raise NotRun(ABSENT)


def _env(library: Path, file: Path) -> dict[str, str]:
    preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
    return {
        preload: str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def _set(file: Path, offset: int) -> None:
    """By rename: the processes read it at every look at their clock."""
    new = file.with_name("clock.new")
    new.write_text(f"{offset:+d}")
    new.replace(file)


def _check(env: dict[str, str], file: Path) -> None:
    """Raises NotRun unless a running process sees its wall clock step and its monotonic one go on."""
    import os

    with subprocess.Popen(
        [sys.executable, "-c", PROBE],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as probe:
        assert probe.stdin is not None and probe.stdout is not None

        def look() -> tuple[float, float]:
            assert probe.stdin is not None and probe.stdout is not None
            probe.stdin.write("\n")
            probe.stdin.flush()
            wall, mono = probe.stdout.readline().split()
            return float(wall), float(mono)

        before = look()
        _set(file, DAY)
        time.sleep(AT_ONCE_S)
        after = look()
        _set(file, 0)
        probe.stdin.close()
    if not DAY <= after[0] - before[0] < DAY + 10 or not 0 < after[1] - before[1] < 10:
        raise NotRun("libfaketime does not step the clock of a running process here")
