"""Certificates against the lake: what holds is said to hold, and one changed byte of anything is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config
from procs.validator.verify import verify
from procs.validator.work import validate
from shared import archive, hidden, paths
from shared.errand import Errand
from shared.events import Feed
from shared.files import Files
from shared.process import Lifeline
from supervision import reporting
from supervision.children import ROOT
from tests.fixtures.small_lake import HOUR, MINUTE, SECOND, VENUE, Market, write_lake, write_raw, write_reached

DATE = "2025-10-20"
MORNING = paths.day_start(DATE)
MIDNIGHT = MORNING + 24 * HOUR
PIPELINE = f"""
lake: ./lake
sources:
  binance: {{run: ingest, venue: {VENUE}, symbols: [SOLUSDT, ADAUSDT], streams: [trade, quote]}}
transforms:
  bars_1s: {{run: aggregator, inputs: [binance]}}
sinks:
  archive: {{run: archiver, inputs: [binance]}}
  parquet: {{run: parquet_sink, inputs: [bars_1s]}}
"""


def a_lake(root: Path, reached: int = MIDNIGHT + 3 * MINUTE, closed: bool = True) -> Files:
    disk = Files(root)
    events = []
    for symbol in ("SOLUSDT", "ADAUSDT"):
        market = Market(symbol)
        events += market.events(MORNING - SECOND, 1)
        for start in (MORNING, MORNING + 13 * HOUR, MIDNIGHT):
            events += market.events(start, 60, every=20) if start < reached else []
    write_lake(disk, events, [Feed("clock", MORNING, MORNING, [], {"offset_ns": 5})], reached)
    if closed:
        compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    certify(disk)
    return disk


def certify(disk: Files) -> None:
    validate(Errand(disk, Config(), None, None, True, Lifeline()))


def problems(disk: Files, date: str | None = DATE) -> list[str]:
    return [text for one in verify(disk, None, date) for text in one.wrong]


def test_a_lake_that_nobody_touched_holds(tmp_path: Path) -> None:
    disk = a_lake(tmp_path)
    found = list(verify(disk, None, DATE))
    assert [(one.symbol, one.verdict, one.wrong) for one in found] == [
        ("ADAUSDT", "complete", []),
        ("SOLUSDT", "complete", []),
    ]
    assert all(one.files >= 6 for one in found) and problems(disk, None) == []


def test_one_changed_byte_of_any_file_is_named(tmp_path: Path) -> None:
    disk = a_lake(tmp_path)
    certificate = json.loads(disk.read(paths.certificate(VENUE, "SOLUSDT", DATE)))
    assert {file["path"].partition("/")[0] for file in certificate["files"]} == {"raw", "feed", "parquet", "ticks"}
    extra = [paths.certificate(VENUE, "SOLUSDT", DATE), paths.checksum_file(VENUE, "SOLUSDT", DATE)]
    for path in [*(file["path"] for file in certificate["files"]), *extra]:
        whole = disk.read(path)
        middle = len(whole) // 2
        disk.write(path, whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        assert any(text.startswith(f"{path}: ") for text in problems(disk)), path
        disk.write(path, whole)
    assert problems(disk) == []


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    disk = a_lake(tmp_path)
    path = paths.tick_file(VENUE, "ADAUSDT", "trades", DATE)
    disk.remove(path)
    assert f"{path}: is not there" in problems(disk)


def test_a_trade_that_is_taken_out_cleanly_is_found_by_its_id(tmp_path: Path) -> None:
    """Also where the certificate's list of files was made to fit."""
    disk = a_lake(tmp_path, closed=False)
    path = f"raw/{VENUE}/SOLUSDT/{DATE}/part_1300.jsonl"
    lines = disk.read(path).splitlines(keepends=True)
    at = next(n for n, text in enumerate(lines) if b'"stream":"trade"' in text)
    disk.write(path, b"".join(lines[:at] + lines[at + 1 :]))
    gone = json.loads(lines[at])["trade_id"]
    certificate = paths.certificate(VENUE, "SOLUSDT", DATE)
    said = json.loads(disk.read(certificate))
    said["files"] = [file for file in said["files"] if file["path"] != path]
    disk.write(certificate, json.dumps(said).encode())
    found = problems(disk)
    assert any(f"[[{gone}, {gone}]]" in text for text in found)
    assert f"{certificate}: is not the certificate that was issued" in found


