"""`kernels.c` as this machine runs it: compiled once, in a fraction of a second, wherever there is a C compiler.

Without one everything works and is right; a busy moment costs two to three times as much CPU. LAKE_KERNELS=off in the
environment does without them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from loguru import logger

from shared import kernels

_SOURCE: Final = Path(__file__).with_name("kernels.c")
_FLAGS: Final = ("-O3", "-std=c11", "-fwrapv", "-shared", "-fPIC", "-fvisibility=hidden")
LONGEST_S: Final = 20.0


def _is_off() -> bool:
    is_other = sys.byteorder != "little" or sys.maxsize < 1 << 32
    return is_other or os.environ.get("LAKE_KERNELS", "").lower() in ("off", "0", "no")


def target() -> Path:
    """Where the compiled file stands: among the compiled Python, named after what it was made of and for."""
    made_of = (_SOURCE.read_bytes(), " ".join(_FLAGS).encode(), f"{sys.platform} {platform.machine()}".encode())
    name = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:16]
    return _SOURCE.parent / "__pycache__" / f"kernels-{name}.{'dll' if sys.platform == 'win32' else 'so'}"


def load() -> bool:
    """Uses them if they are compiled; whether they are."""
    if kernels.loops is None and not _is_off():
        try:
            path = target()
            if path.exists():
                kernels.use(str(path))
        except (OSError, AttributeError) as error:
            logger.warning(f"the compiled kernels cannot be used ({error}): numpy does what they would")
    return kernels.loops is not None


def _compilers() -> list[list[str]]:
    """What may compile C here, the best first."""
    found = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else []
    names = ("cc", "gcc", "clang") if sys.platform != "win32" else ("clang", "gcc")
    if sys.platform == "darwin" and not _has_command_line_tools():
        names = ()  # what stands there would ask, in a window, whether to install them
    found += [[name] for name in names if shutil.which(name)]
    if importlib.util.find_spec("ziglang"):
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


def _has_command_line_tools() -> bool:
    return subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True, check=False).returncode == 0


def build() -> Path | None:
    """Compiles them where that is still to be done. None, having said why, where it cannot be."""
    if _is_off():
        return None
    try:
        path = target()
        if path.exists():
            return path
        path.parent.mkdir(exist_ok=True)
        why = "there is no C compiler here"
        for compiler in _compilers():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                made = Path(folder) / path.name
                done = subprocess.run(
                    [*compiler, *_FLAGS, "-o", str(made), str(_SOURCE)],
                    capture_output=True, timeout=LONGEST_S, text=True, errors="replace", check=False,
                )  # fmt: skip
                if done.returncode == 0 and made.exists():
                    _keep(made, path)
                    return path
                why = f"{compiler[0]}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}"
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    logger.info(f"the inner loops are left to numpy: {why}")
    return None


def _keep(made: Path, path: Path) -> None:
    """Whole or not at all, whatever happens to the machine."""
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    made.replace(path)


if __name__ == "__main__":
    sys.stdout.write(f"{build() or 'not compiled'}\n")
