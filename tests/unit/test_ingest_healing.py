"""What ingest does about what is missing, what it says of it, and what it learns of symbols: at a desk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from procs.ingest import keepsake, pages
from procs.ingest.gaps import LAGS_NS, Tracker
from procs.ingest.symbols import Book
from shared import paths
from shared.files import Files
from shared.paths import DAY
from shared.rest import Limited, Refused, Unreachable
from tests.fixtures.desk import START, Desk, S
from tests.unit.test_ingest import ids, ready


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return ready(Desk(tmp_path))


def outage(desk: Desk, seconds: float, count: int) -> None:
    """The connection is lost, time passes, trades happen, and it comes back."""
    desk.close(desk.open[-1])
    desk.refuse = lambda _: ("refused", None)
    steps = 100
    for _ in range(steps):
        desk.pass_time(int(seconds / steps * S))
        desk.market.trade(count=count // steps)
    desk.refuse = lambda _: None
    desk.run(20)
    desk.bring(desk.market.quote(int(desk.mono // S)))


# --- the order of healing, and its patience ---


def test_the_newest_ids_are_asked_for_first(desk: Desk) -> None:
    desk.close(desk.open[-1])
    desk.market.trade(count=3500)
    desk.run(4)
    firsts = [int(dict(request.params)["fromId"]) for request in desk.asked("historicalTrades")]
    assert firsts == [3501, 2501, 1501, 1001]
    assert sorted(ids(desk)) == list(range(1000, 4501))


def test_a_history_that_lags_behind_the_stream_condemns_nothing_for_a_minute(desk: Desk) -> None:
    desk.close(desk.open[-1])
    desk.market.trade(count=10)
    desk.market.hidden = set(range(1006, 1011))
    rows, desk.market._rows = desk.market._rows, lambda params: rows({**params})  # type: ignore[method-assign]
    plain = desk.market.trades
    desk.ingest.books["SOLUSDT"].told(1010, 1010, desk.venue_now)  # the stream knew of it
    assert plain["SOLUSDT"][-1][0] == 1010
    desk.run(45)
    assert desk.feed("unhealable") == []
    assert len(desk.asked("historicalTrades")) <= 6, "with growing patience"
    desk.market.hidden = set()
    desk.run(60)
    assert sorted(ids(desk)) == list(range(1000, 1011))


def test_what_a_history_never_comes_to_is_given_up_within_two_minutes(desk: Desk) -> None:
    desk.ingest.books["SOLUSDT"].told(1010, 1010, desk.venue_now)
    desk.run(120)
    (lost,) = desk.feed("unhealable")
    assert (lost.detail["first_id"], lost.detail["last_id"]) == (1001, 1010)
    assert sum(LAGS_NS) < 120 * S


def test_a_gap_that_waits_is_not_condemned_by_the_answer_to_another() -> None:
    tracker = Tracker()
    for one in (1, 3, 5):
        tracker.take(one, one)
    tracker.look(0)
    tracker._stirred = True
    old, new = tracker.look(2 * S)
    assert (old.first, new.first) == (2, 4)
    tracker.tried(4, 4, 2 * S)
    assert new.next_mono > 2 * S
    for _ in range(5):
        tracker.tried(2, 5, 2 * S)
    assert new.tries == 1


def test_rest_that_was_unreachable_is_asked_again_once_a_connection_comes_about(desk: Desk) -> None:
    desk.market.error = Unreachable("nobody there")
    desk.close(desk.open[-1])
    desk.refuse = lambda _: ("refused", None)
    desk.market.trade(count=50)
    desk.run(90)
    desk.market.error = None
    desk.refuse = lambda _: None
    begun = desk.mono
    while len(ids(desk)) < 51:
        desk.run(0.2)
        assert desk.mono - begun < 20 * S, "the pause was for want of a network"


# --- what is said ---


def test_ids_missing_are_counted_and_the_count_goes_back_to_nothing(desk: Desk) -> None:
    desk.market.error = Unreachable("nobody there")
    frames = desk.market.trade(count=9)
    desk.bring(frames[0], frames[8])
    desk.run(3)
    assert desk.ingest.totals()["ids_missing"] == 7
    desk.market.error = None
    desk.run(70)
    assert desk.ingest.totals()["ids_missing"] == 0


def test_how_long_healing_will_take_is_said(desk: Desk) -> None:
    desk.ingest.books["SOLUSDT"].told(1_000 + 240_000, 1, desk.venue_now)
    desk.answer_rest = False
    desk.run(3)
    assert desk.ingest.note == "240000 ids missing: 240 pages, weight 6000, about 3 min", "half of 4321 a minute"


# --- days before yesterday ---

DAILY_IDS = 6000


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than the hundred thousand that are many otherwise."""
    monkeypatch.setattr(pages, "DAILY_IDS", DAILY_IDS)


