"""Asking the venue, one question after the other: its daily files onto the disk, its REST within half of its limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from procs.backfill.progress import Progress
from shared import dailyfiles, paths
from shared.dailyfiles import BadArchive
from shared.files import TMP, Files
from shared.rest import Failed, Limited, Refused, Rest, Unreachable
from shared.staging import DOWNLOADS
from shared.venues import Adapter, Daily, Request

TRIES = 5
LONGEST_PAUSE_S = 900.0
"""A venue that wants to be left alone for longer is asked another day."""
T = TypeVar("T")


class Asked(Exception):
    """To leave: the supervisor's word or Ctrl-C."""


class Fetched(msgspec.Struct, frozen=True):
    """A daily file that lies on the disk and is what the venue's checksum says."""

    path: str
    url: str
    sha256: str
    ts: int
    """When it was had."""


class Asker:
    """Both of a venue's addresses."""

    def __init__(
        self, venue: Adapter, rest_url: str, archive_url: str, proxy: str, asked: Callable[[], bool], progress: Progress
    ) -> None:
        self._runner = asyncio.Runner()
        self._asked = asked
        self._progress = progress
        self.archive_url = archive_url.rstrip("/")
        per_minute = venue.limits.weight_per_min
        self.rest_url = (rest_url or venue.rest_url).rstrip("/")
        self._rest = Rest(self.rest_url, per_minute, headers=venue.headers, proxy=proxy or None)
        self._files = Rest(self.archive_url, 6000, proxy=proxy or None)

    def leave_if_asked(self) -> None:
        if self._asked():
            raise Asked

    def limit(self, per_minute: int) -> None:
        self._rest.budget.per_minute = per_minute

    def close(self) -> None:
        self._runner.run(self._rest.close())
        self._runner.run(self._files.close())
        self._runner.close()

    def rest(self, request: Request) -> bytes:
        """The body of an answer. Raises RestError once it is no use to ask again."""
        return self._patient(lambda: self._rest.get(request)).body

    def _patient(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        for attempt in range(1, TRIES + 1):
            self.leave_if_asked()
            try:
                return self._runner.run(self._or_asked(ask()))
            except Limited as error:
                if error.retry_s > LONGEST_PAUSE_S or attempt == TRIES:
                    raise
                self._progress.say(f"the venue asks for a pause of {error.retry_s:.0f} s")
                self._wait(error.retry_s)
            except (Unreachable, Failed):
                if attempt == TRIES:
                    raise
                self._wait(2.0 ** (attempt - 1))
        raise AssertionError("unreachable")

    async def _or_asked(self, asking: Coroutine[Any, Any, T]) -> T:
        """Waiting for weight may take a minute: it ends when this process is asked to leave."""
        task = asyncio.ensure_future(asking)
        while not task.done():
            await asyncio.wait([task], timeout=0.2)
            if self._asked() and not task.done():
                task.cancel()
                await asyncio.wait([task])
                raise Asked
        return task.result()

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.leave_if_asked()
            time.sleep(min(left, 0.2))

    # --- daily files ---

    def checksum(self, daily: Daily, kind: str, symbol: str, date: str) -> str | None:
        """The sha256 that the venue says its file of that day has; None where it has no such file. Raises RestError
        or BadArchive.
        """
        path = dailyfiles.place(daily, kind, symbol, date) + dailyfiles.CHECKSUM
        try:
            told = self._patient(lambda: self._files.get(Request(path, max_bytes=4096))).body
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return dailyfiles.parse_checksum(told, dailyfiles.name(daily, kind, symbol, date))

    def daily(self, disk: Files, daily: Daily, place: tuple[str, str, str, str], sha256: str) -> Fetched | None:
        """The zip of (venue, kind, symbol, date), verified; None where there is none after all. What was downloaded
        before a crash is kept. Raises RestError or BadArchive.
        """
        venue, kind, symbol, date = place
        local = f"{DOWNLOADS}/{venue}.{daily.folders[kind]}.{paths.safe(symbol)}.{date}.zip"
        return self._have(disk, local, dailyfiles.place(daily, kind, symbol, date), sha256)

    def _have(self, disk: Files, local: str, path: str, sha256: str) -> Fetched | None:
        url = self.archive_url + path
        known = _known(disk, local)
        if known is not None and known.sha256 == sha256 and disk.size(local) is not None and _is(disk, local, sha256):
            return known
        if known is None or known.sha256 != sha256:  # what lies here is of another issue, or none
            for old in (local, local + TMP):
                disk.remove(old)
            disk.write(local + ".json", msgspec.json.encode(Fetched(local, url, sha256, 0)))
        resumed = disk.size(local + TMP) is not None
        try:
            self._patient(lambda: self._download(disk, local + TMP, path))
        except Refused as error:
            if error.status == 404:
                return None
            if error.status != 416:  # all of it is here already
                raise
        if not _is(disk, local + TMP, sha256):
            disk.remove(local + TMP)
            if resumed:  # the beginning was of another file
                return self._have(disk, local, path, sha256)
            disk.remove(local + ".json")
            raise BadArchive(f"{url}: its sha256 is not what the venue's checksum says, as when it was just replaced")
        fetched = Fetched(local, url, sha256, time.time_ns())
        disk.write(local + ".json", msgspec.json.encode(fetched))
        disk.replace(local + TMP, local)
        return fetched

    async def _download(self, disk: Files, local: str, path: str) -> None:
        appender = disk.appender(local)
        size = appender.size
        self._progress.begin(f"downloading {path.rpartition('/')[2]}", None)

        def take(at: int, piece: bytes) -> None:
            nonlocal size
            self.leave_if_asked()
            if at != size:  # the server began anew
                disk.truncate(local, 0)
                size = 0
            appender.write(piece)
            size += len(piece)
            self._progress.at(size)

        try:
            await self._files.download(path, size, dailyfiles.MOST_BYTES, take)
        finally:
            appender.close()


def forget(disk: Files, fetched: Fetched) -> None:
    """After what it holds was staged."""
    for name in (fetched.path, fetched.path + ".json"):
        disk.remove(name)


def _known(disk: Files, local: str) -> Fetched | None:
    try:
        return msgspec.json.decode(disk.read(local + ".json"), type=Fetched)
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _is(disk: Files, path: str, sha256: str) -> bool:
    try:
        with disk.path(path).open("rb") as file:
            dailyfiles.verify(file, sha256)
    except (BadArchive, FileNotFoundError):
        return False
    return True
