"""The open seconds of all symbols as rows, summed up by the loops: what is plain goes from columns into them.

Plain is what nearly all is: of each symbol trade ids that go on, times that do not go back, quotes in order. Where
anything else comes of a symbol, its rows become seconds (`taken`), and `Bars` decides event by event.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from operator import le
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared import kernels, rowbars
from shared.events import QUOTE, Bar, Columns
from shared.kernels import address
from shared.numbers import Units
from shared.paths import SECOND
from shared.quoteruns import FIELDS, Block, QuoteRuns, Stretch
from shared.rowbars import AT, Due, Ints
from shared.rows import Numbers, traded, wide
from shared.seconds import NO_ID, Second
from shared.series import Series

WINDOW: Final = 128
"""Seconds of a symbol that have a place at the same time, a power of two."""
NEVER: Final = (1 << 63) - 1
_GROWS: Final = 64
_TRADES, _QUOTES = map(kernels.RUN_FIELDS.index, ("trades", "quotes"))


class Run(NamedTuple):
    """What columns hold of a symbol: the members are those of `kernels.RUN_FIELDS`."""

    is_odd: int
    lowest: int
    highest: int
    trades: int
    first_id: int
    last_id: int
    first_second: int
    last_second: int
    quotes: int
    first_update: int
    update: int
    first_ts: int
    last_ts: int


class Look(NamedTuple):
    """Columns, where they are as the loops take them, and what they hold of each of their symbols."""

    columns: Columns
    places: tuple[int, int, Any]
    runs: list[Run]


class _Part(NamedTuple):
    """Columns whose quotes may still be asked for."""

    columns: Columns
    places: tuple[int, int, Any]
    owners: Ints
    """The numbers of its symbols."""
    highest: int
    """The last second."""


class _Symbol:
    """How far the rows of a symbol have come, since nothing unusual came of it."""

    __slots__ = ("last_ts", "number", "second", "update")

    def __init__(self, number: int) -> None:
        self.number = number
        self.reset()

    def reset(self) -> None:
        self.second = self.last_ts = self.update = NO_ID

    def precedes(self, run: Run) -> bool:
        return (not run.trades or run.first_second >= self.second) and (
            not run.quotes or (run.first_ts >= self.last_ts and run.first_update > self.update)
        )

    def follow(self, run: Run) -> None:
        if run.trades:
            self.second = run.last_second
        if run.quotes:
            self.last_ts, self.update = run.last_ts, run.update


class Tally:
    """Rows of one number of digits."""

    def __init__(self, library: ctypes.CDLL, digits: int) -> None:
        self.digits = digits
        self._library = library
        self._symbols: dict[str, _Symbol] = {}
        self._names: list[str] = []
        self._slots: NDArray[np.int32] = np.full((0, WINDOW), -1, np.int32)
        self._rows: Ints = np.empty((0, len(kernels.SECOND_FIELDS)), np.int64)
        self._places: NDArray[np.int32] = np.empty(0, np.int32)
        self._board = kernels.Board(WINDOW)
        self._base: int | None = None  # no row is of a second before; its window begins there
        self._parts: list[_Part] = []

    # --- taking ---

    def look(self, columns: Columns) -> Look | None:
        """None where a symbol stands there twice, or for nothing."""
        if len(set(columns.symbols)) < len(columns.symbols):
            return None
        found = np.zeros((len(columns.symbols), len(kernels.RUN_FIELDS)), np.int64)
        places = _places(columns)
        rows = self._library.lake_runs(len(columns), *places, len(found), found.ctypes.data)
        if rows < len(columns):
            raise IndexError("columns name a symbol that they do not hold")
        is_whole = (found[:, _TRADES] | found[:, _QUOTES]).all()
        return Look(columns, places, list(map(Run._make, found.tolist()))) if is_whole else None

    def since(self, run: Run, series: Series, floor: int | None) -> int:
        """The second from which on a symbol's run can be taken as rows; `floor`: seconds before are closed."""
        if run.is_odd or (run.trades and run.first_id <= series.top):
            return NEVER
        if self._base is None:
            self._base = run.lowest if floor is None else floor
        begin = self._base
        if series.open:  # of a second some of which is there already all must go there
            begin = max(begin, max(series.open) + 1)
        if run.highest >= self._base + WINDOW:
            return NEVER
        if series.is_tallied:
            return begin if run.lowest >= begin and self._symbols[series.symbol].precedes(run) else NEVER
        return begin if run.highest >= begin else NEVER

    def rest(self, look: Look, since: Sequence[int]) -> Columns | None:
        """What comes before the second from which on a symbol is taken."""
        if all(map(le, since, [run.lowest for run in look.runs])):
            return None
        columns = look.columns
        begins = np.array(since, np.int64)[np.frombuffer(columns.symbol, np.uint16)]
        secs = np.frombuffer(columns.ts, np.int64) // SECOND
        return _where(columns, secs < begins)

    def take(self, look: Look, since: Sequence[int]) -> None:
        """Of each symbol the rows from a second on."""
        columns, places, runs = look
        numbers, highest, wanted = [], NO_ID, 0
        for name, run, begin in zip(columns.symbols, runs, since, strict=True):
            symbol = self._symbols.get(name) or self._new(name)
            numbers.append(symbol.number)
            if begin < NEVER:
                symbol.follow(run)
                wanted += run.highest - max(begin, run.lowest) + 1
                if run.highest > highest:
                    highest = run.highest
        self._reserve(wanted)
        owners, begins = np.array(numbers, np.int64), np.array(since, np.int64)
        rows = self._library.lake_tally(
            len(columns), *places, begins.ctypes.data, owners.ctypes.data, ctypes.byref(self._board)
        )
        if rows < len(columns):
            raise RuntimeError("there is no room for another second")
        if columns.ask and highest >= 0:
            self._parts.append(_Part(columns, places, owners, highest))

    def _new(self, name: str) -> _Symbol:
        symbol = self._symbols[name] = _Symbol(len(self._names))
        self._names.append(name)
        if symbol.number == len(self._slots):
            self._slots = np.concatenate([self._slots, np.full((_GROWS, WINDOW), -1, np.int32)])
            self._board.slots = self._slots.ctypes.data
        return symbol

    def _reserve(self, wanted: int) -> None:
        """Room for as many new rows."""
        spare, held = self._board.spare, len(self._rows)
        if wanted <= spare:
            return
        more = max(wanted - spare, held, _GROWS)
        self._rows = np.concatenate([self._rows, np.empty((more, self._rows.shape[1]), np.int64)])
        free = np.arange(held, held + more, dtype=np.int32)
        self._places = np.concatenate([free, self._places[:spare], np.empty(held, np.int32)])
        self._board.rows, self._board.places = self._rows.ctypes.data, self._places.ctypes.data
        self._board.spare = spare + more

    # --- closing ---

    def latest(self) -> int | None:
        """The last open second."""
        open_rows = self._rows[self._slots[self._slots >= 0], AT.second]
        return int(open_rows.max()) if len(open_rows) else None

    @property
    def open_quotes(self) -> int:
        """Quotes of all open seconds."""
        return int(self._rows[self._slots[self._slots >= 0], AT.quotes].sum())

    def close(self, closed: int, all_series: Mapping[str, Series], units: Units) -> tuple[Sequence[Bar], list[Series]]:
        """The bars of seconds before `closed`, and the symbols of which some are left that cannot be closed as rows:
        these must be `taken`, then `move` must follow. `Series.open` holds no second any more that is due."""
        if self._base is None or closed <= self._base:
            return [], []
        secs = np.arange(self._base, min(closed, self._base + WINDOW)) & (WINDOW - 1)
        places = self._slots[: len(self._names), secs]
        is_due = places >= 0
        if not is_due.any():
            return [], []
        counts = np.count_nonzero(is_due, axis=1)
        numbers = np.flatnonzero(counts)
        series = [all_series[self._names[number]] for number in numbers.tolist()]
        due = Due(series, counts[numbers].tolist(), self._rows[places[is_due]], self.digits)
        bars, odd = rowbars.closed(self._library, due, units)
        places[numbers[odd]] = -1
        is_whole = places >= 0
        self._free(places[is_whole])
        rows, columns = np.nonzero(is_whole)
        self._slots[rows, secs[columns]] = -1
        remains: list[bool] = np.any(self._slots[numbers] >= 0, axis=1).tolist()
        for one, is_tallied in zip(series, remains, strict=True):
            one.is_tallied = is_tallied
        return bars, [series[place] for place in odd]

    def move(self, closed: int) -> None:
        """No row is of a second before."""
        if self._base is None or closed > self._base:
            self._base = closed
        self._parts = [part for part in self._parts if part.highest >= closed]

    def _free(self, places: NDArray[np.int32]) -> None:
        """Their rows are no longer needed."""
        spare = self._board.spare
        self._places[spare : spare + len(places)] = places
        self._board.spare = spare + len(places)

    # --- what is unusual, and states ---

    def taken(self, series: Series) -> dict[int, Second]:
        """The open seconds of a symbol, which are no longer here."""
        series.is_tallied = False
        symbol = self._symbols[series.symbol]
        seconds = self._seconds(symbol.number).get(series.symbol, {})
        slots = self._slots[symbol.number]
        self._free(slots[slots >= 0])
        slots[:] = -1
        symbol.reset()
        return seconds

    def seconds(self) -> dict[str, dict[int, Second]]:
        """All open seconds, of each symbol in the order of time."""
        return self._seconds(None)

    def _seconds(self, owner: int | None) -> dict[str, dict[int, Second]]:
        slots = self._slots if owner is None else self._slots[owner]
        places = slots[slots >= 0]
        rows = self._rows[places]
        found: dict[str, dict[int, Second]] = {}
        numbers: map[Numbers[int]] = map(Numbers._make, rows.tolist())
        for one, block in sorted(zip(numbers, self._quotes(places, rows), strict=True), key=_in_order):
            second = found.setdefault(self._names[one.owner], {})[one.second] = traded(one, self.digits)
            if one.quotes:
                second.runs = QuoteRuns(self.digits)
                first = [one.first_ts, one.first_update]
                stretch = Stretch(first, [*one[AT.last_ts : AT.ask_qty + 1]], wide(one.weighted, one.weighted_high))
                second.runs.add(self.digits, (block, 0, one.quotes), stretch)
        return found

    def _quotes(self, places: NDArray[np.int32], rows: Ints) -> list[Block]:
        """Those of each of these rows, in the order in which they came."""
        sizes = FIELDS * rows[:, AT.quotes]
        ends = np.cumsum(sizes)
        begins, counts = np.full(len(self._rows), NO_ID, np.int64), np.zeros(len(self._rows), np.int64)
        begins[places] = ends - sizes
        found = np.empty(int(sizes.sum()), np.int64)
        for part in self._parts if len(found) else ():
            count = len(part.columns)
            seen = self._library.lake_quotes(
                count, *part.places, part.owners.ctypes.data, ctypes.byref(self._board),
                begins.ctypes.data, counts.ctypes.data, found.ctypes.data,
            )  # fmt: skip
            if seen < count:
                raise RuntimeError("a second has more quotes than were counted")
        if (counts[places] < rows[:, AT.quotes]).any():
            raise RuntimeError("a second has fewer quotes than were counted")
        return [block.reshape(FIELDS, -1) for block in np.split(found, ends[:-1])] if len(places) else []


def _where(columns: Columns, is_wanted: NDArray[np.bool_]) -> Columns:
    """Some of the rows."""
    kinds = np.frombuffer(columns.kinds, np.uint8)
    of_quotes, of_trades = is_wanted[kinds == QUOTE], is_wanted[kinds != QUOTE]
    partial = {"ask": of_quotes, "ask_qty": of_quotes, "ts_sent": of_trades}
    found = {
        name: np.frombuffer(getattr(columns, name), np.int64)[partial.get(name, is_wanted)].tobytes()
        for name in kernels.COLUMNS
    }
    symbol = np.frombuffer(columns.symbol, np.uint16)[is_wanted].tobytes()
    return Columns(columns.symbols, columns.digits, kinds[is_wanted].tobytes(), symbol, **found)


def _in_order(found: tuple[Numbers[int], Block]) -> tuple[int, int]:
    return found[0].owner, found[0].second


def _places(columns: Columns) -> tuple[int, int, Any]:
    """Where columns are, as the loops take them."""
    whole = kernels.pointers([address(getattr(columns, name)) for name in kernels.COLUMNS])
    return address(columns.kinds), address(columns.symbol), ctypes.byref(whole)
