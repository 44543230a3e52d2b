"""Whoever reads in the middle of a swap has all that was there: stopped at any call, killed, or after a power cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pyarrow as pa
import pytest
import zstandard

import procs.backfill.day as backfill_day
from bench.simulation.disk import Killed, Medium, SimDisk
from procs.compactor.day import Day
from procs.compactor.fold import fold_bars, fold_lines
from procs.compactor.swap import HOME, Swap
from procs.validator.hour import lines_hash
from procs.validator.inventory import names
from shared import archive, hidden, manifests, paths, staging, tickfiles
from shared.barstore import Stored
from shared.files import TMP
from shared.lines import line
from tests.fixtures.small_lake import HOUR, NOON, VENUE, Market, bars_of, write_bars, write_raw

DATE = "2025-10-20"
OF = (VENUE, "SOLUSDT", DATE)
RAW, PARTS = paths.raw_dir(*OF), paths.bars_dir(*OF)
FETCHED = paths.fetched_file(*OF)
Step = Callable[[SimDisk], object]


def lake(seed: int) -> SimDisk:
    """Half a minute in three files of lines and three of bars."""
    disk = SimDisk(Medium(Random(seed)))
    disk.mkdir(HOME)
    events = Market().events(NOON, 30)
    write_raw(disk, events, every_s=10)
    write_bars(disk, bars_of(events, NOON + HOUR), every_s=10)
    for folder in (RAW, PARTS):
        disk.sync_dir(folder)
    return disk


def fold(disk: SimDisk) -> bool:
    return fold_lines(disk, RAW, 12, 3)


def pack(disk: SimDisk) -> bool:
    return fold_bars(disk, *OF, 12, None)


def close(disk: SimDisk) -> bool:
    return Day(disk, *OF).close()


def come_late(disk: SimDisk) -> None:
    """Lines and rows of a time that was folded before."""
    late = Market(first_id=5000).events(NOON + 31 * paths.SECOND, 2)
    disk.write(f"{RAW}/part_120030_1.jsonl", "".join(map(line, late)).encode())
    write_bars(disk, bars_of(late, NOON + HOUR), every_s=1)
    for folder in (RAW, PARTS):
        disk.sync_dir(folder)


def fetch(disk: SimDisk) -> bool:
    """What is said of fetched lines, in a swap like the others."""
    swap = Swap(disk, "fetched")
    swap.bytes(FETCHED, b'[{"kind":"x"}]')
    return swap.commit()


def seen(disk: SimDisk) -> dict[str, object]:
    """What readers make of the hour, however its files lie."""
    lines, problems = archive.read_hour(disk, *OF, 12)
    rows, unreadable = Stored(disk, *OF).hour(12)
    return {
        "lines": [line(event) for event in lines],
        "hash": lines_hash(disk, *OF, 12),
        "hours": archive.held_hours(disk, *OF),
        "rows": rows.sort_by("window_start").to_pylist(),
        "wrong": (problems, unreadable),
    }


def prepared(seed: int, steps: tuple[Step, ...]) -> SimDisk:
    disk = lake(seed)
    for step in steps:
        step(disk)
    return disk


def moments(before: tuple[Step, ...], step: Step, is_cut: bool) -> Iterator[tuple[SimDisk, SimDisk]]:
    """Lakes in which `step` was killed in one call after the other: as they were before it, and as they are after."""
    unhurt = prepared(0, before)
    call, calls = 0, 1
    while call < calls:
        disk = prepared(call, before)
        disk.calls, disk.kill_in = 0, call
        try:
            step(disk)
            calls = disk.calls
        except Killed:
            calls = call + 2
        if is_cut:
            disk.medium.lose_power()
        yield unhurt, SimDisk(disk.medium)
        call += 1


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize(
    ("before", "step"),
    [
        ((), fold),
        ((), pack),
        ((fold, come_late), fold),
        ((pack, come_late), pack),
        ((fold, pack), close),
        ((fold, pack, close, come_late, fold), pack),
        ((fold, pack, close, come_late, fold), close),
    ],
)
def test_an_hour_is_whole_at_every_call(before: tuple[Step, ...], step: Step, is_cut: bool) -> None:
    has_hidden, whole = False, None
    for unhurt, disk in moments(before, step, is_cut):
        whole = whole or seen(unhurt)
        assert seen(disk) == whole
        assert not any(map(hidden.is_hidden, names(disk, *OF))), "a certificate names what is about to go"
        has_hidden |= any("old_" in name for name in disk.medium.names)
    assert has_hidden, "nothing was hidden at any moment: this has shown nothing"


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_day_that_is_closed_again_keeps_its_word_and_its_ticks(is_cut: bool) -> None:
    def again(disk: SimDisk) -> None:
        close(disk)
        fetch(disk)

    for unhurt, disk in moments((fold, pack, close, fetch, come_late, fold, pack), again, is_cut):
        issue = manifests.read(unhurt, *OF)["issue"]
        assert manifests.read(disk, *OF).get("issue") in (issue, issue + 1)
        assert tickfiles.hours(disk, *OF) == {12}
        assert len(tickfiles.read_hour(disk, *OF, 12)) >= len(tickfiles.read_hour(unhurt, *OF, 12)) > 0
        assert staging.fetched(disk, *OF) == [{"kind": "x"}]


def test_hidden_files_count_no_more_once_the_new_one_has_its_name() -> None:
    disk = lake(1)
    whole = seen(disk)
    names = disk.list(RAW)
    text = b"".join(disk.read(f"{RAW}/{name}") for name in names)
    for name in names:
        disk.rename(f"{RAW}/{name}", hidden.beside(f"{RAW}/{name}", hidden.OLD))
    disk.write(f"{RAW}/new_part_13.jsonl.zst.tmp", b"")
    assert not archive.parts(disk, RAW), "of another hour"
    disk.write(f"{RAW}/new_part_12.jsonl.zst.tmp", b"")
    disk.write(f"{RAW}/old_part_1200.jsonl.bak", b"somebody's own")
    assert seen(disk) == whole
    disk.remove(f"{RAW}/new_part_12.jsonl.zst.tmp")
    disk.write(f"{RAW}/part_12.jsonl.zst", zstandard.compress(text))
    assert [part.name for part in archive.parts(disk, RAW, 12)] == ["part_12.jsonl.zst"]
    assert seen(disk) == whole


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ((), "x/a"),
        (("x/a",), "x/a"),
        (("x/a", "x/new_a.tmp", "x/old_a.tmp"), "x/a"),
        (("x/new_a.tmp", "x/old_a.tmp"), "x/old_a.tmp"),
        (("x/old_a.tmp",), "x/a"),
        (("x/new_a.tmp",), "x/a"),
    ],
)
def test_where_something_is_to_be_read(there: tuple[str, ...], found: str) -> None:
    disk = SimDisk(Medium(Random(1)))
    for path in there:
        disk.write(path, b"")
    assert hidden.where(disk, "x/a") == found


@pytest.mark.parametrize(("happens", "found"), [(("hidden",), b"old"), (("hidden", "through"), b"new")])
def test_what_is_renamed_while_it_is_looked_for_is_read(happens: tuple[str, ...], found: bytes) -> None:
    disk = SimDisk(Medium(Random(1)))
    disk.write("x/a", b"old")
    disk.write("x/new_a.tmp", b"new")
    plain = disk.read
    looks = iter(happens)

    def read(path: str, offset: int = 0, size: int = -1) -> bytes:
        """Just before it reads, somebody renames."""
        now = next(looks, "")
        if now == "hidden":
            disk.rename("x/a", "x/old_a.tmp")
        elif now == "through":
            disk.rename("x/new_a.tmp", "x/a")
            disk.remove("x/old_a.tmp")
        return plain(path, offset, size)

    disk.read = read  # type: ignore[method-assign]
    assert hidden.read(disk, "x/a") == found
    with pytest.raises(FileNotFoundError):
        hidden.read(disk, "x/b")


def slow_swap(disk: SimDisk, folder: str) -> list[str]:
    """From now on each file of this folder is hidden at the very moment in which somebody begins to read it."""
    plain, read_at = disk.read, list[str]()
    disk.write(f"{folder}/{hidden.NEW}part_12.jsonl.zst{TMP}", b"")

    def read(path: str, offset: int = 0, size: int = -1) -> bytes:
        read_at.append(path)
        if path.startswith(folder) and not hidden.is_hidden(path) and disk.size(path) is not None:
            disk.rename(path, hidden.beside(path, hidden.OLD))
        return plain(path, offset, size)

    disk.read = read  # type: ignore[method-assign]
    return read_at


READERS: dict[str, tuple[Callable[[SimDisk], object], int]] = {
    "lines": (lambda disk: archive.read_hour(disk, *OF, 12), 12),
    "their hash": (lambda disk: lines_hash(disk, *OF, 12), 12),
    "one file": (lambda disk: archive.standing(disk, RAW, "120005"), 1),
    "a backfill": (lambda disk: backfill_day.Day(disk, *OF, lambda _: True, False)._held(12), 12),
}


@pytest.mark.parametrize(("read", "files"), READERS.values(), ids=READERS)
def test_a_swap_of_many_files_is_read_beside_however_slow_it_is(read: Callable[[SimDisk], object], files: int) -> None:
    disk = SimDisk(Medium(Random(1)))
    disk.mkdir(HOME)
    write_raw(disk, Market().events(NOON, 60), every_s=5)
    before = read(disk)
    reads = slow_swap(disk, RAW)
    assert read(disk) == before
    assert sum(not hidden.is_hidden(path) for path in reads) >= files


def test_bars_are_read_beside_a_slow_swap_as_well() -> None:
    disk = SimDisk(Medium(Random(1)))
    write_bars(disk, bars_of(Market().events(NOON, 60), NOON + HOUR), every_s=5)
    before = Stored(disk, *OF).hour(12)
    plain, hides = disk.read_table, list[str]()
    disk.write(f"{PARTS}/{hidden.NEW}hour_12.parquet{TMP}", b"")

    def read_table(path: str) -> pa.Table:
        if not hidden.is_hidden(path) and disk.size(path) is not None:
            hides.append(path)
            disk.rename(path, hidden.beside(path, hidden.OLD))
        return plain(path)

    disk.read_table = read_table  # type: ignore[method-assign]
    assert before[0].num_rows and Stored(disk, *OF).hour(12) == before
    assert len(hides) > 5


def test_the_lines_of_a_minute_stand_in_its_folded_hour_as_well() -> None:
    disk = lake(1)
    before = archive.standing(disk, RAW, "120010")
    fold_lines(disk, RAW, 12, 3)
    assert before and archive.hours(disk, RAW) == [12] and len(archive.parts(disk, RAW)) == 1
    assert before <= archive.standing(disk, RAW, "120010")


def test_what_is_named_and_cannot_be_found_is_looked_for_a_few_times() -> None:
    looks: list[int] = []

    def read(_: object) -> None:
        looks.append(1)
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        hidden.reread(read, lambda: "the same")
    assert len(looks) == 5
    with pytest.raises(FileNotFoundError):
        hidden.reread(read, lambda: min(len(looks), 20))  # it moves on for a while
    assert len(looks) == 21
