"""What was sent, counted as it leaves: the truth against which a test holds what arrived."""

from __future__ import annotations

from bisect import bisect_right
from hashlib import sha256
from typing import Any

import msgspec

from procs.emulator.tape import AGG_TRADE, TRADE, Event


class Intervals:
    """A set of ids as sorted, closed, disjoint ranges; ids mostly come in order, and then it costs nothing."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, ident: int) -> bool:
        """False if it was in already."""
        firsts, lasts = self._firsts, self._lasts
        if lasts and ident == lasts[-1] + 1:
            lasts[-1] = ident
            return True
        at = bisect_right(firsts, ident)  # the range before this place is the only one that could hold it
        if at and ident <= lasts[at - 1]:
            return False
        joins_left, joins_right = at > 0 and lasts[at - 1] == ident - 1, at < len(firsts) and firsts[at] == ident + 1
        if joins_left and joins_right:
            lasts[at - 1] = lasts.pop(at)
            del firsts[at]
        elif joins_left:
            lasts[at - 1] = ident
        elif joins_right:
            firsts[at] = ident
        else:
            firsts.insert(at, ident)
            lasts.insert(at, ident)
        return True

    def pairs(self) -> list[tuple[int, int]]:
        return list(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.pairs())


class _Count(msgspec.Struct):
    frames: int = 0
    distinct: int = 0
    first: int = 0
    last: int = 0
    ids: Any = None


class Ledger:
    """Per symbol and stream; a frame that went to several connections counts once."""

    def __init__(self) -> None:
        self.events = 0
        self._counts: dict[tuple[str, str], _Count] = {}

    def sent(self, event: Event) -> None:
        self.events += 1
        count = self._counts.get((event.symbol, event.kind))
        if count is None:
            count = self._counts[event.symbol, event.kind] = _Count(first=event.id)
            if event.kind in (TRADE, AGG_TRADE):
                count.ids = Intervals()
        count.frames += 1
        if count.ids is not None:
            count.distinct += count.ids.add(event.id)
        elif count.frames == 1 or event.id > count.last:  # update ids rise: what does not is a repetition
            count.distinct += 1
        if event.id > count.last:
            count.last = event.id
        elif event.id < count.first:
            count.first = event.id

    def as_json(self) -> dict[str, Any]:
        """By symbol and stream; ``sha256`` is of the id ranges, written ``first-last`` and joined by commas."""
        told: dict[str, Any] = {}
        for (symbol, kind), count in self._counts.items():
            row: dict[str, Any] = {f: getattr(count, f) for f in ("frames", "distinct", "first", "last")}
            if count.ids is not None:
                ranges = count.ids.pairs()
                text = ",".join(f"{first}-{last}" for first, last in ranges)
                row |= {"ranges": ranges, "sha256": sha256(text.encode()).hexdigest()}
            told.setdefault(symbol, {})[kind] = row
        return told
