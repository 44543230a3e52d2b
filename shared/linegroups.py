"""Lines of a whole batch, file by file: each group is made just before it is written, in memory that stays.

Where the loops are not compiled, `linecolumns` makes them all at once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from shared import kernels, linecolumns
from shared.events import Columns
from shared.linecolumns import Array, Group

MOST_GROUPS: Final = 1 << 14
"""Files that one batch may concern; with more, its events go singly."""
_BEYOND: Final = 32
"""Bytes that the loop spoils behind its last line."""
_OF_A_ROW: Final = ("group", "rows", "owner", "first", "last")
_OF_A_SYMBOL: Final = ("latest", "running")
_OF_A_GROUP: Final = ("before", "symbol", "start", "until")
_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)
_WIDE: Final = {"start": _INT64, "first": _INT64, "last": _INT64, "rows": np.dtype((np.void, kernels.ROW))}

Run = tuple[str, int, int]
"""Symbol, first and last of trade ids without a hole."""


class Made(NamedTuple):
    """What a batch comes to."""

    groups: Iterable[Group]
    """In the order of their first events; the data of each is good until the next one is asked for."""
    runs: Iterable[Run]
    """All trade ids."""


class LineGroups:
    """Makes lines of columns; holds the memory that this takes from one batch to the next."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self._lines: Array = np.empty(0, np.uint8)

    def of(self, columns: Columns, every: int) -> Made | None:
        """By symbol and by interval of `every` nanoseconds. None where the columns must go the plain way: with a number
        below zero, or a symbol named twice. Raises IndexError for a symbol that is not named.
        """
        if kernels.loops is None:
            groups = linecolumns.groups(columns, every)
            if groups is None:
                return None
            return Made(groups, linecolumns.trade_runs(columns))
        names, count = tuple(columns.symbols), len(columns)
        if not count:
            return Made((), ())
        if not names:
            raise IndexError("columns name a symbol that they do not hold")
        if len(set(names)) < len(names):
            return None
        return self._compiled(kernels.loops, columns, names, count, every)

    def _compiled(
        self, library: ctypes.CDLL, columns: Columns, names: tuple[str, ...], count: int, every: int
    ) -> Made | None:
        texts = linecolumns.texts(names)
        arrays = self._room(count, len(names))
        rows = kernels.Lines(
            columns.digits, kernels.address(columns.kinds), kernels.address(columns.symbol),
            kernels.address(columns.short) if columns.short else None,
            kernels.pointers([kernels.address(getattr(columns, name)) for name in kernels.COLUMNS]),
            texts.text_at, texts.piece_at(3), kernels.pointers([texts.piece_at(kind) for kind in range(3)]),
        )  # fmt: skip
        given = kernels.Grouping(
            symbols=len(names), most=MOST_GROUPS, **{name: array.ctypes.data for name, array in arrays.items()}
        )
        quotes = len(columns.ask) // 8
        groups = library.lake_group(ctypes.byref(rows), count, quotes, every, ctypes.byref(given))
        if groups == -2:
            raise IndexError("columns name a symbol that they do not hold")
        if groups < 0:
            return None
        owner, first, last = (arrays[name][: given.runs].tolist() for name in ("owner", "first", "last"))
        runs = [(names[at], one, other) for at, one, other in zip(owner, first, last, strict=True)]
        line = max(texts.sizes[:3]) + max(texts.sizes[3:])
        return Made(self._each(library, (columns, rows), arrays, names, groups, line), runs)

    def _each(
        self,
        library: ctypes.CDLL,
        held: tuple[Columns, kernels.Lines],
        arrays: dict[str, Array],
        names: tuple[str, ...],
        groups: int,
        line: int,
    ) -> Iterator[Group]:
        """`held`: the rows, and the columns in whose memory they are."""
        _, rows = held
        at, begin = arrays["rows"].ctypes.data, 0
        found = (arrays[name][:groups].tolist() for name in ("symbol", "start", "until"))
        for symbol, start, until in zip(*found, strict=True):
            room = (until - begin) * line + _BEYOND
            if room > len(self._lines):
                self._lines = np.empty(room + room // 4, np.uint8)
            size = library.lake_lines(
                ctypes.byref(rows), until - begin, at + kernels.ROW * begin, self._lines.ctypes.data
            )
            yield Group(names[symbol], start, self._lines.data[:size])
            begin = until

    def _room(self, count: int, symbols: int) -> dict[str, Array]:
        """Arrays that are long enough."""
        sizes = dict.fromkeys(_OF_A_ROW, count) | dict.fromkeys(_OF_A_SYMBOL, symbols)
        for name, size in (sizes | dict.fromkeys(_OF_A_GROUP, MOST_GROUPS)).items():
            if name not in self._arrays or size > len(self._arrays[name]):
                self._arrays[name] = np.empty(size + size // 4, _WIDE.get(name, _INT32))
        return self._arrays
