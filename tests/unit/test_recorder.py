"""What ingest gathered becomes records in sequence, each with the time its own events have reached."""

from __future__ import annotations

from pathlib import Path

from procs.ingest.recorder import BATCH_EVENTS, SECOND, Recorder
from shared.events import Feed, Quote, Rejected, Trade
from shared.files import Files
from shared.journal import Reader, Writer
from tests.columns import columns_of

FOLDER = "journal/binance/binance"


def recorder(lake: Path) -> Recorder:
    writer = Writer(Files(lake), FOLDER, lambda: b"")
    writer.open()
    writer.roll()
    return Recorder(writer, [], None, "binance")


def test_a_long_drain_does_not_make_its_own_end_late(tmp_path: Path) -> None:
    # Given a drain that spans more market time than any lateness, as a fast replay reads it
    found = recorder(tmp_path)
    times = [number * SECOND // 100 for number in range(1, 2 * BATCH_EVENTS + 500)]
    for number, ts in enumerate(times):
        found.add(Trade("SOLUSDT", ts, ts, ts, ts, "1.5", "2.5", "buy", number))
    # When it is written
    found.flush(times[-1], 0)
    # Then no record claims a time that later records have yet to reach
    batches = Reader(Files(tmp_path), FOLDER).read(0)
    assert [len(batch.events) for batch in batches] == [BATCH_EVENTS, BATCH_EVENTS, 499]
    assert [batch.ts for batch in batches] == [times[BATCH_EVENTS - 1], times[2 * BATCH_EVENTS - 1], times[-1]]


def test_time_never_goes_back(tmp_path: Path) -> None:
    found = recorder(tmp_path)
    for now in (5 * SECOND, 3 * SECOND, 6 * SECOND):
        found.write([], now, 0)
    assert [batch.ts for batch in Reader(Files(tmp_path), FOLDER).read(0)] == [5 * SECOND, 5 * SECOND, 6 * SECOND]


def test_a_flood_of_garbage_is_counted_and_costs_a_bounded_number_of_lines(tmp_path: Path) -> None:
    found = recorder(tmp_path)
    for _ in range(5000):
        found.reject(b"\xff garbage", "not JSON", 1, 1, 0)
    said = sum(isinstance(event, Rejected) for event in found.events)
    assert found.counters["rejected"] == 5000 and said <= 1000
    assert found.counters["rejected_unsaid"] == 5000 - said


def quote(symbol: str, ts: int) -> Quote:
    return Quote(symbol, ts, None, None, 0, "1.5", "1", "1.6", "1", ts)


def trade(symbol: str, ts: int) -> Trade:
    return Trade(symbol, ts, ts, ts, 0, "1.5", "2.5", "buy", ts)


def test_what_flows_first_is_found_among_all_that_waits_behind_the_last_disconnect(tmp_path: Path) -> None:
    found, ours = recorder(tmp_path), {"SOLUSDT", "ADAUSDT"}
    found.add(quote("SOLUSDT", 1))
    assert (found.first(True, ours), found.first(False, ours), found.first(True, {"ADAUSDT"})) == (1, None, None)
    found.add(Feed("disconnected", 2, 0, ["SOLUSDT"]))
    assert found.first(True, ours) is None
    found.add_columns(
        columns_of([trade("BTCUSDT", 3), trade("SOLUSDT", 4), quote("BTCUSDT", 5), quote("ADAUSDT", 6)]), 6
    )
    found.add(Feed("connected", 7, 0, ["SOLUSDT"]))
    found.add(quote("SOLUSDT", 8))
    found.add(trade("ADAUSDT", 9))
    assert [found.first(kind, ours) for kind in (True, False)] == [6, 4]
    assert [found.first(kind, {"SOLUSDT"}) for kind in (True, False)] == [8, 4]
    assert [found.first(kind, {"ADAUSDT"}) for kind in (True, False)] == [6, 9]
