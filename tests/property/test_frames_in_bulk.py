"""Many frames at once are what they are one by one: parsed, judged, stamped, and dropped where they are held."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from procs.ingest import bulk
from procs.ingest.actions import Connect
from procs.ingest.config import Config
from procs.ingest.core import Ingest
from procs.ingest.reads import Read
from shared import frames
from shared.events import QUOTE, SELL, Batch, Columns, Feed, Quote, Trade, plain
from shared.files import Files
from shared.journal import Reader, Writer, pack
from shared.paths import DAY, SECOND, day_start
from shared.venues import Reject, Rows
from shared.venues._binance_columns import Reader as FrameReader
from shared.venues.binance import Venue
from tests.fixtures.loops import loops as loops

NOW = day_start("2025-10-20") + 13 * 3600 * SECOND
SYMBOLS = ["SOLUSDT", "ADAUSDT", "1000SATSUSDT", "AUSDT"]
FOLDER = "journal/binance/binance"


def trade(
    symbol: str, number: int, us: int, price: str = "187.42000000", qty: str = "3.10000000", m: str = "true"
) -> bytes:
    return (
        f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":{us + 250},"s":"{symbol}","t":{number},'
        f'"p":"{price}","q":"{qty}","T":{us},"m":{m},"M":true}}}}'
    ).encode()


def quote(symbol: str, number: int, bid: str = "1.10000000", ask: str = "1.20000000") -> bytes:
    return (
        f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"u":{number},"s":"{symbol}","b":"{bid}",'
        f'"B":"31.21000000","a":"{ask}","A":"40.66000000"}}}}'
    ).encode()


def as_cut(messages: Sequence[bytes]) -> Sequence[bytes]:
    """The same messages, still part of what a socket brought."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "MANY", 0)
        patch.setattr(frames, "FEW", 1)
        wire = b"".join(Frame(Opcode.TEXT, message).serialize(mask=False) for message in messages)
        found, _ = frames.cut(wire)
    return found if list(found) == list(messages) else messages


# --- parsing ---

