"""What a run of the compactor does, in this order: finish what was interrupted, fold hours, repair, close days."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec
from loguru import logger

from procs.compactor import Config, backfills, fold, instruments, repair
from procs.compactor.day import Day
from procs.compactor.swap import HOME, recover, sweep
from procs.compactor.ticks import sweep_spills
from shared import archive, paths, staging
from shared.barstore import bar_hours, open_days
from shared.errand import Errand
from shared.files import Disk, Files
from shared.locks import Held, Lock
from shared.process import EXIT_CONFIG
from shared.room import BATCHES, NoRoom, demand
from shared.sealing import Reached, reached

ACCEPT = "accept-missing"


class Done(msgspec.Struct):
    """What a run did."""

    hours_of_lines: int = 0
    hours_of_bars: int = 0
    hours_backfilled: int = 0
    hours_rebuilt: int = 0
    days_closed: int = 0
    days_of_instruments: int = 0

    def __str__(self) -> str:
        said = [f"{value} {name.replace('_', ' ')}" for name, value in msgspec.structs.asdict(self).items() if value]
        return ", ".join(said) or "nothing to do"


class Asked(Exception):
    """To leave, between two pieces of work."""


def compact(errand: Errand[Config]) -> int:
    """One run; the exit code."""
    if ACCEPT in errand.flags and errand.date is None:
        logger.error("--accept-missing is said of one day: with --date")
        return EXIT_CONFIG
    run = Run(errand)
    try:
        run.work()
    except NoRoom as error:
        logger.warning(f"{error}: {run.done} so far, the rest when there is room")
        return 1
    except Asked:
        logger.info(f"asked to leave: {run.done} so far, the rest at the next start")
        return 0
    logger.info(str(run.done))
    return 0


class Run:
    """One run over a lake."""

    def __init__(self, errand: Errand[Config]) -> None:
        self._errand = errand
        self._disk: Disk = errand.disk
        self._level = errand.settings.raw_level
        self._accepts = ACCEPT in errand.flags
        self._reached: dict[str, Reached] = {}
        self.done = Done()

    def work(self) -> None:
        self._disk.mkdir(HOME)
        recover(self._disk)
        sweep_spills(self._disk)
        self._reached = reached(self._disk, self._errand.pipeline, durably=True)
        self._fold_lines()
        self._fold_bars()
        self._install_staged()
        self._install_backfills()
        self._obey_requests()
        self._close_days()
        self.done.days_of_instruments += instruments.make(self._disk, self._errand.date)

    def _next(self) -> None:
        """Before each piece of work."""
        if self._errand.lifeline.asked:
            raise Asked
        demand(BATCHES, *self._disk.free())

    def _try(self, job: Callable[[], int]) -> int:
        """What the job counts; 0 where a file is in use (Windows): it is as it was, and tried again next time."""
        self._next()
        try:
            return job()
        except PermissionError as error:
            logger.warning(f"{error}; tried again next time")
            return 0

    def _at(self, venue: str) -> Reached:
        return self._reached.get(venue, Reached())

    def _dates(self, folder: str) -> list[str]:
        return [date for date in archive.dates(self._disk, folder) if self._errand.date in (None, date)]

    # --- hours ---

    def _fold_lines(self) -> None:
        for venue, symbol in archive.symbols(self._disk):
            folder = paths.symbol_dir("raw", venue, symbol)
            for date in self._dates(folder):
                self._fold_day(venue, f"{folder}/{date}", date, symbol)
        for top in ("feed", "rejected"):
            for venue in archive.venues(self._disk, top):
                for date in self._dates(f"{top}/{venue}"):
                    self._fold_day(venue, f"{top}/{venue}/{date}", date)

    def _fold_day(self, venue: str, folder: str, date: str, symbol: str | None = None) -> None:
        sweep(self._disk, folder)
        loose = {part.hour for part in archive.parts(self._disk, folder) if not part.name.endswith(".zst")}
        for hour in sorted(loose):
            if self._at(venue).archive_sealed(_end(date, hour)):
                if symbol is not None:
                    self._reopen(venue, symbol, date)
                job = partial(fold.fold_lines, self._disk, folder, hour, self._level)
                self.done.hours_of_lines += self._try(job)

    def _fold_bars(self) -> None:
        for venue, symbol in archive.symbols(self._disk, "parquet"):
            for date in self._open_days(venue, symbol):
                folder = paths.bars_dir(venue, symbol, date)
                sweep(self._disk, folder)
                if self._at(venue).bars_sealed(_end(date, 23)):
                    self._disk.rmdir(folder)  # if it is empty: before, the sink may be about to write there
                for hour in sorted(bar_hours(self._disk, folder)):
                    if self._at(venue).bars_sealed(_end(date, hour)):
                        use_agg = self._errand.use_agg(venue)
                        job = partial(fold.fold_bars, self._disk, venue, symbol, date, hour, use_agg)
                        self.done.hours_of_bars += self._try(job)

    def _open_days(self, venue: str, symbol: str) -> list[str]:
        return [date for date in open_days(self._disk, venue, symbol) if self._errand.date in (None, date)]

    # --- repairs ---

    def _install_staged(self) -> None:
        if not staging.venues(self._disk):
            return
        with self._alone(paths.REBUILD_LOCK) as is_alone:
            for venue, symbol, date in list(repair.staged(self._disk, self._errand.date)) if is_alone else ():
                self._reopen(venue, symbol, date)
                sealed = {hour for hour in range(24) if self._is_sealed(venue, date, hour)}
                job = partial(repair.install_staged, self._disk, venue, symbol, date, sealed)
                self.done.hours_rebuilt += self._try(job)

    def _install_backfills(self) -> None:
        if not staging.venues(self._disk):
            return
        with self._alone(staging.LOCK) as is_alone:
            for venue, symbol, date in list(backfills.waiting(self._disk, self._errand.date)) if is_alone else ():
                self.done.hours_rebuilt += self._try(partial(self._install_backfill, venue, symbol, date))
            if is_alone:
                backfills.sweep(self._disk)

    @contextmanager
    def _alone(self, path: str) -> Iterator[bool]:
        """Holds the lock of those who stage; False while one of them is at work: theirs waits for the next run."""
        if not isinstance(self._disk, Files):
            yield True
            return
        try:
            lock = Lock(self._disk.path(path), "the compactor")
        except Held as held:
            logger.info(f"{held}: what is staged is installed next time")
            yield False
            return
        with lock:
            yield True

    def _install_backfill(self, venue: str, symbol: str, date: str) -> int:
        at = self._at(venue)

        def is_sealed(day: str, hour: int) -> bool:
            return at.archive_sealed(_end(day, hour)) and (not at.bars or at.bars_sealed(_end(day, hour)))

        def make(day: str, hours: list[int]) -> int:
            self._reopen(venue, symbol, day)
            return backfills.make_bars(self._disk, venue, symbol, day, hours, self._errand.use_agg(venue))

        self._reopen(venue, symbol, date)
        sealed = {hour for hour in range(24) if is_sealed(date, hour)}
        installed = backfills.install_lines(self._disk, venue, symbol, date, sealed, self._level)
        self.done.hours_backfilled += len(installed)
        return backfills.finish(self._disk, venue, symbol, date, installed, is_sealed, make)

    def _obey_requests(self) -> None:
        for venue, symbol, date, hours in list(repair.requests(self._disk, self._errand.date)):
            ready = [hour for hour in hours if self._is_sealed(venue, date, hour)]
            if ready:
                self._reopen(venue, symbol, date)
                job = partial(repair.rebuild, self._disk, venue, symbol, date, ready, self._errand.use_agg(venue))
                self.done.hours_rebuilt += max(self._try(job), 0)

    def _is_sealed(self, venue: str, date: str, hour: int) -> bool:
        at, end = self._at(venue), _end(date, hour)
        return at.archive_sealed(end) and at.bars_sealed(end)

    # --- days ---

    def _reopen(self, venue: str, symbol: str, date: str) -> None:
        """Has the day closed again, durably before a file of it changes."""
        if self._is_closed(venue, symbol, date):
            self._disk.write(_reopened(venue, symbol, date), b"")
            self._disk.sync_dir(HOME)

    def _is_closed(self, venue: str, symbol: str, date: str) -> bool:
        return self._disk.size(paths.checksum_file(venue, symbol, date)) is not None

    def _close_days(self) -> None:
        known = {*archive.symbols(self._disk), *archive.symbols(self._disk, "parquet")}
        for venue, symbol in sorted(known):
            days = {*self._dates(paths.symbol_dir("raw", venue, symbol)), *self._open_days(venue, symbol)}
            if self._accepts and self._errand.date is not None and self._is_closed(venue, symbol, self._errand.date):
                days.add(self._errand.date)  # all of its lines may be gone
            for date in sorted(days):
                if self._closes(venue, symbol, date):
                    self.done.days_closed += self._try(partial(self._close, venue, symbol, date))

    def _closes(self, venue: str, symbol: str, date: str) -> bool:
        at, end = self._at(venue), _end(date, 23)
        if not at.archive_sealed(end) or (at.bars and not at.bars_sealed(end)):
            return False
        parts = archive.parts(self._disk, paths.raw_dir(venue, symbol, date))
        if any(not part.name.endswith(".zst") for part in parts):  # an hour could not be folded
            return False
        if self._errand.date is None and self._disk.size(_reopened(venue, symbol, date)) is None:
            unfinished = bar_hours(self._disk, paths.bars_dir(venue, symbol, date))
            return bool(unfinished) or self._disk.size(paths.checksum_file(venue, symbol, date)) is None
        if not Day(self._disk, venue, symbol, date).is_done():
            return True
        self._disk.remove(_reopened(venue, symbol, date))
        return False

    def _close(self, venue: str, symbol: str, date: str) -> bool:
        done = Day(self._disk, venue, symbol, date, self._accepts).close()
        if done:
            self._disk.remove(_reopened(venue, symbol, date))
        return done


def _end(date: str, hour: int) -> int:
    return paths.day_start(date) + (hour + 1) * paths.HOUR


def _reopened(venue: str, symbol: str, date: str) -> str:
    """A note that the day's files have changed since its checksums were made."""
    return f"{HOME}/again-{venue}-{paths.safe(symbol)}-{date}"
