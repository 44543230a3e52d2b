"""The bounds and checks of the journal, one by one: what a record may be, what a lane may bring, which numbers are ever
given out.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest

from shared import journal
from shared.checkpoint import Checkpoint, Seen, certain, needless, peek
from shared.edges import IDLE_LOOK_NS, Inlet, Outlet
from shared.events import Batch, State, Trade, encode
from shared.files import Files
from shared.journal import HEADER, Damaged, Reader, Writer, pack, segment_path, segments, unpack

FOLDER = "journal/binance/binance"
BASE = "journal/archive/ckpt-binance"


def trade(number: int) -> Trade:
    return Trade("SOLUSDT", number, number, None, number, "1.5", "2.25", "buy", number)


def batch(first: int, count: int = 1) -> Batch:
    return Batch(first, first, [trade(first + k) for k in range(count)])


def sealed(payload: bytes, first: int, count: int) -> bytes:
    """A record whose checksum is right, whatever it holds."""
    head = first.to_bytes(8, "little") + count.to_bytes(4, "little")
    return HEADER.pack(len(payload), zlib.crc32(payload, zlib.crc32(head)), first, count) + payload


def opened(disk: Files, segment_bytes: int = 8 << 20) -> Writer:
    found = Writer(disk, FOLDER, lambda: b"state", [BASE], segment_bytes=segment_bytes)
    found.open()
    return found


def give(to: Writer, batches: int = 1) -> None:
    for _ in range(batches):
        to.roll()
        to.append(batch(to.last + 1))


# --- what a record may be ---


def test_a_record_above_the_limit_is_refused_by_who_would_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(encode(batch(1)))
    monkeypatch.setattr(journal, "MAX_RECORD", size)
    assert unpack(pack(batch(1), 1, 2)) == batch(1)
    monkeypatch.setattr(journal, "MAX_RECORD", size - 1)
    with pytest.raises(ValueError, match=f"a record of {size} bytes; at most {size - 1}"):
        pack(batch(1), 1, 2)


def test_a_record_above_the_limit_is_damage_to_who_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack(batch(1), 1, 2)
    monkeypatch.setattr(journal, "MAX_RECORD", len(data) - HEADER.size - 1)
    with pytest.raises(Damaged):
        unpack(data)


def test_the_limit_holds_for_what_a_lane_carries() -> None:
    assert journal.MAX_RECORD == 4 << 20


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (pack(batch(1), 1, 2) + b"x", "not whole records"),
        (pack(batch(1), 1, 2) * 2, "do not follow one another"),
        (pack(batch(1), 1, 2) + pack(batch(4), 4, 2), "do not follow one another"),
        (pack(batch(1), 1, 2) + pack(batch(3), 3, 2), "not one record"),
        (pack(batch(1), 1, 2)[:-1], "not whole records"),
        (b"", "not whole records"),
        (pack(State(b"x"), 1, 0), "a state where"),
        (sealed(encode(batch(1)), 2, 2), "other numbers"),
        (sealed(encode(batch(1)), 1, 3), "other numbers"),
        (sealed(b"\xc1", 1, 2), "."),
        (sealed(b"\x91" * 5000, 1, 2), "."),
    ],
)
def test_a_message_that_is_not_one_batch_with_its_own_numbers_is_damage(message: bytes, why: str) -> None:
    with pytest.raises(Damaged, match=why):
        unpack(message)


# --- damage in the middle ---


def test_a_record_that_is_damaged_in_the_middle_costs_itself_alone_and_is_told_once(tmp_path: Path) -> None:
    """Its length is wrong too, and bytes that could be the beginning of a record follow it."""
    disk = Files(tmp_path)
    to = opened(disk)
    give(to, 4)
    to.close()
    give(opened(disk))
    data = disk.read(segment_path(FOLDER, 1))
    third = data.index(pack(batch(5), 5, 2))
    size = len(pack(batch(5), 5, 2))
    lies = b"\x01\x00\x00\x00" * (size // 4) + b"\x00" * (size % 4)
    disk.write(segment_path(FOLDER, 1), data[:third] + lies + data[third + size :])
    reader, position, found = Reader(disk, FOLDER), 0, []
    while got := reader.read(position):
        found += [one.first for one in got]
        position = got[-1].last
    assert found == [1, 3, 7, 9]
    assert reader.damaged == [segment_path(FOLDER, 1)]


@pytest.mark.parametrize("left", [1, HEADER.size - 1, HEADER.size])
def test_less_than_a_record_at_the_end_of_a_segment_keeps_nobody_from_the_next(tmp_path: Path, left: int) -> None:
    disk = Files(tmp_path)
    to = opened(disk)
    give(to)
    to.close()
    disk.write(segment_path(FOLDER, 5), pack(State(b""), 5, 0) + pack(batch(5), 5, 2))
    disk.write(segment_path(FOLDER, 1), disk.read(segment_path(FOLDER, 1)) + b"\x07" * left)
    reader = Reader(disk, FOLDER)
    assert [one.first for one in reader.read(0) + reader.read(2)] == [1, 5]
    assert reader.damaged == [segment_path(FOLDER, 1)]


def test_a_sound_record_of_another_version_is_passed_over_and_told(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    data = pack(batch(1), 1, 2) + sealed(b"\xc1", 3, 2) + pack(batch(5), 5, 2)
    disk.write(segment_path(FOLDER, 1), data)
    reader = Reader(disk, FOLDER)
    assert [one.first for one in reader.read(0)] == [1, 5] and len(reader.damaged) == 1


# --- segments and numbers ---


def test_only_what_is_named_like_a_segment_is_one(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for name in ("j-00000000000000000007.log", "j-00000000000000000009.log.tmp", "k-00000000000000000001.log",
                 "j-x.log", "j-.log", "j-00000000000000000003.txt", "lock"):  # fmt: skip
        disk.write(f"{FOLDER}/{name}", b"")
    assert segments(disk, FOLDER) == [7]


def test_a_number_is_never_given_out_twice_though_nothing_but_a_name_remembers_it(tmp_path: Path) -> None:
    """Given a newest segment that holds a state alone, its predecessors trimmed, and no consumer's checkpoint."""
    disk = Files(tmp_path)
    to = opened(disk)
    give(to, 2)
    to.close()
    to = opened(disk)
    to.roll()
    to.close()
    disk.remove(segment_path(FOLDER, 1))
    again = opened(disk)
    assert again.last == 4
    give(again)
    assert [one.first for one in Reader(disk, FOLDER).read(0)] == [5]


