"""A lake is taken by one supervisor, of the right schema, on a disk that can be written; or refused in one sentence."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from shared.wire import find_mesh
from supervision import machine
from supervision.ground import Ground, Refused


def lake_json(lake: Path) -> dict[str, object]:
    said = json.loads((lake / "lake.json").read_text())
    assert isinstance(said, dict)
    return said


def test_a_fresh_lake_gets_its_schema_its_name_and_its_views(tmp_path: Path) -> None:
    lake = tmp_path / "new" / "lake"
    Ground(lake, "/p.yml").close()
    said = lake_json(lake)
    assert said["schema"] == 1 and len(str(said["uuid"])) == 36 and str(said["created"]).endswith("Z")
    assert "pyarrow" in dict(said["writers"])  # type: ignore[call-overload]
    assert "bars_1s" in (lake / "lake.sql").read_text()


def test_a_lake_keeps_its_name(tmp_path: Path) -> None:
    Ground(tmp_path, "/p.yml").close()
    before = lake_json(tmp_path)
    Ground(tmp_path, "/p.yml").close()
    assert lake_json(tmp_path) == before


@pytest.mark.parametrize("schema", [2, 0, "1", None])
def test_another_schema_is_refused_in_one_sentence_and_not_touched(tmp_path: Path, schema: object) -> None:
    text = json.dumps({"schema": schema, "uuid": "u"})
    (tmp_path / "lake.json").write_text(text)
    with pytest.raises(Refused, match=r"is of schema .*, this program writes 1: not touched"):
        Ground(tmp_path, "/p.yml")
    assert (tmp_path / "lake.json").read_text() == text
    assert find_mesh(tmp_path) is None and not (tmp_path / "lake.sql").exists()


def test_a_broken_lake_json_is_set_aside_and_written_anew(tmp_path: Path) -> None:
    (tmp_path / "lake.json").write_text('{"schema": 1, "uu')
    ground = Ground(tmp_path, "/p.yml")
    ground.close()
    assert "set aside" in ground.doubts[0]
    assert next((tmp_path / "quarantine").iterdir()).read_text() == '{"schema": 1, "uu'
    assert lake_json(tmp_path)["schema"] == 1


def test_a_second_one_is_refused_and_the_first_is_not_harmed(tmp_path: Path) -> None:
    first = Ground(tmp_path, "/p.yml")
    with pytest.raises(Refused, match=f"another supervisor runs this lake: .* process {os.getpid()}"):
        Ground(tmp_path, "/p.yml")
    assert find_mesh(tmp_path) == first.mesh
    first.close()
    assert find_mesh(tmp_path) is None
    assert not first.mesh.folder or not Path(first.mesh.folder).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "lake", "/p.yml")
    assert stat.S_IMODE((tmp_path / "lake" / "run" / "mesh.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "lake" / "run").stat().st_mode) == 0o700
    ground.close()


def test_a_folder_that_a_forged_file_names_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "lake-precious"
    precious.mkdir()
    ground = Ground(tmp_path / "lake", "/p.yml")
    said = json.loads((tmp_path / "lake" / "run" / "mesh.json").read_text())
    ground.close()
    (tmp_path / "lake" / "run" / "mesh.json").write_text(json.dumps({**said, "folder": str(precious)}))
    Ground(tmp_path / "lake", "/p.yml").close()
    assert precious.exists()


def test_a_lake_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        Ground(tmp_path / "lake", "/p.yml")


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "disk", lambda _: (1 << 20, 1 << 40))
    with pytest.raises(Refused, match="is full: 1 MB are free"):
        Ground(tmp_path / "lake", "/p.yml")
    assert not (tmp_path / "lake").exists()


def test_little_room_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "disk", lambda _: (1 << 30, 1 << 40))
    ground = Ground(tmp_path, "/p.yml")
    ground.close()
    assert "only 1.1 GB are free" in ground.doubts[0]


@pytest.mark.parametrize(
    ("kind", "options", "refused"),
    [
        ("nfs4", "rw", True),
        ("fuse.sshfs", "rw", True),
        ("NTFS", "rw,remote", True),
        ("ext4", "rw", False),
        ("", "rw", False),
    ],
)
def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str, refused: bool
) -> None:
    parts = [
        SimpleNamespace(mountpoint="/", fstype="ext4", opts="rw"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype=kind, opts=options),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    if refused:
        with pytest.raises(Refused, match="network file system"):
            Ground(tmp_path / "lake", "/p.yml")
        assert not (tmp_path / "lake").exists()
    else:
        Ground(tmp_path / "lake", "/p.yml").close()


def test_a_clock_behind_the_last_start_is_a_doubt(tmp_path: Path) -> None:
    Ground(tmp_path, "/p.yml").close()
    ground = Ground(tmp_path, "/p.yml")
    said = json.loads((tmp_path / "run" / "mesh.json").read_text())
    ground.close()
    (tmp_path / "run" / "mesh.json").write_text(json.dumps({**said, "started_ns": time.time_ns() + 7300 * 10**9}))
    ground = Ground(tmp_path, "/p.yml")
    ground.close()
    assert "clock is 2 h behind the last start" in ground.doubts[0]


def test_a_clock_before_this_program_is_a_doubt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert "1970-01-01" in machine.clock_doubts(tmp_path)


def test_a_small_disk_with_little_room_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "disk", lambda _: (1 << 20, 40 << 20))
    Ground(tmp_path / "lake", "/p.yml").close()


def test_memory_of_a_process_that_is_gone_is_unknown() -> None:
    assert machine.memory(2**22 + 1) is None
    assert (machine.memory(os.getpid()) or 0) > 1_000_000
