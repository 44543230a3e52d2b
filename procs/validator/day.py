"""A symbol's day: its hours judged, each once, and what they say together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from procs.validator.hour import Hour, Interval, compare, files_of, line_files, lines_hash, read_lines, stood
from procs.validator.memory import VERSION, Memory, remembered
from shared import archive, paths, quality, tickfiles
from shared.bars import bars_hash
from shared.barstore import Stored, bar_files, rows_hash
from shared.events import AggTrade, Bar, Feed, Trade
from shared.files import TMP, Disk
from shared.ids import Ids
from shared.rebuild import Rebuild
from shared.sealing import ENDED, Reached

LOOK_AROUND = 7
"""Days before and behind that are searched for the nearest trade, as long as anything is recorded."""


class Day:
    """One symbol's day. `judge` does the work; the rest can be read then."""

    def __init__(self, disk: Disk, venue: str, symbol: str, date: str, at: Reached, use_agg: bool | None) -> None:
        self._disk = disk
        self._at = at
        self._use_agg = use_agg
        self._stored = Stored(disk, venue, symbol, date)
        self.venue, self.symbol, self.date = venue, symbol, date
        self.start = paths.day_start(date)
        self.end = self.start + paths.DAY
        files = bar_files(disk, venue, symbol, date)
        self.has_bars = bool(at.bars or files)
        self.hours: list[Hour] = []
        self.feed: list[Feed] = []
        self.feed_problems: list[archive.Problem] = []
        self.before: Interval | None = None
        self.after: Interval | None = None
        self.follows = False
        self._lead: tuple[list[str], str] = ([], "")
        self.judged_by: dict[bool, str] = {}
        """`fingerprint` as it was when judging began, by whether the day lacks trades."""
        self.given_up: list[Feed] = []
        """What nobody has any more, said on the day or on those behind it."""
        self.ids_have_holes = False
        """The venue itself skips raw ids (futures): only aggregates or its daily file tell what is missing."""
        self.is_compared = False
        """The venue's own daily file was compared: what is not in it was never there."""

    @property
    def memory_path(self) -> str:
        return f"quality/hours/{self.venue}/{paths.safe(self.symbol)}/{self.date}.json"

    @property
    def is_over(self) -> bool:
        """All of it is sealed."""
        return self._is_sealed(23)

    @property
    def is_settled(self) -> bool:
        return self._at.is_settled

    @property
    def has_ended(self) -> bool:
        """The record is over: it was a recording, or nobody records this any more."""
        return self._at.archive >= ENDED

    @property
    def needs_daily(self) -> bool:
        """Only the venue's daily file could prove more."""
        return self.ids_have_holes and not self.is_compared

    @property
    def goes_by_aggregates(self) -> bool:
        """Aggregates are recorded, so that their ids prove; else raw trades do."""
        return any(hour.has_live_aggregates for hour in self.hours)

    @property
    def has_ids(self) -> bool:
        """Whether any trade is held that could prove something, in the day or before it."""
        return self.before is not None or any(hour.trade_ids or hour.agg_ids for hour in self.hours)

    @property
    def until(self) -> int:
        """Record time up to which the archive says something of the day, in nanoseconds."""
        return min(self.end, max(self._at.archive, self.start))

    def _is_sealed(self, hour: int) -> bool:
        end = self.start + (hour + 1) * paths.HOUR
        return self._at.archive_sealed(end) and (not self.has_bars or self._at.bars_sealed(end))

    def fingerprint(self, lacks: bool) -> str:
        """Of everything the day is judged by; where it `lacks` trades, of what may be said of them later."""
        named = [name for hour in range(24) for name in files_of(self._disk, self.venue, self.symbol, self.date, hour)]
        for path in beside(self.venue, self.symbol, self.date):
            named.append(f"{path}:{self._sum(path)}")
        named += self._lead_of(Memory(), is_read=False)[0]
        for folder in (paths.feed_dir(self.venue, date) for date in self._later() if lacks):
            files = (f"{folder}/{part.name}" for part in archive.parts(self._disk, folder))
            named += [f"{path}:{self._disk.size(path)}" for path in files]
        named.append(f"bars: {self.has_bars}")
        return hashlib.sha256("\n".join(named).encode()).hexdigest()

    def _sum(self, path: str) -> str:
        """Of its content: a manifest that names other files may well be as long as before."""
        try:
            return hashlib.sha256(self._disk.read(path)).hexdigest()
        except FileNotFoundError:
            return ""

    # --- judging ---

    def judge(self, anew: bool = False) -> None:
        """Hour by hour; `anew` forgets what was judged before.

        What it is judged by is noted before any of it is read: a line that comes meanwhile is news to the next run.
        """
        self.judged_by = {lacks: self.fingerprint(lacks) for lacks in (False, True)}
        memory = Memory() if anew else remembered(self._disk, self.memory_path)
        known = {hour.hour: hour for hour in memory.hours if hour.is_sealed and self._stands(hour)}
        self._lead = self._lead_of(memory)
        has_other_lead = self._lead[1] != memory.lead_hash
        todo = self._todo(known, has_other_lead)
        begun = [self._begun(hour) for hour in todo]
        made = self._rebuild(todo)
        for found in begun:
            known[found.hour] = self._judge_hour(found, made.get(found.hour, ()))
        self.hours = [known[hour] for hour in sorted(known)]
        feed, self.feed_problems = archive.read_feed(self._disk, self.venue, self.date)
        self.feed = [event for event in feed if not event.symbols or self.symbol in event.symbols]
        self.given_up = [event for event in self.feed if event.kind == "unhealable"]
        self.follows = memory.follows or bool(self._hours_of(self.start - paths.DAY))
        self.before = (None if has_other_lead else memory.before) or self._trade_near(self.start - paths.DAY, -1)
        if self.is_over:
            self.after = self.next_trade()
        if self.missing() or self.aggregates_missing():
            self._read_later()

    def _later(self) -> list[str]:
        return [paths.date_of(self.end + days * paths.DAY) for days in range(LOOK_AROUND)]

    def _read_later(self) -> None:
        """What was given up afterwards: on the next day as a rule, or whenever the machine was there again."""
        for date in self._later():
            later, _ = archive.read_feed(self._disk, self.venue, date)
            self.given_up += [event for event in later if event.kind == "unhealable"]

    def next_trade(self) -> Interval | None:
        """The first trade behind the day, if one is held by now."""
        return self._trade_near(self.end, 1)

    def _hours_of(self, day: int) -> list[int]:
        return archive.held_hours(self._disk, self.venue, self.symbol, paths.date_of(day))

    def lines_lost(self) -> list[int]:
        """Hours whose lines are gone although nobody has said to have removed them; their ticks stand for them."""
        present = archive.hours(self._disk, paths.raw_dir(self.venue, self.symbol, self.date))
        return tickfiles.lost(self._disk, self.venue, self.symbol, self.date, present)

    def _held_hours(self) -> list[int]:
        raw = archive.held_hours(self._disk, self.venue, self.symbol, self.date)
        files = bar_files(self._disk, self.venue, self.symbol, self.date)
        rows = [hour for hour in range(24) if None in files and self._stored.hour(hour)[0].num_rows]
        return sorted({*raw, *rows, *(hour for hour in files if hour is not None)})

    def _todo(self, known: dict[int, Hour], has_other_lead: bool) -> list[int]:
        """The hours to be judged: those that are not `known`, and behind each all up to the next trade, whose bar says
        whether anything is missing before it.
        """
        todo, is_behind = [], has_other_lead
        for hour in self._held_hours():
            before = known.get(hour)
            if before is None or is_behind:
                todo.append(hour)
                is_behind = before is None or not (before.trades or before.agg_trades)
        return todo

    def _lead_of(self, memory: Memory, is_read: bool = True) -> tuple[list[str], str]:
        """The last lines of the day before: what the day's first bar is judged by as well."""
        day = self.start - paths.DAY
        hours = self._hours_of(day)
        if not hours:
            return [], ""
        of = (self._disk, self.venue, self.symbol, paths.date_of(day), hours[-1])
        files = line_files(*of)
        if files == memory.lead or not is_read:
            return files, memory.lead_hash
        return files, lines_hash(*of)

    def _stands(self, hour: Hour) -> bool:
        """Whether the judgement still holds: files may have been folded, but lines and rows are the same.

        One that asked for other bars does not: theirs may fill just as many bytes.
        """
        if hour.bars.differ or hour.bars.repeated or hour.bars.unreadable:
            return False
        if hour.was_open:
            return False
        if self.has_bars and not hour.bars_hash:  # judged before there was a sink
            return False
        files = files_of(self._disk, self.venue, self.symbol, self.date, hour.hour)
        if files != hour.files:
            rows, unreadable = self._stored.hour(hour.hour)
            if unreadable or rows_hash(rows) != hour.bars_hash:
                return False
            if lines_hash(self._disk, self.venue, self.symbol, self.date, hour.hour) != hour.lines_hash:
                return False
            hour.files = files
        return True

    def _rebuild(self, hours: Sequence[int]) -> dict[int, Sequence[Bar]]:
        if not (self.has_bars and hours):
            return {}
        rebuild = Rebuild(self._disk, self.venue, self.symbol, self._use_agg)
        return {paths.hour_of(bars[0].window_start): bars for bars in rebuild.hours(self.date, hours)}

    def _begun(self, hour: int) -> Hour:
        """An hour of which nothing is known yet but what it is about to be judged by."""
        of = (self._disk, self.venue, self.symbol, self.date, hour)
        is_sealed = self._is_sealed(hour)
        files = files_of(*of)
        return Hour(hour, is_sealed, files, lines_hash(*of) if is_sealed else "")

    def _judge_hour(self, begun: Hour, expected: Sequence[Bar]) -> Hour:
        hour = begun.hour
        found = read_lines(self._disk, self.venue, self.symbol, self.date, hour)
        found.is_sealed, found.files, found.lines_hash = begun.is_sealed, begun.files, begun.lines_hash
        if self.has_bars:
            # Of an hour that is not sealed only what the sink has closed can be compared.
            closed = ENDED if found.is_sealed else min(self._at.bars, self._at.archive)
            found.bars, found.bars_hash = compare(self._stored, self.venue, hour, expected, closed)
            found.made_hash, found.stood = bars_hash(expected), stood(expected)
        return found

    def _trade_near(self, day: int, step: int) -> Interval | None:
        """Id and second of the last trade before the day, or of the first one behind it; `day` is the next to it."""
        for _ in range(LOOK_AROUND):
            hours = self._hours_of(day)
            date = paths.date_of(day)
            for hour in hours if step > 0 else reversed(hours):
                lines, _ = archive.read_hour(self._disk, self.venue, self.symbol, date, hour)
                aggregates = [(t.agg_id, t.ts // quality.SECOND) for t in lines if isinstance(t, AggTrade)]
                trades = [(t.trade_id, t.ts // quality.SECOND) for t in lines if isinstance(t, Trade)]
                is_empty = not any(hour.trades or hour.agg_trades for hour in self.hours)
                by_aggregates = self.goes_by_aggregates or (is_empty and not trades)
                if ids := aggregates if by_aggregates else trades:
                    return min(ids) if step > 0 else max(ids)
            if not hours:
                break
            day += step * paths.DAY
        return None

    # --- memory ---

    def keep(self) -> None:
        """Remembers the judgements for the next run."""
        save(self._disk, self.memory_path, Memory(VERSION, self.before, self.follows, self.hours, *self._lead))

    def forget(self) -> None:
        for path in (self.memory_path, self.memory_path + TMP):
            self._disk.remove(path)

    # --- together ---

    def trades(self) -> tuple[Ids, int, Ids]:
        """Ids held, how many more than once, and ids that are no loss."""
        held, repeated = quality.union(hour.trade_ids for hour in self.hours)
        explained, _ = quality.union(hour.explained for hour in self.hours)
        edges = [hour.agg_edges for hour in self.hours if hour.agg_edges is not None]
        for (_, (agg_before, trade_before)), ((agg_after, trade_after), _) in pairwise(edges):
            if agg_after == agg_before + 1:
                explained.add_range(trade_before + 1, trade_after - 1)
        return held, repeated + sum(hour.trades_repeated for hour in self.hours), explained

    def aggregates(self) -> tuple[Ids, int]:
        held, repeated = quality.union(hour.agg_ids for hour in self.hours)
        return held, repeated + sum(hour.agg_repeated for hour in self.hours)

    def seconds(self) -> tuple[quality.Seconds, int]:
        """What is known of the recorded seconds, and how many lie before the record began or behind its end."""
        start, end = self.start // quality.SECOND, self.until // quality.SECOND
        spans = [hour.span for hour in self.hours if hour.span is not None]
        begins = spans and self.before is None and not self.follows
        first = spans[0][0] // quality.SECOND if begins else start
        is_end = spans and self.after is None and self.has_ended
        last = spans[-1][1] // quality.SECOND + 1 if is_end else end
        first, last = max(start, first), min(end, last)
        known = quality.join([hour.seconds for hour in self.hours], first, last, self.before, self.after)
        return known, end - start - max(0, last - first)

    def latency(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for hour in self.hours:
            for bucket, count in hour.latency.items():
                found[bucket] = found.get(bucket, 0) + count
        return found

    def missing(self) -> list[Interval]:
        """Trade ids that exist and are not held: between the day's own, and between them and the days beside it."""
        held, _, explained = self.trades()
        if self.ids_have_holes and (self.is_compared or not self.goes_by_aggregates):
            return []
        edges = [] if self.goes_by_aggregates else self._edges(held)
        return sorted([*quality.lost(held, explained), *edges])

    def aggregates_missing(self) -> list[Interval]:
        held, _ = self.aggregates()
        if not self.goes_by_aggregates:  # a few that were fetched prove nothing about those between them
            return []
        return sorted([*held.missing(), *self._edges(held)])

    def _edges(self, held: Ids) -> list[Interval]:
        """What is missing between the last trade before the day and its first, and between its last and the next."""
        found = []
        lowest, highest = held.lowest, held.highest
        if lowest is None or highest is None:
            ends = [(self.before, self.after)]
        else:
            ends = [(self.before, (lowest, 0)), ((highest, 0), self.after)]
        for left, right in ends:
            if left is not None and right is not None and right[0] > left[0] + 1:
                found.append((left[0] + 1, right[0] - 1))
        return found


def beside(venue: str, symbol: str, date: str) -> tuple[str, str]:
    """The compactor's manifest of a closed day, and what was fetched of it afterwards."""
    return paths.manifest_file(venue, symbol, date), paths.fetched_file(venue, symbol, date)


def save(disk: Disk, path: str, content: Any) -> None:
    """As JSON, whole or not at all, and only where it says something new."""
    write(disk, path, msgspec.json.encode(content))


def write(disk: Disk, path: str, data: bytes) -> None:
    if disk.size(path) == len(data) and disk.read(path) == data:
        return
    disk.write(path + TMP, data)
    disk.replace(path + TMP, path)
