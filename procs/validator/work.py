"""What a run of the validator does: judge the days that are due, write it down, ask for repairs, say it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from loguru import logger

from procs.validator import Config, certificate, index
from procs.validator.day import Day, save, write
from procs.validator.inventory import inventory
from procs.validator.klines import against_klines
from procs.validator.page import page
from procs.validator.rejections import Rejections
from procs.validator.remarks import Beside
from procs.validator.report import show
from shared import archive, manifests, paths, room, staging, venues
from shared.barstore import bar_days
from shared.enquiry import Enquiry, enquire, source_of
from shared.errand import Errand
from shared.files import TMP, Disk
from shared.sealing import Reached, reached

REPORT = "quality/report.html"
ASK_AGAIN = 6 * paths.HOUR
LONGEST_ASKING = 5 * paths.MINUTE
"""After so long in one run no further day is compared with the venue's own bars: the next run goes on."""
NOT_COMPARED: dict[str, Any] = {"compared": 0, "different": 0, "differ": []}
NEWEST = 2
"""Days that are looked at in every run, whether judged to their end or not: the compactor may still be at them."""


def validate(errand: Errand[Config]) -> int:
    """One run; the exit code."""
    run = Run(errand)
    try:
        return _validate(errand, run)
    finally:
        run.close()


def _validate(errand: Errand[Config], run: Run) -> int:
    found = examine(errand, run)
    if errand.as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        show(found, errand.date)
    wrong = sum(bool(said["wrong"]) for said in found)
    if wrong:
        logger.warning(f"{wrong} of {len(found)} symbol-days have something wrong")
    return 1 if wrong or (errand.date is not None and not found) else 0


def examine(errand: Errand[Config], run: Run) -> list[dict[str, Any]]:
    """Judges the days that are due and publishes what comes of it; their certificates."""
    at = reached(errand.disk, errand.pipeline)
    found: list[dict[str, Any]] = []
    for venue, symbol, date in _due(errand):
        if errand.lifeline.asked:
            break
        room.demand(room.BATCHES, *errand.disk.free())
        found.append(run.judge(venue, symbol, date, at.get(venue, Reached())))
    run.publish(found)
    return found


def _due(errand: Errand[Config]) -> Iterator[tuple[str, str, str]]:
    disk = errand.disk
    for venue, symbol in sorted({*archive.symbols(disk), *archive.symbols(disk, "parquet")}):
        held = {*archive.dates(disk, paths.symbol_dir("raw", venue, symbol)), *bar_days(disk, venue, symbol)}
        newest = sorted(held)[-NEWEST:]
        for date in sorted(held):
            if errand.date is None:
                before = {} if date in newest else certificate.read(disk, venue, symbol, date)
                is_due = not before.get("is_over") or before.get("is_provisional", True)
                is_due = is_due or _asks(before) or certificate.lacks(before)
            else:
                is_due = date == errand.date
            if is_due:
                yield venue, symbol, date


def _asks(said: dict[str, Any]) -> bool:
    """Whether a certificate asked for bars that may have been made again since, in files of the same size."""
    checked = said.get("bars_checked", {})
    return bool(said.get("bars_differ") or checked.get("repeated") or checked.get("unreadable"))


