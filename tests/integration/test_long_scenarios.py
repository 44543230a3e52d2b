"""Scenarios of `python -m bench` in their shortest form: an archiver that stays away, orphans that stand still."""

from __future__ import annotations

import subprocess
import sys

import pytest

from supervision.children import ROOT


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_full_journal_pauses_ingest_with_a_recorded_gap_and_an_alarm_and_nothing_is_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "full-journal", "--shortest"],
        cwd=ROOT, capture_output=True, text=True, timeout=230, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0" in done.stdout and "doubled 0" in done.stdout and "pauses_recorded 1" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_stages_that_a_killed_supervisor_left_standing_still_are_waited_for_and_nothing_is_lost_or_doubled() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "orphans", "--shortest"],
        cwd=ROOT, capture_output=True, text=True, timeout=230, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0" in done.stdout and "doubled 0" in done.stdout
