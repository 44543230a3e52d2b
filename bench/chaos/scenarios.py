"""What is done to a mesh while it runs, one function each. All end alike: drained, then the ledger."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bench.chaos.ledger import Verdict, judge
from bench.chaos.mesh import ROOT, STAGES, Mesh, wait_for
from bench.chaos.network import WAYS, Proxy
from bench.chaos.witness import Witness
from shared.paths import SECOND

HEAL_S = 120.0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Run:
    """A mesh, its witness, and the end that all scenarios share."""

    def __init__(
        self,
        options: argparse.Namespace,
        lake: Path | None = None,
        emulator: tuple[str, ...] = (),
        live: bool = True,
    ) -> None:
        self._live = live
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

    def settled(self) -> None:
        """Every gap is closed: nothing has been missing for a while."""

        def is_quiet() -> bool:
            counters = self.mesh.rows()["binance"]["counters"]
            now = (counters.get("gaps", 0), counters.get("healed_ids", 0))
            was, self._was = getattr(self, "_was", None), now
            time.sleep(2.5)
            return was == now and self._level()

        wait_for("healing has ended", is_quiet, HEAL_S)

    def _level(self) -> bool:
        rows = self.mesh.rows()
        now = time.time_ns() if self._live else rows["binance"]["last_event_ns"] or 0
        back = 10 * SECOND * (1 if self._live else SPEED)
        return all((rows[name]["last_event_ns"] or 0) > now - back for name in ("archive", "bars_1s"))

    def verdict(self, may_be_unhealable: bool = False) -> Verdict:
        issued = self.mesh.ledger()
        code = self.mesh.stop()
        self.witness.stop()
        verdict = judge(self.mesh.lake, issued, self.witness, may_be_unhealable)
        verdict.figures = self.figures | verdict.figures
        verdict.faults = self.faults = self.faults + verdict.faults
        verdict.check(code == 0, f"the supervisor ended with {code}")
        return verdict


def report(name: str, verdict: Verdict) -> int:
    say(f"{name}: " + ", ".join(f"{key} {_text(value)}" for key, value in verdict.figures.items()))
    for fault in verdict.faults:
        say(f"  WRONG: {fault}")
    return 1 if verdict.faults else 0


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)


def spread(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    return (
        f"p50 {statistics.median(ordered):.2f} s, p99 {ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]:.2f} s"
    )


# --- kills ---


def kill(options: argparse.Namespace) -> int:
    """SIGKILL of any stage, two at once, all, or the supervisor, at random moments under load."""
    with Run(options) as run:
        run.begin()
        back: list[float] = []
        level: list[float] = []
        is_slow = False
        killed = dict.fromkeys((*STAGES, "supervisor"), 0)
        done = 0
        while done < options.kills:
            time.sleep(run.chance.uniform(0.1, options.every))
            # A stage that dies again and again is waited with, longer each time: a new supervisor knows of no deaths.
            names = ["supervisor"] if is_slow else _victims(run.chance)
            for name in names:
                killed[name] += 1
                done += 1
            times = _kill(run.mesh, names)
            back += times[0]
            level += times[1]
            is_slow = times[2] > 3
            if done % 20 < len(names):
                say(f"  {done} of {options.kills} kills")
        run.figures |= {"kills": done, **{f"killed_{name}": n for name, n in killed.items()}}
        run.figures |= {"back": spread(back), "level": spread(level)}  # without the supervisor's own wait
        run.settled()
        return report("kill", run.verdict())


def _victims(chance: random.Random) -> list[str]:
    dice = chance.random()
    if dice < 0.08:
        return ["supervisor"]
    if dice < 0.2:
        return chance.sample(STAGES, 2)
    if dice < 0.23:
        return [*STAGES]
    return [chance.choice(STAGES)]


def _kill(mesh: Mesh, names: list[str]) -> tuple[list[float], list[float], float]:
    """Kills, and waits until all is back. Seconds until each runs again and until it has passed that moment, both
    without the wait before a restart, which grows with the deaths; and the longest such wait.
    """
    if names == ["supervisor"]:
        assert mesh.supervisor is not None
        mesh.supervisor.kill()
        mesh.supervisor.wait(10)
        mesh.start()
        wait_for("a new supervisor", lambda: all(r["state"] == "running" for r in mesh.rows().values()))
        return [], [], 0.0
    before = {name: mesh.stage(name) for name in names}
    begun, moment = time.monotonic(), time.time_ns()
    for process in before.values():
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.kill()
    pids = {name: process.pid if process else 0 for name, process in before.items()}
    back: dict[str, float] = {}
    level: dict[str, float] = {}
    waits: dict[str, float] = {}
    moments = {
        name: moment - (3 * SECOND if name == "parquet" else 0) for name in names
    }  # bars close behind the events

    def is_over() -> bool:
        for name, row in mesh.rows().items():
            if name in pids and row["again_in_s"] is not None:
                waits[name] = max(waits.get(name, 0.0), row["again_in_s"])
            if name not in pids or row["pid"] in (None, pids[name]) or row["state"] != "running":
                continue
            back.setdefault(name, time.monotonic() - begun)
            if (row["last_event_ns"] or 0) >= moments[name]:
                level.setdefault(name, time.monotonic() - begun)
        return len(level) == len(names)

    wait_for(f"{', '.join(names)} back and level", is_over, 120)
    net = [[seconds - waits.get(name, 0.0) for name, seconds in times.items()] for times in (back, level)]
    return net[0], net[1], max(waits.values(), default=0.0)


# --- a consumer that stands still ---


def stall(options: argparse.Namespace) -> int:
    """SIGSTOP of each consumer in turn: ingest's memory stays, and what waits is caught up with."""
    with Run(options) as run:
        run.begin()
        time.sleep(5)
        for name in ("archive", "bars_1s", "parquet"):
            ingest, victim = run.mesh.stage("binance"), run.mesh.stage(name)
            assert ingest is not None and victim is not None
            before = ingest.memory_info().rss
            victim.suspend()
            time.sleep(options.seconds)
            grown = (ingest.memory_info().rss - before) / before * 100
            with contextlib.suppress(psutil.Error):  # the supervisor may have lost its patience: that is right, too
                victim.resume()
            begun, moment = time.monotonic(), time.time_ns() - 4 * SECOND
            wait_for(f"{name} level", partial(_is_past, run.mesh, name, moment), 60)
            run.figures |= {f"{name}_level_s": time.monotonic() - begun, f"{name}_ingest_grew_percent": grown}
            if grown > 10:
                run.faults.append(f"ingest grew by {grown:.0f} % while {name} stood still")
        run.settled()
        return report("stall", run.verdict())