def test_what_days_before_yesterday_lack_in_great_number_is_left_to_the_daily_archive(
    tmp_path: Path, few: None
) -> None:
    desk = ready(Desk(tmp_path))
    outage(desk, 4 * 86_400, DAILY_IDS * 3)
    yesterday = (desk.venue_now // DAY - 1) * DAY
    (left,) = [gap for gap in desk.feed("gap") if "plan" in gap.detail]
    assert left.detail["plan"] == "daily archive"
    of_old = [one for one, ts in desk.market.trades["SOLUSDT"] if ts < yesterday]
    assert (left.detail["first_id"], left.detail["last_id"]) == (1001, of_old[-1])
    desk.run(120)
    newest = desk.market.trades["SOLUSDT"][-1][0]
    assert desk.ingest.books["SOLUSDT"].trades.held.intervals == [[1000, 1000], [of_old[-1] + 1, newest]]
    assert desk.ingest.totals()["ids_daily"] == len(of_old) - 1
    assert "daily archive" in desk.ingest.note
    assert desk.feed("unhealable") == []
    healed = [(event.detail["first_id"], event.detail["last_id"]) for event in desk.feed("healed")]
    assert healed == [(of_old[-1] + 1, newest)]
    asked = len(desk.asked("historicalTrades"))
    desk.kill()
    desk.run(5)
    assert len(desk.asked("historicalTrades")) == asked, "a plan is remembered"
    assert desk.ingest.totals()["ids_daily"] == len(of_old) - 1


def fetched(desk: Desk, date: str, **source: Any) -> None:
    """The compactor has installed a backfill of that day."""
    path = desk.folder / paths.fetched_file("binance", "SOLUSDT", date)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"kind": "trade", "sha256": "ab", "fetched": desk.wall, **source}]))


def test_a_plan_is_done_once_every_day_of_it_was_brought_and_not_before(tmp_path: Path, few: None) -> None:
    desk = ready(Desk(tmp_path))
    fetched(desk, "2025-10-22")  # by a backfill of long ago
    outage(desk, 4 * 86_400, DAILY_IDS * 3)
    desk.run(5)
    plans = msgspec.json.decode((desk.folder / "journal/src/plans.json").read_bytes())
    assert plans[0]["dates"] == ["2025-10-20", "2025-10-21", "2025-10-22"]
    for date in plans[0]["dates"][:2]:
        fetched(desk, date)
        desk.run(70)
        assert "daily archive" in desk.ingest.note
    fetched(desk, "2025-10-22", kind="rest", sha256=None)
    certificate = desk.folder / paths.certificate("binance", "SOLUSDT", "2025-10-22")
    certificate.parent.mkdir(parents=True)
    certificate.write_text(json.dumps({"trades_missing": 7}))
    desk.run(70)
    assert "daily archive" in desk.ingest.note, "a part of the day is not the day"
    fetched(desk, "2025-10-22")
    desk.run(70)
    assert desk.ingest.note == ""
    assert desk.ingest.totals()["ids_daily"] == 0
    desk.kill()
    desk.run(5)
    assert desk.ingest.note == ""


def test_plans_that_cannot_be_read_are_none(desk: Desk) -> None:
    for text in (b"", b"[1]", b'{"a":1}', b"\xff"):
        (desk.folder / "journal/src/plans.json").write_bytes(text)
        desk.kill()
        desk.run(1)
        assert desk.ingest.plans.ids == 0


