"""The validator: right where all is right, and every check shown something that breaks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config
from procs.validator.day import Day
from procs.validator.hour import read_lines
from procs.validator.work import validate
from shared import paths
from shared.barfiles import bar_table
from shared.errand import Errand
from shared.events import Bar, Feed, Quote, Trade
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
    write_bars,
    write_feed,
    write_lake,
    write_raw,
    write_reached,
)

DATE, NEXT = "2025-10-20", "2025-10-21"
MIDNIGHT = paths.day_start(NEXT)
START = MIDNIGHT - 2 * HOUR
RAW = f"raw/{VENUE}/SOLUSDT/{DATE}"
BARS = f"parquet/{VENUE}/SOLUSDT/year=2025/month=10/day=20"
Events = list[Trade | Quote]


@pytest.fixture(autouse=True)
def no_second_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procs.validator.hour.LOOK_AGAIN_S", 0)


def an_evening(every: int = 4) -> Events:
    market = Market()
    events: Events = []
    for start in (START, MIDNIGHT - 2 * MINUTE, MIDNIGHT):
        events += market.events(start, 60, trades=2, quotes=2, every=every)
    return events


def an_eve() -> Events:
    """The last second of the day before: the record goes on over midnight, and its ids lead to those of the evening."""
    return Market(first_id=998).events(paths.day_start(DATE) - SECOND, 1, trades=2, quotes=1)


def a_lake(root: Path, events: Events | None = None, reached: int = MIDNIGHT + 3 * MINUTE) -> Files:
    disk = Files(root)
    feed = [Feed("clock", START, START, [], {"offset_ns": offset}) for offset in (1_000_000, 2_000_000, 9_000_000)]
    write_lake(disk, events or an_evening(), feed, reached)
    return disk


def judge(disk: Files, date: str | None = None) -> tuple[int, dict[str, Any]]:
    """The exit code and the certificate of the day."""
    code = validate(Errand(disk, Config(), None, date, True, Lifeline()))
    return code, certificate(disk)


def certificate(disk: Files, date: str = DATE) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(disk.read(paths.certificate(VENUE, "SOLUSDT", date)))
    return found


def test_a_day_of_which_nothing_is_missing_is_right(tmp_path: Path) -> None:
    events = an_evening()
    code, said = judge(a_lake(tmp_path, [*an_eve(), *events]))
    of_day = [e for e in events if e.ts < MIDNIGHT]
    trades = [e for e in of_day if isinstance(e, Trade)]
    assert (code, said["verdict"], said["wrong"], said["is_over"]) == (0, "complete", [], True)
    assert said["trades"] == len(trades) and said["quotes"] == len(of_day) - len(trades)
    assert (said["ids"]["first"], said["ids"]["last"]) == (trades[0].trade_id, trades[-1].trade_id)
    assert said["bars_checked"]["compared"] == said["bars"] == 30
    assert said["clock_offset_ms"] == {"median": 2.0, "least": 1.0, "most": 9.0}
    assert said["feed"] == {"clock": 3}
    assert said["seconds"]["outside"] == 0 and said["notes"] == []
    delays = sorted(e.ts_recv - e.ts for e in trades)
    assert said["latency_ms"]["p50"] == pytest.approx(delays[len(delays) // 2 - 1] / 1e6, rel=0.02)
    assert said["latency_ms"]["p99"] == pytest.approx(delays[-1] / 1e6, rel=0.05)


def test_seconds_are_proven_empty_by_the_ids_around_them(tmp_path: Path) -> None:
    _, said = judge(a_lake(tmp_path))
    before = (START - paths.day_start(DATE)) // SECOND  # nothing earlier is held, so nothing is known of it
    assert said["seconds"] == {
        "with_trades": 30, "unknown": 0, "proven_empty": 86_400 - 30 - before, "outside": before
    }  # fmt: skip


def test_until_a_later_trade_is_held_a_second_is_unknown(tmp_path: Path) -> None:
    events = [e for e in an_evening() if e.ts < MIDNIGHT]
    _, said = judge(a_lake(tmp_path, events))
    last = max(e.ts for e in events if isinstance(e, Trade)) // SECOND
    assert said["seconds"]["unknown"] == MIDNIGHT // SECOND - 1 - last


def test_behind_the_end_of_a_recording_nothing_is_claimed(tmp_path: Path) -> None:
    events = [e for e in an_evening() if e.ts < START + HOUR]
    disk = a_lake(tmp_path, events)
    write_reached(disk, START + HOUR, ended=True)
    _, said = judge(disk)
    recorded = events[-1].ts // SECOND + 1 - events[0].ts // SECOND
    assert said["is_over"] and sum(said["seconds"].values()) == 86_400
    assert said["seconds"]["outside"] == 86_400 - recorded


def test_missing_ids_are_named_and_make_seconds_unknown(tmp_path: Path) -> None:
    events = an_evening()
    trades = [e for e in events if isinstance(e, Trade)]
    lost = {e.trade_id for e in trades[10:14]} | {trades[20].trade_id}
    disk = a_lake(tmp_path, [e for e in events if not (isinstance(e, Trade) and e.trade_id in lost)])
    write_feed(
        disk,
        [
            Feed(
                "unhealable",
                START + MINUTE,
                START,
                ["SOLUSDT"],
                {"first_id": trades[20].trade_id, "last_id": trades[20].trade_id},
            )
        ],
    )
    code, said = judge(disk)
    assert (code, said["wrong"]) == (1, ["5 trades missing"])
    assert said["ids"]["missing"] == [[trades[10].trade_id, trades[13].trade_id], [trades[20].trade_id] * 2]
    assert said["ids"]["unhealable"] == 1
    whole = a_lake(tmp_path / "whole", events)
    assert said["seconds"]["unknown"] > judge(whole)[1]["seconds"]["unknown"]


def spoil_repeated(disk: Files, events: Events) -> None:
    trade = next(e for e in events if isinstance(e, Trade))
    disk.write(f"{RAW}/part_2200_1.jsonl", line(trade).encode())


def spoil_bar(disk: Files, events: Events) -> None:
    path = f"{BARS}/{disk.list(BARS)[0]}"
    bars = bars_of([e for e in events if e.ts < START + 10 * MINUTE], MIDNIGHT)
    bars[3].volume_base = 1e9
    disk.write_table(path, bar_table(bars, VENUE))


def spoil_absent_bars(disk: Files, events: Events) -> None:
    disk.remove(f"{BARS}/{disk.list(BARS)[0]}")


def spoil_parquet(disk: Files, events: Events) -> None:
    disk.write(f"{BARS}/{disk.list(BARS)[0]}", b"PAR1 no more")


def spoil_twice(disk: Files, events: Events) -> None:
    name = disk.list(BARS)[0]
    disk.write(f"{BARS}/part_2200_9_9.parquet", disk.read(f"{BARS}/{name}"))


def spoil_line(disk: Files, events: Events) -> None:
    disk.write(f"{RAW}/part_2200_1.jsonl", b'{"symbol":"SOLUSDT"\n')


def spoil_place(disk: Files, events: Events) -> None:
    disk.write(f"{RAW}/part_2300.jsonl", disk.read(f"{RAW}/part_2200.jsonl"))
    disk.remove(f"{RAW}/part_2200.jsonl")


def spoil_sense(disk: Files, events: Events) -> None:
    trade = next(e for e in events if isinstance(e, Trade))
    path = f"{RAW}/part_2200.jsonl"
    disk.write(path, disk.read(path).replace(f'"price":{trade.price}'.encode(), b'"price":0.0', 1))


def spoil_quote(disk: Files, events: Events) -> None:
    quote = next(e for e in events if isinstance(e, Quote))
    path = f"{RAW}/part_2200.jsonl"
    disk.write(path, disk.read(path).replace(f'"ask":{quote.ask}'.encode(), b'"ask":1.0', 1))


def spoil_feed(disk: Files, events: Events) -> None:
    disk.write(f"feed/{VENUE}/{DATE}/part_2201.jsonl", b"no JSON\n")


SPOILT: list[tuple[Callable[[Files, Events], None], str]] = [
    (spoil_repeated, "1 trades held more than once"),
    (spoil_bar, "1 bars that differ from the archive"),
    (spoil_absent_bars, "15 bars that differ from the archive"),
    (spoil_parquet, "1 files of bars that cannot be read"),
    (spoil_twice, "15 bars that stand more than once"),
    (spoil_line, "1 broken lines"),
    (spoil_place, "60 lines in the wrong file"),
    (spoil_sense, "1 lines that make no sense"),
    (spoil_quote, "1 quotes with the bid above the ask"),
    (spoil_feed, "1 broken lines"),
]


@pytest.mark.parametrize(("spoil", "says"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_what_is_wrong_is_said_and_counted(tmp_path: Path, spoil: Callable[[Files, Events], None], says: str) -> None:
    events = an_evening()
    disk = a_lake(tmp_path, events)
    spoil(disk, events)
    code, said = judge(disk)
    assert code == 1
    assert says in said["wrong"]
    assert said["verdict"] in ("partial", "unproven")


def test_the_compactor_mends_what_the_validator_asks_for(tmp_path: Path) -> None:
    events = an_evening()
    disk = a_lake(tmp_path, events)
    spoil_bar(disk, events)
    assert judge(disk)[0] == 1
    assert disk.list(f"quality/requests/{VENUE}/SOLUSDT") == [f"{DATE}_22.json"]
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    code, said = judge(disk)
    assert (code, said["wrong"], said["issue"]) == (0, [], 2)
    assert disk.list(f"quality/requests/{VENUE}/SOLUSDT") == []


@pytest.mark.parametrize("is_final", [False, True])
def test_a_request_goes_with_what_it_was_for_though_the_validator_was_killed_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_final: bool
) -> None:
    class Killed(BaseException):
        """Nothing catches it."""

    class Deadly(Files):
        is_over = False

        def remove(self, path: str) -> None:
            if path.startswith(paths.REQUESTS) and self.size(path) is not None and not self.is_over:
                raise Killed
            super().remove(path)

    events = an_evening()
    disk = a_lake(tmp_path, events)
    compacting = Errand(disk, CompactorConfig(), None, None, False, Lifeline())
    compact(compacting)
    if is_final:  # and not among those that are always judged
        monkeypatch.setattr("procs.validator.work.time.time_ns", lambda: paths.day_start(DATE) + 8 * paths.DAY)
        monkeypatch.setattr("procs.validator.work.NEWEST", 0)
    day = paths.bars_day(VENUE, "SOLUSDT", DATE)
    disk.write_table(day, disk.read_table(day).slice(1), compression="zstd")
    assert judge(disk)[0] == 1
    request = f"{paths.REQUESTS}/{VENUE}/SOLUSDT/{DATE}_22.json"
    disk.write(f"{request}.tmp", b"of a run that was killed")
    compact(compacting)
    deadly = Deadly(tmp_path)
    with pytest.raises(Killed):
        judge(deadly)
    assert disk.size(request) is not None
    deadly.is_over = True
    code, said = judge(deadly)
    assert (code, said["wrong"]) == (0, [])
    assert disk.list(f"{paths.REQUESTS}/{VENUE}/SOLUSDT") == []


def test_bars_that_were_made_again_are_judged_again_though_no_size_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SameSizes(Files):
        """Rows of which one number changed fill as many bytes as before, by chance: here always."""

        def size(self, path: str) -> int | None:
            return None if super().size(path) is None else 100 if "parquet" in path else super().size(path)

    events = an_evening()
    disk, compacting = SameSizes(tmp_path), Errand(Files(tmp_path), CompactorConfig(), None, None, False, Lifeline())
    a_lake(tmp_path, events)
    compact(compacting)
    later = paths.day_start(DATE) + 8 * paths.DAY
    monkeypatch.setattr("procs.validator.work.time.time_ns", lambda: later)
    day = paths.bars_day(VENUE, "SOLUSDT", DATE)
    rows = disk.read_table(day)
    disk.write_table(day, rows.slice(1), compression="zstd")
    monkeypatch.setattr("procs.validator.work.NEWEST", 0)  # it is final, and not among those that are always judged
    code, said = judge(disk)
    assert (code, said["bars_differ"], said["is_provisional"]) == (1, 1, False)
    compact(compacting)
    code, said = judge(disk)
    assert (code, said["wrong"]) == (0, [])
    assert disk.list(f"quality/requests/{VENUE}/SOLUSDT") == []


def test_hours_that_were_judged_before_there_was_a_sink_are_judged_again(tmp_path: Path) -> None:
    disk = a_lake(tmp_path)
    for path in ("parquet", f"journal/parquet/ckpt-bars_1s.{VENUE}.1"):  # its first checkpoint is still to come
        (tmp_path / path).rename(tmp_path / path.replace("/", ".").replace("parquet", "hidden"))
    code, said = judge(disk)
    assert (code, said["bars"]) == (0, 0) and "no bars are made of this symbol" in said["notes"]
    write_reached(disk, MIDNIGHT + 3 * MINUTE)
    code, said = judge(disk)
    assert code == 1 and said["bars_differ"] > 0
    assert f"{DATE}_22.json" in disk.list(f"quality/requests/{VENUE}/SOLUSDT")


def test_bars_are_not_made_again_from_lines_that_are_broken(tmp_path: Path) -> None:
    events = an_evening()
    disk = a_lake(tmp_path, events)
    path = f"{RAW}/part_2200.jsonl"
    disk.write(path, b"?" + disk.read(path))
    code, said = judge(disk)
    assert code == 1 and said["broken_lines"] == 1 and said["bars_differ"] > 0
    assert disk.list(f"quality/requests/{VENUE}/SOLUSDT") == []


def test_the_judgement_is_the_same_before_and_after_compaction(tmp_path: Path) -> None:
    disk = a_lake(tmp_path)
    _, before = judge(disk)
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    code, after = judge(disk)
    assert (code, after["issue"]) == (0, 1)
    assert after["manifest"]["trades"]["rows"] == after["trades"]
    different = {key for key in after if after[key] != before[key]}
    assert different == {"judged_by", "manifest", "files"}


def test_a_sealed_hour_is_judged_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = read_lines

    def counting(disk: Files, venue: str, symbol: str, date: str, hour: int) -> Any:
        read.append(hour)
        return whole(disk, venue, symbol, date, hour)

    monkeypatch.setattr("procs.validator.day.read_lines", counting)
    events = [e for e in an_evening() if e.ts < MIDNIGHT]
    disk = a_lake(tmp_path, events, reached=MIDNIGHT - MINUTE)
    judge(disk)
    assert read == [22, 23]
    judge(disk)
    assert read == [22, 23, 23]  # the open hour is judged in every run
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    judge(disk)
    assert read == [22, 23, 23, 23]  # the same lines and rows in other files
    late = Market("SOLUSDT", first_id=5000).events(START + 5 * MINUTE, 1)
    disk.write(f"{RAW}/part_2205_1.jsonl", "".join(map(line, late)).encode())
    assert judge(disk)[0] == 1
    assert read == [22, 23, 23, 23, 22, 23]


def during_the_rebuild(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]) -> None:
    """What another process does meanwhile, once."""
    whole = Day._rebuild

    def rebuild(self: Day, hours: Sequence[int]) -> dict[int, Sequence[Bar]]:
        if self.date != DATE:
            return whole(self, hours)
        monkeypatch.setattr(Day, "_rebuild", whole)
        before()
        try:
            return whole(self, hours)
        finally:
            after()

    monkeypatch.setattr(Day, "_rebuild", rebuild)


def a_late_trade() -> bytes:
    return "".join(map(line, Market("SOLUSDT", first_id=5000).events(START + 5 * MINUTE, 1))).encode()


def test_a_line_that_came_while_a_day_was_judged_is_news_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = a_lake(tmp_path)
    during_the_rebuild(monkeypatch, lambda: None, lambda: disk.write(f"{RAW}/part_2205_1.jsonl", a_late_trade()))
    judge(disk)
    _, said = judge(disk)
    assert said["bars_differ"]
    assert f"{DATE}_22.json" in disk.list(f"quality/requests/{VENUE}/SOLUSDT")


def test_an_hour_whose_file_was_being_written_is_judged_again_though_the_file_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archiver started again: it cut off what no checkpoint held, and wrote it once more."""
    disk = a_lake(tmp_path)
    being_written = f"{RAW}/open_2205_1.jsonl"
    disk.write(being_written, a_late_trade())
    during_the_rebuild(
        monkeypatch, lambda: disk.remove(being_written), lambda: disk.write(being_written, a_late_trade())
    )
    judge(disk)
    disk.rename(being_written, f"{RAW}/part_2205_1.jsonl")
    _, said = judge(disk)
    assert said["bars_differ"]
    assert f"{DATE}_22.json" in disk.list(f"quality/requests/{VENUE}/SOLUSDT")


