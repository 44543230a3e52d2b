"""What is left to the venue's daily archive: which ids of which days, until these have been brought.

Who brings it is the nightly `heal` or a backfill by hand; when all of a plan's days say that they were fetched since,
it is done. Plans outlive a restart::

    journal/<stage>/plans.json
    [{"symbol": "SOLUSDT", "kind": "trade", "first": 1001, "last": 990001, "dates": ["2025-10-16", …], "made": …}]
"""

from __future__ import annotations

from typing import Final

import msgspec
from loguru import logger

from procs.ingest import keepsake
from shared import paths, staging
from shared.files import Disk

LOOK_NS: Final = 60 * paths.SECOND
MOST_DAYS: Final = 1000


class Plan(msgspec.Struct):
    """Ids of some days, and when they were left, by this machine's clock in nanoseconds."""

    symbol: str
    kind: str
    first: int
    last: int
    dates: list[str]
    made: int


class Plans:
    """Those of one source."""

    def __init__(self, disk: Disk, folder: str, venue: str) -> None:
        self._disk = disk
        self._path = f"{folder}/plans.json"
        self._venue = venue
        self._plans: list[Plan] = []
        self._looked: int | None = None

    def begin(self) -> None:
        """Reads what lives before have left."""
        data = keepsake.read(self._disk, self._path)
        try:
            self._plans = msgspec.json.decode(data or b"[]", type=list[Plan])
        except (ValueError, RecursionError) as error:
            logger.warning(f"{self._path} cannot be read and is written anew: {error}")

    @property
    def ids(self) -> int:
        """How many ids are still to be brought."""
        return sum(plan.last - plan.first + 1 for plan in self._plans)

    def leave(self, symbol: str, kind: str, ids: tuple[int, int], span: tuple[int, int], wall: int) -> None:
        """From now on these ids, traded within that span of venue time, are the archive's."""
        start, end = span[0] // paths.DAY, max(span) // paths.DAY
        dates = [paths.date_of(day * paths.DAY) for day in range(max(start, end - MOST_DAYS), end + 1)]
        self._plans.append(Plan(symbol, kind, *ids, dates, wall))
        self._write()

    def turn(self, mono: int) -> None:
        """Looks once a minute what was brought meanwhile."""
        if not self._plans or (self._looked is not None and mono - self._looked < LOOK_NS):
            return
        self._looked = mono
        left = [plan for plan in self._plans if not all(self._is_brought(plan, date) for date in plan.dates)]
        for plan in [plan for plan in self._plans if plan not in left]:
            count = plan.last - plan.first + 1
            logger.info(f"{plan.symbol}: {count} {plan.kind} ids came from the daily archive")
        if left != self._plans:
            self._plans = left
            self._write()

    def _is_brought(self, plan: Plan, date: str) -> bool:
        """Whether the day's file was fetched and installed since, or something else was and nothing lacks now."""
        sources = [
            source
            for source in staging.fetched(self._disk, self._venue, plan.symbol, date)
            if isinstance(source.get("fetched"), int) and source["fetched"] >= plan.made
        ]
        if any(source.get("kind") == plan.kind and source.get("sha256") for source in sources):
            return True
        return bool(sources) and not staging.certified_missing(self._disk, self._venue, plan.symbol, date)

    def _write(self) -> None:
        keepsake.write(self._disk, self._path, msgspec.json.encode(self._plans))
