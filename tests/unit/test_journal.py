"""The journal: what was appended is read, once, in order, whatever stands torn at its end."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.checkpoint import Checkpoint
from shared.events import Batch, Trade
from shared.files import Files
from shared.journal import Damaged, Reader, Writer, segment_path, segments, unpack

FOLDER = "journal/binance/binance"


def trade(number: int) -> Trade:
    return Trade("SOLUSDT", number, number, None, number, "1.5", "2.25", "buy", number)


def writer(disk: Files, segment_bytes: int = 8 << 20) -> Writer:
    return Writer(disk, FOLDER, lambda: b"state", ["journal/archive/ckpt-binance"], segment_bytes=segment_bytes)


def fill(w: Writer, batches: int, size: int = 3) -> list[bytes]:
    sent = []
    for i in range(batches):
        w.roll()
        sent.append(w.append(Batch(w.last + 1, i, [trade(w.last + 1 + k) for k in range(size)])))
    return sent


def test_what_was_appended_is_read_in_order_across_segments(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk, segment_bytes=500)
    assert w.open() == (None, [])
    sent = fill(w, 40)
    assert len(segments(disk, FOLDER)) > 3
    reader, got, position = Reader(disk, FOLDER), [], 0
    while found := reader.read(position, most_bytes=200):
        got += found
        position = found[-1].last
    assert [b.first for b in got] == [unpack(s).first for s in sent]
    assert position == w.last == 160


class Counting(Files):
    """A disk that tells what was read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self.reads += 1
        return super().read(path, offset, size)


def test_to_look_where_nothing_is_new_opens_no_file_and_misses_nothing_later(tmp_path: Path) -> None:
    disk = Counting(tmp_path)
    w, reader = writer(disk, segment_bytes=500), Reader(disk, FOLDER)
    w.open()
    position = 0
    for _ in range(12):  # some of them begin a segment
        fill(w, 1)
        (batch,) = reader.read(position)
        assert batch.last == w.last
        position, before = batch.last, disk.reads
        assert [reader.read(position) for _ in range(5)] == [[]] * 5
        assert disk.reads == before
    assert len(segments(disk, FOLDER)) > 1
    w.roll()
    fill(w, 3)
    assert [batch.last for batch in reader.read(position)][-1] == w.last


def test_a_writer_of_one_segment_asks_nobody_how_far_he_is(tmp_path: Path) -> None:
    disk = Counting(tmp_path)
    w = writer(disk, segment_bytes=500)
    w.open()
    fill(w, 1)
    before = disk.reads
    assert w.trim() == 0 and disk.reads == before
    fill(w, 20)
    w.trim()
    assert disk.reads > before


def test_a_position_inside_a_batch_takes_the_rest_of_it(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk)
    w.open()
    fill(w, 2)
    (rest, second) = Reader(disk, FOLDER).read(2)
    assert (rest.first, rest.last, len(rest.events)) == (3, 4, 1)
    assert second.first == 5
    (tick,) = Reader(disk, FOLDER).read(7)
    assert tick.events == [] and tick.last == 8


@pytest.mark.parametrize("torn", [1, 7, 19, 20, 21, 60])
def test_a_torn_tail_is_cut_before_anything_is_appended(tmp_path: Path, torn: int) -> None:
    disk = Files(tmp_path)
    w = writer(disk)
    w.open()
    sent = fill(w, 3)
    w.close()
    path = segment_path(FOLDER, 1)
    whole = disk.size(path)
    assert whole is not None
    disk.truncate(path, whole - len(sent[-1]) + min(torn, len(sent[-1]) - 1))
    again = writer(disk)
    state, tail = again.open()
    assert state == b"state" and [b.first for b in tail] == [1, 5] and again.cut_bytes > 0
    assert again.last == 8
    fill(again, 1)
    assert [b.first for b in Reader(disk, FOLDER).read(0)] == [1, 5]
    reader = Reader(disk, FOLDER)
    assert [b.first for b in reader.read(0) + reader.read(8)] == [1, 5, 9]


def test_numbers_that_a_consumer_has_taken_are_never_given_out_again(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk)
    w.open()
    fill(w, 3)
    w.close()
    ckpt = Checkpoint(disk, "journal/archive/ckpt-binance")
    ckpt.load()
    ckpt.store(msgspec.msgpack.encode({"position": 12}))
    disk.truncate(segment_path(FOLDER, 1), 60)  # damage far behind what was synced
    again = writer(disk)
    again.open()
    assert again.last == 12


