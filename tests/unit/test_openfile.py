"""A file of the archive: what waits is written in order, and it is as it was written."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from shared.files import Files
from shared.openfile import OpenFile

PATH = "raw/binance/SOLUSDT/2025-10-20/open_1342.jsonl"


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_what_waits_comes_before_what_does_not(disk: Files) -> None:
    file = OpenFile(PATH, 0, 1)
    file.add(b"one\n")
    file.add(b"two\n")
    assert (file.waiting, file.size) == (8, 0)
    assert file.write(disk, memoryview(bytearray(b"three\n"))) == 14
    assert file.write(disk, b"four\n") == 5
    assert disk.read(PATH) == b"one\ntwo\nthree\nfour\n"
    assert (file.waiting, file.lines, file.size, file.unsynced) == (0, [], 19, True)
    assert file.crc == zlib.crc32(disk.read(PATH))


def test_it_goes_on_behind_what_stands_and_nobody_knows_the_sum_of_what_nobody_read(disk: Files) -> None:
    disk.write(PATH, b"before\n")
    file = OpenFile(PATH, 0, 1, 7, None)
    file.write(disk, b"behind\n")
    assert disk.read(PATH) == b"before\nbehind\n"
    assert (file.size, file.crc) == (14, None)


def test_a_descriptor_that_was_let_go_is_had_again(disk: Files) -> None:
    file = OpenFile(PATH, 0, 1)
    held = []
    for text in (b"one\n", b"two\n"):
        file.write(disk, text)
        held.append(file.is_held)
        file.release()
        file.release()
        held.append(file.is_held)
    assert held == [True, False, True, False]
    assert disk.read(PATH) == b"one\ntwo\n"
