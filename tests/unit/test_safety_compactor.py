"""The compactor takes old files away: each bolt before that, one by one. The whole of it is tried as a process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import zstandard

from procs.compactor import Config, backfills, fold, repair, work
from procs.compactor.day import Day
from procs.compactor.swap import HOME, NotAsWritten
from procs.compactor.work import Asked, Run
from shared import archive, paths, staging
from shared.barfiles import bar_table, starts
from shared.errand import Errand
from shared.events import Bar, Trade
from shared.files import Files
from shared.holdings import merge
from shared.lines import line
from shared.locks import Lock
from shared.process import Lifeline
from shared.room import NoRoom
from shared.sealing import Reached
from tests.fixtures.small_lake import NOON, Market, bars_of, write_raw
from tests.fixtures.spied import Spied

S, MINUTE, HOUR = paths.SECOND, paths.MINUTE, paths.HOUR
DATE = "2025-10-20"
OF = ("binance", "SOLUSDT", DATE)
RAW = paths.raw_dir(*OF)
FOLDED = f"{RAW}/part_12.jsonl.zst"
BARS = paths.bars_dir(*OF)


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    found = Files(tmp_path)
    found.mkdir(HOME)
    return found


def trade(number: int, ts: int = NOON, price: str = "1.5") -> Trade:
    return Trade("SOLUSDT", ts, ts, None, ts, price, "2.0", "buy", number)


def text(*trades: Trade) -> bytes:
    return "".join(map(line, trades)).encode()


def names(disk: Files, folder: str = RAW) -> list[str]:
    return disk.list(folder)


def held(disk: Files, path: str = FOLDED) -> bytes:
    data, trouble = archive.content(disk, path)
    assert not trouble
    return data


# --- lines ---


def test_an_hour_that_is_still_written_to_is_left_alone(disk: Files) -> None:
    disk.write(f"{RAW}/part_1200.jsonl", text(trade(1)))
    disk.write(f"{RAW}/open_1201.jsonl", text(trade(2)))
    assert not fold.fold_lines(disk, RAW, 12, 3)
    assert names(disk) == ["open_1201.jsonl", "part_1200.jsonl"]


def test_an_hour_of_which_something_cannot_be_read_is_left_alone(disk: Files) -> None:
    disk.write(FOLDED, zstandard.compress(text(trade(1)))[:-3])
    disk.write(f"{RAW}/part_1200_1.jsonl", text(trade(2)))
    before = {name: disk.read(f"{RAW}/{name}") for name in names(disk)}
    assert not fold.fold_lines(disk, RAW, 12, 3)
    assert {name: disk.read(f"{RAW}/{name}") for name in names(disk)} == before


def test_a_file_without_its_last_newline_does_not_run_into_the_next(disk: Files) -> None:
    disk.write(f"{RAW}/part_1200.jsonl", text(trade(1))[:-1])
    disk.write(f"{RAW}/part_1201.jsonl", text(trade(2)))
    assert fold.fold_lines(disk, RAW, 12, 3)
    assert names(disk) == ["part_12.jsonl.zst"] and held(disk) == text(trade(1), trade(2))


def test_a_late_line_that_was_backfilled_before_is_not_doubled(disk: Files) -> None:
    disk.write(FOLDED, zstandard.compress(text(trade(1), trade(2))))
    disk.write(f"{RAW}/part_1200_1.jsonl", text(trade(2), trade(3)))
    assert fold.fold_lines(disk, RAW, 12, 3)
    assert names(disk) == ["part_12.jsonl.zst"] and held(disk) == text(trade(1), trade(2), trade(3))


def test_where_nothing_late_is_new_the_folded_file_stays_as_it_is(disk: Files) -> None:
    data = zstandard.compress(text(trade(1), trade(2)), 1)
    disk.write(FOLDED, data)
    disk.write(f"{RAW}/part_1200_1.jsonl", text(trade(2)))
    assert fold.fold_lines(disk, RAW, 12, 3)
    assert names(disk) == ["part_12.jsonl.zst"] and disk.read(FOLDED) == data


def test_the_minutes_go_only_for_a_file_that_unpacks_to_them(disk: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.write(f"{RAW}/part_1200.jsonl", text(trade(1)))
    monkeypatch.setattr(archive, "unpack", lambda data: (text(trade(2)), ""))
    with pytest.raises(NotAsWritten):
        fold.fold_lines(disk, RAW, 12, 3)
    assert "part_1200.jsonl" in names(disk) and "part_12.jsonl.zst" not in names(disk)


def test_what_is_packed_carries_its_checksum(disk: Files) -> None:
    disk.write(f"{RAW}/part_1200.jsonl", text(trade(1)))
    fold.fold_lines(disk, RAW, 12, 3)
    assert zstandard.get_frame_parameters(disk.read(FOLDED)).has_checksum


# --- bars ---


def rows(*bars: Bar) -> pa.Table:
    return bar_table(list(bars), "binance")


def bar(second: int, revision: int = 0, close: str = "1.5") -> Bar:
    """Of a market's second, with that revision."""
    (made,) = bars_of([trade(1, NOON + second * S, close)], NOON + (second + 1) * S)
    return msgspec.structs.replace(made, revision=revision)


