"""What is remembered of one symbol: its ids, and the quotes seen last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from procs.ingest.gaps import SECOND, Gap, Tracker
from shared.events import AggTrade, Event, Feed, Quote, Trade

RECENT: Final = 512
"""Update ids remembered are between this many and twice as many."""
KEPT: Final = 64
"""Of those, so many stand in the journal's state."""


class Book:
    """One symbol."""

    def __init__(self, symbol: str, kinds: Sequence[str]) -> None:
        self.symbol = symbol
        self.trades = Tracker()
        self.aggregates = Tracker()
        self.traded = 0
        """When the last trade came, on the monotonic clock."""
        self.newest_ts = 0
        """Venue time of the newest trade, by its own word."""
        self.strikes = 0
        """How often trades were missing at the end, while the stream was thought to flow."""
        self.probed = 0
        """When the venue was last asked for its newest id."""
        self.trackers = {
            kind: tracker for kind, tracker in (("trade", self.trades), ("agg_trade", self.aggregates)) if kind in kinds
        }
        self._young: set[int] = set()
        self._old: set[int] = set()

    def is_new_quote(self, update_id: int) -> bool:
        """Two connections that overlap bring the same quotes; a late one that nobody brought yet is kept."""
        young = self._young
        if update_id in young or update_id in self._old:
            return False
        young.add(update_id)
        if len(young) >= RECENT:
            self._old, self._young = young, set()
        return True

    def note_gap(self, gap: Gap, tracker: Tracker, mono: int) -> None:
        """A gap behind the newest id held, where nothing has come for a while: the stream may be dead."""
        highest = tracker.held.highest
        if highest is not None and gap.first > highest and mono - self.traded > 30 * SECOND:
            self.strikes += 1

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
            if tracker is not None and event.kind == "unhealable":
                tracker.gone.add_range(first, last)
            elif tracker is not None and event.kind == "gap":
                tracker.reopen(first, last, event.detail.get("from_ts", 0), event.detail.get("to_ts", 0))
            elif tracker is not None and event.kind == "healed":
                tracker.closed(first, last)

    def state(self) -> dict[str, Any]:
        recent = sorted(self._young | self._old)[-KEPT:]
        return {"trade": self.trades.state(), "agg_trade": self.aggregates.state(), "quotes": recent}

    def restore(self, state: dict[str, Any]) -> None:
        self.trades.restore(state["trade"])
        self.aggregates.restore(state["agg_trade"])
        self._young = set(state["quotes"])
