"""The Parquet sink: each bar in one row, in a file that is whole before it has a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from procs.parquet_sink import Config, ParquetSink
from shared import checkpoint, paths
from shared.barfiles import BAR_SCHEMA, starts
from shared.events import Bar, Batch, Feed
from shared.files import Files
from shared.runner import Context

T0 = paths.day_start("2025-10-20") + 13 * paths.HOUR + 42 * paths.MINUTE
S = paths.SECOND
FOLDER = "parquet/binance/SOLUSDT/year=2025/month=10/day=20"


def bar(second: int, revision: int = 0, close: float = 1.5, symbol: str = "SOLUSDT") -> Bar:
    return Bar(symbol, T0 + second * S, 1.0, 2.0, 0.5, close, 3.0, 4.0, 1, revision=revision)


def sink(disk: Files, flush_every_s: int = 60) -> ParquetSink:
    found = ParquetSink(Context("parquet", "bars_1s.binance", "binance", disk), Config(flush_every_s=flush_every_s))
    found.open()
    return found


class Feeder:
    """Numbers batches as a journal would."""

    def __init__(self, stage: ParquetSink, next_: int = 1) -> None:
        self.stage, self.next = stage, next_

    def give(self, ts_s: int, *bars: Bar, commit: bool = True) -> None:
        batch = Batch(self.next, T0 + ts_s * S, list(bars))
        assert list(self.stage.handle(batch)) == []
        self.next = batch.last + 1
        if commit:
            self.stage.commit()


def rows(disk: Files, folder: str = FOLDER) -> list[tuple[int, int, float]]:
    found = []
    for name in disk.list(folder):
        assert name.endswith(".parquet")
        table = disk.read_table(f"{folder}/{name}")
        assert table.schema.equals(BAR_SCHEMA)
        for row in table.to_pylist():
            found.append((int(row["window_start"].timestamp()) - T0 // S, row["revision"], row["close"]))
    return sorted(found)


def test_the_first_flush_comes_after_five_seconds_of_record_time(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(2, bar(0))
    to.give(6, bar(1))
    assert disk.list(FOLDER) == []
    to.give(7, bar(5))
    assert rows(disk) == [(0, 0, 1.5), (1, 0, 1.5), (5, 0, 1.5)]
    assert disk.list(FOLDER) == ["part_1342_0000000000000001_0000000000000006.parquet"]


def test_rows_stand_in_the_order_of_time_in_whichever_they_came(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(2, bar(1), bar(0, symbol="ADAUSDT"))
    to.give(7, bar(3), bar(0), bar(2), bar(-1, symbol="ADAUSDT"))
    for folder, seconds in ((FOLDER, [0, 1, 2, 3]), (FOLDER.replace("SOLUSDT", "ADAUSDT"), [-1, 0])):
        (name,) = disk.list(folder)
        assert starts(disk.read_table(f"{folder}/{name}")) == [T0 + second * S for second in seconds]
        assert name.startswith(f"part_{paths.clock_name(T0 + seconds[0] * S)}_")


def test_later_flushes_come_at_the_minutes(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(0, bar(-1))
    to.give(10, bar(8))
    to.give(59, bar(57))
    assert len(disk.list(FOLDER)) == 1
    to.give(60, bar(58))
    assert len(disk.list(FOLDER)) == 2


def test_a_part_says_which_range_it_came_from(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0, bar(-1))
    to.give(1, bar(0))
    (_, later) = disk.list(FOLDER) if len(disk.list(FOLDER)) == 2 else ("", disk.list(FOLDER)[0])
    meta = disk.table_meta(f"{FOLDER}/{later}")
    assert meta is not None
    assert meta[1]["lake.last"] == "4"


def test_rows_of_two_hours_or_symbols_go_to_files_of_their_own(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(0)
    to.give(18 * 60 + 5, bar(18 * 60 - 1), bar(18 * 60), bar(18 * 60, symbol="ADAUSDT"))
    assert [name[:9] for name in disk.list(FOLDER)] == ["part_1359", "part_1400"]
    assert len(disk.list(FOLDER.replace("SOLUSDT", "ADAUSDT"))) == 1


def test_midnight_parts_the_days(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    midnight = (paths.day_start("2025-10-21") - T0) // S
    to.give(midnight - 10)
    to.give(midnight + 1, bar(midnight - 1), bar(midnight))
    assert len(rows(disk)) == 1
    assert len(rows(disk, "parquet/binance/SOLUSDT/year=2025/month=10/day=21")) == 1


def test_a_revision_replaces_its_row_in_the_part_where_it_stands(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(2, bar(0), bar(1))
    to.give(4, bar(2))
    names = disk.list(FOLDER)
    to.give(6, bar(1, revision=1, close=9.0))
    assert disk.list(FOLDER) == names
    assert rows(disk) == [(0, 0, 1.5), (1, 1, 9.0), (2, 0, 1.5)]
    assert to.stage.counters["rewritten"] == 1


def test_a_revision_within_a_flush_leaves_the_newest(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(0)
    to.give(3, bar(1))
    to.give(6, bar(1, revision=1, close=9.0))
    assert rows(disk) == [(1, 1, 9.0)]


def test_a_healed_second_that_had_no_row_gets_one(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))
    to.give(7, bar(1, revision=1))
    assert rows(disk) == [(1, 1, 1.5), (3, 0, 1.5)]


def test_a_bar_of_a_sealed_hour_is_counted_and_left_to_the_compactor(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))
    end = 18 * 60 + 120
    to.give(end - 1, bar(end - 3))
    to.give(end, bar(4, revision=1))
    assert to.stage.counters["late_sealed"] == 0, "not sealed as of the last checkpoint"
    to.give(end + 1, bar(5, revision=1))
    assert to.stage.counters["late_sealed"] == 1
    assert [second for second, _, _ in rows(disk)] == [3, 4, end - 3]


def test_a_crash_behind_the_checkpoint_leaves_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))
    position, at = to.next - 1, to.next

    # Given parts that got their names, and no checkpoint after it
    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(to.stage, "_store", killed)
        to.give(7, bar(5))
    assert len(rows(disk)) == 2
    # When it starts again and flushes at another moment
    again = ParquetSink(Context("parquet", "bars_1s.binance", "binance", disk), Config(flush_every_s=1))
    assert again.open() == position
    to = Feeder(again, at)
    to.give(7, bar(5), commit=False)
    to.give(9, bar(6))
    # Then the range after the checkpoint is written once
    assert rows(disk) == [(3, 0, 1.5), (5, 0, 1.5), (6, 0, 1.5)]


def test_parts_that_a_crash_left_days_ahead_of_the_checkpoint_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))
    at = to.next

    def killed() -> None:
        raise KeyboardInterrupt

    later = 3 * 86_400  # the machine slept for three days
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(to.stage, "_store", killed)
        to.give(later + 2, bar(later))
    to = Feeder(sink(disk, 1), at)
    to.give(later + 2, bar(later), commit=False)
    to.give(later + 3, bar(later + 1))
    assert [s for s, _, _ in rows(disk, FOLDER.replace("day=20", "day=23"))] == [later, later + 1]


def test_unfinished_files_are_swept_at_start(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))
    disk.write(f"{FOLDER}/part_1342_0000000000000009_0000000000000010.parquet.tmp", b"half")
    sink(disk)
    assert len(disk.list(FOLDER)) == 1


def test_a_part_open_elsewhere_keeps_its_rows_and_the_newer_ones_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))

    def held(old: str, new: str) -> None:
        raise PermissionError(new)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "replace", held)
        to.give(7, bar(3, revision=1))
    assert rows(disk) == [(3, 0, 1.5)] and to.stage.counters["waiting"] == 1
    # When it is let go, even after a restart
    to = Feeder(sink(disk, 1), to.next)
    to.give(9, bar(6))
    to.give(11, bar(8))
    assert rows(disk) == [(3, 1, 1.5), (6, 0, 1.5), (8, 0, 1.5)]


def test_the_checkpoint_says_up_to_which_time_all_bars_are_on_disk(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk, 1))
    to.give(0)
    to.give(5, bar(3))
    saved = checkpoint.peek(disk, "journal/parquet/ckpt-bars_1s.binance")
    assert (saved["position"], saved["ts"]) == (to.next - 1, T0 + 5 * S)


def test_a_drained_stop_flushes_what_is_there(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(0, bar(-2))
    assert disk.list(FOLDER) == []
    to.stage.commit(final=True)
    assert rows(disk) == [(-2, 0, 1.5)]


def test_the_end_of_a_recording_flushes_and_stands_in_the_checkpoint(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = sink(disk)
    stage.handle(Batch(1, T0, [bar(-2), Feed("ended", T0, T0)]))
    stage.commit()
    assert rows(disk) == [(-2, 0, 1.5)]
    assert checkpoint.peek(disk, "journal/parquet/ckpt-bars_1s.binance")["ended"] is True


def test_a_sink_without_its_checkpoint_doubles_no_row_and_loses_none(tmp_path: Path) -> None:
    # Given rows of a folded hour and of an open one, and a checkpoint that is gone in both slots
    disk = Files(tmp_path)
    first = sink(disk, flush_every_s=1)
    earlier, later = T0 - paths.HOUR, T0
    for number, start in enumerate((earlier, later), 1):
        list(first.handle(Batch(2 * number - 1, start + paths.SECOND, [Bar("SOLUSDT", start, close=1.0)])))
        first.commit(final=True)
    for name in disk.list(FOLDER):
        if name.startswith("part_12"):
            disk.rename(f"{FOLDER}/{name}", f"{FOLDER}/hour_12.parquet")
    before = disk.list(FOLDER)
    for slot in (0, 1):
        disk.remove(f"journal/parquet/ckpt-bars_1s.binance.{slot}")
    # When the journal is taken from its beginning once more
    again = sink(disk, flush_every_s=1)
    for number, start in enumerate((earlier, later), 1):
        list(again.handle(Batch(2 * number - 1, start + paths.SECOND, [Bar("SOLUSDT", start, close=2.0)])))
    again.commit(final=True)
    # Then the folded hour is left alone, the open one holds each second once, and it is the newest
    assert disk.list(FOLDER) == before
    (part,) = [name for name in before if name.startswith("part_")]
    assert disk.read_table(f"{FOLDER}/{part}").column("close").to_pylist() == [2.0]


def test_a_part_from_before_the_first_checkpoint_holds_each_row_once_until_all_of_it_came_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a part of three records whose flush was killed before there ever was a checkpoint
    def killed() -> None:
        raise KeyboardInterrupt

    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(2, bar(0), commit=False)
    to.give(4, bar(2), commit=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(to.stage, "_store", killed)
        to.give(7, bar(5), commit=False)
        to.stage.commit(final=True)
    # When the next life comes to its checkpoint with two of them, and the one behind it takes all
    to = Feeder(sink(disk))
    to.give(2, bar(0), commit=False)
    to.give(4, bar(2), commit=False)
    to.stage.commit(final=True)
    assert [second for second, _, _ in rows(disk)] == [0, 2, 5]
    to = Feeder(sink(disk), to.next)
    to.give(7, bar(5), commit=False)
    to.give(9, bar(7), commit=False)
    to.stage.commit(final=True)
    # Then no row is gone with the part, and none stands beside it
    assert [second for second, _, _ in rows(disk)] == [0, 2, 5, 7]


def test_rows_that_were_folded_on_the_word_of_a_slot_that_was_lost_stand_once(tmp_path: Path) -> None:
    # Given rows of a flush that the compactor folded, since the checkpoint said that their hour was over
    disk = Files(tmp_path)
    to = Feeder(sink(disk))
    to.give(2, bar(0))
    to.give(10, bar(5))
    second = to.next
    to.give(3600, bar(20))
    first, part = disk.list(FOLDER)
    disk.remove(f"{FOLDER}/{first}")
    disk.rename(f"{FOLDER}/{part}", f"{FOLDER}/hour_13.parquet")
    # When that checkpoint cannot be read any more, and the rows come again
    disk.write("journal/parquet/ckpt-bars_1s.binance.0", b"nonsense")
    again = Feeder(sink(disk), second)
    again.give(3600, bar(20))
    again.give(3660, bar(1100))
    # Then
    assert [row[0] for row in rows(disk)] == [20, 1100]
    assert again.stage.counters["late_sealed"] == 1
