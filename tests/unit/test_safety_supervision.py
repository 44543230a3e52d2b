"""The supervisor's grip on processes: what each is given, who is killed, who is not, and what ends nobody."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared import config
from shared.lifecycle import DRAIN_ALLOWED
from shared.paths import stage_lock
from supervision import children
from supervision.children import ROOT, Child, gently, last_error
from supervision.orphans import LEAVING_ALLOWED, LOOK_EVERY, Orphans
from tests.unit.test_loop import History

# --- a child ---


class Pipe(io.BytesIO):
    """Standard input; `told` outlives its end."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes] = []

    def write(self, data: Any) -> int:
        self.told.append(bytes(data))
        return super().write(data)


class Started:
    """What `subprocess.Popen` was asked for."""

    pid = 4711

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options = command, options
        self.stdin = Pipe()
        self.code: int | None = None
        self.killed = False
        _made.append(self)

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float) -> None:
        raise subprocess.TimeoutExpired("x", timeout)


_made: list[Started] = []


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The groups that were killed, and how."""
    found: list[tuple[int, int]] = []
    _made.clear()
    monkeypatch.setattr(subprocess, "Popen", Started)
    if sys.platform != "win32":
        monkeypatch.setattr(os, "killpg", lambda pid, how: found.append((pid, how)))
    yield found


def test_a_child_has_a_group_and_a_lifeline_of_its_own(
    tmp_path: Path, killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    Child(["x"], tmp_path / "said" / "x.txt")
    options = _made[0].options
    assert options["stdin"] == subprocess.PIPE and options["stderr"] == subprocess.STDOUT and options["cwd"] == ROOT
    if sys.platform == "win32":
        assert options["creationflags"] == subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        assert options["start_new_session"] is True
    assert "PYTHONSAFEPATH" not in options["env"] and options["env"]["PYTHONIOENCODING"].startswith("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="there the process alone can be killed")
def test_a_kill_takes_the_whole_group(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    Child(["x"], tmp_path / "x.txt").kill()
    assert killed == [(4711, signal.SIGKILL)]


def test_a_drain_is_a_word_and_the_end_of_the_pipe_and_may_be_said_twice(
    tmp_path: Path, killed: list[tuple[int, int]]
) -> None:
    child = Child(["x"], tmp_path / "x.txt")
    pipe = _made[0].stdin
    child.drain()
    assert pipe.told == [b"drain\n"] and pipe.closed
    child.drain()
    child.wait(0)


def test_a_child_that_has_gone_leaves_no_pipe_open(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    child = Child(["x"], tmp_path / "x.txt")
    assert child.exit_code() is None and not _made[0].stdin.closed
    _made[0].code = 3
    assert child.exit_code() == 3 and _made[0].stdin.closed


@pytest.mark.skipif(sys.platform == "win32", reason="a class of priority there")
def test_a_batch_goes_behind_the_live_stages(
    tmp_path: Path, killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []

    class Process:
        def __init__(self, pid: int) -> None:
            assert pid == 4711

        def nice(self, value: int) -> None:
            said.append(value)

    monkeypatch.setattr(psutil, "Process", Process)
    gently(["x"], tmp_path / "x.txt")
    Child(["x"], tmp_path / "y.txt")
    assert said == [10]


def test_what_a_process_prints_last_cannot_move_the_cursor_and_is_read_in_part_only(
    tmp_path: Path, killed: list[tuple[int, int]]
) -> None:
    said = tmp_path / "x.txt"
    child = Child(["x"], said)
    said.write_bytes(b"x" * 100_000 + b"\nlast \x1b[2Jwords\n")
    assert child.last_words() == "last \\x1b[2Jwords"
    said.write_bytes(b"")
    assert child.last_words() == "" and last_error(tmp_path / "none.log", 0) == ""
    assert children.size_of(tmp_path / "none.log") == 0


# --- what a killed supervisor left behind ---


class Left:
    """A process of the system."""

    def __init__(self, words: list[str], status: str = psutil.STATUS_SLEEPING) -> None:
        self.pid, self.words, self.state, self.killed = 7, words, status, False

    def cmdline(self) -> list[str]:
        return self.words

    def is_running(self) -> bool:
        return self.state != "gone"

    def status(self) -> str:
        return self.state

    def kill(self) -> None:
        self.killed = True


def leaving(lake: Path, process: Left, monkeypatch: pytest.MonkeyPatch, pid: object = 7) -> Orphans:

    def holder(path: Path) -> dict[str, object]:
        return {"pid": pid} if path == lake / stage_lock("a") else {}

    monkeypatch.setattr("supervision.orphans.locks.holder", holder)
    monkeypatch.setattr("supervision.orphans.psutil.Process", lambda pid: process)
    return Orphans(lake, ["a", "b"], 0)


def test_who_does_not_leave_is_killed_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Left(["python", "--stage", "a", "--supervised"])
    found = leaving(tmp_path, process, monkeypatch)
    for now in (0, LOOK_EVERY, LEAVING_ALLOWED - 1):
        found.turn(now)
    assert (bool(found), process.killed) == (True, False)
    found.turn(LEAVING_ALLOWED - 1 + LOOK_EVERY)
    assert (bool(found), process.killed) == (True, True), "until it is seen to be gone"
    process.state = psutil.STATUS_ZOMBIE
    found.turn(2 * LEAVING_ALLOWED)
    assert (bool(found), process.killed) == (False, True)


@pytest.mark.parametrize(
    "words",
    [
        ["python", "--stage", "b", "--supervised"],
        ["python", "--stage", "a"],
        ["vim", "a"],
        ["python", "--supervised", "--stage"],
        [],
    ],
)
def test_somebody_else_who_bears_that_number_by_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    process = Left(words)
    found = leaving(tmp_path, process, monkeypatch)
    found.turn(10 * LEAVING_ALLOWED)
    assert not found and not process.killed


def test_who_is_gone_already_or_has_no_number_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python", "--stage", "a", "--supervised"]
    assert not leaving(tmp_path, Left(words, psutil.STATUS_ZOMBIE), monkeypatch)
    assert not leaving(tmp_path, Left(words, "gone"), monkeypatch)
    assert not leaving(tmp_path, Left(words), monkeypatch, pid="7")


# --- the loop ---


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    found = History(tmp_path)
    yield found
    found.it.close()
    found.bus.close()


def test_a_second_signal_kills_what_the_first_asked_to_drain(history: History) -> None:
    history.second()
    history.it._signalled()
    history.second()
    assert history.it.stopping and history.process("feed").asked and history.process("feed").code is None
    history.it._signalled()
    history.second(turns=1)
    assert history.alive() == []


def test_what_cannot_be_obeyed_ends_nobody_and_is_answered(history: History) -> None:
    history.second()
    for request in ({}, {"do": "dance"}, {"do": ["stop"]}, {"do": "restart"}, {"do": "start", "stage": {"x": 1}}):
        assert "error" in history.it._obey(request), request
    answers: list[Any] = []
    asked: list[Any] = [(b"me", {"do": "status"}), None]

    class Control:
        def recv(self) -> Any:
            return asked.pop(0)

        def answer(self, sender: bytes, answer: Any) -> None:
            answers.append((sender, answer))

    def broken() -> Any:
        raise RuntimeError("no such thing")

    history.it._control = Control()  # type: ignore[assignment]
    history.it.snapshot = broken  # type: ignore[method-assign]
    history.it._take_requests()
    assert answers == [(b"me", {"error": "RuntimeError: no such thing"})]
    assert len(history.alive()) == 4 and not history.it.stopping


def test_while_it_stops_nothing_is_started_by_hand(history: History) -> None:
    history.second()
    history.it.stop()
    assert history.it._obey({"do": "start", "stage": "archive"}) == {"error": "the mesh is stopping"}


def test_whatever_is_alive_at_the_end_dies_with_it(history: History) -> None:
    history.second()
    assert len(history.alive()) == 4
    history.it.close()
    assert history.alive() == []


def test_batches_are_asked_to_leave_as_the_mesh_stops_and_killed_when_time_is_over(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(history.it.timers, "drain", lambda: said.append("drain"))
    monkeypatch.setattr(history.it.timers, "kill", lambda: said.append("kill"))
    history.second()
    for _ in range(2):
        history.it.stop()
    assert said == ["drain"]
    history.time += DRAIN_ALLOWED
    history.it.turn(1)
    assert said == ["drain", "kill"] and history.alive() == []


# --- what a pipeline file may have run ---


@pytest.mark.parametrize(
    "run", ["", "../x", "ingest-x", "os path", "ingest.", ".ingest", "a..b", "1x", 5, None, ["ingest"]]
)
def test_what_is_run_is_a_name_below_procs_and_nothing_else(tmp_path: Path, run: object) -> None:
    path = tmp_path / "p.yml"
    path.write_text(json.dumps({"lake": "data", "sources": {"binance": {"run": run, "venue": "binance"}}}))
    with pytest.raises(config.ConfigError, match=r"sources\.binance\.run: should name a process in procs/"):
        config.load(path)
