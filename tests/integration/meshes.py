"""A whole mesh of fake stages, started as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from supervision import asking
from supervision.children import ROOT

T = TypeVar("T")

PIPELINE = """
lake: ./lake
sources:
  feed: {run: tests.integration.fake_stage, venue: one%(feed)s}
transforms:
  middle: {run: tests.integration.fake_stage, inputs: [feed]%(middle)s}
sinks:
  last: {run: tests.integration.fake_stage, inputs: [middle]%(last)s}
%(more)s
"""


def until(what: str, found: Callable[[], T], seconds: float = 15.0) -> T:
    """What a condition gives once it gives something; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except (asking.NotRunning, FileNotFoundError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class FakeMesh:
    """feed → middle → last. Settings of each are given as the rest of its line in the file."""

    def __init__(self, folder: Path, feed: str = "", middle: str = "", last: str = "", more: str = "") -> None:
        self.lake = folder / "lake"
        self.config = folder / "mesh.yml"
        said = {"feed": feed, "middle": middle, "last": last}
        options: dict[str, str] = {name: f", {text}" if text else "" for name, text in said.items()}
        self.config.write_text(PIPELINE % {**options, "more": more})
        self.process: subprocess.Popen[str] | None = None
        self._out = folder / "console.txt"

    def start(self) -> FakeMesh:
        with self._out.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "supervisor.py"), "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.config.parent,
            )
        return self

    def running(self) -> FakeMesh:
        self.start()
        until("all stages run", lambda: all(row["state"] == "running" for row in self.rows().values()))
        return self

    @property
    def console(self) -> str:
        return self._out.read_text()

    def rows(self) -> dict[str, dict[str, Any]]:
        return asking.rows(self.lake)

    def pid(self, stage: str) -> int:
        return int(self.rows()[stage]["pid"])

    def anew(self, stage: str, before: int) -> bool:
        """Whether a stage runs, as another process than before."""
        row = self.rows()[stage]
        return bool(row["state"] == "running" and row["pid"] != before)

    def lived(self, stage: str) -> list[list[str]]:
        """What a stage wrote about its lives."""
        path = self.lake / f"lived-{stage}.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def cli(self, *words: str, seconds: float = 40) -> subprocess.CompletedProcess[str]:
        return command(*words, "--config", str(self.config), seconds=seconds)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def exit_code(self, seconds: float) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        """However the test ended: nothing it started goes on."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        for stage in ("feed", "middle", "last"):
            for word, pid, *_ in self.lived(stage):
                if word == "start" and alive(int(pid)):
                    os.kill(int(pid), signal.SIGKILL)


def command(*words: str, seconds: float = 40) -> subprocess.CompletedProcess[str]:
    """``python supervisor.py WORDS``."""
    return subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), *words],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def alive(pid: int) -> bool:
    """Whether a fake stage of that number still lives; a zombie does not."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"fake_stage" in line
