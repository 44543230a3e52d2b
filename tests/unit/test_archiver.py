"""The archiver: every event one line, in the file of its time, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from procs.archiver import MOST_HELD, Archiver, Config
from shared import checkpoint, paths
from shared.events import Batch, Columns, Event, Feed, Quote, Rejected, Trade
from shared.files import Files
from shared.lines import line, parse_feed, parse_line
from shared.runner import Context
from tests.columns import columns_of
from tests.fixtures.loops import loops as loops

T0 = paths.day_start("2025-10-20") + 13 * paths.HOUR + 42 * paths.MINUTE
RAW = "raw/binance/SOLUSDT/2025-10-20"
S = paths.SECOND


def trade(ts: int, number: int = 1, symbol: str = "SOLUSDT") -> Trade:
    return Trade(symbol, ts, ts, None, ts, "187.42000000", "3.1", "buy", number)


def quote(ts: int) -> Quote:
    return Quote("SOLUSDT", ts, None, None, ts, "187.41", "31.2", "187.42", "40.6", 7)


def archiver(disk: Files, rotate_every_s: int = 60) -> Archiver:
    found = Archiver(Context("archive", "binance", "binance", disk), Config(rotate_every_s=rotate_every_s))
    found.open()
    return found


def feed(stage: Archiver, first: int, ts: int, *events: Event) -> int:
    """Handles one batch; returns the number the next one begins with."""
    batch = Batch(first, ts, list(events))
    assert list(stage.handle(batch)) == []
    return batch.last + 1


def journal(disk: Files) -> None:
    """One that begins with its first record; how long it is says how much may have been archived of it."""
    disk.write(f"journal/binance/binance/j-{1:020d}.log", bytes(1000))


def text(disk: Files, path: str) -> str:
    return disk.read(path).decode()


def test_an_event_is_one_line_in_the_open_file_of_its_minute(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    feed(stage, 1, T0 + S, trade(T0), quote(T0 + S))
    stage.commit()
    assert disk.list(RAW) == ["open_1342.jsonl"]
    assert text(disk, f"{RAW}/open_1342.jsonl") == line(trade(T0)) + line(quote(T0 + S))
    assert stage.counters["lines"] == 2


def test_a_file_is_closed_two_seconds_of_record_time_after_its_end(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    at = feed(stage, at, T0 + 62 * S - 1)
    stage.commit()
    assert disk.list(RAW) == ["open_1342.jsonl"]
    feed(stage, at, T0 + 62 * S)
    stage.commit()
    assert disk.list(RAW) == ["part_1342.jsonl"]


def test_files_shorter_than_a_minute_carry_their_second(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk, rotate_every_s=5)
    feed(stage, 1, T0 + 20 * S, trade(T0 + 5 * S), trade(T0 + 19 * S, 2))
    stage.commit()
    assert disk.list(RAW) == ["open_134215.jsonl", "part_134205.jsonl"]


def test_descriptors_are_held_of_few_files_and_of_none_that_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procs.archiver.MOST_HELD", 3)
    disk = Files(tmp_path)
    stage = archiver(disk)
    symbols = [f"S{n}USDT" for n in range(8)]
    at = feed(stage, 1, T0, *(trade(T0, symbol=symbol) for symbol in symbols))
    stage.commit()
    entries = list(stage._open.values())
    assert [entry.is_held for entry in entries] == [True] * 3 + [False] * 5
    at = feed(stage, at, T0 + S, *(trade(T0 + S, 2, symbol) for symbol in symbols))
    stage.commit()
    for symbol in symbols:
        path = f"raw/binance/{symbol}/2025-10-20/open_1342.jsonl"
        assert text(disk, path) == line(trade(T0, symbol=symbol)) + line(trade(T0 + S, 2, symbol))
    at = feed(stage, at, T0 + 62 * S, trade(T0 + 62 * S, 3))
    stage.commit()
    assert not any(entry.is_held for entry in entries), "a file that is open cannot be renamed everywhere"
    (late,) = stage._open.values()
    held = []
    feed(stage, at, T0 + 63 * S, trade(T0 + 63 * S, 4))
    for end in (stage.commit, stage.close):
        end()
        held.append(late.is_held)
    assert held == [True, False]


def test_descriptors_are_held_of_the_newest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procs.archiver.MOST_HELD", 3)
    stage = archiver(Files(tmp_path))
    at = 1
    for minute in range(3):
        ts = T0 + 60 * minute * S
        at = feed(stage, at, T0, *(trade(ts, 10 * minute + n, f"S{n}USDT") for n in range(2)))
        for entry in stage._open.values():
            stage._write(entry)
        newest = [entry.is_held for entry in stage._open.values()][-3:]
        assert sum(entry.is_held for entry in stage._open.values()) == min(3, 2 * minute + 2)
        assert newest[-2:] == [True, True]


def test_late_lines_make_a_file_of_their_own_and_the_closed_one_stays(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0 + 90 * S, trade(T0))
    stage.commit()
    for number in (2, 3):
        at = feed(stage, at, T0 + 90 * S, trade(T0 + 1, number))
        stage.commit()
    assert disk.list(RAW) == ["part_1342.jsonl", "part_1342_1.jsonl", "part_1342_2.jsonl"]
    assert text(disk, f"{RAW}/part_1342_2.jsonl") == line(trade(T0 + 1, 3))
    assert stage.counters["late_files"] == 2


def test_late_lines_of_a_folded_hour_stand_beside_it(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write(f"{RAW}/part_13.jsonl.zst", b"folded")
    stage = archiver(disk)
    feed(stage, 1, T0 + paths.DAY, trade(T0))
    stage.commit()
    assert disk.list(RAW) == ["part_13.jsonl.zst", "part_1342_1.jsonl"]


def test_midnight_parts_the_days_by_the_time_of_the_event(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    midnight = paths.day_start("2025-10-21")
    at = feed(stage, 1, midnight, trade(midnight), trade(midnight - 1, 2))
    feed(stage, at, midnight + 62 * S, trade(midnight - 1, 3))
    stage.commit(final=True)
    assert text(disk, f"{RAW}/part_2359.jsonl") == line(trade(midnight - 1, 2)) + line(trade(midnight - 1, 3))
    assert disk.list("raw/binance/SOLUSDT/2025-10-21") == ["part_0000.jsonl"]


def test_feed_events_and_rejected_frames_have_folders_of_their_own(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    gap = Feed("gap", T0, T0, ["SOLUSDT"], {"first_id": 5, "last_id": 9})
    feed(stage, 1, T0, gap, Rejected("no JSON", T0, T0, 3, "ab", "{x}"))
    stage.commit(final=True)
    assert parse_feed(disk.read("feed/binance/2025-10-20/part_1342.jsonl")) == gap
    assert '"raw":"{x}"' in text(disk, "rejected/binance/2025-10-20/part_1342.jsonl")


def test_a_drained_stop_closes_every_file(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    stage.commit(final=True)
    stage.close()
    assert disk.list(RAW) == ["part_1342.jsonl"]
    again = archiver(disk)
    feed(again, at, T0, trade(T0, 2))
    again.commit(final=True)
    assert disk.list(RAW) == ["part_1342.jsonl", "part_1342_1.jsonl"]


def test_the_end_of_a_recording_closes_every_file_and_stands_in_the_checkpoint(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0), Feed("ended", T0, T0))
    feed(stage, at, T0 + 1)
    stage.commit()
    assert disk.list(RAW) == ["part_1342.jsonl"]
    assert checkpoint.peek(disk, "journal/archive/ckpt-binance")["ended"] is True


def test_what_came_after_the_checkpoint_is_cut_and_taken_again(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    stage.commit()
    # Given lines behind the checkpoint, whole and torn, and a file begun behind it
    disk.appender(f"{RAW}/open_1342.jsonl").write(line(trade(T0, 2)).encode() + b'{"symbol":"SOL')
    disk.write(f"{RAW}/open_1343.jsonl", b'{"sym')
    # When it starts again
    again = Archiver(Context("archive", "binance", "binance", disk), Config())
    assert again.open() == at - 1
    # Then they are gone, and come once
    assert disk.list(RAW) == ["open_1342.jsonl"]
    feed(again, at, T0 + 60 * S, trade(T0, 2), trade(T0 + 60 * S, 3))
    again.commit()
    assert text(disk, f"{RAW}/open_1342.jsonl") == line(trade(T0)) + line(trade(T0, 2))
    assert text(disk, f"{RAW}/open_1343.jsonl") == line(trade(T0 + 60 * S, 3))


@pytest.mark.parametrize(("reaches_back", "expected"), [(True, [1]), (False, [1, 2, 3])])
def test_what_only_a_damaged_checkpoint_knew_of_is_cut_only_if_the_journal_has_it(
    tmp_path: Path, reaches_back: bool, expected: list[int]
) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    second = feed(stage, 1, T0, trade(T0))
    stage.commit()
    third = feed(stage, second, T0, trade(T0, 2), trade(T0 + 60 * S, 3))
    stage.commit()
    disk.write("journal/archive/ckpt-binance.0", b"nonsense")
    disk.write(f"journal/binance/binance/j-{second if reaches_back else third:020d}.log", b"")
    archiver(disk)
    found = "".join(text(disk, f"{RAW}/{name}") for name in disk.list(RAW))
    assert found == "".join(line(trade(T0 + number // 3 * 60 * S, number)) for number in expected)


def looked_into(disk: Files, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    plain = disk.list
    monkeypatch.setattr(disk, "list", lambda path: found.append(path) or plain(path))  # type: ignore[func-returns-value]
    archiver(disk)
    return found


@pytest.mark.parametrize("days", [-400, -2, 3, 400])
def test_a_file_begun_days_away_from_the_checkpoint_is_swept_too(tmp_path: Path, days: int) -> None:
    """A machine that slept for long, or trades healed from days ago."""
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    stage.commit()
    far = trade(T0 + days * paths.DAY, 2)
    feed(stage, at, T0, far)
    for entry in stage._open.values():
        if entry.lines:
            stage._write(entry)
    folder = paths.raw_dir("binance", "SOLUSDT", paths.date_of(far.ts))
    assert disk.list(folder) == ["open_1342.jsonl"]
    again = archiver(disk)
    assert disk.list(folder) == [] and disk.list(RAW) == ["open_1342.jsonl"]
    feed(again, at, T0, far)
    again.commit(final=True)
    assert text(disk, f"{folder}/part_1342.jsonl") == line(far)


def test_a_start_looks_into_few_of_many_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a day that was noted once costs one more."""
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    stage.commit()
    for day in range(2000):
        disk.mkdir(paths.raw_dir("binance", "SOLUSDT", paths.date_of(T0 - day * paths.DAY)))
    few = len(looked_into(disk, monkeypatch))
    assert few < 20
    feed(stage, at, T0, *(trade(T0 - day * paths.DAY, 9) for day in (0, 1, 500, 500)))
    assert disk.read("journal/archive/days-binance") == b'["2024-06-07"]'
    assert len(looked_into(disk, monkeypatch)) == few + 3, "of raw, feed and rejected"


