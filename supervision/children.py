"""One child process: started in a group of its own, led by its stdin, gone for certain when killed.

Its own group keeps the terminal's Ctrl-C from it: the supervisor alone decides who drains when. The stdin pipe is both
lifeline and control channel: ``drain`` or the end of the pipe (a dead supervisor) means drain and leave.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from shared.logs import escape

ROOT = Path(__file__).resolve().parent.parent
"""The repository, from which ``python -m procs.<name>`` finds its packages."""
_LAST_WORDS = 4096


class Child:
    """A running process. What it prints goes to the file ``said``, begun anew with each process."""

    def __init__(self, command: Sequence[str], said: Path, *, gently: bool = False) -> None:
        said.parent.mkdir(parents=True, exist_ok=True)
        self._said = said
        with said.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment(gently),
                **_apart(),
            )
        self.pid = self._process.pid
        if gently:
            self._lower_priority()

    def _lower_priority(self) -> None:
        """Batches take what the live stages leave."""
        with contextlib.suppress(psutil.Error, OSError):
            if sys.platform == "win32":
                psutil.Process(self.pid).nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
            else:
                psutil.Process(self.pid).nice(10)

    def exit_code(self) -> int | None:
        code = self._process.poll()
        if code is not None:
            self._close_stdin()
        return code

    def drain(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # gone already, or asked before
            self._process.stdin.write(b"drain\n")
            self._process.stdin.flush()
        self._close_stdin()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def kill(self) -> None:
        """The process and whatever it may have started. Until it is reaped its id belongs to nobody else."""
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout_s: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self._close_stdin()

    def last_words(self) -> str:
        """The last line it printed, which after a crash is the reason."""
        lines = _tail(self._said, 0)
        return escape(lines[-1]) if lines else ""


def last_error(log: Path, since: int, levels: Sequence[str] = ("ERROR",)) -> str:
    """What a stage wrote as its last error, behind the first ``since`` bytes of its log."""
    found = [line for line in _tail(log, since) if line[24:32].strip() in levels]
    return escape(found[-1][32:]) if found else ""


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _tail(path: Path, since: int) -> list[str]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, since if since <= size else 0, size - _LAST_WORDS))
        return file.read().decode(errors="backslashreplace").strip().splitlines()
    return []


def gently(command: Sequence[str], said: Path) -> Child:
    return Child(command, said, gently=True)


def stage_command(module: str, config: str, stage: str) -> list[str]:
    return [sys.executable, "-m", module, "--config", config, "--stage", stage, "--supervised"]


_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""For glibc, elsewhere of no effect: a live stage keeps the memory that its columns need from one busy moment to the
next. By default every array above 128 KiB is mapped anew and given back, which costs as much as all work on it.
"""
_ALONE = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy's algebra, which nobody here uses, would start a thread a core, and each spins for a while before it sleeps."""


def environment(gently: bool) -> dict[str, str]:
    """Of a child: what numpy and the allocator are to know is known before they are loaded."""
    env = {**_ALONE, **({} if gently else _ALLOCATOR), **os.environ}
    env.pop("PYTHONSAFEPATH", None)  # would hide the repository from ``python -m``
    env["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    return env


def _apart() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
