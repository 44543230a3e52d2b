"""Two slots: whatever happens to one while it is written, the other says where to go on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.checkpoint import Checkpoint, peek
from shared.files import Files

BASE = "journal/archive/ckpt-binance"


def stored(disk: Files, *payloads: bytes) -> None:
    ckpt = Checkpoint(disk, BASE)
    ckpt.load()
    for payload in payloads:
        ckpt.store(payload)


def test_the_newest_is_loaded_and_the_one_before_stays(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert Checkpoint(disk, BASE).load() is None
    for payload in (b"one", b"two", b"three"):
        stored(disk, payload)
        assert Checkpoint(disk, BASE).load() == payload
    assert disk.list("journal/archive") == ["ckpt-binance.0", "ckpt-binance.1"]


def test_a_slot_cut_or_flipped_at_any_byte_leaves_the_other(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stored(disk, b"before", b"newest")
    data = disk.read(f"{BASE}.0")
    assert b"newest" in data
    for at in range(len(data)):
        for bad in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            disk.write(f"{BASE}.0", bad)
            assert Checkpoint(disk, BASE).load() == b"before"


def test_a_store_after_damage_overwrites_the_damaged_slot(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stored(disk, b"before", b"newest")
    disk.write(f"{BASE}.0", b"")
    stored(disk, b"again")
    assert Checkpoint(disk, BASE).load() == b"again"
    disk.write(f"{BASE}.0", b"")
    assert Checkpoint(disk, BASE).load() == b"before"


def test_bytes_behind_the_payload_are_no_checkpoint(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    stored(disk, b"one", b"two")
    disk.write(f"{BASE}.0", disk.read(f"{BASE}.0") + b"x")
    assert Checkpoint(disk, BASE).load() == b"one"


def test_others_see_what_it_says_or_nothing(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert peek(disk, BASE) == {}
    stored(disk, msgspec.msgpack.encode({"position": 7, "ts": 9}))
    assert peek(disk, BASE) == {"position": 7, "ts": 9}
    stored(disk, msgspec.msgpack.encode([1]))
    assert peek(disk, BASE) == {}


def test_what_is_loaded_is_durable_whoever_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer may have been killed between the write and the sync."""
    disk = Files(tmp_path)
    stored(disk, b"one")
    synced: list[str] = []
    monkeypatch.setattr(disk, "sync", synced.append)
    monkeypatch.setattr(disk, "sync_dir", synced.append)
    assert Checkpoint(disk, BASE).load() == b"one"
    assert synced == [f"{BASE}.1", "journal/archive"]
