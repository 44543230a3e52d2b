"""The other end of the control edge: what another terminal asks of a mesh that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.lifecycle import State
from shared.locks import holder
from shared.wire import Bus, Unreachable, find_mesh

ANSWER_MS = 3000
PATIENCE_S = 60.0
"""For a stage to drain, start and recover."""


class NotRunning(Exception):
    """Nobody answers for this lake."""


def ask(lake: Path, request: dict[str, Any]) -> dict[str, Any]:
    """One request to the supervisor of a lake. Raises NotRunning."""
    mesh = find_mesh(lake)
    if mesh is None:
        raise NotRunning("no mesh runs on this lake")
    bus = Bus(lake, mesh)
    try:
        return bus.request("control", request, ANSWER_MS)
    except Unreachable:
        pid = holder(lake / "run" / "lock").get("pid")
        trace = f" (process {pid} was its supervisor)" if pid else ""
        raise NotRunning(f"no mesh answers on this lake{trace}") from None
    finally:
        bus.close()


def rows(lake: Path) -> dict[str, dict[str, Any]]:
    return {row["stage"]: row for row in ask(lake, {"do": "status"})["stages"]}


def obeyed(lake: Path, do: str, stage: str, say: Callable[[str], None]) -> bool:
    """Asks for ``start``, ``stop`` or ``restart`` of a stage and waits until it is so."""
    before = rows(lake)
    answer = ask(lake, {"do": do, "stage": stage})
    if "error" in answer:
        say(answer["error"])
        return False
    say(answer["says"])
    until = time.monotonic() + PATIENCE_S
    waiting = set(answer["stages"])
    while waiting and time.monotonic() < until:
        now = rows(lake)
        for name in sorted(waiting):
            row = now[name]
            if row["state"] == State.FAILED or _is_done(do, before[name], row):
                say(f"{name}: {row['state']}" + (f", process {row['pid']}" if row["pid"] else ""))
                waiting.discard(name)
                if row["state"] == State.FAILED:
                    return False
        time.sleep(0.1)
    if waiting:
        now = rows(lake)
        states = [f"{name} is {now[name]['state']}" for name in sorted(waiting)]
        say(f"not yet: {', '.join(states)}")
    return not waiting


def _is_done(do: str, before: dict[str, Any], row: dict[str, Any]) -> bool:
    if do == "stop":
        return bool(row["state"] in (State.STOPPED, State.ENDED))
    return bool(row["state"] == State.RUNNING and (do == "start" or row["pid"] != before["pid"]))


def stopped(lake: Path, say: Callable[[str], None]) -> bool:
    """Asks the whole mesh to stop and waits until its supervisor has gone."""
    mesh = find_mesh(lake)
    say(ask(lake, {"do": "stop"})["says"])
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        now = find_mesh(lake)
        if now is None or (mesh is not None and now.token != mesh.token):
            say("stopped")
            return True
        time.sleep(0.1)
    say("it still drains")
    return False