def test_every_flipped_byte_ends_the_sound_part_and_nothing_wrong_is_read(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk)
    w.open()
    sent = fill(w, 3)
    w.close()
    path = segment_path(FOLDER, 1)
    data, whole = disk.read(path), Reader(disk, FOLDER).read(0)
    start = len(data) - sum(map(len, sent))
    for at in range(start, len(data)):
        flipped = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        disk.write(path, flipped)
        batches = Reader(disk, FOLDER).read(0)
        assert batches == whole[: len(batches)] and len(batches) < 3


def test_a_segment_holds_as_much_of_records_as_of_the_state_it_begins_with(tmp_path: Path) -> None:
    """Else a journal that may hold little fills with states, and stays full for ever (simulated: 92114)."""
    disk, state = Files(tmp_path), bytes(2000)
    w = Writer(disk, FOLDER, lambda: state, ["journal/archive/ckpt-binance"], max_bytes=16_384)
    w.open()
    for n in range(1, 200):
        w.roll()
        w.append(Batch(n, n, []))
    sizes = [disk.size(f"{FOLDER}/{name}") or 0 for name in disk.list(FOLDER)]
    assert len(sizes) > 1 and min(sizes[:-1]) >= 2 * len(state) and max(sizes) < 3 * len(state)


def test_segments_go_when_every_consumer_has_made_them_durable(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk, segment_bytes=300)
    w.open()
    fill(w, 20)
    before = segments(disk, FOLDER)
    assert w.trim() == 0, "a consumer without a checkpoint has taken nothing"
    ckpt = Checkpoint(disk, "journal/archive/ckpt-binance")
    ckpt.load()
    ckpt.store(msgspec.msgpack.encode({"position": 40}))
    assert w.trim() == 0, "were that slot lost, nothing would say what it has"
    ckpt.store(msgspec.msgpack.encode({"position": 44}))
    assert w.trim() > 0
    left = segments(disk, FOLDER)
    assert left[0] <= 41 < before[-1]
    assert Reader(disk, FOLDER).read(40)[0].first == 41
    assert w.held_bytes == sum(disk.size(segment_path(FOLDER, f)) or 0 for f in left)


