"""Where the time of one stage goes: the interpreter of that stage starts itself under cProfile."""

from __future__ import annotations

import io
import os
import pstats
from pathlib import Path

_START = """\
import sys
if {stage!r} in sys.orig_argv:
    import atexit, cProfile
    _profile = cProfile.Profile()
    atexit.register(_profile.dump_stats, {to!r})
    _profile.enable()
"""


def environment(folder: Path, stage: str) -> dict[str, str]:
    """What the mesh's environment gets so that a stage writes its profile into a folder."""
    place = folder / "profiling"
    place.mkdir()
    (place / "sitecustomize.py").write_text(_START.format(stage=stage, to=str(folder / f"{stage}.prof")))
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(place), *([before] if before else [])])}


def report(folder: Path, stage: str, lines: int = 30) -> str:
    """The functions in which a stage spent its time, the costliest first."""
    out = io.StringIO()
    stats = pstats.Stats(str(folder / f"{stage}.prof"), stream=out)
    stats.strip_dirs().sort_stats("tottime").print_stats(lines)
    return out.getvalue()
