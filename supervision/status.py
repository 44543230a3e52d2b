"""``status``: one table of the mesh, or of the lake where none runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.lifecycle import State
from supervision.asking import NotRunning, ask
from supervision.facts import facts
from supervision.reporting import one_line
from supervision.table import columns, number, size, span

_HEADER = ("stage", "state", "pid", "uptime", "restarts", "in/s", "out/s", "backlog", "last event", "memory")


def status(lake: Path) -> dict[str, Any]:
    """The mesh as its supervisor sees it, and the lake."""
    said: dict[str, Any]
    try:
        said = ask(lake, {"do": "status"})
    except NotRunning as why:
        said = {"running": False, "why": str(why), "stages": [], "batches": []}
    return {**said, "lake": facts(lake), "yesterday": one_line(lake)}


def text(said: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    if said["running"]:
        stopping = ", stopping" if said["stopping"] else ""
        lines += [f"runs for {span(said['uptime_s'])}{stopping} (process {said['pid']}, {said['config']})", ""]
        rows = [_stage(row) for row in said["stages"]] + [_batch(row) for row in said["batches"]]
        lines += [columns(_HEADER, rows), ""]
        lines += [f"{row['stage']}: {row['note']}" for row in said["stages"] if row["note"]]
    else:
        lines += [said["why"], ""]
    return "\n".join([*lines, *_lake(said["lake"]), f"proven {said['yesterday']}"])


def _stage(row: dict[str, Any]) -> tuple[str, ...]:
    state = row["state"].replace("_", " ")
    if row["state"] == State.BACKING_OFF and row["again_in_s"] is not None:
        state += f" {row['again_in_s']:.0f}s"
    if row["alarm"]:
        state += " !"
    return (
        row["stage"],
        state,
        str(row["pid"] or "-"),
        span(row["uptime_s"]),
        str(row["restarts"]),
        number(row["events_in_s"]),
        number(row["events_out_s"]),
        number(row["backlog"]),
        ago(row["last_event_ns"]),
        size(row["memory_bytes"]),
    )


def _batch(row: dict[str, Any]) -> tuple[str, ...]:
    running = row["uptime_s"] is not None
    return (
        row["stage"],
        row["state"],
        str(row["pid"] or "-"),
        span(row["uptime_s"]),
        "-",
        "-",
        "-",
        "-",
        "-" if running else f"ran {ago(row['last_run_ns'])} ago" if row["last_run_ns"] else "-",
        size(row["memory_bytes"]),
    )


def ago(ns: int | None) -> str:
    """How long ago, or the date where that is long (a recording)."""
    if ns is None:
        return "-"
    seconds = (time.time_ns() - ns) / 1e9
    if -60 < seconds < 0:
        return "0.0s"  # the venue's clock is ahead of ours
    if 0 <= seconds < 10:
        return f"{seconds:.1f}s"
    if 0 <= seconds < 86400:
        return span(seconds)
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"


def _lake(found: dict[str, Any]) -> list[str]:
    lines = [f"lake   {found['lake']}" + ("" if found["exists"] else " (not there yet)")]
    if found["venues"]:
        held = ", ".join(f"{venue}: {count} symbols" for venue, count in found["venues"].items())
        lines.append(f"holds  {held}, {found['first_day']} to {found['last_day']}")
    room = f"disk   {size(found['free_bytes'])} free of {size(found['disk_bytes'])}"
    if found["free_days"] is not None:
        room += f": {found['free_days']:,.0f} days at {size(found['bytes_a_day'])} a day"
    return [*lines, room]
