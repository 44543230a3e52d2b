"""The real disk: the only door to the file system, and it opens on the lake alone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import appender
from shared.files import Files, UnsafePath


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/./b", "a\\..\\b", "C:/x", "a/\0", "..", "a/.."]
)
def test_a_path_that_could_leave_the_lake_is_refused(tmp_path: Path, path: str) -> None:
    disk = Files(tmp_path)
    for call in (disk.read, disk.size, disk.appender, disk.remove, disk.mkdir, disk.sync, disk.table_meta):
        with pytest.raises(UnsafePath):
            call(path)
    with pytest.raises(UnsafePath):
        disk.write(path, b"")
    with pytest.raises(UnsafePath):
        disk.rename("a", path)


def test_a_path_is_the_same_when_it_is_asked_for_again_and_not_all_are_remembered(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for _ in range(2):
        for number in range(3000):
            assert disk.path(f"raw/{number}") == tmp_path.resolve() / "raw" / str(number)
            assert len(disk._known) <= 1000
    for _ in range(2):
        with pytest.raises(UnsafePath):
            disk.path("raw/../..")


@given(st.text(max_size=30))
def test_any_text_is_a_path_in_the_lake_or_refused(path: str) -> None:
    root = Path("/nowhere/lake")
    try:
        found = Files(root).path(path)
    except UnsafePath:
        return
    assert found.is_relative_to(root) and ".." not in found.parts


def test_an_appender_makes_its_folder_and_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    first = disk.appender("a/b/c.log")
    first.write(b"one")
    first.close()
    again = disk.appender("a/b/c.log")
    assert again.size == 3
    again.write(b"two")
    again.sync()
    assert again.size == 6 and disk.read("a/b/c.log") == b"onetwo" and disk.read("a/b/c.log", 2, 2) == b"et"
    again.close()


def test_a_rename_never_takes_a_name_that_stands(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write("a", b"1")
    disk.write("b", b"2")
    with pytest.raises(FileExistsError):
        disk.rename("a", "b")
    disk.rename("a", "new/c")
    assert disk.list("") == ["b", "new"] and disk.read("new/c") == b"1"


def test_what_is_absent_is_said_plainly(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.remove("none")
    disk.rmdir("none")
    assert disk.size("none") is None and disk.list("none") == [] and disk.table_meta("none") is None
    with pytest.raises(FileNotFoundError):
        disk.read("none")


def test_a_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write("a/b", b"")
    disk.rmdir("a")
    assert disk.list("a") == ["b"]
    disk.remove("a/b")
    disk.rmdir("a")
    assert disk.list("") == []


def test_a_table_is_read_back_with_its_metadata_and_without_its_folders(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    path = "parquet/binance/X/year=2025/part.parquet.tmp"
    disk.write_table(path, pa.table({"a": [1, 2, 3]}), metadata={"lake.first": "7"})
    assert disk.table_meta(path) == (3, {"lake.first": "7"})
    assert disk.read_table(path).to_pydict() == {"a": [1, 2, 3]}


def test_a_table_cut_anywhere_or_with_a_flipped_footer_cannot_be_read(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.write_table("t.parquet", pa.table({"a": [1, 2, 3]}))
    data = disk.read("t.parquet")
    for size in range(len(data)):
        disk.write("cut.parquet", data[:size])
        assert disk.table_meta("cut.parquet") is None


def test_new_folders_are_made_durable_with_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of a file promises nothing about the folders that lead to it."""
    disk = Files(tmp_path)
    synced: list[Path] = []
    plain = disk._sync_folder

    def told(folder: Path) -> None:
        synced.append(folder)
        plain(folder)

    monkeypatch.setattr(disk, "_sync_folder", told)
    disk.appender("raw/binance/X/a.jsonl").close()
    assert synced == [tmp_path, tmp_path / "raw", tmp_path / "raw/binance"]
    disk.write("raw/binance/Y/b", b"")
    assert synced[3:] == [tmp_path / "raw/binance"]


def test_free_space_is_part_of_the_whole(tmp_path: Path) -> None:
    free, total = Files(tmp_path).free()
    assert 0 < free <= total


# --- a disk that is full ---


@contextlib.contextmanager
def no_longer_than(size: int) -> Iterator[None]:
    """A write beyond so many bytes of a file comes short, as on a full disk; the next one fails."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_short_write_raises_and_leaves_no_torn_piece(tmp_path: Path) -> None:
    file = Files(tmp_path).appender("j.log")
    file.write(b"whole" * 100)
    with no_longer_than(700), pytest.raises(OSError, match="200 of 500 bytes"):
        file.write(b"torn." * 100)
    assert (file.size, (tmp_path / "j.log").stat().st_size) == (500, 500)
    file.close()


def test_a_short_write_is_never_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where there is room again at once: the process ends, and its start decides what is whole."""
    calls: list[int] = []
    plain = os.write

    def short(fd: int, data: bytes) -> int:
        calls.append(len(data))
        return plain(fd, bytes(data)[: len(data) - 1])

    disk = Files(tmp_path)
    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="9 of 10 bytes"):
        disk.write("slot", b"0123456789")
    file = disk.appender("j.log")
    with pytest.raises(OSError, match="9 of 10 bytes"):
        file.write(b"0123456789")
    file.close()
    assert calls == [10, 10]


