"""What goes over the lanes: every record, in order, few of them alone where many are small."""

from __future__ import annotations

from procs.ingest.parcel import APART_NS, LARGE, Parcel
from tests.fixtures.desk import Lane


def parcel() -> tuple[Parcel, Lane]:
    lane = Lane()
    return Parcel([lane]), lane


def test_a_record_after_a_lull_goes_at_once() -> None:
    it, lane = parcel()
    for number in range(5):
        it.add(b"%d" % number, number * APART_NS)
        assert it.at is None
    assert lane.messages == [b"0", b"1", b"2", b"3", b"4"]


def test_what_follows_shortly_goes_in_one_message_when_it_is_time() -> None:
    it, lane = parcel()
    for number in range(8):
        it.add(b"%d" % number, number * APART_NS // 5)
    assert lane.messages == [b"0", b"12345"]
    assert it.at == 2 * APART_NS
    it.send(2 * APART_NS - 1)
    assert len(lane.messages) == 2
    it.send(2 * APART_NS)
    assert lane.messages[2:] == [b"67"] and it.at is None


def test_much_waits_for_nothing_and_goes_alone_where_it_is_large_by_itself() -> None:
    it, lane = parcel()
    it.add(b"a", 0)
    it.add(b"b", 1)
    it.add(bytes(LARGE), 2)
    assert lane.messages == [b"a", b"b", bytes(LARGE)]
    for _ in range(5):
        it.add(bytes(LARGE // 4 + 1), 3)
    assert [len(message) for message in lane.messages[3:]] == [3 * (LARGE // 4 + 1)]
    assert max(map(len, lane.messages)) <= LARGE


def test_who_leaves_keeps_nothing_back() -> None:
    it, lane = parcel()
    it.add(b"a", 0)
    it.add(b"b", 1)
    it.hand_on(2)
    it.hand_on(3)
    assert lane.messages == [b"a", b"b"]


def test_each_record_without_room_is_counted_for_each_lane() -> None:
    full, free = Lane(), Lane()
    full.is_full = True
    it = Parcel([full, free])
    it.add(b"a", 0)
    it.add(b"b", 1)
    it.add(b"c", APART_NS)
    assert it.counters == {"lane_skipped": 3}
    assert free.messages == [b"a", b"bc"] and full.messages == []
