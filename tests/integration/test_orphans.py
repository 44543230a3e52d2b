"""Stages that a killed supervisor left behind: the next run waits for them, says so, and gets rid of who stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.paths import stage_lock
from supervision.orphans import LEAVING_ALLOWED, Orphans
from tests.integration.meshes import FakeMesh, alive, until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a stage under a supervisor, and does not leave."""
    script = "import time; print('up', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", script, "--stage", "middle", "--supervised"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline().strip() == b"up"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def note(lake: Path, stage: str, pid: object) -> None:
    path = lake / stage_lock(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name("lock.holder").write_text(json.dumps({"pid": pid, "what": f"stage {stage}"}))


def test_who_does_not_leave_is_killed_after_a_while_and_not_before(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    note(tmp_path, "middle", sleeper.pid)
    orphans = Orphans(tmp_path, ["feed", "middle"], 0)
    assert orphans
    orphans.turn(LEAVING_ALLOWED - 1)
    assert sleeper.poll() is None and orphans
    orphans.turn(2 * LEAVING_ALLOWED)
    assert sleeper.wait(10) != 0
    orphans.turn(3 * LEAVING_ALLOWED)
    assert not orphans


def test_an_old_note_that_names_somebody_else_by_now_harms_nobody(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    note(tmp_path, "feed", sleeper.pid)  # a stage, but another one
    note(tmp_path, "middle", os.getpid())
    note(tmp_path, "last", "x")
    assert not Orphans(tmp_path, ["feed", "middle", "last", "none"], 0)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP is POSIX's")
def test_a_stage_waits_for_the_orphan_at_its_lock_says_so_and_takes_over(tmp_path: Path) -> None:
    mesh = FakeMesh(tmp_path).running()
    try:
        orphan = mesh.pid("middle")
        os.kill(orphan, signal.SIGSTOP)
        mesh.signal(signal.SIGKILL)
        mesh.exit_code(5)
        mesh.start()
        says = f"held by stage middle, process {orphan}"
        until("it says what it waits for", lambda: says in mesh.rows()["middle"]["note"])
        row = until("the others run", lambda: (rows := mesh.rows())["last"]["state"] == "running" and rows["middle"])
        assert row["state"] == "starting" and len(mesh.lived("middle")) == 1
        assert f"middle of an earlier run is still here (process {orphan})" in mesh.console
        os.kill(orphan, signal.SIGCONT)
        until("the new one runs", lambda: mesh.anew("middle", orphan))
        assert not alive(orphan) and mesh.rows()["middle"]["restarts"] == 0
        until("its end is noticed", lambda: "middle of an earlier run has gone" in mesh.console)
    finally:
        mesh.close()
