"""Days that pass in a minute."""

from __future__ import annotations

import argparse
import contextlib
import time

import psutil

from bench.chaos.run import Run, report, say
from shared.paths import DAY, SECOND, day_start

START = "2025-10-20T16:00:00Z"
"""The venue's clock runs while the mesh starts: some seconds are hours."""
FIRST_DAY = "2025-10-20"
SETTINGS = ", replay: true"
LIVES_S = 2.5
"""Who has lived shorter is spared: one that is killed again and again is waited with, and days go by."""


def midnight(options: argparse.Namespace) -> int:
    """Days that pass in a minute, a consumer killed again and again around every file that closes."""
    emulator = ("--start", START, "--speed", str(options.speed))
    with Run(options, emulator=emulator, speed=options.speed) as run:
        # At such a speed a second of ours is twenty minutes: what is late by that is still revised.
        run.mesh.write_config(more=SETTINGS, rotate=", rotate_every_s: 3600", flush=1800, bars=", revise_s: 3600")
        run.begin()
        end = day_start(FIRST_DAY) + options.midnights * DAY + 3600 * SECOND
        until = time.monotonic() + 60 + 4 * options.midnights * DAY / SECOND / options.speed
        kills = said = 0
        while (day := _now(run)) < end and time.monotonic() < until:
            time.sleep(run.chance.uniform(0.3, 2))
            process = run.mesh.stage(run.chance.choice(("archive", "bars_1s", "parquet")))
            with contextlib.suppress(psutil.Error):
                if process is not None and time.time() - process.create_time() > LIVES_S:
                    process.kill()
                    kills += 1
            midnights = (day - day_start(FIRST_DAY)) // DAY
            if midnights > said:
                said = midnights
                say(f"  {said} of {options.midnights} midnights, {kills} kills")
        run.settled()
        verdict = run.verdict()
        days = len({path.name for path in (run.mesh.lake / "raw").glob("*/*/*")})
        verdict.figures |= {"kills": kills, "midnights": days - 1}
        verdict.check(days - 1 >= options.midnights, f"only {days - 1} midnights were met")
        return report("midnight", verdict)


def _now(run: Run) -> int:
    """The venue's time, as ingest knows it."""
    return int(run.mesh.rows()["binance"]["last_event_ns"] or 0)
