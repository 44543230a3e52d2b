"""What people read: tables, sizes, status, the forecast, the banner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shared.topology import Node, Pipeline
from supervision import facts, forecast, status
from supervision.commands import banner, parse
from supervision.table import columns, number, size, span


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    assert columns(("name", "count"), [("a", "1"), ("bcdef", "1,000")]) == "name   count\na          1\nbcdef  1,000"
    assert columns(("name",), []) == "name"


@pytest.mark.parametrize(
    ("count", "says"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (5e15, "5000.0 TB"), (None, "-")],
)
def test_sizes(count: float | None, says: str) -> None:
    assert size(count) == says


@pytest.mark.parametrize(
    ("seconds", "says"), [(0.9, "0s"), (61, "1m 01s"), (3600, "1h 00m"), (90061, "1d 01h"), (None, "-")]
)
def test_spans(seconds: float | None, says: str) -> None:
    assert span(seconds) == says


@pytest.mark.parametrize(("value", "says"), [(None, "-"), (0, "0"), (0.25, "0.2"), (12345.6, "12,346")])
def test_numbers(value: float | None, says: str) -> None:
    assert number(value) == says


def row(**changes: Any) -> dict[str, Any]:
    return {
        "stage": "archive",
        "state": "running",
        "pid": 7,
        "uptime_s": 65,
        "again_in_s": None,
        "restarts": 0,
        "alarm": False,
        "events_in_s": 1234.0,
        "events_out_s": None,
        "backlog": 0,
        "last_event_ns": time.time_ns() - 2 * 10**9,
        "memory_bytes": 50_000_000,
        "note": "",
        **changes,
    }


def said(*rows: dict[str, Any], **lake: Any) -> dict[str, Any]:
    held = {
        "lake": "/lake",
        "exists": True,
        "venues": {},
        "free_bytes": 10**11,
        "disk_bytes": 10**12,
        "free_days": None,
    }
    running = {"running": True, "stopping": False, "uptime_s": 5, "pid": 1, "config": "/p.yml", "batches": []}
    return {**running, "stages": list(rows), "lake": {**held, **lake}, "yesterday": "2025-10-19: 3 complete"}


def test_status_is_one_line_a_stage() -> None:
    lines = status.text(
        said(row(), row(stage="bars", state="backing_off", pid=None, again_in_s=3.2, alarm=True))
    ).splitlines()
    assert lines[2].startswith("stage ") and lines[2].endswith("backlog  last event   memory")
    assert lines[3].split()[:6] == ["archive", "running", "7", "1m", "05s", "0"]
    assert "backing off 3s !" in lines[4]
    assert lines[-2:] == ["disk   100.0 GB free of 1.0 TB", "proven 2025-10-19: 3 complete"]


def test_status_says_what_a_stage_waits_for() -> None:
    assert "archive: no network" in status.text(said(row(note="no network")))


def test_status_says_for_how_many_days_there_is_room() -> None:
    text = status.text(said(bytes_a_day=10**9, free_days=100.0, venues={"binance": 3}, first_day="a", last_day="b"))
    assert "100.0 GB free of 1.0 TB: 100 days at 1.0 GB a day" in text and "binance: 3 symbols, a to b" in text


def test_a_recording_s_last_event_is_a_date_and_a_venue_ahead_of_us_is_now() -> None:
    assert status.ago(1_723_161_600 * 10**9) == "2024-08-09 00:00:00"
    assert status.ago(time.time_ns() + 10**9) == "0.0s"
    assert status.ago(None) == "-"


def test_facts_of_a_lake_are_read_off_its_names(tmp_path: Path) -> None:
    (tmp_path / "lake.json").write_text(json.dumps({"schema": 1, "uuid": "u", "created": "c"}))
    for date, count in (("2025-10-19", 10), ("2025-10-20", 300), ("2025-10-21", 5)):
        folder = tmp_path / "raw" / "binance" / "SOLUSDT" / date
        folder.mkdir(parents=True)
        (folder / "part_13.jsonl.zst").write_bytes(b"x" * count)
    bars = tmp_path / "parquet" / "binance" / "SOLUSDT"
    bars.mkdir(parents=True)
    (bars / "2025-10-20.parquet").write_bytes(b"x" * 100)
    (tmp_path / "raw" / "stray.txt").touch()
    found = facts.facts(tmp_path)
    assert (found["first_day"], found["last_day"]) == ("2025-10-19", "2025-10-21")
    assert found["venues"] == {"binance": 1}
    assert found["bytes_a_day"] == 400, "the last whole day"
    assert found["free_days"] == round(found["free_bytes"] / 400, 1)


def test_before_there_is_a_whole_day_today_is_taken_for_one(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "binance" / "SOLUSDT" / "2025-10-21"
    folder.mkdir(parents=True)
    (folder / "part_1300.jsonl").write_bytes(b"x" * 100)
    os.utime(folder / "part_1300.jsonl", (1000, 1000))
    days = [("binance", "SOLUSDT", "2025-10-21")]
    assert facts.bytes_a_day(tmp_path, days, now=1000 + 3600) == 2400
    assert facts.bytes_a_day(tmp_path, days, now=1000 + 60) is None


def test_a_lake_that_is_not_there_has_facts_too(tmp_path: Path) -> None:
    found = facts.facts(tmp_path / "none")
    assert not found["exists"] and found["bytes_a_day"] is None and found["free_bytes"] > 0


def pipeline(symbols: int, **options: Any) -> Pipeline:
    nodes = [
        Node("binance", "sources", "ingest", (), {"symbols": [f"S{n}" for n in range(symbols)]}),
        Node("archive", "sinks", "archiver", ("binance",), options),
    ]
    return Pipeline("/p.yml", "/it's/lake", {node.name: node for node in nodes})


def test_the_forecast_grows_with_the_symbols() -> None:
    three, many = forecast.forecast(pipeline(3)), forecast.forecast(pipeline(300))
    assert many["files_a_day"] == 100 * three["files_a_day"]
    low, high = three["bytes_a_day"]
    assert 0 < low < high
    assert "for 3 symbols" in forecast.text(three)


def test_a_longer_rotation_makes_fewer_files() -> None:
    assert (
        forecast.forecast(pipeline(3, rotate_every_s=600))["files_open_hours"]
        < forecast.forecast(pipeline(3))["files_open_hours"]
    )


def test_the_banner_s_lines_can_be_pasted(tmp_path: Path) -> None:
    """In a lake whose path has a quote in it, with one file."""
    import polars as pl

    lake = tmp_path / "it's a lake"
    folder = lake / "parquet" / "binance" / "S" / "year=2025" / "month=10" / "day=20"
    folder.mkdir(parents=True)
    pl.DataFrame({"symbol": ["S"], "close": [1.5]}).write_parquet(folder / "hour_13.parquet")
    lines = banner(Pipeline("/p.yml", str(lake), pipeline(1).nodes)).splitlines()
    assert any(line.startswith("lake ") and str(lake) in line for line in lines)
    for tool, module in (("DuckDB", "import duckdb"), ("Polars", "import polars as pl")):
        line = next(line.removeprefix(tool).strip() for line in lines if line.startswith(tool))
        shown = line if tool == "DuckDB" else f"print({line})"
        done = subprocess.run(
            [sys.executable, "-c", f"{module}\n{shown}"], capture_output=True, text=True, timeout=50, check=False
        )
        assert "1.5" in done.stdout, done.stderr


def test_without_a_command_the_mesh_runs() -> None:
    assert parse([]).command == "run" and parse(["--config", "x.yml"]).config == "x.yml"


def test_a_config_may_stand_before_or_behind_the_command() -> None:
    assert parse(["--config", "x.yml", "status"]).config == "x.yml"
    assert parse(["status", "--config", "x.yml"]).config == "x.yml"
    assert parse(["status", "--json"]).json
