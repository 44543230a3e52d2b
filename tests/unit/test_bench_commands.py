"""The commands of bench say what failed, what hangs and what could not be tried, and their exit codes say it, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import fuzz, whole
from bench.chaos import full_disk, scenarios, small_disk

STATISTICS = """
tests/security/test_s04_decoders.py::test_a_record:

  - during generate phase (0.19 seconds):
    - 90 passing, 0 failing, and 4 invalid test cases

tests/property/test_venue_fuzz.py::test_any_bytes:

  - during generate phase (0.19 seconds):
    - 99 passing, 1 failing, and 0 invalid test cases
"""
CASE = '<testcase name="{name}" time="1.5">{inside}</testcase>'
CRASH = '<failure message="KeyError: 1">in decode</failure>'
HANG = '<failure message="hypothesis.errors.DeadlineExceeded: 1200 ms">slow</failure>'


def report(folder: Path, *inside: str, code: int = 0) -> int:
    names = ["test_a_record", "test_any_bytes"]
    cases = "".join(CASE.format(name=name, inside=text) for name, text in zip(names, inside, strict=True))
    found = folder / "found.xml"
    found.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    return fuzz._report(found, subprocess.CompletedProcess([], code, STATISTICS, ""), 100)


def test_fuzz_counts_what_each_decoder_saw_and_says_who_saw_less(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(tmp_path, "", "") == 0
    assert "2 tests of decoders, 190 examples, crashes 0, hangs 0; 1 of them saw fewer" in capsys.readouterr().out


def test_fuzz_tells_a_crash_from_a_hang_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path, CRASH, HANG, code=1) == 1
    said = capsys.readouterr().out
    assert "crashes 1, hangs 1" in said and "KeyError: 1" in said


def test_fuzz_that_met_no_decoder_has_not_passed(tmp_path: Path) -> None:
    assert fuzz._report(tmp_path / "none.xml", subprocess.CompletedProcess([], 2, "", "no tests"), 100) == 1


def test_every_scenario_runs_in_one_lane_and_has_three_forms() -> None:
    for form in scenarios.FORM:
        commands = [words for together in whole._lanes(form, 10, 1) for lane in together for words in lane.values()]
        names = [words[0] for words in commands]
        assert sorted(names) == sorted([*scenarios.SCENARIOS, "sim", "mutants", "fuzz"])
    assert all(len(values) == 3 for forms in scenarios.FORMS.values() for values in forms.values())


def test_a_scenario_whose_means_are_not_here_has_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small_disk, "_may_mount", lambda: False)
    monkeypatch.setattr(full_disk, "in_own_namespace", lambda words: None)
    monkeypatch.setattr(sys, "argv", ["bench", "full-disk", "--shortest"])
    assert command.main() == whole.NOT_RUN
    assert "full-disk: NOT RUN: no small disk" in capsys.readouterr().out


def test_a_large_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_disk, "MOST", 0)
    with pytest.raises(small_disk.NoDisk, match="is not filled"), small_disk.found_disk(64, tmp_path):
        pass


def test_the_whole_fails_where_one_part_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lanes = [[{"first": ["--help"]}], [{"second": ["no-such-command"]}, {"third": ["--help"]}]]
    monkeypatch.setattr(whole, "_lanes", lambda *_: lanes)
    assert whole.everything("short", 1, 1) == 1
    said = capsys.readouterr().out
    assert "2 of 3 passed" in said and "FAILED: second" in said
