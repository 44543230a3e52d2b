"""Which files hold a day's bars, and reading them while they change."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from shared.barfiles import BAR_SCHEMA, bar_table
from shared.barstore import Stored, bar_days, bar_files, bar_hours, by_second, of_hour, open_days, read_bars, rows_hash
from shared.files import Files
from tests.fixtures.small_lake import HOUR, NOON, SECOND, VENUE, Market, bars_of, write_bars

DATE = "2025-10-20"
FOLDER = f"parquet/{VENUE}/SOLUSDT/year=2025/month=10/day=20"
DAY = f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet"


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    """Two hours of bars in three parts."""
    disk = Files(tmp_path)
    events = Market().events(NOON - 60 * SECOND, 120)
    write_bars(disk, bars_of(events, NOON + HOUR), every_s=40)
    return disk


def test_bar_files_are_told_by_their_names(disk: Files) -> None:
    names = disk.list(FOLDER)
    for stray in ("new_hour_12.parquet.tmp", "part_12.parquet.tmp", "hour_xx.parquet", "notes.txt"):
        disk.write(f"{FOLDER}/{stray}", b"")
    assert bar_hours(disk, FOLDER) == {11: names[:2], 12: names[2:]}
    disk.write(DAY, b"")
    assert bar_files(disk, VENUE, "SOLUSDT", DATE)[None] == [DAY]


def test_days_are_known_whether_open_or_closed(disk: Files) -> None:
    disk.write(f"parquet/{VENUE}/SOLUSDT/2025-10-19.parquet", b"")
    disk.write(f"parquet/{VENUE}/SOLUSDT/.DS_Store", b"")
    disk.write(f"parquet/{VENUE}/SOLUSDT/year=2025/month=10/.DS_Store", b"")
    assert open_days(disk, VENUE, "SOLUSDT") == [DATE]
    assert bar_days(disk, VENUE, "SOLUSDT") == ["2025-10-19", DATE]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\x00" * 100 + b"PAR1", b"no Parquet at all"])
def test_what_cannot_be_read_is_no_table(disk: Files, data: bytes) -> None:
    disk.write(f"{FOLDER}/part_1200_x.parquet", data)
    assert read_bars(disk, f"{FOLDER}/part_1200_x.parquet") is None
    rows, unreadable = Stored(disk, VENUE, "SOLUSDT", DATE).hour(12)
    assert (rows.num_rows, unreadable) == (60, [f"{FOLDER}/part_1200_x.parquet"])


def test_another_schema_is_no_table_of_bars(disk: Files) -> None:
    disk.write_table(f"{FOLDER}/part_1200_x.parquet", pa.table({"a": [1]}))
    assert read_bars(disk, f"{FOLDER}/part_1200_x.parquet") is None


def test_a_damaged_page_is_noticed(disk: Files) -> None:
    path = f"{FOLDER}/{disk.list(FOLDER)[0]}"
    data = bytearray(disk.read(path))
    for at in range(20, len(data) // 2, 50):
        data[at] ^= 0xFF
    disk.write(path, bytes(data))
    assert read_bars(disk, path) is None


def test_an_hour_and_the_others_are_the_whole(disk: Files) -> None:
    rows = pa.concat_tables([disk.read_table(f"{FOLDER}/{name}") for name in disk.list(FOLDER)])
    inside, outside = of_hour(rows, DATE, 12), of_hour(rows, DATE, 12, inside=False)
    assert (inside.num_rows, outside.num_rows, rows.num_rows) == (60, 60, 120)
    assert min(by_second(inside, NOON + HOUR)) == NOON
    assert len(by_second(inside, NOON + 30 * SECOND)) == 30


def test_the_hash_is_of_the_rows_and_not_of_where_they_stand(disk: Files) -> None:
    bars = bars_of(Market().events(NOON, 60), NOON + HOUR)
    whole = bar_table(bars, VENUE)
    pieces = pa.concat_tables([bar_table(bars[30:], VENUE), BAR_SCHEMA.empty_table(), bar_table(bars[:30], VENUE)])
    assert rows_hash(whole) == rows_hash(pieces)
    bars[7].close = 1.0
    assert rows_hash(bar_table(bars, VENUE)) != rows_hash(whole)


def test_a_part_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    class Swapping(Files):
        """The compactor folds the hour between the listing and the reading."""

        def read_table(self, path: str) -> pa.Table:
            if path.endswith("_0000000000000002.parquet") and self.size(f"{FOLDER}/hour_12.parquet") is None:
                super().rename(path, f"{FOLDER}/hour_12.parquet")
            return super().read_table(path)

    disk = Swapping(tmp_path)
    write_bars(disk, bars_of(Market().events(NOON - 60 * SECOND, 120), NOON + HOUR), every_s=3600)
    assert disk.list(FOLDER) != []
    assert Stored(disk, VENUE, "SOLUSDT", DATE).hour(12)[0].num_rows == 60
