"""Who goes without as a disk fills: shares on a small disk, bytes on a large one, and twice as much to go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.room import BATCHES, DERIVED, MB, RECEIVING, RESERVE, STARTING, NoRoom, Room, demand

NEEDS = (BATCHES, DERIVED, RECEIVING, STARTING)
GB = 1000 * MB
sizes = st.integers(min_value=1 * MB, max_value=100_000 * GB)


def test_shares_decide_on_a_small_disk() -> None:
    assert [need.least(40 * MB) // 1024 for need in NEEDS] == [2048, 819, 409, 409]


def test_bytes_decide_on_a_large_disk_so_that_it_works_when_nearly_full() -> None:
    assert [need.least(10_000 * GB) // MB for need in NEEDS] == [2000, 800, 400, 64]
    assert not any(Room(need).look(3 * GB, 10_000 * GB) for need in NEEDS)


@given(sizes)
def test_what_can_wait_goes_without_first_and_what_is_received_last(total: int) -> None:
    least = [need.least(total) for need in NEEDS]
    assert least == sorted(least, reverse=True)


@given(sizes)
def test_letting_the_reserve_go_makes_nobody_go_on(total: int) -> None:
    room = Room(RECEIVING)
    just_short = RECEIVING.least(total) - 1
    assert room.look(just_short, total)
    assert room.look(just_short + RESERVE.least(total), total)


@pytest.mark.parametrize("need", NEEDS)
def test_who_went_without_goes_on_with_twice_as_much(need: object) -> None:
    assert isinstance(need, type(BATCHES))
    room, total = Room(need), 100 * GB
    least = need.least(total)
    seen = [room.look(free, total) for free in (least, least - 1, least, 2 * least - 1, 2 * least, least, least - 1)]
    assert seen == [False, True, True, True, False, False, True]


def test_a_disk_that_hovers_stops_and_starts_nobody_all_the_time() -> None:
    room, total = Room(DERIVED), 10 * GB
    least = DERIVED.least(total)
    hovering = [least + (-1) ** n * least // 2 for n in range(100)]
    changes = [room.look(free, total) for free in hovering]
    assert sum(one != other for one, other in zip(changes[1:], changes[:-1], strict=True)) <= 1


def test_a_piece_of_work_is_not_begun_without_room() -> None:
    demand(BATCHES, 50 * MB, 1000 * MB)
    with pytest.raises(NoRoom, match="only 49 MB of the disk's 1000 are free"):
        demand(BATCHES, 50 * MB - 1, 1000 * MB)


def test_it_says_why_in_words() -> None:
    assert Room(DERIVED).says == "less than 2% of the disk is free"
