"""What the compactor says of a closed day: its files, rows, ids, times and sources, beside the checksums."""

from __future__ import annotations

from typing import Any

import msgspec

from shared import paths
from shared.files import Disk


def read(disk: Disk, venue: str, symbol: str, date: str) -> dict[str, Any]:
    """The manifest as it stands; empty where there is none, or none that can be read."""
    try:
        found = msgspec.json.decode(disk.read(paths.manifest_file(venue, symbol, date)))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
