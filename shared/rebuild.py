"""Bars from the archive: an hour or a day of raw lines through the very class that makes them from the stream.

    bars = Rebuild(disk, "binance", "SOLUSDT").hour("2025-10-20", 13)

What a second needs from before it (the quote that stood, the last id held) is read from earlier hours of the archive,
and what completes it from after (ids that came late or interleave) from the hour behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any

import msgspec

from shared import archive, kernels, paths, staging
from shared.bars import ENDS_QUOTES, Bars, bars_hash
from shared.events import BUY, QUOTE, SELL, AggTrade, Bar, Columns, Event, Feed, Quote, Trade
from shared.files import Disk
from shared.seconds import REACH

LOOK_BACK = 48
"""Hours before the day that are searched for the quote that stood and the last trade, whichever hours are made."""
DECISIVE = (*ENDS_QUOTES, "ended")
"""What happened to a feed that bars ask about."""
Hour = int
"""A whole hour since the epoch."""
Runs = list[Columns | Sequence[Event]]
"""Events in their order, columns among them."""


class Rebuild:
    """One symbol of one venue. `use_agg` as in `Bars`; None asks the archive: true where it holds no raw trades."""

    def __init__(self, disk: Disk, venue: str, symbol: str, use_agg: bool | None = None) -> None:
        self._disk = disk
        self._venue = venue
        self._symbol = symbol
        self._use_agg = use_agg
        self._ahead: dict[Hour, Runs] = {}
        self.problems: list[archive.Problem] = []
        """What could not be read, on the way."""

    def hour(self, date: str, hour: int) -> Sequence[Bar]:
        return next(self.hours(date, [hour]), ())

    def archived(self, date: str) -> list[int]:
        """The hours of a day of which the archive holds anything."""
        return archive.held_hours(self._disk, self._venue, self._symbol, date)

    def hours(self, date: str, wanted: Iterable[int] | None = None) -> Iterator[Sequence[Bar]]:
        """The bars of each of these hours (default: all that the archive holds) that has any, in the order of time,
        revision 0."""
        midnight = paths.day_start(date) // paths.HOUR
        want = {midnight + hour for hour in (self.archived(date) if wanted is None else wanted)}
        if not want:
            return
        before = list(self._before(min(want)))
        bars = _bars(0, 2 * paths.HOUR, self._chosen(before, want))
        made: dict[Hour, Sequence[Bar]] = {}
        for hour, events in before:
            self._play(bars, hour, events)
        last = max(want)
        for hour in range(min(want), last + 2):
            if hour > last and all(bar.is_complete is not False for bar in made.get(last, ())):
                break  # the hour behind could change nothing
            for of, some in self._play(bars, hour, self._read(hour)).items():
                if of in want:
                    made[of] = _revised(made.get(of, ()), some)
            for done in [of for of in made if of < hour]:  # later hours revise what is incomplete in the one before
                want.remove(done)
                yield _final(made.pop(done))
        yield from map(_final, made.values())

    # --- the archive ---

    def _read_ahead(self, hour: Hour) -> Runs:
        self._ahead[hour] = self._read(hour)
        return self._ahead[hour]

    def _read(self, hour: Hour) -> Runs:
        """Trades, quotes and what happened to the feed, of one hour."""
        if hour in self._ahead:
            return self._ahead.pop(hour)
        ts = hour * paths.HOUR
        date, of_day = paths.date_of(ts), paths.hour_of(ts)
        lines, problems = archive.read_runs(self._disk, self._venue, self._symbol, date, of_day)
        feed, more = archive.read_feed(self._disk, self._venue, date, of_day)
        self.problems += problems
        self.problems += more
        ours: list[Event] = [event for event in feed if not event.symbols or self._symbol in event.symbols]
        return [*lines, ours] if ours else [*lines]

    def _before(self, first: Hour) -> Iterator[tuple[Hour, Runs]]:
        """The hours before `first`, as many as are needed, in the order of time."""
        found: list[tuple[Hour, Runs]] = []
        has_trade = has_quote = False
        for hour in range(first - 1, first - first % 24 - LOOK_BACK - 1, -1):
            runs = self._read(hour)
            if runs:
                found.append((hour, runs))
            last = _last(runs)
            traded, quoted = max(last.get(Trade, 0), last.get(AggTrade, 0)), last.get(Quote, 0)
            # Over the beginning of an hour a higher id may reach from the one before: then that one is needed, too.
            inside = hour * paths.HOUR + REACH + paths.SECOND
            # After a cut nothing stands, whatever came before it.
            is_cut = any(map(_is_cut, _single(runs)))
            if (has_trade or traded > inside) and (has_quote or quoted > inside or is_cut):
                break
            has_trade, has_quote = has_trade or traded > 0, has_quote or quoted > 0 or is_cut
        return reversed(found)

    def _chosen(self, before: list[tuple[Hour, Runs]], want: set[Hour]) -> bool:
        if self._use_agg is not None:
            return self._use_agg
        for runs in chain((runs for _, runs in before), map(self._read_ahead, sorted(want))):
            kinds = _last(runs).keys()
            if Trade in kinds or AggTrade in kinds:
                return Trade not in kinds
        return False

    def _play(self, bars: Bars, hour: Hour, runs: Runs) -> dict[Hour, Sequence[Bar]]:
        """One hour's events, raw trades before the aggregates that heal them: the archive's files are not in the order
        in which things came. The bars of this hour and newer ones of hours before, in the order of time."""
        made = self._at_once(bars, hour, runs)
        if made is None:
            aggregates = sorted((event for event in _single(runs) if isinstance(event, AggTrade)), key=_by_id)
            for part in _parts(runs):
                bars.take(part)
            bars.take(aggregates)
        found: dict[Hour, Sequence[Bar]] = {} if made is None else {hour: made}
        given = bars.advance((hour + 1) * paths.HOUR)
        for of, some in groupby(given[1] if given else (), lambda bar: bar.window_start // paths.HOUR):
            found[of] = _revised(found.get(of, ()), list(some))
        return found

    def _at_once(self, bars: Bars, hour: Hour, runs: Runs) -> Sequence[Bar] | None:
        """The bars of an hour that stands in columns and in which no quote ceased to stand; None of another."""
        columns = [run for run in runs if isinstance(run, Columns)]
        if not columns or any(not isinstance(event, Feed) or event.kind in DECISIVE for event in _single(runs)):
            return None
        from shared.hourbars import HourBars

        return bars.take_hour(columns, hour * paths.HOUR) if isinstance(bars, HourBars) else None


def _parts(runs: Runs) -> Iterator[Columns | Sequence[Event]]:
    """As bars take them; aggregates wait."""
    for is_columns, some in groupby(runs, lambda run: isinstance(run, Columns)):
        if is_columns:
            from shared import lineruns

            yield from lineruns.cut(lineruns.joined([run for run in some if isinstance(run, Columns)]))
        else:
            yield [event for run in some for event in run if not isinstance(event, AggTrade)]


def _bars(*settings: Any) -> Bars:
    if kernels.loops is None:
        return Bars(*settings)
    from shared.hourbars import HourBars  # numpy: who needs none of it does without

    return HourBars(*settings)


def _single(runs: Runs) -> Iterator[Event]:
    """Those that do not stand in columns."""
    return chain.from_iterable(run for run in runs if not isinstance(run, Columns))


def _last(runs: Runs) -> dict[type, int]:
    """The kinds of events among them, and the time of the last one of each."""
    found: dict[type, int] = {}
    for event in _single(runs):
        if isinstance(event, Trade | AggTrade | Quote):
            found[type(event)] = max(event.ts, found.get(type(event), 0))
    for columns in runs:
        if isinstance(columns, Columns):
            ts = memoryview(columns.ts).cast("q")
            for kind, codes in ((Trade, (BUY, SELL)), (Quote, (QUOTE,))):
                at = max(columns.kinds.rfind(code) for code in codes)
                if at >= 0:
                    found[kind] = max(ts[at], found.get(kind, 0))
    return found


def _revised(bars: Sequence[Bar], newer: Sequence[Bar]) -> Sequence[Bar]:
    """The bars of an hour, of each second the newest."""
    if not (bars and newer):
        return bars or newer
    of_second = {bar.window_start: bar for bar in chain(bars, newer)}
    return [of_second[start] for start in sorted(of_second)]


def _final(bars: Sequence[Bar]) -> Sequence[Bar]:
    """That they were revised on the way is nobody's concern."""
    for bar in bars if isinstance(bars, list) else ():  # rows never were
        bar.revision = 0
    return bars


def _by_id(trade: AggTrade) -> tuple[int, int]:
    return trade.first_trade_id, trade.last_trade_id


def _is_cut(event: Event) -> bool:
    return isinstance(event, Feed) and event.kind in ENDS_QUOTES


# --- what the compactor installs ---


def stage(disk: Disk, venue: str, symbol: str, date: str, hours: list[int], bars: Sequence[Sequence[Bar]]) -> None:
    """Leaves ``bars.parquet``, these hours whole, and then ``bars.json``, without which it counts for nothing."""
    from shared.barfiles import joined  # pyarrow

    folder = staging.folder(venue, symbol, date)
    digest = bars_hash(bar for some in bars for bar in some)
    manifest = {"hours": hours, "rows": sum(map(len, bars)), "hash": digest, "replaces": True}
    disk.remove(f"{folder}/bars.json")
    disk.write_table(f"{folder}/bars.parquet", joined(bars, venue))
    disk.sync_dir(folder)
    disk.write(f"{folder}/bars.json", msgspec.json.encode(manifest))
    disk.sync_dir(folder)
