"""What is silent, and what only seems so: streams and connections against their own rhythm, and the venue's word."""

from __future__ import annotations

from pathlib import Path

import pytest

from procs.ingest.rhythm import Rhythm
from shared.rest import Unreachable
from tests.fixtures.desk import Desk, S

PAIR = ["SOLUSDT", "ADAUSDT"]


def lively(desk: Desk, seconds: float, silent: tuple[str, ...] = (), every: float = 0.5) -> int:
    """Trades and quotes of both symbols for a while; those of `silent`, such as ``ADAUSDT trade``, are not sent.
    Returns the tenths of seconds that passed until something was replaced.
    """
    for at in range(round(seconds * 10)):
        if at % round(every * 10) == 0:
            for symbol in PAIR:
                frames = {"trade": desk.market.trade(symbol), "quote": [desk.market.quote(desk.mono // S * 10, symbol)]}
                for kind, sent in frames.items():
                    if f"{symbol} {kind}" not in silent and desk.open:
                        for link in desk.open:
                            desk.bring(*sent, link=link)
        before = len(desk.connects)
        desk.run(0.1)
        if len(desk.connects) > before:
            return at
    return -1


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    found = Desk(tmp_path, symbols=PAIR)
    found.run(0.2)
    return found


# --- rhythm ---


def test_a_rhythm_is_the_longest_silence_of_late_and_slowly_forgotten() -> None:
    rhythm = Rhythm()
    assert rhythm.limit(5, 30) == 5
    now = 0
    for gap in (1, 1, 4, 1):
        now += gap * S
        rhythm.look(now, 0)
    assert rhythm.limit(1, 100 * S) == pytest.approx(12 * S, rel=0.05)
    for _ in range(200):
        now += S
        rhythm.look(now, 0)
    assert rhythm.limit(1, 100 * S) < 4 * S
    assert not rhythm.look(now, 0), "nothing new"


def test_an_outage_is_no_rhythm() -> None:
    rhythm = Rhythm()
    for at in (1, 2, 3):
        rhythm.look(at * S, 0)
    rhythm.look(1000 * S, 999 * S)
    assert rhythm.limit(1, 1000 * S) == 3 * S


# --- connections ---


def test_a_connection_that_stalls_under_load_is_replaced_within_ten_seconds(desk: Desk) -> None:
    assert lively(desk, 20) == -1
    old = list(desk.open)
    took = lively(desk, 20, ("SOLUSDT trade", "SOLUSDT quote", "ADAUSDT trade", "ADAUSDT quote"))
    assert 0 < took < 100, "tenths of seconds"
    (stale,) = desk.feed("stale")
    assert stale.symbols == sorted(PAIR)
    assert desk.open == [*old, old[0] + 1], "the old one goes when the new one delivers"
    assert lively(desk, 5) == -1
    assert desk.open == [old[0] + 1]
    newest = {symbol: desk.market.trades[symbol][-1][0] for symbol in PAIR}
    assert all(desk.ingest.books[s].trades.held.intervals == [[1000, newest[s]]] for s in PAIR)


def test_a_connection_is_stale_once_while_the_next_one_has_not_delivered(desk: Desk) -> None:
    lively(desk, 20)
    everything = ("SOLUSDT trade", "SOLUSDT quote", "ADAUSDT trade", "ADAUSDT quote")
    assert lively(desk, 20, everything) > 0
    connects = len(desk.connects)
    lively(desk, 3, everything)
    assert desk.ingest.links.slots[0].successor is not None
    assert desk.ingest.totals()["stale"] == len(desk.feed("stale")) == 1
    assert len(desk.connects) == connects


def test_nothing_is_replaced_while_a_successor_stands(desk: Desk) -> None:
    """However young the connection that it follows is by the clock."""
    watch, links = desk.ingest.watch, desk.ingest.links
    link = links.links[desk.open[-1]]
    link.slot.successor, link.slot.replace_at = link, desk.mono + 3600 * S
    watch._replace_silent(link, 9 * S, "while the venue traded")
    assert watch.counters["stale"] == 0 and link.slot.replace_at > desk.mono
    link.slot.successor = None
    watch._replace_silent(link, 9 * S, "while the venue traded")
    assert watch.counters["stale"] == 1 and link.slot.replace_at == desk.mono


def test_what_is_owed_for_less_than_a_second_may_be_on_its_way(desk: Desk) -> None:
    lively(desk, 5)
    ingest = desk.ingest
    link = ingest.links.links[desk.open[-1]]
    stream, book, last = ingest.watch._stream("SOLUSDT", "trade"), ingest.books["SOLUSDT"], desk.mono
    assert not ingest.watch._owes(link, stream, last)
    book.told(book.newest[0] + 1, None, desk.venue_now + 3 * S)
    owed = []
    for _ in range(12):
        owed.append(ingest.watch._owes(link, stream, last))
        ingest.mono += S // 10
    assert owed == [False] * 10 + [True] * 2


def test_a_connection_is_replaced_where_rest_is_silent_too(desk: Desk) -> None:
    lively(desk, 20)
    desk.market.error = Unreachable("nobody there")
    all_of_it = ("SOLUSDT trade", "SOLUSDT quote", "ADAUSDT trade", "ADAUSDT quote")
    assert 90 <= lively(desk, 30, all_of_it) < 200


def test_a_halt_is_no_fault(desk: Desk) -> None:
    lively(desk, 30)
    desk.run(900)
    assert desk.feed("stale") == []
    assert desk.feed("gap") == []
    assert len(desk.connects) == 1
    assert lively(desk, 10) == -1


# --- streams ---


@pytest.mark.parametrize("kind", ["trade", "quote"])
def test_a_stream_that_falls_silent_inside_a_healthy_connection_is_an_alarm(desk: Desk, kind: str) -> None:
    assert lively(desk, 30) == -1
    took = lively(desk, 30, (f"ADAUSDT {kind}",))
    assert 0 < took < 200
    (stale,) = desk.feed("stale")
    assert (stale.symbols, stale.detail["stream"]) == (["ADAUSDT"], kind)
    assert desk.ingest.note == f"silent though subscribed to: ADAUSDT {kind}"
    assert desk.ingest.totals()["silent_streams"] == 1
    lively(desk, 10)
    assert desk.ingest.note == ""
    assert desk.ingest.totals()["silent_streams"] == 0


@pytest.mark.parametrize("kind", ["trade", "quote"])
def test_a_subscription_that_was_acknowledged_and_never_delivers_is_an_alarm_within_30_s(desk: Desk, kind: str) -> None:
    silent = (f"ADAUSDT {kind}",)
    took = lively(desk, 30, silent)
    assert 0 < took < 250
    assert [stale.symbols for stale in desk.feed("stale")] == [["ADAUSDT"]]
    for _ in range(60):
        lively(desk, 10, silent)
    assert len(desk.connects) <= 7, "with growing patience: ten minutes, and it is the venue's fault"
    if kind == "trade":
        held = desk.ingest.books["ADAUSDT"].trades.held
        assert held.lowest is not None and len(held.missing()) == 0, "its trades come by REST meanwhile"
        assert desk.market.trades["ADAUSDT"][-1][0] - (held.highest or 0) <= 25, "at most ten seconds late"


def test_an_illiquid_symbol_beside_a_busy_one_is_left_alone(desk: Desk) -> None:
    for round_ in range(40):
        desk.bring(*desk.market.trade("ADAUSDT"), desk.market.quote(round_ + 1, "ADAUSDT"))
        for _ in range(20):
            desk.bring(*desk.market.trade("SOLUSDT"), desk.market.quote(round(desk.mono / S * 10)))
            desk.run(1)
    assert desk.feed("stale") == []
    assert len(desk.connects) == 1
    asked = [r for r in desk.asked("aggTrades") if dict(r.params)["symbol"] == "ADAUSDT"]
    assert len(asked) < 30, "its rhythm is known after a while"


def test_a_trade_that_a_dead_stream_hides_is_found_within_a_minute(desk: Desk) -> None:
    desk.bring(*desk.market.trade("ADAUSDT"))
    for _ in range(300):
        desk.bring(*desk.market.trade("SOLUSDT"), desk.market.quote(round(desk.mono / S * 10)))
        desk.run(1)
    hidden = desk.market.trade("ADAUSDT")
    assert hidden
    begun = desk.mono
    while not desk.feed("gap"):
        desk.bring(*desk.market.trade("SOLUSDT"), desk.market.quote(round(desk.mono / S * 10)))
        desk.run(1)
        assert desk.mono - begun < 60 * S
    desk.run(2)
    assert desk.ingest.books["ADAUSDT"].trades.held.intervals == [[1000, 1001]]


# --- announced ends ---


def test_a_connection_announced_to_end_while_it_is_still_new_is_replaced_too(desk: Desk) -> None:
    lively(desk, 5)
    shutdown = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}'
    desk.bring(shutdown)
    desk.run(0.1)
    assert desk.open == [1, 2]
    desk.bring(shutdown, link=2)
    lively(desk, 5)
    lively(desk, 5)
    assert desk.open == [3]
    assert desk.feed("disconnected") == []
