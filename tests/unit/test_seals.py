"""Seals say which finished files are not as they were written; what follows is in test_damaged_files.py."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from shared import seals
from shared.events import Batch
from shared.files import Files
from shared.journal import Writer
from shared.seals import Seal, Seals, reaches


def sealed(disk: Files, **files: bytes) -> Seals:
    found = Seals(disk, "journal/archive/seals-binance")
    found.load()
    for at, (name, data) in enumerate(files.items()):
        disk.write(f"raw/{name}", data)
        found.of[f"raw/{name}"] = Seal(len(data), zlib.crc32(data), 1, 100 + at)
    found.store(before=0)
    return found


def again(disk: Files) -> Seals:
    found = Seals(disk, "journal/archive/seals-binance")
    found.load()
    return found


def test_any_change_of_any_byte_is_seen(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    sealed(disk, a=b"12345", b=b"12345", c=b"12345", d=b"12345")
    disk.write("raw/a", b"12346")
    disk.write("raw/b", b"1234")
    disk.write("raw/c", b"123456")
    assert set(again(disk).broken()) == {"raw/a", "raw/b", "raw/c"}


def test_a_file_that_was_folded_away_is_forgotten(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    sealed(disk, a=b"1", b=b"2")
    disk.remove("raw/a")
    found = again(disk)
    assert found.broken() == {} and set(found.of) == {"raw/b"}


def test_what_is_over_is_somebody_elses(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    found = sealed(disk, a=b"1", b=b"2")
    found.store(before=100)
    assert set(again(disk).of) == {"raw/b"}


def test_the_newest_files_are_read_first_and_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    sealed(disk, old=b"12345", new=b"12345")
    monkeypatch.setattr(seals, "MOST_CHECKED", 7)
    for name in ("old", "new"):
        disk.write(f"raw/{name}", b"12346")
    assert set(again(disk).broken()) == {"raw/new"}


def test_seals_that_cannot_be_read_check_nothing(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    sealed(disk, a=b"1")
    disk.write("journal/archive/seals-binance.1", b"?")
    assert again(disk).of == {}


def test_a_journal_reaches_as_far_as_its_oldest_segment(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert not reaches(disk, "binance", 1)
    writer = Writer(disk, "journal/source/binance", bytes)
    writer.open(at_least=9)
    writer.roll()
    writer.append(Batch(10, 1, []))
    writer.close()
    assert reaches(disk, "binance", 10) and not reaches(disk, "binance", 9)
