"""Which ids of one symbol and stream are held, which are missing, and what to ask for next. Pure: time is an argument.

A hole is noticed when a later id arrives or the venue names a newer one; it becomes a gap when it is still there a
second later (a little disorder is no loss). A gap ends healed, when all its ids are held, or partly unhealable: ids
that the venue's answers passed over three times, or to which its history had not come after minutes. Only ids really
in an answer count. The newest ids are asked for first: their hours are still open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from shared.ids import Ids

SECOND: Final = 1_000_000_000
GRACE_NS: Final = SECOND
"""A hole is given this long to fill by itself."""
TRIES: Final = 3
MOST_NONSENSE: Final = 9
"""Unreadable answers, at doubling distances over some eight minutes, before one counts as a try: a page of somebody
else's on the way is over by then, a row that nobody can read is not.
"""
WAITS_NS: Final = (0, 3 * SECOND, 15 * SECOND)
"""Before each try: the venue's own history may lag behind its stream."""
LAGS_NS: Final = tuple(seconds * SECOND for seconds in (3, 10, 20, 30))
"""Waits where an answer ended before what is missing: that says nothing of it, only that it is not there yet."""
PAGE: Final = 1000
MOST_INTERVALS: Final = 20_000
"""Intervals kept; the oldest are forgotten first (futures ids have holes without end)."""


class Gap(msgspec.Struct):
    """Ids `first` to `last`, some of which are missing."""

    first: int
    last: int
    start: int
    """Venue time before the gap, as far as known; nanoseconds."""
    end: int
    missing: int
    fetched: int = 0
    tries: int = 0
    """Answers that passed over what is missing."""
    nonsense: int = 0
    """Answers that could not be read: they say nothing about the ids."""
    lags: int = 0
    """Answers that ended before it, one after another."""
    next_mono: int = 0
    cursor: int | None = None
    """Where the walk over aggregates goes on."""
    exhausted: frozenset[str] = frozenset()
    """Ways of healing that have nothing more to give."""
    shared: list[tuple[int, int, int]] = []
    """First and last id, and the number, of aggregates that cover missing ids together with held ones."""


