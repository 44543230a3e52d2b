"""A mesh, its witness and the end that all scenarios share: drained, then the ledger. And what a scenario says."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.chaos.ledger import Verdict, judge
from bench.chaos.mesh import Mesh, wait_for
from bench.chaos.witness import Witness
from shared.ids import Ids
from shared.paths import SECOND

HEAL_S = 120.0


class NotRun(Exception):
    """What a scenario needs is not to be had here; the text says what. It has not passed."""


class Run:
    """One mesh under one scenario."""

    def __init__(
        self, options: argparse.Namespace, lake: Path | None = None, emulator: tuple[str, ...] = (), speed: float = 0.0
    ) -> None:
        self._speed = speed
        """Of a venue whose clock runs faster than ours; 0 where it is ours."""
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.chance = random.Random(options.seed)
        self.mesh = Mesh(self.folder, options.rate, lake=lake, emulator=emulator)
        self.witness = Witness(self.mesh.lake)
        self.figures: dict[str, Any] = {}
        self.faults: list[str] = []

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.mesh.close()
        if not any(error) and not self.faults:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            say(f"left for a look: {self.folder}")

    def begin(self) -> None:
        self.mesh.start().flowing()
        self.witness.start()

    def expect(self, is_so: bool, says: str) -> None:
        """What must hold on the way; `says` is what is wrong where it does not."""
        if not is_so:
            self.faults.append(says)
            say(f"  WRONG: {says}")

    def settled(self) -> None:
        """Every id that was issued until now is held or was given up, and the consumers are level."""
        newest = {symbol: rows["trade"]["last"] for symbol, rows in self.mesh.ledger().items()}
        with contextlib.suppress(TimeoutError):  # the ledger says what is missing
            wait_for("all is healed", lambda: not self._missing(newest), HEAL_S)
        wait_for("all are level", self._level, HEAL_S)

    def _missing(self, newest: dict[str, int]) -> int:
        given_up: dict[str, Ids] = {}
        for event in self.witness.feed:
            if event.kind == "unhealable":
                for symbol in event.symbols:
                    given_up.setdefault(symbol, Ids()).add_range(event.detail["first_id"], event.detail["last_id"])
        found = 0
        for symbol, last in newest.items():
            ids = self.witness.trades.get(symbol)
            if ids is None or ids.lowest is None:
                continue  # it has begun after these
            gone = given_up.get(symbol, Ids())
            found += sum(not gone.covers(low, high) for low, high in ids.missing(ids.lowest, last))
        return found

    def _level(self) -> bool:
        rows = self.mesh.rows()
        now = (rows["binance"]["last_event_ns"] or 0) if self._speed else time.time_ns()
        back = 10 * SECOND * (self._speed or 1)
        return all((rows[name]["last_event_ns"] or 0) > now - back for name in ("archive", "bars_1s"))

    def verdict(self, may_be_unhealable: bool = False) -> Verdict:
        issued = self.mesh.ledger()
        newest = {symbol: rows["trade"]["last"] for symbol, rows in issued.items()}
        with contextlib.suppress(TimeoutError):  # what was sent is on its way for a while, where all are busy
            wait_for("what was sent has come", lambda: not self._missing(newest), 30)
        code = self.mesh.stop()
        self.witness.stop()
        verdict = judge(self.mesh.lake, issued, self.witness, may_be_unhealable)
        verdict.figures = self.figures | verdict.figures
        verdict.faults = self.faults = self.faults + verdict.faults
        verdict.check(code == 0, f"the supervisor ended with {code}")
        return verdict


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(name: str, verdict: Verdict) -> int:
    """The figures in one line, and each fault in one; the exit code."""
    say(f"{name}: " + ", ".join(f"{key} {_text(value)}" for key, value in verdict.figures.items()))
    for fault in verdict.faults:
        say(f"  WRONG: {fault}")
    say(f"{name}: " + (f"WRONG in {len(verdict.faults)} ways" if verdict.faults else "right"))
    return 1 if verdict.faults else 0


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)


def spread(seconds: list[float]) -> str:
    """Median and 99th of a hundred."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {p99:.2f} s"


def is_past(mesh: Mesh, name: str, moment: int) -> bool:
    """Whether a stage has passed that moment of the venue's clock."""
    return (mesh.rows()[name]["last_event_ns"] or 0) >= moment


BEHIND = {"parquet": 4 * SECOND, "bars_1s": SECOND}
"""Bars close behind the events they are made of."""


def all_past(mesh: Mesh, moment: int) -> bool:
    """Whether all stages run, have nothing to complain of, and have passed that moment."""
    return all(
        row["state"] == "running" and not row["note"] and (row["last_event_ns"] or 0) >= moment - BEHIND.get(name, 0)
        for name, row in mesh.rows().items()
    )