def test_a_short_gap_of_long_ago_is_fetched_at_once(tmp_path: Path, few: None) -> None:
    desk = ready(Desk(tmp_path))
    outage(desk, 4 * 86_400, 5000)
    assert desk.ingest.books["SOLUSDT"].trades.held.intervals == [[1000, 6000]]
    assert not [gap for gap in desk.feed("gap") if "plan" in gap.detail]


def test_a_large_gap_of_today_is_fetched_at_once(tmp_path: Path, few: None) -> None:
    desk = ready(Desk(tmp_path))
    outage(desk, 3600, DAILY_IDS + 1000)
    desk.run(30)
    assert len(desk.ingest.books["SOLUSDT"].trades.held.intervals) == 1


# --- a pause the venue asks for ---


def test_a_pause_outlives_a_restart(desk: Desk) -> None:
    frames = desk.market.trade(count=5)
    desk.market.error = Limited("HTTP 418", 418, 100.0)
    desk.bring(frames[0], frames[4])
    desk.run(5)
    asked = len(desk.market.asked)
    desk.market.error = None
    for _ in range(5):
        desk.kill()
        desk.run(15)
    assert len(desk.market.asked) == asked
    desk.run(30)
    assert sorted(ids(desk)) == list(range(1000, 1006))


def test_a_pause_that_cannot_be_read_is_none(desk: Desk) -> None:
    for text in (b"", b"[1]", b'{"a":1}', b"\xff"):
        (desk.folder / "journal/src/pause.json").write_bytes(text)
        desk.kill()
        desk.run(1)
        assert desk.ingest.healer.asker.until <= desk.mono


def test_a_keepsake_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Files(tmp_path)
    assert keepsake.read(disk, "journal/x/note") is None
    keepsake.write(disk, "journal/x/note", b"one")

    def full(*_: Any) -> None:
        raise OSError(28, "disk full")

    monkeypatch.setattr(disk, "replace", full)
    keepsake.write(disk, "journal/x/note", b"two")
    assert keepsake.read(disk, "journal/x/note") == b"one"
    assert [path.name for path in (tmp_path / "journal/x").iterdir()] == ["note"]


# --- symbols ---


def instruments(desk: Desk) -> Any:
    return msgspec.json.decode((desk.folder / "journal/src/instruments.json").read_bytes())


def test_what_the_venue_says_of_each_symbol_is_kept_by_day(desk: Desk) -> None:
    said = instruments(desk)
    assert (said["version"], said["venue"]) == (1, "binance")
    (date,) = said["days"]
    assert date == "2025-10-20"
    assert abs(said["days"][date]["ts"] - START) < S
    assert said["days"][date]["symbols"]["SOLUSDT"]["status"] == "TRADING"
    for hour in range(30):
        desk.pass_time(3600 * S)
        desk.bring(desk.market.quote(hour + 10), *desk.market.trade())
        desk.run(0.5)
    assert list(instruments(desk)["days"]) == ["2025-10-20", "2025-10-21"]
    assert len(desk.asked("exchangeInfo")) <= 31
    for _ in range(12):
        desk.pass_time(24 * 3600 * S)
        desk.run(0.5)
    assert len(instruments(desk)["days"]) == 8


def test_a_halt_is_found_out_within_minutes_and_is_a_feed_event_and_no_alarm(desk: Desk) -> None:
    desk.run(600)
    desk.market.status["SOLUSDT"] = "BREAK"
    desk.run(400)
    (halt,) = desk.feed("symbol_status")
    assert (halt.symbols, halt.detail) == (["SOLUSDT"], {"status": "BREAK", "was": "TRADING"})
    desk.kill()
    desk.run(5)
    assert len(desk.feed("symbol_status")) == 1, "it was known"
    desk.market.status["SOLUSDT"] = "TRADING"
    desk.run(400)
    assert [event.detail["status"] for event in desk.feed("symbol_status")] == ["BREAK", "TRADING"]
    assert desk.feed("stale") == []
    assert desk.feed("gap") == []


