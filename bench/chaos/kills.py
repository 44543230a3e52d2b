"""Kills under load: how many at random, and one a minute for a long time."""

from __future__ import annotations

import argparse
import contextlib
import random
import time

import msgspec
import psutil

from bench.chaos.memory import Seen, growth
from bench.chaos.mesh import STAGES, Mesh, wait_for
from bench.chaos.run import Run, report, say, spread
from shared.paths import SECOND


class Killed(msgspec.Struct):
    """One stage's death: seconds until it ran again and until it had passed the moment of its death, both without the
    wait before its restart, which grows with the deaths.
    """

    stage: str
    back: float
    level: float
    waited: float


def kill(options: argparse.Namespace) -> int:
    """SIGKILL of any stage, two at once, all, or the supervisor, at random moments under load."""
    with Run(options) as run:
        run.begin()
        deaths: list[Killed] = []
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
            found = _kill(run.mesh, names)
            deaths += found
            is_slow = any(death.waited > 3 for death in found)
            if done % 20 < len(names):
                say(f"  {done} of {options.kills} kills")
        run.figures |= {"kills": done, **{f"killed_{name}": n for name, n in killed.items()}}
        for name in STAGES:
            level = [death.level for death in deaths if death.stage == name]
            run.figures[f"{name}_level"] = spread(level)
        run.figures["back"] = spread([death.back for death in deaths])
        run.figures["level"] = spread([death.level for death in deaths])
        run.figures["waited"] = spread([death.waited for death in deaths])
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


def _kill(mesh: Mesh, names: list[str]) -> list[Killed]:
    """Kills, and waits until all is back and level."""
    if names == ["supervisor"]:
        assert mesh.supervisor is not None
        mesh.supervisor.kill()
        mesh.supervisor.wait(10)
        mesh.start()
        wait_for("a new supervisor", lambda: all(r["state"] == "running" for r in mesh.rows().values()))
        return []
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
    # Bars close behind the events.
    moments = {name: moment - (3 * SECOND if name == "parquet" else 0) for name in names}

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
    waited = {name: waits.get(name, 0.0) for name in names}
    return [Killed(name, back[name] - waited[name], level[name] - waited[name], waited[name]) for name in names]


# --- a long time ---


def soak(options: argparse.Namespace) -> int:
    """Hours at a moderate rate with a kill a minute: the memory of each stage must not grow, neither while it lives
    nor from life to life.
    """
    with Run(options) as run:
        run.begin()
        until = time.monotonic() + options.seconds
        seen: dict[str, list[Seen]] = {name: [] for name in STAGES}
        next_kill = time.monotonic() + options.every
        kills = 0
        while time.monotonic() < until:
            time.sleep(2)
            for name in STAGES:
                process = run.mesh.stage(name)
                if process is not None:
                    with contextlib.suppress(psutil.Error):
                        born = process.create_time()
                        seen[name].append(Seen(born, time.time() - born, process.memory_info().rss / 2**20))
            if time.monotonic() >= next_kill:
                next_kill += options.every
                kills += 1
                _kill(run.mesh, [STAGES[kills % len(STAGES)]])
        for name, looks in seen.items():
            found = growth(looks)
            run.figures[f"{name}_mb_an_hour"] = found.mb_an_hour
            run.figures[f"{name}_mb_from_life_to_life"] = found.over_lives_mb
            run.figures[f"{name}_most_mb"] = max((one.mb for one in looks), default=0.0)
            for fault in found.faults(name):
                run.expect(False, fault)
        run.figures["kills"] = kills
        run.settled()
        return report("soak", run.verdict())
