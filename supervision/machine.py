"""What the supervisor asks the machine: room on the disk, its kind, memory, and whether the clock can be right."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from shared.wire import find_mesh

NETWORK_TYPES = ("nfs", "cifs", "smb", "afs", "9p", "sshfs", "davfs", "glusterfs", "ceph", "lustre", "beegfs", "webdav")
"""Their locks and fsyncs promise less than the lake needs."""
_OLDEST_NS = int(datetime(2025, 10, 1, tzinfo=UTC).timestamp()) * 10**9
_HOUR_NS = 3600 * 10**9


def disk(path: Path) -> tuple[int, int]:
    """Bytes free and in all, of the disk that holds a folder or will hold it."""
    usage = psutil.disk_usage(str(_existing(path)))
    return usage.free, usage.total


def network_type(path: Path) -> str:
    """The type of the network file system a folder lies on; empty on a disk of this machine."""
    place = _existing(path).resolve()
    best, kind = -1, ""
    with contextlib.suppress(OSError, psutil.Error):
        for part in psutil.disk_partitions(all=True):
            mount = Path(part.mountpoint)
            if place.is_relative_to(mount) and len(mount.parts) > best:
                best = len(mount.parts)
                kind = "smb" if "remote" in part.opts.split(",") else part.fstype
    kind = kind.lower()
    bare = kind.removeprefix("fuse.")
    return kind if any(bare.startswith(name) for name in NETWORK_TYPES) else ""


def memory(pid: int) -> int | None:
    """Bytes of real memory of a process."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError, ValueError):
        return None


def clock_doubts(lake: Path) -> str:
    """Why this machine's clock cannot be right, as far as it can be told without a network; or nothing."""
    now = time.time_ns()
    if now < _OLDEST_NS:
        return f"this machine's clock says {_day(now)}, which was before this program was written"
    mesh = find_mesh(lake)
    if mesh is not None and mesh.started_ns > now + _HOUR_NS:
        hours = (mesh.started_ns - now) / _HOUR_NS
        return f"this machine's clock is {hours:.0f} h behind the last start of this lake ({_day(mesh.started_ns)})"
    return ""


def _day(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M}"


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