def test_a_symbol_that_is_delisted_does_not_end_the_others(tmp_path: Path) -> None:
    desk = ready(Desk(tmp_path, symbols=["SOLUSDT", "ADAUSDT"]))
    desk.market.known.remove("ADAUSDT")
    desk.kill()
    desk.run(2)
    assert desk.ingest.listing.unknown == []
    assert [event.detail["status"] for event in desk.feed("symbol_status")] == ["GONE"]
    desk.bring(*desk.market.trade())
    assert ids(desk) == [1000, 1001]
    assert {symbol for slot in desk.ingest.links.slots for symbol, _ in slot.streams} == {"SOLUSDT"}


def test_instruments_that_cannot_be_read_are_asked_for_anew(desk: Desk) -> None:
    for text in (b"", b"[1]", b'{"version":1,"venue":"binance","days":{"x":3}}', b"\xff"):
        (desk.folder / "journal/src/instruments.json").write_bytes(text)
        desk.kill()
        desk.run(1)
        assert list(instruments(desk)["days"]) == ["2025-10-20"]


# --- a recording played again ---


def play(desk: Desk, updates: range) -> None:
    desk.run(0.3)
    for update in updates:
        desk.bring(desk.market.frame("SOLUSDT", update, START + update * S), desk.market.quote(update))


def test_a_recording_played_again_into_the_same_lake_brings_nothing_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True)
    play(desk, range(100, 800))
    desk.kill()
    play(desk, range(100, 800))
    assert [quote.update_id for quote in desk.quotes] == list(range(100, 800))
    assert ids(desk) == list(range(100, 800))


def test_an_older_recording_is_taken_and_what_was_missed_of_one_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True)
    play(desk, range(500, 600))
    desk.kill()
    play(desk, range(700, 800))
    desk.kill()
    play(desk, range(400, 900))
    assert sorted(quote.update_id for quote in desk.quotes) == list(range(400, 900))


def test_what_was_played_is_remembered_in_a_state_of_bounded_size() -> None:
    book = Book("SOLUSDT", ["quote"])
    for life in range(500):
        book.begin()
        book.is_new_quote(1000 * life)
        book.is_new_quote(1000 * life + 10)
    assert len(book.state()["played"]) <= 64
    again = Book("SOLUSDT", ["quote"])
    again.restore(book.state())
    again.begin()
    assert again.is_old_quote(499_005)
    assert not again.is_old_quote(499_500)


@pytest.mark.parametrize("chunks", [[], [40], [10, 20, 100], [10, 5, 5], [600, 600, 3], [64], [63, 2]])
@pytest.mark.parametrize("singly", [0, 3, 700])
def test_the_state_holds_the_newest_quotes_however_they_came(chunks: list[int], singly: int) -> None:
    book, given = Book("SOLUSDT", ["quote"]), list(range(10, 10 + 2 * singly, 2))
    for one in given:
        assert book.is_new_quote(one)
    for count in chunks if singly else [1, *chunks]:
        ids = np.arange(count, dtype=np.int64) * 3 + (given[-1] + 1 if given else 5)
        if not book.take_quotes(int(ids[0]), int(ids[-1]), ids.tobytes()):
            assert not given
            assert book.is_new_quote(int(ids[0]))
            ids = ids[:1]
        given += ids.tolist()
    assert book.state()["quotes"] == given[-64:]
    again = Book("SOLUSDT", ["quote"])
    again.restore(book.state())
    assert not any(again.is_new_quote(one) for one in given[-64:])
    if given:
        assert again.is_new_quote(given[-1] + 1)


