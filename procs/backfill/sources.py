"""What a day is filled from: the venue's daily file, read as a stream, and what REST gave; with a word on each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from procs.backfill.asking import Asker, Fetched, forget
from procs.backfill.day import Day
from procs.backfill.history import History
from procs.backfill.progress import Progress
from shared import dailyfiles, paths
from shared.dailyfiles import BadArchive, Rows
from shared.events import AggTrade, Trade
from shared.files import Files
from shared.venues import Adapter

EVERY = 50_000
"""Rows between two looks at the progress bar."""


class Sources:
    """Of one day, or of the days of some ids. `said` is a word on each, `files` what was fetched of daily files."""

    def __init__(
        self, disk: Files, venue: Adapter, symbol: str, asker: Asker, progress: Progress, fail: Callable[[str], None]
    ) -> None:
        self._disk, self._venue, self._symbol = disk, venue, symbol
        self._asker, self._progress, self._fail = asker, progress, fail
        self.said: list[dict[str, Any]] = []
        self.files: list[Fetched] = []

    def file(self, day: Day, kind: str, ids: tuple[int, int] | None, now: int, known: set[str]) -> bool:
        """Takes the daily file's events, all or those of these ids. False where the venue has no such file, or one
        whose checksum is `known`.
        """
        daily = self._venue.daily
        if daily is None or kind not in daily.folders or day.start + paths.DAY > now:
            return False
        sha256 = self._asker.checksum(daily, kind, self._symbol, day.date)
        if sha256 is None or sha256 in known:
            return False
        place = (self._venue.name, kind, self._symbol, day.date)
        fetched = self._asker.daily(self._disk, daily, place, sha256)
        if fetched is None:
            return False
        of = dailyfiles.name(daily, kind, self._symbol, day.date)
        rows = Rows(daily, kind, self._symbol, day.date, fetched.ts)
        source: dict[str, Any] = {"kind": kind, "url": fetched.url, "sha256": fetched.sha256, "fetched": fetched.ts}
        try:
            with self._disk.path(fetched.path).open("rb") as file:
                total = sum(1 for _ in dailyfiles.lines(file, of))  # all of it can be had: only now it is believed
                self._progress.begin(f"{self._symbol} {day.date}: {total} rows", total)
                events = rows.events(dailyfiles.lines(file, of))
                self._take([day], (e for e in events if ids is None or ids[0] <= _id(e) <= ids[1]), source)
        except BadArchive as error:
            forget(self._disk, fetched)
            raise BadArchive(f"{fetched.url}: {error}") from None
        source |= {"rows": rows.read, "rejected": rows.rejected}
        self.said.append(source)
        self.files.append(fetched)
        if rows.rejected:
            self._fail(f"{fetched.url}: {rows.rejected} rows are no trades ({rows.reason})")
        return True

    def rest(self, days: Iterable[Day], history: History, now: int) -> None:
        """Takes what REST gave."""
        source: dict[str, Any] = {"kind": "rest", "url": "", "sha256": None, "fetched": now, "rows": 0}
        events = list(history.events())
        if not events:
            return
        source |= {"url": self._asker.rest_url, "fetched": events[-1].ts_recv, "rows": len(events)}
        self._take(list(days), iter(events), source)
        self.said.append(source)

    def _take(self, days: list[Day], events: Iterator[Trade | AggTrade], source: dict[str, Any]) -> None:
        """By hours, of which no more than two are in memory: files are in the order of ids, and nearly of time."""
        by_start = {day.start: day for day in days}
        hours: dict[int, list[Trade | AggTrade]] = {}
        last_id = None
        for number, event in enumerate(events, 1):
            hour = event.ts // paths.HOUR
            if hour not in hours:
                hours[hour] = []
                if len(hours) > 2:
                    self._hand_over(by_start, min(hours), hours, source)
            hours[hour].append(event)
            source.setdefault("first_id", _id(event))
            last_id = _id(event)
            if number % EVERY == 0:
                self._progress.at(number)
                self._asker.leave_if_asked()
        for hour in sorted(hours):
            self._hand_over(by_start, hour, hours, source)
        if last_id is not None:
            source["last_id"] = last_id

    def _hand_over(
        self, days: dict[int, Day], hour: int, hours: dict[int, list[Trade | AggTrade]], source: dict[str, Any]
    ) -> None:
        events = hours.pop(hour)
        day = days.get(hour * paths.HOUR // paths.DAY * paths.DAY)
        if day is not None:
            day.take(hour % 24, events, source)

    @property
    def text(self) -> str:
        """What was found where, in a line."""
        parts = []
        for source in self.said:
            name = source["url"].rpartition("/")[2] if source["sha256"] else "REST"
            text = (
                f"{name}: {source['rows']} rows, {source.get('added', 0)} added, {source.get('same', 0)} held already"
            )
            different, replaced = source.get("different", 0), source.get("replaced", 0)
            if different:
                named = ", ".join(map(str, source["different_ids"][:5])) + (", …" if different > 5 else "")
                text += f", {different} held trades differ (ids {named})"
                text += f", {replaced} replaced" if replaced else ": they stay, --force replaces them"
            parts.append(text)
        return "; ".join(parts) or "nothing was found"

    def forget(self) -> None:
        """The files are no longer needed."""
        for fetched in self.files:
            forget(self._disk, fetched)


def _id(event: Trade | AggTrade) -> int:
    return event.trade_id if isinstance(event, Trade) else event.agg_id
