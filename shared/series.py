"""The seconds of one symbol: the open ones, and the closed ones that may still be revised.

An open second collects. `close` makes it a bar and keeps some 200 bytes of it. A trade that comes later still (healed,
or overtaken) is merged into those, and `revise` gives the bars whose values changed: once a time record.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.events import Bar, Quote
from shared.ids import Ids
from shared.numbers import Units
from shared.paths import SECOND
from shared.rows import Row
from shared.seconds import NO_ID, Second, Standing, is_beyond, is_readable, within

MOST_HOLES = 4096
"""Id intervals kept of a symbol. Older ones are forgotten: no trade that old can be counted any more."""


class Series:
    """One symbol. Seconds are whole seconds since the epoch, times are nanoseconds."""

    def __init__(self, symbol: str, units: Units, cuts: list[int]) -> None:
        self.symbol = symbol
        self._units = units
        self.ids = Ids()
        self.top = NO_ID
        """Highest id held, open seconds included."""
        self.open: dict[int, Second] = {}
        self.is_tallied = False
        """Open seconds may be rows, and not here."""
        self._newest: Standing | Row | None = None
        self.cuts = cuts
        """When quotes ceased to stand, in order, as far back as seconds may be revised."""
        self._closed_top = NO_ID
        # Closed seconds, in order: three lists of one length.
        self._secs: list[int] = []
        self._tops: list[int] = []
        self._packs: list[bytes | Row] = []
        # What the seconds before them leave behind.
        self._base_top = NO_ID
        self._base_standing: Standing | None = None
        self._incomplete: set[int] = set()
        self._touched: dict[int, Second] = {}
        self._changed: set[int] = set()

    def begun(self, sec: int) -> Second:
        """An open second."""
        found = self.open.get(sec)
        if found is None:
            found = self.open[sec] = Second()
        return found

    @property
    def standing(self) -> Standing | None:
        """The newest quote of all closed seconds; a cut behind it may have ended it."""
        return self._newest.standing() if isinstance(self._newest, Row) else self._newest

    @standing.setter
    def standing(self, quote: Standing | None) -> None:
        self._newest = quote

    # --- closing ---

    def close(self, sec: int) -> Bar | None:
        """Ends an open second. To be called in the order of time."""
        second = self.open.pop(sec)
        start = sec * SECOND
        cuts = within(self.cuts, start, start + SECOND)
        second.settle(start, self._surviving(self.standing, start), cuts, self._units)
        self.standing = second.standing
        bar = None
        if second.has_row:
            if second.last_id >= 0:
                second.is_complete = self._is_complete(second, self._closed_top)
                if not second.is_complete:
                    self._incomplete.add(sec)
            second.is_shown = True
            bar = second.bar(self.symbol, start, self._units)
        self._secs.append(sec)
        self._tops.append(second.top)
        self._packs.append(second.pack())
        self._closed_top = max(self._closed_top, second.top)
        return bar

    @property
    def is_settled(self) -> bool:
        """No second is open, none holds more than is closed."""
        return not self.open and not self.is_tallied and self.top == self._closed_top

    @property
    def closed_top(self) -> int:
        """Highest id held of closed seconds."""
        return self._closed_top

    def _opened(self, at: int) -> Second:
        """A closed second."""
        pack = self._packs[at]
        return Second.unpack(pack) if isinstance(pack, bytes) else pack.second()

    def newest_at(self, start: int) -> Standing | Row | None:
        """The quote that stands where the second that begins there begins."""
        return self._surviving(self.standing, start) if self.cuts else self._newest

    def extend(
        self,
        secs: Sequence[int],
        tops: Sequence[int],
        rows: Sequence[Row],
        incomplete: Iterable[int],
        top: int,
        newest: Row | None,
    ) -> None:
        """Closed seconds that were never open here, all behind those there are; `ids` holds theirs already. `top`: the
        highest id of all, `newest`: at whose end the quote stands that stands now."""
        self._secs += secs
        self._tops += tops
        self._packs += rows
        self._incomplete.update(incomplete)
        self._closed_top = top
        self.top = max(self.top, top)
        self._newest = newest

    def _is_complete(self, second: Second, before: int) -> bool:
        """`before` is the highest id held of all earlier seconds. Ids that interleave across a second's edge may put it
        behind this second's first; then this second's own ids must be there."""
        return before >= 0 and self.ids.covers(min(before, second.first_id), second.last_id)

    def _surviving(self, standing: Standing | None, until: int) -> Standing | None:
        """The quote if it still stands at `until`, no cut having come since its time."""
        return None if standing is None or within(self.cuts, standing[0], until) else standing

    # --- what comes too late ---

    def late(self, sec: int) -> Second:
        """A closed second, to merge a trade into; `touch` must follow."""
        second = self._touched.get(sec)
        if second is None:
            at = bisect_left(self._secs, sec)
            if at < len(self._secs) and self._secs[at] == sec:
                second = self._opened(at)
            else:
                second = self._empty(sec, at)
                self._secs.insert(at, sec)
                self._tops.insert(at, NO_ID)
                self._packs.insert(at, second.pack())
            self._touched[sec] = second
        return second

    def _empty(self, sec: int, at: int) -> Second:
        """A closed second of which nothing was known: no quote came in it, but one may have stood."""
        before = self._opened(at - 1).standing if at else self._base_standing
        second = Second()
        start = sec * SECOND
        cuts = within(self.cuts, start, start + SECOND)
        second.settle(start, self._surviving(before, start), cuts, self._units)
        return second

    def touch(self, sec: int, top: int, changed: bool) -> None:
        """After a merge: `top` is the highest id merged, `changed` whether it was counted."""
        at = bisect_left(self._secs, sec)
        self._tops[at] = max(self._tops[at], top)
        self._closed_top = max(self._closed_top, top)
        if changed:
            self._changed.add(sec)

    def forgo(self, top: int) -> None:
        """An id of a second that is closed for good: held, but in no bar of ours."""
        self._base_top = max(self._base_top, top)
        self._closed_top = max(self._closed_top, top)

    def late_quote(self, quote: Quote, closed: int) -> None:
        """A quote of a closed second is in no bar, but it may be the newest there is at `closed`."""
        standing = (quote.ts, quote.update_id, quote.bid, quote.bid_qty, quote.ask, quote.ask_qty)
        newest = self._surviving(self.standing, closed)
        stands = is_readable(quote, self._units) and self._surviving(standing, closed)
        if stands and (newest is None or _is_newer(standing, newest)):
            self.standing = standing

    def cut(self, ts: int) -> None:
        insort(self.cuts, ts)

    def revise(self) -> list[Bar]:
        """The closed seconds whose bars changed since the last call.

        Without a merge of its own a bar can only become complete: the range of ids it asks for never grows.
        """
        bars = []
        for sec in sorted(self._incomplete.union(self._touched)):
            at = bisect_left(self._secs, sec)
            second = self._touched.get(sec) or self._opened(at)
            changed = sec in self._changed
            if second.last_id >= 0:
                before = max(self._base_top, max(self._tops[:at], default=NO_ID))
                complete = self._is_complete(second, before)
                changed = changed or complete != second.is_complete
                second.is_complete = complete
                (self._incomplete.discard if complete else self._incomplete.add)(sec)
            if changed:
                second.revision += second.is_shown
                second.is_shown = True
                bars.append(second.bar(self.symbol, sec * SECOND, self._units))
            if changed or sec in self._touched:
                self._packs[at] = second.pack()
        self._touched.clear()
        self._changed.clear()
        return bars

    def evict(self, closed: int, horizon: int) -> None:
        """Forgets the seconds before `horizon`, and the cuts, once applied to what is left. `revise` comes first."""
        self.ids.forget_oldest(MOST_HOLES)
        if not self.cuts and not (self._secs and self._secs[0] < horizon):
            return
        if within(self.cuts, 0, horizon * SECOND):
            self.standing = self._surviving(self.standing, closed * SECOND)
        old = bisect_left(self._secs, horizon)
        if old:
            self._base_top = max(self._base_top, max(self._tops[:old]))
            last = self._packs[old - 1]
            self._base_standing = last.standing() if isinstance(last, Row) else Second.unpack(last).standing
            del self._secs[:old], self._tops[:old], self._packs[:old]
            self._incomplete = {sec for sec in self._incomplete if sec >= horizon}
        self._base_standing = self._surviving(self._base_standing, horizon * SECOND)
        del self.cuts[: bisect_left(self.cuts, horizon * SECOND)]

    # --- state ---

    def state(self, tallied: Mapping[int, Second]) -> list[Any]:
        """`tallied`: the seconds that are open as rows."""
        return [
            self.symbol, self.ids.intervals, self.top,
            [[sec, second.pack()] for sec, second in (*self.open.items(), *tallied.items())],
            self.standing, self.cuts, self._closed_top, self._secs, self._tops, self._packs,
            self._base_top, self._base_standing, sorted(self._incomplete),
            [[sec, second.pack()] for sec, second in self._touched.items()], sorted(self._changed),
        ]  # fmt: skip

    @classmethod
    def from_state(cls, state: list[Any], units: Units) -> Series:
        series = cls(state[0], units, state[5])
        series.ids, series.top = Ids.from_intervals(state[1]), state[2]
        series.open = {sec: Second.unpack(pack) for sec, pack in state[3]}
        series._newest = tuple(state[4]) if state[4] else None
        series._closed_top, series._secs, series._tops, packs = state[6:10]
        series._packs = [pack if isinstance(pack, bytes) else Row(*pack) for pack in packs]
        series._base_top, series._base_standing = state[10], tuple(state[11]) if state[11] else None
        series._incomplete = set(state[12])
        series._touched = {sec: Second.unpack(pack) for sec, pack in state[13]}
        series._changed = set(state[14])
        return series


def _is_newer(quote: Standing, other: Standing) -> bool:
    """Whether a quote would stand after another one, had both come in time."""
    if is_beyond(quote[0], other[0]):
        return True
    return quote[1] > other[1] and not is_beyond(other[0], quote[0])
