"""How soon connections come back after a long cut, and how often they are tried while it lasts."""

from __future__ import annotations

import random

import pytest

from procs.ingest.actions import Connect
from procs.ingest.links import EACH_NS, TOGETHER_NS, Links
from shared.venues.binance import Venue as Spot

S = 1_000_000_000
TURN = S // 20
CUT = 90 * S


class Cut:
    """So many slots, connected, and a network that is away from second 10 to second 100."""

    def __init__(self, slots: int, seed: int, status: int | None = None) -> None:
        symbols = [f"S{number}" for number in range(slots * Spot.limits.streams_per_connection)]
        streams = [(symbol, "trade") for symbol in symbols]
        self.links = Links(Spot(symbols, ["trade"]), "wss://x", streams, 80_000 * S, random.Random(seed).random)
        assert len(self.links.slots) == slots
        self.links.running = True
        self.tries: list[int] = []
        self.back: dict[int, int] = {}
        """When each slot was connected again, by its place."""
        self._status = status

    def run(self, until: int) -> None:
        for mono in range(0, until, TURN):
            if mono == 10 * S:
                for number in list(self.links.links):
                    self.links.closed(number, mono)
            for action in self.links.turn(mono):
                if isinstance(action, Connect):
                    self._try(action.link, mono)

    def _try(self, number: int, mono: int) -> None:
        self.tries.append(mono)
        if 10 * S <= mono < 10 * S + CUT:
            self.links.refused(number, "nobody there", self._status, mono)
            return
        link = self.links.opened(number, mono)
        assert link is not None
        link.unsent.clear()
        self.links.seen(link, ["trade"], mono)
        if mono >= 10 * S + CUT:
            self.back[self.links.slots.index(link.slot)] = mono - 10 * S - CUT


@pytest.mark.parametrize("seed", range(10))
def test_one_connection_is_back_within_five_seconds_of_the_network(seed: int) -> None:
    cut = Cut(1, seed)
    cut.run(120 * S)
    assert cut.back[0] <= EACH_NS + TURN


@pytest.mark.parametrize(("slots", "seed"), [(2, 1), (3, 2), (3, 3), (9, 4), (9, 5)])
def test_several_are_back_together_a_second_after_the_first(slots: int, seed: int) -> None:
    cut = Cut(slots, seed)
    cut.run(150 * S)
    assert len(cut.back) == slots
    first = min(cut.back.values())
    assert first <= slots * EACH_NS + TURN
    assert max(cut.back.values()) <= first + TOGETHER_NS + 2 * TURN


def test_the_venue_that_says_no_is_not_asked_sooner_because_another_connection_stands() -> None:
    cut = Cut(3, 1, 403)
    cut.run(125 * S)
    assert len(cut.tries) <= 3 + 6 + 3, "a minute apart"


@pytest.mark.parametrize("slots", [1, 2, 5, 12])
def test_an_outage_without_end_costs_fewer_tries_than_the_venue_allows(slots: int) -> None:
    cut = Cut(slots, 7)
    cut.links.running = True
    for mono in range(0, 300 * S, TURN):
        for action in cut.links.turn(mono):
            if isinstance(action, Connect):
                cut.tries.append(mono)
                cut.links.refused(action.link, "nobody there", None, mono)

    assert len(cut.tries) + slots <= Spot.limits.connects_per_5min, "room for one more of each"
