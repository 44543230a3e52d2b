"""Ingest's promises, each tried at a desk: real core, real journal, a small venue, clocks turned by hand."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.ingest.actions import Send
from procs.ingest.config import Config
from procs.ingest.core import TICK_NS, TURN_NS
from procs.ingest.gaps import Tracker
from procs.ingest.parcel import APART_NS
from procs.ingest.recorder import SYNC_NS
from shared.checkpoint import Checkpoint
from shared.files import Files
from shared.journal import unpack
from shared.rest import Blocked, Limited, Refused, Unreachable
from tests.fixtures.desk import CONSUMERS, MS, START, Desk, Market, S


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Connected, subscribed, and with one trade and one quote behind it."""
    return ready(Desk(tmp_path))


def ready(desk: Desk) -> Desk:
    desk.run(0.2)
    desk.bring(*desk.market.trade(), desk.market.quote(1))
    desk.run(0.2)
    return desk


def ids(desk: Desk) -> list[int]:
    return [trade.trade_id for trade in desk.trades]


# --- what is received is written ---


def test_what_arrived_is_in_the_journal_when_flush_returns_and_on_the_lane_as_the_same_bytes(desk: Desk) -> None:
    before = len(desk.lane.messages)
    desk.pass_time(APART_NS)
    desk.bring(*desk.market.trade(count=3), desk.market.quote(2))
    assert ids(desk) == [1000, 1001, 1002, 1003]
    (message,) = desk.lane.messages[before:]
    assert unpack(message) == desk.batches()[-1]
    assert len(desk.batches()[-1].events) == 4, "one read is one record"


def test_a_full_lane_is_counted_and_never_waited_for(desk: Desk) -> None:
    desk.lane.is_full = True
    desk.pass_time(APART_NS)
    desk.bring(*desk.market.trade())
    assert desk.ingest.totals()["lane_skipped"] >= 1
    assert ids(desk) == [1000, 1001]


def test_a_trade_is_written_once_however_often_it_comes(desk: Desk) -> None:
    frames = desk.market.trade(count=2)
    desk.bring(*frames, *frames)
    desk.bring(*frames)
    assert ids(desk) == [1000, 1001, 1002]
    assert desk.ingest.totals()["duplicates"] == 4


def test_a_quote_is_written_once_and_a_late_one_is_kept(desk: Desk) -> None:
    desk.bring(*(desk.market.quote(update) for update in (10, 12, 12, 11, 10)))
    assert [quote.update_id for quote in desk.quotes] == [1, 10, 12, 11]
    desk.bring(*(desk.market.quote(update) for update in range(100, 3000)))
    desk.bring(*(desk.market.quote(update) for update in range(2500, 3010)))
    assert [quote.update_id for quote in desk.quotes][4:] == list(range(100, 3010))


def test_after_a_kill_what_is_held_is_still_held(desk: Desk) -> None:
    frames = desk.market.trade(count=50)
    desk.bring(*frames, desk.market.quote(5))
    desk.kill()
    desk.run(0.2)
    desk.bring(*frames, desk.market.quote(5), *desk.market.trade())
    assert ids(desk) == list(range(1000, 1052))
    assert [quote.update_id for quote in desk.quotes] == [1, 5]


def test_held_ids_survive_many_segments_and_starts_without_any_record(tmp_path: Path) -> None:
    desk = ready(Desk(tmp_path, segment_bytes=5_000))
    for _ in range(40):
        desk.bring(*desk.market.trade(count=20))
        desk.run()
    for _ in range(5):
        desk.kill()
    desk.run(0.2)
    assert desk.ingest.books["SOLUSDT"].trades.held.intervals == [[1000, 1800]]
    assert len(list((desk.folder / "journal/src/src").iterdir())) > 3, "the state stood in a later segment"


def test_many_events_become_records_of_bounded_size(desk: Desk) -> None:
    desk.bring(*desk.market.trade(count=5000))
    assert max(len(batch.events) for batch in desk.batches()) <= 2000
    assert len(ids(desk)) == 5001


# --- what cannot be understood ---


def test_garbage_is_one_line_and_a_counter_and_nothing_else(desk: Desk) -> None:
    junk = [b"\xff\x00", b"{", desk.market.frame("DOGEUSDT", 1, START), desk.market.quote(9, b="NaN")]
    desk.bring(*junk, *desk.market.trade())
    assert [len(found.raw) > 0 for found in desk.rejected] == [True] * 4
    assert desk.ingest.totals()["rejected"] == 4
    assert ids(desk) == [1000, 1001]
    assert desk.connects == desk.connects[:1], "nobody was disconnected for it"


