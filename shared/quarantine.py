"""What was found damaged is set aside, never deleted: the bytes in ``quarantine/``, and beside them ``….why``."""

from __future__ import annotations

from loguru import logger

from shared.files import Disk

FOLDER = "quarantine"


def set_aside(disk: Disk, path: str, why: str) -> str:
    """Moves a file out of sight of every reader; returns where it is now."""
    target = _note(disk, path, why)
    disk.rename(path, target)
    disk.sync_dir(path.rpartition("/")[0])
    return target


def keep(disk: Disk, path: str, data: bytes, why: str) -> str:
    """Keeps bytes that stood in `path` and will stand there no more; returns where they are now.

    On a full disk they are let go: to start again matters more than a copy of what is of no use.
    """
    target = ""
    try:
        target = _note(disk, path, why)
        disk.write(target, data)
    except OSError as error:
        logger.error(f"{path}: {why}; its {len(data)} bytes could not be kept: {error.strerror}")
        if target:
            disk.remove(target)
    return target


def keep_once(disk: Disk, path: str, data: bytes, why: str) -> None:
    """The same where others, or lives before, may have found the same bytes."""
    if disk.size(_target(path)) is None:
        keep(disk, path, data, why)
    else:
        logger.error(f"{path}: {why}; set aside before")


def _target(path: str) -> str:
    return f"{FOLDER}/{path.replace('/', '.')}"


def _note(disk: Disk, path: str, why: str) -> str:
    plain = target = _target(path)
    number = 0
    while disk.size(target) is not None or disk.size(f"{target}.why") is not None:
        number += 1
        target = f"{plain}.{number}"
    disk.write(f"{target}.why", f"{path}: {why}\n".encode())
    logger.error(f"{path}: {why}; set aside as {target}")
    return target
