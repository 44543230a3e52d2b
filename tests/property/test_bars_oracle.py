"""Bars equal an oracle that knows nothing of streams: it sorts everything and counts with fractions.

The oracle follows the words of the definition and shares no code with what it judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.bars import Bars, bars_hash
from shared.events import AggTrade, Bar, Event, Feed, Quote, Trade
from shared.ids import Ids
from tests.fixtures.loops import loops as loops

S = 1_000_000_000
START = 1_700_000_000
LATENESS = 2 * S
SPAN = 8
SYMBOLS = ("AAA", "BBB")


@pytest.fixture(autouse=True, scope="module")
def _as_columns(loops: str) -> Iterator[None]:
    """Single events become columns first, where the loops are compiled; without them they are taken as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.bars.FEW", 1)
        yield


# --- the oracle ---


class Fill(NamedTuple):
    first: int
    last: int
    ts: int
    price: Fraction
    qty: Fraction
    is_buy: bool
    is_counted: bool


def _fills(events: list[Event], symbol: str, use_agg: bool) -> list[Fill]:
    """Each id once: raw trades first, then the aggregates of which no id is held."""
    found: list[Fill] = []
    held: set[int] = set()
    for e in events:
        if isinstance(e, Trade) and e.symbol == symbol and e.trade_id not in held:
            held.add(e.trade_id)
            counted = e.trade_type in (None, "MARKET")
            buy = e.side == "buy"
            found.append(Fill(e.trade_id, e.trade_id, e.ts, Fraction(e.price), Fraction(e.qty), buy, counted))
    for e in events:
        if isinstance(e, AggTrade) and e.symbol == symbol and (use_agg or e.source != "ws"):
            span = set(range(e.first_trade_id, e.last_trade_id + 1))
            if not span & held:
                held |= span
                sides = e.side == "buy"
                found.append(Fill(min(span), max(span), e.ts, Fraction(e.price), Fraction(e.qty), sides, True))
    return found


def _stands(quotes: list[Quote], cuts: list[int], t: int) -> Quote | None:
    cut = max((c for c in cuts if c <= t), default=-1)
    return max((q for q in quotes if cut < q.ts <= t), key=lambda q: (q.update_id, q.ts), default=None)


