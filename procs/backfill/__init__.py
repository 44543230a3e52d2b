"""Backfill: trades that nobody recorded, from the venue's daily files and by id over REST, staged for the compactor.

    python -m procs.backfill --symbol SOLUSDT --from 2025-10-20 --to 2025-10-22
    python -m procs.backfill --symbol SOLUSDT --from-id 1520545031 --to-id 1520547030
    python -m procs.backfill --lake data --symbol SOLUSDT --from 2025-10-20     without a pipeline file

What is held stays as it is, what is missing is added; --force replaces held trades that differ. Whole sealed hours are
left in journal/staging/, and ``python -m procs.compactor`` installs them and makes the bars again. Hours that are still
open are left to ingest. It can be killed at any instant and run again. As a batch it looks at the last days and fetches
what they lack.
"""

from __future__ import annotations

from shared.config import StageConfig


class Config(StageConfig, kw_only=True, frozen=True):
    archive_url: str = ""
    """Where the daily files are, without path; empty: the venue's own. ``http://`` on this machine only."""
    rest_url: str = ""
    """Where REST is; empty: where the venue's source has it. ``http://`` on this machine only."""
    proxy: str = ""
    """An HTTP proxy for both, such as http://127.0.0.1:3128; the environment's is never used."""
    days: int = 7
    """As a batch it looks so many days back: daily files appear the next day, and are late or replaced at times."""

    def __post_init__(self) -> None:
        if not 1 <= self.days <= 366:
            raise ValueError(f"days: {self.days} is not between 1 and 366")
