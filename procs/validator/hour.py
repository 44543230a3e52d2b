"""One hour of one symbol: what is in its lines and rows, and whether the rows are what the lines make."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from shared import archive, hidden, paths, quality, tickfiles
from shared.archive import Problem
from shared.barfiles import bar_table, starts
from shared.bars import ENDS_QUOTES
from shared.barstore import Stored, bar_files, by_second, rows_hash
from shared.events import AggTrade, Bar, Quote, Trade
from shared.files import Disk, checksum
from shared.ids import Ids

LISTED = 20
"""Problems of a kind that an hour names; the others are counted."""
LOOKS = 3
"""Times that rows are read before they are called wrong."""
LOOK_AGAIN_S = 0.5
"""The swap of a file takes milliseconds: what seems wrong is looked at again after this long."""

Interval = tuple[int, int]


class Bars(msgspec.Struct):
    """What became of the rows."""

    rows: int = 0
    compared: int = 0
    """Seconds that the sink had closed: only these were compared."""
    differ: int = 0
    repeated: int = 0
    seconds: list[tuple[int, list[str]]] = []
    """The first that differ, as nanoseconds, and in which columns."""
    unreadable: list[str] = []


class Hour(msgspec.Struct):
    """What is known of an hour, so that it need not be read again."""

    hour: int
    is_sealed: bool = False
    files: list[str] = []
    """Names and sizes of everything it was judged by."""
    lines_hash: str = ""
    bars_hash: str = ""
    trades: int = 0
    trade_ids: list[Interval] = []
    trades_repeated: int = 0
    sources: dict[str, int] = {}
    fetched: dict[str, list[Interval]] = {}
    """Trade ids that were not received but fetched afterwards, by source."""
    agg_trades: int = 0
    agg_ids: list[Interval] = []
    agg_repeated: int = 0
    has_live_aggregates: bool = False
    agg_fetched: dict[str, list[Interval]] = {}
    """The same of aggregates."""
    by_aggregates: list[Interval] = []
    """Trade ids that only fetched aggregates cover."""
    explained: list[Interval] = []
    """Trade ids that are no loss although no trade bears them; see `explained`."""
    agg_edges: tuple[Interval, Interval] | None = None
    """Id and first trade of the first aggregate, id and last trade of the last."""
    quotes: int = 0
    crossed: int = 0
    locked: int = 0
    quoted: list[Interval] = []
    """When quotes stood, in nanoseconds, by the quotes of this hour alone."""
    stood: bool | None = None
    """Whether a quote stood when the hour began; None where no bar tells."""
    span: Interval | None = None
    """Time of the first and the last line."""
    seconds: quality.Seconds = msgspec.field(default_factory=quality.Seconds)
    latency: dict[int, int] = {}
    misplaced: int = 0
    nonsense: int = 0
    broken: int = 0
    problems: list[Problem] = []
    bars: Bars = msgspec.field(default_factory=Bars)
    made_hash: str = ""
    """Of the bars that the lines make, as `shared.bars.bars_hash` has it."""

    @property
    def wrong(self) -> int:
        """How much is wrong with it, whatever it is; trades that are missing stand elsewhere."""
        bars = self.bars.repeated + len(self.bars.unreadable) + (self.bars.differ if self.is_sealed else 0)
        repeated = self.trades_repeated + self.agg_repeated
        return bars + repeated + self.broken + self.misplaced + self.nonsense + self.crossed

    @property
    def was_open(self) -> bool:
        """Whether a file of it was being written: what no checkpoint held may have gone and come again as it was read,
        and no size or checksum would tell.
        """
        return any("/open_" in file for file in self.files)

    @property
    def may_be_rebuilt(self) -> bool:
        """Whether the lines are whole: bars made from what is left of them would be poorer than those there are."""
        return bool(self.trades or self.quotes or self.agg_trades) and not self.broken


# --- lines ---


def read_lines(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> Hour:
    """What the archive's lines of the hour say."""
    lines, problems = archive.read_hour(disk, venue, symbol, date, hour)
    found = Hour(hour, broken=len(problems), problems=problems[:LISTED])
    trades = [line for line in lines if type(line) is Trade]
    quotes = [line for line in lines if type(line) is Quote]
    aggregates = sorted((line for line in lines if type(line) is AggTrade), key=lambda line: line.agg_id)
    ids, found.trades_repeated = quality.held(trade.trade_id for trade in trades)
    found.trades, found.trade_ids = len(trades), _pairs(ids.intervals)
    for trade in trades:
        found.sources[trade.source] = found.sources.get(trade.source, 0) + 1
    found.fetched = _fetched((trade.source, trade.trade_id, trade.trade_id) for trade in trades)
    ids, found.agg_repeated = quality.held(line.agg_id for line in aggregates)
    found.agg_trades, found.agg_ids = len(aggregates), _pairs(ids.intervals)
    found.agg_fetched = _fetched((line.source, line.agg_id, line.agg_id) for line in aggregates)
    covered = _fetched((line.source, line.first_trade_id, line.last_trade_id) for line in aggregates)
    found.by_aggregates = sorted(span for spans in covered.values() for span in spans)
    found.explained, found.agg_edges = _explained(aggregates)
    if lines:
        found.span = min(line.ts for line in lines), max(line.ts for line in lines)
    found.quotes = len(quotes)
    found.crossed, found.locked = quality.crossed(quotes)
    found.has_live_aggregates = any(line.source == "ws" for line in aggregates)
    by_aggregates = found.has_live_aggregates or not trades
    found.seconds = quality.seconds(_as_trades(aggregates) if by_aggregates else trades)
    found.latency = quality.histogram(quality.latencies(lines))
    start = paths.day_start(date) + hour * paths.HOUR
    feed, _ = archive.read_feed(disk, venue, date, hour)
    cuts = [event.ts for event in feed if event.kind in ENDS_QUOTES and (not event.symbols or symbol in event.symbols)]
    found.quoted = quality.quoted((quote.ts for quote in quotes), cuts, start + paths.HOUR)
    found.misplaced = quality.misplaced(lines, symbol, start, start + paths.HOUR)
    found.nonsense = quality.nonsense(lines)
    return found