# --- a full disk ---


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A tmpfs of that size, where we may mount one."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    is_there = (
        sys.platform == "linux"
        and hasattr(os, "geteuid")
        and os.geteuid() == 0
        and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )
    try:
        yield folder if is_there else None
    finally:
        if is_there:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            folder.rmdir()


def full(options: argparse.Namespace) -> int:
    """A small disk that a stranger fills to the last byte and frees again, over and over."""
    with small_disk(options.megabytes) as disk:
        if disk is None:
            say("full: skipped: a tmpfs can be mounted by root only (sudo python -m bench full-disk)")
            return 0
        with Run(options, lake=disk / "lake") as run:
            run.begin()
            back: list[float] = []
            for turn in range(options.times):
                time.sleep(run.chance.uniform(2, 5))
                _fill(disk / "stranger")
                time.sleep(run.chance.uniform(3, 8))
                (disk / "stranger").unlink()
                begun, moment = time.monotonic(), time.time_ns()
                wait_for("all stages back", partial(_all_past, run.mesh, moment), 90)
                back.append(time.monotonic() - begun)
                say(f"  filled and freed {turn + 1} of {options.times}: all level after {back[-1]:.1f} s")
            run.figures |= {"filled": options.times, "slowest_back_s": max(back)}
            run.settled()
            verdict = run.verdict()
            return report("full", verdict)


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(64))


def _is_past(mesh: Mesh, name: str, moment: int) -> bool:
    return (mesh.rows()[name]["last_event_ns"] or 0) >= moment


def _all_past(mesh: Mesh, moment: int) -> bool:
    rows = mesh.rows()
    late = {"parquet": 4 * SECOND, "bars_1s": 0}
    return all(
        row["state"] == "running" and (row["last_event_ns"] or 0) >= moment - late.get(name, 0)
        for name, row in rows.items()
    )


