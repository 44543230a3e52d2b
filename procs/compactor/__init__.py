"""Compactor: everything sealed, folded. Minutes into hours, hours into days, lines into ticks, and checksums over all.

    python -m procs.compactor                       what is sealed and not folded yet, as the pipeline file says
    python -m procs.compactor --date 2025-10-20     only that day, and once more whether its files are as they should be
    python -m procs.compactor --lake data           of a lake, without a pipeline file
    python -m procs.compactor --date 2025-10-20 --accept-missing
                                                    lines of that day which are gone were removed on purpose

It also installs what the validator has asked for and what ``python -m procs.aggregator --date`` has made. It can be
killed at any instant, and running it twice changes nothing.
"""

from __future__ import annotations

from shared.config import StageConfig


class Config(StageConfig, kw_only=True, frozen=True):
    raw_level: int = 3
    """zstd level of folded lines, 1 (fast) to 19 (small): 3 leaves about a fifth of the bytes."""

    def __post_init__(self) -> None:
        if not 1 <= self.raw_level <= 19:
            raise ValueError(f"raw_level: {self.raw_level} is not between 1 and 19")