def test_a_flood_of_garbage_is_counted_but_not_all_written(desk: Desk) -> None:
    for _ in range(30):
        desk.bring(*[b"garbage"] * 100)
    assert desk.ingest.totals()["rejected"] == 3000
    assert 900 <= len(desk.rejected) <= 1100
    desk.run(10)
    desk.bring(b"later")
    assert desk.rejected[-1].raw == "later"


def test_large_garbage_never_makes_a_record_too_large_for_the_lane(desk: Desk) -> None:
    desk.bring(*[b"\xff" * 1_000_000] * 100)
    assert max(map(len, desk.lane.messages)) < 1 << 20
    assert all(found.size == 1_000_000 and len(found.raw) <= 4 * 65536 for found in desk.rejected)


# --- time ---


def test_a_trade_bears_the_venues_time_and_a_quote_our_estimate_of_it(tmp_path: Path) -> None:
    desk = ready(Desk(tmp_path, offset=3600 * S))  # this machine's clock is an hour behind
    desk.pass_time(20 * MS)
    desk.bring(desk.market.quote(7))
    quote = desk.quotes[-1]
    assert abs(quote.ts - desk.venue_now) < 5 * MS
    assert quote.ts_event is None
    assert quote.ts_recv == desk.wall
    (clock, *_) = desk.feed("clock")
    assert abs(clock.detail["offset_ns"] - 3600 * S) < 5 * MS


def test_a_quote_is_never_stamped_before_what_its_connection_has_shown(desk: Desk) -> None:
    ahead = desk.venue_now + 300 * MS
    desk.bring(desk.market.frame("SOLUSDT", 1001, ahead), desk.market.quote(7))
    assert desk.quotes[-1].ts == ahead + 500_000, "the sending time counts too"


def test_time_goes_on_in_silence(desk: Desk) -> None:
    before = len(desk.batches())
    desk.run(1.0)
    ticks = desk.batches()[before:]
    assert 8 <= len(ticks) <= 11
    assert abs(ticks[-1].ts - desk.venue_now) < 60 * MS


