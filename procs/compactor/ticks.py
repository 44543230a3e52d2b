"""A day's events as columns: every key of the raw line, sorted by id, prices and sizes as exact decimals in 64 bits.

A day is never in memory whole: its rows are gathered, spilled in runs that are each in order, and merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from procs.compactor import packing, rawrows
from procs.compactor.packing import GROUP
from procs.compactor.swap import HOME
from shared.archive import Line
from shared.files import TMP, Disk
from shared.ids import Ids
from shared.tables import RAW_COLUMNS
from shared.tickfiles import KINDS, as_text

RUN = 1 << 15
"""Rows of a run: few enough that a busy day takes no more memory than a quiet one."""
SPILL = "spill_"
PRICES, SIZES = ("price", "bid", "ask"), ("qty", "bid_qty", "ask_qty")
NANOSECONDS = pa.timestamp("ns", tz="UTC")
_INT64_DIGITS = 18


class _Run(msgspec.Struct):
    """Rows in order, in memory or on disk."""

    low: int
    """The lowest id in it."""
    rows: pa.Table | None
    path: str = ""


class _Digits(msgspec.Struct):
    """The most digits before and behind the point, as written and without the zeros at the end."""

    whole: int = 0
    places: int = 0
    trimmed_whole: int = 0
    trimmed_places: int = 0

    def note(self, column: pa.ChunkedArray) -> None:
        """Of numbers as text."""
        column = column.drop_null()
        if len(column):
            whole, places = _digits(column)
            self.whole, self.places = max(self.whole, whole), max(self.places, places)
            whole, places = _digits(pc.utf8_rtrim(column, "0"))
            self.trimmed_whole, self.trimmed_places = max(self.trimmed_whole, whole), max(self.trimmed_places, places)

    @property
    def kind(self) -> pa.DataType:
        """The type that holds all of the numbers with as many digits after the point as the venue writes.

        In 64 bits; where a number is too long for that the zeros at the end are given up, and then the 64 bits.
        """
        if self.whole + self.places <= _INT64_DIGITS:
            return pa.decimal64(_INT64_DIGITS, self.places)
        if self.trimmed_whole + self.trimmed_places <= _INT64_DIGITS:
            return pa.decimal64(_INT64_DIGITS, self.trimmed_places)
        return pa.decimal128(38, self.trimmed_places)


class Ticks:
    """The rows of one kind. First all are added; then they can be had, in order, as often as wanted."""

    def __init__(self, disk: Disk, kind: str) -> None:
        self._disk, self._kind = disk, kind
        self._event, self._stream, self._id = KINDS[kind]
        self._order = [(self._id, "ascending"), ("ts", "ascending"), ("ts_recv", "ascending")]
        self._waiting: list[pa.Table] = []
        self._count = 0
        self._runs: list[_Run] = []
        self._price, self._size = _Digits(), _Digits()
        self._span: tuple[int, int] | None = None
        self._ends: tuple[int, int] | None = None
        self._held = Ids()
        self._repeated = 0
        self._absent: set[str] = set()
        self.rows = 0
        self.sources: dict[str, int] = {}

    # --- what comes ---

    def add(self, events: Iterable[Line]) -> None:
        """Those of them that are of this kind."""
        rows = [event for event in events if type(event) is self._event]
        if not rows:
            return
        columns = []
        for name, kind in RAW_COLUMNS:
            if name == "stream":
                columns.append(pa.repeat(self._stream, len(rows)))
                continue
            values = [getattr(row, name) for row in rows] if hasattr(rows[0], name) else None
            column = pa.string() if kind in ("string", "decimal") else pa.int64()
            columns.append(pa.array(values, column) if values is not None else pa.nulls(len(rows), column))
        self.add_rows(pa.Table.from_arrays(columns, schema=rawrows.SCHEMA))

    def add_ticks(self, rows: pa.Table) -> None:
        """Of an earlier tick file."""
        if rows.num_rows:
            self.add_rows(as_text(rows).cast(rawrows.SCHEMA))

    def add_rows(self, rows: pa.Table) -> None:
        """Of `rawrows.SCHEMA`, at least one, and of this kind."""
        self._note(rows)
        self._waiting.append(rows)
        self._count += rows.num_rows
        if self._count >= RUN:
            self._end_run(spill=True)

    def _note(self, rows: pa.Table) -> None:
        self.rows += rows.num_rows
        self._absent |= {name for name in rows.column_names if rows.column(name).null_count}
        for names, digits in ((PRICES, self._price), (SIZES, self._size)):
            for name in names:
                digits.note(rows.column(name))
        self._span = _wider(self._span, rows.column("ts"))
        self._ends = _wider(self._ends, rows.column(self._id))
        if self._kind != "quotes":
            self._hold(rows.column(self._id).to_numpy())
            for counted in pc.value_counts(rows.column("source").combine_chunks()).to_pylist():
                source = counted["values"]
                self.sources[source] = self.sources.get(source, 0) + counted["counts"]

    def _hold(self, ids: NDArray[np.int64]) -> None:
        ids = np.sort(ids)
        runs = np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)
        self._repeated += len(ids) - sum(self._held.add_range(int(run[0]), int(run[-1])) for run in runs)

    def _end_run(self, spill: bool) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting).sort_by(self._order).combine_chunks()
        run = _Run(rows.column(self._id)[0].as_py(), rows)
        if spill:
            run.rows, run.path = None, f"{HOME}/{SPILL}{self._kind}_{len(self._runs)}{TMP}"
            self._disk.write_table(run.path, rows, "lz4")
        self._runs.append(run)
        self._waiting, self._count = [], 0

    # --- what goes ---

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of them."""
        said: dict[str, Any] = {"rows": self.rows}
        if self._span is not None and self._ends is not None:
            said |= {"first_ts": self._span[0], "last_ts": self._span[1]}
            said |= {"first_id": self._ends[0], "last_id": self._ends[1]}
        if self._kind != "quotes":
            said |= {"missing": self._held.missing(), "repeated": self._repeated}
        return said

    @property
    def schema(self) -> pa.Schema:
        """Where no row is without a value that is said: a fifth of the time of reading goes into who may be null."""
        return pa.schema(
            [pa.field(name, self._type(name, kind), nullable=name in self._absent) for name, kind in RAW_COLUMNS]
        )

    def _type(self, name: str, kind: str) -> pa.DataType:
        if kind == "decimal":
            return (self._price if name in PRICES else self._size).kind
        if kind == "int64":
            return NANOSECONDS if name.startswith("ts") else pa.int64()
        return pa.string()

    def groups(self) -> Iterator[pa.Table]:
        """All rows in order, in the types of a tick file and in groups of one size."""
        self._end_run(spill=False)
        ready: list[pa.Table] = []
        count = 0
        for rows in self._merged():
            ready.append(rows)
            count += rows.num_rows
            while count >= GROUP:
                rows = pa.concat_tables(ready)
                yield self._typed(rows.slice(0, GROUP))
                ready, count = [rows.slice(GROUP)], count - GROUP
        if count:
            yield self._typed(pa.concat_tables(ready))

    def _merged(self) -> Iterator[pa.Table]:
        """Runs overlap by little: of each only what the later ones may come before is kept back."""
        runs = sorted(self._runs, key=lambda run: run.low)
        pending = rawrows.SCHEMA.empty_table()
        for at, run in enumerate(runs):
            rows = run.rows if run.rows is not None else self._disk.read_table(run.path)
            if pending.num_rows:
                rows = pa.concat_tables([pending, rows]).sort_by(self._order).combine_chunks()
            last = rows.num_rows
            if at + 1 < len(runs):
                last = pc.sum(pc.less(rows.column(self._id), runs[at + 1].low)).as_py()
            yield rows.slice(0, last)
            pending = rows.slice(last)

    def _typed(self, rows: pa.Table) -> pa.Table:
        schema = self.schema
        columns = [
            column.cast(pa.decimal128(38, kind.scale)).cast(kind) if pa.types.is_decimal(kind) else column.cast(kind)
            for column, kind in zip(rows.columns, schema.types, strict=True)
        ]
        return pa.Table.from_arrays(columns, schema=schema).combine_chunks()

    def options(self) -> dict[str, Any]:
        """How to write them."""
        return packing.options(self._kind, self.schema, next(self.groups(), None))

    def close(self) -> None:
        """Removes what was spilled."""
        for run in self._runs:
            if run.path:
                self._disk.remove(run.path)


def _wider(span: tuple[int, int] | None, column: pa.ChunkedArray) -> tuple[int, int]:
    found = pc.min_max(column).as_py()
    low, high = found["min"], found["max"]
    return (low, high) if span is None else (min(span[0], low), max(span[1], high))


def _digits(numbers: pa.ChunkedArray) -> tuple[int, int]:
    """The most digits before and behind the point of numbers as text."""
    length, point = pc.utf8_length(numbers), pc.find_substring(numbers, ".")
    before = pc.if_else(pc.less(point, 0), length, point)
    places = pc.max(pc.subtract(pc.subtract(length, before), 1)).as_py()
    return pc.max(before).as_py(), max(places, 0)


def sweep_spills(disk: Disk) -> None:
    """Of a run that was killed."""
    for name in disk.list(HOME):
        if name.startswith(SPILL):
            disk.remove(f"{HOME}/{name}")
