"""A small disk that a stranger fills and frees, in three ways, under a mesh that records: `python -m bench.disk`.

    sudden   to the last byte at once, and whatever is let go is taken, too: everybody may die
    slow     in steps: aggregator and sink wait first, then ingest pauses; nobody dies
    brief    full for a moment, again and again, so that nobody sees it coming

After each way the disk is freed and all stages must be level within 35 s; while it is full and at the end every Parquet
file must be readable. In the end the ledger: issued, received, archived, in bars. The disk is a tmpfs: root only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.chaos.mesh import wait_for
from bench.chaos.scenarios import Run, report, say, small_disk
from shared.paths import SECOND
from shared.room import DERIVED, RECEIVING

BACK_S = 35.0
"""From room on the disk to the last stage that is level again."""
FORMS = {
    "short": {"times": 3, "rate": 1000.0, "megabytes": 128},
    "long": {"times": 10, "rate": 2000.0, "megabytes": 256},
}


class Stranger:
    """A thread that leaves others so many bytes of a disk, whatever they write or delete."""

    def __init__(self, disk: Path) -> None:
        self._disk, self._path = disk, disk / "stranger"
        self._leaves: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stranger", daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        found = os.statvfs(self._disk)
        return found.f_blocks * found.f_frsize

    @property
    def free(self) -> int:
        found = os.statvfs(self._disk)
        return found.f_bavail * found.f_frsize

    def leaves(self, wanted: int | None) -> None:
        """None: all of it. Returns once it is so."""
        self._leaves = wanted
        if wanted is None:
            wait_for("the disk is freed", lambda: not self._path.exists())
        else:
            wait_for("the disk is filled", lambda: self._leaves == wanted and self.free <= wanted + 65536)

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._over.wait(0.02):
            wanted = self._leaves
            if wanted is None:
                self._path.unlink(missing_ok=True)
            else:
                with self._path.open("ab") as file:
                    self._move(file.fileno(), self.free - wanted)

    def _move(self, fd: int, by: int) -> None:
        size = os.fstat(fd).st_size
        if by < 0:
            os.ftruncate(fd, max(0, size + by))
            return
        while by >= 4096:
            try:
                os.posix_fallocate(fd, size, by)
                return
            except OSError:  # somebody was quicker
                by //= 2


class Trial:
    """One mesh on one small disk."""

    def __init__(self, run: Run, stranger: Stranger) -> None:
        self.run, self.stranger = run, stranger
        self.back: list[float] = []
        self.unreadable = 0

    # --- the three ways ---

    def sudden(self) -> None:
        self.stranger.leaves(0)
        self._while_full(self.run.chance.uniform(3, 8))

    def slow(self) -> None:
        total = self.stranger.total
        between = (DERIVED.least(total) + RECEIVING.least(total)) // 2
        self.stranger.leaves(between)
        wait_for("aggregator and sink wait", lambda: self._waiting() == {"bars_1s", "parquet"})
        lines, bars = self._counted("archive", "lines"), self._counted("bars_1s", "events_in")
        self._while_full(2)
        self._expect(self._counted("archive", "lines") > lines, "nothing was archived while aggregator and sink waited")
        self._expect(self._counted("bars_1s", "events_in") == bars, "the aggregator did not wait")
        self.stranger.leaves(RECEIVING.least(total) // 2)
        wait_for("ingest pauses", lambda: self.run.mesh.rows()["binance"]["note"] == "disk full")
        wait_for("the reserve is let go", lambda: not (self.run.mesh.lake / "run" / "reserve").exists())
        self._while_full(2)

    def brief(self) -> None:
        for _ in range(self.run.chance.randint(2, 5)):
            self.stranger.leaves(0)
            time.sleep(self.run.chance.uniform(0.05, 0.5))
            self.stranger.leaves(None)
            time.sleep(self.run.chance.uniform(0.2, 1.0))
        self.stranger.leaves(0)
        self._while_full(1)

    # --- what is looked at ---

    def _waiting(self) -> set[str]:
        return {name for name, row in self.run.mesh.rows().items() if "waits" in row["note"]}

    def _counted(self, stage: str, what: str) -> int:
        return int(self.run.mesh.rows()[stage]["counters"].get(what, 0))

    def _expect(self, is_so: bool, says: str) -> None:
        if not is_so:
            self.run.faults.append(says)

    def _while_full(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.5)
            self.unreadable += unreadable(self.run.mesh.lake)

    def free_again(self) -> None:
        self.stranger.leaves(None)
        begun, moment = time.monotonic(), time.time_ns()
        with contextlib.suppress(TimeoutError):
            wait_for("all stages level", partial(self._all_past, moment), BACK_S + 25)
        self.back.append(time.monotonic() - begun)
        self._expect(self.back[-1] <= BACK_S, f"all stages level only after {self.back[-1]:.0f} s")

    def _all_past(self, moment: int) -> bool:
        behind = {"parquet": 4 * SECOND, "bars_1s": SECOND}  # bars close behind the events
        return all(
            row["state"] == "running"
            and not row["note"]
            and (row["last_event_ns"] or 0) >= moment - behind.get(name, 0)
            for name, row in self.run.mesh.rows().items()
        )


def unreadable(lake: Path) -> int:
    """Parquet files by a final name that cannot be read."""
    found = 0
    for path in (lake / "parquet").rglob("*.parquet"):
        try:
            pq.read_metadata(path)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowException):
            found += 1
    return found


def full_disk(options: argparse.Namespace) -> int:
    """A small disk that is filled suddenly, slowly or briefly, and freed, over and over."""
    with small_disk(options.megabytes) as disk:
        if disk is None:
            say("disk: skipped: a tmpfs can be mounted by root on Linux only")
            return 0
        stranger = Stranger(disk)
        try:
            with Run(options, lake=disk / "lake") as run:
                run.begin()
                return _play(Trial(run, stranger), options.times)
        finally:
            stranger.close()


def _play(trial: Trial, times: int) -> int:
    ways: list[Callable[[], None]] = [trial.slow, trial.sudden, trial.brief]
    for turn in range(times):
        time.sleep(trial.run.chance.uniform(2, 4))
        ways[turn % len(ways)]()
        trial.free_again()
        say(f"  {turn + 1} of {times}, {ways[turn % len(ways)].__name__}: all level after {trial.back[-1]:.1f} s")
    rows = trial.run.mesh.rows()
    trial.run.figures |= {
        "filled": times,
        "slowest_back_s": max(trial.back),
        "deaths": sum(row["restarts"] for row in rows.values()),
        "unreadable_while_full": trial.unreadable,
    }
    trial._expect(not trial.unreadable, f"{trial.unreadable} Parquet files could not be read while the disk was full")
    trial.run.settled()
    return report("disk", trial.run.verdict())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.disk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    forms = parser.add_mutually_exclusive_group()
    for form in FORMS:
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.add_argument("--seed", type=int, default=1, help="another seed, other moments (default: %(default)s)")
    for setting, value in FORMS["short"].items():
        parser.add_argument(f"--{setting}", type=type(value), help=f"short {value:g}, long {FORMS['long'][setting]:g}")
    options = parser.parse_args()
    for setting, value in FORMS[options.form or "short"].items():
        if getattr(options, setting) is None:
            setattr(options, setting, value)
    return full_disk(options)


if __name__ == "__main__":
    sys.exit(main())