def test_a_restart_without_batches_keeps_the_state(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = Writer(disk, FOLDER, lambda: b"recovered")
    w.open()
    w.roll()
    w.append(Batch(1, 1, []))
    w.close()
    for _ in range(3):
        w = Writer(disk, FOLDER, lambda: b"")  # what a caller has before it has read what `open` returns
        assert w.open() == (b"recovered", [Batch(1, 1, [])])
        w.close()


@pytest.mark.parametrize("junk", [b"", b"x", b"GET / HTTP/1.1\r\n\r\n" * 9, bytes(64), b"\xff" * 64])
def test_bytes_that_are_no_record_are_refused(junk: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(junk)


def test_a_reader_follows_a_growing_segment_and_waits_at_a_half_written_record(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk)
    w.open()
    reader = Reader(disk, FOLDER)
    assert reader.read(0) == []
    data = fill(w, 1)[0]
    assert [b.first for b in reader.read(0)] == [1]
    path = segment_path(FOLDER, 1)
    half = disk.appender(path)
    half.write(data[: len(data) // 2])
    assert reader.read(4) == [] and reader.damaged == []


class Told(Files):
    """Tells which files were made durable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.synced: list[str] = []

    def sync(self, path: str) -> None:
        self.synced.append(path)
        super().sync(path)


def test_a_reader_makes_durable_what_is_there_and_does_not_fall_over_what_is_not(tmp_path: Path) -> None:
    disk = Told(tmp_path)
    w = writer(disk, segment_bytes=300)
    w.open()
    fill(w, 20)
    firsts = segments(disk, FOLDER)
    assert len(firsts) > 4
    disk.synced.clear()
    Reader(disk, FOLDER).sync(firsts[1], firsts[3])
    assert disk.synced == [segment_path(FOLDER, first) for first in firsts[1:4]]
    disk.synced.clear()
    Reader(disk, FOLDER).sync(firsts[-1] - 1, w.last)
    assert disk.synced == [segment_path(FOLDER, firsts[-1])], "the newest one has no successor"
    for first in firsts:  # by somebody who should not have
        disk.remove(segment_path(FOLDER, first))
    disk.synced.clear()
    Reader(disk, FOLDER).sync(0, 20)
    assert not disk.synced


def test_a_restart_makes_durable_what_the_life_before_it_left_unsynced(tmp_path: Path) -> None:
    """Else the next segment, whose state counts these records as held, could outlive them."""
    disk = Told(tmp_path)
    w = writer(disk)
    w.open()
    fill(w, 2)
    writer(disk).open()
    assert segment_path(FOLDER, 1) in disk.synced


def test_a_segment_goes_only_on_the_word_of_a_durable_checkpoint(tmp_path: Path) -> None:
    disk = Told(tmp_path)
    w = writer(disk, segment_bytes=300)
    w.open()
    fill(w, 20)
    ckpt = Checkpoint(disk, "journal/archive/ckpt-binance")
    ckpt.load()
    ckpt.store(msgspec.msgpack.encode({"position": 40}))
    ckpt.store(msgspec.msgpack.encode({"position": 41}))
    disk.synced.clear()
    assert w.trim() > 0
    assert "journal/archive/ckpt-binance.1" in disk.synced


def test_a_segment_goes_only_on_the_word_of_the_older_slot(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = writer(disk, segment_bytes=300)
    w.open()
    fill(w, 20)
    ckpt = Checkpoint(disk, "journal/archive/ckpt-binance")
    ckpt.load()
    ckpt.store(msgspec.msgpack.encode({"position": 40}))
    ckpt.store(msgspec.msgpack.encode({"position": 80}))
    assert w.trim() > 0
    assert Reader(disk, FOLDER).read(40)[0].first == 41
    # And where one of them is damaged, nothing more
    ckpt.store(msgspec.msgpack.encode({"position": 80}))
    disk.write("journal/archive/ckpt-binance.0", b"?")
    assert w.trim() == 0


def test_what_would_have_to_be_written_again_is_kept_while_there_is_room(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    ckpt = Checkpoint(disk, "journal/archive/ckpt-binance")
    ckpt.load()
    for max_bytes, least, most in ((1 << 20, 1, 9), (20_000, 10, 41)):
        w = Writer(disk, FOLDER, bytes, ["journal/archive/ckpt-binance"], segment_bytes=300, max_bytes=max_bytes)
        w.open()
        fill(w, 20)
        for _ in range(2):
            ckpt.store(msgspec.msgpack.encode({"position": 40, "keep": 8}))
        w.trim()
        w.close()
        assert least <= segments(disk, FOLDER)[0] <= most


def test_from_any_position_the_next_record_comes_however_little_is_read_at_once(tmp_path: Path) -> None:
    """What lay behind the first `most_bytes` of a segment, all of them old, was passed over with them once."""
    disk = Files(tmp_path)
    for batches in (30, 3):
        w = writer(disk)
        w.open()
        fill(w, batches)
        w.close()
    assert len(segments(disk, FOLDER)) == 2 and w.last == 33 * 4
    size = disk.size(segment_path(FOLDER, 1)) or 0
    for position in range(w.last):
        for most_bytes in range(1, size + 200, 97):
            found = Reader(disk, FOLDER).read(position, most_bytes)
            assert found[0].first == position + 1, (position, most_bytes)


def test_a_full_journal_waits_for_the_archiver_alone_and_says_whom_it_cut_loose(tmp_path: Path) -> None:
    # Given an archiver that keeps up and an aggregator that stopped long ago
    disk = Files(tmp_path)
    archive, bars = "journal/archive/ckpt-binance", "journal/bars_1s/ckpt-binance"
    w = Writer(disk, FOLDER, lambda: b"", [archive, bars], keepers=[archive], segment_bytes=300, max_bytes=1500)
    w.open()
    w.roll()
    for base, position in ((archive, 0), (bars, 4)):
        ckpt = Checkpoint(disk, base)
        ckpt.load()
        ckpt.store(msgspec.msgpack.encode({"position": position}))
    fill(w, 40)
    # Then nothing that is not archived goes, however much there is
    assert w.trim() == 0 and w.held_bytes > 1500
    # Nor on the word of one slot, for the other may be all that is left tomorrow
    ckpt = Checkpoint(disk, archive)
    ckpt.load()
    ckpt.store(msgspec.msgpack.encode({"position": w.last}))
    assert w.trim() == 0 and not w.cut_loose
    # And once it is archived, no more is kept than there may be
    ckpt.store(msgspec.msgpack.encode({"position": w.last}))
    assert w.trim() > 0
    assert w.held_bytes <= 1500 and w.cut_loose == {bars}


def test_a_journal_that_may_hold_little_has_room_again_once_all_is_taken(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    w = Writer(disk, FOLDER, lambda: b"state", ["journal/archive/ckpt-binance"], max_bytes=40_000)
    w.open()
    while w.held_bytes < 40_000:
        fill(w, 1)
    archiver = Checkpoint(disk, "journal/archive/ckpt-binance")
    archiver.load()
    for _ in range(2):
        archiver.store(msgspec.msgpack.encode({"position": w.last}))
    w.trim()
    assert w.held_bytes < 10_000