def test_a_turn_is_due_for_the_next_record_of_time_for_a_sync_and_for_a_wish(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.ingest.due == desk.mono + TURN_NS, "no time is known yet"
    ready(desk)
    while desk.ingest.recorder.is_dirty:
        desk.run(0.05)
    desk.bring(*desk.market.trade())
    written = desk.mono
    desk.pass_time(10 * MS)
    desk.turn()
    assert desk.ingest.due == written + TICK_NS < desk.mono + TURN_NS
    desk.ingest.act([Send(1, b"")])
    assert desk.ingest.due <= desk.mono, "a wish waits for nothing"


def test_who_turns_when_it_is_due_and_at_no_other_time_ticks_and_syncs_in_time(desk: Desk) -> None:
    synced, ticked = [desk.mono], [desk.mono]
    before = len(desk.batches())
    for _ in range(40):
        desk.pass_time(max(0, desk.ingest.due - desk.mono))
        was_dirty, written = desk.ingest.recorder.is_dirty, desk.ingest.recorder.written
        desk.turn()
        if was_dirty and not desk.ingest.recorder.is_dirty:
            synced.append(desk.mono)
        if desk.ingest.recorder.written > written:
            ticked.append(desk.ingest.recorder.written)
    assert len(desk.batches()) - before >= 20
    assert max(b - a for a, b in pairwise(ticked)) == TICK_NS
    assert max(b - a for a, b in pairwise(synced)) <= SYNC_NS


def test_quotes_that_waited_while_this_process_stood_still_are_not_of_now(desk: Desk) -> None:
    stopped = desk.venue_now
    desk.pass_time(60 * S)
    seen = stopped + 30 * S
    desk.bring(desk.market.quote(7), desk.market.frame("SOLUSDT", 1001, seen), desk.market.quote(8))
    assert abs(desk.quotes[-2].ts - stopped) < 60 * MS
    assert abs(desk.quotes[-1].ts - seen) < 60 * MS
    desk.run(1.5)
    desk.bring(desk.market.quote(9))
    assert abs(desk.quotes[-1].ts - desk.venue_now) < 5 * MS


def test_a_step_of_the_wall_clock_moves_nothing_but_receive_times(desk: Desk) -> None:
    desk.wall -= 3600 * S
    desk.run(0.1)
    desk.bring(desk.market.quote(7))
    assert abs(desk.quotes[-1].ts - desk.venue_now) < 5 * MS
    assert desk.feed("suspended") == []


@pytest.mark.parametrize("step", [-3600 * S, 86_400 * S, 352_186_667 * S])
def test_a_machine_that_says_how_long_it_slept_may_set_its_clock_as_it_likes(desk: Desk, step: int) -> None:
    desk.asleep = 7 * S
    desk.run(0.1)
    desk.wall += step
    desk.run(1)
    desk.bring(desk.market.quote(7))
    assert abs(desk.quotes[-1].ts - desk.venue_now) < 5 * MS
    assert desk.feed("suspended") == [] and len(desk.connects) == 1
    # When it really sleeps, and its clock is set back meanwhile
    desk.asleep += 600 * S
    desk.wall += 600 * S - 2 * step
    desk.venue_now += 600 * S
    desk.run(0.5)
    (suspended,) = desk.feed("suspended")
    assert suspended.detail == {"asleep_ms": 600_000} and len(desk.connects) == 2


def test_after_a_sleep_connections_are_new_and_time_is_asked_before_it_is_used(desk: Desk) -> None:
    last = desk.batches()[-1].ts
    desk.wall += 600 * S
    desk.venue_now += 600 * S
    desk.market.trade(count=30)
    desk.run(0.05)
    (suspended,) = desk.feed("suspended")
    assert suspended.ts <= last + 100 * MS, "it stands where the sleep began"
    assert suspended.detail == {"asleep_ms": 600_000}
    desk.run(0.5)
    assert len(desk.connects) == 2
    desk.bring(desk.market.quote(7), *desk.market.trade())
    assert abs(desk.quotes[-1].ts - desk.venue_now) < 5 * MS
    desk.run(3)
    assert sorted(ids(desk)) == list(range(1000, 1032)), "what was slept through is healed"


def test_a_time_days_away_is_rejected(desk: Desk) -> None:
    for away in (25 * 3600 * S, -25 * 3600 * S):
        desk.bring(desk.market.frame("SOLUSDT", 1001, desk.venue_now + away))
    assert len(desk.rejected) == 2
    assert ids(desk) == [1000]
    desk.run(0.2)
    assert abs(desk.batches()[-1].ts - desk.venue_now) < 60 * MS


def test_a_time_hours_ahead_is_kept_but_does_not_move_ours(desk: Desk) -> None:
    desk.bring(desk.market.frame("SOLUSDT", 1001, desk.venue_now + 20 * 3600 * S), desk.market.quote(7))
    assert ids(desk) == [1000, 1001]
    assert abs(desk.quotes[-1].ts - desk.venue_now) < 5 * MS


def test_a_clock_an_hour_off_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loguru import logger

    said: list[str] = []
    sink = logger.add(lambda text: said.append(str(text)), level="WARNING")
    ready(Desk(tmp_path, offset=3600 * S))
    logger.remove(sink)
    assert sum("1 h 0 min behind" in text for text in said) == 1


# --- recordings ---


def test_a_recording_is_stamped_with_the_highest_time_its_connection_has_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True)
    desk.run(0.3)
    first = desk.ingest.healer.venue_ts
    desk.bring(desk.market.quote(1), desk.market.frame("SOLUSDT", 1, START + 5 * S), desk.market.quote(2))
    desk.pass_time(3 * S)
    desk.bring(desk.market.quote(3), desk.market.frame("SOLUSDT", 2, START + 4 * S), desk.market.quote(4))
    high = START + 5 * S + 500_000
    assert [quote.ts for quote in desk.quotes] == [first, high, high, high]
    desk.run(2)
    assert desk.batches()[-1].ts == high, "no clock carries it on"


def test_days_may_pass_in_a_recording(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True)
    desk.run(0.3)
    desk.bring(*(desk.market.frame("SOLUSDT", one, START + one * 86_400 * S * 3) for one in range(5)))
    assert len(ids(desk)) == 5
    assert desk.rejected == []


def test_quotes_of_a_later_connection_wait_for_its_first_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True)
    desk.run(0.3)
    desk.bring(desk.market.frame("SOLUSDT", 1, START + 5 * S), desk.market.quote(1))
    desk.close(desk.open[-1])
    desk.run(2)
    desk.bring(desk.market.quote(2))
    assert [quote.update_id for quote in desk.quotes] == [1]
    desk.bring(desk.market.frame("SOLUSDT", 2, START + 9 * S), desk.market.quote(3))
    assert [(quote.update_id, quote.ts) for quote in desk.quotes[1:]] == [(2, START + 9 * S + 500_000)] * 1 + [
        (3, START + 9 * S + 500_000)
    ]


