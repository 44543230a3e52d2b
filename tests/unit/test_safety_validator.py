"""What the validator relies on when it says that all is there: each check by itself, on an hour of a few lines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config, certificate, hour
from procs.validator import day as day_of
from procs.validator.day import Day
from procs.validator.hour import Hour, read_lines
from procs.validator.remarks import Beside
from procs.validator.verify import verify
from procs.validator.work import validate
from shared import archive, paths, quality
from shared.barfiles import bar_table
from shared.barstore import Stored
from shared.errand import Errand
from shared.events import AggTrade, Bar, Quote, Trade
from shared.files import Disk, Files, checksum
from shared.lines import line
from shared.process import Lifeline
from shared.sealing import Reached
from tests.fixtures.small_lake import NOON, Market, bars_of, write_lake, write_raw

S, MINUTE, HOUR, DAY = paths.SECOND, paths.MINUTE, paths.HOUR, paths.DAY
DATE = "2025-10-20"
OF = ("binance", "SOLUSDT", DATE)
RAW = paths.raw_dir(*OF)
BARS = paths.bars_dir(*OF)
MORNING = paths.day_start(DATE)
ALL = Reached(MORNING + 2 * DAY, MORNING + 2 * DAY)


@pytest.fixture(autouse=True)
def no_second_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hour, "LOOK_AGAIN_S", 0)


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    return Files(tmp_path)


def trade(number: int, ts: int = NOON, **changes: Any) -> Trade:
    return msgspec.structs.replace(Trade("SOLUSDT", ts, ts, None, ts, "1.5", "2.0", "buy", number), **changes)


def quote(update: int, bid: str = "1.4", ts: int = NOON) -> Quote:
    return Quote("SOLUSDT", ts, None, None, ts, bid, "2.0", "1.5", "3.0", update)


# --- lines ---


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        (line(trade(1)), "trades_repeated"),
        ("garbage\n", "broken"),
        (line(trade(3, NOON + HOUR)), "misplaced"),
        (line(trade(3, symbol="ADAUSDT")), "misplaced"),
        (line(trade(3, price="0")), "nonsense"),
        (line(quote(9, "1.6")), "crossed"),
    ],
)
def test_whatever_is_wrong_with_a_line_makes_its_hour_wrong(disk: Files, bad: str, count: str) -> None:
    path = f"{RAW}/part_1200.jsonl"
    disk.write(path, (line(trade(1)) + line(trade(2)) + line(quote(7))).encode())
    found = read_lines(disk, *OF, 12)
    assert found.wrong == 0 and found.may_be_rebuilt
    disk.write(path, disk.read(path) + bad.encode())
    found = read_lines(disk, *OF, 12)
    assert (getattr(found, count), found.wrong) == (1, 1)
    assert found.may_be_rebuilt == (count != "broken"), "bars made of what is left would be poorer"


def test_a_file_that_takes_its_place_while_its_hour_is_read_is_seen(tmp_path: Path) -> None:
    class Busy(Files):
        """Somebody gives a file its name between the listing and the end of the reading."""

        def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
            self.write(f"{RAW}/part_1201.jsonl", line(trade(2, NOON + MINUTE)).encode())
            return super().read(path, offset, size)

    disk = Busy(tmp_path)
    disk.write(f"{RAW}/part_1200.jsonl", line(trade(1)).encode())
    events, problems = archive.read_hour(disk, *OF, 12)
    assert events == [trade(1), trade(2, NOON + MINUTE)] and problems == []


def test_what_is_wrong_with_rows_counts_once_they_are_sealed() -> None:
    found = Hour(12)
    found.bars.differ = 2
    assert found.wrong == 0, "they may be on their way"
    found.is_sealed = True
    assert found.wrong == 2
    found.bars.repeated, found.bars.unreadable = 3, ["x"]
    assert found.wrong == 6


# --- rows ---


def made(disk: Files) -> list[Bar]:
    return bars_of([trade(1), trade(2, NOON + S), trade(3, NOON + 2 * S)], NOON + 3 * S)


def store(disk: Files, *parts: list[Bar]) -> None:
    for number, bars in enumerate(parts, 1):
        name = f"part_1200_{number:016d}_{number:016d}.parquet"
        disk.write_table(f"{BARS}/{name}", bar_table(bars, "binance"))


def test_rows_are_compared_second_by_second_as_far_as_they_are_closed(disk: Files) -> None:
    bars = made(disk)
    changed = [bars[0], msgspec.structs.replace(bars[1], trade_count=7)]
    store(disk, changed)
    found, _ = hour.compare(Stored(disk, *OF), "binance", 12, bars, NOON + 3 * S)
    assert (found.compared, found.differ) == (3, 2)
    assert [second for second, _ in found.seconds] == [NOON + S, NOON + 2 * S]
    found, _ = hour.compare(Stored(disk, *OF), "binance", 12, bars, NOON + S)
    assert (found.compared, found.differ) == (1, 0), "what is not closed yet is not wrong yet"


def test_a_row_that_stands_twice_and_a_file_that_cannot_be_read_are_told(disk: Files) -> None:
    bars = made(disk)
    store(disk, bars, bars[:1])
    found, _ = hour.compare(Stored(disk, *OF), "binance", 12, bars, NOON + 3 * S)
    assert (found.repeated, found.differ, found.unreadable) == (1, 0, [])
    disk.write(f"{BARS}/part_1201_{9:016d}_{9:016d}.parquet", b"PAR1")
    found, _ = hour.compare(Stored(disk, *OF), "binance", 12, bars, NOON + 3 * S)
    assert len(found.unreadable) == 1


def test_what_seems_wrong_is_looked_at_again(disk: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compactor may be in the middle of a swap."""
    bars = made(disk)
    looks: list[float] = []

    def slept(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == hour.LOOKS - 1:
            store(disk, bars)

    monkeypatch.setattr("procs.validator.hour.time.sleep", slept)
    found, _ = hour.compare(Stored(disk, *OF), "binance", 12, bars, NOON + 3 * S)
    assert (len(looks), found.differ) == (2, 0)


# --- a day ---


def judged(disk: Files, at: Reached = ALL, anew: bool = False) -> Day:
    day = Day(disk, *OF, at, False)
    day.judge(anew)
    return day


def test_ids_missing_inside_a_day_and_at_either_edge_of_it_are_named(disk: Files) -> None:
    write_raw(disk, [trade(3, MORNING - S), trade(6), trade(8, NOON + HOUR), trade(11, MORNING + DAY)])
    assert judged(disk).missing() == [(4, 5), (7, 7), (9, 10)]


def test_of_a_day_without_a_trade_what_lies_between_its_neighbours_is_missing(disk: Files) -> None:
    write_raw(disk, [trade(3, MORNING - S), quote(1), trade(6, MORNING + DAY)])
    assert judged(disk).missing() == [(4, 5)]


def test_an_hour_is_sealed_when_its_lines_and_its_rows_are(disk: Files) -> None:
    write_raw(disk, [trade(1)])
    store(disk, made(disk)[:1])
    end = NOON + HOUR + paths.SEAL_AFTER
    for archived, bars, is_sealed in ((end, end, True), (end - 1, end, False), (end, end - 1, False)):
        assert [one.is_sealed for one in judged(disk, Reached(archived, bars)).hours] == [is_sealed]


def test_a_judgement_stands_while_lines_and_rows_do_and_no_longer(disk: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw(disk, [trade(1), trade(2, NOON + S), trade(3, NOON + 2 * S)])
    store(disk, made(disk))
    day = judged(disk)
    day.keep()
    looked: list[int] = []

    def counted(disk: Disk, venue: str, symbol: str, date: str, number: int) -> Hour:
        looked.append(number)
        return read_lines(disk, venue, symbol, date, number)

    monkeypatch.setattr(day_of, "read_lines", counted)
    judged(disk)
    assert looked == []
    judged(disk, anew=True)
    assert looked == [12]
    disk.rename(f"{RAW}/part_1200.jsonl", f"{RAW}/part_120000.jsonl")  # other names, the same lines
    judged(disk)
    assert looked == [12]
    data = disk.read(f"{RAW}/part_120000.jsonl")
    disk.remove(f"{RAW}/part_120000.jsonl")
    disk.write(f"{RAW}/part_1200_1.jsonl", data.replace(b'"trade_id":2', b'"trade_id":9'))  # other lines
    assert judged(disk).missing() == [(2, 2), (4, 8)] and looked == [12, 12]
    day.keep()
    store(disk, made(disk)[:2])
    judged(disk)
    assert looked == [12, 12, 12], "other rows"


def test_a_judgement_stands_for_the_same_rows_in_other_files_and_for_no_others(
    disk: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw(disk, [trade(1), trade(2, NOON + S), trade(3, NOON + 2 * S)])
    store(disk, made(disk))
    judged(disk).keep()
    store(disk, made(disk)[:1], made(disk)[1:])
    judged(disk).keep()
    monkeypatch.setattr(day_of, "read_lines", lambda *of: pytest.fail("judged again"))
    judged(disk)
    monkeypatch.undo()
    monkeypatch.setattr(hour, "LOOK_AGAIN_S", 0)
    disk.remove(f"{BARS}/part_1200_{2:016d}_{2:016d}.parquet")
    assert [one.bars.differ for one in judged(disk).hours] == [2]


def test_an_hour_that_asked_for_other_bars_is_judged_again_whatever_its_files(
    disk: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it gets may fill just as many bytes."""
    write_raw(disk, [trade(1), trade(2, NOON + S), trade(3, NOON + 2 * S)])
    bars = made(disk)
    store(disk, [bars[0], msgspec.structs.replace(bars[1], trade_count=7), bars[2]])
    judged(disk).keep()
    looked: list[int] = []

    def counted(disk: Disk, venue: str, symbol: str, date: str, number: int) -> Hour:
        looked.append(number)
        return read_lines(disk, venue, symbol, date, number)

    monkeypatch.setattr(day_of, "read_lines", counted)
    judged(disk)
    assert looked == [12]


def test_nothing_good_is_said_of_a_day_before_it_is_over_or_with_another_count_in_its_ticks(disk: Files) -> None:
    write_raw(disk, [trade(1, MORNING - S), trade(2, MORNING), trade(3, MORNING + DAY)])
    nothing: dict[str, Any] = {"compared": 0, "different": 0, "differ": []}
    said = {}
    for name, at, manifest in (
        ("over", Reached(MORNING + 2 * DAY), {}),
        ("open", Reached(MORNING + S), {}),
        ("other", Reached(MORNING + 2 * DAY), {"trades": {"rows": 2}}),
    ):
        found = certificate.certify(judged(disk, at), Beside(0, manifest, [], [], nothing))
        said[name] = found["verdict"], found["so_far"], len(found["wrong"])
    assert said["over"] == ("complete", "complete", 0)
    assert said["open"] == ("unproven", "complete", 0)
    assert said["other"] == ("unproven", "unproven", 1)


def test_only_aggregates_that_were_fetched_stand_for_trades_that_are_not_held(disk: Files) -> None:
    one = AggTrade("SOLUSDT", NOON, NOON, None, NOON, "1.5", "2.0", "buy", 7, 1, 4)
    write_raw(disk, [trade(1), trade(4), one])  # type: ignore[list-item]
    assert read_lines(disk, *OF, 12).explained == []
    assert judged(disk).missing() == [(2, 3)]
    disk.remove(f"{RAW}/part_1200.jsonl")
    write_raw(disk, [trade(1), trade(4), msgspec.structs.replace(one, source="rest")])  # type: ignore[list-item]
    assert read_lines(disk, *OF, 12).explained == [(1, 4)]
    assert judged(disk).missing() == []


def test_a_second_with_a_trade_is_held_though_ids_and_times_are_not_in_one_order() -> None:
    found = quality.seconds([trade(1), trade(5, NOON + 9 * S), trade(6, NOON + 4 * S)])
    assert (found.held, found.unknown, found.empty) == (3, 7, 0)


# --- certificates ---


def said(**changes: Any) -> dict[str, Any]:
    return {
        "certificate": certificate.VERSION, "venue": "binance", "symbol": "SOLUSDT", "date": DATE, "is_over": True,
        "is_provisional": False, "is_open_ended": False, "trades_missing": 0, "aggregates_missing": 0,
        "unhealable": 0, "bars_differ": 0, "bars_checked": {}, "klines": {}, "files": [], "notes": [], **changes,
    }  # fmt: skip


def test_a_certificate_that_changes_is_a_new_issue_and_names_the_one_before(disk: Files) -> None:
    first = certificate.issue(disk, said())
    assert (first["issue"], first["replaces"]) == (1, None)
    assert certificate.issue(disk, said(notes=["other words"]))["issue"] == 1

    before = checksum(disk, paths.certificate(*OF))
    second = certificate.issue(disk, said(trades_missing=3))
    assert (second["issue"], second["replaces"]) == (2, before)
    assert certificate.issue(disk, said(trades_missing=3)) == second


def test_of_a_day_that_is_not_over_no_issues_are_counted(disk: Files) -> None:
    certificate.issue(disk, said(is_over=False))
    assert certificate.issue(disk, said(is_over=False, trades_missing=1))["issue"] == 1


def test_a_certificate_in_which_a_byte_has_turned_is_none(disk: Files) -> None:
    certificate.issue(disk, said())
    path = paths.certificate(*OF)
    data = disk.read(path)
    assert certificate.read(disk, *OF)
    for bad in (
        data.replace(b'"trades_missing"', b'"trades_nissing"'),
        data.replace(b'"files": []', b'"files": 0 '),
        b"{",
    ):
        disk.write(path, bad)
        assert certificate.read(disk, *OF) == {}, bad


def test_a_day_lacks_what_is_missing_and_was_not_given_up() -> None:
    assert certificate.lacks(said(trades_missing=1)) and certificate.lacks(said(aggregates_missing=1))
    assert not certificate.lacks(said()) and not certificate.lacks(said(trades_missing=2, unhealable=2))
    assert certificate.lacks(said(trades_missing=2, unhealable=1))


# --- verified ---


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of one closed day, compacted and certified."""
    home = tmp_path_factory.mktemp("certified")
    disk = Files(home)
    market = Market()
    events = [*market.events(MORNING - S, 1), *market.events(NOON, 2), *market.events(MORNING + DAY, 1)]
    write_lake(disk, events, [], MORNING + DAY + 3 * MINUTE)
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    validate(Errand(disk, Config(), None, None, True, Lifeline()))
    return home


def problems(home: Path) -> list[str]:
    return [text for one in verify(Files(home), None, DATE) for text in one.wrong]


def turned(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


TOLD: list[tuple[str, Callable[[Path], None], str]] = [
    (f"{RAW}/part_12.jsonl.zst", turned, "has changed"),
    (f"{RAW}/part_12.jsonl.zst", Path.unlink, "is not there"),
    (paths.bars_day(*OF), turned, "has changed"),
    (paths.tick_file("binance", "SOLUSDT", "trades", DATE), turned, "has changed"),
    (paths.tick_file("binance", "SOLUSDT", "trades", DATE), Path.unlink, "is not there"),
    (paths.checksum_file(*OF), turned, "has changed"),
    (paths.checksum_file(*OF), Path.unlink, "is not there"),
]


@pytest.mark.parametrize(("path", "spoil", "says"), TOLD)
def test_each_file_of_a_certificate_is_held_against_it(
    certified: Path, tmp_path: Path, path: str, spoil: Callable[[Path], None], says: str
) -> None:
    home = tmp_path / "lake"
    shutil.copytree(certified, home)
    assert problems(home) == []
    spoil(home / path)
    assert [text for text in problems(home) if text.startswith(f"{path}: {says}")]


def test_a_certificate_that_was_not_issued_and_lines_that_came_afterwards_are_told(
    certified: Path, tmp_path: Path
) -> None:
    home = tmp_path / "lake"
    shutil.copytree(certified, home)
    path = home / paths.certificate(*OF)
    data = path.read_bytes()
    path.write_bytes(data + b"\n")
    assert any("is not the certificate that was issued" in text for text in problems(home))
    path.write_bytes(data)
    (home / RAW / "part_1300.jsonl").write_text(line(trade(99999, NOON + HOUR)))
    assert any("came after the certificate" in text for text in problems(home))
