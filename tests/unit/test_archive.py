"""Reading the archive back: in order, whole or folded, and what is broken is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from shared import archive
from shared.archive import Problem
from shared.events import Feed
from shared.files import Files
from shared.lines import line
from tests.fixtures.small_lake import MINUTE, NOON, SECOND, VENUE, Market, write_feed, write_raw

DATE = "2025-10-20"
FOLDER = f"raw/{VENUE}/SOLUSDT/{DATE}"


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_an_hour_comes_back_as_it_was_written(disk: Files) -> None:
    events = Market().events(NOON, 180)
    write_raw(disk, events)
    assert archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12) == (events, [])
    assert archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 13) == ([], [])


def test_a_folded_hour_and_late_lines_beside_it_are_read_in_that_order(disk: Files) -> None:
    events = Market().events(NOON, 6, trades=1, quotes=0)
    texts = [line(event).encode() for event in events]
    disk.write(f"{FOLDER}/part_12.jsonl.zst", zstandard.compress(texts[0] + texts[1]))
    for name, text in (
        ("part_1200.jsonl", 2),
        ("part_1200_2.jsonl", 3),
        ("part_1200_10.jsonl", 4),
        ("open_1201.jsonl", 5),
    ):
        disk.write(f"{FOLDER}/{name}", texts[text])
    assert archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12) == (events, [])


def test_only_files_of_the_archive_are_read(disk: Files) -> None:
    for name in (
        "part_2500.jsonl",
        "part_1260.jsonl",
        "old_part_1200.jsonl.tmp",
        "part_12.jsonl",
        "part_1200.jsonl.zst",
        "x",
    ):
        disk.write(f"{FOLDER}/{name}", b"garbage")
    assert archive.parts(disk, FOLDER) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"symbol":1}',
        b"\xff\xfe",
        b'{"symbol":"X","ts_recv":1,"stream":"depth","ts":1}',
        b"[" * 5000,
    ],
)
def test_a_broken_line_costs_that_line_and_is_named(disk: Files, text: bytes) -> None:
    events = Market().events(NOON, 1, trades=1, quotes=1)
    path = f"{FOLDER}/part_1200.jsonl"
    disk.write(path, line(events[0]).encode() + text + b"\n" + line(events[1]).encode())
    found, problems = archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12)
    assert found == events
    assert [(problem.path, problem.line) for problem in problems] == [(path, 2)]


def test_the_last_line_of_an_open_file_may_be_torn(disk: Files) -> None:
    events = Market().events(NOON, 2, trades=1, quotes=0)
    torn = "".join(map(line, events)).encode()[:-9]
    disk.write(f"{FOLDER}/open_1200.jsonl", torn)
    assert archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12) == (events[:1], [])
    disk.rename(f"{FOLDER}/open_1200.jsonl", f"{FOLDER}/part_1200.jsonl")
    found, problems = archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12)
    assert found == events[:1] and problems[0].line == 2


def test_of_a_damaged_compressed_file_is_read_what_can_be_had(disk: Files) -> None:
    events = Market().events(NOON, 3000, trades=1, quotes=1)
    packed = zstandard.compress("".join(map(line, events)).encode())
    path = f"{FOLDER}/part_12.jsonl.zst"
    for damaged in (packed[: len(packed) // 2], b"nonsense"):
        disk.write(path, damaged)
        found, problems = archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12)
        assert found == events[: len(found)]
        assert problems[0].path == path and problems[0].line == 0
    disk.write(path, packed[: len(packed) // 2])
    assert len(archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12)[0]) > 100


def test_several_frames_are_one_file() -> None:
    assert archive.unpack(zstandard.compress(b"a\n") + zstandard.compress(b"b\n")) == (b"a\nb\n", "")
    assert archive.unpack(b"") == (b"", "")


def test_a_file_renamed_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    class Busy(Files):
        """The archiver closes its minute between the listing and the reading."""

        def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
            if self.size(f"{FOLDER}/open_1200.jsonl") is not None:
                self.rename(f"{FOLDER}/open_1200.jsonl", f"{FOLDER}/part_1200.jsonl")
            return super().read(path, offset, size)

    disk = Busy(tmp_path)
    events = Market().events(NOON, 2)
    disk.write(f"{FOLDER}/open_1200.jsonl", "".join(map(line, events)).encode())
    assert archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 12) == (events, [])


def test_the_feed_comes_back_with_its_details(disk: Files) -> None:
    feed = [
        Feed("gap", NOON, NOON + 1, ["SOLUSDT"], {"first_id": 5, "last_id": 9}),
        Feed("clock", NOON + 70 * SECOND, NOON, [], {"offset_ns": -5}),
    ]
    write_feed(disk, feed)
    assert archive.read_feed(disk, VENUE, DATE) == (feed, [])
    assert archive.read_feed(disk, VENUE, DATE, 13) == ([], [])
    disk.write(f"feed/{VENUE}/{DATE}/part_1202.jsonl", b'{"kind":"gap"}\n')
    assert archive.read_feed(disk, VENUE, DATE)[1] == [
        Problem(f"feed/{VENUE}/{DATE}/part_1202.jsonl", 1, "a feed line without 'ts'")
    ]


def test_what_there_is_is_listed(disk: Files) -> None:
    write_raw(disk, [*Market("SOLUSDT").events(NOON, 1), *Market("币安").events(NOON + 60 * MINUTE, 1)])
    disk.write("raw/.DS_Store", b"")
    disk.write(f"raw/{VENUE}/SOLUSDT/.DS_Store", b"")
    assert archive.symbols(disk) == [(VENUE, "币安"), (VENUE, "SOLUSDT")]
    assert archive.dates(disk, f"raw/{VENUE}/SOLUSDT") == [DATE]
    assert archive.hours(disk, FOLDER) == [12]
    assert [hour for hour, _, _ in archive.read_day(disk, VENUE, "币安", DATE)] == [13]
