"""Days that a start looks into for files that came to no checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import paths
from shared.begun import Begun
from shared.files import Files

NOTE = "journal/archive/days-binance"
T = paths.day_start("2025-10-20") + 13 * paths.HOUR


def begun(disk: Files, ts: int = T) -> Begun:
    found = Begun(disk, NOTE)
    found.load()
    found.ts = ts
    return found


def test_the_days_around_the_checkpoint_are_looked_into_without_a_note(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for date in ("2025-10-19", "2025-10-20", "2025-10-21"):
        begun(disk).note(date)
    assert disk.size(NOTE) is None and begun(disk).days == {"2025-10-19", "2025-10-20", "2025-10-21"}


def test_other_days_are_noted_once_and_outlive_the_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    written: list[str] = []
    plain = disk.write
    monkeypatch.setattr(disk, "write", lambda path, data: written.append(path) or plain(path, data))  # type: ignore[func-returns-value]
    one = begun(disk)
    for date in ("2025-10-22", "2024-01-01", "2025-10-22"):
        one.note(date)
    begun(disk).note("2024-01-01")
    assert len(written) == 2
    assert begun(disk).far == {"2025-10-22", "2024-01-01"} < begun(disk).days


def test_before_the_first_checkpoint_nothing_is_noted(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    begun(disk, 0).note("2025-10-20")
    assert disk.size(NOTE) is None


@pytest.mark.parametrize("data", [b"", b"torn", b"[1]", b"[" * 5000])
def test_a_note_that_cannot_be_read_stops_nobody(tmp_path: Path, data: bytes) -> None:
    disk = Files(tmp_path)
    disk.write(NOTE, data)
    assert begun(disk).far == set()
