"""A small disk, and a stranger who fills it.

Where root may mount: an ext4 on a file (its blocks are given out late, as on real disks), else a tmpfs. Elsewhere where
users have namespaces of their own: the command runs once more as the root of such a one, on a tmpfs. Else `--disk`
names a small disk of yours. Which of them it is, is said; none of them is no small disk, and the scenario has not run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from bench.chaos.mesh import wait_for

MOST = 4 << 30
"""A disk larger than this is not filled: nobody meant it."""
NO_DISK = "no small disk: mounting needs root on Linux, or user namespaces; or name one of yours with --disk"


class NoDisk(Exception):
    """There is none to be had; the text says why."""


@contextlib.contextmanager
def small_disk(megabytes: int, kind: str = "tmpfs") -> Iterator[Path | None]:
    """A file system of that size and kind (`ext4`, `tmpfs`), where we may mount one; None where not."""
    holder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    folder = holder / "disk"
    folder.mkdir()
    is_there = _may_mount() and (_ext4(holder, megabytes) if kind == "ext4" else _tmpfs(folder, megabytes))
    try:
        yield folder if is_there else None
    finally:
        if is_there:
            _run("umount", "-l", str(folder))
        shutil.rmtree(holder, ignore_errors=True)


@contextlib.contextmanager
def found_disk(megabytes: int, named: Path | None) -> Iterator[tuple[Path, str]]:
    """A small disk and what it is: the one that was named, else an ext4, else a tmpfs. Raises NoDisk."""
    if named is not None:
        yield _checked(named), f"the disk {named}"
        return
    for kind in ("ext4", "tmpfs"):
        with small_disk(megabytes, kind) as disk:
            if disk is not None:
                yield (
                    disk,
                    f"{kind} of {megabytes} MB" + ("" if kind == "ext4" else " (an ext4 cannot be mounted here)"),
                )
                return
    raise NoDisk(NO_DISK)


def in_own_namespace(words: list[str]) -> int | None:
    """Runs this command once more as the root of a namespace of its own; its exit code, or None where that is not
    possible or not needed.
    """
    if _may_mount() or not sys.platform.startswith("linux") or os.environ.get("LAKE_OWN_NAMESPACE"):
        return None
    cover = ["unshare", "--user", "--map-root-user", "--mount"]
    with contextlib.suppress(OSError):
        if _run(*cover, "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()):
            sys.stdout.write("small disk: a tmpfs in a namespace of our own, for root is not here to mount one\n")
            sys.stdout.flush()
            env = {**os.environ, "LAKE_OWN_NAMESPACE": "1"}
            return subprocess.run([*cover, sys.executable, "-m", "bench", *words], env=env, check=False).returncode
    return None


def _may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def _tmpfs(folder: Path, megabytes: int) -> bool:
    return _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))


def _ext4(holder: Path, megabytes: int) -> bool:
    image = holder / "image"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    with contextlib.suppress(OSError):  # no mkfs here
        made = _run("mkfs.ext4", "-q", "-m", "0", "-F", str(image))
        return made and _run("mount", "-o", "loop", str(image), str(holder / "disk"))
    return False


def _run(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _checked(folder: Path) -> Path:
    usage = shutil.disk_usage(folder)
    if usage.total > MOST:
        raise NoDisk(f"{folder} has {usage.total >> 20} MB: a disk over {MOST >> 20} MB is not filled")
    if not hasattr(os, "posix_fallocate"):
        raise NoDisk("nothing here can take room at once (posix_fallocate)")
    return folder


class Stranger:
    """A thread that leaves others so many bytes of a disk, whatever they write or delete."""

    def __init__(self, disk: Path) -> None:
        self._disk, self._path = disk, disk / "stranger"
        self._leaves: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stranger", daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        """Bytes of the disk."""
        found = os.statvfs(self._disk)
        return found.f_blocks * found.f_frsize

    @property
    def free(self) -> int:
        """Bytes that others may still take."""
        found = os.statvfs(self._disk)
        return found.f_bavail * found.f_frsize

    def leaves(self, wanted: int | None) -> None:
        """None: all of it. Returns once it is so."""
        self._leaves = wanted
        if wanted is None:
            wait_for("the disk is freed", lambda: not self._path.exists())
        else:
            wait_for("the disk is filled", lambda: self._leaves == wanted and self.free <= wanted + 65536)

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._over.wait(0.02):
            wanted = self._leaves
            if wanted is None:
                self._path.unlink(missing_ok=True)
            else:
                with self._path.open("ab") as file:
                    self._move(file.fileno(), self.free - wanted)

    def _move(self, fd: int, by: int) -> None:
        size = os.fstat(fd).st_size
        if by < 0:
            os.ftruncate(fd, max(0, size + by))
            return
        while by >= 4096:
            try:
                os.posix_fallocate(fd, size, by)
                return
            except OSError:  # somebody was quicker
                by //= 2
