"""What is damaged is moved out of sight with its reason, and nothing that lies there is ever written over."""

from __future__ import annotations

from pathlib import Path

from shared.files import Files
from shared.quarantine import keep, set_aside


def test_a_file_goes_with_its_reason_and_the_next_of_its_name_beside_it(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for content in (b"one", b"two"):
        disk.write("raw/binance/X/part_13.jsonl", content)
        set_aside(disk, "raw/binance/X/part_13.jsonl", "cannot be read")
        assert disk.list("raw/binance/X") == []
    assert disk.read("quarantine/raw.binance.X.part_13.jsonl") == b"one"
    assert disk.read("quarantine/raw.binance.X.part_13.jsonl.1") == b"two"
    assert disk.read("quarantine/raw.binance.X.part_13.jsonl.1.why") == b"raw/binance/X/part_13.jsonl: cannot be read\n"


def test_bytes_that_are_cut_off_are_kept(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert keep(disk, "journal/a/a/j-1.log", b"torn", "cut") == "quarantine/journal.a.a.j-1.log"
    assert disk.read("quarantine/journal.a.a.j-1.log") == b"torn"