@pytest.mark.parametrize("first", [13, 24], ids=["an hour", "a day"])
@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_gap_that_is_healed_has_the_first_bar_behind_it_judged_again(
    tmp_path: Path, first: int, is_quiet: bool
) -> None:
    """The hours behind hold the same lines as before: what was missing lies in the one before them."""
    edge = paths.day_start(DATE) + first * HOUR
    start = edge + is_quiet * HOUR
    market = Market()
    early = market.events(edge - 10 * SECOND, 10, trades=1, quotes=0)
    quiet = market.events(edge, 1, trades=0, quotes=1 if is_quiet else 0)
    later = market.events(start, 10, trades=1, quotes=0)
    disk = a_lake(tmp_path, [*early[:5], *quiet, *later], start + 30 * HOUR)
    date = paths.date_of(start)
    validate(Errand(disk, Config(), None, None, True, Lifeline()))
    said = certificate(disk, date)
    assert (said["trades_missing"], said["bars_checked"]["differ"]) == (5, [])
    write_raw(disk, early)
    validate(Errand(disk, Config(), None, None, True, Lifeline()))
    assert certificate(disk, date)["trades_missing"] == 0
    assert [start, ["is_complete"]] in certificate(disk, date)["bars_checked"]["differ"]


def test_of_an_open_hour_only_what_the_sink_has_closed_is_compared(tmp_path: Path) -> None:
    events = [e for e in an_evening() if e.ts < START + HOUR]
    disk = Files(tmp_path)
    write_raw(disk, events)
    bars = bars_of(events, START + HOUR)
    write_bars(disk, [bar for bar in bars if bar.window_start < START + 20 * SECOND])
    write_reached(disk, START + 20 * SECOND)
    code, said = judge(disk)
    assert (code, said["bars_checked"]["compared"], said["is_over"]) == (0, 5, False)


