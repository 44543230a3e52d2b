"""The ticks of a closed day read back as events: what is left of hours whose lines are gone, by accident or on purpose.

The day's manifest says of which hours they were made. As long as an hour has lines, these are what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from shared import hidden, manifests, paths
from shared.events import AggTrade, Quote, Trade
from shared.files import Disk

if TYPE_CHECKING:
    import pyarrow as pa

KINDS: dict[str, tuple[type[Trade] | type[Quote] | type[AggTrade], str, str]] = {
    "trades": (Trade, "trade", "trade_id"),
    "quotes": (Quote, "bookTicker", "update_id"),
    "agg_trades": (AggTrade, "aggTrade", "agg_id"),
}
"""Folder, event, the raw line's ``stream``, and the id that the file is sorted by."""


class _Manifest(msgspec.Struct):
    raw_hours: list[int] = []
    removed: manifests.Removed = msgspec.field(default_factory=manifests.Removed)


def hours(disk: Disk, venue: str, symbol: str, date: str) -> set[int]:
    """The hours that the ticks hold."""
    said = _read_manifest(disk, venue, symbol, date)
    return {*said.raw_hours, *said.removed.hours}


def lost(disk: Disk, venue: str, symbol: str, date: str, present: Iterable[int]) -> list[int]:
    """The hours whose lines were there and are not among those `present`, and that nobody has said to have removed."""
    return sorted({*_read_manifest(disk, venue, symbol, date).raw_hours} - {*present})


def _read_manifest(disk: Disk, venue: str, symbol: str, date: str) -> _Manifest:
    try:
        return msgspec.convert(manifests.read(disk, venue, symbol, date), _Manifest)
    except ValueError:
        return _Manifest()


def files(disk: Disk, venue: str, symbol: str, date: str) -> list[str]:
    """The tick files of a day."""
    found = [hidden.where(disk, paths.tick_file(venue, symbol, kind, date)) for kind in KINDS]
    return [path for path in found if disk.size(path) is not None]


def rows_of(disk: Disk, path: str, start: int, end: int) -> Iterator[pa.Table]:
    """The rows of a tick file from `start` to before `end`, in nanoseconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for table in disk.read_groups(path):
        ts = table.column("ts").cast(pa.int64())
        yield table.filter(pc.and_(pc.greater_equal(ts, start), pc.less(ts, end)))


def read_hour(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> list[Trade | AggTrade | Quote]:
    """The events of an hour, kind by kind, each in the order of its ids."""
    start = paths.day_start(date) + hour * paths.HOUR
    found: list[Trade | AggTrade | Quote] = []
    for kind, (event, _, _) in KINDS.items():
        path = hidden.where(disk, paths.tick_file(venue, symbol, kind, date))
        if disk.size(path) is not None:
            for table in rows_of(disk, path, start, start + paths.HOUR):
                found += _events(event, table)
    return found


def as_text(rows: pa.Table) -> pa.Table:
    """Times as int64 and numbers as the text of their digits, as the lines have them."""
    import pyarrow as pa
    import pyarrow.types as pt

    columns = []
    for column in rows.columns:
        if pt.is_decimal(column.type):
            # through 128 bits: the 64-bit ones have no way to text
            column = column.cast(pa.decimal128(38, column.type.scale)).cast(pa.string())
        elif pt.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns.append(column)
    return pa.Table.from_arrays(columns, names=rows.column_names)


def _events(event: type[Any], rows: pa.Table) -> Iterator[Any]:
    names = event.__struct_fields__
    values = [as_text(rows.select(names)).column(name).to_pylist() for name in names]
    for row in zip(*values, strict=True):
        yield event(*row)
