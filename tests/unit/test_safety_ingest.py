"""Ingest's bolts, one by one: what is durable when, before what, and at which moment of the venue's time it is said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from procs.ingest import gaps, intake, keepsake
from procs.ingest.actions import Action, Close
from procs.ingest.core import STATE_VERSION
from procs.ingest.gaps import GRACE_NS, LAGS_NS, MOST_NONSENSE, TRIES, WAITS_NS, Gap, Tracker
from procs.ingest.links import OVERLAP_NS, WINDOW_NS
from procs.ingest.recorder import FEW, LONGEST_SYNC_NS, SYNC_NS, Recorder
from procs.ingest.space import Space
from procs.ingest.venuetime import AHEAD_NS, BELIEVED, VenueTime
from shared.events import Batch, Quote, Trade
from shared.files import Files
from shared.journal import unpack_all
from shared.rest import LONGEST_PAUSE_S, Answer, RestError
from shared.venues import Request
from tests.fixtures.desk import MS, START, Desk, S
from tests.unit.test_ingest import ready


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return ready(Desk(tmp_path))


def trade(ts: int, number: int = 1) -> Trade:
    return Trade("SOLUSDT", ts, ts, ts, ts, "1.5", "2.0", "buy", number)


# --- the recorder: journal, then lanes ---


class Ledger:
    """Writer, lane and publisher in one: what was asked of them, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.last = 0
        self.fails = self.is_slow = False
        self.error: OSError | None = None

    def append(self, batch: Batch) -> bytes:
        self.said.append("journal")
        if self.fails:
            raise OSError(28, "No space left on device")
        self.last = batch.last
        return b"record"

    def send(self, *what: object) -> bool:
        self.said.append("lane" if len(what) == 1 else "tap")
        return True

    def sync(self) -> None:
        self.said.append("durable")

    def begin_sync(self) -> None:
        self.said.append("begin")

    @property
    def is_syncing(self) -> bool:
        if self.error is not None:
            raise self.error
        return self.is_slow

    def roll(self) -> None:
        self.said.append("roll")


def write(recorder: Recorder, count: int) -> None:
    for number in range(count):
        recorder.write([], number, 0)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def recorder(ledger: Ledger) -> Recorder:
    return Recorder(ledger, [ledger], ledger, "binance")  # type: ignore[arg-type]


def test_a_record_is_in_the_journal_before_anybody_gets_it(recorder: Recorder, ledger: Ledger) -> None:
    recorder.write([], 5, 0)
    assert ledger.said == ["journal", "tap", "lane"]


def test_what_the_journal_refused_nobody_gets(recorder: Recorder, ledger: Ledger) -> None:
    ledger.fails = True
    with pytest.raises(OSError, match="No space left"):
        recorder.write([], 5, 0)
    assert ledger.said == ["journal"] and not recorder.is_dirty


def test_what_was_written_is_made_durable_and_nothing_twice(recorder: Recorder, ledger: Ledger) -> None:
    recorder.write([], 5, 0)
    for _ in range(3):
        recorder.sync()
    assert ledger.said[3:] == ["durable"]


def test_a_record_is_durable_once_a_sync_that_began_after_it_is_over(recorder: Recorder, ledger: Ledger) -> None:
    ledger.is_slow = True
    write(recorder, FEW + 1)
    recorder.make_durable(SYNC_NS)
    write(recorder, FEW + 1)
    ledger.is_slow = False
    recorder.make_durable(SYNC_NS + 1)
    assert (recorder.is_dirty, recorder.sync_due) == (True, 2 * SYNC_NS), "some came after it had begun"
    recorder.make_durable(2 * SYNC_NS)
    assert (recorder.is_dirty, recorder.sync_due) == (False, None)
    assert [word for word in ledger.said if word in ("begin", "durable")] == ["begin", "begin"]


