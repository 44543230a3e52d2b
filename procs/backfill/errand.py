"""What was asked for, by hand or as a batch: which venue, which addresses, which days."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date as Date
from datetime import timedelta
from typing import Any

from procs.backfill import Config
from procs.backfill.asking import Asker
from procs.backfill.progress import Progress
from procs.backfill.work import Place, Run, Trouble, Wrong
from shared import archive, paths, staging, topology, venues
from shared.files import Files
from shared.process import EXIT_ASKED, EXIT_CONFIG, EXIT_CRASHED, Lifeline
from shared.rest import Refused, RestError
from shared.sealing import ENDED, reached
from shared.topology import Node, Pipeline, nearest
from shared.venues import Adapter, Reject

LONGEST = 3660
"""Days in one go: ten years, beyond which somebody mistyped."""
_ALIASES = {"aggTrade": "agg_trade"}


class Errand:
    """What was asked for, with a venue's adapter and addresses for each symbol."""

    def __init__(
        self,
        args: argparse.Namespace,
        pipeline: Pipeline | None,
        settings: Config,
        disk: Files,
        lifeline: Lifeline,
        progress: Progress,
    ) -> None:
        self._args, self._pipeline, self._settings = args, pipeline, settings
        self._disk, self._lifeline, self._progress = disk, lifeline, progress

    def work(self) -> int:
        if self._args.symbol is None:
            return self._heal()
        days = days_of(self._args) if self._args.first is not None else []
        source = self._source(self._args.symbol)
        venue = self._args.venue or (source and str(source.options.get("venue"))) or "binance"
        with self._asker(venue, source) as asker:
            now = self._now(asker, venue, source)
            if days and paths.day_start(days[0]) > now:
                raise Wrong(f"--from {days[0]} has not come yet: the venue has {paths.date_of(now)}")
            unknown = self._unknown(asker, venue, self._args.symbol)
            run = self._run(asker, venue, source, self._args.symbol, now)
            if unknown:
                self._progress.warn(unknown)
            try:
                if days:
                    run.dates([day for day in days if paths.day_start(day) <= now], only_files=bool(unknown))
                elif not unknown:
                    run.ids(self._args.from_id, self._args.to_id)
            except (Trouble, RestError, Reject) as error:
                self._progress.warn(f"{venue} {self._args.symbol} {error}")
                return EXIT_CRASHED
        if unknown and not run.staged:
            return EXIT_CONFIG
        if run.staged:
            where = f"--lake {self._args.lake}" if self._args.lake else f"--config {self._args.config}"
            self._progress.say(f"staged; to install it: python -m procs.compactor {where}")
        return EXIT_CRASHED if run.troubles else EXIT_ASKED

    # --- the last days ---

    def _heal(self) -> int:
        """All that is recorded, symbol by symbol, days that lack something first."""
        troubles = 0
        for source in self._pipeline.section("sources") if self._pipeline else []:
            venue = topology.venue_of(self._pipeline, source.name) if self._pipeline else ""
            if venue not in venues.names() or venues.load(venue).daily is None:
                continue
            with self._asker(venue, source) as asker:
                now = self._now(asker, venue, source)
                for symbol in source.options.get("symbols", ()):
                    run = self._run(asker, venue, source, str(symbol), now)
                    run.compare(self._last_days(venue, str(symbol), now))
                    troubles += len(run.troubles)
        return EXIT_CRASHED if troubles else EXIT_ASKED

    def _last_days(self, venue: str, symbol: str, now: int) -> list[str]:
        """Closed days since the first one recorded, as many as the settings say; those with missing ids first."""
        recorded = archive.dates(self._disk, paths.symbol_dir("raw", venue, symbol))
        if not recorded:
            return []
        at = reached(self._disk, self._pipeline)
        end = min(now, at[venue].archive if venue in at and at[venue].archive < ENDED else now)
        today = end - end % paths.DAY
        days = [paths.date_of(today - n * paths.DAY) for n in range(1, self._settings.days + 1)]
        days = [day for day in days if day >= recorded[0]]
        return sorted(days, key=lambda day: (not self._lacks(venue, symbol, day), day))

    def _lacks(self, venue: str, symbol: str, date: str) -> bool:
        """Whether the certificate of a day says that ids are missing."""
        return staging.certified_missing(self._disk, venue, symbol, date) > 0

    # --- a venue ---

    def _source(self, symbol: str) -> Node | None:
        nodes = self._pipeline.section("sources") if self._pipeline else []
        ours = [node for node in nodes if self._args.venue in (None, node.options.get("venue"))]
        return next((node for node in ours if symbol in node.options.get("symbols", ())), ours[0] if ours else None)

    @contextmanager
    def _asker(self, venue: str, source: Node | None) -> Iterator[Asker]:
        adapter = venues.load(venue)
        options: dict[str, Any] = source.options if source is not None else {}
        rest = self._args.rest_url or self._settings.rest_url or options.get("rest_url", "")
        files = self._args.archive_url or self._settings.archive_url or (adapter.daily.url if adapter.daily else "")
        proxy = self._settings.proxy or options.get("proxy", "")
        asker = Asker(adapter(), rest, files, proxy, lambda: self._lifeline.asked, self._progress)
        try:
            yield asker
        finally:
            asker.close()

    def _now(self, asker: Asker, venue: str, source: Node | None) -> int:
        """The venue's time; this machine's where the venue cannot be asked."""
        adapter: Adapter = venues.load(venue)()
        try:
            now = adapter.parse_time(asker.rest(adapter.ask_time()))
            staging.see_time(self._disk, venue, now)
            symbols = source.options.get("symbols", ()) if source is not None else ()
            if symbols and not self._args.symbol:  # who asks for one symbol learns it from the answer about that
                self._unknown(asker, venue, str(symbols[0]))
            return now
        except (RestError, Reject) as error:
            self._progress.warn(f"{venue}: REST cannot be had ({error}): daily files only")
            return time.time_ns()

    def _unknown(self, asker: Asker, venue: str, symbol: str) -> str:
        """A sentence where the venue says that it has no such symbol. From here on its own word on its limit counts."""
        adapter: Adapter = venues.load(venue)()
        try:
            _, weight = adapter.parse_instruments(asker.rest(adapter.ask_instruments([symbol])))
        except Refused:
            try:
                found, weight = adapter.parse_instruments(asker.rest(adapter.ask_instruments()))
            except (RestError, Reject):
                return ""
            names = [instrument.symbol for instrument in found]
            if symbol not in names:
                return f"{venue} has no symbol {symbol}{nearest(symbol, names)}"
        except (RestError, Reject):
            return ""
        if weight:
            asker.limit(weight)
        return ""

    def _run(self, asker: Asker, venue: str, source: Node | None, symbol: str, now: int) -> Run:
        kinds = self._kinds(venue, source, symbol)
        place = Place(self._disk, self._pipeline, venues.load(venue)(), symbol, kinds, self._args.force)
        return Run(place, asker, self._progress, now)

    def _kinds(self, venue: str, source: Node | None, symbol: str) -> tuple[str, ...]:
        """What is recorded of the symbol, as the pipeline file or, without one, the lake says."""
        streams = source.options.get("streams", ()) if source is not None else ()
        kinds = tuple(
            kind for kind in dict.fromkeys(_ALIASES.get(one, one) for one in streams) if kind in ("trade", "agg_trade")
        )
        return kinds if kinds else ("trade",)


def days_of(args: argparse.Namespace) -> list[str]:
    """Raises Wrong."""
    found = []
    for name, text in (("--from", args.first), ("--to", args.last or args.first)):
        try:
            paths.day_start(text)
            found.append(Date.fromisoformat(text))
        except ValueError:
            raise Wrong(f"{name} {text} is no date: write it like 2025-10-20") from None
    first, last = found
    if last < first:
        raise Wrong(f"--to {last} lies before --from {first}")
    if (last - first).days >= LONGEST:
        raise Wrong(f"more than {LONGEST} days in one go")
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
