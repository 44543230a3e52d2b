"""What the checkpoints say is sealed."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from bench.simulation.disk import Medium, SimDisk
from shared.checkpoint import Checkpoint
from shared.events import Bar
from shared.files import Disk, Files
from shared.paths import HOUR, MINUTE, SEAL_AFTER
from shared.sealing import ENDED, Reached, reached
from shared.topology import Node, Pipeline

ARCHIVER = {"position": 50, "ts": 7 * HOUR, "ended": False, "open": [], "closing": [], "ids": {}}
AGGREGATOR = {"position": 50, "ts": 7 * HOUR, "ended": False, "out_seq": 9, "state": b""}
SINK = {"position": 9, "ts": 6 * HOUR, "ended": False, "waiting": []}


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    return Files(tmp_path)


def store(disk: Disk, base: str, saved: dict[str, Any]) -> None:
    checkpoint = Checkpoint(disk, f"journal/{base}")
    checkpoint.load()
    checkpoint.store(msgspec.msgpack.encode(saved))


def a_mesh(disk: Disk, **changes: dict[str, Any]) -> None:
    store(disk, "archive/ckpt-binance", {**ARCHIVER, **changes.get("archiver", {})})
    store(disk, "bars_1s/ckpt-binance", {**AGGREGATOR, **changes.get("aggregator", {})})
    store(disk, "parquet/ckpt-bars_1s.binance", {**SINK, **changes.get("sink", {})})


def test_archive_and_bars_are_as_far_as_their_own_sinks(disk: Files) -> None:
    a_mesh(disk)
    assert reached(disk) == {"binance": Reached(7 * HOUR, 6 * HOUR, True)}


def test_an_hour_is_sealed_two_minutes_after_its_end() -> None:
    at = Reached(7 * HOUR + SEAL_AFTER, 7 * HOUR + SEAL_AFTER - 1)
    assert at.archive_sealed(7 * HOUR) and not at.bars_sealed(7 * HOUR)


def test_the_end_of_a_recording_seals_everything(disk: Files) -> None:
    a_mesh(disk, archiver={"ended": True}, sink={"ended": True})
    assert reached(disk)["binance"] == Reached(ENDED, ENDED, True)


@pytest.mark.parametrize(
    "behind", [{"aggregator": {"position": 49}}, {"sink": {"position": 8}}, {"aggregator": {"out_seq": 10}}], ids=str
)
def test_what_is_not_through_is_not_settled(disk: Files, behind: dict[str, dict[str, Any]]) -> None:
    a_mesh(disk, **behind)
    assert not reached(disk)["binance"].is_settled


def test_a_row_that_waits_for_its_file_keeps_its_hour_open(disk: Files) -> None:
    a_mesh(disk, sink={"waiting": [Bar("X", 4 * HOUR + MINUTE)]})
    at = reached(disk)["binance"]
    assert (at.bars, at.is_settled) == (4 * HOUR + MINUTE, False)


def test_with_a_pipeline_the_names_are_its_own(disk: Files) -> None:
    store(disk, "keep/ckpt-spot", ARCHIVER)
    store(disk, "pq/ckpt-b.spot", SINK)
    store(disk, "old/ckpt-spot", {**ARCHIVER, "ts": 99 * HOUR})
    nodes = {
        "spot": Node("spot", "sources", "ingest", (), {"venue": "binance"}),
        "b": Node("b", "transforms", "aggregator", ("spot",)),
        "keep": Node("keep", "sinks", "archiver", ("spot",)),
        "pq": Node("pq", "sinks", "parquet_sink", ("b",)),
    }
    assert reached(disk, Pipeline("p.yml", "lake", nodes)) == {"binance": Reached(7 * HOUR, 6 * HOUR)}


def test_without_one_a_lake_of_one_venue_leaves_no_doubt(disk: Files) -> None:
    store(disk, "keep/ckpt-spot", ARCHIVER)
    disk.mkdir("raw/binance")
    assert reached(disk)["binance"].archive == 7 * HOUR


def test_a_new_lake_has_reached_nothing(disk: Files) -> None:
    assert reached(disk) == {}


def test_what_files_are_changed_for_is_not_taken_back_by_a_power_cut() -> None:
    stored = SimDisk(Medium(Random(0)))
    a_mesh(stored)
    for seed in range(20):
        disk = SimDisk(Medium(Random(seed)))
        for path, node in stored.medium.names.items():  # written, and its writer died before it was durable
            disk.appender(path).write(bytes(node.data))
        found = reached(disk, durably=True)
        disk.medium.lose_power()
        assert reached(disk) == found, seed