def test_a_file_begun_by_a_life_without_a_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write(f"{RAW}/open_1342.jsonl", b'{"torn')
    stage = archiver(disk)
    feed(stage, 1, T0, trade(T0))
    stage.commit()
    assert text(disk, f"{RAW}/open_1342.jsonl") == line(trade(T0))


def test_renames_that_a_crash_left_undone_are_done_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0 + 62 * S, trade(T0))

    def killed(old: str, new: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(disk, "rename", killed)
        stage.commit()
    assert disk.list(RAW) == ["open_1342.jsonl"]
    again = archiver(disk)
    assert disk.list(RAW) == ["part_1342.jsonl"]
    feed(again, at, T0 + 62 * S, trade(T0, 2))
    again.commit()
    assert disk.list(RAW) == ["part_1342.jsonl", "part_1342_1.jsonl"]


def test_the_checkpoint_names_position_time_and_held_ids(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    feed(stage, 1, T0, *(trade(T0, number) for number in (1, 2, 5)))
    stage.commit()
    saved = checkpoint.peek(disk, "journal/archive/ckpt-binance")
    assert (saved["position"], saved["ts"], saved["ended"]) == (4, T0, False)
    assert saved["ids"] == {"SOLUSDT": [[1, 2], [5, 5]]}


def test_lines_beyond_the_buffer_are_written_before_the_commit_and_counted_in_its_size(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    events = [trade(T0, number) for number in range(6000)]
    at = feed(stage, 1, T0, *events)
    before = disk.size(f"{RAW}/open_1342.jsonl")
    assert before is not None and before > 0
    stage.commit()
    stage.close()
    again = archiver(disk)
    feed(again, at, T0, trade(T0, 6000))
    again.commit(final=True)
    assert text(disk, f"{RAW}/part_1342.jsonl") == "".join(map(line, [*events, trade(T0, 6000)]))


@pytest.mark.parametrize("seconds", [0, -60, 7, 3601, 7200])
def test_a_rotation_that_does_not_divide_the_hour_is_refused(seconds: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"run": "archiver", "rotate_every_s": seconds}, Config)


@pytest.mark.parametrize("symbol", ["../../etc/x", "CON", "币安", "a/b", "A\0B", ""])
def test_no_symbol_leads_out_of_its_folder(tmp_path: Path, symbol: str) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    disk = Files(lake)
    stage = archiver(disk)
    try:
        feed(stage, 1, T0, trade(T0, symbol=symbol))
        stage.commit(final=True)
    except ValueError:
        assert symbol == ""
    assert [p.name for p in tmp_path.iterdir()] == ["lake"]
    assert set(disk.list("")) <= {"raw", "journal"}


def test_new_names_are_durable_before_the_checkpoint_forgets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could bring an open file back that no checkpoint knows: it would be swept with its lines."""
    disk = Files(tmp_path)
    stage = archiver(disk)
    feed(stage, 1, T0 + 62 * S, trade(T0))
    log: list[str] = []
    plain_rename, plain_sync = disk.rename, disk.sync_dir

    def rename(old: str, new: str) -> None:
        log.append(f"rename {new}")
        plain_rename(old, new)

    def sync_dir(path: str) -> None:
        log.append(f"sync {path}")
        plain_sync(path)

    monkeypatch.setattr(disk, "rename", rename)
    monkeypatch.setattr(disk, "sync_dir", sync_dir)
    stage.commit()
    assert log[log.index(f"rename {RAW}/part_1342.jsonl") :] == [f"rename {RAW}/part_1342.jsonl", f"sync {RAW}"]


def test_a_thousand_minutes_at_once_need_no_thousand_descriptors(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="descriptors are not limited so on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    disk = Files(tmp_path)
    stage = archiver(disk)
    trades: list[Event] = [trade(T0 + minute * paths.MINUTE, minute + 1) for minute in range(300)]
    in_use = max(int(path.name) for path in Path("/dev/fd").iterdir())  # it is the highest number that is limited
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + MOST_HELD + 20, hard))
    try:
        list(stage.handle(Batch(1, T0 + paths.DAY, trades)))
        stage.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(tmp_path.rglob("part_*.jsonl"))) == 300


def test_a_name_that_is_taken_stops_nobody(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    list(stage.handle(Batch(1, T0, [trade(T0, 1)])))
    stage.commit()
    disk.write(f"{RAW}/part_1342.jsonl", b"restored from a backup\n")
    stage.commit(final=True)
    assert disk.list(RAW) == ["part_1342.jsonl", "part_1342_1.jsonl"]
    assert disk.read(f"{RAW}/part_1342.jsonl") == b"restored from a backup\n"


def test_an_open_file_that_lost_bytes_spoils_no_new_line(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    list(stage.handle(Batch(1, T0, [trade(T0, 1), trade(T0, 2)])))
    stage.commit()
    path = f"{RAW}/open_1342.jsonl"
    size = disk.size(path)
    assert size is not None
    disk.truncate(path, size - 9)
    again = Archiver(Context("archive", "binance", "binance", disk), Config())
    assert again.open() == 3
    list(again.handle(Batch(4, T0, [trade(T0, 3)])))
    again.commit()
    found = [parse_line(row) for row in disk.read(path).splitlines()]
    assert [event.trade_id for event in found if isinstance(event, Trade)] == [1, 3]


@pytest.mark.parametrize("lives", [1, 2])
def test_a_file_that_came_to_be_later_than_its_entry_has_a_durable_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: int
) -> None:
    """After damage an entry may be there before its file, for all its lines stand elsewhere (simulated: seed 331)."""
    disk = Files(tmp_path)
    journal(disk)
    disk.write("journal/archive/ckpt-binance.1", b"torn")
    disk.write(f"{RAW}/part_1342.jsonl", line(trade(T0)).encode())
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    stage.commit()
    if lives == 2:
        stage = archiver(disk)
    feed(stage, at, T0 + S, trade(T0 + S, 2))
    named: list[str] = []
    monkeypatch.setattr(disk, "sync_dir", lambda path: named.extend(disk.list(path)))
    stage.commit()
    assert "open_1342_1.jsonl" in named


@pytest.mark.parametrize("damage", ["the only slot", "one of two", "a file"])
def test_what_stands_on_disk_is_not_written_twice_by_the_second_life_after_damage_either(
    tmp_path: Path, damage: str
) -> None:
    """The first one came only part of the way, and its checkpoint is sound (simulated: seed 6064)."""
    disk, events = Files(tmp_path), [trade(T0 + number * S, number) for number in range(1, 7)]
    journal(disk)
    stage = archiver(disk, rotate_every_s=1)
    for number, event in enumerate(events):
        feed(stage, 2 * number + 1, event.ts + 5 * S * (number == 5), event)
        if number == 5 or (number == 1 and damage != "the only slot"):
            stage.commit()
    # Given what makes a start go back to before the lines of files that are closed
    if damage == "a file":
        disk.write(f"{RAW}/part_134202.jsonl", line(trade(T0 + 2 * S, 2)).encode().swapcase())
    else:
        disk.write(f"journal/archive/ckpt-binance.{int(damage == 'the only slot')}", b"")
    # When one life comes as far as the third event, and the next to the end
    for until in (3, 6):
        stage = Archiver(Context("archive", "binance", "binance", disk), Config(rotate_every_s=1))
        done = stage.open() // 2
        assert done < until
        for number, event in list(enumerate(events))[done:until]:
            feed(stage, 2 * number + 1, event.ts, event)
        stage.commit(final=until == 6)
    # Then each stands there once
    assert sorted("".join(text(disk, f"{RAW}/{name}") for name in disk.list(RAW)).splitlines(keepends=True)) == sorted(
        line(event) for event in events
    )


def test_doubt_ends_with_what_may_stand_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    journal(disk)
    disk.write("journal/archive/ckpt-binance.1", b"torn")
    stage = archiver(disk)
    stage.handle(Batch(1, T0, busy(T0, *range(1, 51))))
    monkeypatch.setattr(stage, "_take", None)  # from here on nothing is looked at line by line
    stage.handle(Batch(52, T0, busy(T0, 51, 52)))
    stage.commit()
    assert len(text(disk, f"{RAW}/open_1342.jsonl").splitlines()) == 52


def test_a_name_that_the_checkpoint_closes_is_not_begun_again_once_it_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash leaves half a file that the next start takes for the one it has to name (simulated: 50731)."""
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0 + 90 * S, trade(T0))
    stage.commit()
    at = feed(stage, at, T0 + 90 * S, trade(T0, 2))
    stage.commit()
    for name in ("part_1342.jsonl", "part_1342_1.jsonl"):
        disk.remove(f"{RAW}/{name}")
    disk.write(f"{RAW}/part_13.jsonl.zst", b"")
    feed(stage, at, T0 + 90 * S, trade(T0, 3))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "_store", killed)
        stage.commit()
    archiver(disk)
    assert disk.list(RAW) == ["part_13.jsonl.zst"]


