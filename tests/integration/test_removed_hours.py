"""Raw hours that somebody removes to save room: accepted by word alone, and from then on their ticks stand for them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

import procs.compactor.ticks as ticks
from procs.backfill.day import Day as BackfillDay
from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config
from procs.validator.verify import verify
from procs.validator.work import validate
from shared import archive, lake, manifests, paths, tickfiles
from shared.errand import Errand
from shared.events import Quote, Trade
from shared.files import Files
from shared.process import EXIT_CONFIG, Lifeline
from shared.rebuild import Rebuild
from tests.fixtures.small_lake import HOUR, MINUTE, VENUE, Market, write_lake

DATE = "2025-10-20"
MORNING, MIDNIGHT = paths.day_start(DATE), paths.day_start("2025-10-21")
RAW = f"raw/{VENUE}/SOLUSDT/{DATE}"
GONE = (7, 8)
Events = list[Trade | Quote]


def a_closed_day(root: Path) -> tuple[Files, Events]:
    disk = Files(root)
    market = Market()
    events: Events = market.events(MORNING - MINUTE, 10)
    for hour in (0, 6, 7, 8, 9, 23):
        events += market.events(MORNING + hour * HOUR, 120, every=5)
    events += market.events(MIDNIGHT, 10)
    write_lake(disk, events, (), MIDNIGHT + 3 * MINUTE)
    assert run_compactor(disk) == 0
    return disk, [e for e in events if MORNING <= e.ts < MIDNIGHT]


def run_compactor(disk: Files, date: str | None = None, *flags: str) -> int:
    return compact(Errand(disk, CompactorConfig(), None, date, False, Lifeline(), frozenset(flags)))


def judged(disk: Files) -> tuple[int, dict[str, Any]]:
    code = validate(Errand(disk, Config(), None, DATE, True, Lifeline()))
    return code, msgspec.json.decode(disk.read(paths.certificate(VENUE, "SOLUSDT", DATE)))


def manifest(disk: Files) -> dict[str, Any]:
    return manifests.read(disk, VENUE, "SOLUSDT", DATE)


def remove(disk: Files, *hours: int) -> None:
    for hour in hours:
        disk.remove(f"{RAW}/part_{hour:02d}.jsonl.zst")


def tick_rows(disk: Files) -> list[dict[str, Any]]:
    return [row for path in tickfiles.files(disk, VENUE, "SOLUSDT", DATE) for row in disk.read_table(path).to_pylist()]


def test_what_the_user_removed_and_said_so_is_recorded_and_costs_no_row(tmp_path: Path) -> None:
    # Given a closed day two hours of which somebody has removed
    disk, _ = a_closed_day(tmp_path)
    _, said = judged(disk)
    ticks_before, bars = tick_rows(disk), lake.query(tmp_path, "FROM bars_1s ORDER BY ALL").rows
    remove(disk, *GONE)
    assert run_compactor(disk, DATE) == 0 and "removed" not in manifest(disk), "nobody has said that they may be gone"
    code, lost = judged(disk)
    assert (code, lost["wrong"]) == (1, ["2 hours whose lines are gone"])
    assert not disk.list(f"{paths.REQUESTS}/{VENUE}/SOLUSDT"), "and no bar is made again without them"
    # When he says so
    assert run_compactor(disk, DATE, "accept-missing") == 0
    # Then that is written down, the ticks stay, and the checksums hold again
    found = manifest(disk)
    assert (found["removed"]["hours"], found["removed"]["by"]) == (list(GONE), "the user")
    assert found["issue"] == 2 and not set(found["raw_hours"]) & set(GONE)
    assert tick_rows(disk) == ticks_before and lake.query(tmp_path, "FROM bars_1s ORDER BY ALL").rows == bars
    for row in disk.read(paths.checksum_file(VENUE, "SOLUSDT", DATE)).decode().splitlines():
        digest, path = row.split("  ")
        assert hashlib.sha256(disk.read(path)).hexdigest() == digest
    # And the validator goes by the ticks: nothing is wrong, nothing is missing, and it says why
    code, after = judged(disk)
    assert (code, after["wrong"], after["trades_missing"]) == (0, [], 0)
    assert (after["verdict"], after["trades"], after["quotes"]) == (said["verdict"], said["trades"], said["quotes"])
    assert after["bars_checked"]["hash"] == said["bars_checked"]["hash"], "the ticks make the very same bars"
    assert "the lines of hour 07, 08 were removed by the user: their ticks stand for them" in after["notes"]
    assert [one.wrong for one in verify(disk, None)] == [[]]
    assert run_compactor(disk, DATE) == 0 and manifest(disk) == found, "said once, it is known"


def test_all_lines_of_a_day_may_go(tmp_path: Path) -> None:
    disk, _ = a_closed_day(tmp_path)
    before = tick_rows(disk)
    for name in disk.list(RAW):
        disk.remove(f"{RAW}/{name}")
    disk.rmdir(RAW)
    run_compactor(disk, DATE, "accept-missing")
    assert tick_rows(disk) == before and manifest(disk)["removed"]["hours"] == [0, 6, 7, 8, 9, 23]
    assert judged(disk)[0] == 0


def test_ticks_give_back_the_very_events(tmp_path: Path) -> None:
    disk, events = a_closed_day(tmp_path)
    bars = [*Rebuild(disk, VENUE, "SOLUSDT").hour(DATE, 7)]
    remove(disk, *GONE)
    run_compactor(disk, DATE, "accept-missing")
    found, problems = archive.read_hour(disk, VENUE, "SOLUSDT", DATE, 7)
    wanted = [e for e in events if paths.hour_of(e.ts) == 7]
    assert problems == [] and sorted(found, key=str) == sorted(wanted, key=str)
    assert [*Rebuild(disk, VENUE, "SOLUSDT").hour(DATE, 7)] == bars and bars
    assert archive.held_hours(disk, VENUE, "SOLUSDT", DATE) == [0, 6, 7, 8, 9, 23]


def test_a_backfill_takes_removed_hours_for_held(tmp_path: Path) -> None:
    disk, events = a_closed_day(tmp_path)
    remove(disk, *GONE)
    run_compactor(disk, DATE, "accept-missing")
    day = BackfillDay(disk, VENUE, "SOLUSDT", DATE, lambda end: True, False)
    trades = [e for e in events if isinstance(e, Trade)]
    assert day.ids("trade").intervals == [[trades[0].trade_id, trades[-1].trade_id]]
    source: dict[str, Any] = {}
    day.take(7, [e for e in trades if paths.hour_of(e.ts) == 7], source)
    assert source["added"] == 0 and not day.close([]), "they are not brought back"


def test_lines_that_come_back_are_lines_again(tmp_path: Path) -> None:
    disk, _ = a_closed_day(tmp_path)
    kept = disk.read(f"{RAW}/part_07.jsonl.zst")
    before = tick_rows(disk)
    remove(disk, *GONE)
    run_compactor(disk, DATE, "accept-missing")
    disk.write(f"{RAW}/part_07.jsonl.zst", kept)
    run_compactor(disk, DATE)
    assert manifest(disk)["removed"]["hours"] == [8] and 7 in manifest(disk)["raw_hours"]
    assert tick_rows(disk) == before


def test_more_that_vanishes_later_is_not_accepted_by_an_old_word(tmp_path: Path) -> None:
    disk, _ = a_closed_day(tmp_path)
    remove(disk, 7)
    run_compactor(disk, DATE, "accept-missing")
    remove(disk, 8)
    run_compactor(disk, DATE)
    assert manifest(disk)["removed"]["hours"] == [7]
    assert judged(disk)[0] == 1


def test_lines_whose_ticks_are_not_whole_are_not_let_go(tmp_path: Path) -> None:
    disk, _ = a_closed_day(tmp_path)
    path = paths.tick_file(VENUE, "SOLUSDT", "trades", DATE)
    disk.write(path, disk.read(path)[:-1] + b"?")
    remove(disk, 7)
    run_compactor(disk, DATE, "accept-missing")
    assert "removed" not in manifest(disk)


def test_it_is_said_of_one_day(tmp_path: Path) -> None:
    disk, _ = a_closed_day(tmp_path)
    assert run_compactor(disk, None, "accept-missing") == EXIT_CONFIG


def test_ticks_that_are_merged_from_many_runs_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, _ = a_closed_day(tmp_path / "one")
    wanted = tick_rows(disk)
    monkeypatch.setattr(ticks, "RUN", 37)
    monkeypatch.setattr(ticks, "GROUP", 37)
    many, _ = a_closed_day(tmp_path / "many")
    assert tick_rows(many) == wanted
    path = paths.tick_file(VENUE, "SOLUSDT", "trades", DATE)
    sizes = [group.num_rows for group in many.read_groups(path)]
    assert set(sizes[:-1]) == {37} and len(sizes) > 5
    assert not [name for name in many.list("journal/compactor") if name.startswith(ticks.SPILL)]
    remove(many, 7)
    run_compactor(many, DATE, "accept-missing")
    assert tick_rows(many) == wanted


def test_what_a_killed_run_has_spilled_is_swept(tmp_path: Path) -> None:
    disk, _ = a_closed_day(tmp_path)
    disk.write(f"journal/compactor/{ticks.SPILL}trades_0.tmp", b"half")
    run_compactor(disk)
    assert disk.list("journal/compactor") == [name for name in disk.list("journal/compactor") if "spill" not in name]


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b'{"raw_hours": 7}', b'{"removed": {"hours": ["x"]}}'])
def test_a_manifest_that_makes_no_sense_says_nothing(tmp_path: Path, data: bytes) -> None:
    disk = Files(tmp_path)
    disk.write(paths.manifest_file(VENUE, "SOLUSDT", DATE), data)
    assert tickfiles.hours(disk, VENUE, "SOLUSDT", DATE) == set()
    assert tickfiles.lost(disk, VENUE, "SOLUSDT", DATE, []) == []
    assert archive.held_hours(disk, VENUE, "SOLUSDT", DATE) == []