def test_where_little_is_written_the_loop_waits_for_the_disk_itself(recorder: Recorder, ledger: Ledger) -> None:
    ledger.is_slow = True
    for number in range(1, 4):
        write(recorder, FEW)
        recorder.make_durable(number * SYNC_NS)
        assert ledger.said[-1] == "durable" and not recorder.is_dirty
    recorder.make_durable(4 * SYNC_NS)
    assert ledger.said.count("durable") == 3, "there was nothing to make durable"


def test_one_sync_goes_on_at_a_time_and_a_long_one_is_waited_for(recorder: Recorder, ledger: Ledger) -> None:
    ledger.is_slow = True
    write(recorder, FEW + 1)
    recorder.make_durable(SYNC_NS)
    del ledger.said[:]
    recorder.write([], 6, SYNC_NS)
    recorder.make_durable(SYNC_NS + LONGEST_SYNC_NS - 1)
    assert "durable" not in ledger.said and "begin" not in ledger.said
    assert (recorder.is_dirty, recorder.sync_due) == (True, None), "no turn is wanted for it"
    recorder.make_durable(SYNC_NS + LONGEST_SYNC_NS)
    assert (ledger.said[-1], recorder.is_dirty) == ("durable", False)


def test_what_a_sync_beside_the_loop_ended_with_is_raised_by_the_next_turn(recorder: Recorder, ledger: Ledger) -> None:
    ledger.is_slow = True
    write(recorder, FEW + 1)
    recorder.make_durable(SYNC_NS)
    ledger.error = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        recorder.make_durable(SYNC_NS + 1)
    assert recorder.is_dirty


def test_who_leaves_waits_until_all_is_durable_whatever_goes_on(recorder: Recorder, ledger: Ledger) -> None:
    ledger.is_slow = True
    write(recorder, FEW + 1)
    recorder.make_durable(SYNC_NS)
    recorder.sync()
    assert ledger.said[-1] == "durable" and not recorder.is_dirty
    recorder.sync()
    assert ledger.said.count("durable") == 1


def test_a_segment_begins_only_when_nothing_waits(recorder: Recorder, ledger: Ledger) -> None:
    """Its first record holds what was taken; what of that is not written would be lost with a kill, and not missed."""
    recorder.add(trade(1))
    recorder.roll()
    assert ledger.said == []
    recorder.flush(1, 0)
    recorder.roll()
    assert ledger.said[-1] == "roll"


# --- durability of a turn, of an end ---


def told(desk: Desk) -> list[str]:
    """What the journal is asked to do from here on."""
    writer, said = desk.ingest.recorder.writer, []
    append, close = writer.append, writer.close

    def appended(batch: Batch) -> bytes:
        said.append("append")
        return append(batch)

    writer.append = appended  # type: ignore[method-assign]
    writer.sync = writer.begin_sync = lambda: said.append("sync")  # type: ignore[method-assign]
    writer.close = lambda: (said.append("close"), close())[1]  # type: ignore[func-returns-value,method-assign]
    return said


def test_what_is_received_is_durable_a_fifth_of_a_second_later(desk: Desk) -> None:
    desk.pass_time(SYNC_NS)
    desk.turn()
    said = told(desk)
    desk.bring(*desk.market.trade())
    assert said == ["append"]
    desk.pass_time(SYNC_NS)
    desk.turn()
    assert said[-1] == "sync" and "close" not in said


def test_the_last_record_is_durable_before_the_journal_is_closed(desk: Desk) -> None:
    said = told(desk)
    desk.ingest.finish(desk.wall, desk.mono)
    assert said[-3:] == ["append", "sync", "close"]


def test_who_leaves_has_sent_what_is_written(desk: Desk) -> None:
    desk.bring(*desk.market.trade())
    desk.bring(*desk.market.trade())
    desk.ingest.finish(desk.wall, desk.mono)
    sent = [batch.last for message in desk.lane.messages for batch in unpack_all(message)]
    assert sent == [batch.last for batch in desk.batches()]