def test_an_open_day_holds_while_it_grows_and_is_folded(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, reached=MORNING + 13 * HOUR + MINUTE, closed=False)
    assert problems(disk) == []
    late = [*Market("SOLUSDT", seed=2, first_id=9000).events(MORNING + 14 * HOUR, 60)]
    write_raw(disk, late)
    write_reached(disk, MORNING + 14 * HOUR + 10 * MINUTE)
    assert problems(disk) == []
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    assert problems(disk) == []
    certify(disk)
    path = f"raw/{VENUE}/SOLUSDT/{DATE}/part_1400.jsonl"
    disk.write(path, disk.read(path).replace(b'"side":"buy"', b'"side":"bux"', 1))
    assert f"{path}: has changed, its sha256 is not the certificate's" in problems(disk)


def test_an_open_day_holds_while_an_hour_of_it_is_being_folded(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, closed=False)
    folder = f"raw/{VENUE}/SOLUSDT/{DATE}"
    for part in archive.parts(disk, folder, 13):
        disk.rename(f"{folder}/{part.name}", hidden.beside(f"{folder}/{part.name}", hidden.OLD))
    assert any("part_1300" in text and "is not there" in text for text in problems(disk)), "nobody folds it"
    disk.write(f"{folder}/new_part_13.jsonl.zst.tmp", b"")
    assert problems(disk) == []


def test_the_command_says_which_file_and_its_exit_code_says_whether(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yml").write_text(PIPELINE)
    disk = a_lake(tmp_path / "lake")
    command = [sys.executable, "supervisor.py", "verify", "--config", str(tmp_path / "pipeline.yml")]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    whole = run("--date", DATE)
    assert (whole.returncode, whole.stdout.splitlines()[-1]) == (0, "2 of 2 certificates hold"), whole.stderr
    path = paths.bars_day(VENUE, "SOLUSDT", DATE)
    data = disk.read(path)
    disk.write(path, data[:-9] + b"?" + data[-8:])
    broken = run()
    assert broken.returncode == 1 and f"  {path}: has changed" in broken.stdout
    said = json.loads(run("--json").stdout)
    assert not said["ok"] and any(path in text for one in said["certificates"] for text in one["wrong"])
    assert run("--date", "1999-01-01").returncode == 1
    assert run("--date", "soon").returncode == 2


def test_report_of_a_day_is_good_only_if_all_of_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from shared import config

    (tmp_path / "pipeline.yml").write_text(PIPELINE)
    disk = a_lake(tmp_path / "lake")
    pipeline = config.load(tmp_path / "pipeline.yml")
    assert reporting.report(pipeline, DATE, False) == 0
    shown = capsys.readouterr().out
    assert f"SOLUSDT  {'■' * 24}" in shown and "2025-10-20  complete" in shown
    assert reporting.report(pipeline, "2025-10-19", False) == 1  # the record began a second before midnight
    disk.remove(paths.certificate(VENUE, "ADAUSDT", DATE))
    assert reporting.report(pipeline, DATE, False) == 1
    assert f"binance ADAUSDT: no certificate of {DATE}" in capsys.readouterr().out
    # Before a symbol was ever recorded nothing of it can be missing.
    disk.remove(paths.certificate(VENUE, "ADAUSDT", "2025-10-19"))
    assert reporting.report(pipeline, DATE, True) == 0


def test_a_halted_symbol_is_no_nightly_alarm() -> None:
    halted = reporting.Said(verdict="unproven", is_open_ended=True, statuses=[{"status": "BREAK"}])
    assert halted.is_good
    assert reporting.Said(verdict="unproven", is_open_ended=True, status="BREAK").is_good  # since another day
    assert not reporting.Said(verdict="unproven", is_open_ended=True, status="TRADING").is_good
    assert not reporting.Said(verdict="unproven", is_open_ended=True).is_good
    assert not reporting.Said(verdict="unproven", statuses=[{"status": "BREAK"}]).is_good
    assert not reporting.Said(verdict="complete", wrong=["1 broken lines"]).is_good
