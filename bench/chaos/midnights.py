"""Days that pass in a minute."""

from __future__ import annotations

import argparse
import contextlib
import time

import psutil

from bench.chaos.run import Run, report

SPEED = 1200
"""Seconds of the venue's clock in one of ours."""


def midnight(options: argparse.Namespace) -> int:
    """Days that pass in a minute, each consumer killed again and again around every file that closes."""
    emulator = ("--start", "2025-10-20T12:00:00Z", "--speed", str(SPEED))
    with Run(options, emulator=emulator, speed=SPEED) as run:
        run.mesh.write_config(more=", replay: true")
        run.begin()
        until = time.monotonic() + 60 + (options.midnights - 1) * 86_400 / SPEED
        kills = 0
        while time.monotonic() < until:
            time.sleep(run.chance.uniform(1, 5))
            process = run.mesh.stage(run.chance.choice(("archive", "bars_1s", "parquet")))
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    process.kill()
                    kills += 1
        run.settled()
        days = {path.name for path in (run.mesh.lake / "raw").glob("*/*/*")}
        run.figures |= {"kills": kills, "days": len(days)}
        if len(days) <= options.midnights:
            run.faults.append(f"only {len(days)} days were met")
        return report("midnight", run.verdict())
