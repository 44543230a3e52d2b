"""The tap shows what passes, what it was asked for, and how much it missed; and never slows who gives it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shared.events import Bar, Batch, Beat, Event, Feed, Quote, Trade
from shared.journal import pack
from shared.topology import Node, Pipeline
from shared.wire import Bus, Publisher, new_mesh, publish_mesh
from supervision.tap import Seen, Tap, as_json, as_text, streams
from tests.columns import columns_of


def trade(number: int, symbol: str = "SOLUSDT") -> Trade:
    return Trade(symbol, 10**18, 10**18, None, 10**18, "1.50", "2", "buy", number)


QUOTE = Quote("SOLUSDT", 10**18, None, None, 10**18, "1.4", "1", "1.5", "2", 7)
BEAT = Beat("binance", 7, "", phase="running", ts=10**18, counters={"events_in": 5})


class Given:
    """A mesh of one source whose tap is in our hands."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.mesh = new_mesh("/p.yml")
        publish_mesh(lake, self.mesh)
        self.bus = Bus(lake, self.mesh)
        self.source = self.bus.publisher("tap.binance")
        self.supervisor = self.bus.publisher("tap.supervisor")
        node = Node("binance", "sources", "ingest")
        self.pipeline = Pipeline("/p.yml", str(lake), {"binance": node})
        self.next = 1

    def tap(self, *, stream: str = "", symbol: str = "", stage: str = "") -> Tap:
        return Tap(self.pipeline, self.mesh, *({word} if word else set() for word in (stream, symbol, stage)))

    def give(self, *events: Event, publisher: Publisher | None = None) -> None:
        batch = Batch(self.next, 10**18, list(events))
        self.next = batch.last + 1
        (publisher or self.source).send("binance", pack(batch, batch.first, len(events) + 1))

    def seen(self, tap: Tap, *events: Event, wanted: int) -> list[tuple[str, Seen | int]]:
        """What a tap yields of some events, given again until it has joined."""
        found: list[tuple[str, Seen | int]] = []
        follow = tap.follow()
        deadline = time.monotonic() + 10
        for journal, seen in follow:
            assert time.monotonic() < deadline
            if journal:
                found.append((journal, seen))
            else:
                self.give(*events)
                self.supervisor.send("beat", msgspec.msgpack.encode(BEAT))
            if len(found) >= wanted:
                break
        follow.close()
        return found


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    it = Given(tmp_path)
    yield it
    it.bus.close()


def test_everything_passes_without_a_filter(given: Given) -> None:
    found = given.seen(given.tap(), trade(1), QUOTE, wanted=3)
    assert ("binance", trade(1)) in found and ("binance", QUOTE) in found and ("beat", BEAT) in found


def test_filters_by_stream_and_symbol(given: Given) -> None:
    events = (trade(1), trade(2, "ADAUSDT"), QUOTE, Feed("gap", 1, 1, ["ADAUSDT"]))
    assert {type(seen) for _, seen in given.seen(given.tap(stream="trade"), *events, wanted=4)} == {Trade}
    found = [seen for _, seen in given.seen(given.tap(symbol="ADAUSDT"), *events, wanted=4)]
    assert {type(seen) for seen in found} == {Trade, Feed}
    assert all(seen.symbol == "ADAUSDT" for seen in found if isinstance(seen, Trade))


@pytest.mark.parametrize(
    ("asked", "passes"),
    [({}, [0, 1, 2]), ({"symbol": "ADAUSDT"}, [1]), ({"stream": "bookTicker"}, [2]), ({"symbol": "BTCUSDT"}, []),
     ({"stream": "bar"}, [])],
)  # fmt: skip
def test_columns_pass_as_the_events_that_they_hold(given: Given, asked: dict[str, str], passes: list[int]) -> None:
    digits = {"price": "1.50", "qty": "2.00", "ts_sent": 10**18}
    trades = [msgspec.structs.replace(trade(at, symbol), **digits) for at, symbol in ((3, "SOLUSDT"), (4, "ADAUSDT"))]
    quote = Quote("SOLUSDT", 10**18, None, None, 10**18, "1.40", "1.00", "1.50", "2.00", 7)
    events: list[Trade | Quote] = [*trades, quote]
    batch = Batch(1, 10**18, columns_of(events, digits=2))
    found = list(given.tap(**asked)._read("binance", pack(batch, 1, 4)))
    assert found == [("binance", events[at]) for at in passes]


def test_what_was_missed_is_counted_from_the_numbers(given: Given) -> None:
    tap = given.tap()
    follow = tap.follow()
    deadline = time.monotonic() + 10
    found: list[Seen | int] = []
    for journal, seen in follow:
        assert time.monotonic() < deadline
        found += [seen] if journal and not isinstance(seen, Beat) else []
        if 41 in found:
            break
        if not journal:
            given.give(trade(1))
            given.next += 41
    assert tap.missed >= 41
    follow.close()


def test_a_tap_ends_with_its_mesh(given: Given) -> None:
    (given.lake / "run" / "mesh.json").unlink()
    begun = time.monotonic()
    assert [seen for journal, seen in given.tap().follow() if journal] == []
    assert time.monotonic() - begun < 5


def test_a_watcher_that_never_reads_costs_nothing(given: Given) -> None:
    follow = given.tap().follow()
    next(follow)
    begun = time.monotonic()
    for number in range(20_000):
        given.give(trade(number))
    assert time.monotonic() - begun < 5
    follow.close()


def test_a_line_is_one_object_with_the_archive_s_keys() -> None:
    said = json.loads(as_json("binance", trade(5)))
    assert said["journal"] == "binance" and said["stream"] == "trade" and said["price"] == 1.5 and said["trade_id"] == 5
    bar = json.loads(as_json("bars_1s.binance", Bar("SOLUSDT", 10**18, close=1.5, trade_count=3)))
    assert bar["stream"] == "bar" and bar["close"] == 1.5
    assert json.loads(as_json("binance", 41)) == {"journal": "binance", "missed": 41}
    beat = json.loads(as_json("beat", msgspec.structs.replace(BEAT, token="secret")))
    assert beat["stage"] == "binance" and "token" not in beat
    assert json.loads(as_json("binance", Feed("gap", 1, 1, ["A"], {"first_id": 3})))["detail"] == {"first_id": 3}


def test_a_terminal_shows_one_line_for_each_and_obeys_none() -> None:
    for seen in (trade(5), QUOTE, Bar("SOLUSDT", 10**18), Feed("gap", 1, 1), BEAT, 41):
        text = as_text("binance", seen)
        assert text and "\n" not in text
    evil = trade(5, "A\x1b[2J\n")
    assert "\x1b" not in as_text("binance", evil) and "\n" not in as_text("binance", evil)


def test_streams_are_known_by_their_usual_names_too() -> None:
    assert streams(["quote", "bars", "health", "trade"]) == {"bookTicker", "bar", "beat", "trade"}
    with pytest.raises(ValueError, match="did you mean trade"):
        streams(["trad"])
