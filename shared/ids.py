"""Which ids of one symbol are held, as a sorted set of intervals.

This is the state from which everything about completeness follows: new means in no held interval, missing means between
two of them. It is not "the last id", because a backfill of the past is new, not old.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence


class Ids:
    """A set of integers that costs two list items a hole, not one an id."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    @classmethod
    def from_intervals(cls, intervals: Iterable[Sequence[int]]) -> Ids:
        """The inverse of ``intervals``; the order, overlaps and neighbours of what is given do not matter."""
        ids = cls()
        for first, last in sorted((first, last) for first, last in intervals):
            ids.add_range(first, last)
        return ids

    @property
    def intervals(self) -> list[list[int]]:
        """``[first, last]``, both held, in order; no two touch."""
        return [[first, last] for first, last in zip(self._firsts, self._lasts, strict=True)]

    @property
    def lowest(self) -> int | None:
        return self._firsts[0] if self._firsts else None

    @property
    def highest(self) -> int | None:
        return self._lasts[-1] if self._lasts else None

    def __len__(self) -> int:
        """How many ids are held."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ids) and self._firsts == other._firsts and self._lasts == other._lasts

    def __repr__(self) -> str:
        return f"Ids({self.intervals})"

    def add(self, one: int) -> bool:
        """Whether the id is new. The next id in order, by far the most frequent, is one comparison and one store."""
        lasts = self._lasts
        if lasts and one == lasts[-1] + 1:
            lasts[-1] = one
            return True
        return self.add_range(one, one) == 1

    def add_range(self, first: int, last: int) -> int:
        """How many ids of ``first`` to ``last`` were not held before."""
        if last < first:
            return 0
        firsts, lasts = self._firsts, self._lasts
        if lasts and first == lasts[-1] + 1:  # as nearly all are
            lasts[-1] = last
            return last - first + 1
        low = bisect_left(lasts, first - 1)  # the first interval that touches the range
        high = bisect_right(firsts, last + 1)  # the first one behind it
        if low == high:
            firsts.insert(low, first)
            lasts.insert(low, last)
            return last - first + 1
        begin, end = min(first, firsts[low]), max(last, lasts[high - 1])
        held = sum(lasts[low:high]) - sum(firsts[low:high]) + high - low
        firsts[low:high] = [begin]
        lasts[low:high] = [end]
        return end - begin + 1 - held

    def holds(self, one: int) -> bool:
        at = bisect_left(self._lasts, one)
        return at < len(self._lasts) and self._firsts[at] <= one

    def covers(self, first: int, last: int) -> bool:
        """Whether every id of ``first`` to ``last`` is held; nothing is missing from an empty range."""
        if last < first:
            return True
        at = bisect_left(self._lasts, first)
        return at < len(self._lasts) and self._firsts[at] <= first and last <= self._lasts[at]

    def overlaps(self, first: int, last: int) -> bool:
        """Whether any id of ``first`` to ``last`` is held."""
        at = bisect_left(self._lasts, first)
        return first <= last and at < len(self._lasts) and self._firsts[at] <= last

    def missing(self, first: int | None = None, last: int | None = None) -> list[tuple[int, int]]:
        """What is not held of ``first`` to ``last`` (by default of lowest to highest), as ``(first, last)``."""
        if first is None:
            first = self.lowest
        if last is None:
            last = self.highest
        holes: list[tuple[int, int]] = []
        if first is None or last is None:
            return holes
        for at in range(bisect_left(self._lasts, first), len(self._firsts)):
            begin = self._firsts[at]
            if begin > last:
                break
            if begin > first:
                holes.append((first, begin - 1))
            first = self._lasts[at] + 1
        if first <= last:
            holes.append((first, last))
        return holes

    def forget_oldest(self, keep: int) -> int:
        """Drops the lowest intervals beyond ``keep``, so that a state stays bounded; says how many were dropped."""
        surplus = max(0, len(self._firsts) - keep)
        del self._firsts[:surplus], self._lasts[:surplus]
        return surplus
