"""Ratios with their spread, and what they were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

OURS: Final = ("pyzmq", "msgspec", "aiofastnet", "websockets", "numpy", "pyarrow", "polars", "duckdb", "zstandard")


@dataclass(frozen=True)
class Spread:
    """A figure of several rounds: the middle, the least and the most."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(tuple(values))

    @property
    def middle(self) -> float:
        return statistics.median(self.values)

    def text(self, digits: int = 1, unit: str = "x") -> str:
        """``15.2x (7.8-24.5)``; one round has no spread."""
        said = f"{self.middle:,.{digits}f}{unit}"
        if len(self.values) < 2:
            return said
        return f"{said} ({min(self.values):,.{digits}f}-{max(self.values):,.{digits}f})"


@dataclass(frozen=True)
class Goal:
    """One line of the table. `is_reached` is None where nothing could be measured."""

    name: str
    wanted: str
    measured: str
    is_reached: bool | None = None

    def __str__(self) -> str:
        word = {True: "reached", False: "NOT reached", None: "not measured"}[self.is_reached]
        return f"{self.name:3} {word:12} {self.measured}\n{'':16} wanted: {self.wanted}"


def machine() -> str:
    """Processor, cores, memory, system and Python, in one line."""
    name = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{one:.1f}" for one in psutil.getloadavg())
    return (
        f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {load}"
    )


def versions() -> str:
    """Of what ours is made of."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in OURS if _is_there(name))


def _is_there(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def version_in(python: str, package: str) -> str:
    """The version of a package, and of Python, in another environment."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]), 'on Python', sys.version.split()[0])"
    said = subprocess.run([python, "-c", code, package], capture_output=True, text=True, timeout=60, check=False)
    return said.stdout.strip() or "unknown"
