"""A wall clock that can be set under running processes, and under them alone: monotonic time goes on.

By a library of ours that is compiled here (`clock_shim.c`, Linux with a C compiler), else by libfaketime. Either reads
the offset from a file at every look at the clock. That it works is tried on a small process first.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from bench.chaos.run import NotRun

SHIM = Path(__file__).with_name("clock_shim.c")
PLACES = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")
ABSENT = "no C compiler on Linux, and no libfaketime (Debian: apt-get install gcc, or faketime)"
DAY = 86_400

PROBE = """
import sys, time
for line in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


class Wall:
    """The clock of all processes that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._is_ours = False
        self.env: dict[str, str] = {}
        library = _compiled(folder)
        if library is not None:
            self._is_ours = True
            self.env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(self._file)}
        elif (library := _faketime()) is not None:
            self.env = {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self._file),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
        else:
            raise NotRun(ABSENT)
        self.by = "a library of ours" if self._is_ours else "libfaketime"
        self.set(0)
        self._try()

    def set(self, offset: int) -> None:
        """Seconds from the true time."""
        if self._is_ours:  # they have it mapped: in place, and whole
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT)
            os.pwrite(fd, struct.pack("=q", offset), 0)
            os.close(fd)
            return
        new = self._file.with_name("clock.new")
        new.write_text(f"{offset:+d}")
        new.replace(self._file)

    def _try(self) -> None:
        """Raises NotRun unless a running process sees its wall clock step and its monotonic one go on."""
        probe = subprocess.Popen(
            [sys.executable, "-c", PROBE],
            env={**os.environ, **self.env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with probe:
            before = _look(probe)
            self.set(DAY)
            time.sleep(0.3)
            after = _look(probe)
            self.set(0)
            assert probe.stdin is not None
            probe.stdin.close()
        if not DAY <= after[0] - before[0] < DAY + 30 or not 0 < after[1] - before[1] < 30:
            raise NotRun(f"{self.by} does not set the clock of a running process here")


def _look(probe: subprocess.Popen[str]) -> tuple[float, float]:
    assert probe.stdin is not None and probe.stdout is not None
    probe.stdin.write("\n")
    probe.stdin.flush()
    wall, mono = probe.stdout.readline().split()
    return float(wall), float(mono)


def _compiled(folder: Path) -> Path | None:
    if not sys.platform.startswith("linux"):
        return None
    library = folder / "clock.so"
    words = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SHIM), "-ldl"]
    with contextlib.suppress(OSError):
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return library
    return None


def _faketime() -> Path | None:
    found = (Path(place) / "libfaketimeMT.so.1" for place in PLACES)
    return next((path for path in found if path.exists()), None)