@pytest.mark.parametrize("is_restored", [False, True])
def test_columns_of_what_a_life_before_heard_are_not_taken_unseen(is_restored: bool) -> None:
    def ids(first: int, last: int) -> tuple[int, int, bytes]:
        return first, last, np.arange(first, last + 1, dtype=np.int64).tobytes()

    book = Book("SOLUSDT", ["quote"])
    assert book.is_new_quote(1) and book.take_quotes(*ids(2, 2000))
    book.begin()
    if is_restored:
        state = book.state()
        book = Book("SOLUSDT", ["quote"])
        book.restore(state)
    book.is_new_quote(1)  # the recording from its beginning
    assert not book.take_quotes(*ids(2, 900)) and not book.take_quotes(*ids(2000, 2100))
    assert book.take_quotes(*ids(2001, 2100)) and book.is_old_quote(900)


# --- futures ---


def test_ids_that_consecutive_aggregates_leave_out_never_were_trades(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "binance_usdm", symbols=["BTCUSDT"], streams=["trade"])
    desk.run(0.2)

    def frame(one: int) -> bytes:
        ms = desk.venue_now // 1_000_000
        return desk.market.frame("BTCUSDT", one, desk.venue_now, E=ms, T=ms, X="MARKET")

    rows = desk.market.trades.setdefault("BTCUSDT", [])
    aggregate: dict[int, int] = {}
    for one in (1000, 1001, 1004, 1005, 1009, 1010):
        rows.append((one, desk.venue_now))
        aggregate[one] = 500 + len(aggregate)
        if one != 1005:
            desk.bring(frame(one))
        desk.run(0.1)
    plain = desk.market._aggTrades

    def numbered(params: dict[str, str]) -> Any:
        return [{**row, "a": aggregate[row["f"]]} for row in plain(params)]

    desk.market._aggTrades = numbered  # type: ignore[method-assign]
    desk.market.hidden = set()
    desk.run(60)
    void = [(event.detail["first_id"], event.detail["last_id"]) for event in desk.feed("unhealable")]
    assert sorted(void) == [(1002, 1003), (1006, 1008)]
    assert all("no trades of the book" in event.detail["reason"] for event in desk.feed("unhealable"))
    assert desk.ingest.totals()["void_ids"] == 5
    assert desk.ingest.totals()["unhealable_ids"] == 0
    assert 1005 in ids(desk), "that one was missing, and is healed"


# --- many symbols that lack a little ---


def lacking(folder: Path, count: int, each: int) -> Desk:
    """Connected, and of so many symbols that many trades were missed."""
    symbols = [f"S{number}USDT" for number in range(count)]
    desk = Desk(folder, symbols=symbols, streams=["trade"])
    desk.market.known = symbols
    desk.run(0.2)
    for symbol in symbols:
        desk.bring(*desk.market.trade(symbol))
        desk.market.trade(symbol, each)
    desk.answer_rest = False
    desk.run(1)
    for symbol in symbols:
        desk.bring(*desk.market.trade(symbol))
    desk.run(3)
    desk.kill()
    desk.answer_rest = True
    return desk


def test_what_hundreds_of_symbols_lack_is_healed_by_aggregates_of_one_trade_for_little_weight(tmp_path: Path) -> None:
    desk = lacking(tmp_path, 150, 3)
    desk.run(40)
    assert all(book.trades.held.intervals == [[1000, 1004]] for book in desk.ingest.books.values())
    assert len(desk.asked("historicalTrades")) <= 40, "the last few by pages"
    one = {trade.trade_id: trade for trade in desk.trades if trade.symbol == "S7USDT"}
    assert sorted(one) == [1000, 1001, 1002, 1003, 1004]
    (ts,) = {ts for number, ts in desk.market.trades["S7USDT"] if number == 1002}
    found = one[1002]
    assert (found.ts, found.ts_event, found.ts_sent, found.source) == (
        ts // 1000 * 1000,
        ts // 1000 * 1000,
        None,
        "rest",
    )
    assert (found.price, found.qty, found.side) == ("1.5", "2.0", "sell")
    assert len(desk.aggregates) == 0
    assert desk.feed("unhealable") == []


