"""Two supervisors, and none."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import psutil

from bench.chaos.mesh import ROOT, wait_for
from bench.chaos.run import Run, report


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
            if second.returncode == 0 or took > 5:
                run.faults.append(f"a second supervisor: exit {second.returncode} after {took:.1f} s")
            orphans = list(run.mesh.processes().values())
            assert run.mesh.supervisor is not None
            run.mesh.supervisor.kill()
            run.mesh.supervisor.wait(10)
            if turn % 2:  # at once, beside the orphans that are still leaving
                run.mesh.start()
            alive = psutil.wait_procs(orphans, timeout=25)[1]
            if alive:
                run.faults.append(f"{len(alive)} orphans were still alive after 25 s")
            if not turn % 2:
                run.mesh.start()
            wait_for("the next supervisor", lambda: all(r["state"] == "running" for r in run.mesh.rows().values()), 60)
            time.sleep(2)
        run.figures |= {"times": options.times}
        run.settled()
        return report("twice", run.verdict())
