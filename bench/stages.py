"""The processes of a mesh that is under test, found by what they were started with."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def running(config: Path) -> dict[str, psutil.Process]:
    """The stages of the mesh of this pipeline file, by name, also those whose supervisor is gone."""
    found: dict[str, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "--stage" in words and str(config) in words:
                found[words[words.index("--stage") + 1]] = process
    return found
