"""Days that pass in seconds."""

from __future__ import annotations

import argparse
import contextlib
import time

import psutil

from bench.chaos.run import Run, report, say

DAY_S = 86_400
LIVES_S = 2.5
"""Who has lived shorter is spared: one that is killed again and again is waited with, and days go by."""


def midnight(options: argparse.Namespace) -> int:
    """Days that pass in seconds, a consumer killed again and again around every file that closes."""
    emulator = ("--start", "2025-10-20T12:00:00Z", "--speed", str(options.speed))
    with Run(options, emulator=emulator, speed=options.speed) as run:
        run.mesh.write_config(more=", replay: true", rotate=", rotate_every_s: 3600", flush=1800)
        run.begin()
        day = DAY_S / options.speed
        until = time.monotonic() + (options.midnights - 0.4) * day
        kills = 0
        while time.monotonic() < until:
            time.sleep(run.chance.uniform(0.3, 2))
            process = run.mesh.stage(run.chance.choice(("archive", "bars_1s", "parquet")))
            with contextlib.suppress(psutil.Error):
                if process is not None and time.time() - process.create_time() > LIVES_S:
                    process.kill()
                    kills += 1
                    if kills % 20 == 0:
                        say(f"  {kills} kills, {_days(run)} days")
        run.settled()
        verdict = run.verdict()
        days = _days(run)
        verdict.figures |= {"kills": kills, "days": days}
        verdict.check(days > options.midnights, f"only {days} days were met")
        return report("midnight", verdict)


def _days(run: Run) -> int:
    return len({path.name for path in (run.mesh.lake / "raw").glob("*/*/*")})
