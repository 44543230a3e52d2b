"""The ends of an edge: every record once and in order, whatever the lane does."""

from __future__ import annotations

from collections import deque
from itertools import count
from pathlib import Path

import pytest

from shared.edges import IDLE_LOOK_NS, MOST, MUCH, PATIENT_LOOK_NS, Inlet, Outlet
from shared.events import Batch, Rejected, Trade
from shared.files import Files
from shared.journal import HEADER, Reader, Writer, pack, segment_path, unpack

FOLDER = "journal/binance/binance"


class FakeLane:
    """A lane of given capacity, both ends."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.messages: deque[bytes] = deque()

    def send(self, data: bytes) -> bool:
        if len(self.messages) >= self.room:
            return False
        self.messages.append(data)
        return True

    def recv(self) -> bytes | None:
        return self.messages.popleft() if self.messages else None


def trade(number: int) -> Trade:
    return Trade("SOLUSDT", number, number, None, number, "1.5", "2.25", "buy", number)


def producer(disk: Files, lanes: list[FakeLane], given: int = 0) -> Outlet:
    outlet = Outlet(Writer(disk, FOLDER, lambda: b""), Reader(disk, FOLDER), lanes, None, "binance")
    outlet.open(given)
    return outlet


def give(outlet: Outlet, first: int, size: int = 2) -> int:
    outlet.give(Batch(first, first, [trade(first + k) for k in range(size)]))
    outlet.flush()
    return first + size + 1


_moments = count(1)


def taken(inlet: Inlet, turns: int = 20) -> list[int]:
    """First numbers of what is taken while time goes on."""
    return [batch.first for _ in range(turns) for batch in inlet.take(next(_moments) * IDLE_LOOK_NS)]


def parcel(*numbers: int) -> bytes:
    """A message of several records: one for each of these numbers."""
    return b"".join(pack(Batch(n, n, [trade(n)]), n, 2) for n in numbers)


def test_a_message_of_several_records_is_taken_whole_and_in_part(tmp_path: Path) -> None:
    lane = FakeLane()
    inlet = Inlet(Reader(Files(tmp_path), FOLDER), lane, 4)
    assert taken(inlet) == []
    lane.messages += [parcel(1, 3), parcel(3, 5, 7), parcel(5, 7), parcel(9)]
    assert taken(inlet) == [5, 7, 9] and inlet.position == 10
    assert inlet.counters == {"holes": 0, "lost": 0, "damaged": 0}


def test_of_many_messages_some_are_taken_in_one_go_and_the_rest_in_the_next(tmp_path: Path) -> None:
    lane = FakeLane()
    inlet = Inlet(Reader(Files(tmp_path), FOLDER), lane, 0)
    assert taken(inlet) == []
    lane.messages += [pack(Batch(n, n, []), n, 1) for n in range(1, 2 * MOST)]
    goes = [len(inlet.take(next(_moments) * IDLE_LOOK_NS)) for _ in range(3)]
    assert goes == [MOST, MOST - 1, 0]
    wide = Rejected("", 0, 0, 0, "", "x" * (MUCH // 2))
    lane.messages += [pack(Batch(n, n, [wide]), n, 2) for n in range(2 * MOST, 2 * MOST + 10, 2)]
    assert [len(inlet.take(next(_moments) * IDLE_LOOK_NS)) for _ in range(4)] == [2, 2, 1, 0]
    assert inlet.counters == {"holes": 0, "lost": 0, "damaged": 0}


def test_a_time_that_was_lost_on_the_lane_is_read_from_the_journal(tmp_path: Path) -> None:
    """The smallest hole there is: one number."""
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    assert taken(inlet) == []
    for first in (1, 2):
        outlet.give(Batch(first, first, []))
        outlet.flush()
    lane.messages.append(pack(Batch(2, 2, []), 2, 1))
    assert inlet.take(next(_moments) * IDLE_LOOK_NS) == [Batch(1, 1, []), Batch(2, 2, [])]
    assert inlet.counters == {"holes": 1, "lost": 0, "damaged": 0}


def test_a_message_of_several_records_that_is_damaged_costs_nothing(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    taken(inlet)
    for first in (1, 3, 5, 7):
        give(outlet, first, 1)
    lane.messages += [parcel(1, 5), parcel(5)[:-1] + parcel(7), parcel(7)]
    assert taken(inlet) == [1, 3, 5, 7]
    assert inlet.counters["damaged"] == 2 and inlet.counters["lost"] == 0


def test_a_message_of_several_records_behind_a_hole_waits_for_the_journal(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    taken(inlet)
    for first in (1, 3):
        give(outlet, first, 1)
    lane.messages.append(parcel(3, 5, 7))
    assert taken(inlet) == [1, 3, 5, 7]
    assert inlet.counters == {"holes": 1, "lost": 0, "damaged": 0}


def test_at_start_the_journal_comes_first_then_the_lane(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [])
    at = give(outlet, 1)
    outlet = producer(disk, [lane], at - 1)
    give(outlet, at)
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    assert taken(inlet) == [1, 4]
    assert inlet.position == 6 and inlet.counters == {"holes": 0, "lost": 0, "damaged": 0}


def test_a_hole_in_the_lane_is_read_from_the_journal(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    taken(inlet)
    at = 1
    for _ in range(5):
        at = give(outlet, at)
    del lane.messages[1]
    del lane.messages[2]
    assert taken(inlet) == [1, 4, 7, 10, 13]
    assert inlet.counters["holes"] >= 1 and inlet.counters["lost"] == 0


def test_what_comes_twice_is_taken_once(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    taken(inlet)
    give(outlet, give(outlet, 1))
    lane.messages.extend(list(lane.messages))
    assert taken(inlet) == [1, 4]


@pytest.mark.parametrize("look_ns", [IDLE_LOOK_NS, PATIENT_LOOK_NS])
def test_a_lost_last_message_is_found_after_silence(tmp_path: Path, look_ns: int) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0, look_ns)
    assert inlet.take(0) == []
    give(outlet, 1)
    lane.messages.clear()
    assert inlet.take(look_ns - 1) == [] and inlet.look == look_ns
    assert [batch.first for batch in inlet.take(look_ns)] == [1]


def test_a_full_lane_is_skipped_counted_and_read_from_the_journal(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane(room=1)
    outlet = producer(disk, [lane])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    taken(inlet)
    at = 1
    for _ in range(4):
        at = give(outlet, at)
    assert outlet.counters["lane_skipped"] == 3
    assert taken(inlet) == [1, 4, 7, 10]


@pytest.mark.parametrize("junk", [b"", b"x", b"POST / HTTP/1.1", bytes(20), b"\xff" * 19, b"\xff" * 64])
def test_bytes_that_are_no_record_are_counted_and_cost_nothing(tmp_path: Path, junk: bytes) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    taken(inlet)
    lane.send(junk)
    at = give(outlet, 1)
    lane.send(junk)
    give(outlet, at)
    assert taken(inlet) == [1, 4]


def test_a_damaged_message_is_taken_from_the_journal(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    assert inlet.take(0) == []
    give(outlet, 1)
    data = lane.messages.pop()
    lane.send(data[:-1] + bytes([data[-1] ^ 1]))
    assert [(b.first, b.events) for t in range(5) for b in inlet.take(t * IDLE_LOOK_NS)] == [(1, [trade(1), trade(2)])]
    assert inlet.counters["damaged"] == 1


def test_records_that_the_journal_has_lost_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    at = give(outlet, 1)
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    assert taken(inlet) == [1]
    outlet.close()
    disk.truncate(segment_path(FOLDER, 1), HEADER.size + 5)
    outlet = producer(disk, [lane], at + 9)
    give(outlet, at + 10)
    assert taken(inlet) == [at + 10]
    assert inlet.counters["lost"] == 10


def test_the_lane_carries_the_bytes_of_the_journal(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    give(producer(disk, [lane]), 1)
    assert disk.read(segment_path(FOLDER, 1)).endswith(lane.messages[0])
    assert unpack(lane.messages[0]).first == 1


def test_a_segment_begun_again_with_another_state_is_read_from_its_first_batch(tmp_path: Path) -> None:
    """A full disk lets the state be written and not the batch; a reader has looked meanwhile."""
    disk = Files(tmp_path)
    Writer(disk, FOLDER, lambda: b"short").roll()
    inlet = Inlet(Reader(disk, FOLDER), None, 0)
    assert taken(inlet) == []
    writer = Writer(disk, FOLDER, lambda: b"a longer one")
    writer.open()
    writer.roll()
    for number in (1, 2, 3):
        writer.append(Batch(number, number, []))
    assert taken(inlet) == [1, 2, 3]
    assert inlet.counters["lost"] == 0


def test_a_backlog_is_read_to_its_end_without_waiting_between_segments(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    outlet = Outlet(Writer(disk, FOLDER, lambda: b"", segment_bytes=50), Reader(disk, FOLDER), [], None, "binance")
    outlet.open(0)
    inlet = Inlet(Reader(disk, FOLDER), None, 0)
    assert inlet.take(0) == []
    at = 1
    for _ in range(5):
        at = give(outlet, at)
    assert [b.first for _ in range(6) for b in inlet.take(IDLE_LOOK_NS)] == [1, 4, 7, 10, 13]


# --- the giving end ---


def test_what_the_journal_holds_already_is_not_given_twice(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    at = give(outlet := producer(disk, [lane]), 1)
    give(outlet, at)
    # When a restart gives both again, and one more
    again = producer(disk, [lane], 0)
    third = give(again, give(again, 1))
    give(again, third)
    assert [b.first for b in Reader(disk, FOLDER).read(0)] == [1, 4]
    assert taken(Inlet(Reader(disk, FOLDER), None, 0)) == [1, 4, 7]
    assert again.counters["replay_differs"] == 0 and again.counters["events_out"] == 2


def test_a_replay_cut_at_another_place_continues_inside_the_batch(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    give(producer(disk, []), 1, size=1)
    again = producer(disk, [], 0)
    again.give(Batch(1, 9, [trade(1), trade(9), trade(10)]))
    again.flush()
    reader = Reader(disk, FOLDER)
    assert [(b.first, b.last) for b in reader.read(0) + reader.read(2)] == [(1, 2), (3, 4)]


def test_outputs_that_are_damaged_are_given_again_with_all_that_follows(tmp_path: Path) -> None:
    """Nobody else has them; what stands behind the damage comes a second time."""
    disk = Files(tmp_path)
    first = producer(disk, [])
    for at in (1, 4, 7):
        give(first, at)
    path = segment_path(FOLDER, 1)
    data = bytearray(disk.read(path))
    data[len(data) // 2 + 20] ^= 1
    disk.write(path, bytes(data))
    again = producer(disk, [])
    for at in (1, 4, 7):
        give(again, at)
    assert taken(Inlet(Reader(disk, FOLDER), None, 0)) == [1, 4, 7]
    assert again.counters["replay_differs"] == 0


def test_a_replay_that_differs_says_so(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    give(producer(disk, []), 1)
    again = producer(disk, [], 0)
    again.give(Batch(1, 1, [trade(1), trade(99)]))
    assert again.counters["replay_differs"] == 1


def test_nothing_is_in_the_journal_before_the_flush(tmp_path: Path) -> None:
    disk, lane = Files(tmp_path), FakeLane()
    outlet = producer(disk, [lane])
    outlet.give(Batch(1, 1, []))
    assert outlet.pending == 1 and not lane.messages and Reader(disk, FOLDER).read(0) == []
    outlet.flush()
    assert outlet.pending == 0 and len(lane.messages) == 1 and len(Reader(disk, FOLDER).read(0)) == 1