class Tracker:
    """The ids of one symbol and stream."""

    def __init__(self) -> None:
        self.held = Ids()
        self.gone = Ids()
        """Ids that nobody has any more."""
        self.floor: int | None = None
        """The newest id there was when we began: what is missing counts from here where nothing is held yet."""
        self.newest = -1
        """The highest id the venue has spoken of."""
        self.newest_ts = 0
        self.top_ts = 0
        """Venue time of the highest id held."""
        self.gaps: list[Gap] = []
        self._next = -1
        self._low: int | None = None  # every hole below is a gap, or given up
        self._holes: list[tuple[int, int, int]] = []  # first, last, noticed at
        self._edges: dict[int, tuple[int, int]] = {}  # last id of a hole -> venue time before and after it
        self._stirred = False

    # --- taking ---

    def take(self, one: int, ts: int) -> bool:
        """Whether an id is new. The next in order is the ordinary case and the quick one."""
        if one == self._next:
            self._next = one + 1
            self.top_ts = ts
            return self.held.add(one)
        return self._jump(one, ts)

    def take_run(self, first: int, last: int, ts: int) -> bool:
        """Takes all ids from one to another if they are the next in order; False, having done nothing, where they are
        not.
        """
        if first != self._next:
            return False
        self._next = last + 1
        self.top_ts = ts
        self.held.add_range(first, last)
        return True

    def _jump(self, one: int, ts: int) -> bool:
        if not self.held.add(one):
            return False
        self._stirred = True
        if self._low is not None and one < self._low and one == self.held.lowest:
            self._low = one
        if one >= self._next:
            if self._next >= 0 and len(self._edges) < 10_000:
                self._edges[one - 1] = (self.top_ts, ts)
            self._next = one + 1
            self.top_ts = ts
        return True

    def take_range(self, first: int, last: int) -> None:
        """Ids that a row covers together."""
        self.held.add_range(first, last)
        self._next = max(self._next, last + 1)
        self._stirred = True

    def told(self, newest: int, ts: int) -> None:
        """The venue says which id is its newest."""
        if self.held.highest is None and self.floor is None:
            self.floor = newest
            self._next = newest + 1  # so that a first id further on is seen as a jump
            self.top_ts = ts
        if newest > self.newest:
            self.newest, self.newest_ts = newest, ts
            self._stirred = True

    @property
    def top(self) -> int | None:
        """The highest id held, or where we began."""
        highest = self.held.highest
        return self.floor if highest is None else highest

    # --- noticing ---

    def look(self, mono: int) -> list[Gap]:
        """New gaps: holes that have lasted. Cheap where nothing is missing."""
        if not (self._stirred or self._holes):
            return []
        self._stirred = False
        before = self._holes
        self._holes = [(first, last, _since(before, first, last, mono)) for first, last in self._unexplained()]
        lasting = [hole for hole in self._holes if mono - hole[2] >= GRACE_NS]
        self._holes = [hole for hole in self._holes if mono - hole[2] < GRACE_NS]
        found = [self._gap(first, last, mono) for first, last, _ in lasting]
        self.gaps += found
        if not self._holes:
            self._edges.clear()
        return found

    def _unexplained(self) -> list[tuple[int, int]]:
        """What is missing, is not given up, and is in no gap yet."""
        top = self.top
        if top is None:
            return []
        lowest = self.held.lowest
        low = top + 1 if lowest is None else lowest
        if self.floor is not None:
            low = min(low, self.floor + 1)
        if self._low is not None:
            low = max(low, self._low)
        known = Ids.from_intervals((gap.first, gap.last) for gap in self.gaps)
        holes: list[tuple[int, int]] = []
        for first, last in self.held.missing(low, max(top, self.newest)):
            for begin, end in self.gone.missing(first, last):
                holes += known.missing(begin, end)
        self._low = holes[0][0] if holes else max(top, self.newest) + 1
        return holes

    def _gap(self, first: int, last: int, mono: int) -> Gap:
        behind = min((at for at in self._edges if at >= last), default=None)
        start, end = (self.top_ts, self.newest_ts) if behind is None else self._edges[behind]
        return Gap(first, last, start, max(start, end), last - first + 1, next_mono=mono)

    @property
    def is_quiet(self) -> bool:
        """Nothing is missing, and nothing happened that could tell otherwise."""
        return not (self._stirred or self._holes or self.gaps)

    def lose(self, first: int, last: int, start: int, end: int) -> None:
        """Ids that were held and are in no record any more become a gap; with the venue's time before and after."""
        kept = [(low, min(high, first - 1)) for low, high in self.held.intervals if low < first]
        kept += [(max(low, last + 1), high) for low, high in self.held.intervals if high > last]
        self.held = Ids.from_intervals(kept)
        self.newest = max(self.newest, last)
        self._stirred = True
        self.reopen(first, last, start, end)

    # --- healing ---

    def due(self, mono: int) -> Gap | None:
        """The gap to ask about now, the newest ids first."""
        ready = [gap for gap in self.gaps if gap.next_mono <= mono]
        return max(ready, key=lambda gap: gap.first, default=None)

    def page(self, gap: Gap) -> tuple[int, int] | None:
        """First and last id of the newest page that is worth asking for; None where nothing is missing."""
        holes = self.holes(gap)
        if not holes:
            return None
        first = last = holes[-1][1]
        low = last - PAGE + 1
        for other in self.gaps:
            if other.first <= last and other.last >= low:
                first = min([first, *(max(begin, low) for begin, end in self.holes(other) if end >= low)])
        return first, last

    @property
    def missing(self) -> int:
        """How many ids are missing and neither given up nor left to the venue's daily archive."""
        noticed = sum(last - first + 1 for first, last, _ in self._holes)
        return noticed + sum(last - first + 1 for gap in self.gaps for first, last in self.holes(gap))

    @property
    def pages(self) -> int:
        """How many answers they take at most."""
        return sum(-(-sum(last - first + 1 for first, last in self.holes(gap)) // PAGE) for gap in self.gaps)

    def leave(self, gap: Gap, until: int) -> tuple[int, int] | None:
        """The ids of a gap below `until` are somebody else's to heal; returns what was left."""
        first, last = gap.first, min(gap.last, until - 1)
        if last < first:
            return None
        self.gone.add_range(first, last)
        gap.first = last + 1
        if gap.first > gap.last:
            self.gaps.remove(gap)
        return first, last

    def holes(self, gap: Gap) -> list[tuple[int, int]]:
        out: list[tuple[int, int]] = []
        for first, last in self.held.missing(gap.first, gap.last):
            out += self.gone.missing(first, last)
        return out

    def wanted(self, one: int) -> bool:
        """Whether an answer's id is missing and known to be: anything else will come, or came, by the stream."""
        return not self.held.holds(one) and any(gap.first <= one <= gap.last for gap in self.gaps)

    def fetched(self, first: int, count: int = 1) -> None:
        """Ids that an answer brought."""
        for gap in self.gaps:
            if gap.first <= first <= gap.last:
                gap.fetched += count
                gap.lags = 0

    def settle(self) -> list[Gap]:
        """Takes out the gaps of which nothing is missing any more."""
        over = [gap for gap in self.gaps if not self.holes(gap)]
        self.gaps = [gap for gap in self.gaps if gap not in over]
        return over

    @staticmethod
    def puzzled(gap: Gap, mono: int) -> bool:
        """An answer made no sense. Whether that has gone on for too long to be waited out."""
        gap.nonsense += 1
        if gap.nonsense >= MOST_NONSENSE:
            return True
        gap.next_mono = mono + (SECOND << gap.nonsense)
        return False

    def tried(self, asked: int, reach: int, mono: int) -> list[tuple[int, int]]:
        """An answer about the ids `asked` to `reach` was taken: what is still missing there was not in it. Returns the
        ids given up.
        """
        given_up: list[tuple[int, int]] = []
        for gap, left in self._left(asked, reach, mono):
            gap.tries += 1
            if gap.tries < TRIES:
                gap.next_mono = mono + WAITS_NS[gap.tries]
                continue
            given_up += self._give_up(left)
            gap.tries = 0  # what lies behind this page has its own tries
        return given_up

    def lagged(self, first: int, last: int, mono: int) -> list[tuple[int, int]]:
        """An answer brought nothing and ended before the ids `first` to `last`. Returns the ids given up."""
        given_up: list[tuple[int, int]] = []
        for gap, left in self._left(first, last, mono):
            if gap.lags < len(LAGS_NS):
                gap.next_mono = mono + LAGS_NS[gap.lags]
                gap.lags += 1
                continue
            given_up += self._give_up(left)
            gap.lags = 0
        return given_up

    def void(self, first: int, last: int) -> list[tuple[int, int]]:
        """No trade has the ids `first` to `last`: what was thought missing of them never was. Returns that."""
        found = [
            (max(begin, first), min(end, last))
            for gap in self.gaps
            if gap.first <= last and gap.last >= first
            for begin, end in self.holes(gap)
        ]
        return self._give_up([(begin, end) for begin, end in found if begin <= end])

    def _left(self, first: int, last: int, mono: int) -> list[tuple[Gap, list[tuple[int, int]]]]:
        """What is missing between two ids, by the gaps whose turn it is: one that waits was not meant."""
        found = []
        for gap in self.gaps:
            left = [(max(begin, first), min(end, last)) for begin, end in self.holes(gap)]
            left = [(begin, end) for begin, end in left if begin <= end]
            if left and gap.next_mono <= mono:
                found.append((gap, left))
        return found

    def _give_up(self, left: list[tuple[int, int]]) -> list[tuple[int, int]]:
        for first, last in left:
            self.gone.add_range(first, last)
        return left

    # --- state ---

    def state(self) -> dict[str, Any]:
        self._forget()
        return {
            "held": self.held.intervals,
            "gone": self.gone.intervals,
            "floor": self.floor,
            "top_ts": self.top_ts,
            "gaps": [[gap.first, gap.last, gap.start, gap.end, gap.fetched] for gap in self.gaps],
        }

    def _forget(self) -> None:
        """Keeps the state bounded. What is forgotten is not missing: nothing below the lowest id kept is asked for."""
        forgotten = self.held.forget_oldest(MOST_INTERVALS)
        self.gone.forget_oldest(MOST_INTERVALS)
        lowest = self.held.lowest
        if forgotten and lowest is not None:
            self.floor = lowest - 1
            self.gaps = [gap for gap in self.gaps if gap.last >= lowest]

    def restore(self, state: dict[str, Any]) -> None:
        self.held = Ids.from_intervals(state["held"])
        self.gone = Ids.from_intervals(state["gone"])
        self.floor = state["floor"]
        self.top_ts = state["top_ts"]
        self.gaps = [
            Gap(first, last, start, end, last - first + 1, fetched)
            for first, last, start, end, fetched in state["gaps"]
        ]
        top = self.top
        self._next = -1 if top is None else top + 1
        self._stirred = True

    def adopt(self, intervals: Iterable[Sequence[int]], ts: int) -> None:
        """Ids that somebody else knows to be held; what lies between them was given up or will be found again."""
        for first, last in intervals:
            self.held.add_range(first, last)
        self.top_ts = max(self.top_ts, ts)
        top = self.held.highest
        self._next = -1 if top is None else top + 1
        self._stirred = True

    def reopen(self, first: int, last: int, start: int, end: int) -> None:
        """A gap that was announced before a restart."""
        if not any(gap.first <= first and last <= gap.last for gap in self.gaps):
            self.gaps.append(Gap(first, last, start, end, last - first + 1))

    def closed(self, first: int, last: int) -> None:
        """Ids of a gap whose end was announced before a restart: it is not announced again."""
        self.gaps = [gap for gap in self.gaps if gap.last < first or gap.first > last or self.holes(gap)]


def _since(holes: list[tuple[int, int, int]], first: int, last: int, mono: int) -> int:
    """When a hole, or the larger one it is a part of, was noticed."""
    return min((since for begin, end, since in holes if begin <= last and first <= end), default=mono)
