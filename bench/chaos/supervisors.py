"""Two supervisors; none; and stages that one left behind."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time

import psutil

from bench.chaos.mesh import ROOT, STAGES, wait_for
from bench.chaos.run import NotRun, Run, all_past, report, say

REFUSED_S = 5.0
ORPHANS_S = 25.0
TAKEN_OVER_S = 40.0
"""From the start of the next supervisor, with an orphan that has to be killed first."""


def twice(options: argparse.Namespace) -> int:
    """A second supervisor is refused at once; orphans of a killed one leave, and a new one takes over."""
    with Run(options) as run:
        run.begin()
        for turn in range(options.times):
            begun = time.monotonic()
            second = subprocess.run(
                [sys.executable, "supervisor.py", "--config", str(run.mesh.config)],
                cwd=ROOT, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            took = time.monotonic() - begun
            run.figures["slowest_refusal_s"] = max(took, run.figures.get("slowest_refusal_s", 0.0))
            run.expect(second.returncode == 1, f"a second supervisor: exit {second.returncode}")
            run.expect(took < REFUSED_S, f"a second supervisor was refused after {took:.1f} s")
            run.expect("another supervisor runs this lake" in second.stdout + second.stderr, "it was not told why")
            orphans = list(run.mesh.processes().values())
            assert run.mesh.supervisor is not None
            run.mesh.supervisor.kill()
            run.mesh.supervisor.wait(10)
            if turn % 2:  # at once, beside the orphans that are still leaving
                run.mesh.start()
            alive = psutil.wait_procs(orphans, timeout=ORPHANS_S)[1]
            run.expect(not alive, f"{len(alive)} orphans were still alive after {ORPHANS_S:.0f} s")
            if not turn % 2:
                run.mesh.start()
            wait_for("the next supervisor", lambda: all(r["state"] == "running" for r in run.mesh.rows().values()), 60)
            time.sleep(2)
        run.figures |= {"times": options.times}
        run.settled()
        return report("twice", run.verdict())


def orphans(options: argparse.Namespace) -> int:
    """The supervisor is killed while a stage stands still, deaf to its end; the next one starts at once.

    It must say what it waits for, let nobody write beside the orphan, and have all stages level: as soon as the orphan
    goes on and leaves, or, every other time, after it had to be killed because it never does.
    """
    if not hasattr(psutil.Process, "suspend"):
        raise NotRun("processes cannot be suspended here")
    with Run(options) as run:
        run.begin()
        for turn in range(options.times):
            time.sleep(run.chance.uniform(2, 4))
            name = STAGES[turn % len(STAGES)]
            took = _left_behind(run, name, wakes=turn % 2 == 0)
            key = "slowest_after_it_left_s" if turn % 2 == 0 else "slowest_after_it_was_killed_s"
            run.figures[key] = max(took, run.figures.get(key, 0.0))
            say(f"  {name} {'left late' if turn % 2 == 0 else 'never left'}: all level {took:.1f} s after it was gone")
        run.figures["times"] = options.times
        run.settled()
        return report("orphans", run.verdict())


def _left_behind(run: Run, name: str, wakes: bool) -> float:
    """Seconds from the end of the orphan until all are level."""
    mesh = run.mesh
    orphan = mesh.stage(name)
    assert orphan is not None and mesh.supervisor is not None
    orphan.suspend()
    mesh.supervisor.kill()
    mesh.supervisor.wait(10)
    mesh.start()
    begun = time.monotonic()
    says = f"held by stage {name}, process {orphan.pid}"
    wait_for("it says what it waits for", lambda: says in mesh.rows()[name]["note"])
    wait_for("the others run", lambda: all(r["state"] == "running" for n, r in mesh.rows().items() if n != name))
    run.expect(f"{name} of an earlier run is still here" in mesh.console, "the console does not say who is still here")
    run.expect(mesh.rows()[name]["state"] == "starting", f"{name} runs beside its orphan")
    if wakes:
        with contextlib.suppress(psutil.Error):
            orphan.resume()
    gone = psutil.wait_procs([orphan], timeout=TAKEN_OVER_S)[0]
    run.expect(bool(gone), f"the orphan of {name} is still there after {TAKEN_OVER_S:.0f} s")
    if not wakes:
        run.expect("does not leave" in mesh.console, "nobody says that the orphan was killed")
    over, moment = time.monotonic(), time.time_ns()
    wait_for("all level", lambda: all_past(mesh, moment), 60)
    run.expect(over - begun < TAKEN_OVER_S, f"the orphan of {name} stayed {over - begun:.0f} s")
    return time.monotonic() - over
