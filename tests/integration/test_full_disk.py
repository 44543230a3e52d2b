"""A disk that fills under a whole mesh: who waits, who dies, and that nothing received is lost or doubled."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.chaos.full_disk import unreadable
from bench.chaos.small_disk import Stranger, small_disk
from shared.checkpoint import Checkpoint
from shared.events import Batch
from shared.files import Files
from shared.journal import Reader, Writer
from supervision.children import ROOT

NO_DISK = "a tmpfs can be mounted by root on Linux only"
FOLDER = "journal/src/src"


def filled(disk: Path) -> Stranger:
    stranger = Stranger(disk)
    stranger.leaves(0)
    return stranger


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_a_disk_filled_slowly_and_at_once_loses_nothing_and_all_are_back() -> None:
    """Two cycles: less room step by step, then none; 35 s for all to be level is the most."""
    words = ["--times", "2", "--rate", "300", "--megabytes", "64"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "full-disk", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=160,
        check=False,
    )  # fmt: skip
    if "NOT RUN" in done.stdout:
        pytest.skip(NO_DISK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0" in done.stdout and "doubled 0" in done.stdout and "unreadable_files 0" in done.stdout


def test_a_journal_on_a_full_disk_ends_with_a_whole_record_and_goes_on_when_there_is_room() -> None:
    with small_disk(4) as disk:
        if disk is None:
            pytest.skip(NO_DISK)
        files = Files(disk)
        writer = Writer(files, FOLDER, lambda: b"state")
        writer.open()
        writer.roll()
        given = 0
        with pytest.raises(OSError, match="No space left"):
            while True:
                writer.append(Batch(writer.last + 1, given, []))
                given += 1
        assert [batch.ts for batch in _all(files)] == list(range(given))
        # Given its process died and came back, and somebody made room
        again = Writer(files, FOLDER, lambda: b"state", segment_bytes=1 << 10)
        state, batches = again.open()
        assert state == b"state" and len(batches) == given and again.cut_bytes == 0
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        again.roll()
        again.append(Batch(again.last + 1, given, []))
        assert [batch.ts for batch in _all(files)] == list(range(given + 1))


def _all(files: Files) -> list[Batch]:
    reader, position, out = Reader(files, FOLDER), 0, []
    while found := reader.read(position):
        out += found
        position = found[-1].last
    return out


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before() -> None:
    with small_disk(4) as disk:
        if disk is None:
            pytest.skip(NO_DISK)
        files = Files(disk)
        checkpoint = Checkpoint(files, "journal/archive/ckpt-src")
        checkpoint.load()
        checkpoint.store(b"one" * 10_000)
        checkpoint.store(b"two" * 10_000)
        stranger = filled(disk)
        try:
            with pytest.raises(OSError, match="No space left"):
                checkpoint.store(b"three" * 100_000)
            again = Checkpoint(files, "journal/archive/ckpt-src")
            assert again.load() == b"two" * 10_000
            stranger.leaves(None)
            again.store(b"three" * 100_000)
            assert Checkpoint(files, "journal/archive/ckpt-src").load() == b"three" * 100_000
        finally:
            stranger.close()


def test_a_table_that_finds_no_room_leaves_nothing_behind() -> None:
    import pyarrow as pa

    with small_disk(4) as disk:
        if disk is None:
            pytest.skip(NO_DISK)
        files = Files(disk)
        table = pa.table({"n": list(range(1_000_000))})
        with pytest.raises((OSError, pa.ArrowException)):
            files.write_table("parquet/venue/SOLUSDT/part.parquet.tmp", table)
        assert files.list("parquet/venue/SOLUSDT") == []
        assert files.free()[0] > 3 << 20, "its room is given back"


def test_an_unreadable_file_is_noticed(tmp_path: Path) -> None:
    """The check of the chaos run can fail."""
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet" / "a.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "parquet" / "b.parquet.tmp").write_bytes(b"PAR1")
    assert unreadable(tmp_path) == 1


def test_the_supervisor_starts_nothing_on_a_disk_that_is_full() -> None:
    with small_disk(16) as disk, tempfile.TemporaryDirectory() as folder:
        if disk is None:
            pytest.skip(NO_DISK)
        config = Path(folder) / "pipeline.yml"
        config.write_text(
            f"lake: {disk}/lake\nsources:\n  binance: {{run: ingest, venue: binance, symbols: [SOLUSDT]}}\n"
            "sinks:\n  archive: {run: archiver, inputs: [binance]}\n"
        )
        stranger = filled(disk)
        try:
            done = subprocess.run(
                [sys.executable, "supervisor.py", "--config", str(config)],
                cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
        finally:
            stranger.close()
        assert done.returncode == 1 and "is full: 0 MB are free" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