def test_aggregates_of_several_trades_heal_none_of_them_and_a_page_does(tmp_path: Path) -> None:
    desk = lacking(tmp_path, 150, 3)
    plain = desk.market._aggTrades

    def joined(params: dict[str, str]) -> Any:
        rows = [row for row in plain(params) if row["f"] in (1000, 1001, 1004)]
        return [{**row, "l": 1003, "q": "6.0"} if row["f"] == 1001 else row for row in rows]

    desk.market._aggTrades = joined  # type: ignore[method-assign]
    desk.run(40)
    assert all(book.trades.held.intervals == [[1000, 1004]] for book in desk.ingest.books.values())
    assert {trade.qty for trade in desk.trades} == {"2.0"}
    assert len(desk.trades) == 150 * 5, "each once"
    assert len(desk.asked("historicalTrades")) == 150
    tried = [request for request in desk.asked("aggTrades") if "startTime" in dict(request.params)]
    assert 20 <= len(tried) <= 25, "then it is known not to pay"


def test_where_the_cheaper_way_is_refused_the_page_is_asked_for(tmp_path: Path) -> None:
    desk = lacking(tmp_path, 60, 2)
    desk.market.refuse = {"aggTrades": Refused("HTTP 400: no", 400)}
    desk.run(40)
    assert all(book.trades.held.intervals == [[1000, 1003]] for book in desk.ingest.books.values())
    assert desk.feed("unhealable") == []


def test_a_few_symbols_are_healed_by_pages_alone(tmp_path: Path) -> None:
    desk = lacking(tmp_path, 20, 3)
    before = len(desk.asked("aggTrades"))
    desk.run(20)
    assert all(book.trades.held.intervals == [[1000, 1004]] for book in desk.ingest.books.values())
    assert len(desk.asked("historicalTrades")) == 20
    assert all("startTime" not in dict(request.params) for request in desk.asked("aggTrades")[before:])


def test_on_futures_an_id_inside_an_aggregate_that_is_partly_held_is_listed_with_that_reason(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "binance_usdm", symbols=["BTCUSDT"], streams=["trade"])
    desk.run(0.2)
    desk.market._trades = lambda params: []  # type: ignore[method-assign]
    plain = desk.market._aggTrades
    spans = {1000: (500, 1000), 1001: (501, 1003), 1004: (502, 1005), 1006: (503, 1006), 1009: (505, 1011)}

    def joined(params: dict[str, str]) -> Any:
        found = plain(params) if "startTime" in params else []
        return [{**row, "a": spans[row["f"]][0], "l": spans[row["f"]][1]} for row in found if row["f"] in spans]

    desk.market._aggTrades = joined  # type: ignore[method-assign]
    rows = desk.market.trades.setdefault("BTCUSDT", [])
    for one in range(1000, 1012):
        rows.append((one, desk.venue_now))
        if one not in (1002, 1006, 1008):
            ms = desk.venue_now // 1_000_000
            desk.bring(desk.market.frame("BTCUSDT", one, desk.venue_now, E=ms, T=ms, X="MARKET"))
        desk.run(0.1)
    desk.run(120)
    given_up = {event.detail["first_id"]: event.detail["reason"] for event in desk.feed("unhealable")}
    assert sorted(given_up) == [1002, 1008]
    assert given_up[1002].startswith("in aggregate 501 (1001 to 1003) with trades that are held")
    assert given_up[1008].startswith("not in the venue's aggregates")
    assert 1006 not in ids(desk)
    assert [one.agg_id for one in desk.aggregates] == [503], "an aggregate wholly inside the gap heals it"


def test_on_futures_that_refuse_the_newest_trades_aggregates_heal(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "binance_usdm", symbols=["BTCUSDT"], streams=["trade"])
    desk.market.refuse = {"trades": Refused("HTTP 401: no", 401)}
    desk.run(0.2)
    for _ in range(3):
        desk.market.trade("BTCUSDT")
        ms = desk.venue_now // 1_000_000
        one = desk.market.trades["BTCUSDT"][-1][0]
        if one != 1001:
            desk.bring(desk.market.frame("BTCUSDT", one, desk.venue_now, E=ms, T=ms, X="MARKET"))
        desk.run(0.2)
    desk.run(10)
    assert [one.first_trade_id for one in desk.aggregates] == [1001]
    assert desk.feed("unhealable") == []
