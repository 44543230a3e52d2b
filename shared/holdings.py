"""The lines of an hour and what else there is of it: what is held stays, what is missing is put in its place."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shared.events import AggTrade, Trade
from shared.ids import Ids
from shared.lines import line
from shared.numbers import units

MILLISECOND = 1_000_000


class _Held(msgspec.Struct, gc=False):
    """What is looked at of a line."""

    ts: int
    stream: str
    trade_id: int | None = None
    agg_id: int | None = None
    first_trade_id: int | None = None
    last_trade_id: int | None = None
    side: str | None = None
    price: msgspec.Raw = msgspec.Raw(b"")
    qty: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Held).decode
_Row = tuple[int, int, bytes]
"""Time, id (0 for what is no trade) and the line: the order in which lines stand."""


class Merged(msgspec.Struct):
    """An hour's lines, each with its newline, in order of time and id."""

    lines: list[bytes]
    added: int
    same: int
    """Events that were held already."""
    different: list[int]
    """Ids that are held with another price, quantity, side or time."""
    replaced: int
    """How many of those were replaced."""
    trades: Ids
    """The trade ids that the lines hold, by themselves."""
    aggregates: Ids


def merge(held: Iterable[bytes], new: Iterable[Trade | AggTrade], force: bool = False) -> Merged:
    """The lines `held`, unchanged, and those of `new` whose ids are not among them.

    A broken line stays behind the one that it stands behind. With `force`, a held trade that differs is replaced.
    """
    rows: list[_Row] = []
    trades: dict[int, int] = {}
    aggregates: dict[int, int] = {}
    for text in held:
        found = _look(text)
        ts, one = rows[-1][:2] if found is None and rows else (found.ts if found is not None else 0, 0)
        if found is not None and found.stream == "trade" and found.trade_id is not None:
            one = found.trade_id
            trades[one] = len(rows)
        elif found is not None and found.stream == "aggTrade" and found.agg_id is not None:
            one = found.agg_id
            aggregates[one] = len(rows)
        rows.append((ts, one, text if text.endswith(b"\n") else text + b"\n"))
    merged = Merged([], 0, 0, [], 0, Ids(), Ids())
    for event in new:
        known, one = (trades, event.trade_id) if isinstance(event, Trade) else (aggregates, event.agg_id)
        at = known.get(one)
        if at is None:
            known[one] = len(rows)
            rows.append((event.ts, one, line(event).encode()))
            merged.added += 1
        elif is_same(rows[at][2], event):
            merged.same += 1
        else:
            merged.different.append(one)
            if force:
                rows[at] = (event.ts, one, line(event).encode())
                merged.replaced += 1
    rows.sort(key=_order)
    merged.lines = [row[2] for row in rows]
    merged.trades, merged.aggregates = _ids(trades), _ids(aggregates)
    return merged


def without_repeats(held: Iterable[bytes]) -> list[bytes]:
    """The lines in their order, but for trades whose id stands in a line before."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for text in held:
        found = _look(text)
        one = None if found is None else found.trade_id if found.stream == "trade" else found.agg_id
        if found is not None and one is not None:
            if (found.stream, one) in seen:
                continue
            seen.add((found.stream, one))
        kept.append(text)
    return kept


def is_same(text: bytes, event: Trade | AggTrade) -> bool:
    """Whether a held line says what the event says, at the coarser of the two times' resolutions."""
    found = _look(text)
    if found is None or found.side != event.side:
        return False
    if found.ts != event.ts and (
        found.ts // MILLISECOND != event.ts // MILLISECOND or (found.ts % MILLISECOND and event.ts % MILLISECOND)
    ):
        return False
    if isinstance(event, AggTrade) and (event.first_trade_id, event.last_trade_id) != (
        found.first_trade_id,
        found.last_trade_id,
    ):
        return False
    return _equal(bytes(found.price).decode(), event.price) and _equal(bytes(found.qty).decode(), event.qty)


def _look(text: bytes) -> _Held | None:
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        return None


def _equal(held: str, told: str) -> bool:
    try:
        return held == told or units(held) == units(told)
    except ValueError:
        return False


def _order(row: _Row) -> tuple[int, int]:
    return row[:2]


def _ids(known: Iterable[int]) -> Ids:
    ids = Ids()
    for one in sorted(known):
        ids.add(one)
    return ids
