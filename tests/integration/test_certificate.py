"""The certificate: what is missing, what was fetched, what nobody has, and in one word whether to rely on a day."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config
from procs.validator.work import validate
from shared import paths
from shared.barfiles import bar_table
from shared.errand import Errand
from shared.events import AggTrade, Feed, Quote, Rejected, Trade
from shared.files import Files
from shared.lines import line
from shared.process import Lifeline
from tests.fixtures.small_lake import (
    HOUR,
    MINUTE,
    SECOND,
    VENUE,
    Market,
    bars_of,
    write_feed,
    write_lake,
    write_reached,
)

DATE, NEXT = "2025-10-20", "2025-10-21"
MORNING = paths.day_start(DATE)
MIDNIGHT = paths.day_start(NEXT)
Events = list[Trade | Quote]


def a_whole_day() -> Events:
    """From before midnight to behind the next, a minute at a time; ids without a hole."""
    market = Market()
    events: Events = market.events(MORNING - SECOND, 1)
    for start in (MORNING, MORNING + HOUR, MORNING + 13 * HOUR, MIDNIGHT - MINUTE, MIDNIGHT):
        events += market.events(start, 60, every=20)
    return events


def trades_of(events: Events) -> list[Trade]:
    return [e for e in events if isinstance(e, Trade) and MORNING <= e.ts < MIDNIGHT]


def without(events: Events, lost: set[int]) -> Events:
    return [e for e in events if not (isinstance(e, Trade) and e.trade_id in lost)]


def judged(disk: Files, date: str = DATE) -> dict[str, Any]:
    validate(Errand(disk, Config(), None, date, True, Lifeline()))
    return certificate(disk, date)


def certificate(disk: Files, date: str = DATE, venue: str = VENUE) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(disk.read(paths.certificate(venue, "SOLUSDT", date)))
    return found


def a_lake(root: Path, events: Events, feed: list[Feed] | None = None, reached: int = MIDNIGHT + 3 * MINUTE) -> Files:
    disk = Files(root)
    write_lake(disk, events, feed or (), reached)
    return disk


def test_a_day_received_whole_is_complete(tmp_path: Path) -> None:
    said = judged(a_lake(tmp_path, a_whole_day()))
    assert (said["verdict"], said["wrong"], said["healed"]) == ("complete", [], 0)
    assert {one["verdict"] for one in said["hours"]} == {"complete"} and len(said["hours"]) == 24
    assert sum(said["seconds"].values()) == 86_400 and said["seconds"]["unknown"] == 0


def test_a_day_with_fetched_trades_is_healed_and_names_them_by_source(tmp_path: Path) -> None:
    events = a_whole_day()
    trades = trades_of(events)
    trades[3].source = trades[4].source = "rest"
    trades[9].source = "archive"
    said = judged(a_lake(tmp_path, events))
    assert (said["verdict"], said["healed"], said["wrong"]) == ("healed", 3, [])
    assert said["ids"]["healed"] == {
        "rest": [[trades[3].trade_id, trades[4].trade_id]],
        "archive": [[trades[9].trade_id] * 2],
    }
    assert [one["hour"] for one in said["hours"] if one["verdict"] == "healed"] == [0, 1]


def test_missing_ids_make_a_day_partial_and_are_named_with_the_reason_nobody_has_them(tmp_path: Path) -> None:
    events = a_whole_day()
    ids = [trade.trade_id for trade in trades_of(events)]
    why = {"stream": "trade", "first_id": ids[7], "last_id": ids[8], "reason": "not in the venue's history"}
    gone = Feed("unhealable", MIDNIGHT + SECOND, MIDNIGHT, ["SOLUSDT"], why)  # given up after midnight
    said = judged(a_lake(tmp_path, without(events, {*ids[7:9], ids[10]}), [gone]))
    assert (said["verdict"], said["trades_missing"], said["unhealable"]) == ("partial", 3, 2)
    assert said["ids"]["missing"] == [[ids[7], ids[8]], [ids[10], ids[10]]]
    assert said["ids"]["unhealable_ranges"] == [
        {"first": ids[7], "last": ids[8], "reason": "not in the venue's history"}
    ]
    partial = [one["hour"] for one in said["hours"] if one["verdict"] == "partial"]
    assert partial == [1]


def test_what_is_given_up_days_later_stands_in_a_certificate_that_was_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = a_whole_day()
    lost = trades_of(events)[7].trade_id
    disk = a_lake(tmp_path, without(events, {lost}))
    monkeypatch.setattr("procs.validator.work.time.time_ns", lambda: MIDNIGHT + 8 * paths.DAY)
    monkeypatch.setattr("procs.validator.work.NEWEST", 0)
    said = judged(disk)
    assert (said["trades_missing"], said["unhealable"], said["is_provisional"]) == (1, 0, False)
    why = {"stream": "trade", "first_id": lost, "last_id": lost, "reason": "not in the venue's history"}
    write_feed(disk, [Feed("unhealable", MIDNIGHT + 3 * paths.DAY, MIDNIGHT, ["SOLUSDT"], why)])
    validate(Errand(disk, Config(), None, None, True, Lifeline()))
    said = certificate(disk)
    assert (said["trades_missing"], said["unhealable"]) == (1, 1)


@pytest.mark.parametrize("edge", [0, -1])
def test_ids_missing_at_the_edge_of_a_day_are_named_too(tmp_path: Path, edge: int) -> None:
    events = a_whole_day()
    lost = trades_of(events)[edge].trade_id
    said = judged(a_lake(tmp_path, without(events, {lost})))
    assert (said["verdict"], said["ids"]["missing"]) == ("partial", [[lost, lost]])


def test_a_record_that_begins_at_noon_is_partial_once_the_day_is_over(tmp_path: Path) -> None:
    events = [e for e in a_whole_day() if e.ts >= MORNING + HOUR]
    said = judged(a_lake(tmp_path / "over", events))
    assert (said["verdict"], said["notes"]) == ("partial", ["the record begins at 01:00:00"])
    assert [one["verdict"] for one in said["hours"]] == ["partial", *["complete"] * 22]
    open_day = [e for e in events if e.ts < MORNING + 14 * HOUR]
    early = Market().events(MORNING + HOUR - 9 * SECOND, 1, trades=0, quotes=1)  # the first trade comes later
    so_far = judged(a_lake(tmp_path / "open", [*early, *open_day], reached=MORNING + 13 * HOUR + MINUTE))
    assert so_far["seconds"]["unknown"] >= 9
    assert (so_far["verdict"], so_far["so_far"]) == ("unproven", "complete"), "nobody takes it for a complete day"
    assert (so_far["is_over"], so_far["is_provisional"]) == (False, True)


def test_until_a_later_trade_is_held_the_end_of_a_day_is_unproven(tmp_path: Path) -> None:
    events = a_whole_day()
    disk = a_lake(tmp_path, [e for e in events if e.ts < MIDNIGHT])
    said = judged(disk)
    assert said["verdict"] == "unproven" and said["hours"][-1]["verdict"] == "unproven"
    behind = [e for e in events if e.ts >= MIDNIGHT]
    disk.write(f"raw/{VENUE}/SOLUSDT/{NEXT}/part_0000.jsonl", "".join(map(line, behind)).encode())
    again = judged(disk)
    assert (again["verdict"], again["issue"]) == ("complete", 2)


def test_a_day_whose_checks_fail_is_not_relied_on(tmp_path: Path) -> None:
    events = a_whole_day()
    disk = a_lake(tmp_path, events)
    disk.write(f"raw/{VENUE}/SOLUSDT/{DATE}/part_0000_1.jsonl", line(trades_of(events)[0]).encode())
    said = judged(disk)
    assert (said["verdict"], said["wrong"]) == ("unproven", ["1 trades held more than once"])


def futures_lake(root: Path, events: list[Trade | AggTrade | Quote]) -> Files:
    disk = Files(root)
    folders: dict[str, list[str]] = {}
    for event in events:
        folder = paths.raw_dir("binance_usdm", "SOLUSDT", paths.date_of(event.ts))
        folders.setdefault(f"{folder}/part_{paths.clock_name(event.ts)}.jsonl", []).append(line(event))
    for path, lines in folders.items():
        disk.write(path, "".join(lines).encode())
    for date in ("2025-10-19", DATE, NEXT):
        bars = [bar for bar in bars_of(events, MIDNIGHT + HOUR) if paths.date_of(bar.window_start) == date]
        disk.write_table(paths.bars_day("binance_usdm", "SOLUSDT", date), bar_table(bars, "binance_usdm"))
    return disk


def test_futures_are_at_most_healed_until_the_daily_file_was_compared(tmp_path: Path) -> None:
    events = a_whole_day()
    skipped = trades_of(events)[5].trade_id
    held = without(events, {skipped})
    rows = trades_of(held)
    aggregates = [
        AggTrade(t.symbol, t.ts, t.ts_event, None, t.ts_recv, t.price, t.qty, t.side, number, t.trade_id, t.trade_id)
        for number, t in enumerate((e for e in held if isinstance(e, Trade)), 70)
    ]
    with_aggregates = futures_lake(tmp_path / "agg", [*held, *aggregates])
    validate(Errand(with_aggregates, Config(), None, DATE, True, Lifeline()))
    said = certificate(with_aggregates, DATE, "binance_usdm")
    # The venue skipped an id: the aggregates around it are consecutive.
    assert (said["verdict"], said["trades_missing"], said["ids"]["explained"]) == ("healed", 0, 1)

    alone = futures_lake(tmp_path / "raw", list(held))
    validate(Errand(alone, Config(), None, DATE, True, Lifeline()))
    assert certificate(alone, DATE, "binance_usdm")["verdict"] == "unproven"
    source = {"kind": "trade", "url": "…/SOLUSDT-trades-2025-10-20.zip", "sha256": "0" * 64, "rows": len(rows)}
    alone.write(paths.fetched_file("binance_usdm", "SOLUSDT", DATE), msgspec.json.encode([source]))
    validate(Errand(alone, Config(), None, DATE, True, Lifeline()))
    compared = certificate(alone, DATE, "binance_usdm")
    assert (compared["verdict"], compared["is_provisional"], compared["fetched"]) == ("complete", False, [source])


def test_outages_and_the_time_quotes_stood_are_told(tmp_path: Path) -> None:
    # Quotes stand from 23:59:59 of the day before; they are cut for 600 s, and once more until the day's last minute.
    events = a_whole_day()
    feed = [
        Feed("disconnected", MORNING + HOUR + 50 * SECOND, 0, ["SOLUSDT"], {"reason": "1006"}),
        Feed("connected", MORNING + HOUR + 650 * SECOND, 0, ["SOLUSDT"]),
        Feed("disconnected", MORNING + 2 * HOUR, 0, ["ADAUSDT"], {"reason": "not ours"}),
        Feed("suspended", MORNING + 14 * HOUR, 0, [], {"asleep_ms": 60_000}),
    ]
    said = judged(a_lake(tmp_path, events, feed))
    assert said["outages"] == [
        {
            "kind": "disconnected",
            "from_ts": MORNING + HOUR + 50 * SECOND,
            "to_ts": MORNING + HOUR + 650 * SECOND,
            "reason": "1006",
        },
        {
            "kind": "suspended",
            "from_ts": MORNING + 14 * HOUR,
            "to_ts": None,
            "reason": "this machine slept for 60 s",
        },
    ]
    quotes = sorted(e.ts for e in events if isinstance(e, Quote))
    after_cut = next(ts for ts in quotes if ts > MORNING + HOUR + 50 * SECOND)
    after_sleep = next(ts for ts in quotes if ts > MORNING + 14 * HOUR)
    dark = after_cut - (MORNING + HOUR + 50 * SECOND) + after_sleep - (MORNING + 14 * HOUR)
    assert said["quotes_live"]["seconds"] == pytest.approx(86_400 - dark / SECOND, abs=0.01)
    assert said["verdict"] == "complete"  # no trade is missing: quotes have a figure of their own


def test_the_files_are_named_with_their_checksums(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, a_whole_day(), [Feed("clock", MORNING, MORNING, [], {"offset_ns": 5})])

    def all_there(said: dict[str, Any]) -> set[str]:
        for file in said["files"]:
            data = disk.read(file["path"])
            assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        return {file["path"].partition("/")[0] for file in said["files"]}

    assert all_there(judged(disk)) == {"raw", "feed", "parquet"}
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    closed = judged(disk)
    assert all_there(closed) == {"raw", "feed", "parquet", "ticks"}
    assert closed["issue"] == 1


def test_a_certificate_is_final_after_seven_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = a_lake(tmp_path, a_whole_day())
    monkeypatch.setattr("procs.validator.work.time.time_ns", lambda: MIDNIGHT + HOUR)
    assert judged(disk)["is_provisional"]
    monkeypatch.setattr("procs.validator.work.time.time_ns", lambda: MIDNIGHT + 7 * 24 * HOUR)
    said = judged(disk)
    assert (said["is_provisional"], said["issue"]) == (False, 1)


def test_a_change_of_status_is_a_word_and_no_alarm(tmp_path: Path) -> None:
    change = Feed("symbol_status", MORNING + HOUR, 0, ["SOLUSDT"], {"status": "BREAK", "was": "TRADING"})
    said = judged(a_lake(tmp_path, a_whole_day(), [change]))
    assert (said["verdict"], said["wrong"]) == ("complete", [])
    assert said["notes"] == ["the venue says BREAK since 01:00:00"]
    assert said["statuses"] == [{"ts": MORNING + HOUR, "status": "BREAK", "was": "TRADING"}]


def test_a_symbol_that_was_halted_before_the_day_began_has_a_word_too(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, [e for e in a_whole_day() if e.ts < MORNING + 2 * HOUR])
    days = {DATE: {"ts": MORNING, "symbols": {"SOLUSDT": {"symbol": "SOLUSDT", "status": "BREAK"}}}}
    disk.write("journal/binance/instruments.json", msgspec.json.encode({"venue": VENUE, "days": days}))
    said = judged(disk)
    assert (said["status"], said["notes"]) == ("BREAK", ["the venue says BREAK"])
    assert (said["verdict"], said["is_open_ended"], said["wrong"]) == ("unproven", True, [])


def test_an_ended_recording_is_over_and_claims_nothing_behind_its_end(tmp_path: Path) -> None:
    events = [e for e in a_whole_day() if MORNING <= e.ts < MORNING + 2 * HOUR]
    disk = a_lake(tmp_path, events)
    write_feed(disk, [Feed("ended", events[-1].ts, events[-1].ts)])
    write_reached(disk, events[-1].ts, ended=True)
    said = judged(disk)
    assert (said["verdict"], said["is_over"], said["trades_missing"]) == ("partial", True, 0)
    assert said["notes"][0].startswith("the record begins at 00:00:0") and "and ends at 01:00:" in said["notes"][0]
    assert [one["hour"] for one in said["hours"]] == [0, 1]


def test_what_could_not_be_understood_is_counted_with_its_reason_for_whom_it_names(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, a_whole_day())
    frames = [
        ("a trade that lacks a field", '{"stream":"solusdt@trade","data":{"e":"trade"}}'),
        ("a trade that lacks a field", '{"e":"trade","s":"SOLUSDT","t":-1}'),
        ("neither an event nor an answer", "<html>SOLUSDTX is another symbol</html>"),
        ("a stream that was not asked for", '{"stream":"suiusdt@trade"}'),
    ]
    ts = MORNING + 13 * HOUR
    rejected = [Rejected(why, ts, ts, len(raw), hashlib.sha256(raw.encode()).hexdigest(), raw) for why, raw in frames]
    text = "".join(map(line, rejected)) + "not a line\n"
    disk.write(f"{paths.rejected_dir(VENUE, DATE)}/part_1300.jsonl", text.encode())
    disk.mkdir(f"raw/{VENUE}/SUIUSDT/{DATE}")  # so that a frame of it is not one of no symbol
    said = judged(disk)
    assert said["rejected"] == {
        "of_symbol": {"a trade that lacks a field": 2},
        "of_no_symbol": {"a line that cannot be read": 1, "neither an event nor an answer": 1},
    }
    assert "2 frames of this symbol could not be understood" in said["notes"] and said["verdict"] == "complete"


def test_reasons_without_end_are_counted_together(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, a_whole_day())
    rejected = [Rejected(f"reason {n}", MORNING, MORNING, 1, "", "SOLUSDT") for n in range(100)]
    disk.write(f"{paths.rejected_dir(VENUE, DATE)}/part_0000.jsonl", "".join(map(line, rejected)).encode())
    counts = judged(disk)["rejected"]["of_symbol"]
    assert len(counts) == 21 and counts["other reasons"] == 80
