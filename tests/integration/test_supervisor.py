"""A supervisor keeps its stages running, lets each go alone, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.wire import Bus, Mesh, Unreachable, find_mesh
from supervision import asking
from tests.integration.meshes import FakeMesh, alive, answer, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

Make = Callable[..., FakeMesh]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Make]:
    made: list[FakeMesh] = []

    def make(**settings: str) -> FakeMesh:
        made.append(FakeMesh(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_killed_stage_is_back_within_seconds_and_alone(mesh: Make) -> None:
    it = mesh().running()
    before = {name: row["pid"] for name, row in it.rows().items()}
    os.kill(before["middle"], signal.SIGKILL)
    until("middle runs again", lambda: it.anew("middle", before["middle"]), 5)
    after = it.rows()
    assert (after["feed"]["pid"], after["last"]["pid"]) == (before["feed"], before["last"])
    assert after["middle"]["restarts"] == 1


@pytest.mark.slow
def test_a_hung_stage_is_killed_and_restarted(mesh: Make) -> None:
    it = mesh().running()
    hung = it.pid("last")
    os.kill(hung, signal.SIGSTOP)
    until("last runs again", lambda: it.anew("last", hung), 20)
    assert not alive(hung)
    assert "hangs" in it.console


def test_a_crash_says_its_reason_and_backs_off(mesh: Make) -> None:
    it = mesh(middle="fails: crash").start()
    row = until("three deaths", lambda: (row := it.rows()["middle"])["restarts"] >= 3 and row)
    assert row["state"] in ("backing_off", "starting", "running")
    assert "middle died (exit 1): the fake reason, again in" in it.console


def test_bad_settings_of_one_stage_are_not_tried_again_and_the_rest_goes_on(mesh: Make) -> None:
    it = mesh(last="fails: config").start()
    until("last has failed", lambda: it.rows()["last"]["state"] == "failed")
    until("feed runs", lambda: it.rows()["feed"]["state"] == "running")
    time_to_restart = time.monotonic() + 1
    while time.monotonic() < time_to_restart:
        assert it.rows()["last"]["state"] == "failed"
        time.sleep(0.1)
    assert len(it.lived("last")) == 1
    assert "the fake setting is wrong" in it.console


def test_a_mesh_whose_only_source_cannot_run_ends_with_exit_2(mesh: Make) -> None:
    it = mesh(feed="fails: config").start()
    assert it.exit_code(20) == 2
    assert "feed cannot run with these settings: the fake setting is wrong" in it.console


def test_orphans_leave_when_the_supervisor_is_killed_and_the_next_one_starts(mesh: Make) -> None:
    it = mesh().running()
    pids = [it.pid(name) for name in ("feed", "middle", "last")]
    it.signal(signal.SIGKILL)
    it.exit_code(5)
    until("all orphans left", lambda: not any(map(alive, pids)), 5)
    assert all(lives[-1][0] == "drained" for lives in map(it.lived, ("feed", "middle", "last")))
    left = find_mesh(it.lake)
    assert left is not None and Path(left.folder).exists()
    it.running()
    assert not Path(left.folder).exists(), "the next run sweeps what a killed one left"


def test_a_second_supervisor_is_refused_within_a_second(mesh: Make) -> None:
    it = mesh().running()
    took = []
    for _ in range(3):  # the best of three: other tests may use this machine too
        begun = time.monotonic()
        second = it.cli("run")
        took.append(time.monotonic() - begun)
        assert second.returncode == 1
        assert second.stderr.startswith("another supervisor runs this lake")
        assert it.process is not None and f"process {it.process.pid}" in second.stderr
        assert len(second.stderr.splitlines()) == 1
    assert min(took) < 1
    assert all(row["state"] == "running" and row["restarts"] == 0 for row in it.rows().values())


def test_a_stage_is_restarted_stopped_and_started_from_another_terminal(mesh: Make) -> None:
    it = mesh().running()
    before = it.pid("middle")
    assert it.cli("restart", "middle").returncode == 0
    assert it.pid("middle") != before and it.lived("middle")[1][0] == "drained"
    assert it.cli("stop", "middle").returncode == 0
    assert it.rows()["middle"]["state"] == "stopped" and it.rows()["feed"]["state"] == "running"
    assert it.cli("start", "middle").returncode == 0
    assert it.rows()["middle"]["state"] == "running"


def test_a_stage_that_is_none_is_answered_with_the_nearest(mesh: Make) -> None:
    it = mesh().running()
    done = it.cli("restart", "midle")
    assert done.returncode == 1 and "did you mean middle?" in done.stdout


def test_a_process_name_means_all_its_stages(mesh: Make) -> None:
    it = mesh().running()
    before = {name: row["pid"] for name, row in it.rows().items()}
    assert it.cli("restart", "tests.integration.fake_stage").returncode == 0
    after = {name: row["pid"] for name, row in it.rows().items()}
    assert not set(before.values()) & set(after.values())


def test_a_stop_drains_in_the_order_of_the_data(mesh: Make) -> None:
    it = mesh().running()
    done = it.cli("stop")
    assert done.returncode == 0 and "stopped" in done.stdout
    assert it.exit_code(5) == 0
    drained = [int(it.lived(name)[-1][2]) for name in ("feed", "middle", "last")]
    assert drained == sorted(drained)
    assert not (it.lake / "run" / "mesh.json").exists()


def test_ctrl_c_drains_and_leaves_with_0(mesh: Make) -> None:
    it = mesh().running()
    it.signal(signal.SIGINT)
    assert it.exit_code(10) == 0
    assert it.lived("last")[-1][0] == "drained"


def test_a_second_ctrl_c_kills_at_once(mesh: Make) -> None:
    it = mesh(feed="fails: deaf").running()
    pids = [it.pid(name) for name in ("feed", "middle", "last")]
    it.signal(signal.SIGINT)
    until("it says so", lambda: "stopping" in it.console)
    begun = time.monotonic()
    it.signal(signal.SIGINT)
    it.exit_code(5)
    assert time.monotonic() - begun < 2
    assert not any(map(alive, pids))


def test_when_every_source_has_ended_the_mesh_drains_and_leaves_with_0(mesh: Make) -> None:
    it = mesh(feed="replay: true, fails: end, after_s: 1.5").start()
    assert it.exit_code(20) == 0
    assert it.lived("last")[-1][0] == "drained"
    assert len(it.lived("feed")) == 2


@pytest.mark.parametrize("stage", ["last", "feed"])
def test_a_stage_that_somebody_else_told_to_leave_is_wanted_back(mesh: Make, stage: str) -> None:
    it = mesh().running()
    before = it.pid(stage)
    os.kill(before, signal.SIGTERM)
    until("it runs again", lambda: it.anew(stage, before))


def test_status_says_what_runs_and_what_the_lake_holds(mesh: Make) -> None:
    it = mesh().running()
    until("rates are known", lambda: it.rows()["feed"]["events_in_s"])
    said = answer(it.cli("status", "--json"))
    assert said["running"] and said["lake"]["schema"] == 1 and said["lake"]["free_bytes"] > 0
    feed = next(row for row in said["stages"] if row["stage"] == "feed")
    assert feed["memory_bytes"] > 1_000_000 and feed["uptime_s"] > 0
    table = it.cli("status").stdout
    assert "feed" in table and "running" in table and "free of" in table


def test_strangers_cannot_beat_ask_or_read_the_token(mesh: Make) -> None:
    it = mesh().running()
    found = find_mesh(it.lake)
    assert found is not None
    assert stat.S_IMODE((it.lake / "run" / "mesh.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(found.folder).stat().st_mode) == 0o700
    stranger = Mesh(token="x", pid=0, folder=found.folder, transport="ipc", config="", started_ns=0)
    bus = Bus(it.lake, stranger)
    try:
        with pytest.raises(Unreachable):
            bus.request("control", {"do": "stop"}, 500)
        lane = bus.push("health")
        for junk in (b"", b"\xff" * 40, b"\x81\xa5stage\x01", json.dumps({"stage": "feed"}).encode()):
            lane.send(junk)
    finally:
        bus.close()
    assert all(row["state"] == "running" for row in it.rows().values())


def test_batches_run_on_their_timers_and_one_that_was_killed_runs_again_at_once(mesh: Make) -> None:
    it = mesh(more="batches:\n  often: {run: tests.integration.fake_batch, every: 1s}").running()
    ran = it.lake / "ran.txt"
    until("three runs", lambda: len(ran.read_text().splitlines()) >= 3)
    (it.lake / "linger").touch()
    until("it lingers", lambda: ran.read_text().endswith("lingers\n"))
    last = ran.read_text().splitlines()[-1]
    os.kill(int(last.split()[0]), signal.SIGKILL)
    (it.lake / "linger").unlink()
    until("it runs again", lambda: not ran.read_text().splitlines()[-1].endswith("lingers"), 5)
    assert "often died (exit -9), again in 0.2 s" in it.console


def test_nobody_answers_for_a_lake_without_a_mesh(mesh: Make) -> None:
    it = mesh()
    with pytest.raises(asking.NotRunning):
        it.rows()
    for words in (("restart", "feed"), ("stop",), ("tap",)):
        done = it.cli(*words)
        assert done.returncode == 1 and done.stdout == "no mesh runs on this lake\n", done
    done = it.cli("status")
    assert done.returncode == 0 and "no mesh runs" in done.stdout and "not there yet" in done.stdout
