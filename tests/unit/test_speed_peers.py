"""What peers share and what is said of them: the work they all do, ratios, and plain words where one cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.speed import compare, peers, rounds
from bench.speed.figures import Goal, Spread
from bench.speed.latency import Ages
from bench.speed.peers import PEERS, Peer, Unavailable
from bench.speed.rounds import Rounds, Sample

WORK = """
import sys
sys.argv = ["driver", "--ws", "", "--rest", "", "--symbols", "A,B", "--events", "4", "--folder", {folder!r}]
sys.path.insert(0, {drivers!r})
from work import Work, arguments
args = arguments()
work = Work(args)
work.trade("A", 10.0, 2.0, 100)
work.line(b"one\\n")
work.quote("A", 9.0, 11.0)
work.line(b"two\\n")
work.trade("A", 12.0, 1.0, 100)
work.line(b"three\\n")
work.trade("A", 8.0, 1.0, 101)
work.line(b"four\\n")
raise SystemExit("it should have ended by itself")
"""


def test_the_work_of_a_peer_is_a_line_an_event_and_bars_of_a_second(tmp_path: Path) -> None:
    code = WORK.format(folder=str(tmp_path), drivers=str(peers.DRIVERS))

    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, capture_output=True, text=True, timeout=50, check=False
    )

    assert json.loads(done.stdout)["events"] == 4, done.stderr
    assert (tmp_path / "events.jsonl").read_bytes() == b"one\ntwo\nthree\nfour\n"
    first, second = pq.ParquetFile(tmp_path / "bars-00000.parquet").read().to_pylist()
    assert first == {
        "symbol": "A", "second": 100, "open": 10.0, "high": 12.0, "low": 10.0, "close": 12.0, "volume": 3.0,
        "quote_volume": 32.0, "count": 2, "bid": 9.0, "ask": 11.0,
    }  # fmt: skip
    assert (second["second"], second["count"], second["close"]) == (101, 1, 8.0)


def test_every_peer_has_its_driver_and_exact_versions() -> None:
    for peer in PEERS.values():
        assert (peers.DRIVERS / peer.driver).is_file()
        assert all("==" in package for package in peer.packages)


def test_a_python_that_is_not_there_is_said() -> None:
    with pytest.raises(Unavailable, match=r"needs Python 2\.0"):
        peers.interpreter("2.0")


def test_this_python_does_where_none_is_asked_for() -> None:
    assert peers.interpreter("") == sys.executable
    assert peers.interpreter(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_what_cannot_be_installed_is_left_out_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: retrying\nERROR: no registry can be reached\n")

    monkeypatch.setattr(subprocess, "run", offline)

    with pytest.raises(Unavailable, match="could not be installed: ERROR: no registry"):
        peers.environment(Peer("x", "x.py", ("x==1",)), tmp_path)


def test_an_environment_is_made_once_and_anew_for_other_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        calls.append(command)
        python = tmp_path / "x" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(subprocess, "run", run)
    for packages in (("x==1",), ("x==1",), ("x==2",)):
        peers.environment(Peer("x", "x.py", packages), tmp_path)

    assert [command[-1] for command in calls if "pip" in command] == ["x==1", "x==2"]


def test_ratios_are_taken_round_by_round() -> None:
    found = Rounds()
    found.samples["ours"] = [Sample(1000, 1e-6), Sample(500, 2e-6), Sample(900, 1e-6)]
    found.samples["cryptofeed"] = [Sample(100, 9e-6), Sample(10, 16e-6), Sample(100, 10e-6)]

    rate, cpu = found.ratio("cryptofeed", "rate"), found.ratio("cryptofeed", "cpu")

    assert rate is not None
    assert list(rate.values) == [10, 50, 9]
    assert cpu is not None
    assert [round(one) for one in cpu.values] == [9, 8, 10]
    assert rate.text() == "10.0x (9.0-50.0)"
    assert found.ratio("nobody", "rate") is None


def test_a_round_in_which_a_peer_did_not_run_gives_no_ratio_and_moves_no_other() -> None:
    found = Rounds()
    found.samples["ours"] = [Sample(1000, 1e-6), Sample(500, 1e-6)]
    found.samples["cryptofeed"] = [None, Sample(10, 1e-6)]

    rate = found.ratio("cryptofeed", "rate")

    assert rate is not None
    assert list(rate.values) == [50]


def goal_of(name: str, goals: list[Goal]) -> Goal:
    return next(goal for goal in goals if goal.name == name)


def sampled(ours: tuple[float, float], theirs: tuple[float, float]) -> Rounds:
    found = Rounds()
    found.samples["ours"] = [Sample(*ours)] * 2
    found.samples["cryptofeed"] = [Sample(*theirs)] * 2
    return found


def test_p1_wants_both_ratios_and_none_far_below() -> None:
    reached = sampled((1300, 1e-6), (100, 9e-6))
    slow, costly = sampled((1100, 1e-6), (100, 9e-6)), sampled((1300, 1e-6), (100, 7e-6))
    dipped = Rounds()
    dipped.samples["ours"] = [Sample(1300, 1e-6), Sample(1300, 1e-6), Sample(700, 1e-6)]
    dipped.samples["cryptofeed"] = [Sample(100, 9e-6)] * 3

    assert goal_of("P1", rounds.goals(reached, None)).is_reached is True
    for missed in (slow, costly, dipped):
        assert goal_of("P1", rounds.goals(missed, None)).is_reached is False
    assert goal_of("P2", rounds.goals(reached, None)).is_reached is None


def test_p3_and_p4_compare_cpu_time() -> None:
    found = sampled((1, 1e-6), (1, 1e-6))
    found.samples["unicorn (receive only)"] = [Sample(1, 2.1e-6)] * 2
    found.samples["seed-like"] = [Sample(1, 19e-6)] * 2

    goals = rounds.goals(found, None)

    assert goal_of("P3", goals).is_reached is True
    assert goal_of("P4", goals).is_reached is False


@pytest.mark.parametrize(
    ("at_20k", "at_60k", "is_reached"),
    [((90, 390), (500, 190), True), ((90, 410), (500, 190), False), ((110, 390), (500, 190), False),
     ((90, 390), (500, 210), False)],
)  # fmt: skip
def test_p5_wants_the_tail_as_well_as_the_middle(
    at_20k: tuple[int, int], at_60k: tuple[int, int], is_reached: bool
) -> None:
    theirs = Ages(100, 400, 9)
    found = {
        (20_000, "ours"): [Ages(*at_20k, 9)], (20_000, "cryptofeed"): [theirs],
        (60_000, "ours"): [Ages(*at_60k, 9)], (60_000, "cryptofeed"): [theirs],
    }  # fmt: skip

    assert compare._latency_goal("", found).is_reached is is_reached


def test_one_round_has_no_spread_and_a_goal_says_whether_it_is_reached() -> None:
    assert Spread.of([2.0]).text() == "2.0x"
    assert str(Goal("P9", "all", "some", False)).startswith("P9  NOT reached")
    assert str(Goal("P9", "all", "none")).startswith("P9  not measured")
