"""What is durable before what: every call to the disk of the stages that hold data, in its order.

One sync too few is seen by no reader and by no kill, only by a power cut that comes in the wrong millisecond. So the
whole order is held here, call by call; whoever changes it says why in the same commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from procs.archiver import Archiver
from procs.archiver import Config as ArchiverConfig
from procs.compactor.swap import Swap, recover
from procs.parquet_sink import Config as SinkConfig
from procs.parquet_sink import ParquetSink
from shared import paths
from shared.checkpoint import Checkpoint, settle
from shared.events import Bar, Batch, Event, Feed, Trade
from shared.files import Files
from shared.journal import HEADER, SEGMENT_BYTES, Reader, Writer, segment_path
from shared.quarantine import keep, set_aside
from shared.runner import Context
from tests.fixtures.dying_disk import Died, DyingDisk
from tests.fixtures.spied import Spied

T0 = paths.day_start("2025-10-20") + 13 * paths.HOUR + 42 * paths.MINUTE
S = paths.SECOND


def trade(ts: int, number: int = 1) -> Trade:
    return Trade("SOLUSDT", ts, ts, None, ts, "187.42", "3.1", "buy", number)


# --- the disk itself: what the system is asked for ---


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the system is asked to make durable, and which names it is asked to give, in order."""
    if os.name == "nt":
        pytest.skip("folders are not synced there")
    said: list[str] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def named(fd: int) -> None:
        stat = os.fstat(fd)
        found = [
            path
            for path in (tmp_path, *tmp_path.rglob("*"))
            if os.path.samestat(path.stat(follow_symlinks=False), stat)
        ]
        assert len(found) == 1, found
        said.append(f"sync {found[0].relative_to(tmp_path).as_posix()} of {stat.st_size if found[0].is_file() else 0}")
        fsync(fd)

    def moved(plain: Callable[[Path, Any], Path]) -> Callable[[Path, Any], Path]:
        def move(self: Path, target: Any) -> Path:
            said.append(f"{plain.__name__} {self.name} {Path(target).name}")
            return plain(self, target)

        return move

    monkeypatch.setattr(os, "fsync", named)
    monkeypatch.setattr(Path, "rename", moved(rename))
    monkeypatch.setattr(Path, "replace", moved(replace))
    yield said


def test_a_file_that_is_written_is_durable_with_its_folders(tmp_path: Path, asked: list[str]) -> None:
    Files(tmp_path).write("a/b/c", b"12345")
    assert asked == ["sync . of 0", "sync a of 0", "sync a/b/c of 5"]


def test_what_is_appended_is_durable_once_it_is_asked_for(tmp_path: Path, asked: list[str]) -> None:
    file = Files(tmp_path).appender("a/c")
    file.write(b"12345")
    assert asked == ["sync . of 0"]
    file.sync()
    file.close()
    assert asked == ["sync . of 0", "sync a/c of 5"]


def test_what_others_wrote_is_made_durable_on_their_behalf(tmp_path: Path, asked: list[str]) -> None:
    disk = Files(tmp_path)
    (tmp_path / "c").write_bytes(b"123")
    disk.sync("c")
    disk.sync_dir("")
    assert asked == ["sync c of 3", "sync . of 0"]


def test_a_folder_that_is_made_has_a_durable_name(tmp_path: Path, asked: list[str]) -> None:
    Files(tmp_path).mkdir("a/b")
    assert asked == ["sync . of 0", "sync a of 0"]
    (tmp_path / "x").write_bytes(b"")
    Files(tmp_path).rename("x", "c/x")
    assert asked[2:] == ["sync . of 0", "rename x x"]


def test_a_table_is_durable_before_anybody_gives_it_a_name(tmp_path: Path, asked: list[str]) -> None:
    disk = Files(tmp_path)
    disk.write_table("a/t.tmp", pa.table({"n": [1]}))
    assert asked == ["sync . of 0", f"sync a/t.tmp of {disk.size('a/t.tmp')}"]