def test_what_is_still_on_its_way_is_not_wrong_yet(tmp_path: Path) -> None:
    events = [e for e in an_evening() if e.ts < START + HOUR]
    disk = a_lake(tmp_path, events, reached=START + 10 * MINUTE)
    late = Market("SOLUSDT", first_id=events_ids(events)[-1]).events(START + 30 * SECOND, 1, trades=1, quotes=0)
    disk.write(f"{RAW}/part_2200_1.jsonl", "".join(map(line, late)).encode())
    code, said = judge(disk)
    assert (code, said["bars_checked"]["pending"]) == (0, 1)
    assert said["notes"] == ["the record begins at 22:00:00", "1 seconds of the open hour are still on their way"]


def events_ids(events: Events) -> list[int]:
    return [e.trade_id for e in events if isinstance(e, Trade)]


def test_the_command_answers_in_a_table_and_in_json(tmp_path: Path) -> None:
    disk = a_lake(tmp_path)
    spoil_line(disk, [])
    command = [sys.executable, "-m", "procs.validator", "--lake", str(tmp_path)]
    table = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert table.returncode == 1
    assert "SOLUSDT 2025-10-20: 1 broken lines" in table.stdout
    assert f"{RAW}/part_2200_1.jsonl:1: " in table.stdout
    answer = subprocess.run(
        [*command, "--json", "--date", NEXT], capture_output=True, text=True, timeout=50, check=False
    )
    assert answer.returncode == 0
    assert [said["date"] for said in msgspec.json.decode(answer.stdout)] == [NEXT]
    absent = subprocess.run([*command, "--date", "2001-01-01"], capture_output=True, text=True, timeout=50, check=False)
    assert (absent.returncode, absent.stdout.strip()) == (1, "Nothing is held of 2001-01-01.")
    for wrong in (["--date", "x"], ["--lake", str(tmp_path / "nowhere")], ["--nonsense"]):
        assert subprocess.run([*command, *wrong], capture_output=True, timeout=50, check=False).returncode == 2
