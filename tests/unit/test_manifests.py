"""A manifest is read as it was written, or not at all; no word in it leads out of the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import manifests, paths
from shared.files import Files

AT = ("binance", "SOLUSDT", "2025-10-20")
FILE = {"path": "parquet/binance/SOLUSDT/year=2025/part_1.parquet", "size": 7, "sha256": "0" * 64, "rows": 3}
SAID: dict[str, Any] = {"issue": 1, "replaces": None, "checksums": "x", "files": [FILE], "raw_hours": [0, 23]}


def written(disk: Files, said: object) -> dict[str, Any]:
    disk.write(paths.manifest_file(*AT), msgspec.json.encode(said))
    return manifests.read(disk, *AT)


def test_one_that_is_whole_is_read_with_all_that_it_says(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert manifests.read(disk, *AT) == {}
    assert written(disk, {**SAID, "more": 1}) == {**SAID, "more": 1}


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a:b", "a//b", "", "a/../b", "a\\b", ".hidden", "a/.b", "a\0", "a\nb", 1, None]
)
def test_a_path_that_is_none_of_ours_makes_it_unreadable(tmp_path: Path, path: object) -> None:
    assert written(Files(tmp_path), {**SAID, "files": [FILE, {**FILE, "path": path}]}) == {}


@pytest.mark.parametrize("key", SAID)
def test_without_a_word_that_is_relied_on_it_is_none(tmp_path: Path, key: str) -> None:
    disk = Files(tmp_path)
    assert written(disk, {name: value for name, value in SAID.items() if name != key}) == {}
    assert written(disk, {**SAID, key: {}}) == {}
    assert written(disk, {**SAID, "files": [{**FILE, "sha256": "z" * 64}]}) == {}


@pytest.mark.parametrize("junk", [b"", b"[]", b"null", b"\xff", b'{"issue":"\xff"}', b"[" * 9999])
def test_anything_else_is_none(tmp_path: Path, junk: bytes) -> None:
    disk = Files(tmp_path)
    disk.write(paths.manifest_file(*AT), junk)
    assert manifests.read(disk, *AT) == {}
