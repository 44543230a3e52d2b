"""Everything: what measures how soon goes alone, then five lanes side by side that do not disturb each other.

    alone     kill, stall                     20,000 events a second; seconds until a stage is back and level
    together  soak                            2,000 events a second and a kill a minute
              network, full-journal, clock    one mesh at a time
              full-disk, midnight, …          one mesh at a time
              sim, mutants                    at low priority
              fuzz                            at low priority

Each is a command of its own, in a process of its own; what it prints is kept, and its last lines are shown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.chaos.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = 3
"""The exit code of a scenario whose means are not to be had here."""
HISTORIES = {"shortest": 1000, "short": 10_000, "long": 1_000_000}
EXAMPLES = {"shortest": 2000, "short": 20_000, "long": 1_000_000}
ALONE = ("kill", "stall")
GENTLY = {"sim", "fuzz"}
LANES = (("soak",), ("network", "full-journal", "clock"), ("full-disk", "midnight", "twice", "orphans"))


class Lane:
    """Commands one after the other, in a thread; `codes` and `seconds` by command."""

    def __init__(self, commands: dict[str, list[str]], folder: Path, gently: bool = False) -> None:
        self._commands, self._folder, self._gently = commands, folder, gently
        self.codes: dict[str, int] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for name, words in self._commands.items():
            begun, log = time.monotonic(), self._folder / f"{name}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, "-m", "bench", *words],
                    cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                )  # fmt: skip
                if self._gently and hasattr(os, "setpriority"):
                    os.setpriority(os.PRIO_PROCESS, process.pid, 10)
                self.codes[name] = process.wait()
            _show(name, self.codes[name], time.monotonic() - begun, log)


def _show(name: str, code: int, took: float, log: Path) -> None:
    says = {0: "passed", NOT_RUN: "NOT RUN"}.get(code, f"FAILED (exit {code})")
    lines = log.read_text(errors="backslashreplace").strip().splitlines()
    wanted = lines[-25:] if code else [line for line in lines if not line.startswith("  ")][-20:]
    sys.stdout.write(f"\n== {name}: {says} in {took:.0f} s\n" + "".join(f"{line}\n" for line in wanted))
    sys.stdout.flush()


def _lanes(form: str, histories: int, jobs: int) -> list[list[dict[str, list[str]]]]:
    """What runs one after the other, each of it side by side."""
    alone = {name: [name, f"--{form}"] for name in ALONE}
    lanes = [{name: [name, f"--{form}"] for name in names} for names in LANES]
    lanes += [
        {"sim": ["sim", "--seeds", str(histories), "--jobs", str(jobs)], "mutants": ["mutants", "--jobs", str(jobs)]},
        {"fuzz": ["fuzz", f"--{form}"]},
    ]
    missing = set(SCENARIOS) - {*alone, *(name for lane in lanes for name in lane)}
    assert not missing, f"in no lane: {missing}"
    return [[alone], lanes]


def everything(form: str, histories: int, jobs: int) -> int:
    """Runs it all; the exit code: 1 where something failed, 3 where something could not run."""
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    codes: dict[str, int] = {}
    for together in _lanes(form, histories, jobs):
        lanes = [Lane(commands, folder, gently=not GENTLY.isdisjoint(commands)) for commands in together]
        for lane in lanes:
            lane.thread.join()
            codes |= lane.codes
    failed = [name for name, code in codes.items() if code not in (0, NOT_RUN)]
    missed = [name for name, code in codes.items() if code == NOT_RUN]
    passed = len(codes) - len(failed) - len(missed)
    says = f"\n{passed} of {len(codes)} passed in {(time.monotonic() - begun) / 60:.0f} min"
    says += f"; FAILED: {', '.join(failed)}" if failed else ""
    says += f"; NOT RUN: {', '.join(missed)}" if missed else ""
    sys.stdout.write(f"{says}\nall they said: {folder}\n")
    return 1 if failed else NOT_RUN if missed else 0


def arguments(parser: argparse.ArgumentParser, form: str) -> None:
    parser.add_argument("--histories", type=int, default=HISTORIES[form], help="simulated (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes of the simulation (default: %(default)s)")
    parser.set_defaults(run=lambda args: everything(form, args.histories, args.jobs))
