"""What is remembered of one symbol: its ids, the quotes seen last, and when what came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from procs.ingest.gaps import Tracker
from shared.events import AggTrade, Event, Feed, Quote, Trade
from shared.ids import Ids

RECENT: Final = 512
"""Update ids remembered are between this many and twice as many; more while two connections bring the same."""
KEPT: Final = 64
"""Of those, so many stand in the journal's state."""


class Book:
    """One symbol."""

    def __init__(self, symbol: str, kinds: Sequence[str], is_doubled: Callable[[], bool] = lambda: False) -> None:
        self.symbol = symbol
        self._is_doubled = is_doubled
        self.trades = Tracker()
        self.aggregates = Tracker()
        self.traded = self.aggregated = self.quoted = 0
        """When the last of each came over a stream, on the monotonic clock."""
        self.newest_id = -1
        """The newest trade there is, by the venue's own word; -1 where it was never asked."""
        self.newest_ts = 0
        """Its venue time."""
        self.probed = 0
        """When the venue was last asked for its newest id."""
        self.trackers = {
            kind: tracker for kind, tracker in (("trade", self.trades), ("agg_trade", self.aggregates)) if kind in kinds
        }
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._ahead: deque[bytes] = deque()  # rising ids beyond those, int64
        self._waiting = 0  # how many they are
        self._span: list[int] = []  # lowest and highest update id of this life
        self._played = Ids()  # update ids from the lowest to the highest of each life before

    def is_new_quote(self, update_id: int) -> bool:
        """Two connections that overlap bring the same quotes; a late one that nobody brought yet is kept."""
        if self._ahead:
            self._look_back()
        young = self._young
        if update_id in young or update_id in self._old:
            return False
        young.add(update_id)
        if not self._span:
            self._span = [update_id, update_id]
        elif update_id > self._span[1]:
            self._span[1] = update_id
        elif update_id < self._span[0]:
            self._span[0] = update_id
        if len(young) >= RECENT and not self._is_doubled():
            self._old, self._young = young, set()
        return True

    def take_quotes(self, first: int, last: int, update_ids: bytes) -> bool:
        """Takes rising update ids, int64 from the first to the last of them, that are all beyond those known; False,
        having done nothing, where they are not.
        """
        if not self._span or first <= self._span[1] or first <= (self._played.highest or 0):
            return False
        self._span[1] = last
        self._ahead.append(update_ids)
        self._waiting += len(update_ids) // 8
        # The other connection may be behind by any number: nothing is forgotten until one of them has ended.
        if self._waiting >= RECENT and not self._is_doubled():
            self._young.clear()
            self._old.clear()
            while (fewer := self._waiting - len(self._ahead[0]) // 8) >= RECENT:
                self._ahead.popleft()
                self._waiting = fewer
        return True

    def _look_back(self) -> None:
        """What came in columns is remembered id by id once somebody asks: nearly always nobody does."""
        for some in self._ahead:
            self._young.update(memoryview(some).cast("q"))
            if len(self._young) >= RECENT and not self._is_doubled():
                self._old, self._young = self._young, set()
        self._ahead.clear()
        self._waiting = 0

    def _newest(self, count: int) -> list[int]:
        """So many of the highest update ids, rising: what came in columns is beyond all others."""
        found: list[int] = []
        for some in reversed(self._ahead):
            found = [*memoryview(some).cast("q")[len(found) - count :], *found]
            if len(found) == count:
                return found
        return sorted(self._young | self._old)[len(found) - count :] + found

    def is_old_quote(self, update_id: int) -> bool:
        """Whether a life before heard the recording of which this is a part: what is played again is not new."""
        return self._played.holds(update_id)

    def begin(self) -> None:
        """A new life: what is known until now came in lives before."""
        self._played = self._spans()
        self._span = []

    def _spans(self) -> Ids:
        spans = self._played.intervals
        return Ids.from_intervals([*spans, self._span] if self._span else spans)

    def heard(self, kind: str) -> int:
        """When a stream of this symbol brought something last, on the monotonic clock."""
        return self.quoted if kind == "quote" else self.traded if kind == "trade" else self.aggregated

    def told(self, trade_id: int, agg_id: int | None, ts: int) -> None:
        """The venue was asked for its newest trade."""
        if trade_id > self.newest_id:
            self.newest_id, self.newest_ts = trade_id, max(ts, self.newest_ts)
        if "trade" in self.trackers:
            self.trades.told(trade_id, ts)
        if "agg_trade" in self.trackers and agg_id is not None:
            self.aggregates.told(agg_id, ts)

    @property
    def newest(self) -> tuple[int, int]:
        """Id and venue time of the newest trade anybody has spoken of."""
        highest = self.trades.held.highest
        if highest is not None and highest > self.newest_id:
            return highest, self.trades.top_ts
        return self.newest_id, self.newest_ts

    def replay(self, event: Event) -> None:
        """An event that the journal holds."""
        if isinstance(event, Trade):
            self.trades.take(event.trade_id, event.ts)
            if event.source != "ws":
                self.trades.fetched(event.trade_id)
        elif isinstance(event, AggTrade):
            self.aggregates.take(event.agg_id, event.ts)
            if event.source != "ws":
                self.aggregates.fetched(event.agg_id)
            if event.source != "ws" and "trade" in self.trackers and "agg_trade" not in self.trackers:
                self.trades.take_range(event.first_trade_id, event.last_trade_id)
                self.trades.fetched(event.first_trade_id)
        elif isinstance(event, Quote):
            self.is_new_quote(event.update_id)
        elif isinstance(event, Feed) and "first_id" in event.detail:
            tracker = self.trackers.get(str(event.detail.get("stream", "trade")))
            first, last = event.detail["first_id"], event.detail["last_id"]
            is_left = event.kind == "gap" and "plan" in event.detail
            if tracker is not None and (event.kind == "unhealable" or is_left):
                tracker.gone.add_range(first, last)
            elif tracker is not None and event.kind == "gap":
                again = tracker.lose if "reason" in event.detail else tracker.reopen
                again(first, last, event.detail.get("from_ts", 0), event.detail.get("to_ts", 0))
            elif tracker is not None and event.kind == "healed":
                tracker.closed(first, last)

    def state(self) -> dict[str, Any]:
        spans = self._spans()
        spans.forget_oldest(KEPT)
        trackers = {"trade": self.trades.state(), "agg_trade": self.aggregates.state()}
        return {**trackers, "quotes": self._newest(KEPT), "played": spans.intervals}

    def restore(self, state: dict[str, Any]) -> None:
        self.trades.restore(state["trade"])
        self.aggregates.restore(state["agg_trade"])
        self._look_back()
        self._young = set(state["quotes"])
        self._played = Ids.from_intervals(state.get("played", []))