def test_a_recording_that_is_over_closes_everything(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True)
    desk.run(0.3)
    frames = desk.market.trade(count=5)
    desk.bring(frames[0], frames[4], desk.market.quote(1))
    desk.close(desk.open[-1], 1000, "ended")
    desk.run(0.2)
    assert desk.feed("ended") == [], "there is something to heal first"
    desk.run(3)
    assert desk.ingest.ended
    assert sorted(ids(desk)) == [1000, 1001, 1002, 1003, 1004]
    assert desk.batches()[-1].events[-1] == desk.feed("ended")[0]
    assert len(desk.connects) == 1


def test_any_other_end_of_a_recording_is_a_lost_connection(tmp_path: Path) -> None:
    desk = ready(Desk(tmp_path, replay=True))
    desk.close(desk.open[-1], 1000, "bye")
    desk.run(3)
    assert not desk.ingest.ended
    assert len(desk.connects) == 2


# --- gaps ---


def test_the_first_id_ever_seen_is_the_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.market.trade(count=500)
    ready(desk)
    desk.run(70)
    assert ids(desk) == [1500]
    assert desk.asked("historicalTrades") == []


def test_a_missing_id_is_fetched_after_a_moment_and_said(desk: Desk) -> None:
    frames = desk.market.trade(count=5)
    desk.bring(frames[0], *frames[3:])
    desk.run(0.5)
    assert desk.asked("historicalTrades") == [], "a little disorder is no loss"
    desk.run(1.5)
    assert sorted(ids(desk)) == list(range(1000, 1006))
    fetched = [trade for trade in desk.trades if trade.source == "rest"]
    assert [(trade.trade_id, trade.ts_sent) for trade in fetched] == [(1002, None), (1003, None)]
    (gap,), (healed,) = desk.feed("gap"), desk.feed("healed")
    assert (gap.detail["first_id"], gap.detail["last_id"], gap.symbols) == (1002, 1003, ["SOLUSDT"])
    assert (healed.detail["first_id"], healed.detail["last_id"], healed.detail["source"]) == (1002, 1003, "rest")


def test_disorder_within_a_second_costs_nothing(desk: Desk) -> None:
    frames = desk.market.trade(count=4)
    desk.bring(frames[3], frames[1])
    desk.run(0.6)
    desk.bring(frames[2], frames[0])
    desk.run(3)
    assert desk.asked("historicalTrades") == []
    assert desk.feed("gap") == []
    assert sorted(ids(desk)) == list(range(1000, 1005))


def test_what_was_missed_while_disconnected_is_found_without_any_later_trade(desk: Desk) -> None:
    desk.close(desk.open[-1])
    desk.market.trade(count=2500)
    desk.run(4)
    desk.bring(desk.market.quote(9))
    desk.run(6)
    assert sorted(ids(desk)) == list(range(1000, 3501))
    assert len(desk.asked("historicalTrades")) == 3, "a thousand a page"


def test_without_a_journal_the_archivers_checkpoint_says_what_is_held(desk: Desk) -> None:
    desk.bring(*desk.market.trade(count=9))
    saved = Checkpoint(Files(desk.folder), CONSUMERS[0])
    saved.load()
    ts = desk.batches()[-1].ts
    saved.store(msgspec.msgpack.encode({"position": 50, "ts": ts, "ids": {"SOLUSDT": [[1000, 1009]]}}))
    shutil.rmtree(desk.folder / "journal/src")
    desk.market.trade(count=20)
    desk.kill()
    desk.run(0.3)
    desk.bring(desk.market.quote(9))
    desk.run(3)
    assert sorted(ids(desk)) == list(range(1010, 1030))
    assert desk.batches()[0].first == 51, "numbers go on behind what was taken"


def test_what_was_missed_while_killed_is_found(desk: Desk) -> None:
    desk.kill()
    desk.market.trade(count=100)
    desk.run(0.3)
    desk.bring(desk.market.quote(9))
    desk.run(3)
    assert sorted(ids(desk)) == list(range(1000, 1101))


def test_a_symbol_gone_quiet_is_asked_about_within_a_minute_and_no_gap(desk: Desk) -> None:
    before = len(desk.asked("aggTrades"))
    for update in range(600):
        desk.run(0.5)
        desk.bring(desk.market.quote(10 + update))
    assert 6 <= len(desk.asked("aggTrades")) - before <= 10
    assert desk.feed("gap") == []
    assert desk.feed("stale") == []


