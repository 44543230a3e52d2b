"""Lines of the archive as rows, a block at a time: what `lines.parse_line` makes of each, column by column, with prices
and sizes as the text of their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from shared.events import AggTrade, Quote, Trade
from shared.lines import RawLine, raw_line
from shared.numbers import MAX_CHARS
from shared.tables import RAW_COLUMNS
from shared.tickfiles import KINDS

SCHEMA: Final = pa.schema([(name, pa.int64() if kind == "int64" else pa.string()) for name, kind in RAW_COLUMNS])
TOGETHER: Final = 2000
"""Lines whose rows stay in the processor's cache until they are columns."""
_NUMBERS: Final = {name for name, kind in RAW_COLUMNS if kind == "decimal"}
_NUMBER: Final = rf"^[0-9.]{{1,{MAX_CHARS + 2}}}$"
"""What a number of JSON may be; none begins with a point."""
_PLACE: Final = {name: at for at, name in enumerate(RawLine.__struct_fields__)}
_MAY_LACK: Final = {Trade: {"ts_sent", "trade_type"}, Quote: {"ts_sent", "ts_event"}, AggTrade: {"ts_sent"}}


def tables(lines: Sequence[bytes]) -> dict[str, pa.Table] | None:
    """The rows of these lines, in their order, by kind. None where one is not as it should be, and all go singly."""
    found: dict[str, list[pa.Table]] = {}
    try:
        for at in range(0, len(lines), TOGETHER):
            rows = list(map(raw_line, lines[at : at + TOGETHER]))
            for kind, (event, stream, _) in KINDS.items():
                if some := [row for row in rows if row.stream == stream]:
                    found.setdefault(kind, []).append(_table(event, stream, some))
    except (ValueError, RecursionError):
        return None
    made = {kind: pa.concat_tables(some) for kind, some in found.items()}
    return made if sum(table.num_rows for table in made.values()) == len(lines) else None


def _table(event: Any, stream: str, rows: list[RawLine]) -> pa.Table:
    """Raises ValueError where a row lacks something, or has what is none."""
    values = [*zip(*map(msgspec.structs.astuple, rows), strict=True)]
    own = {*event.__struct_fields__}
    columns = []
    for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
        if name == "stream":
            columns.append(pa.repeat(stream, len(rows)))
        elif name in own:
            columns.append(_column(values[_PLACE[name]], name, kind, name in _MAY_LACK[event]))
        else:
            columns.append(pa.nulls(len(rows), kind))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _column(values: Sequence[Any], name: str, kind: pa.DataType, may_lack: bool) -> pa.Array:
    if name in _NUMBERS:
        column = pa.array(map(bytes, values), pa.binary(), size=len(values)).cast(pa.string())
        is_right = pc.all(pc.match_substring_regex(column, _NUMBER)).as_py()
    else:
        column = pa.array(values, kind)
        is_right = may_lack or not column.null_count
        if name == "side":
            is_right = pc.all(pc.is_in(column, pa.array(["buy", "sell"]))).as_py()
    if not is_right:
        raise ValueError(name)
    return column
