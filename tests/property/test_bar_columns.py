"""Bars take columns as they take the same events one by one: the same bars, counters, ids, whatever comes and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.bars import Bars
from shared.events import Feed, Quote, Trade, plain
from tests.columns import columns_of
from tests.fixtures.loops import loops as loops

S = 1_000_000_000
START = 1_700_000_000
LATENESS = S
REVISE = 4 * S
SYMBOLS = ("AAA", "BBB", "CCC")
FEW = st.sampled_from([0, 1, 10, 18_742_000_000, 6_159_030_000_000])
MANY = st.one_of(FEW, st.integers(0, 10**13), st.sampled_from([10**17, 2**60, 2**63 - 1]))
ODDITIES = ("overtaken", "hole", "double")


class Part(NamedTuple):
    """A batch of trades and quotes, all with at most as many digits; in columns it goes where there are any."""

    events: list[Trade | Quote]
    digits: int | None


Step = Part | Feed | int
"""What a stage is given; an integer is a time."""


def bare(text: str) -> str:
    """Without the zeros at its end, as many as columns can leave out."""
    kept = text.rstrip("0")
    return (kept + "0" * (len(text) - len(kept) - 15)).rstrip(".")


@st.composite
def crowds(draw: st.DrawFn, digits: int, is_bare: bool) -> list[Trade | Quote]:
    """Trades and quotes as they come: calm, or with holes, doubles, steps back in time and in ids."""
    step, oddities = draw(st.sampled_from([0, 1000, S // 50, S // 7])), draw(st.sets(st.sampled_from(ODDITIES)))
    number = draw(st.sampled_from([FEW, MANY]))
    ids = {(symbol, kind): draw(st.sampled_from([1, 7, 2**62])) for symbol in SYMBOLS for kind in "tq"}
    ts, found = START * S + draw(st.integers(0, S)), list[Trade | Quote]()
    for _ in range(draw(st.integers(1, 40))):
        odd = draw(st.sampled_from([*oddities, *ODDITIES])) if oddities else ""
        odd = odd if odd in oddities else ""
        ts += draw(st.integers(0, 2 * step))
        at = ts - (draw(st.integers(0, 4 * S) | st.integers(0, 4 * step)) if odd == "overtaken" else 0)
        symbol, kind = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from("tqqq"))
        ids[symbol, kind] = one = max(0, ids[symbol, kind] + (draw(st.integers(-2, 3)) if odd == "hole" else 1))
        texts = [plain(draw(number), digits) for _ in range(4)]
        if is_bare:
            texts = [bare(text) if draw(st.booleans()) else text for text in texts]
        if kind == "q":
            found.append(Quote(symbol, at, None, None, 5, texts[0], texts[1], texts[2], texts[3], one))
        else:
            side = draw(st.sampled_from(["buy", "sell"]))
            found.append(Trade(symbol, at, at, at, 5, texts[0], texts[1], side, one))
        if odd == "double":
            found.append(draw(st.sampled_from(found)))
    return draw(st.permutations(found)) if draw(st.integers(0, 5)) == 0 else found


def numbers(event: Trade | Quote) -> tuple[str, ...]:
    if isinstance(event, Quote):
        return event.bid, event.bid_qty, event.ask, event.ask_qty
    return event.price, event.qty


def longer(event: Trade | Quote) -> Trade | Quote:
    """The same numbers with a digit more."""
    fields = ("bid", "bid_qty", "ask", "ask_qty") if isinstance(event, Quote) else ("price", "qty")
    texts = {field: getattr(event, field) for field in fields}
    return msgspec.structs.replace(
        event, **{field: text + ("0" if "." in text else ".0") for field, text in texts.items()}
    )


@st.composite
def days(draw: st.DrawFn, is_bare: bool = False) -> list[Step]:
    """A crowd cut into batches of columns or single events, with times and disconnects between them."""
    digits = draw(st.sampled_from([1, 2, 8, 18]))
    crowd, steps, reached = draw(crowds(digits, is_bare)), list[Step](), START * S
    fits_longer = digits < 18 and all(len(text) < 16 for event in crowd for text in numbers(event))
    while crowd:
        size = draw(st.integers(1, min(12, len(crowd))))
        part, crowd = crowd[:size], crowd[size:]
        how = draw(st.integers(0, 9))
        if how == 0 and fits_longer:
            steps.append(Part([longer(event) for event in part], digits + 1))
        else:
            steps.append(Part(part, None if how == 1 else digits))
        reached = max(reached, *(one.ts for one in part))
        between = draw(st.integers(0, 9))
        if between == 0:
            names = draw(st.sampled_from([[], ["AAA"], ["BBB", "CCC"]]))
            steps.append(Feed("disconnected", reached - draw(st.integers(0, 2 * S)), 0, names))
        elif between <= 5:
            steps.append(reached + draw(st.sampled_from([0, 0, LATENESS, -LATENESS, 5 * S])))
    return [*steps, reached + 20 * S, reached + 21 * S]


def play(steps: Sequence[Step], in_columns: bool, restarts: set[int]) -> tuple[list[object], dict[str, int]]:
    """All that is given out with the ids held in the end, and the counters."""
    bars, given_out = Bars(LATENESS, REVISE), list[object]()
    for number, step in enumerate(steps):
        if number in restarts:
            counters, state = bars.counters, bars.state()
            bars = Bars.from_state(state, LATENESS, REVISE)
            assert bars.state() == state
            bars.counters.update(counters)
        if isinstance(step, int):
            given_out.append(bars.advance(step))
        elif isinstance(step, Feed):
            bars.add(step)
        elif in_columns:
            bars.take(columns_of(step.events, step.digits) if step.digits else step.events)
        else:
            for event in step.events:
                bars.add(event)
    ids = [(symbol, series.ids.intervals, series.top) for symbol, series in sorted(bars._series.items())]
    return [*given_out, ids, bars.closed_until], bars.counters


SLOW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(days() | days(is_bare=True), st.sets(st.integers(0, 30)))
def test_columns_give_the_bars_of_the_single_events(steps: list[Step], restarts: set[int]) -> None:
    assert play(steps, True, restarts) == play(steps, False, set())


@SLOW
@given(days())  # a state says how the last quote was written
def test_when_all_is_closed_nothing_of_the_columns_is_left_in_the_state(steps: list[Step]) -> None:
    states = []
    for in_columns in (True, False):
        bars = Bars(LATENESS, REVISE)
        for step in steps:
            if isinstance(step, int):
                bars.advance(step)
            elif isinstance(step, Part):
                bars.take(columns_of(step.events, step.digits) if in_columns and step.digits else step.events)
        states.append(bars.state())
    assert states[0] == states[1]