def test_a_number_that_others_have_seen_is_never_given_out_again(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    give(to := opened(disk))
    to.close()
    again = Writer(disk, FOLDER, bytes, [BASE])
    again.open(at_least=40)
    assert again.last == 40


def test_what_a_journal_holds_is_counted_to_the_byte_across_restarts(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for _ in range(3):
        to = opened(disk, segment_bytes=150)
        give(to, 5)
        held = sum(disk.size(segment_path(FOLDER, first)) or 0 for first in segments(disk, FOLDER))
        assert to.held_bytes == held > 0
        to.close()
    torn = disk.appender(segment_path(FOLDER, segments(disk, FOLDER)[-1]))
    torn.write(b"torn, and more than a header of it")
    torn.close()
    to = opened(disk)
    assert to.held_bytes == sum(disk.size(segment_path(FOLDER, first)) or 0 for first in segments(disk, FOLDER))


def test_batches_out_of_sequence_are_never_appended(tmp_path: Path) -> None:
    to = opened(Files(tmp_path))
    with pytest.raises(AssertionError):
        to.append(batch(1))
    to.roll()
    for first in (0, 2):
        with pytest.raises(AssertionError):
            to.append(batch(first))


# --- whom a segment waits for ---


def test_what_a_consumer_might_write_again_counts_as_needed(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    slots = Checkpoint(disk, BASE)
    slots.load()
    for said, expected in (
        ([{"position": 9}, {"position": 9}], 9),
        ([{"position": 9, "keep": 4}, {"position": 9}], 4),
        ([{"position": 9}, {"position": 9, "keep": 4}], 4),
        ([{"position": 3}, {"position": 9}], 3),
    ):
        for one in said:
            slots.store(msgspec.msgpack.encode(one))
        assert needless(disk, BASE, {}) == expected
    disk.remove(f"{BASE}.0")
    assert needless(disk, BASE, {}) == 0


class Reads(Files):
    """Notes the bytes asked for of each slot; fewer than none are all."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.sizes: list[int] = []

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self.sizes.append(size)
        return super().read(path, offset, size)


def test_a_slot_is_read_whole_only_where_it_changed(tmp_path: Path) -> None:
    disk, seen = Reads(tmp_path), Seen()
    slots = Checkpoint(disk, BASE)
    slots.load()
    for position in (3, 4):
        slots.store(msgspec.msgpack.encode({"position": position, "state": bytes(10_000)}))
    for expected in (2, 0):
        disk.sizes.clear()
        assert needless(disk, BASE, seen) == certain(disk, BASE, seen) == 3
        assert disk.sizes.count(-1) == expected, "of megabytes, once a second"
    slots.store(msgspec.msgpack.encode({"position": 5}))
    assert needless(disk, BASE, seen) == 4
    torn = f"{BASE}.0"  # the older of the two
    disk.truncate(torn, 0)
    assert needless(disk, BASE, seen) == certain(disk, BASE, seen) == 0
    whole = Checkpoint(Files(tmp_path), BASE)
    whole.load()
    whole.store(msgspec.msgpack.encode({"position": 6}))
    assert needless(disk, BASE, seen) == 5


def test_a_slot_that_is_being_written_is_looked_into_again(tmp_path: Path) -> None:
    """Its header may stand before the rest does."""
    disk, seen = Files(tmp_path), Seen()
    slots = Checkpoint(disk, BASE)
    slots.load()
    for position in (3, 4, 5):
        slots.store(msgspec.msgpack.encode({"position": position}))
    data = disk.read(f"{BASE}.1")
    disk.write(f"{BASE}.1", data[:-1])
    assert needless(disk, BASE, seen) == 0
    disk.write(f"{BASE}.1", data)
    assert needless(disk, BASE, seen) == 4


def test_a_checkpoint_of_another_version_says_nothing(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    slots = Checkpoint(disk, BASE)
    slots.load()
    for payload in (b"\xc1", b"\x91" * 5000, msgspec.msgpack.encode([1]), b""):
        slots.store(payload)
        assert peek(disk, BASE) == {} and needless(disk, BASE, {}) == 0


# --- the ends of an edge ---


class Lane:
    def __init__(self, *messages: bytes) -> None:
        self.messages = list(messages)

    def recv(self) -> bytes | None:
        return self.messages.pop(0) if self.messages else None


@pytest.mark.parametrize(
    "junk", [b"", b"x" * (HEADER.size - 1), sealed(encode(batch(3)), 2, 5), HEADER.pack(1, 0, 3, 2) + b"x"]
)
def test_a_lane_that_brings_no_record_is_counted_and_the_journal_has_it(tmp_path: Path, junk: bytes) -> None:
    disk = Files(tmp_path)
    to = opened(disk)
    give(to)
    inlet = Inlet(Reader(disk, FOLDER), Lane(junk), 0)
    assert [one.first for turn in range(3) for one in inlet.take(turn)] == [1]
    give(to)
    assert [one.first for turn in range(3, 9) for one in inlet.take(turn * IDLE_LOOK_NS)] == [3]
    assert inlet.counters["damaged"] == 1


def test_a_damaged_message_behind_a_hole_is_counted_and_waited_for_no_more(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = opened(disk)
    give(to)
    inlet = Inlet(Reader(disk, FOLDER), Lane(HEADER.pack(1, 0, 99, 2) + b"x"), 0)
    assert [one.first for turn in range(9) for one in inlet.take(turn * IDLE_LOOK_NS)] == [1]
    assert inlet.counters == {"holes": 1, "lost": 0, "damaged": 1}
    assert inlet.position == 2


def test_of_a_message_that_was_taken_in_part_the_rest_is_taken(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = opened(disk)
    give(to)
    lane = Lane()
    inlet = Inlet(Reader(disk, FOLDER), lane, 0)
    assert [one.first for turn in range(3) for one in inlet.take(turn)] == [1]
    lane.messages = [pack(batch(1), 1, 2), pack(Batch(2, 2, [trade(2), trade(3)]), 2, 3), pack(batch(4), 4, 2)]
    assert [(one.first, one.last) for turn in range(3) for one in inlet.take(turn)] == [(3, 4), (5, 5)]
    assert inlet.counters == {"holes": 0, "lost": 0, "damaged": 0}


def test_a_source_is_made_durable_from_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    give(opened(disk), 2)
    reader = Reader(disk, FOLDER)
    synced: list[tuple[int, int]] = []
    monkeypatch.setattr(reader, "sync", lambda after, upto: synced.append((after, upto)))
    inlet = Inlet(reader, None, 0)
    inlet.sync()
    inlet.take(0)
    inlet.sync()
    inlet.sync()
    assert synced == [(0, 4)]


def test_a_lane_that_is_full_is_skipped_and_counted_and_the_others_get_it(tmp_path: Path) -> None:
    class Full:
        def send(self, data: bytes) -> bool:
            return False

    class Taking:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        def send(self, data: bytes) -> bool:
            self.sent.append(data)
            return True

    disk, taking = Files(tmp_path), Taking()
    outlet = Outlet(Writer(disk, FOLDER, bytes), Reader(disk, FOLDER), [Full(), taking])
    outlet.open(0)
    outlet.give(batch(1))
    outlet.flush()
    outlet.flush()
    assert outlet.counters["lane_skipped"] == 1 and taking.sent == [pack(batch(1), 1, 2)]
    assert Reader(disk, FOLDER).read(0) == [batch(1)]
