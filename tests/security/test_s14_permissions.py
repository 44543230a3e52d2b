"""S14: what could be abused (token, keys, sockets, what stages print) is for its owner alone, whatever the umask.

The lake itself holds public data and is readable by whom its owner lets; there are no secrets to keep but the run's.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.emulators import ROOT
from tests.security.attacked import Running

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.name == "nt", reason="Windows has access lists; the profile's folders are its user's alone"),
]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_nothing_of_a_run_is_for_others(mesh: Running) -> None:
    run = mesh.lake / "run"
    assert mode(run) == 0o700
    for path in [run / "mesh.json", *(run / "edges").glob("*.json")]:
        assert mode(path) == 0o600, path
    if mesh.mesh.folder:
        assert mode(Path(mesh.mesh.folder)) == 0o700


GROUND = """
import os, sys, pathlib
os.umask(int(sys.argv[2], 8))
from supervision.ground import Ground
ground = Ground(pathlib.Path(sys.argv[1]), "/p.yml")
print(ground.mesh.folder)
input()
ground.close()
"""


@pytest.mark.parametrize("umask", ["000", "022", "077"])
@pytest.mark.parametrize("left_open", [False, True])
def test_a_generous_umask_or_an_older_folder_opens_nothing(tmp_path: Path, umask: str, left_open: bool) -> None:
    lake = tmp_path / "lake"
    if left_open:
        (lake / "run").mkdir(parents=True)
        (lake / "run").chmod(0o777)
        (lake / "run" / "mesh.json").write_text("{}")
        (lake / "run" / "mesh.json").chmod(0o666)
    command = [sys.executable, "-c", GROUND, str(lake), umask]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert mode(lake / "run") == 0o700
        assert mode(lake / "run" / "mesh.json") == 0o600
        assert not folder or mode(Path(folder)) == 0o700
    finally:
        process.communicate("\n", timeout=20)
    assert process.returncode == 0 and not (lake / "run" / "mesh.json").exists()


def test_no_secret_is_asked_for_anywhere() -> None:
    """Public data only: no setting and no variable of the environment holds a key of a venue."""
    for folder in ("shared", "procs", "supervision"):
        for path in (ROOT / folder).rglob("*.py"):
            if "emulator" in path.parts:  # it plays a venue, which asks for them
                continue
            text = path.read_text(encoding="utf-8").lower()
            assert "api_key" not in text and "apikey" not in text and "api_secret" not in text, path