def oracle(events: list[Event], use_agg: bool = False) -> dict[tuple[str, int], Bar]:
    bars = {}
    for symbol in {e.symbol for e in events if isinstance(e, (Trade, AggTrade, Quote))}:
        fills = _fills(events, symbol, use_agg)
        quotes = [e for e in events if isinstance(e, Quote) and e.symbol == symbol]
        ends = ("disconnected", "suspended", "stale")
        feeds = [e for e in events if isinstance(e, Feed) and e.kind in ends]
        cuts = [e.ts for e in feeds if not e.symbols or symbol in e.symbols]
        for sec in {f.ts // S for f in fills if f.is_counted} | {q.ts // S for q in quotes}:
            bars[symbol, sec * S] = _bar(symbol, sec, fills, quotes, cuts)
    return bars


def _bar(symbol: str, sec: int, fills: list[Fill], quotes: list[Quote], cuts: list[int]) -> Bar:
    begin, end = sec * S, (sec + 1) * S
    bar = Bar(symbol, begin)
    here = [f for f in fills if f.ts // S == sec and f.is_counted]
    if here:
        low, high = min(here, key=lambda f: f.first), max(here, key=lambda f: f.last)
        prices = [f.price for f in here]
        bar.open, bar.close, bar.high, bar.low = map(float, (low.price, high.price, max(prices), min(prices)))
        base, quote = sum((f.qty for f in here), Fraction()), sum((f.qty * f.price for f in here), Fraction())
        bar.volume_base, bar.volume_quote = float(base), float(quote)
        bar.vwap = float(quote / base) if base else None
        bar.trade_count = sum(f.last - f.first + 1 for f in here)
        buys = [f for f in here if f.is_buy]
        bar.buy_volume_base = float(sum((f.qty for f in buys), Fraction()))
        bar.buy_volume_quote = float(sum((f.qty * f.price for f in buys), Fraction()))
        bar.buy_count = sum(f.last - f.first + 1 for f in buys)
        bar.first_trade_id, bar.last_trade_id = low.first, high.last
        id_sum = sum(one for f in here for one in range(f.first, f.last + 1))
        bar.trade_id_sum = id_sum if id_sum < 2**63 else None
        held = {one for f in fills for one in range(f.first, f.last + 1)}
        before = max((f.last for f in fills if f.ts // S < sec), default=None)
        bar.is_complete = before is not None and set(range(min(before, low.first), high.last + 1)) <= held
    bar.quote_count = sum(q.ts // S == sec for q in quotes)
    turns = sorted({begin, end, *(q.ts for q in quotes), *cuts})
    weighted = live = Fraction()
    for t, until in pairwise(turns):
        if begin <= t < end and (stands := _stands(quotes, cuts, t)) is not None:
            live += until - t
            weighted += (Fraction(stands.ask) - Fraction(stands.bid)) * (until - t)
    bar.quotes_live_ms = int(live // 1_000_000)
    bar.spread_tw = float(weighted / live) if live else None
    if (last := _stands(quotes, cuts, end - 1)) is not None:
        bar.bid, bar.ask, bar.bid_qty, bar.ask_qty = map(float, (last.bid, last.ask, last.bid_qty, last.ask_qty))
        bar.spread = float(Fraction(last.ask) - Fraction(last.bid))
    return bar


# --- a market ---

TIME = st.one_of(
    st.integers(0, SPAN * S - 1),
    st.builds(lambda sec, off: max(0, min(SPAN * S - 1, sec * S + off)), st.integers(0, SPAN), st.integers(-2, 2)),
)
PRICE = st.sampled_from(
    ["0.1", "0.3", "187.41", "187.42000000", "61590.30", "0.000000000000000001", "99999999.99999999"]
)
QTY = st.sampled_from(["0", "0.00000001", "3.1", "1000000.5", "0.3", "0.123456789012345678"])
SIDE = st.sampled_from(["buy", "sell"])


@st.composite
def _trades(draw: st.DrawFn, symbol: str) -> list[Event]:
    """Ids in the order of time but for neighbours that changed places, some missing, some in aggregates, some twice."""
    ends: list[Event] = []
    one = draw(st.sampled_from([0, 5, 1520538925, 2**62 - 3]))
    for time in sorted(draw(st.lists(TIME, max_size=14))):
        ts = START * S + (draw(TIME) if draw(st.integers(0, 9)) == 0 else time)
        what = draw(st.integers(0, 11))
        common = (draw(PRICE), draw(QTY), draw(SIDE))
        if what == 0:
            one += draw(st.integers(1, 3))
        elif what == 1:
            count = draw(st.integers(1, 3))
            ends.append(AggTrade(symbol, ts, ts, None, 0, *common, 1, one, one + count - 1, "rest"))
            one += count
            continue
        elif what == 2:
            ends.append(AggTrade(symbol, ts, ts, None, 0, *common, 1, one, one + 1, "ws"))
        kind = draw(st.sampled_from([None, "MARKET", "MARKET", "MARKET", "ADL"]))
        ends.append(Trade(symbol, ts, ts, None, 0, *common, one, "ws", kind))
        one += 1
        if what == 3:
            ends.append(ends[-1])
    return ends


@st.composite
def _quotes(draw: st.DrawFn, symbol: str) -> list[Event]:
    found: list[Event] = []
    times = sorted(draw(st.lists(TIME, max_size=12)))
    numbers = draw(st.permutations(range(len(times)))) if draw(st.booleans()) else range(len(times))
    for time, number in zip(times, numbers, strict=True):
        bid, ask = draw(PRICE), draw(PRICE)
        found.append(Quote(symbol, START * S + time, None, None, 0, bid, draw(QTY), ask, draw(QTY), number))
    return found


@st.composite
def markets(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    for symbol in SYMBOLS:
        events += draw(_trades(symbol))
        events += draw(_quotes(symbol))
    for time in draw(st.lists(TIME, max_size=3)):
        kind = draw(st.sampled_from(["disconnected", "stale", "suspended", "connected", "gap"]))
        events.append(Feed(kind, START * S + time, 0, draw(st.sampled_from([[], ["AAA"], ["BBB"], ["CCC", "AAA"]]))))
    return events


Record = Event | int
"""What a stage is given: events, and times."""


@st.composite
def arrivals(
    draw: st.DrawFn, events: list[Event], healed: tuple[int, int] | None = None, longest: int = 60 * S
) -> list[Record]:
    """The events in an order in which none comes later than the lateness allows, with times between them.

    `healed`: trades of this stretch of time are not bound by that, they come up to `longest` late, each for itself.
    """
    due = []
    for number, event in enumerate(events):
        ts = event.ts  # type: ignore[union-attr]
        delay = draw(st.one_of(st.just(0), st.integers(0, LATENESS)))
        if healed and healed[0] <= ts < healed[1] and isinstance(event, (Trade, AggTrade)):
            delay = draw(st.one_of(st.just(longest), st.integers(3 * S, longest)))
        if isinstance(event, AggTrade):
            delay = max(delay, LATENESS)  # healing comes after what it finds missing
        due.append((ts + delay, draw(st.integers(0, 3)), number, event))
    records: list[Record] = []
    now = START * S - draw(st.integers(0, 3 * S))
    for at, _, _, event in sorted(due):
        for step in draw(st.sampled_from([(), (), (100,), (100,), (50, 100), (33,), (0, 99)])):
            now = max(now, now + (at - now) * step // 100)
            records.append(now)
        records.append(event)
    end = (START + SPAN) * S + 60 * S + LATENESS
    return [*records, end, end + S]


@st.composite
def outages(draw: st.DrawFn, longest: int = 60 * S) -> tuple[list[Event], list[Record]]:
    """A market of which a stretch was missed: its quotes are lost, its trades are healed, each a while later."""
    begin = draw(st.integers(0, SPAN * S))
    begin, end = START * S + begin, START * S + begin + draw(st.integers(S // 2, SPAN * S))
    events = [e for e in draw(markets()) if not (isinstance(e, Quote) and begin <= e.ts < end)]
    events.append(Feed("disconnected", begin, 0))
    return events, draw(arrivals(events, (begin, end), longest))


Output = tuple[int, list[Bar]]


def play(bars: Bars, records: list[Record]) -> list[Output]:
    out = []
    for record in records:
        if isinstance(record, int):
            if (given := bars.advance(record)) is not None:
                out.append(given)
        else:
            bars.add(record)
    return out


def final(outputs: list[Output]) -> dict[tuple[str, int], Bar]:
    """The highest revision of each bar, and on the way what must hold of all that is given out."""
    newest: dict[tuple[str, int], Bar] = {}
    until = None
    for ts, bars in outputs:
        assert until is None or ts >= until
        assert ts != until or bars, "a batch that says nothing new"
        assert bars == sorted(bars, key=lambda bar: (bar.window_start, bar.symbol))
        for bar in bars:
            assert bar.window_start + S <= ts
            before = newest.get((bar.symbol, bar.window_start))
            assert bar.revision == (before.revision + 1 if before else 0)
            assert before is None or bars_hash([before]) != bars_hash([bar]), "a revision that changes nothing"
            newest[bar.symbol, bar.window_start] = bar
        until = ts
    return newest


def same(mine: dict[tuple[str, int], Bar], theirs: dict[tuple[str, int], Bar]) -> None:
    assert sorted(mine) == sorted(theirs)
    for key, bar in mine.items():
        bar.revision = 0
        assert bar == theirs[key]


SLOW = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW
@given(st.data())
def test_any_order_within_lateness_gives_the_bars_of_the_oracle(data: st.DataObject) -> None:
    events = data.draw(markets())
    records = data.draw(arrivals(events))
    same(final(play(Bars(LATENESS), records)), oracle(events))


@SLOW
@given(st.data())
def test_within_lateness_only_completeness_is_ever_revised(data: st.DataObject) -> None:
    events: list[Event] = [e for e in data.draw(markets()) if not isinstance(e, AggTrade)]
    seen: dict[tuple[str, int], Bar] = {}
    for _, given_out in play(Bars(LATENESS), data.draw(arrivals(events))):
        for bar in given_out:
            first = seen.setdefault((bar.symbol, bar.window_start), bar)
            if bar is not first:
                assert (first.is_complete, bar.is_complete) == (False, True)
                bar.is_complete, bar.revision = False, 0
                assert bar == first


@SLOW
@given(st.data())
def test_healed_trades_end_in_the_bars_of_the_oracle(data: st.DataObject) -> None:
    events, records = data.draw(outages())
    same(final(play(Bars(LATENESS), records)), oracle(events))


@SLOW
@given(st.data())
def test_forgetting_old_seconds_changes_nothing_for_those_that_may_be_revised(data: st.DataObject) -> None:
    events, records = data.draw(outages(longest=5 * S))
    found, expected = final(play(Bars(LATENESS, 4 * S), records)), oracle(events)
    for bar in [*found.values(), *expected.values()]:
        bar.is_complete = None  # a hole may be filled by an id of a much later second, when its own is forgotten
    same(found, expected)


@SLOW
@given(st.data())
def test_a_restart_at_any_record_changes_nothing(data: st.DataObject) -> None:
    _, records = data.draw(outages())
    expected = play(Bars(LATENESS, 20 * S), records)
    bars = Bars(LATENESS, 20 * S)
    found = []
    for record in records:
        if data.draw(st.integers(0, 3)) == 0:
            state = bars.state()
            bars = Bars.from_state(state, LATENESS, 20 * S)
            assert bars.state() == state
        found += play(bars, [record])
    assert found == expected


@SLOW
@given(st.data())
def test_aggregates_alone_make_bars_where_no_raw_trades_are_subscribed(data: st.DataObject) -> None:
    events: list[Event] = []
    held = {symbol: Ids() for symbol in SYMBOLS}
    for e in data.draw(markets()):
        if isinstance(e, AggTrade) and held[e.symbol].overlaps(e.first_trade_id, e.last_trade_id):
            continue  # of two that share ids the first to come counts
        if isinstance(e, AggTrade):
            held[e.symbol].add_range(e.first_trade_id, e.last_trade_id)
        if not isinstance(e, Trade):
            events.append(e)
    same(final(play(Bars(LATENESS, use_agg=True), data.draw(arrivals(events)))), oracle(events, use_agg=True))


@SLOW
@given(st.data())
def test_ended_closes_everything_at_once(data: st.DataObject) -> None:
    events = data.draw(markets())
    end = (START + SPAN) * S
    records: list[Record] = [*events, Feed("ended", end, 0), end]
    outputs = play(Bars(LATENESS), records)
    assert [ts for ts, _ in outputs] == [end]
    same(final(outputs), oracle(events))
