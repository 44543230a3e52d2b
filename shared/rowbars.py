"""Many seconds at once: rows that are due become bars in a few passes over all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import Bar
from shared.numbers import Units
from shared.paths import SECOND
from shared.rows import SIZE, Book, Numbers, Row, book
from shared.seconds import NO_ID, within
from shared.series import Series
from shared.tables import BAR_COLUMNS

Ints = NDArray[np.int64]

AT: Final[Numbers[int]] = Numbers._make(range(len(kernels.SECOND_FIELDS)))
"""Where each number of a row is."""
_NO_BOOK: Final = [0] * 6
_INT64: Final = (1 << 63) - 1
_FLOATS: Final = [name for name, kind in BAR_COLUMNS if kind == "float64"]
"""Numbers of a bar that may have a fraction, in the order in which the loops give them."""
_MEMBERS: Final = Bar.__struct_fields__[1:-1]
"""Those of a bar that are columns here: without its symbol and its revision."""


class Due(NamedTuple):
    """Rows of one number of digits that are to be closed: those of each symbol, at least one, in the order of time."""

    series: list[Series]
    counts: list[int]
    rows: Ints
    digits: int


def closed(library: ctypes.CDLL, due: Due, units: Units) -> tuple[BarRows, list[int]]:
    """The bars, and the places of symbols that cannot be closed as rows. These are untouched."""
    before, odd, limits = _known(due, units)
    if odd:
        is_whole = np.ones(len(due.series), np.bool_)
        is_whole[odd] = False
        whole, wanted = is_whole.tolist(), np.repeat(is_whole, due.counts)
        series, counts = ([one for one, is_so in zip(all_of, whole, strict=True) if is_so] for all_of in due[:2])
        due = Due(series, counts, due.rows[wanted], due.digits)  # type: ignore[arg-type]
        limits = None if limits is None else limits[wanted]
    rows = due.rows
    rows[:, AT.owner] = np.repeat(np.arange(len(due.counts)), due.counts)
    known = np.array(before, np.int64).reshape(-1, 2 + len(_NO_BOOK))
    library.lake_close(len(rows), rows.ctypes.data, known.ctypes.data, None if limits is None else limits.ctypes.data)
    bars = BarRows(library, [series.symbol for series in due.series], rows, due.digits)
    rows[:, AT.owner] = 0
    _keep(due, known[:, 0].tolist())
    return bars, odd


def _known(due: Due, units: Units) -> tuple[list[Book], list[int], Ints | None]:
    """What is known of each symbol before its first row; the places of those that cannot be closed as rows; until when
    quotes stand in each row, where some ceased to.
    """
    rows, counts = due.rows, np.array(due.counts)
    ends = np.cumsum(counts)
    firsts, lasts = rows[ends - counts, AT.second].tolist(), rows[ends - 1, AT.second].tolist()
    updates = np.where(rows[:, AT.quotes] > 0, rows[:, AT.first_update], _INT64)
    newer = np.minimum.reduceat(updates, ends - counts).tolist()
    before: list[Book] = []
    odd: list[int] = []
    limits: Ints | None = None
    for place, (series, first, last, update) in enumerate(zip(due.series, firsts, lasts, newer, strict=True)):
        if series.cuts and (cuts := within(series.cuts, first * SECOND, (last + 1) * SECOND)):
            if limits is None:
                limits = np.repeat(rows[:, AT.second] * SECOND + SECOND, 2).reshape(-1, 2)
            its_own = slice(ends[place] - due.counts[place], ends[place])
            if not _limit(rows[its_own], cuts, limits[its_own]):
                odd.append(place)
                continue
        newest = series.newest_at(first * SECOND)
        if newest is None:
            before.append([series.closed_top, 0, *_NO_BOOK])
            continue
        is_row = isinstance(newest, Row)
        found = newest.book(due.digits) if is_row else book(newest, due.digits, units)  # type: ignore[union-attr,arg-type]
        if found is None or found[1] > update:  # in other units, or above the ids of what came after it
            odd.append(place)
        else:
            before.append([series.closed_top, 1, *found])
    return before, odd, limits


def _limit(rows: Ints, cuts: Sequence[int], limits: Ints) -> bool:
    """Notes of each row until when the quote from before it stands, and its own last one, as these cuts have it; false
    where one came between two quotes of a second: only all of its quotes tell what follows from that.
    """
    since = cuts[0]
    numbers: list[Numbers[int]] = [*map(Numbers._make, rows.tolist())]
    for row, limit in zip(numbers, limits, strict=True):
        begin, end = row.second * SECOND, row.second * SECOND + SECOND
        first, last = (row.first_ts, row.last_ts) if row.quotes else (end, end)
        for cut in reversed(within(cuts, since, end)):  # those of seconds before it in which nothing was, too
            if cut < first:
                limit[0] = max(cut, begin)
            elif cut >= last:
                limit[1] = cut
            else:
                return False
        since = end
    return True


def _keep(due: Due, tops: list[int]) -> None:
    """Rows that are closed become what their series keep of them."""
    rows, ends = due.rows, np.cumsum(due.counts).tolist()
    has_trades = rows[:, AT.trades] > 0
    secs: list[int] = rows[:, AT.second].tolist()
    highest: list[int] = np.where(has_trades, rows[:, AT.last_id], NO_ID).tolist()
    lacking: list[int] = np.flatnonzero(has_trades & (rows[:, AT.is_complete] == 0)).tolist()
    has_book: list[int] = rows[:, AT.has_book].tolist()
    packs = list(map(Row, repeat(due.digits), rows.view(f"V{SIZE}").ravel().tolist()))
    begin = 0
    for series, end, top in zip(due.series, ends, tops, strict=True):
        incomplete = [secs[at] for at in lacking if begin <= at < end]
        newest = packs[end - 1] if has_book[end - 1] else None
        series.extend(secs[begin:end], highest[begin:end], packs[begin:end], incomplete, top, newest)
        begin = end


class BarRows(Sequence[Bar]):
    """The bars of closed rows as `Second.bar` makes them, column by column: who asks for one gets a Bar."""

    def __init__(self, library: ctypes.CDLL, symbols: Sequence[str], rows: Ints, digits: int) -> None:
        floats, is_large = np.empty((len(_FLOATS), len(rows))), np.zeros(len(rows), np.uint8)
        library.lake_quotients(len(rows), rows.ctypes.data, 10**digits, floats.ctypes.data, is_large.ctypes.data)
        one: Numbers[Ints] = Numbers._make(rows.T.copy())
        self.symbols, self.owner = symbols, one.owner
        """The symbol of each bar by its place in `symbols`."""
        self.columns: dict[str, NDArray[Any]] = {
            **dict(zip(_FLOATS, floats, strict=True)),
            "window_start": one.second * SECOND,
            "trade_count": one.trades,
            "quote_count": one.quotes,
            "buy_count": one.buys,
            "first_trade_id": one.first_id,
            "last_trade_id": one.last_id,
            "trade_id_sum": one.id_sum,
            "is_complete": one.is_complete > 0,
            "quotes_live_ms": one.live_ns // 1_000_000,
        }
        """Numbers by the names of a bar's members; all but its symbol and its revision, which is 0."""
        no_trades, is_beyond = one.trades == 0, (one.id_sum < 0) | (one.id_sum_high > 0)
        no_volume, no_book, no_quote = (one.volume | one.volume_high) == 0, one.has_book == 0, one.live_ns == 0
        self.absent: dict[str, NDArray[np.bool_]] = {
            **dict.fromkeys(("open", "high", "low", "close", "first_trade_id", "last_trade_id"), no_trades),
            **dict.fromkeys(("bid", "ask", "spread", "bid_qty", "ask_qty"), no_book),
            "vwap": no_volume,
            "spread_tw": no_quote,
            "trade_id_sum": no_trades | is_beyond,
            "is_complete": no_trades,
        }
        """Where a column has no number."""
        for at in np.flatnonzero(is_large).tolist():
            second = Row(digits, rows[at].tobytes()).second()
            self.columns["vwap"][at] = second.bar("", 0, Units()).vwap

    def __len__(self) -> int:
        return len(self.owner)

    def __iter__(self) -> Iterator[Bar]:
        return iter(self[:])

    @overload
    def __getitem__(self, which: int) -> Bar: ...
    @overload
    def __getitem__(self, which: slice) -> list[Bar]: ...
    def __getitem__(self, which: int | slice) -> Bar | list[Bar]:
        if isinstance(which, int):
            at = range(len(self))[which]
            return self[at : at + 1][0]
        lists: dict[str, list[Any]] = {name: column[which].tolist() for name, column in self.columns.items()}
        for name, absent in self.absent.items():
            column = lists[name]
            for at in np.flatnonzero(absent[which]).tolist():
                column[at] = None
        names = [self.symbols[owner] for owner in self.owner[which].tolist()]
        return list(map(Bar, names, *map(lists.__getitem__, _MEMBERS)))