class Run:
    """One run over a lake."""

    def __init__(self, errand: Errand[Config], now: int | None = None) -> None:
        """`now` in nanoseconds, where it is not this machine's."""
        self._errand = errand
        self._disk = errand.disk
        self._now = time.time_ns() if now is None else now
        self._enquiries: dict[str, Enquiry | None] = {}
        self._rejected: dict[tuple[str, str], Rejections] = {}

    def judge(self, venue: str, symbol: str, date: str, at: Reached) -> dict[str, Any]:
        """The certificate of a day, as it stands now."""
        disk = self._disk
        before = certificate.read(disk, venue, symbol, date)
        day = self._day(venue, symbol, date, at)
        judged_by = day.fingerprint(certificate.lacks(before))
        if before.get("is_over") and before.get("judged_by") == judged_by and self._stands(before, day):
            return before
        day.judge()
        manifest = manifests.read(disk, venue, symbol, date)
        known = Beside(
            self._now,
            manifest,
            staging.fetched(disk, venue, symbol, date),
            inventory(disk, venue, symbol, date, manifest, before.get("files", ())),
            self._klines(day, before.get("klines") or {}),
            status_of(disk, venue, symbol, date),
            self._rejections(venue, date).of(symbol),
        )
        _ask_for_repairs(disk, day)  # first: a day whose certificate says that all is well is not judged again
        said = certificate.issue(disk, certificate.certify(day, known))
        if day.is_over and _is_closed(disk, venue, symbol, date):
            day.forget()  # nothing is expected to change any more; if it does, all is judged again
        else:
            day.keep()
        return said

    def publish(self, found: list[dict[str, Any]]) -> None:
        """The certificates in one table, and as a page."""
        rows = index.update(self._disk, [(said["venue"], said["symbol"], said["date"]) for said in found])
        made = datetime.fromtimestamp(self._now / 1e9, UTC).strftime("%Y-%m-%d %H:%M UTC")
        write(self._disk, REPORT, page(rows, made).encode())

    def _day(self, venue: str, symbol: str, date: str, at: Reached) -> Day:
        return a_day(self._disk, venue, symbol, date, at, self._errand.use_agg(venue))

    def _stands(self, before: dict[str, Any], day: Day) -> bool:
        """Whether a judgement of the same files is still what would be said."""
        if _asks(before):
            return False
        if before.get("is_provisional") and self._now >= day.end + certificate.FINAL_AFTER:
            return False
        if self._wants_klines(day, before["klines"]):
            return False
        # What lies behind the last trade is known once there is a later one.
        return not before["is_open_ended"] or day.next_trade() is None

    def _rejections(self, venue: str, date: str) -> Rejections:
        if (venue, date) not in self._rejected:
            symbols = [symbol for of, symbol in archive.symbols(self._disk) if of == venue]
            self._rejected[venue, date] = Rejections(self._disk, venue, date, symbols)
        return self._rejected[venue, date]

    # --- the venue's own bars ---

    def _wants_klines(self, day: Day, known: dict[str, Any]) -> bool:
        """Whether to ask now: once for a day that is over, and again where the venue did not answer a while ago."""
        if "klines" in self._errand.flags:
            return True
        is_due = "why_not" in known and self._now - known.get("asked", 0) >= ASK_AGAIN
        wanted = self._errand.settings.klines and day.is_over and day.has_bars and (not known or is_due)
        return bool(wanted and source_of(self._errand.pipeline, day.venue) is not None)

    def _klines(self, day: Day, known: dict[str, Any]) -> dict[str, Any]:
        made = certificate.made_hash(day)
        if known.get("of") != made:  # of other bars
            known = {}
        if not self._wants_klines(day, known):
            return known
        if time.time_ns() - self._now > LONGEST_ASKING:
            return {**NOT_COMPARED, "why_not": "asked in a later run", "of": made}
        if day.venue not in self._enquiries:
            self._enquiries[day.venue] = enquire(self._errand.pipeline, day.venue, lambda: self._errand.lifeline.asked)
        enquiry = self._enquiries[day.venue]
        if enquiry is None or not enquiry.venue.kline_s:
            return {**NOT_COMPARED, "why_not": "not compared: no live source of this venue is in the pipeline file"}
        return {**against_klines(self._disk, day, enquiry), "of": made}

    def close(self) -> None:
        for enquiry in self._enquiries.values():
            if enquiry is not None:
                enquiry.close()


def a_day(disk: Disk, venue: str, symbol: str, date: str, at: Reached, use_agg: bool | None) -> Day:
    """A day to be judged, with what is known of its venue."""
    day = Day(disk, venue, symbol, date, at, use_agg)
    day.ids_have_holes = venue in venues.names() and venues.load(venue).ids_have_holes
    day.is_compared = any(source.get("sha256") for source in staging.fetched(disk, venue, symbol, date))
    return day


def status_of(disk: Disk, venue: str, symbol: str, date: str) -> str | None:
    """What the venue said last of the symbol on that day, as ingest keeps it for a week."""
    for stage in disk.list("journal"):
        try:
            kept = msgspec.json.decode(disk.read(f"journal/{stage}/instruments.json"))
            if kept["venue"] == venue:
                return str(kept["days"][date]["symbols"][symbol]["status"])
        except (FileNotFoundError, ValueError, RecursionError, KeyError, TypeError):
            continue
    return None


def _is_closed(disk: Disk, venue: str, symbol: str, date: str) -> bool:
    return disk.size(paths.checksum_file(venue, symbol, date)) is not None


def _ask_for_repairs(disk: Disk, day: Day) -> None:
    """A request stands for as long as the hour is wrong and the archive can mend it."""
    for hour in day.hours:
        path = paths.request_file(day.venue, day.symbol, day.date, hour.hour)
        bars = hour.bars
        is_wrong = hour.is_sealed and (bars.differ or bars.repeated or bars.unreadable)
        if is_wrong and hour.may_be_rebuilt:
            save(disk, path, {"differ": bars.differ, "repeated": bars.repeated, "unreadable": bars.unreadable})
            logger.warning(
                f"{day.venue} {day.symbol} {day.date} {hour.hour:02d}h: the compactor is asked to make its bars again"
            )
        else:
            for old in (path, path + TMP):
                disk.remove(old)
