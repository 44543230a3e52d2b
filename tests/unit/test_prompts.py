"""What has a batch run before its time, with the clocks in our hands and files written by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared import paths, staging
from shared.lifecycle import SECOND, Moment
from shared.locks import Lock
from shared.topology import Node
from supervision.prompts import COMPACTOR, LOOK_EVERY, VALIDATOR, Prompts
from supervision.timers import FIRST_RUN, Timers


def write(lake: Path, path: str, text: str = "{}") -> Path:
    file = lake / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


REQUEST = paths.request_file("binance", "SOLUSDT", "2025-10-20", 13)
STAGED = staging.folder("binance", "SOLUSDT", "2025-10-20")


def taken(it: Prompts, seconds: range) -> dict[int, set[str]]:
    """By second, where anything is wanted."""
    return {at: found for at in seconds if (found := it.take(at * SECOND))}


# --- late rows ---


def test_rows_too_late_for_their_hour_have_the_validator_look_once_they_have_stopped_coming(tmp_path: Path) -> None:
    it = Prompts(tmp_path)
    for at in (10, 11, 12):
        it.count("parquet", 7, {"late_sealed": at - 9}, at * SECOND)
    assert taken(it, range(13, 60)) == {17: {VALIDATOR}}


def test_rows_that_go_on_coming_late_do_not_keep_the_validator_waiting_for_ever(tmp_path: Path) -> None:
    it = Prompts(tmp_path)
    found = []
    for at in range(10, 60):
        it.count("bars_1s", 7, {"late_trades": at}, at * SECOND)
        found += [at] if it.take(at * SECOND) else []
    assert found == [40], "thirty seconds after the first; then as long again"


def test_a_count_that_stands_still_wants_nothing_and_a_new_process_counts_from_zero(tmp_path: Path) -> None:
    it = Prompts(tmp_path)
    it.count("parquet", 7, {"late_sealed": 3}, 0)
    it.take(5 * SECOND)
    it.count("parquet", 7, {"late_sealed": 3, "rows": 9}, 6 * SECOND)
    it.count("parquet", 8, {"late_sealed": 0}, 7 * SECOND)
    assert taken(it, range(8, 40)) == {}
    it.count("parquet", 8, {"late_sealed": 1}, 40 * SECOND)
    assert taken(it, range(40, 60)) == {45: {VALIDATOR}}


# --- waiting work ---


@pytest.mark.parametrize("path", [REQUEST, f"{STAGED}/backfill.json", f"{STAGED}/bars.json"])
def test_work_that_waits_has_the_compactor_run_once(tmp_path: Path, path: str) -> None:
    it = Prompts(tmp_path)
    it.take(0)
    write(tmp_path, path)
    assert taken(it, range(1, 60)) == {LOOK_EVERY // SECOND: {COMPACTOR}}, "what stays is left to its own time"


def test_work_that_is_written_again_is_new(tmp_path: Path) -> None:
    it = Prompts(tmp_path)
    file = write(tmp_path, REQUEST)
    assert it.take(0) == {COMPACTOR}
    now = file.stat().st_mtime_ns
    write(tmp_path, REQUEST, '{"differ": 2}')
    os.utime(file, ns=(now + SECOND, now + SECOND))
    assert it.take(LOOK_EVERY) == {COMPACTOR}


def test_what_is_half_staged_waits_for_nobody(tmp_path: Path) -> None:
    write(tmp_path, f"{STAGED}/part_13.jsonl.zst")
    write(tmp_path, f"{STAGED}/bars.parquet")
    assert taken(Prompts(tmp_path), range(10)) == {}


@pytest.mark.parametrize(("name", "lock"), [("backfill.json", staging.LOCK), ("bars.json", paths.REBUILD_LOCK)])
def test_a_maker_that_is_still_at_work_is_waited_for(tmp_path: Path, name: str, lock: str) -> None:
    it = Prompts(tmp_path)
    write(tmp_path, f"{STAGED}/{name}")
    with Lock(tmp_path / lock, "a test"):
        assert taken(it, range(20)) == {}
    assert taken(it, range(20, 60)) == {20: {COMPACTOR}}


# --- runs ---


class Made:
    """A process that ends when it is told."""

    pid = 7

    def __init__(self) -> None:
        self.code: int | None = None

    def exit_code(self) -> int | None:
        return self.code

    def drain(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout_s: float) -> None: ...

    def last_words(self) -> str:
        return ""


class Clocked:
    """A validator and a compactor whose own time is far away; each run takes `takes` seconds."""

    def __init__(self, lake: Path, takes: int = 1) -> None:
        self.mono, self.takes = 0, takes
        self.begun: list[tuple[int, str]] = []
        self.running: list[tuple[int, Made]] = []
        nodes = [Node(run, "batches", run, (), {"every": "6h"}) for run in (VALIDATOR, COMPACTOR)]
        self.timers = Timers(nodes, lambda node: [node.run], lake, self._spawn, self.now)

    def _spawn(self, command: Sequence[str], said: Path) -> Made:
        self.begun.append((self.mono // SECOND, command[0]))
        self.running.append((self.mono + self.takes * SECOND, Made()))
        return self.running[-1][1]

    @property
    def now(self) -> Moment:
        return Moment(self.mono, 20_000 * 86400 * SECOND + self.mono)

    def go(self, until: int) -> list[tuple[int, str]]:
        """What was begun meanwhile, and when; but for the compactor at its own times."""
        before = len(self.begun)
        while self.mono < until * SECOND:
            self.mono += SECOND
            for end, process in self.running:
                process.code = 0 if self.mono >= end else None
            self.timers.turn(self.now)
        return self.begun[before:]


def test_late_rows_come_to_a_certificate_within_a_minute(tmp_path: Path) -> None:
    # Given a mesh whose compactor has just run
    it = Clocked(tmp_path)
    it.go(30)
    # When rows come too late, the validator asks, and the compactor installs
    it.timers.count("parquet", 9, {"late_sealed": 1}, it.now)
    assert it.go(36) == [(35, VALIDATOR)]
    request = write(tmp_path, REQUEST)
    found = it.go(45)
    assert [run for _, run in found] == [COMPACTOR]
    request.unlink()
    # Then the validator says what became of it, and that is all
    found += it.go(60)
    assert [run for _, run in found] == [COMPACTOR, VALIDATOR]
    assert it.go(170) == []


def test_nothing_is_prompted_while_the_mesh_starts(tmp_path: Path) -> None:
    write(tmp_path, REQUEST)
    it = Clocked(tmp_path)
    it.timers.count("parquet", 9, {"late_sealed": 1}, it.now)
    assert min(at for at, _ in it.go(40)) >= FIRST_RUN // SECOND


def test_runs_before_their_time_take_at_most_half_of_it(tmp_path: Path) -> None:
    it = Clocked(tmp_path, takes=40)
    for late, at in enumerate(range(30, 630, 10), 1):
        it.timers.count("parquet", 9, {"late_sealed": late}, it.now)
        it.go(at)
    runs = [at for at, run in it.begun if run == VALIDATOR]
    assert 4 <= len(runs) <= 8, runs