def test_a_recording_is_over_when_its_last_record_is_durable(tmp_path: Path) -> None:
    desk = Desk(tmp_path, replay=True, ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1")
    desk.run(0.5)
    desk.bring(*desk.market.trade())
    said = told(desk)
    for link in list(desk.open):
        desk.close(link, 1000, "ended")
    while not desk.ingest.ended:
        assert "sync" not in said or said[-1] in ("sync", "append")
        before = list(said)
        desk.pass_time(50 * MS)
        desk.ingest.turn(desk.wall, desk.mono)
        assert len(said) < 1000
    assert "sync" in said[len(before) :], "in the very turn that says so"
    assert desk.ingest.recorder.is_dirty is False


# --- a state that is somebody else's ---


def test_a_journal_of_another_version_is_not_taken_for_ours(desk: Desk) -> None:
    state = msgspec.msgpack.decode(desk.ingest.state())
    assert state["version"] == STATE_VERSION
    for version in (STATE_VERSION - 1, STATE_VERSION + 1):
        with pytest.raises(ValueError, match=f"state version {version}, this is version {STATE_VERSION}"):
            desk.ingest._restore(msgspec.msgpack.encode({**state, "version": version}))


# --- at which time it is said ---


def test_what_stood_when_the_last_life_ended_ends_then_and_not_now(desk: Desk) -> None:
    ts = desk.batches()[-1].ts
    desk.pass_time(3600 * S)
    desk.kill()
    desk.run(0.2)
    (said,) = [event for event in desk.feed("disconnected") if event.detail == {"reason": "restarted"}]
    assert said.ts == ts and said.symbols == []


def sleep(desk: Desk, seconds: int) -> None:
    """The machine sleeps; its monotonic clock stands still meanwhile."""
    desk.wall += seconds * S
    desk.venue_now += seconds * S


def test_a_sleep_began_behind_all_that_was_received_before_it(desk: Desk) -> None:
    desk.pass_time(80 * MS)
    desk.ingest.frames(desk.open[-1], desk.market.trade(), desk.wall, desk.mono)  # not written yet
    received = desk.venue_now
    sleep(desk, 3600)
    desk.pass_time(20 * MS)
    desk.turn()
    (slept,) = desk.feed("suspended")
    assert received // 1000 * 1000 <= slept.ts < received + S and slept.detail == {"asleep_ms": 3_600_000}


def test_after_a_sleep_no_time_is_told_until_somebody_knows_it(desk: Desk) -> None:
    desk.answer_rest = False
    sleep(desk, 3600)
    desk.pass_time(20 * MS)
    desk.turn()
    count = len(desk.batches())
    desk.run(1)
    assert len(desk.batches()) == count and not desk.ingest.time.known
    desk.bring(*desk.market.trade())
    assert desk.batches()[-1].ts >= desk.venue_now // 1000 * 1000


def test_the_time_is_asked_for_at_once_after_a_sleep_and_when_the_clock_was_set(desk: Desk) -> None:
    desk.run(20)
    for step in (3600, -3600):  # nobody says that it slept: set on is slept
        before = len(desk.asked("time"))
        desk.run(1)
        assert len(desk.asked("time")) == before
        desk.wall += step * S
        desk.run(0.5)
        assert len(desk.asked("time")) > before, step
        desk.run(20)


@pytest.mark.parametrize(("until", "longest", "left"), [(36_000, 5, 5), (7, 3600, 7), (10**9, 10**9, LONGEST_PAUSE_S)])
def test_a_pause_kept_from_before_is_no_longer_than_it_was_whatever_became_of_the_clock(
    desk: Desk, until: int, longest: int, left: float
) -> None:
    kept = msgspec.json.encode((desk.wall + until * S, longest * S))
    keepsake.write(Files(desk.folder), "journal/src/pause.json", kept)
    desk.kill()
    assert desk.ingest.healer.asker.pause_until == desk.mono + int(left) * S


def test_quotes_that_wait_for_a_time_when_their_connection_ends_get_it(desk: Desk) -> None:
    link = desk.ingest.links.links[desk.open[-1]]
    link.early.append(Quote("SOLUSDT", 0, None, None, desk.wall, "1.4", "2.0", "1.5", "3.0", 77))
    desk.close(link.number)
    desk.run(0.1)
    (found,) = [quote for quote in desk.quotes if quote.update_id == 77]
    assert abs(found.ts - desk.venue_now) < S


def test_what_came_over_a_connection_that_ends_keeps_its_time(tmp_path: Path) -> None:
    """Of a recording nothing else tells the time."""
    desk = Desk(tmp_path, replay=True, ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1")
    desk.run(0.5)
    later = START + 500 * S
    desk.ingest.frames(desk.open[-1], [desk.market.frame("SOLUSDT", 1000, later)], desk.wall, desk.mono)
    desk.close(desk.open[-1])
    desk.run(0.1)
    (batch,) = [batch for batch in desk.batches() if any(isinstance(event, Trade) for event in batch.events)]
    assert batch.ts >= later


def test_a_worse_measurement_does_not_replace_a_better_one_until_that_has_aged() -> None:
    time = VenueTime()
    time.measure(100 * S, 0, 2 * MS)  # half of two milliseconds wrong at most
    time.measure(500 * S, 10 * S, 11 * S)
    assert time.now(10 * S) == 110 * S - MS
    late = 100_000 * S  # at 50 parts in a million it may be five seconds wrong by now
    time.measure(777 * S, late, late + S)
    assert time.now(late + S) == 777 * S + S // 2


def test_an_answer_that_came_after_a_standstill_says_nothing_of_the_time() -> None:
    time = VenueTime()
    assert not time.measure(100 * S, 0, 3600 * S)  # it may be of any moment of this hour
    assert not time.known and not time.measured
    assert time.measure(100 * S, 3600 * S, 3601 * S) and time.measured


def test_who_stood_still_while_the_venue_said_its_time_asks_again(tmp_path: Path) -> None:
    desk, trips = Desk(tmp_path), [3600 * S]
    answer = desk.market.answer

    def late(request: Request) -> Answer | RestError:
        found = answer(request)
        if isinstance(found, Answer) and request.path.endswith("/time") and trips:
            return Answer(found.body, desk.mono - trips.pop(), desk.mono, desk.wall)
        return found

    desk.market.answer = late  # type: ignore[method-assign]
    ready(desk)
    desk.run(3)
    assert not trips
    trips_said = [event.detail["round_trip_ns"] for event in desk.feed("clock")]
    assert trips_said and max(trips_said) < S
    assert abs(desk.ingest.now() - desk.venue_now) < S


def test_one_event_from_the_future_moves_no_time_and_twenty_in_a_row_do() -> None:
    time = VenueTime()
    time.measure(100 * S, 0, 2 * MS)
    far = 100 * S + 2 * AHEAD_NS
    assert [time.believes(far, 0) for _ in range(BELIEVED - 1)] == [False] * (BELIEVED - 1)
    assert time.now(MS) == 100 * S and time.believes(100 * S, 0)
    assert [time.believes(far, 0) for _ in range(BELIEVED)] == [False] * (BELIEVED - 1) + [True]
    assert time.now(0) == far and not time.measured


def waiting(update: int) -> Quote:
    return Quote("SOLUSDT", 0, None, None, 1, "1.4", "2.0", "1.5", "3.0", update)


def test_quotes_that_waited_are_never_older_than_the_journal(desk: Desk) -> None:
    link, reached = desk.ingest.links.links[desk.open[-1]], desk.ingest.recorder.ts
    link.early.append(waiting(77))
    desk.ingest.intake.release(link, reached - 5 * S)
    desk.ingest.flush(desk.mono)
    assert desk.quotes[-1].update_id == 77 and desk.quotes[-1].ts == reached


def test_quotes_do_not_wait_in_any_number_for_a_time_that_nobody_tells(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_EARLY", 3)
    link = desk.ingest.links.links[desk.open[-1]]
    desk.ingest.time.forget()
    link.high = 0
    desk.bring(desk.market.quote(70), desk.market.quote(71))
    assert len(link.early) == 2
    desk.bring(desk.market.quote(72))
    assert link.early == [] and [quote.update_id for quote in desk.quotes[-3:]] == [70, 71, 72]


def test_a_pause_is_cut_short_by_no_other(desk: Desk) -> None:
    asker = desk.ingest.healer.asker
    asker.pause(desk.mono + 90 * S)
    asker.pause(desk.mono + 3 * S)
    assert asker.pause_until == desk.mono + 90 * S and not asker.is_free(desk.mono + 89 * S)


def test_a_venue_is_never_asked_for_more_connections_than_it_allows(desk: Desk) -> None:
    links = desk.ingest.links
    most, made = links._venue.limits.connects_per_5min, len(links._attempts)
    assert made == len(desk.connects) == 1
    assert sum(links._may_connect(desk.mono) for _ in range(most + 9)) == most - made
    assert not links._may_connect(desk.mono + WINDOW_NS - S)
    assert links._may_connect(desk.mono + WINDOW_NS)


def test_the_old_connection_goes_a_moment_after_the_new_one_delivers(desk: Desk) -> None:
    links = desk.ingest.links
    (slot,) = links.slots
    old, actions = slot.current, list[Action]()
    assert old is not None
    slot.successor = links._link(slot, desk.mono, actions)
    links._promote(slot, desk.mono)
    assert not any(isinstance(action, Close) for action in links.turn(desk.mono + OVERLAP_NS - 1))
    assert Close(old.number) in links.turn(desk.mono + OVERLAP_NS)


# --- what is missing: patience, and its end ---


def lacking(*held: int) -> Tracker:
    found = Tracker()
    for one in held:
        found.take(one, one)
    return found


def test_a_hole_is_a_gap_after_its_grace_and_not_before() -> None:
    tracker = lacking(1, 3)
    assert tracker.look(5) == []
    assert tracker.look(5 + GRACE_NS - 1) == []
    (gap,) = tracker.look(5 + GRACE_NS)
    assert (gap.first, gap.last, gap.missing) == (2, 2, 1)
    assert tracker.look(9 * S) == [], "once"


def test_a_hole_that_changes_its_shape_is_as_old_as_it_was() -> None:
    tracker = lacking(1, 9)
    tracker.look(0)
    tracker.take(5, 5)
    assert [(gap.first, gap.last) for gap in tracker.look(GRACE_NS)] == [(2, 4), (6, 8)]


def test_answers_that_make_no_sense_are_waited_out_ever_longer_and_not_for_ever() -> None:
    gap, waits = Gap(1, 2, 0, 0, 2), []
    while not Tracker.puzzled(gap, 100 * S):
        waits.append((gap.next_mono - 100 * S) // S)
    assert len(waits) == MOST_NONSENSE - 1 == 8
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256]


def test_three_answers_without_an_id_are_enough_and_two_are_not() -> None:
    tracker = lacking(1, 4)
    tracker.look(0)
    (gap,) = tracker.look(S)
    now = S
    for number in range(1, TRIES):
        assert tracker.tried(2, 3, now) == []
        assert gap.next_mono == now + WAITS_NS[number] and tracker.due(gap.next_mono - 1) is None
        assert tracker.tried(2, 3, now) == [], "while it waits nothing counts"
        now = gap.next_mono
    assert tracker.tried(2, 3, now) == [(2, 3)]
    assert tracker.settle() == [gap] and tracker.missing == 0


def test_a_history_that_moves_on_is_waited_for_anew() -> None:
    tracker = lacking(1, 9)
    tracker.look(0)
    (gap,) = tracker.look(S)
    now = S
    for _ in LAGS_NS:
        assert tracker.lagged(2, 8, now) == []
        now = gap.next_mono
    tracker.take(2, 2)
    tracker.fetched(2)
    assert gap.lags == 0 and tracker.lagged(3, 8, now) == []


def test_a_gap_that_is_wholly_left_to_somebody_else_is_none_of_ours_any_more() -> None:
    tracker = lacking(1, 9)
    tracker.look(0)
    (gap,) = tracker.look(S)
    assert tracker.leave(gap, 2) is None and tracker.gaps == [gap]
    assert tracker.leave(gap, 5) == (2, 4) and tracker.gaps == [gap] and gap.first == 5
    assert tracker.leave(gap, 99) == (5, 8) and tracker.gaps == []
    tracker._stirred = True
    assert tracker.look(2 * S) == tracker.look(9 * S) == [], "and is not found again"


def test_where_nothing_is_held_what_is_missing_counts_from_where_we_began() -> None:
    tracker = Tracker()
    tracker.told(100, 1)
    tracker.told(103, 2)
    tracker.look(0)
    assert [(gap.first, gap.last) for gap in tracker.look(S)] == [(101, 103)]
    tracker = Tracker()
    tracker.told(100, 1)
    tracker.take(102, 2)
    tracker.look(0)
    assert [(gap.first, gap.last) for gap in tracker.look(S)] == [(101, 101)]


def test_the_floor_is_laid_once_and_below_it_nothing_is_missing() -> None:
    tracker = lacking(50)
    tracker.told(60, 1)
    assert tracker.floor is None
    tracker = Tracker()
    tracker.told(100, 1)
    tracker.told(200, 1)
    assert tracker.floor == 100 and tracker.top == 100


def test_an_id_below_all_that_was_held_opens_the_hole_above_it() -> None:
    tracker = lacking(50, 51)
    assert tracker.look(0) == []
    tracker.take(47, 1)
    tracker.look(0)
    assert [(gap.first, gap.last) for gap in tracker.look(S)] == [(48, 49)]


def test_only_what_is_known_to_be_missing_is_taken_from_an_answer() -> None:
    tracker = lacking(10, 12)
    assert not tracker.wanted(11), "not noticed yet: the stream may bring it"
    tracker.look(0)
    tracker.look(S)
    assert [one for one in range(9, 15) if tracker.wanted(one)] == [11]


def test_a_gap_outlives_a_restart_with_all_that_was_said_of_it() -> None:
    tracker = lacking(1, 9)
    tracker.look(0)
    (gap,) = tracker.look(S)
    tracker.void(2, 3)
    again = Tracker()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(tracker.state())))
    (kept,) = again.gaps
    assert (kept.first, kept.last, kept.start, kept.end) == (gap.first, gap.last, gap.start, gap.end)
    assert again.holes(kept) == [(4, 8)] and again.take(10, 10) and not again.take(9, 9)


def test_what_is_forgotten_of_the_held_ids_is_asked_for_by_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "MOST_INTERVALS", 2)
    tracker = lacking(1, 3, 5, 7)
    tracker.look(0)
    assert len(tracker.look(S)) == 3
    assert tracker.state()["floor"] == 4
    assert [(gap.first, gap.last) for gap in tracker.gaps] == [(6, 6)]


# --- room ---


class Journal:
    """A journal of which so much is held."""

    held_bytes = 0
    cut_loose: set[str] = set()

    def trim(self) -> int:
        return 0


class Free:
    """A disk with so much free, of a thousand megabytes."""

    mb = 500

    def free(self) -> tuple[int, int]:
        return self.mb << 20, 1000 << 20


def test_receiving_stops_at_a_full_journal_and_goes_on_well_below_it() -> None:
    journal, disk = Journal(), Free()
    space = Space(journal, disk, 1000)  # type: ignore[arg-type]
    said = []
    for held in (999, 1000, 999, 751, 750, 999):
        journal.held_bytes = held
        space.turn()
        said.append(space.why)
    assert said == ["", "journal full", "journal full", "journal full", "", ""]


def test_receiving_stops_on_a_full_disk_and_goes_on_with_twice_as_much() -> None:
    journal, disk = Journal(), Free()
    space = Space(journal, disk, 1000)  # type: ignore[arg-type]
    said = []
    for disk.mb in (11, 9, 11, 19, 21):
        space.turn()
        said.append(space.why)
    assert said == ["", "disk full", "disk full", "disk full", ""]
