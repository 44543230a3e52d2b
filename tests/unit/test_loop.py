"""The supervisor's loop as a history: clocks, processes and heartbeats in our hands, the bus a real one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.events import Beat
from shared.lifecycle import SECOND
from shared.topology import Node, Pipeline
from shared.wire import Bus
from supervision import machine
from supervision.bell import TELLS_OF_CHILDREN, Bell
from supervision.ground import Ground
from supervision.loop import Supervisor, named
from tests.unit.test_bell import has_rung

NODES = (
    Node("feed", "sources", "ingest", (), {"replay": True}),
    Node("bars", "transforms", "aggregator", ("feed",)),
    Node("archive", "sinks", "archiver", ("feed",)),
    Node("parquet", "sinks", "parquet_sink", ("bars",)),
)


class Process:
    """Does as it is told, when it is told to go on."""

    number = 100

    def __init__(self, command: Sequence[str]) -> None:
        Process.number += 1
        self.pid = Process.number
        self.stage = command[command.index("--stage") + 1]
        self.code: int | None = None
        self.asked = False

    def exit_code(self) -> int | None:
        return self.code

    def drain(self) -> None:
        self.asked = True

    def kill(self) -> None:
        self.code = self.code if self.code is not None else -9

    def wait(self, timeout_s: float) -> None:
        pass

    def last_words(self) -> str:
        return ""


class History:
    """A mesh whose every second is played."""

    def __init__(self, lake: Path, nodes: Sequence[Node] = NODES) -> None:
        self.time = 10**18
        self.offset = 0
        self.made: list[Process] = []
        pipeline = Pipeline(str(lake / "p.yml"), str(lake), {node.name: node for node in nodes})
        self.ground = Ground(lake, pipeline.path)
        self.it = Supervisor(pipeline, self.ground, self._spawn, self, lambda: 0.5)
        self.bus = Bus(lake, self.ground.mesh)
        self.lane = self.bus.push("health")
        self.it.start()

    def mono(self) -> int:
        return self.time

    def wall(self) -> int:
        return self.time + self.offset

    def _spawn(self, command: Sequence[str], said: Path) -> Process:
        self.made.append(Process(command))
        return self.made[-1]

    def process(self, stage: str) -> Process:
        return [process for process in self.made if process.stage == stage][-1]

    def alive(self) -> list[str]:
        return sorted(process.stage for process in self.made if process.code is None)

    def second(self, silent: Sequence[str] = (), turns: int = 3) -> None:
        """Everybody alive beats, but for the silent."""
        self.time += SECOND
        for process in self.made:
            if process.code is None and process.stage not in silent:
                beat = Beat(process.stage, process.pid, self.ground.mesh.token, phase="running")
                assert self.lane.send(msgspec.msgpack.encode(beat))
        for _ in range(turns):
            self.it.turn(20)

    def says(self, stage: str, **what: Any) -> None:
        """One beat of one stage."""
        beat = Beat(stage, self.process(stage).pid, self.ground.mesh.token, phase="running", **what)
        assert self.lane.send(msgspec.msgpack.encode(beat))
        for _ in range(3):
            self.it.turn(20)

    def close(self) -> None:
        self.bus.close()
        self.it.close()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    it = History(tmp_path)
    yield it
    it.close()


def states(history: History) -> dict[str, str]:
    return {row["stage"]: row["state"] for row in history.it.snapshot()["stages"]}


def test_consumers_are_started_before_what_they_read(history: History) -> None:
    order = [process.stage for process in history.made]
    assert order == ["parquet", "archive", "bars", "feed"]


def test_a_hang_ends_one_stage_and_no_other(history: History) -> None:
    history.second()
    for _ in range(12):
        history.second(silent=["bars"])
    assert next(process.code for process in history.made if process.stage == "bars") == -9
    assert len([process for process in history.made if process.stage == "bars"]) == 2
    assert len(history.made) == 5


def test_a_night_s_sleep_is_no_hang_whichever_clock_saw_it(history: History) -> None:
    history.second()
    history.time += 8 * 3600 * SECOND
    history.it.turn(0)
    history.offset += 8 * 3600 * SECOND
    history.it.turn(0)
    assert len(history.made) == 4 and all(process.code is None for process in history.made)
    history.second()
    assert set(states(history).values()) == {"running"}


def test_the_loop_sleeps_long_only_where_nothing_is_under_way(history: History) -> None:
    def is_calm() -> bool:
        return history.it._is_calm

    assert not is_calm(), "everybody starts"
    history.second()
    assert is_calm()
    history.process("bars").code = 1
    history.it.turn(0)
    assert not is_calm(), "one waits to be started again"
    for _ in range(3):
        history.second()
    assert is_calm()
    history.it.stages["archive"].stop(history.time)
    assert not is_calm(), "one drains"
    history.process("archive").code = 0
    history.second()
    assert is_calm(), "one that was stopped wants nothing"
    history.it.stop()
    assert not is_calm()


@pytest.mark.skipif(not TELLS_OF_CHILDREN, reason="no signal tells of a child's end here: the loop looks")
def test_what_rings_while_the_loop_looks_around_is_heard_by_its_next_turn(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = Bell()
    history.it._bell = bell
    history.it._bus.watch(bell.fd)
    try:
        process = history.process("bars")
        monkeypatch.setattr(process, "exit_code", lambda: os.kill(os.getpid(), signal.SIGCHLD))
        history.it.turn(0)
        assert has_rung(bell), "who has gone since this look was not seen by it"
        monkeypatch.undo()
        history.it.turn(60_000)  # ends at once, or the test runs out of time
        assert not has_rung(bell)
    finally:
        bell.close()


def test_a_stop_asks_each_stage_when_nobody_can_give_it_more(history: History) -> None:
    history.second()
    history.it.stop()
    history.it.turn(0)
    assert [process.stage for process in history.made if process.asked] == ["feed"]
    history.process("feed").code = 0
    history.it.turn(0)
    history.it.turn(0)
    assert sorted(process.stage for process in history.made if process.asked) == ["archive", "bars", "feed"]
    history.process("bars").code = 0
    history.it.turn(0)
    history.it.turn(0)
    assert history.process("parquet").asked
    for process in history.made:
        process.code = 0
    history.it.turn(0)
    assert history.it.over and history.it.exit_code == 0


def test_what_does_not_drain_is_killed_after_twenty_seconds_and_not_started_again(history: History) -> None:
    history.second()
    history.it.stop()
    for _ in range(21):
        history.second()
    assert history.alive() == [] and len(history.made) == 4
    assert history.it.over


def test_the_end_of_a_recording_drains_the_rest(history: History) -> None:
    history.second()
    history.process("feed").code = 0
    for _ in range(3):
        history.second()
        for process in history.made:
            process.code = 0 if process.asked else process.code
    history.second()
    assert history.it.over and history.it.exit_code == 0


def test_a_source_that_was_stopped_by_hand_does_not_end_the_mesh(history: History) -> None:
    history.second()
    history.it.stages["feed"].stop(history.time)
    history.process("feed").code = 0
    history.second()
    assert states(history)["feed"] == "stopped" and not history.it.stopping


def test_heartbeats_of_strangers_are_counted_and_change_nothing(history: History) -> None:
    pid = history.process("feed").pid
    for beat in (Beat("feed", pid, "wrong", phase="running"), Beat("nobody", pid, history.ground.mesh.token)):
        history.lane.send(msgspec.msgpack.encode(beat))
    for junk in (b"", b"\xc1", b"\x91" * 5000, msgspec.msgpack.encode({"stage": 3})):
        history.lane.send(junk)
    for _ in range(5):
        history.it.turn(20)
    assert history.it.strangers == 6
    assert states(history)["feed"] == "starting"


def test_what_waits_is_what_was_given_and_not_taken_also_while_either_is_away(history: History) -> None:
    def waiting() -> dict[str, int | None]:
        return {row["stage"]: row["backlog"] for row in history.it.snapshot()["stages"]}

    assert set(waiting().values()) == {None}, "nobody has said anything yet"
    history.says("feed", given={"feed": 1000})
    history.says("bars", positions={"feed": 900}, given={"bars.feed": 9})
    history.says("archive", positions={"feed": 1001})
    history.says("parquet", positions={"bars.feed": 4})
    assert waiting() == {"feed": None, "bars": 100, "archive": 0, "parquet": 5}
    history.process("bars").code = -9
    history.says("feed", given={"feed": 1500})
    assert waiting()["bars"] == 600


def test_who_died_for_want_of_room_is_back_as_soon_as_there_is_room(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1 << 40]
    monkeypatch.setattr(machine, "disk", lambda _: (free[0], 1 << 41))
    history.second()
    free[0] = 0
    history.second()
    for _ in range(60):
        history.second()
        for process in history.made:
            process.code = 1 if process.stage == "archive" and process.code is None else process.code
    waits = {row["stage"]: row["again_in_s"] for row in history.it.snapshot()["stages"]}
    assert waits["archive"] > 2
    free[0] = 1 << 40
    history.second()
    assert "archive" in history.alive()
    assert history.it.stages["archive"].life.deaths == ()


def test_a_stage_is_named_by_its_key_or_its_process() -> None:
    pipeline = Pipeline("", "", {node.name: node for node in NODES})
    assert named(pipeline, "bars") == ["bars"]
    assert named(pipeline, "aggregator") == ["bars"]
    assert named(pipeline, "nobody") == []
