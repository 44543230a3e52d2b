"""Many seconds at once: rows that are due become bars in a few passes over all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared import kernels
from shared.events import Bar
from shared.numbers import Units
from shared.paths import SECOND
from shared.rows import SIZE, Book, Numbers, Row, book
from shared.seconds import NO_ID, within
from shared.series import Series

Ints = NDArray[np.int64]

AT: Final[Numbers[int]] = Numbers._make(range(len(kernels.SECOND_FIELDS)))
"""Where each number of a row is."""
_NO_BOOK: Final = [0] * 6
_INT64: Final = (1 << 63) - 1
_FRACTIONS: Final = 15
"""Numbers of a bar that may have a fraction."""


class Due(NamedTuple):
    """Rows of one number of digits that are to be closed: those of each symbol, at least one, in the order of time."""

    series: list[Series]
    counts: list[int]
    rows: Ints
    digits: int


def closed(library: ctypes.CDLL, due: Due, units: Units) -> tuple[list[Bar], list[int]]:
    """The bars, and the places of symbols that cannot be closed as rows. These are untouched."""
    before, odd = _known(due, units)
    if odd:
        is_whole = np.ones(len(due.series), np.bool_)
        is_whole[odd] = False
        whole = is_whole.tolist()
        series, counts = ([one for one, is_so in zip(all_of, whole, strict=True) if is_so] for all_of in due[:2])
        due = Due(series, counts, due.rows[np.repeat(is_whole, due.counts)], due.digits)  # type: ignore[arg-type]
        if not series:
            return [], odd
    rows = due.rows
    rows[:, AT.owner] = np.repeat(np.arange(len(due.counts)), due.counts)
    known = np.array(before, np.int64)
    library.lake_close(len(rows), rows.ctypes.data, known.ctypes.data)
    bars = made(library, [series.symbol for series in due.series], rows, due.digits)
    rows[:, AT.owner] = 0
    _keep(due, known[:, 0].tolist())
    return bars, odd


def _known(due: Due, units: Units) -> tuple[list[Book], list[int]]:
    """What is known of each symbol before its first row; the places of those that cannot be closed as rows."""
    rows, counts = due.rows, np.array(due.counts)
    ends = np.cumsum(counts)
    firsts, lasts = rows[ends - counts, AT.second].tolist(), rows[ends - 1, AT.second].tolist()
    updates = np.where(rows[:, AT.quotes] > 0, rows[:, AT.first_update], _INT64)
    newer = np.minimum.reduceat(updates, ends - counts).tolist()
    before: list[Book] = []
    odd: list[int] = []
    for place, (series, first, last, update) in enumerate(zip(due.series, firsts, lasts, newer, strict=True)):
        if series.cuts and within(series.cuts, first * SECOND, (last + 1) * SECOND):
            odd.append(place)  # a quote ceased to stand while they last
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
    return before, odd


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


def made(library: ctypes.CDLL, symbols: Sequence[str], rows: Ints, digits: int) -> list[Bar]:
    """The bars of closed rows, as `Second.bar` makes them."""
    numbers, is_large = np.empty((_FRACTIONS, len(rows))), np.zeros(len(rows), np.uint8)
    library.lake_quotients(len(rows), rows.ctypes.data, 10**digits, numbers.ctypes.data, is_large.ctypes.data)
    one: Numbers[Ints] = Numbers._make(np.ascontiguousarray(rows.T))
    columns: list[list[Any]] = numbers.tolist()
    integers = np.stack([one.trades, one.quotes, one.buys, one.first_id, one.last_id, one.id_sum])
    trades, quotes, buys, *ids = integers.tolist()
    is_complete: list[Any] = (one.is_complete > 0).tolist()
    for absent, some in (
        (one.trades == 0, (*columns[:4], *ids, is_complete)),
        ((one.volume | one.volume_high) == 0, columns[6:7]),
        (one.has_book == 0, columns[7:12]),
        (one.live_ns == 0, columns[12:13]),
        ((one.id_sum < 0) | (one.id_sum_high > 0), ids[2:]),
    ):
        for at in np.flatnonzero(absent).tolist():
            for column in some:
                column[at] = None
    names = [symbols[owner] for owner in one.owner.tolist()]
    bars = list(
        map(
            Bar, names, (one.second * SECOND).tolist(), *columns[:6], trades, *columns[6:12], quotes, *columns[12:],
            buys, *ids, is_complete, (one.live_ns // 1_000_000).tolist(),
        )
    )  # fmt: skip
    for at in np.flatnonzero(is_large).tolist():
        bars[at] = Row(digits, rows[at].tobytes()).second().bar(names[at], bars[at].window_start, Units())
    return bars