whole = st.one_of(st.integers(0, 10**10), st.integers(0, 10**20))
wholes = st.one_of(st.integers(0, 10), st.integers(0, 10**11)).map(str)
fractions = st.one_of(
    st.text("0123456789", min_size=8, max_size=8), st.text("0123456789", max_size=9), st.text("05", max_size=2)
).map(lambda digits: f".{digits}" if digits else "")
money = st.tuples(
    st.sampled_from(("", "", "", "", "", "0")), wholes, fractions, st.sampled_from(("", "", "", "", "", "."))
).map("".join)
stamps = st.one_of(
    st.integers(1_760_000_000_000, 1_770_000_000_000), st.integers(1_760_000_000_000_000, 1_770_000_000_000_000), whole
)
sendable = st.builds(
    lambda units, digits: f"{units}.{digits}" if digits else str(units),
    st.integers(0, 10**10 - 1),
    st.text("0123456789", max_size=8),
)
names = st.sampled_from([*SYMBOLS, "DOGEUSDT"])
frames_of_any = st.one_of(
    st.builds(trade, names, whole, stamps, money, money, st.sampled_from(("true", "false", "null", "truf"))),
    st.builds(quote, names, whole, money, money),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A frame with a few bytes of it changed, taken out or put in."""
    frame = bytearray(draw(frames_of_any))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(frame) - 1))
        how = draw(st.integers(0, 2))
        frame[at : at + (how != 1)] = (
            b"" if how == 2 else draw(st.sampled_from([b'"', b"0", b" ", b"\\", b"}", b"x", b".", b","]))
        )
    return bytes(frame)


def event_of(rows: Rows, at: int, symbol: str) -> Trade | Quote:
    """What a plain row says."""
    columns, short = (rows.price, rows.qty, rows.ask, rows.ask_qty), int(rows.short[at])
    one, more, ask, ask_qty = (plain(int(c[at]), 8, short >> 4 * n & 15) for n, c in enumerate(columns))
    if rows.kinds[at] == QUOTE:
        return Quote(symbol, 0, None, None, 1, one, more, ask, ask_qty, int(rows.ids[at]))
    ts, side = int(rows.ts[at]), "sell" if rows.kinds[at] == SELL else "buy"
    return Trade(symbol, ts, ts, int(rows.ts_sent[at]), 1, one, more, side, int(rows.ids[at]))


def parsed(venue: Venue, frame: bytes) -> object:
    try:
        (found,) = venue.parse(frame, 1)
    except Reject:
        return None
    return found


@settings(deadline=None)
@given(st.lists(st.one_of(frames_of_any, damaged(), st.binary(max_size=200)), min_size=1, max_size=40))
def test_what_is_found_plain_is_what_the_single_parser_finds(given: list[bytes]) -> None:
    venue = Venue(SYMBOLS, ["trade", "quote"])
    reader = venue.columns()
    assert reader is not None
    half = len(given) // 2
    rows, cut = reader.read([given]), reader.read([as_cut(given[:half]), given[half:], as_cut(given)])
    both = np.concatenate([rows.is_plain, rows.is_plain])
    assert not (cut.is_plain & ~both).any()
    for name in ("kinds", "symbol", "ts", "ts_sent", "ids", "price", "qty", "ask", "ask_qty", "short"):
        column = getattr(rows, name)
        assert (getattr(cut, name) == np.concatenate([column, column]))[cut.is_plain].all(), name
    for at, frame in enumerate(given):
        if rows.is_plain[at]:
            assert parsed(venue, frame) == event_of(rows, at, reader.symbols[rows.symbol[at]]), frame


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**16 - 1), sendable, sendable, st.sampled_from(SYMBOLS))
def test_what_the_venue_sends_is_plain(number: int, one: str, other: str, symbol: str) -> None:
    """With any number of decimals up to eight, and none; each as many as it likes."""
    messages = [
        trade(symbol, number, 1_760_918_400_123_456, one, other, "false"),
        trade(symbol, number, 1_760_918_400_123, other, one),
        quote(symbol, number, one, other),
    ]
    reader = Venue(SYMBOLS, ["trade", "quote"]).columns()
    assert reader is not None
    assert reader.read([messages]).is_plain.all()
    assert reader.read([as_cut(messages), as_cut(messages)]).is_plain.all()
    assert not reader.read([[message[:-1] for message in messages]]).is_plain.any()


def test_every_changed_byte_outside_the_numbers_is_left_to_the_single_parser() -> None:
    venue = Venue(SYMBOLS, ["trade", "quote"])
    reader = venue.columns()
    assert isinstance(reader, FrameReader)
    for frame in (trade("SOLUSDT", 7, 1_760_918_400_123_456), quote("SOLUSDT", 9)):
        changed = [frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :] for at in range(len(frame))]
        changed += [frame[:at] + frame[at + 1 :] for at in range(len(frame))]
        rows = reader.read([changed])
        for at, one in enumerate(changed):
            if rows.is_plain[at]:
                assert isinstance(parsed(venue, one), Trade | Quote), one


# --- taking ---


class Scene:
    """An ingest with two connections and no REST."""

    def __init__(self, root: Path, busy: int, replay: bool = False) -> None:
        self.disk = Files(root)
        core: list[Ingest] = []
        writer = Writer(self.disk, FOLDER, lambda: core[0].state())
        config = Config(
            venue="binance", symbols=SYMBOLS, replay=replay, ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1"
        )
        self.core = Ingest(config, Venue(SYMBOLS, config.kinds), writer, self.disk)
        core.append(self.core)
        self.core.intake.busy = 10**9
        self.core.open(NOW, 1000 * SECOND)
        self.mono = 1000 * SECOND
        self.link = 0
        self.core.healer.venue_ts = NOW
        self.core.healer.has_time = True
        while not self.link:
            self.mono += SECOND
            wishes = self.core.turn(NOW + self.mono, self.mono)
            self.link = next((wish.link for wish in wishes if isinstance(wish, Connect)), 0)
        self.core.opened(self.link, NOW, self.mono)
        self.hear([(1, [trade("SOLUSDT", 1, NOW // 1000), quote("SOLUSDT", 1)])])
        self.core.intake.busy = busy

    def close(self) -> None:
        self.core.recorder.writer.close()

    def hear(self, reads: list[tuple[int, list[bytes]]]) -> None:
        given = []
        for ms, messages in reads:
            self.mono += ms * 1_000_000
            some = as_cut(messages) if self.core.intake.busy == 1 and ms % 2 else messages
            given.append(Read(self.link, some, NOW + self.mono, self.mono))
        self.core.reads(given)
        self.core.flush(self.mono)

    def batches(self) -> list[tuple[int, int, list[object]]]:
        return [(batch.first, batch.ts, list(batch.events)) for batch in Reader(self.disk, FOLDER).read(0)]

    def columns(self) -> list[Columns]:
        return [batch.events for batch in Reader(self.disk, FOLDER).read(0) if isinstance(batch.events, Columns)]


@st.composite
def histories(draw: st.DrawFn) -> list[list[tuple[int, list[bytes]]]]:
    """Takes of some reads each: trades in order but for repeats, holes and swaps, quotes alike, and rubbish."""
    ids = dict.fromkeys(SYMBOLS, 100)
    texts = st.just("187.42000000") | st.sampled_from(("187.42", "187.4", "187", "0.00000001"))
    us = NOW // 1000
    takes = []
    for _ in range(draw(st.integers(1, 4))):
        reads = []
        for _ in range(draw(st.integers(1, 3))):
            frames: list[bytes] = []
            for _ in range(draw(st.integers(0, 12))):
                symbol = draw(st.sampled_from(SYMBOLS))
                ids[symbol] += draw(st.sampled_from((1, 1, 1, 1, 1, 1, 0, 2, -3)))
                us += draw(st.sampled_from((0, 10, 400, 5000, -300)))
                kind = draw(st.integers(0, 20))
                if kind == 0:
                    frames.append(draw(st.sampled_from([b"", b"{", b"\xff" * 30, quote("SOLUSDT", 3)[:-5], b'"' * 64])))
                elif kind == 1:
                    frames.append(trade(symbol, ids[symbol], us + draw(st.sampled_from((15 * 10**6, 3 * DAY // 1000)))))
                elif kind < 9:
                    frames.append(trade(symbol, ids[symbol], us, draw(texts)))
                else:
                    frames.append(quote(symbol, ids[symbol], draw(texts)))
            reads.append((draw(st.integers(0, 40)), frames))
        takes.append(reads)
    return takes


@pytest.mark.parametrize("source", ["measured", "unmeasured", "recording", "recording heard before"])
@settings(max_examples=60, deadline=None)
@given(takes=histories())
def test_what_is_taken_at_once_is_what_is_taken_one_by_one(
    takes: list[list[tuple[int, list[bytes]]]], source: str
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
    ):
        patch.setattr(bulk, "MOST", 7)
        replay = source.startswith("recording")
        scenes = at_once, single = Scene(Path(one), 1, replay), Scene(Path(two), 10**9, replay)
        for scene in scenes:
            if "before" in source:
                for book in scene.core.books.values():
                    book.restore(book.state() | {"played": [[101, 104], [109, 112]]})
            if source == "measured":
                scene.core.time.measure(NOW + 5_000_000, scene.mono - 1000, scene.mono)
            for reads in takes:
                scene.hear(reads)
        for scene in scenes:
            scene.close()
        events = [[event for _, _, events in scene.batches() for event in events] for scene in scenes]
        assert events[0] == events[1]
        assert at_once.core.totals() == single.core.totals()
        times = [[ts for _, ts, _ in scene.batches()] for scene in (at_once, single)]
        assert times[0] == sorted(times[0])
        assert times[0][-1] == times[1][-1]
        links = [vars_of(scene) for scene in (at_once, single)]
        assert links[0] == links[1]
        assert at_once.core.state() == single.core.state()


def vars_of(scene: Scene) -> tuple[int, int, int]:
    link = scene.core.links.links[scene.link]
    return link.high, link.last, link.implausible


def test_a_busy_moment_travels_as_columns(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 512)
    frames = [trade("SOLUSDT", 2 + n, NOW // 1000 + n) if n % 4 else quote("ADAUSDT", n) for n in range(1000)]
    scene.hear([(5, frames[:500]), (5, frames[500:])])
    (columns,) = scene.columns()
    assert not columns.short, "two bytes an event that say nothing"
    assert scene.core.totals()["events_out"] >= 1000


def test_only_the_first_frames_of_a_connection_go_singly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a flood behind the first handshake, when it is read at once, then nearly all of it goes in columns."""
    monkeypatch.setattr(Scene, "hear", lambda self, reads: None)
    scene = Scene(tmp_path, 64)
    monkeypatch.undo()
    link = scene.core.links.links[scene.link]
    assert link.unseen == {"trade", "quote"}
    frames = [trade("SOLUSDT", 2 + n, NOW // 1000 + n) if n % 4 else quote("ADAUSDT", n) for n in range(2000)]
    scene.hear([(5, frames[:1000]), (4, frames[1000:])])
    batches = list(Reader(scene.disk, FOLDER).read(0))
    single = sum(len(batch.events) for batch in batches if not isinstance(batch.events, Columns))
    assert len(scene.columns()) == 1 and single <= 100
    trades = [event.trade_id for batch in batches for event in batch.events if isinstance(event, Trade)]
    assert trades == [2 + n for n in range(2000) if n % 4]


@pytest.mark.parametrize("kind", ["trade", "quote"])
def test_what_never_comes_does_not_keep_the_rest_from_columns(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given streams of both kinds, when only one of them flows, then a flood of it is a busy moment all the same, and
    what comes of the other at last is noted with the time of its first."""
    monkeypatch.setattr(Scene, "hear", lambda self, reads: None)
    scene = Scene(tmp_path, 64)
    monkeypatch.undo()
    link = scene.core.links.links[scene.link]
    trades = [trade("SOLUSDT", 2 + n, NOW // 1000 + 1000 * n) for n in range(1300)]
    quotes = [quote("ADAUSDT", n) for n in range(1300)]
    first, second = (trades, quotes) if kind == "trade" else (quotes, trades)
    scene.core.time.measure(NOW, scene.mono, scene.mono)  # quotes alone tell no time
    scene.hear([(5, first[:600])])
    assert link.unseen == {"trade", "quote"} - {kind} and len(scene.columns()) == 1
    scene.hear([(5, first[600:1000]), (5, [*first[1000:], *second])])
    assert not link.unseen and len(scene.columns()) == 2
    batches = list(Reader(scene.disk, FOLDER).read(0))
    events = [event for batch in batches for event in batch.events]
    (connected,) = [event for event in events if isinstance(event, Feed) and event.kind == "connected"]
    assert connected.ts == next(event.ts for event in events if isinstance(event, Quote))


def test_a_life_that_follows_holds_what_came_as_columns(tmp_path: Path) -> None:
    """What one life wrote as columns and the next one replays is what it would be of single events."""
    frames = [
        trade("SOLUSDT", 2 + n + (n > 600), NOW // 1000 + n) if n % 4 else quote("ADAUSDT", n) for n in range(1000)
    ]
    states = []
    for name, busy in (("at once", 512), ("single", 10**9)):
        scene = Scene(tmp_path / name, busy)
        scene.hear([(5, frames)])
        assert len(scene.columns()) == (busy == 512)
        core: list[Ingest] = []
        writer = Writer(scene.disk, FOLDER, lambda core=core: core[0].state())  # type: ignore[misc]
        core.append(Ingest(scene.core._config, Venue(SYMBOLS, ["trade", "quote"]), writer, scene.disk))
        core[0].open(NOW, scene.mono)
        states.append(core[0].state())
    assert states[0] == states[1]


@pytest.mark.parametrize("busy", [512, 10**9], ids=["columns", "single"])
@pytest.mark.parametrize("first_behind", [False, True], ids=["new behind", "old behind"])
def test_a_connection_that_is_thousands_of_quotes_behind_doubles_none(
    tmp_path: Path, busy: int, first_behind: bool
) -> None:
    """A process that stood still reads two connections one after the other; each holds all that was sent meanwhile."""
    scene = Scene(tmp_path, busy)
    old = scene.link
    scene.core.links.replace(scene.core.links.links[old], scene.mono)
    (wish,) = [one for one in scene.core.turn(NOW + scene.mono, scene.mono) if isinstance(one, Connect)]
    scene.core.opened(wish.link, NOW, scene.mono)
    scene.link = wish.link
    scene.hear([(1, [trade("SOLUSDT", 2, NOW // 1000), quote("SOLUSDT", 2)])])
    frames = [quote("SOLUSDT" if n % 3 else "ADAUSDT", 10 + n) for n in range(6000)]
    for scene.link in (wish.link, old) if first_behind else (old, wish.link):
        for at in range(0, len(frames), 2000):
            scene.hear([(1, frames[at : at + 1000]), (1, frames[at + 1000 : at + 2000])])
    scene.core.closed(old, 1000, "", NOW + scene.mono, scene.mono)
    scene.link = wish.link
    for at in range(10_000, 30_000, 1000):
        scene.hear([(1, [quote("SOLUSDT", at + n) for n in range(1000)])])
    quotes = [event.update_id for _, _, events in scene.batches() for event in events if isinstance(event, Quote)]
    assert sorted(quotes) == [1, 2, *range(10, 6010), *range(10_000, 30_000)]
    kept = [len(scene.core.books["SOLUSDT"].__dict__[name]) for name in ("_young", "_old")]
    kept.append(scene.core.books["SOLUSDT"]._waiting - 1000)  # what came last may be long
    assert max(kept) <= 1024, "what need not be known any more is forgotten"


def test_the_most_that_is_taken_at_once_is_a_record() -> None:
    names, some = [f"SYMBOL{number}USDT" for number in range(2000)], bytes(8 * bulk.MOST)
    kinds, two = bytes([QUOTE]) * bulk.MOST, b"\x11\x11" * bulk.MOST  # with digits left out: the longest rows
    columns = Columns(names, 8, kinds, bytes(2 * bulk.MOST), some, some, some, some, some, some, some, b"", two)
    assert pack(Batch(1, NOW, columns), 1, bulk.MOST + 1)
