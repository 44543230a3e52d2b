"""What a run of the backfill does: for each day the venue's file first, then REST for what is missing, then staging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from procs.backfill.asking import Asker
from procs.backfill.day import Day
from procs.backfill.history import History
from procs.backfill.progress import Progress
from procs.backfill.sources import Sources
from shared import paths, staging, topology
from shared.dailyfiles import BadArchive
from shared.files import Disk, Files
from shared.ids import Ids
from shared.rest import RestError
from shared.room import BATCHES, NoRoom, demand
from shared.sealing import ENDED, Reached, is_recorded, reached
from shared.venues import Adapter, Reject

FEW = 20_000
"""Ids that are fetched over REST rather than from files of whole days: twenty questions."""


class Trouble(Exception):
    """Something could not be had. The text is for people."""


class Wrong(Exception):
    """What was asked for makes no sense."""


class Place(msgspec.Struct, frozen=True):
    """Where a run works and how."""

    disk: Files
    pipeline: topology.Pipeline | None
    venue: Adapter
    symbol: str
    kinds: tuple[str, ...]
    force: bool = False


class Run:
    """One symbol's run. `now` is the venue's time."""

    def __init__(self, place: Place, asker: Asker, progress: Progress, now: int) -> None:
        self._place = place
        self._disk, self._venue, self._symbol = place.disk, place.venue, place.symbol
        self._asker = asker
        self._progress = progress
        self._now = now
        self._known: set[str] = set()
        """Checksums of files that need not be read again."""
        self.troubles: list[str] = []
        self.staged = 0
        """Days."""

    @property
    def _reached(self) -> Reached:
        """Anew for each day: a long run is overtaken by the clock."""
        pipeline = self._place.pipeline
        found = reached(self._disk, pipeline).get(self._venue.name)
        if found is None and not is_recorded(self._disk, pipeline, self._venue.name):
            return Reached(ENDED, ENDED)
        return found or Reached()

    def _day(self, date: str) -> Day:
        at = self._reached

        def is_sealed(end: int) -> bool:
            over = end + paths.SEAL_AFTER <= self._now
            return over and at.archive_sealed(end) and (not at.bars or at.bars_sealed(end))

        return Day(self._disk, self._venue.name, self._symbol, date, is_sealed, self._place.force)

    # --- days ---

    def compare(self, dates: Iterable[str]) -> None:
        """Each day with its file, unless that very file was read before."""
        for date in dates:
            self._known = known_files(self._disk, self._venue.name, self._symbol, date)
            self.dates([date], only_files=True)

    def dates(self, dates: Iterable[str], only_files: bool = False) -> None:
        """Each day by itself: what could not be had of one does not keep the others waiting."""
        for date in dates:
            try:
                self._date(date, only_files)
            except (Trouble, RestError, BadArchive, Reject) as error:
                self._fail(f"{date}: {error}")

    def _date(self, date: str, only_files: bool) -> None:
        self._room()
        day = self._day(date)
        if not day.sealed:
            self._progress.say(f"{self._symbol} {date}: no hour of it is sealed yet: what it lacks is left to ingest")
            return
        sources, history = self._sources(), self._history(date)
        for kind in self._place.kinds:
            has_file = sources.file(day, kind, None, self._now, self._known)
            if has_file or not only_files:
                self._ask(day, kind, history, has_file)
        sources.rest([day], history, self._now)
        self._finish(date, [day], sources, history)
        if sources.files or not only_files:
            self._judge(day, bool(sources.files))

    def _ask(self, day: Day, kind: str, history: History, has_file: bool) -> None:
        """What is missing, over REST: between the ids of a day whose file was had, else all of the sealed hours."""
        try:
            if has_file:
                if kind == "agg_trade" or not self._venue.ids_have_holes:
                    history.ranges(kind, day.ids(kind).missing())
                return
            for first, last in _runs(day.sealed):
                history.span(kind, day.start + first * paths.HOUR, day.start + (last + 1) * paths.HOUR, day.ids)
        except RestError as error:
            self._fail(f"{day.date}: REST: {error}")

    def _judge(self, day: Day, has_file: bool) -> None:
        """Says what nobody has."""
        for kind in self._place.kinds:
            if kind == "trade" and self._venue.ids_have_holes:
                continue
            missing = day.ids(kind).missing()
            if missing:
                who = "neither the daily file nor REST has them" if has_file else "REST does not give them"
                self._fail(f"{day.date}: {_say_ids(missing)} missing still: {who}")

    # --- ids ---

    def ids(self, first: int, last: int) -> None:
        """These trade ids: a few over REST, many from the files of their days, then REST for the rest."""
        self._room()
        history = self._history(f"ids-{first}-{last}")
        if not history.has_trades():
            raise Wrong(
                f"{self._venue.name} gives trades by id to nobody without a key: name days with --from and --to"
            )
        days = {date: self._day(date) for date in self._dates_of(history, first, last)}
        sources = self._sources()
        try:
            many = sum(b - a + 1 for a, b in self._missing(days.values(), first, last)) > FEW
            if many or self._place.force:
                for day in days.values():
                    sources.file(day, "trade", (first, last), self._now, self._known)
            history.ranges("trade", self._missing(days.values(), first, last))
            sources.rest(days.values(), history, self._now)
            if self._missing(days.values(), first, last) and not sources.files:
                for day in days.values():
                    sources.file(day, "trade", (first, last), self._now, self._known)
        except (RestError, BadArchive) as error:
            self._fail(str(error))
        self._finish(f"ids {first} to {last}", days.values(), sources, history)
        left = self._missing(days.values(), first, last)
        if left:
            still_open = any(day.left for day in days.values())
            why = "those of open hours are ingest's to heal" if still_open else "nobody gives them"
            self._fail(f"{_say_ids(left)} missing still: {why}")

    def _dates_of(self, history: History, first: int, last: int) -> list[str]:
        """The days on which ids were traded, by the venue's word."""
        begin = history.page("trade", first, 1)
        end = history.page("trade", last, 1)
        if not begin:
            raise Trouble(f"{self._venue.name} has no trade {first} of {self._symbol}, nor a later one")
        stop = end[0].ts if end else self._now
        day, dates = begin[0].ts - begin[0].ts % paths.DAY, []
        while day <= stop:
            dates.append(paths.date_of(day))
            day += paths.DAY
        return dates

    def _missing(self, days: Iterable[Day], first: int, last: int) -> list[tuple[int, int]]:
        return Ids.from_intervals(span for day in days for span in day.ids("trade").intervals).missing(first, last)

    # --- the end of it ---

    def _finish(self, name: str, days: Iterable[Day], sources: Sources, history: History) -> None:
        if sources.said or not self._known:
            self._progress.say(f"{self._venue.name} {self._symbol} {name}: {sources.text}")
        for day in days:
            self.staged += day.close(sources.said)
            for path in sorted(day.damaged):
                self._fail(f"{path} cannot be read whole: its hour is left as it is (see the validator)")
            if day.left:
                self._progress.say(f"{day.date}: {day.left} trades of hours that are still open are left to ingest")
        sources.forget()
        history.forget()

    def _fail(self, text: str) -> None:
        self.troubles.append(text)
        self._progress.warn(f"{self._venue.name} {self._symbol} {text}")

    def _sources(self) -> Sources:
        return Sources(self._disk, self._venue, self._symbol, self._asker, self._progress, self._fail)

    def _history(self, name: str) -> History:
        return History(self._disk, self._venue, self._symbol, name, self._asker, self._progress)

    def _room(self) -> None:
        try:
            demand(BATCHES, *self._disk.free())
        except NoRoom as error:
            raise Trouble(f"{error}: nothing is fetched") from None


def _runs(hours: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring hours together."""
    yield from (tuple(span) for span in Ids.from_intervals((hour, hour) for hour in hours).intervals)  # type: ignore[misc]


def _say_ids(ranges: list[tuple[int, int]]) -> str:
    total = sum(last - first + 1 for first, last in ranges)
    named = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:5])
    return f"{total} ids ({named}{', …' if len(ranges) > 5 else ''})"


def known_files(disk: Disk, venue: str, symbol: str, date: str) -> set[str]:
    """The checksums of the daily files whose rows are installed or staged."""
    staged = staging.read(disk, venue, symbol, date)
    sources = staging.fetched(disk, venue, symbol, date) + (staged.sources if staged else [])
    return {str(source["sha256"]) for source in sources if source.get("sha256")}