def test_names_that_a_life_without_a_checkpoint_gave_are_made_durable_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut brings an open file back, days later, where nobody looks for one (simulated: 50760)."""
    disk = Files(tmp_path)
    disk.write("journal/archive/ckpt-binance.1", b"torn")
    disk.write(f"{RAW}/part_1342.jsonl", line(trade(T0)).encode())
    synced: list[str] = []
    monkeypatch.setattr(disk, "sync_dir", synced.append)
    archiver(disk)
    assert RAW in synced


# --- columns ---


def busy(ts: int, *numbers: int) -> Columns:
    digits = {"price": "187.42000000", "qty": "3.10000000"}
    return columns_of([msgspec.structs.replace(trade(ts, number), ts_sent=ts, **digits) for number in numbers])


def test_columns_are_lines_behind_those_that_wait_and_before_those_that_come(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0))
    assert list(stage.handle(Batch(at, T0 + S, busy(T0 + S, 2, 3)))) == []
    feed(stage, at + 3, T0 + S, quote(T0 + S))
    stage.commit()
    rows = [trade(T0), *busy(T0 + S, 2, 3), quote(T0 + S)]
    assert text(disk, f"{RAW}/open_1342.jsonl") == "".join(map(line, rows))
    saved = checkpoint.peek(disk, "journal/archive/ckpt-binance")
    assert (saved["position"], saved["ids"]["SOLUSDT"]) == (at + 4, [[1, 3]])
    assert stage.counters["lines"] == 4


def test_late_columns_make_a_file_of_their_own(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0 + 90 * S, trade(T0))
    stage.commit()
    stage.handle(Batch(at, T0 + 90 * S, busy(T0, 2)))
    stage.commit()
    assert disk.list(RAW) == ["part_1342.jsonl", "part_1342_1.jsonl"]


def test_columns_beyond_the_buffer_are_written_before_the_commit(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    stage.handle(Batch(1, T0, busy(T0, *range(6000))))
    assert disk.size(f"{RAW}/open_1342.jsonl") == len("".join(map(line, busy(T0, *range(6000)))))


def test_after_damage_columns_that_stand_on_disk_are_not_written_twice(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    journal(disk)
    disk.write("journal/archive/ckpt-binance.1", b"torn")
    disk.write(f"{RAW}/part_1342.jsonl", "".join(map(line, busy(T0, 1, 2))).encode())
    stage = archiver(disk)
    stage.handle(Batch(1, T0, busy(T0, 1, 2, 3)))
    stage.commit(final=True)
    assert disk.list(RAW) == ["part_1342.jsonl", "part_1342_1.jsonl"]
    assert text(disk, f"{RAW}/part_1342_1.jsonl") == "".join(map(line, busy(T0, 3)))


@pytest.mark.parametrize(("numbers", "name"), [((), "part_1342.jsonl"), ((1,), "open_1342.jsonl")])
def test_columns_behind_the_end_of_a_recording_open_it_again(
    tmp_path: Path, numbers: tuple[int, ...], name: str
) -> None:
    disk = Files(tmp_path)
    stage = archiver(disk)
    at = feed(stage, 1, T0, trade(T0, 9), Feed("ended", T0, T0))
    stage.handle(Batch(at, T0, busy(T0, *numbers)))
    stage.commit()
    assert disk.list(RAW) == [name]
