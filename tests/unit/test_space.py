"""The supervisor's watch over the disk: whom it holds back, what it lets go, and when it says that there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from shared.lifecycle import SECOND
from shared.room import MB
from supervision import machine
from supervision.space import Space

TOTAL = 1000 * MB


class Watched:
    """A disk of 1000 MB, with as many of them free as is said; a second passes with each word."""

    def __init__(self, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (lake / "run").mkdir(parents=True)
        self.reserve = lake / "run" / "reserve"
        self.free = 0
        self.asked = 0
        self._now = 5 * SECOND
        monkeypatch.setattr(machine, "disk", self._disk)
        self.space = Space(lake)

    def _disk(self, _: Path) -> tuple[int, int]:
        self.asked += 1
        return self.free, TOTAL

    def second(self, free_mb: float) -> bool:
        self.free = int(free_mb * MB)
        self._now += SECOND
        return self.space.turn(self._now)

    def moment(self) -> None:
        self._now += SECOND // 10
        self.space.turn(self._now)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    number = logger.add(found.append, format="{message}", level="INFO")
    yield found
    logger.remove(number)


def test_it_looks_once_a_second(watched: Watched) -> None:
    watched.second(500)
    for _ in range(30):
        watched.moment()
    assert watched.asked == 4


def test_batches_wait_below_a_twentieth_and_go_on_above_a_tenth(watched: Watched, lines: list[str]) -> None:
    seen = []
    for free in (51, 49, 99, 100, 51):
        watched.second(free)
        seen.append(watched.space.batches_wait)
    assert seen == [False, True, True, False, False]
    assert len(lines) == 2 and "batches wait" in lines[0] and "go on" in lines[1]


def test_a_reserve_of_real_blocks_is_kept_back_where_there_is_room_for_it(watched: Watched) -> None:
    watched.second(109)
    assert not watched.reserve.exists()
    watched.second(110)
    assert watched.reserve.stat().st_size == TOTAL // 100
    if hasattr(watched.reserve.stat(), "st_blocks"):
        assert watched.reserve.stat().st_blocks * 512 >= TOTAL // 100


def test_the_reserve_is_let_go_when_nothing_can_be_received_and_made_again_with_room(
    watched: Watched, lines: list[str]
) -> None:
    watched.second(500)
    watched.second(11)
    assert watched.reserve.exists()
    watched.second(9)
    assert not watched.reserve.exists()
    assert "nothing more is received" in lines[-1]
    for _ in range(5):
        watched.second(19)
    assert not watched.reserve.exists() and len(lines) == 2
    watched.second(500)
    assert watched.reserve.exists()


def test_that_there_is_room_again_is_said_once_and_only_after_there_was_none(watched: Watched) -> None:
    assert [watched.second(free) for free in (500, 30, 500, 9, 5, 19, 20, 500, 500)] == [False] * 6 + [True] + [
        False
    ] * 2


def test_a_disk_that_cannot_be_asked_changes_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.second(9)

    def gone(_: Path) -> tuple[int, int]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(machine, "disk", gone)
    assert not watched.second(500)
    assert watched.space.batches_wait


def test_no_reserve_stays_behind_where_nobody_runs(watched: Watched) -> None:
    watched.second(500)
    watched.space.close()
    watched.space.close()
    assert not watched.reserve.exists()
