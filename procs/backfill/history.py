"""Trades by id over REST: those that are missing, each once, kept on the disk as they come: a kill costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from procs.backfill.asking import Asker
from procs.backfill.progress import Progress
from shared import archive, paths
from shared.events import AggTrade, Trade
from shared.files import Disk
from shared.ids import Ids
from shared.lines import line
from shared.staging import DOWNLOADS
from shared.venues import Adapter, Request

PAGE = 1000


class History:
    """The answers for one piece of work; `name` is that piece's, and finds what was asked before a kill."""

    def __init__(self, disk: Disk, venue: Adapter, symbol: str, name: str, asker: Asker, progress: Progress) -> None:
        self._disk = disk
        self._venue = venue
        self._symbol = symbol
        self._path = f"{DOWNLOADS}/{venue.name}.{paths.safe(symbol)}.{name}.rest.jsonl"
        self._asker = asker
        self._progress = progress
        self.had = {"trade": Ids(), "agg_trade": Ids()}
        for event in self.events():
            self._count(event)

    def events(self) -> Iterator[Trade | AggTrade]:
        """All that came, in the order in which it came; a line torn by a kill is asked for again."""
        try:
            data = self._disk.read(self._path)
        except FileNotFoundError:
            return
        yield from archive.trades_of(data[: data.rfind(b"\n") + 1].split(b"\n"))

    def forget(self) -> None:
        """After it was staged."""
        self._disk.remove(self._path)

    def _keep(self, events: list[Trade | AggTrade]) -> None:
        if not events:
            return
        self._disk.mkdir(DOWNLOADS)
        size = self._disk.size(self._path)
        if size is not None and self._disk.read(self._path, size - 1) not in (b"", b"\n"):
            whole = self._disk.read(self._path).rfind(b"\n") + 1
            self._disk.truncate(self._path, whole)
        appender = self._disk.appender(self._path)
        appender.write("".join(map(line, events)).encode())
        appender.close()
        for event in events:
            self._count(event)

    def _count(self, event: Trade | AggTrade) -> None:
        if isinstance(event, Trade):
            self.had["trade"].add(event.trade_id)
        else:
            self.had["agg_trade"].add(event.agg_id)

    # --- asking ---

    def has_trades(self) -> bool:
        return self._venue.ask_trades(self._symbol, 0, 1) is not None

    def page(self, kind: str, first: int, most: int = PAGE) -> Sequence[Trade | AggTrade]:
        """What the venue gives from an id on, in order; asked once more where it does not begin with that id, before
        what it left out is believed to be gone.
        """
        rows = self._page(kind, first, most)
        return rows if rows and _id(rows[0]) == first else self._page(kind, first, most)

    def _page(self, kind: str, first: int, most: int) -> Sequence[Trade | AggTrade]:
        if kind == "agg_trade":
            return self._aggregates(self._venue.ask_aggregates(self._symbol, first, None, None), first)
        request = self._venue.ask_trades(self._symbol, first, most)
        if request is None:
            return []
        found = self._venue.parse_trades(self._asker.rest(request), self._symbol, time.time_ns())
        return sorted((trade for trade in found if trade.trade_id >= first), key=_id)

    def _aggregates(self, request: Request, first: int = 0) -> list[AggTrade]:
        found = self._venue.parse_aggregates(self._asker.rest(request), self._symbol, time.time_ns())
        return sorted((trade for trade in found if trade.agg_id >= first), key=_id)

    def ranges(self, kind: str, missing: list[tuple[int, int]]) -> None:
        """Asks for these ids; only those that an answer holds are had."""
        total = sum(last - first + 1 for first, last in missing)
        done = 0
        self._progress.begin(f"{total} missing ids over REST", total)
        for first, last in missing:
            at = first
            while at <= last:
                rows = self.page(kind, at, min(PAGE, last - at + 1))
                self._keep([row for row in rows if _id(row) <= last and not self.had[kind].holds(_id(row))])
                at = _id(rows[-1]) + 1 if rows else last + 1
                self._progress.at(done + min(at, last + 1) - first)
            done += last - first + 1

    def span(self, kind: str, start: int, stop: int, held: Callable[[str], Ids]) -> None:
        """Asks for all of a span of time but what is held. Trades that the venue gives to nobody come as aggregates,
        where none of theirs is held.
        """
        first = self._first(start, stop)
        if first is None:
            return
        asked = kind if self.has_trades() else "agg_trade"
        known = Ids.from_intervals([*held(asked).intervals, *self.had[asked].intervals])
        raw = held("trade") if kind != asked else Ids()
        at = first.agg_id if asked == "agg_trade" else first.first_trade_id
        self._progress.begin(f"{self._symbol} over REST", 1000)
        while rows := self.page(asked, _behind(known, at)):
            self._keep([row for row in rows if row.ts < stop and _is_new(row, known, raw)])
            for row in rows:
                known.add(_id(row))
            at = _id(rows[-1]) + 1
            self._progress.at((rows[-1].ts - start) * 1000 // (stop - start))
            if rows[-1].ts >= stop:
                return

    def _first(self, start: int, stop: int) -> AggTrade | None:
        """The first aggregate of a span; hours are what may be asked for at once."""
        for hour in range(start, stop, paths.HOUR):
            end = min(hour + paths.HOUR, stop) - 1_000_000
            rows = self._aggregates(self._venue.ask_aggregates(self._symbol, None, hour, end))
            rows = [row for row in rows if row.ts >= start]
            if rows:
                return rows[0]
        return None


def _is_new(row: Trade | AggTrade, known: Ids, raw: Ids) -> bool:
    if known.holds(_id(row)):
        return False
    return not isinstance(row, AggTrade) or not raw.overlaps(row.first_trade_id, row.last_trade_id)


def _behind(known: Ids, at: int) -> int:
    """The first id from `at` on that is not known."""
    if not known.holds(at):
        return at
    return next(last for first, last in known.intervals if first <= at <= last) + 1


def _id(row: Trade | AggTrade) -> int:
    return row.trade_id if isinstance(row, Trade) else row.agg_id