# --- the network ---


def network(options: argparse.Namespace) -> int:
    """Resets, half-open stalls, one-byte trickles, delays, flipped bytes and refusals between ingest and the venue."""
    with Run(options) as run:
        proxy = Proxy(run.mesh.where["ws_url"], options.seed)
        run.mesh.write_config(f"ws://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{proxy.port}", ", stale_after_s: 5")
        run.begin()
        struck = dict.fromkeys(WAYS, 0)
        for turn in range(options.times):
            way = run.chance.choice(WAYS)
            struck[way] += 1
            proxy.misbehave(way)
            time.sleep(run.chance.uniform(0.2, 3.0))
            proxy.misbehave("")
            time.sleep(run.chance.uniform(0.2, 2.0))
            if (turn + 1) % 20 == 0:
                say(f"  {turn + 1} of {options.times} faults")
        run.figures |= {f"struck_{way}": n for way, n in struck.items()}
        begun = time.monotonic()
        run.settled()
        run.figures["healed_after_s"] = time.monotonic() - begun
        if run.figures["healed_after_s"] > 60:
            run.faults.append("gaps were not closed within 60 s")
        verdict = run.verdict(may_be_unhealable=True)  # flipped bytes spoil answers, too: then they are listed
        proxy.close()
        return report("network", verdict)


# --- midnights ---


def midnight(options: argparse.Namespace) -> int:
    """Days that pass in a minute, each consumer killed again and again around every file that closes."""
    emulator = ("--start", "2025-10-20T12:00:00Z", "--speed", str(SPEED))
    with Run(options, emulator=emulator, live=False) as run:
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


SPEED = 1200

# --- two of a kind, and none ---


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


# --- a long time ---


def soak(options: argparse.Namespace) -> int:
    """Hours at a moderate rate with a kill a minute: memory and open files of each stage must not grow."""
    with Run(options) as run:
        run.begin()
        until = time.monotonic() + options.seconds
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in STAGES}
        next_kill = time.monotonic() + options.every
        kills = 0
        while time.monotonic() < until:
            time.sleep(2)
            for name in STAGES:
                process = run.mesh.stage(name)
                if process is not None:
                    with contextlib.suppress(psutil.Error):
                        seen[name].append((time.time() - process.create_time(), process.memory_info().rss / 2**20))
            if time.monotonic() >= next_kill:
                next_kill += options.every
                kills += 1
                _kill(run.mesh, [STAGES[kills % len(STAGES)]])
        for name, points in seen.items():
            run.figures[f"{name}_mb_an_hour"] = _slope([p for p in points if p[0] > 20]) * 3600
            run.figures[f"{name}_most_mb"] = max((mb for _, mb in points), default=0.0)
        run.figures["kills"] = kills
        run.settled()
        return report("soak", run.verdict())


def _slope(points: list[tuple[float, float]]) -> float:
    if len(points) < 3:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


SCENARIOS: dict[str, Callable[[argparse.Namespace], int]] = {
    "kill": kill,
    "stall": stall,
    "full-disk": full,
    "network": network,
    "midnight": midnight,
    "twice": twice,
    "soak": soak,
}
FORMS: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    # what is set: shortest (the gate's), short, long
    "kill": {"kills": (20, 100, 500), "rate": (5000.0, 20_000.0, 20_000.0), "every": (1.0, 1.0, 1.0)},
    "stall": {"seconds": (8.0, 20.0, 60.0), "rate": (5000.0, 20_000.0, 20_000.0)},
    "full-disk": {"times": (2, 10, 30), "rate": (2000.0, 5000.0, 5000.0), "megabytes": (256, 512, 512)},
    "network": {"times": (20, 200, 1000), "rate": (2000.0, 5000.0, 5000.0)},
    "midnight": {"midnights": (1, 4, 30), "rate": (2.0, 2.0, 2.0)},
    "twice": {"times": (2, 6, 20), "rate": (2000.0, 5000.0, 5000.0)},
    "soak": {"seconds": (60.0, 600.0, 3600.0), "rate": (2000.0, 2000.0, 2000.0), "every": (20.0, 60.0, 60.0)},
}
FORM = {"shortest": 0, "short": 1, "long": 2}
