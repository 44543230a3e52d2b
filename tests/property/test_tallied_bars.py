"""Busy markets, nearly all of them plain: whatever is odd in them and whatever comes between, bars are those of single
events, and so is all that is known of the seconds behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import compiled, kernels
from shared.bars import Bars
from shared.events import Feed, Quote, Trade, plain
from shared.tally import WINDOW
from tests.columns import columns_of
from tests.fixtures.known import known

S = 1_000_000_000
START = 1_700_000_000
LATENESS = 2 * S
REVISE = 20 * S
SYMBOLS = ("AAA", "BBB", "CCC")
ODDITIES = ("late", "early", "double", "swap", "hole", "large", "same", "restart")
"""What may be wrong with one batch: see `spoilt`."""
BETWEEN = ("feed", "state", "no loops", "time", "back", "far")


class Market:
    """Plain events, batch after batch, all with as many digits."""

    def __init__(self, chance: Random, digits: int, per_s: int) -> None:
        self._chance, self._digits, self._step = chance, digits, S // per_s
        self._ids = {symbol: chance.choice([0, 1, 10**6, 2**62]) for symbol in SYMBOLS}
        self._update = chance.choice([0, 10**9])
        self.ts = START * S + chance.randrange(S)

    def _text(self, most: int = 10**9) -> str:
        return plain(self._chance.choice([0, 1, most, self._chance.randrange(most)]), self._digits)

    def batch(self, count: int) -> list[Trade | Quote]:
        found: list[Trade | Quote] = []
        for _ in range(count):
            self.ts += self._chance.randrange(2 * self._step)
            symbol = self._chance.choice(SYMBOLS)
            if self._chance.random() < 0.4:
                self._ids[symbol] += 1
                side = self._chance.choice(["buy", "sell"])
                one = self._ids[symbol]
                found.append(Trade(symbol, self.ts, self.ts, self.ts, 5, self._text(), self._text(), side, one))
            else:
                self._update += self._chance.randrange(1, 4)
                texts = [self._text() for _ in range(4)]
                found.append(
                    Quote(symbol, self.ts, None, None, 5, texts[0], texts[1], texts[2], texts[3], self._update)
                )
        return found


def spoilt(events: list[Trade | Quote], how: str, chance: Random) -> list[Trade | Quote]:
    """The batch with something odd in it."""
    at = chance.randrange(len(events))
    one = events[at]
    if how in ("late", "early"):
        by = chance.choice([1, S // 2, S, 3 * S, 30 * S, (WINDOW + 5) * S]) * (-1 if how == "late" else 1)
        moved = {"ts": one.ts + by} | ({"ts_event": one.ts + by} if isinstance(one, Trade) else {})
        return [*events[:at], msgspec.structs.replace(one, **moved), *events[at + 1 :]]
    if how == "double":
        return [*events[: at + 1], *events[chance.randrange(at + 1) :]]
    if how == "swap":
        other = chance.randrange(len(events))
        events[at], events[other] = events[other], events[at]
        return events
    if how == "hole":
        return [event for place, event in enumerate(events) if place != at] or events
    if how == "large":
        fields = ("bid", "ask_qty") if isinstance(one, Quote) else ("price", "qty")
        most = f"{chance.choice([2**31, 2**48, 2**62])}"
        digits = len(getattr(one, fields[0]).partition(".")[2])
        text = plain(int(most), digits)
        return [*events[:at], msgspec.structs.replace(one, **dict.fromkeys(fields, text)), *events[at + 1 :]]
    if how == "same" and isinstance(one, Quote):
        again = msgspec.structs.replace(one, ts=one.ts + chance.choice([0, 1]), ask=one.bid)
        return [*events[: at + 1], again, *events[at + 1 :]]
    if how == "restart":  # the venue counts anew
        return [
            msgspec.structs.replace(event, update_id=place)
            if isinstance(event, Quote) and place >= at and event.symbol == one.symbol
            else event
            for place, event in enumerate(events)
        ]
    return events


class Part(NamedTuple):
    """A batch: in columns of so many digits, or as single events."""

    events: list[Trade | Quote]
    digits: int | None


Step = Part | Feed | int | str


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    chance = Random(draw(st.integers(0, 2**32)))
    digits = draw(st.sampled_from([1, 2, 8, 8, 8]))
    market = Market(chance, digits, draw(st.sampled_from([2, 10, 100, 1000])))
    steps: list[Step] = []
    before: list[Trade | Quote] = []
    for _ in range(draw(st.integers(2, 12))):
        events = market.batch(chance.randrange(1, 60))
        if before and draw(st.integers(0, 4)) == 0:  # some of what came before comes again, or only now
            again = before[chance.randrange(len(before)) :]
            events = [*again, *events] if chance.random() < 0.5 else [*events, *again]
        before = events[chance.randrange(len(events)) :]
        if draw(st.integers(0, 2)) == 0:
            events = spoilt(events, draw(st.sampled_from(ODDITIES)), chance)
        if draw(st.integers(0, 5)) == 0:
            events = events[: -len(before)] or events
        steps.append(Part(events, None if draw(st.integers(0, 7)) == 0 else digits))
        what = draw(st.sampled_from(["time"] * 6 + ["", ""] + list(BETWEEN)))
        if what == "feed":
            ts = market.ts - chance.choice([0, S // 3, S, 3 * S])
            steps.append(Feed(chance.choice(["disconnected", "ended"]), ts, 0, chance.choice([[], ["AAA"], ["BBB"]])))
        elif what in ("time", "back", "far"):
            by = {"time": [0, LATENESS // 2, LATENESS], "back": [-LATENESS], "far": [70 * S]}[what]
            steps.append(market.ts + chance.choice(by))
            market.ts += 70 * S if what == "far" and chance.random() < 0.5 else 0
        elif what:
            steps.append(what)
    return [*steps, market.ts + 5 * S, market.ts + 10 * S]


def take(bars: Bars, part: Part, in_columns: bool) -> None:
    if not in_columns:
        for event in part.events:
            bars.add(event)
    elif part.digits:
        bars.take(columns_of(part.events, part.digits))
    else:
        bars.take(part.events)


def played(steps: Sequence[Step], in_columns: bool) -> tuple[list[Any], dict[str, int], list[Any]]:
    """All that is given out, the counters, and what is known in the end."""
    bars, given_out, loops = Bars(LATENESS, REVISE), list[Any](), kernels.loops
    try:
        for step in steps:
            if step == "state" and in_columns:
                counters, state = bars.counters, bars.state()
                bars = Bars.from_state(state, LATENESS, REVISE)
                assert bars.state() == state
                bars.counters.update(counters)
            elif step == "no loops":
                kernels.loops = None if kernels.loops is loops else loops
            elif isinstance(step, Feed):
                bars.add(step)
            elif isinstance(step, int):
                given_out.append(bars.advance(step))
            elif isinstance(step, Part):
                take(bars, step, in_columns)
    finally:
        kernels.loops = loops
    return given_out, bars.counters, known(bars.state())


@pytest.fixture(autouse=True, scope="module")
def library() -> None:
    if compiled.build() is None or not compiled.load():
        pytest.skip("there is no C compiler here")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_bars_and_all_that_is_known_are_those_of_single_events(steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.bars.FEW", 30)
        assert played(steps, True) == played(steps, False)
