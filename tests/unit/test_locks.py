"""A lock belongs to one process, says whose it is, and ends with that process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.locks import Held, Lock, holder
from supervision.children import ROOT

HOLDS = """
import sys
from shared.locks import Lock
lock = Lock(sys.argv[1], "a test")
print("held", flush=True)
sys.stdin.read()
"""
TRIES = """
import sys
from shared.locks import Held, Lock
try:
    Lock(sys.argv[1])
except Held as held:
    print(held)
else:
    print("free")
"""


def tried(path: Path) -> str:
    command = [sys.executable, "-c", TRIES, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def test_a_second_process_is_refused_at_once_with_the_holder_s_name(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"held by a test, process {process.pid}"):
            Lock(path)
        process.kill()
        process.wait(5)
    assert holder(path)["pid"] == process.pid, "its note outlives a killed process"
    Lock(path).close()


def test_a_closed_lock_is_free_and_its_note_is_gone(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock", "me"):
        assert tried(tmp_path / "lock") != "free"
        assert holder(tmp_path / "lock")["what"] == "me"
    assert holder(tmp_path / "lock") == {}
    assert tried(tmp_path / "lock") == "free"


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    lock.close()
    lock.close()


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock"), pytest.raises(Held):
        Lock(tmp_path / "lock")


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": "x"}', "\x00"])
def test_a_note_that_says_nothing_is_no_harm(tmp_path: Path, note: str) -> None:
    with Lock(tmp_path / "lock"):
        (tmp_path / "lock.holder").write_text(note)
        with pytest.raises(Held, match="another process"):
            Lock(tmp_path / "lock")
