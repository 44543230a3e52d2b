"""Held ids."""

from __future__ import annotations

from shared.ids import Ids


def test_an_id_below_the_highest_is_new_when_it_was_missing() -> None:
    ids = Ids.from_intervals([[10, 20], [30, 40]])
    assert ids.add(25)
    assert not ids.add(25)
    assert ids.missing() == [(21, 24), (26, 29)]


def test_ids_in_order_stay_one_interval() -> None:
    ids = Ids()
    assert all(ids.add(one) for one in range(1520538925, 1520545031))
    assert ids.intervals == [[1520538925, 1520545030]]


def test_nothing_held_is_nothing_missing_but_a_named_range_is() -> None:
    assert Ids().missing() == []
    assert Ids().missing(3, 5) == [(3, 5)]


def test_the_oldest_intervals_can_be_forgotten() -> None:
    ids = Ids.from_intervals([[1, 2], [5, 6], [9, 9]])
    assert ids.forget_oldest(2) == 1
    assert ids.intervals == [[5, 6], [9, 9]]