def test_of_a_second_that_stands_twice_the_newest_revision_is_kept_whatever_the_order() -> None:
    tables = [rows(bar(0, 1), bar(2)), rows(bar(0, 3)), rows(bar(1), bar(0, 2))]
    for order in (tables, tables[::-1]):
        found = fold.one_a_second(order)
        assert found.column("revision").to_pylist() == [3, 0, 0]
        assert [start // S for start in starts(found)] == [NOON // S, NOON // S + 1, NOON // S + 2]
    assert fold.one_a_second([]).num_rows == 0 and fold.one_a_second([rows(bar(0))]).num_rows == 1


def test_a_row_that_is_made_anew_and_differs_is_a_revision_and_one_that_does_not_is_none() -> None:
    stored, made = rows(bar(0, 4), bar(1, 2)), rows(bar(0), bar(1, close="1.6"), bar(2))
    assert fold.revised(stored, made).column("revision").to_pylist() == [4, 3, 0]


def test_where_the_archive_holds_nothing_the_stored_rows_stay(disk: Files) -> None:
    stored = rows(bar(0))
    assert fold.again(disk, *OF, 12, stored, False) is stored
    write_raw(disk, [trade(1, NOON, "1.7")])
    assert fold.again(disk, *OF, 12, stored, False).num_rows == 1
    assert fold.again(disk, *OF, 12, stored, False) is not stored
    assert fold.again(disk, *OF, 13, stored, False) is stored


def test_a_part_that_cannot_be_read_is_set_aside_and_its_rows_made_again(disk: Files) -> None:
    write_raw(disk, [trade(1), trade(2, NOON + 5 * S)])
    disk.write_table(f"{BARS}/part_1200_0000000000000001_0000000000000001.parquet", rows(bar(0)))
    disk.write(f"{BARS}/part_1210_0000000000000002_0000000000000002.parquet", b"PAR1 of nothing")
    assert fold.fold_bars(disk, *OF, 12, False)
    assert disk.list(BARS) == ["hour_12.parquet"]
    assert disk.read_table(f"{BARS}/hour_12.parquet").num_rows == 2
    assert (
        len(
            [
                name
                for name in disk.list("quarantine")
                if name.endswith("part_1210_0000000000000002_0000000000000002.parquet")
            ]
        )
        == 1
    )


# --- backfills ---


def stage(disk: Files, hours: dict[int, bytes], **said: Any) -> None:
    for hour, data in hours.items():
        disk.write(staging.part(*OF, hour), zstandard.compress(data))
    staging.write(disk, *OF, staging.Backfill(hours=sorted(hours), **said))


def install(disk: Files, sealed: Sequence[int] = tuple(range(24))) -> list[int]:
    return backfills.install_lines(disk, *OF, set(sealed), 3)


def test_a_backfill_adds_and_changes_nothing_that_is_held(disk: Files) -> None:
    disk.write(f"{RAW}/part_1200.jsonl", text(trade(1), trade(3)))
    stage(disk, {12: text(trade(1, price="9.9"), trade(2))})
    assert install(disk) == [12]
    assert held(disk) == text(trade(1), trade(2), trade(3)) and names(disk) == ["part_12.jsonl.zst"]
    stage(disk, {12: text(trade(1, price="9.9"))}, force=[12])
    assert install(disk) == [12] and held(disk) == text(trade(1, price="9.9"), trade(2), trade(3))


def test_only_sealed_hours_that_nobody_writes_to_and_that_can_be_read_are_installed(disk: Files) -> None:
    stage(disk, {hour: text(trade(hour)) for hour in (10, 11, 12, 13)})
    disk.write(f"{RAW}/open_1100.jsonl", text(trade(1)))
    disk.write(staging.part(*OF, 12), zstandard.compress(text(trade(12)))[:-3])
    assert install(disk, (10, 11, 12)) == [10]
    assert names(disk) == ["open_1100.jsonl", "part_10.jsonl.zst"]


def test_a_held_hour_that_cannot_be_read_is_not_replaced(disk: Files) -> None:
    broken = zstandard.compress(text(trade(1)))[:-3]
    disk.write(FOLDED, broken)
    stage(disk, {12: text(trade(2))})
    assert install(disk) == [] and disk.read(FOLDED) == broken


def finish(disk: Files, installed: list[int], made: int = 0, last: int = 23) -> list[tuple[str, list[int]]]:
    """The bars that are asked for where all hours up to the `last` are sealed."""
    asked: list[tuple[str, list[int]]] = []

    def make(day: str, hours: list[int]) -> int:
        asked.append((day, hours))
        return made

    backfills.finish(disk, *OF, installed, lambda day, hour: hour <= last, make)
    return asked


def test_the_staging_goes_when_all_of_it_is_installed_and_its_sources_are_told(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    disk.mkdir(HOME)
    source = {"kind": "trade", "sha256": "ab"}
    stage(disk, {11: text(trade(1, NOON - S)), 12: text(trade(2))}, sources=[source])
    install(disk)
    assert finish(disk, [11]) and staging.read(disk, *OF) is not None, "an hour waits still"
    assert finish(disk, [11, 12], made=-1) and staging.read(disk, *OF) is not None, "bars are in use"
    disk.told()
    assert finish(disk, [11, 12]) == [(DATE, [11, 12])]
    assert staging.read(disk, *OF) is None and staging.fetched(disk, *OF) == [source]
    calls = disk.told((paths.fetched_file(*OF), "fetched"), (f"{staging.folder(*OF)}/backfill.json", "word"))
    assert calls.index("remove word") > max(at for at, call in enumerate(calls) if call.endswith(" fetched"))


def test_the_bars_behind_a_filled_hour_are_made_again_up_to_the_next_trade(disk: Files) -> None:
    write_raw(disk, [trade(5, NOON + 3 * HOUR), trade(6, NOON + 4 * HOUR)])
    write_raw(disk, Market().events(NOON + HOUR, 1, trades=0))  # quotes alone
    stage(disk, {12: text(trade(1))})
    install(disk)
    assert finish(disk, [12], last=14) == [(DATE, [12, 13])], "what is still open makes its bars itself"
    stage(disk, {12: text(trade(1))})
    assert finish(disk, [12]) == [(DATE, [12, 13, 15])]


def test_only_what_is_finished_is_installed_and_only_what_is_not_is_swept(disk: Files) -> None:
    stage(disk, {12: text(trade(1))})
    disk.write(staging.part("binance", "ADAUSDT", DATE, 3), b"of a run that was killed")
    disk.write(f"{staging.STAGING}/binance/SOLUSDT/notes/part_03.jsonl.zst", b"somebody's own")
    assert list(backfills.waiting(disk, None)) == [OF] and list(backfills.waiting(disk, "2025-10-21")) == []
    backfills.sweep(disk)
    assert disk.size(staging.part(*OF, 12)) and disk.list(f"{staging.STAGING}/binance") == ["SOLUSDT"]
    assert disk.list(f"{staging.STAGING}/binance/SOLUSDT") == [DATE, "notes"]


def test_merging_keeps_every_held_line_byte_for_byte() -> None:
    lines = [text(trade(3)), b"broken\n", text(trade(1, NOON + S)).replace(b'"1.5"', b'"1.50"')]
    found = merge(lines, [trade(1, NOON + S), trade(3, price="7"), trade(2)])
    assert sorted(found.lines) == sorted([*lines, text(trade(2))])
    assert (found.added, found.same, found.different, found.replaced) == (1, 1, [3], 0)


# --- bars that were made by hand ---


def by_hand(disk: Files, said: object) -> None:
    place = staging.folder(*OF)
    disk.write_table(f"{place}/bars.parquet", rows(bar(0), bar(1)))
    disk.write(f"{place}/bars.json", msgspec.json.encode(said))


@pytest.mark.parametrize("said", [{"hours": [12], "rows": 3}, {"hours": 12, "rows": 2}, {"rows": 2}, [], "x"])
def test_bars_that_are_not_what_their_word_says_are_not_installed(disk: Files, said: object) -> None:
    by_hand(disk, said)
    assert repair.install_staged(disk, *OF, {12}) == 0
    assert not disk.list(BARS) and disk.list(staging.folder(*OF)) == ["bars.json", "bars.parquet"]


def test_bars_wait_in_staging_for_their_hours_to_be_sealed(disk: Files) -> None:
    by_hand(disk, {"hours": [12, 13], "rows": 2})
    assert repair.install_staged(disk, *OF, {12}) == 1
    assert disk.list(BARS) == ["hour_12.parquet"] and disk.list(staging.folder(*OF)) == ["bars.json", "bars.parquet"]
    assert repair.install_staged(disk, *OF, {12, 13}) == 0
    assert disk.list(staging.folder(*OF)) == []


def test_a_request_is_a_file_of_the_right_name(disk: Files) -> None:
    place = f"{paths.REQUESTS}/binance/SOLUSDT"
    for name in (
        f"{DATE}_12.json",
        f"{DATE}_24.json",
        "2025-13-20_01.json",
        f"{DATE}_1.json",
        "x",
        f"{DATE}_07.json.tmp",
    ):
        disk.write(f"{place}/{name}", b"")
    assert list(repair.requests(disk)) == [(*OF, [12])] and list(repair.requests(disk, "2025-10-21")) == []


# --- a closed day ---


def a_day(disk: Files) -> Day:
    events = Market().events(NOON, 3)
    write_raw(disk, events)
    fold.fold_lines(disk, RAW, 12, 3)
    disk.write_table(paths.bars_day(*OF), rows(*bars_of(events, NOON + 3 * S)))
    day = Day(disk, *OF)
    assert not day.is_done() and day.close() and day.is_done()
    return day


def test_a_day_whose_files_are_not_those_of_its_manifest_is_not_done(disk: Files) -> None:
    day = a_day(disk)
    manifest = disk.read(day.manifest_path)
    for path in [str(file["path"]) for file in day.manifest()["files"]]:
        data = disk.read(path)
        at = random.Random(path).randrange(len(data))
        disk.write(path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert not day.is_done(), path
        disk.remove(path)
        assert not day.is_done(), path
        disk.write(path, data)
        assert day.is_done()
    disk.write(f"{RAW}/part_1300.jsonl", b"")
    assert not day.is_done()
    disk.remove(f"{RAW}/part_1300.jsonl")
    disk.write(paths.fetched_file(*OF), b'[{"kind":"trade"}]')
    assert not day.is_done()
    disk.remove(paths.fetched_file(*OF))
    store = f"{BARS}/hour_12.parquet"
    disk.write_table(store, rows(bar(0)))
    assert not day.is_done(), "rows that came late"
    disk.remove(store)
    assert day.is_done()
    disk.write(day.manifest_path, manifest.replace(b'"files"', b'"fifes"'))
    assert not day.is_done()


def test_a_day_with_lines_that_cannot_be_read_stays_open(disk: Files) -> None:
    day = a_day(disk)
    before = disk.read(day.manifest_path)
    data = disk.read(FOLDED)
    disk.write(FOLDED, data[:-3])
    assert not day.close() and disk.read(day.manifest_path) == before


def test_a_day_whose_lines_are_gone_stays_as_it_was_until_somebody_says_that_they_may_be(disk: Files) -> None:
    day = a_day(disk)
    ticks = paths.tick_file("binance", "SOLUSDT", "trades", DATE)
    before = disk.read(ticks)
    disk.remove(FOLDED)
    assert not day.close() and disk.read(ticks) == before
    turned = bytearray(before)
    turned[len(turned) // 2] ^= 1
    disk.write(ticks, bytes(turned))
    assert not Day(disk, *OF, accepts=True).close(), "those ticks are not what was made of the lines"
    disk.write(ticks, before)
    assert Day(disk, *OF, accepts=True).close()
    assert disk.read_table(ticks).num_rows == 6 and day.manifest()["removed"]["hours"] == [12]
    assert day.close() and disk.read_table(ticks).num_rows == 6, "said once is enough"


# --- a run ---


class Full(Files):
    def free(self) -> tuple[int, int]:
        return 4, 100


def errand(disk: Files) -> Errand[Config]:
    return Errand(disk, Config(), None, None, False, Lifeline())


def test_each_piece_of_work_is_begun_only_with_room_and_while_nobody_asks_to_leave(tmp_path: Path) -> None:
    with pytest.raises(NoRoom):
        Run(errand(Full(tmp_path)))._next()
    asked = errand(Files(tmp_path))
    Run(asked)._next()
    asked.lifeline.ask()
    with pytest.raises(Asked):
        Run(asked)._next()


def test_a_run_finishes_what_was_interrupted_and_asks_durably_what_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def reached(disk: object, pipeline: object, durably: bool = False) -> dict[str, Reached]:
        asked.append(durably)
        return {}

    monkeypatch.setattr(work, "reached", reached)
    monkeypatch.setattr(work, "recover", lambda disk: asked.append("recover"))
    Run(errand(Files(tmp_path))).work()
    assert asked == ["recover", True], "and what was interrupted is finished before"


def test_a_closed_day_is_reopened_durably_before_a_file_of_it_changes(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    run = Run(errand(disk))
    run._reopen(*OF)
    assert disk.told() == [], "one that is not closed is closed anyway"
    disk.write(paths.checksum_file(*OF), b"")
    disk.told()
    run._reopen(*OF)
    note = f"{HOME}/again-binance-SOLUSDT-{DATE}"
    assert disk.told() == [f"write {note}", f"names {HOME}"]


def test_a_file_in_use_ends_no_run_and_any_other_error_does(disk: Files) -> None:
    def busy() -> int:
        raise PermissionError("in use")

    def full() -> int:
        raise OSError(28, "full")

    run = Run(errand(disk))
    assert run._try(busy) == 0 and run._try(lambda: 3) == 3
    with pytest.raises(OSError, match="full"):
        run._try(full)


def test_a_day_is_closed_once_archive_and_bars_are_sealed_and_every_hour_is_folded(disk: Files) -> None:
    events = Market().events(NOON, 3)
    write_raw(disk, events)
    run, end = Run(errand(disk)), paths.day_start(DATE) + paths.DAY + paths.SEAL_AFTER
    said = []
    for archived, bars in ((end, end), (end - 1, end), (end, end - 1), (end, 0)):
        run._reached = {"binance": Reached(archived, bars)}
        said.append(run._closes(*OF))
    assert said == [False] * 4, "its minutes are not folded"
    fold.fold_lines(disk, RAW, 12, 3)
    said = []
    for archived, bars in ((end, end), (end - 1, end), (end, end - 1), (end, 0)):
        run._reached = {"binance": Reached(archived, bars)}
        said.append(run._closes(*OF))
    assert said == [True, False, False, True]


def at_one(disk: Files) -> Run:
    """A run that finds everything sealed up to one o'clock."""
    run, end = Run(errand(disk)), NOON + HOUR + paths.SEAL_AFTER
    run._reached = {"binance": Reached(end, end)}
    return run


def test_only_hours_that_are_sealed_are_folded(disk: Files) -> None:
    write_raw(disk, [trade(1), trade(2, NOON + HOUR)])
    for hour, row in (("12", bar(0)), ("13", bar(3600))):
        disk.write_table(f"{BARS}/part_{hour}00_0000000000000001_0000000000000001.parquet", rows(row))
    run = at_one(disk)
    run._fold_lines()
    run._fold_bars()
    assert names(disk) == ["part_12.jsonl.zst", "part_1300.jsonl"]
    assert disk.list(BARS) == ["hour_12.parquet", "part_1300_0000000000000001_0000000000000001.parquet"]


def test_only_hours_that_are_sealed_are_made_again_on_request(disk: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def rebuild(disk: object, venue: str, symbol: str, date: str, hours: list[int], use_agg: object) -> int:
        asked.append(hours)
        return len(hours)

    monkeypatch.setattr(repair, "rebuild", rebuild)
    for hour in (11, 12, 13):
        disk.write(f"{paths.REQUESTS}/binance/SOLUSDT/{DATE}_{hour}.json", b"")
    at_one(disk)._obey_requests()
    assert asked == [[11, 12]]


def test_a_late_line_of_a_closed_day_reopens_it_before_it_is_folded(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    disk.mkdir(HOME)
    disk.write(FOLDED, zstandard.compress(text(trade(1))))
    disk.write(paths.checksum_file(*OF), b"")
    disk.write(f"{RAW}/part_1200_1.jsonl", text(trade(2)))
    disk.told()
    at_one(disk)._fold_lines()
    calls = disk.told()
    assert calls[:2] == [f"write {HOME}/again-binance-SOLUSDT-{DATE}", f"names {HOME}"] and len(calls) > 4
    assert held(disk) == text(trade(1), trade(2))


def test_a_day_that_changes_is_a_new_issue_and_names_the_one_before(disk: Files) -> None:
    day = a_day(disk)
    before = day.manifest()
    assert (before["issue"], before["replaces"]) == (1, None)
    assert day.close() and day.manifest()["issue"] == 1, "the same again is no other issue"
    disk.write(f"{RAW}/part_1200_1.jsonl", text(trade(99)))
    fold.fold_lines(disk, RAW, 12, 3)
    assert day.close()
    assert (day.manifest()["issue"], day.manifest()["replaces"]) == (2, before["checksums"])


def test_while_somebody_stages_nothing_staged_is_installed(disk: Files) -> None:
    stage(disk, {12: text(trade(1))})
    run = at_one(disk)
    with Lock(disk.path(staging.LOCK), "a backfill"):
        run._install_backfills()
        assert names(disk) == [] and staging.read(disk, *OF) is not None
    run._install_backfills()
    assert names(disk) == ["part_12.jsonl.zst"]
