"""Small files beside the journal that help the next life and on which nothing received depends: replaced whole, and
where the disk does not take them, life goes on.
"""

from __future__ import annotations

from contextlib import suppress

from loguru import logger

from shared.files import Disk


def read(disk: Disk, path: str) -> bytes | None:
    """What a life before wrote; None where nothing was."""
    disk.remove(path + ".tmp")
    try:
        return disk.read(path)
    except FileNotFoundError:
        return None


def write(disk: Disk, path: str, data: bytes) -> None:
    try:
        disk.write(path + ".tmp", data)
        disk.replace(path + ".tmp", path)
    except OSError as error:
        logger.warning(f"{path} could not be written: {error}")
        with suppress(OSError):
            disk.remove(path + ".tmp")
