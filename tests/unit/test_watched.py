"""One stage and one batch under watch, with processes made of nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from loguru import logger

from shared.events import Beat
from shared.lifecycle import SECOND, Moment, State
from shared.topology import Node
from supervision.timers import FIRST_RUN, Timers
from supervision.watched import Watched

MIDDLE = 0.5
DAY = 86400 * SECOND


class Made:
    """A process that does what it is told."""

    pid = 7

    def __init__(self, command: Sequence[str] = (), said: Path | None = None) -> None:
        self.code: int | None = None
        self.drained = False
        self.words = ""

    def exit_code(self) -> int | None:
        return self.code

    def drain(self) -> None:
        self.drained = True

    def kill(self) -> None:
        self.code = -9

    def wait(self, timeout_s: float) -> None:
        pass

    def last_words(self) -> str:
        return self.words


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    number = logger.add(found.append, format="{message}", level="INFO")
    yield found
    logger.remove(number)


def watched(folder: Path, section: str = "sinks", spawn: Callable[..., Made] = Made, replay: bool = False) -> Watched:
    it = Watched(Node("it", section, "x", (), {"replay": True} if replay else {}), [], folder, spawn)
    it.start(0)
    it.look(0)
    return it


def beat(phase: str = "running", note: str = "", **counters: int) -> Beat:
    return Beat("it", 7, "", phase=phase, note=note, counters=counters)


def made(it: Watched) -> Made:
    assert isinstance(it.process, Made)
    return it.process


def test_a_beat_of_another_process_counts_for_nothing(tmp_path: Path) -> None:
    it = watched(tmp_path)
    it.take_beat(Beat("it", 8, "", phase="running"), SECOND)
    assert it.life.state == State.STARTING


def test_rates_are_taken_over_the_last_beats(tmp_path: Path) -> None:
    it = watched(tmp_path)
    assert it.row(0)["events_in_s"] is None
    for second in range(20):
        it.take_beat(beat(events_in=1000 * second, events_out=second), second * SECOND)
    row = it.row(20 * SECOND)
    assert (row["events_in_s"], row["events_out_s"]) == (1000, 1)


def test_what_a_stage_waits_for_is_said_once_and_then_once_a_minute(tmp_path: Path, lines: list[str]) -> None:
    it = watched(tmp_path)
    for second in range(130):
        it.take_beat(beat(note="no network"), second * SECOND)
    it.take_beat(beat(), 130 * SECOND)
    said = [line.strip() for line in lines if "network" in line]
    assert said == ["it: no network"] * 3 + ["it: over: no network"]


def test_a_note_of_which_only_the_numbers_change_is_said_once_a_minute(tmp_path: Path, lines: list[str]) -> None:
    it = watched(tmp_path)
    for second in range(1, 121):
        it.take_beat(beat(note=f"{1000 - second} ids missing"), second * SECOND)
    assert [line for line in lines if "missing" in line] == ["it: 999 ids missing\n", "it: 939 ids missing\n"]


def test_a_note_that_changes_all_the_time_does_not_flood(tmp_path: Path, lines: list[str]) -> None:
    it = watched(tmp_path)
    for second in range(60):
        it.take_beat(beat(note="\x1b[2Jtry" + "ab"[second % 2] * second), second * SECOND)
    said = [line for line in lines if "try" in line]
    assert len(said) == 12 and "\x1b" not in "".join(said)


def test_a_death_says_its_last_words_or_the_last_error_of_its_log(tmp_path: Path, lines: list[str]) -> None:
    it = watched(tmp_path)
    made(it).words, made(it).code = "Traceback ... boom", 1
    assert it.take_exit(SECOND, MIDDLE)
    assert lines[-1] == "it died (exit 1): Traceback ... boom, again in 0.2 s\n"
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "it.log"
    log.write_text("2025-10-20 13:42:05.123 ERROR   an old one\n")
    it.look(2 * SECOND)
    with log.open("a") as file:
        file.write("2025-10-20 13:43:05.123 ERROR   no room\n2025-10-20 13:43:05.124 INFO    bye\n")
    made(it).code = 1
    it.take_exit(3 * SECOND, MIDDLE)
    assert "it died (exit 1): no room, again in 0.4 s" in lines[-1]


def test_only_a_recording_comes_to_an_end(tmp_path: Path) -> None:
    for section, replay, state in (
        ("sources", True, State.ENDED),
        ("sources", False, State.BACKING_OFF),
        ("sinks", True, State.BACKING_OFF),
    ):
        it = watched(tmp_path, section, replay=replay)
        made(it).code = 0
        it.take_exit(SECOND, MIDDLE)
        assert it.life.state == state


def test_what_cannot_be_started_is_tried_again(tmp_path: Path, lines: list[str]) -> None:
    def refuses(command: Sequence[str], said: Path) -> Made:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    it = watched(tmp_path, spawn=refuses)
    assert it.life.state == State.BACKING_OFF and it.process is None
    assert "cannot be started" in lines[-1]


def test_a_stage_is_told_to_drain_once(tmp_path: Path) -> None:
    it = watched(tmp_path)
    it.take_beat(beat(), 0)
    it.stop(SECOND)
    assert made(it).drained
    made(it).drained = False
    it.stop(2 * SECOND)
    assert not made(it).drained
    it.look(21 * SECOND)
    assert made(it).code == -9


# --- batches ---


class Clocked:
    """Timers over one batch, with the clocks in our hands."""

    def __init__(self, folder: Path, run: str = "x", wall: int = 20_000 * DAY, **options: str) -> None:
        self.folder = folder
        self.node = Node("it", "batches", run, (), dict(options))
        self.wall, self.mono = wall, 0
        self.runs: list[Made] = []
        self.waits = False
        self.begin()

    def begin(self) -> None:
        self.timers = Timers([self.node], lambda node: [node.name], self.folder, self._spawn, self.now)

    def _spawn(self, command: Sequence[str], said: Path) -> Made:
        self.runs.append(Made())
        return self.runs[-1]

    @property
    def now(self) -> Moment:
        return Moment(self.mono, self.wall + self.mono)

    def go(self, seconds: int, ends: int | None = 0) -> int:
        """Runs begun within so many seconds; each ends with a code in the same second."""
        before = len(self.runs)
        for _ in range(seconds):
            self.mono += SECOND
            self.timers.turn(self.now, self.waits)
            if self.runs and self.runs[-1].code is None:
                self.runs[-1].code = ends
        return len(self.runs) - before


def test_every_five_minutes(tmp_path: Path) -> None:
    assert Clocked(tmp_path, every="5m").go(3600) == 12


def test_one_run_at_a_time(tmp_path: Path) -> None:
    it = Clocked(tmp_path, every="10s")
    assert it.go(100, ends=None) == 1


def test_daily_at_its_time_and_not_at_the_start(tmp_path: Path) -> None:
    it = Clocked(tmp_path, daily_at="01:30")
    assert it.go(5399) == 0
    assert it.go(2) == 1
    assert it.go(3600) == 0


def test_a_day_that_was_missed_is_made_up_for_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    it = Clocked(tmp_path, daily_at="01:30")
    assert it.go(5401) == 1
    it.wall, it.mono = it.wall + 3 * DAY, 0
    it.begin()
    assert it.go(10) == 1


def test_the_compactor_also_folds_hours_as_they_are_sealed(tmp_path: Path) -> None:
    it = Clocked(tmp_path, run="compactor", wall=20_000 * DAY + DAY // 2, daily_at="01:30")
    assert it.go(FIRST_RUN // SECOND) == 1
    assert it.go(3600) == 20


def test_a_killed_batch_is_started_again_at_once_and_then_ever_more_slowly(tmp_path: Path) -> None:
    it = Clocked(tmp_path, every="1h")
    it.go(3600)
    it.runs[-1].code = -9
    assert 5 <= it.go(120, ends=-9) <= 15


def test_one_that_says_what_is_wrong_is_not_hurried(tmp_path: Path, lines: list[str]) -> None:
    it = Clocked(tmp_path, every="5m")
    assert it.go(3000, ends=1) == 10
    assert len([line for line in lines if "exit 1" in line]) == 1


def test_batches_wait_while_the_disk_is_nearly_full(tmp_path: Path) -> None:
    it = Clocked(tmp_path, every="10s")
    it.waits = True
    assert it.go(60) == 0
    it.waits = False
    assert it.go(1) == 1


def test_a_batch_in_the_way_of_a_nearly_full_disk_leaves_and_does_the_rest_later(tmp_path: Path) -> None:
    it = Clocked(tmp_path, every="1h")
    assert it.go(3601, ends=None) == 1
    it.waits = True
    it.go(1, ends=None)
    assert it.runs[0].drained
    assert it.go(60) == 0, "it has left, and waits"
    it.waits = False
    assert it.go(1) == 1, "at once, not in an hour"
    assert it.go(1800) == 0


def test_a_batch_can_be_asked_for(tmp_path: Path) -> None:
    it = Clocked(tmp_path, every="1h")
    assert it.timers.run_now("it", it.now)
    assert not it.timers.run_now("it", it.now), "it runs already"
    it.timers.drain()
    assert it.runs[0].drained
