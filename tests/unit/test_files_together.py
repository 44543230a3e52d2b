"""Hundreds of files are made durable side by side; whatever goes wrong with one of them is said."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from shared.files import Files


@pytest.mark.parametrize("count", [1, 7, 8, 300])
def test_every_file_and_every_folder_is_synced_once(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    names = [f"d{number}/f" for number in range(count)]
    for name in names:
        disk.write(name, b"x")
    inode = {(tmp_path / name).stat().st_ino: name for name in names}
    inode |= {(tmp_path / name).parent.stat().st_ino: name.split("/")[0] for name in names}
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(inode[os.fstat(fd).st_ino]))
    beats: list[int] = []
    disk._pulse = lambda: beats.append(threading.get_ident())
    disk.sync_files(names)
    assert sorted(synced) == sorted(names)
    synced.clear()
    disk.sync_dirs([name.split("/")[0] for name in names])
    assert sorted(synced) == ([] if os.name == "nt" else sorted(name.split("/")[0] for name in names))
    assert len(beats) >= count and set(beats) == {threading.get_ident()}, "the pulse is the process's own"


@pytest.mark.parametrize("count", [3, 50])
def test_what_goes_wrong_with_one_of_them_is_raised(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    names = [f"f{number}" for number in range(count)]
    for name in names:
        disk.write(name, b"x")
    bad, plain = (tmp_path / names[-2]).stat().st_ino, os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == bad:
            raise OSError(5, "Input/output error")
        plain(fd)

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        disk.sync_files(names)
    with pytest.raises(FileNotFoundError):
        disk.sync_files([*names[:-2], "absent"])