def test_only_ids_really_in_an_answer_count_and_three_empty_ones_are_enough(desk: Desk) -> None:
    frames = desk.market.trade(count=10)
    desk.market.hidden = {1003, 1004}
    desk.bring(frames[0], frames[9])
    desk.run(30)
    assert sorted(set(range(1000, 1011)) - set(ids(desk))) == [1003, 1004]
    (lost,) = desk.feed("unhealable")
    assert (lost.detail["first_id"], lost.detail["last_id"]) == (1003, 1004)
    assert "reason" in lost.detail
    assert [(healed.detail["first_id"], healed.detail["last_id"]) for healed in desk.feed("healed")] == [
        (1002, 1002),
        (1005, 1009),
    ]
    asked = len(desk.asked("historicalTrades"))
    assert asked == 3
    desk.run(120)
    assert len(desk.asked("historicalTrades")) == asked
    desk.kill()
    desk.run(5)
    assert len(desk.asked("historicalTrades")) == asked, "given up is remembered"


def test_a_page_that_ends_early_condemns_nothing_behind_it(desk: Desk) -> None:
    desk.close(desk.open[-1])
    desk.market.trade(count=3000)
    desk.market.hidden = {1500}
    desk.run(4)
    desk.bring(desk.market.quote(9))
    desk.run(40)
    assert sorted(set(range(1000, 4001)) - set(ids(desk))) == [1500]


def test_an_id_that_comes_late_is_taken_even_where_it_was_given_up(desk: Desk) -> None:
    frames = desk.market.trade(count=3)
    desk.market.hidden = {1002}
    desk.bring(frames[0], frames[2])
    desk.run(30)
    desk.bring(frames[1])
    assert sorted(ids(desk)) == [1000, 1001, 1002, 1003]


def test_a_pause_the_venue_asks_for_is_kept_and_then_healing_goes_on(desk: Desk) -> None:
    frames = desk.market.trade(count=5)
    desk.market.error = Limited("HTTP 429", 429, 20.0)
    desk.bring(frames[0], frames[4])
    desk.run(10)
    asked = len(desk.market.asked)
    desk.run(8)
    assert len(desk.market.asked) == asked
    desk.market.error = None
    desk.run(10)
    assert sorted(ids(desk)) == list(range(1000, 1006))
    assert desk.feed("unhealable") == []


def test_no_network_for_rest_gives_nothing_up(desk: Desk) -> None:
    frames = desk.market.trade(count=5)
    desk.market.error = Unreachable("nobody there")
    desk.bring(frames[0], frames[4])
    desk.run(300)
    assert desk.feed("unhealable") == []
    assert len(desk.market.asked) < 60, "with growing patience"
    desk.market.error = None
    desk.run(70)
    assert sorted(ids(desk)) == list(range(1000, 1006))


def test_an_address_without_history_heals_what_is_recent_and_says_what_it_cannot(desk: Desk) -> None:
    desk.market.refuse["historicalTrades"] = Refused("HTTP 404", 404)
    desk.close(desk.open[-1])
    desk.market.trade(count=1500)
    desk.run(4)
    desk.bring(desk.market.quote(9))
    desk.run(60)
    assert sorted(ids(desk)) == [1000, *range(1501, 2501)]
    (lost,) = desk.feed("unhealable")
    assert (lost.detail["first_id"], lost.detail["last_id"]) == (1001, 1500)


def test_a_bogus_id_far_ahead_does_not_keep_us_asking_for_ever(desk: Desk) -> None:
    desk.bring(desk.market.frame("SOLUSDT", 2**62, desk.venue_now))
    desk.bring(*desk.market.trade(count=3))
    desk.run(120)
    assert len(desk.asked("historicalTrades")) < 10
    assert set(range(1000, 1004)) <= set(ids(desk))


# --- futures ---