def test_a_table_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    table = pa.table({"n": list(range(100_000))})
    with no_longer_than(50_000), pytest.raises((OSError, pa.ArrowException)):
        disk.write_table("bars.parquet.tmp", table)
    assert disk.list("") == []
    disk.write_table("bars.parquet.tmp", table)
    assert disk.table_meta("bars.parquet.tmp") == (100_000, {})


def test_whoever_waits_for_the_disk_is_heard_after_every_file(tmp_path: Path) -> None:
    beats: list[int] = []
    disk = Files(tmp_path, lambda: beats.append(1))
    appender = disk.appender("raw/a.jsonl")
    appender.write(b"1")
    before = len(beats)
    for _ in range(3):
        appender.sync()
    disk.sync_dir("raw")
    disk.rename("raw/a.jsonl", "raw/b.jsonl")
    appender.close()
    assert len(beats) - before >= 5


def test_what_was_written_is_forgotten_piece_by_piece_and_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is named twice: the first time it is not on disk yet, and so it stays in memory."""
    told: list[tuple[int, int]] = []
    if hasattr(os, "posix_fadvise"):
        monkeypatch.setattr("os.posix_fadvise", lambda fd, at, size, advice: told.append((at, size)))
    file = Files(tmp_path).appender("a.jsonl")
    for _ in range(7):
        file.write(b"x" * 400)
        file.forget(1000)
    file.close()
    again = Files(tmp_path).appender("a.jsonl")
    again.forget(1000)
    again.write(b"y" * 1000)
    again.forget(1000)
    again.close()
    assert Files(tmp_path).read("a.jsonl") == b"x" * 2800 + b"y" * 1000
    if hasattr(os, "posix_fadvise"):
        assert told == [(0, 1200), (0, 2400), (2800, 1000)], "what stood before is not this writer's"


def test_a_file_system_that_takes_no_advice_ends_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    if hasattr(os, "posix_fadvise"):
        monkeypatch.setattr("os.posix_fadvise", refuse)
    file = Files(tmp_path).appender("a.jsonl")
    file.write(b"x" * 400)
    file.forget(1)
    file.write(b"y")
    file.close()
    assert Files(tmp_path).read("a.jsonl") == b"x" * 400 + b"y"


def test_where_the_system_cannot_be_told_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.posix_fadvise", raising=False)
    file = Files(tmp_path).appender("a.jsonl")
    file.write(b"x" * 400)
    file.forget(1)
    file.close()
    assert Files(tmp_path).read("a.jsonl") == b"x" * 400


class SlowSync:
    """A disk that is at a sync until it is let go; `said` holds what came to an end, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.error: OSError | None = None
        self._plain, self._close = appender.fsync, os.close
        monkeypatch.setattr(appender, "fsync", self._sync)
        monkeypatch.setattr(os, "close", self._closed)

    def _sync(self, fd: int) -> None:
        beside = threading.current_thread() is not threading.main_thread()
        if beside:
            self.begun.set()
            assert self.go.wait(20)
            if self.error is not None:
                raise self.error
        self._plain(fd)
        self.said.append("beside" if beside else "sync")

    def _closed(self, fd: int) -> None:
        self.said.append("close")
        self._close(fd)

    def let_go_soon(self) -> None:
        threading.Timer(0.1, self.go.set).start()


def test_what_is_written_during_a_sync_beside_it_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, file = SlowSync(monkeypatch), Files(tmp_path).appender("j.log")
    file.write(b"1")
    file.begin_sync()
    assert slow.begun.wait(20)
    file.write(b"2")
    file.begin_sync()
    assert file.is_syncing and slow.said == []
    slow.go.set()
    file.sync()
    file.close()
    assert slow.said == ["beside", "sync", "close"], "one at a time, and who syncs waits for the one that goes on"


def test_a_file_is_not_closed_under_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number would be another file's."""
    slow, file = SlowSync(monkeypatch), Files(tmp_path).appender("j.log")
    file.begin_sync()
    slow.let_go_soon()
    file.close()
    assert slow.said == ["beside", "close"]


@pytest.mark.parametrize("then", ["write", "sync", "begin_sync", "is_syncing", "close"])
def test_after_a_sync_that_failed_nothing_is_written_or_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    slow, file = SlowSync(monkeypatch), Files(tmp_path).appender("j.log")
    slow.error = OSError(5, "Input/output error")
    slow.go.set()
    file.write(b"1")
    file.begin_sync()
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    with pytest.raises(OSError, match="Input/output"):
        _ = getattr(file, then)(*([b"2"] if then == "write" else ())) if then != "is_syncing" else file.is_syncing
    assert (tmp_path / "j.log").read_bytes() == b"1" and "sync" not in slow.said