def _fetched(rows: Iterable[tuple[str, int, int]]) -> dict[str, list[Interval]]:
    """Ids by source, but for those that were received."""
    found: dict[str, Ids] = {}
    for source, first, last in rows:
        if source != "ws":
            found.setdefault(source, Ids()).add_range(first, last)
    return {source: _pairs(ids.intervals) for source, ids in sorted(found.items())}


def _explained(aggregates: Sequence[AggTrade]) -> tuple[list[Interval], tuple[Interval, Interval] | None]:
    """Trade ids that the venue itself skips (between two aggregates in a row), or that are held in fetched
    aggregates.
    """
    if not aggregates:
        return [], None
    found = [(line.first_trade_id, line.last_trade_id) for line in aggregates if line.source != "ws"]
    for before, after in pairwise(aggregates):
        if after.agg_id == before.agg_id + 1 and after.first_trade_id > before.last_trade_id + 1:
            found.append((before.last_trade_id + 1, after.first_trade_id - 1))
    first, last = aggregates[0], aggregates[-1]
    return found, ((first.agg_id, first.first_trade_id), (last.agg_id, last.last_trade_id))


def _as_trades(aggregates: Iterable[AggTrade]) -> list[Trade]:
    """Where aggregates are recorded, their ids are the ones without holes, whatever the venue."""
    return [Trade(a.symbol, a.ts, a.ts_event, None, a.ts_recv, a.price, a.qty, a.side, a.agg_id) for a in aggregates]


def _pairs(intervals: Iterable[Sequence[int]]) -> list[Interval]:
    return [(first, last) for first, last in intervals]


# --- what it is judged by ---


def files_of(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> list[str]:
    """Names and sizes of the hour's lines, rows and feed: as long as they stay, so does the judgement."""
    stored = bar_files(disk, venue, symbol, date)
    named = stored.get(hour, []) + stored.get(None, [])
    return [*line_files(disk, venue, symbol, date, hour), *(f"{path}:{disk.size(path)}" for path in named)]


def line_files(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> list[str]:
    """Names and sizes of the hour's lines and feed; of the ticks where they stand for the lines."""
    raw, feed = paths.raw_dir(venue, symbol, date), paths.feed_dir(venue, date)
    named = [f"{folder}/{part.name}" for folder in (raw, feed) for part in archive.parts(disk, folder, hour)]
    named += _ticks(disk, venue, symbol, date, hour)
    return [f"{path}:{disk.size(path)}" for path in named]


def lines_hash(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> str:
    """The same whether the hour's lines stand in minutes or are folded."""
    of = (disk, venue, symbol, date, hour)
    return hidden.reread(lambda _: _lines_hash(*of), lambda: line_files(*of))


def _lines_hash(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> str:
    digest = hashlib.sha256()
    for folder in (paths.raw_dir(venue, symbol, date), paths.feed_dir(venue, date)):
        for part in archive.parts(disk, folder, hour):
            digest.update(archive.content(disk, f"{folder}/{part.name}")[0])
    for path in _ticks(disk, venue, symbol, date, hour):
        digest.update(checksum(disk, path).encode())
    return digest.hexdigest()


def _ticks(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> list[str]:
    """The files that hold the hour's events, where its lines are gone."""
    if archive.parts(disk, paths.raw_dir(venue, symbol, date), hour):
        return []
    are_there = hour in tickfiles.hours(disk, venue, symbol, date)
    return tickfiles.files(disk, venue, symbol, date) if are_there else []


# --- rows ---


def stood(bars: Sequence[Bar]) -> bool | None:
    """Whether a quote stood before the first of these bars, as it tells."""
    if not bars:
        return None
    first = bars[0]
    return first.quotes_live_ms == 1000 or (first.bid is not None and not first.quote_count)


def compare(stored: Stored, venue: str, hour: int, expected: Sequence[Bar], until: int) -> tuple[Bars, str]:
    """The stored rows against what the archive makes, for seconds that end by `until`; and the hash of all stored."""
    want = by_second(bar_table(expected, venue), until)
    for look in range(LOOKS):
        rows, unreadable = stored.hour(hour)
        have = by_second(rows, until)
        differ = quality.differences(have, want)
        repeated = rows.num_rows - len(set(starts(rows)))
        if not (differ or repeated or unreadable) or look == LOOKS - 1:
            break
        stored.forget()
        time.sleep(LOOK_AGAIN_S)
    found = Bars(
        rows=rows.num_rows,
        compared=len(have.keys() | want.keys()),
        differ=len(differ),
        repeated=repeated,
        seconds=differ[:LISTED],
        unreadable=unreadable,
    )
    return found, rows_hash(rows)