def test_futures_gaps_heal_by_recent_trades_and_then_by_aggregates_inside_the_gap(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "binance_usdm", symbols=["BTCUSDT"], streams=["trade"])
    desk.run(0.2)

    def frame(raw: bytes) -> bytes:
        data = msgspec.json.decode(raw)
        data["data"] |= {"E": data["data"]["E"] // 1000, "T": data["data"]["T"] // 1000, "X": "MARKET"}
        return msgspec.json.encode(data)

    desk.bring(*map(frame, desk.market.trade("BTCUSDT", 5)))
    desk.close(desk.open[-1])
    for _ in range(30):
        desk.market.trade("BTCUSDT", 100)
        desk.run(0.1)
    desk.run(2)
    desk.bring(*map(frame, desk.market.trade("BTCUSDT", 5)))
    desk.run(30)
    raw, covered = set(ids(desk)), {row.first_trade_id for row in desk.aggregates}
    assert raw | covered == set(range(1000, 4010))
    assert not raw & covered, "nothing is there twice"
    assert {row.source for row in desk.aggregates} == {"rest"}
    desk.kill()
    desk.run(3)
    assert desk.ingest.books["BTCUSDT"].trades.held.intervals == [[1000, 4009]]


# --- connections ---


def test_quotes_stand_from_the_first_data_to_the_end_of_the_last_connection(desk: Desk) -> None:
    (connected,) = desk.feed("connected")
    assert connected.symbols == ["SOLUSDT"]
    desk.close(desk.open[-1])
    desk.run(3)
    (disconnected,) = desk.feed("disconnected")
    assert disconnected.symbols == ["SOLUSDT"]
    desk.bring(desk.market.quote(9))
    desk.run(0.1)
    assert len(desk.feed("connected")) == 2


@pytest.mark.parametrize("why", ["shutdown", "age"])
def test_the_new_connection_delivers_before_the_old_one_goes(tmp_path: Path, why: str) -> None:
    desk = ready(Desk(tmp_path, lifetime_h=0.02))
    old = desk.open[-1]
    if why == "shutdown":
        desk.bring(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}')
        desk.run(0.1)
    else:
        for update in range(80):
            desk.run(1)
            if len(desk.connects) > 1:
                break
            desk.bring(desk.market.quote(10 + update))
    assert len(desk.connects) == 2
    assert desk.open == [old, old + 1]
    both = desk.market.trade(count=3)
    desk.bring(*both, desk.market.quote(500), link=old)
    desk.run(2)
    assert old in desk.open, "the new one has shown nothing yet"
    desk.bring(*both, desk.market.quote(500), *desk.market.trade(), desk.market.quote(501))
    desk.run(2)
    assert desk.open == [old + 1]
    assert ids(desk) == list(range(1000, 1005))
    assert desk.feed("disconnected") == []


def test_a_lost_connection_is_tried_again_with_growing_patience(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.refuse = lambda _: ("connection refused", None)
    times: list[float] = []
    for _ in range(6000):
        desk.run(0.1)
        if len(desk.connects) > len(times):
            times.append(desk.mono / S)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[0] < 1
    assert max(waits) <= 5, "every second costs quotes"
    assert waits[:5] == sorted(waits[:5])
    assert len(times) < 300, "in ten minutes: the venue allows so many in five"
    desk.refuse = lambda _: None
    desk.run(60)
    desk.bring(desk.market.quote(1))
    assert len(desk.quotes) == 1


def test_silence_while_the_venue_trades_is_stale_and_replaced(desk: Desk) -> None:
    for _ in range(60):
        desk.run(1)
        desk.market.trade()
        if len(desk.connects) > 1:
            break
    assert len(desk.connects) == 2
    assert desk.mono < 1050 * S
    (stale,) = desk.feed("stale")
    assert stale.symbols == ["SOLUSDT"]
    desk.bring(desk.market.quote(9), *desk.market.trade())
    desk.run(5)
    assert len(desk.open) == 1
    assert sorted(ids(desk)) == list(range(1000, desk.market.trades["SOLUSDT"][-1][0] + 1))


def test_silence_of_a_venue_that_does_not_trade_is_left_alone(desk: Desk) -> None:
    desk.run(600)
    assert len(desk.connects) == 1
    assert desk.feed("stale") == []


def test_many_streams_are_spread_and_subscribed_at_a_measured_pace(tmp_path: Path) -> None:
    symbols = [f"S{number}USDT" for number in range(1200)]
    desk = Desk(tmp_path, symbols=symbols, streams=["trade"])
    desk.market.known = symbols
    sent: list[tuple[float, int, Any]] = []
    for _ in range(200):
        before = len(desk.sent)
        desk.run()
        for send in desk.sent[before:]:
            asked = msgspec.json.decode(send.text)
            sent.append((desk.mono / S, send.link, asked))
            desk.ingest.frames(send.link, [b'{"result":null,"id":%d}' % asked["id"]], desk.wall, desk.mono)
    assert [len(connect.url) > 0 for connect in desk.connects] == [True, True]
    in_url = [
        stream for connect in desk.connects for stream in connect.url.split("streams=")[1].split("&")[0].split("/")
    ]
    later = [stream for _, _, asked in sent for stream in asked["params"]]
    assert sorted([*in_url, *later]) == sorted(f"{symbol.lower()}@trade" for symbol in symbols), "each once"
    for link in (1, 2):
        times = [at for at, to, _ in sent if to == link]
        assert all(later - earlier >= 0.2 for earlier, later in pairwise(times))


def test_a_subscription_nobody_answers_ends_the_connection(tmp_path: Path) -> None:
    symbols = [f"S{number}USDT" for number in range(300)]
    desk = Desk(tmp_path, symbols=symbols, streams=["trade"])
    desk.market.known = symbols
    desk.run(15)
    assert len(desk.connects) == 2


def test_a_route_that_stays_silent_is_left_and_one_that_is_refused_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "binance_usdm", symbols=["BTCUSDT"])
    desk.run(0.2)
    assert "/public/stream" in desk.connects[0].url
    for update in range(1, 200):
        quote = desk.market.quote(update, "BTCUSDT", T=desk.venue_now // MS, E=desk.venue_now // MS)
        desk.bring(quote, link=desk.open[0])
        desk.market.trade("BTCUSDT")
        desk.run(0.1)
        if len(desk.connects) > 1:
            break
    assert "/market/stream?streams=btcusdt@trade" in desk.connects[1].url
    assert desk.open == [1, 2], "quotes go on where they are"
    assert desk.feed("disconnected") == []

    unrouted = Desk(tmp_path / "b", "binance_usdm", symbols=["BTCUSDT"])
    unrouted.refuse = lambda connect: (
        ("HTTP 404", 404) if "/public/" in connect.url or "/market/" in connect.url else None
    )
    unrouted.run(1)
    assert unrouted.connects[-1].url.endswith("/stream?streams=btcusdt@trade/btcusdt@bookTicker")
    assert unrouted.open == [3]


# --- at start ---


def test_an_unknown_symbol_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    desk = Desk(tmp_path, symbols=["SOLUSDT", "ADAUSDDT"])
    desk.run(6)
    assert desk.ingest.listing.unknown == ["binance has no ADAUSDDT - did you mean ADAUSDT?"]
    assert desk.connects == []


def test_symbols_are_checked_later_where_the_venue_cannot_be_asked_now(tmp_path: Path) -> None:
    desk = Desk(tmp_path, symbols=["SOLUSDT", "ADAUSDDT"])
    desk.market.error = Unreachable("nobody there")
    desk.run(8)
    assert len(desk.connects) == 1
    desk.bring(*desk.market.trade())
    desk.market.error = None
    desk.run(70)
    assert desk.ingest.listing.unknown == []
    assert [stream for slot in desk.ingest.links.slots for stream in slot.streams] == [
        ("SOLUSDT", "trade"),
        ("SOLUSDT", "quote"),
    ]
    assert ids(desk) == [1000]


def test_a_venue_that_refuses_this_place_is_asked_slowly_and_said_once(tmp_path: Path) -> None:
    from loguru import logger

    said: list[str] = []
    sink = logger.add(lambda text: said.append(str(text)), level="WARNING")
    desk = Desk(tmp_path)
    desk.market.error = Blocked("HTTP 451", 451)
    desk.refuse = lambda _: ("HTTP 451", 451)
    desk.run(600)
    logger.remove(sink)
    assert sum("451" in text for text in said) == 1
    (text,) = [text for text in said if "451" in text]
    assert "wss://data-stream.binance.vision" in text
    assert "https://data-api.binance.vision" in text
    assert len(desk.connects) <= 11
    assert len(desk.market.asked) <= 20


def test_no_network_is_said_once_a_minute_with_the_demo(tmp_path: Path) -> None:
    from loguru import logger

    said: list[str] = []
    sink = logger.add(lambda text: said.append(str(text)), level="WARNING")
    desk = Desk(tmp_path)
    desk.market.error = Unreachable("nobody there")
    desk.refuse = lambda _: ("nobody there", None)
    desk.run(300)
    logger.remove(sink)
    assert 4 <= sum("supervisor.py demo" in text for text in said) <= 6
    assert desk.ingest.note


# --- limits and the end ---


def test_a_full_journal_pauses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    desk = ready(Desk(tmp_path, segment_bytes=100_000, journal_max_bytes=1 << 20))
    writer = desk.ingest.recorder.writer
    while not desk.ingest.paused:
        desk.bring(*desk.market.trade(count=1000))
        desk.run(1)
        assert len(ids(desk)) < 100_000
    assert desk.ingest.note == "journal full"
    assert desk.open == []
    assert desk.feed("disconnected")[-1].detail["reason"] == "journal full"
    desk.market.trade(count=500)
    desk.run(30)
    assert desk.open == []
    received = len(ids(desk))
    writer._consumers = ()  # all that is there has been taken
    desk.run(5)
    assert desk.ingest.paused == ""
    writer._consumers = CONSUMERS
    desk.bring(desk.market.quote(77))
    desk.run(10)
    newest = desk.market.trades["SOLUSDT"][-1][0]
    assert desk.ingest.books["SOLUSDT"].trades.held.intervals == [[1000, newest]]
    assert received == newest - 1000 + 1 - 500


def test_a_drained_stop_says_goodbye_and_leaves_everything_durable(desk: Desk) -> None:
    link = desk.open[-1]
    actions = desk.ingest.drain()
    assert [type(action).__name__ for action in actions] == ["Send", "Close"]
    desk.bring(*desk.market.trade(), link=link)
    desk.close(link, 1000, "")
    desk.ingest.finish(desk.wall, desk.mono)
    assert ids(desk) == [1000, 1001]
    assert desk.batches()[-1].events == []
    assert desk.feed("disconnected")[-1].symbols == ["SOLUSDT"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"venue": "binanse"}, "venue"),
        ({"symbols": []}, "symbols"),
        ({"symbols": ["solusdt"]}, "capitals"),
        ({"symbols": ["A", "A"]}, "twice"),
        ({"streams": ["depth"]}, "streams"),
        ({"streams": []}, "streams"),
        ({"gather_ms": -1}, "gather_ms"),
        ({"journal_max_bytes": (1 << 20) - 1}, "journal_max_bytes: at least 1048576 for 1 symbols"),
        (
            {"symbols": [f"S{n}" for n in range(500)], "journal_max_bytes": 8_191_999},
            "at least 8192000 for 500 symbols",
        ),
        ({"lifetime_h": 25.0}, "lifetime_h"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({"venue": "binance", "symbols": ["SOLUSDT"], **settings}, Config)


def test_the_venues_names_of_streams_are_understood() -> None:
    config = Config(venue="binance", symbols=["SOLUSDT"], streams=["bookTicker", "aggTrade", "quote"])
    assert config.kinds == ["quote", "agg_trade"]


def test_market_frames_are_what_the_venue_sends() -> None:
    assert b"solusdt@trade" in Market.frame("SOLUSDT", 1, START)


def test_a_damaged_end_of_the_journal_that_is_archived_is_not_fetched_again(desk: Desk) -> None:
    # Given trades that the archiver has taken, and a journal whose end is damaged behind its back
    desk.bring(*desk.market.trade(count=20))
    desk.run()
    last = desk.batches()[-1].last
    saved = Checkpoint(Files(desk.folder), CONSUMERS[0])
    saved.load()
    saved.store(msgspec.msgpack.encode({"position": last, "ts": START, "ids": {"SOLUSDT": [[1000, 1020]]}}))
    segment = sorted((desk.folder / "journal/src/src").iterdir())[0]
    data = segment.read_bytes()
    segment.write_bytes(data[: len(data) // 3] + b"\xff" + data[len(data) // 3 + 1 :])
    # When ingest starts anew
    desk.kill()
    desk.run(0.2)
    # Then what is archived is held
    assert desk.ingest.books["SOLUSDT"].trades.held.holds(1020)
    assert not desk.asked("historicalTrades")


def test_what_is_forgotten_of_long_ago_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procs.ingest.gaps.MOST_INTERVALS", 50)
    tracker = Tracker()
    tracker.told(0, START)
    for one in range(1, 401, 2):  # every other id is a hole of the venue's own
        tracker.take(one, START)
    again = Tracker()
    again.restore(tracker.state())
    again.look(0)
    found = again.look(3600 * 10**9)
    lowest = again.held.lowest
    assert found and lowest is not None and min(gap.first for gap in found) >= lowest


def test_a_symbol_recorded_no_more_is_asked_for_nothing_and_forgotten_by_nobody(tmp_path: Path) -> None:
    desk = ready(Desk(tmp_path))
    state = msgspec.msgpack.decode(desk.ingest.state())
    gone = {**state["books"]["SOLUSDT"], "trade": {**state["books"]["SOLUSDT"]["trade"], "held": [[1, 5], [9, 12]]}}
    state["books"]["GONEUSDT"] = gone
    desk.ingest._restore(msgspec.msgpack.encode(state))
    assert "GONEUSDT" not in desk.ingest.books
    desk.run(5)
    assert not [request for request in desk.asked("historicalTrades") if "GONEUSDT" in str(request)]
    assert "GONEUSDT" in msgspec.msgpack.decode(desk.ingest.state())["books"]