def test_a_table_with_other_rows_than_were_given_is_refused_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever library or disk did that: what is named is what was meant."""
    import pyarrow.parquet as pq

    plain = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda table, *more, **options: plain(table.slice(1), *more, **options))
    with pytest.raises(OSError, match="1 rows on disk where 2 were written"):
        Files(tmp_path).write_table("t.tmp", pa.table({"n": [1, 2]}))
    assert Files(tmp_path).list("") == []


# --- the checkpoint ---

BASE = "journal/archive/ckpt-binance"


def test_a_slot_that_is_new_has_a_durable_name(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    slots = Checkpoint(disk, BASE)
    slots.load()
    for _ in range(3):
        slots.store(b"x")
    assert disk.told((BASE, "slot")) == [
        "write slot.1", "names journal/archive", "write slot.0", "names journal/archive", "write slot.1",
    ]  # fmt: skip


def test_settling_makes_both_slots_and_their_names_durable(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    for slot in (0, 1):
        disk.write(f"{BASE}.{slot}", b"")
    disk.told()
    settle(disk, BASE)
    assert disk.told((BASE, "slot")) == ["sync slot.0", "sync slot.1", "names journal/archive"]
    settle(disk, "journal/archive/ckpt-none")
    assert disk.told() == []


def test_a_slot_that_cannot_be_read_is_kept_for_somebody_to_look_at_and_an_empty_one_is_not(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write(f"{BASE}.0", b"rotten")
    disk.write(f"{BASE}.1", b"")
    slots = Checkpoint(disk, BASE)
    assert slots.load() is None and slots.is_doubtful
    assert disk.list("quarantine") == [
        "journal.archive.ckpt-binance.0", "journal.archive.ckpt-binance.0.why"
    ]  # fmt: skip
    assert disk.read("quarantine/journal.archive.ckpt-binance.0") == b"rotten"


def test_slots_that_can_be_read_or_never_were_leave_no_doubt(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    fresh = Checkpoint(disk, BASE)
    fresh.load()
    fresh.store(b"one")
    again = Checkpoint(disk, BASE)
    assert again.load() == b"one" and not fresh.is_doubtful and not again.is_doubtful
    assert disk.list("quarantine") == []


# --- the journal ---

FOLDER = "journal/binance/binance"
FIRST = segment_path(FOLDER, 1)


def writer(disk: Files, segment_bytes: int = SEGMENT_BYTES) -> Writer:
    return Writer(disk, FOLDER, lambda: b"state", [BASE], segment_bytes=segment_bytes)


def give(to: Writer, count: int = 1) -> None:
    for _ in range(count):
        to.roll()
        to.append(Batch(to.last + 1, to.last, [trade(to.last)]))


def test_a_segment_is_whole_before_it_has_its_name_and_durable_before_the_next_begins(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    to = writer(disk, segment_bytes=1)
    to.open()
    give(to)
    begun = ["write 1.tmp", "replace 1.tmp 1", f"names {FOLDER}", "append 1"]
    assert disk.told((FIRST, "1")) == begun
    give(to)
    third = segment_path(FOLDER, 3)
    assert disk.told((FIRST, "1"), (third, "3")) == [
        "sync 1", "write 3.tmp", "replace 3.tmp 3", f"names {FOLDER}", "append 3",
    ]  # fmt: skip
    to.sync()
    assert disk.told((third, "3")) == ["sync 3"]


def test_a_torn_tail_is_kept_cut_and_the_cut_durable(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    to = writer(disk)
    to.open()
    give(to, 2)
    to.close()
    data = disk.read(FIRST)
    disk.write(FIRST, data[:-1])
    disk.told()
    again = writer(disk)
    again.open()
    kept = "quarantine/journal.binance.binance.j-00000000000000000001.log"
    assert disk.told((FIRST, "1"), (kept, "kept")) == ["write kept.why", "write kept", "truncate 1", "sync 1"]
    assert disk.read(kept) and data[:-1].endswith(disk.read(kept)), "the torn record, and nothing of the sound ones"
    assert again.cut_bytes == len(disk.read(kept)) and disk.size(FIRST) == len(data) - again.cut_bytes - 1


def test_of_a_torn_header_nothing_is_kept(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    to = writer(disk)
    to.open()
    give(to)
    to.close()
    data = disk.read(FIRST)
    disk.write(FIRST, data + bytes(HEADER.size))
    assert writer(disk).open()[1] and disk.size(FIRST) == len(data) and disk.list("quarantine") == []


def test_before_segments_go_what_their_readers_say_is_durable(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    to = writer(disk, segment_bytes=1)
    to.open()
    give(to, 3)
    slots = Checkpoint(disk, BASE)
    slots.load()
    for _ in range(2):
        slots.store(msgspec.msgpack.encode({"position": 4}))
    disk.told()
    assert to.trim() == 2
    assert disk.told((FOLDER, "j"), (BASE, "slot")) == [
        "sync slot.0", "sync slot.1", "names journal/archive",
        "remove j/j-00000000000000000001.log", "remove j/j-00000000000000000003.log",
    ]  # fmt: skip
    assert to.trim() == 0 and disk.told() == []


def test_a_consumer_makes_durable_just_what_it_has_taken(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    to = writer(disk, segment_bytes=1)
    to.open()
    give(to, 4)
    disk.told()
    reader = Reader(disk, FOLDER)
    for after, upto, found in ((0, 8, "1357"), (0, 2, "1"), (2, 4, "3"), (3, 5, "35"), (8, 8, "")):
        reader.sync(after, upto)
        assert [call[-5] for call in disk.told()] == list(found), (after, upto)


# --- the archiver ---

RAW = "raw/binance/SOLUSDT/2025-10-20"
SEALS = "journal/archive/seals-binance"
SHORT = ((RAW, "raw"), (BASE, "slot"), (SEALS, "seals"), (".jsonl", ""), ("journal/archive", "home"))


def archiver(disk: Files) -> Archiver:
    found = Archiver(Context("archive", "binance", "binance", disk), ArchiverConfig(rotate_every_s=60))
    found.open()
    return found


def taken(stage: Archiver, first: int, ts: int, *events: Event) -> int:
    batch = Batch(first, ts, list(events))
    list(stage.handle(batch))
    return batch.last + 1


def test_lines_and_their_names_are_durable_before_the_checkpoint_that_counts_them(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    stage = archiver(disk)
    at = taken(stage, 1, T0, trade(T0))
    stage.commit()
    assert disk.told(*SHORT) == [
        "append raw/open_1342",
        "sync raw/open_1342",
        "names raw",
        "write slot.1",
        "names home",
    ]
    at = taken(stage, at, T0, trade(T0, 2))
    stage._write(next(iter(stage._open.values())))  # what comes beyond the buffer is written before the commit
    stage.commit()
    assert disk.told(*SHORT) == ["append raw/open_1342", "sync raw/open_1342", "write slot.0", "names home"]
    taken(stage, at, T0)
    stage.commit()
    assert disk.told(*SHORT) == ["write slot.1"], "what is durable need not be made so again"


def test_a_file_is_sealed_named_in_the_checkpoint_and_then_closed(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    stage = archiver(disk)
    taken(stage, 1, T0 + 62 * S, trade(T0))
    stage.commit()
    assert disk.told(*SHORT) == [
        "append raw/open_1342", "sync raw/open_1342", "names raw",
        "write seals.1", "names home", "write slot.1", "names home",
        "rename raw/open_1342 raw/part_1342", "names raw",
    ]  # fmt: skip


def test_what_no_checkpoint_counts_is_cut_and_the_cut_durable(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    stage = archiver(disk)
    at = taken(stage, 1, T0, trade(T0))
    stage.commit()
    stage.commit()
    taken(stage, at, T0, trade(T0, 2))
    stage._write(next(iter(stage._open.values())))
    disk.told()
    archiver(disk)
    settled = ["sync slot.0", "sync slot.1", "names home"]
    assert disk.told(*SHORT) == [*settled, "truncate raw/open_1342", "sync raw/open_1342"]


def test_a_file_begun_after_the_checkpoint_goes(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    stage = archiver(disk)
    at = taken(stage, 1, T0, trade(T0))
    stage.commit()
    taken(stage, at, T0 + 60 * S, trade(T0 + 60 * S, 2), Feed("connected", T0, T0, []))
    for entry in stage._open.values():
        stage._write(entry) if entry.lines else None
    disk.told()
    archiver(disk)
    removed = [call for call in disk.told(*SHORT) if call.startswith("remove")]
    assert removed == ["remove feed/binance/2025-10-20/open_1342", "remove raw/open_1343"]


# --- the sink ---

PARTS = "parquet/binance/SOLUSDT/year=2025/month=10/day=20"
SUNK = (
    (PARTS, "parts"), (".parquet", ""), ("_0000000000000001_0000000000000004", "_a"),
    ("_0000000000000005_0000000000000007", "_b"),
    ("journal/parquet/ckpt-bars_1s.binance", "slot"), ("journal/parquet/seals-bars_1s.binance", "seals"),
    ("journal/parquet", "home"),
)  # fmt: skip


def sink(disk: Files) -> ParquetSink:
    found = ParquetSink(Context("parquet", "bars_1s.binance", "binance", disk), SinkConfig(flush_every_s=1))
    found.open()
    return found


def bars(stage: ParquetSink, first: int, ts_s: int, *starts: int, revision: int = 0) -> int:
    found: list[Event] = [
        Bar("SOLUSDT", T0 + start * S, 1.0, 2.0, 0.5, 1.5, 3.0, 4.0, 1, revision=revision) for start in starts
    ]
    batch = Batch(first, T0 + ts_s * S, found)
    list(stage.handle(batch))
    return batch.last + 1


def flushed(stage: ParquetSink) -> int:
    at = bars(stage, 1, 0, -1)
    at = bars(stage, at, 1, 0)
    stage.commit()
    return at


def test_a_part_is_whole_named_and_sealed_before_the_checkpoint_that_counts_it(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    stage = sink(disk)
    at = flushed(stage)
    assert disk.told(*SUNK) == [
        "table parts/part_1341_a.tmp", "sync parts/part_1341_a.tmp",
        "rename parts/part_1341_a.tmp parts/part_1341_a", "names parts",
        "write seals.1", "names home", "write slot.1", "names home",
    ]  # fmt: skip
    bars(stage, at, 2, 1, 0)
    stage.commit()
    assert disk.told(*SUNK) == [
        "table parts/part_1341_a.tmp", "replace parts/part_1341_a.tmp parts/part_1341_a",
        "table parts/part_1342_b.tmp", "sync parts/part_1342_b.tmp",
        "rename parts/part_1342_b.tmp parts/part_1342_b", "names parts",
        "write seals.0", "names home", "write slot.0", "names home",
    ]  # fmt: skip


def test_a_row_that_is_replaced_alone_is_durable_by_its_name_too(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    stage = sink(disk)
    at = flushed(stage)
    disk.told()
    bars(stage, at, 2, 0, revision=1)
    stage.commit()
    assert disk.told(*SUNK)[:3] == [
        "table parts/part_1341_a.tmp", "replace parts/part_1341_a.tmp parts/part_1341_a", "names parts",
    ]  # fmt: skip


def test_parts_that_came_to_no_checkpoint_are_gone_durably_before_what_replaces_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Spied(tmp_path)
    stage = sink(disk)
    at = flushed(stage)
    monkeypatch.setattr(stage, "_store", lambda: None)
    bars(stage, at, 2, 1)
    stage.commit()
    disk.write(f"{PARTS}/part_1359_x.parquet.tmp", b"")
    disk.told()
    again = sink(disk)
    assert [call for call in disk.told(*SUNK) if "parts" in call] == ["remove parts/part_1359_x.tmp"]
    bars(again, at, 3, 1, 2)
    again.commit(final=True)
    calls = [call for call in disk.told(*SUNK) if "parts" in call]
    assert [call.split()[0] for call in calls] == ["table", "sync", "remove", "names", "rename", "names"]
    assert len(disk.list(PARTS)) == 2


# --- files set aside ---


def test_what_is_set_aside_says_why_first_and_is_gone_durably(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    disk.write("raw/x", b"1")
    disk.told()
    set_aside(disk, "raw/x", "rotten")
    assert disk.told() == ["write quarantine/raw.x.why", "rename raw/x quarantine/raw.x", "names raw"]


def test_what_cannot_be_kept_on_a_full_disk_leaves_no_torn_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    plain = disk.write

    def full(path: str, data: bytes) -> None:
        if not path.endswith(".why"):
            plain(path, data[:1])
            raise OSError(28, "No space left on device")
        plain(path, data)

    monkeypatch.setattr(disk, "write", full)
    keep(disk, "a/b", b"rotten", "why")
    assert disk.list("quarantine") == ["a.b.why"]


# --- the compactor's swap ---


def test_a_swap_is_durable_step_by_step(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    for name in ("one", "two"):
        disk.write(f"raw/{name}", name.encode())
    disk.told()
    swap = Swap(disk, "day")
    swap.bytes("raw/all", b"onetwo")
    swap.table("parquet/t", pa.table({"n": [1]}))
    for name in ("one", "two"):
        swap.drop(f"raw/{name}")
    assert swap.commit()
    home, names = "names journal/compactor", ["names parquet", "names raw"]
    assert disk.told() == [
        "write raw/new_all.tmp", "table parquet/new_t.tmp", *names,
        "write journal/compactor/intent-day.json.tmp",
        "rename journal/compactor/intent-day.json.tmp journal/compactor/intent-day.json", home,
        "rename raw/one raw/old_one.tmp", "rename raw/two raw/old_two.tmp", *names,
        "rename raw/new_all.tmp raw/all", "rename parquet/new_t.tmp parquet/t", *names,
        "remove raw/old_one.tmp", "remove raw/old_two.tmp", *names,
        "remove journal/compactor/intent-day.json", home,
    ]  # fmt: skip


def test_a_new_file_that_is_not_as_it_was_written_replaces_nothing(tmp_path: Path) -> None:
    """A byte of the new file turned before the swap: the old one stays, and nothing is left to be finished."""
    disk = Spied(tmp_path)
    disk.write("raw/one", b"one")
    swap = Swap(disk, "day")
    made = swap.bytes("raw/all", b"one")
    swap.drop("raw/one")
    disk.write("raw/new_all.tmp", b"oNe")
    assert not swap.commit()
    assert disk.list("raw") == ["one"] and disk.list("journal/compactor") == [] and made.size == 3


def test_what_is_read_back_otherwise_than_it_was_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    plain_bytes, plain_table = disk.write, disk.write_table
    monkeypatch.setattr(disk, "write", lambda path, data: plain_bytes(path, data[:-1] + b"?"))
    with pytest.raises(OSError, match="the bytes read back"):
        Swap(disk, "x").bytes("a/b", b"1234")
    monkeypatch.setattr(disk, "write_table", lambda path, table: plain_table(path, pa.table({"n": [2]})))
    with pytest.raises(OSError, match="the rows read back"):
        Swap(disk, "x").table("a/t", pa.table({"n": [1]}))


def test_an_intent_that_was_not_finished_when_it_was_written_is_nothing(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    disk.write("journal/compactor/intent-day.json.tmp", b'{"makes":[],"dro')
    disk.told()
    recover(disk)
    assert disk.told() == ["remove journal/compactor/intent-day.json.tmp"]


def interrupted(root: Path) -> Files:
    """A swap that was killed when its intent had its name, and nothing else was done."""
    disk = Files(root)
    disk.write("raw/old", b"old")
    disk.write("raw/other", b"other")
    swap = Swap(DyingDisk(root, 5), "day")
    swap.bytes("raw/all", b"new")
    swap.drop("raw/old")
    with pytest.raises(Died):
        swap.commit()
    assert disk.list("journal/compactor") == ["intent-day.json"]
    return disk


def test_whatever_byte_of_an_intent_turns_the_swap_is_finished_as_it_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nothing loses power here
    disk = interrupted(tmp_path)
    data = disk.read("journal/compactor/intent-day.json")
    for at in range(len(data)):
        for bit in (1, 16):
            disk.write("journal/compactor/intent-day.json", data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            disk.write("raw/old", b"old")
            disk.remove("raw/all")
            disk.write("raw/new_all.tmp", b"new")
            recover(disk)
            assert disk.list("raw") == ["all", "other"] and disk.list("journal/compactor") == [], at


def test_an_intent_that_says_nothing_certain_is_set_aside_and_ends_nobody(tmp_path: Path) -> None:
    disk = interrupted(tmp_path)
    data = disk.read("journal/compactor/intent-day.json")
    disk.write("journal/compactor/intent-day.json", data.replace(b"raw/old", b"raw/oth"))
    recover(disk)
    assert disk.list("raw") == ["new_all.tmp", "old", "other"] and disk.list("journal/compactor") == []
    assert disk.list("quarantine") == [
        "journal.compactor.intent-day.json", "journal.compactor.intent-day.json.why"
    ]  # fmt: skip
