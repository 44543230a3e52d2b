"""The whole mesh against a venue that shares no code with it, judged by a ledger and a judge that share none either.

`python -m bench standin` runs the same for minutes, at 5,000 events/s and with 20 symbols.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.judge.ledger import Ledger, from_standin
from bench.judge.report import Report
from bench.judge.verdict import judge
from bench.standin.bench import Bench
from bench.standin.cli import play_recording
from tests.fixtures.captures import capture

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def ill_treated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Ledger, Report]]:
    """A lake that was written through everything a link and a venue can do."""
    folder = tmp_path_factory.mktemp("standin")
    bench = Bench(folder, 5, 900)
    first, second = bench.symbols[:2]
    try:
        bench.start()
        bench.wait_flowing()
        time.sleep(1)
        bench.fault("duplicate", rate=0.02)
        bench.fault("reorder", rate=0.02)
        bench.fault("withhold", symbol=first, count=30)
        bench.fault("withhold", symbol=second, count=1200)
        time.sleep(2)
        bench.fault("garbage")
        bench.fault("shutdown", grace=1.5)
        time.sleep(3)
        bench.fault("rest_limit", seconds=2)
        bench.fault("cut", seconds=2, rest=False)
        time.sleep(4)
        bench.fault("drop")
        time.sleep(2)
        bench.fault("reorder", rate=0)
        bench.fault("withhold", symbol=bench.symbols[-1], count=10)
        time.sleep(1)
        bench.fault("pause")
        bench.settle(60)
        assert bench.stop() == 0
        report, ledger = bench.verdict()
        yield bench.lake, ledger, report
    finally:
        bench.close()


def test_what_a_venue_does_to_its_links_costs_no_trade_and_no_bar(ill_treated: tuple[Path, Ledger, Report]) -> None:
    _, _, report = ill_treated
    assert not report.wrong, str(report)
    assert report.figures["rejected"] == 28
    assert report.figures["sources"]["rest"] > 1200
    assert report.figures["bars compared"] > 5 * 12


def _first_line(lake: Path, stream: str) -> tuple[Path, list[bytes], int]:
    path = next(p for p in sorted(lake.glob("raw/**/part_*.jsonl")) if p.stat().st_size > 50_000)
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if n > 50 and b'"stream":"%s"' % stream.encode() in line)
    return path, lines, at


def _drop(stream: str) -> Callable[[Path], None]:
    def spoil(lake: Path) -> None:
        path, lines, at = _first_line(lake, stream)
        path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))

    return spoil


def _double(lake: Path) -> None:
    path, lines, at = _first_line(lake, "trade")
    path.write_bytes(b"".join([*lines, lines[at]]))


def _change(lake: Path) -> None:
    path, lines, at = _first_line(lake, "trade")
    line = json.loads(lines[at], parse_float=str)
    old = b'"qty":' + line["qty"].encode()
    lines[at] = lines[at].replace(old, old[:-1] + (b"1" if old[-1:] != b"1" else b"2"))
    path.write_bytes(b"".join(lines))


def _second_bar(lake: Path) -> None:
    path = next(lake.glob("parquet/**/*.parquet"))
    shutil.copy(path, path.with_name("part_copy.parquet"))


def _stranger(lake: Path) -> None:
    next(lake.glob("parquet/**/*.parquet")).with_name("part.json").write_text("{}")


def _no_bars(lake: Path) -> None:
    max(lake.glob("parquet/**/*.parquet"), key=lambda path: path.stat().st_size).unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_drop("trade"), "trades missing"),
        (_drop("bookTicker"), "a quote sent and not held"),
        (_double, "raw: a trade twice"),
        (_change, "a trade of other digits"),
        (_second_bar, "a bar twice under the glob"),
        (_stranger, "a stranger among the Parquet files"),
        (_no_bars, "a second with trades and no bar"),
    ],
)
def test_the_judge_notices(
    ill_treated: tuple[Path, Ledger, Report], tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    lake, ledger, _ = ill_treated
    shutil.copytree(lake, tmp_path / "lake")
    spoil(tmp_path / "lake")
    report, _ = judge(tmp_path / "lake", ledger)
    assert says in report.wrong, str(report)


def test_kills_and_restarts_of_everything_cost_no_trade_and_no_bar(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 4, 1500)
    try:
        bench.start()
        bench.wait_flowing()
        time.sleep(2)
        for name in ("archive", "binance", "supervisor", "bars_1s", "parquet"):
            assert bench.kill(name), f"{name} was not there to be killed"
            if name == "supervisor":
                bench.start()
            else:
                _back(bench, name)
        assert bench.ask("restart", "archive").returncode == 0
        assert bench.ask("restart", "binance").returncode == 0
        bench.fault("pause")
        bench.settle(60)
        assert bench.stop() == 0
        report, _ = bench.verdict()
    finally:
        bench.close()
    assert not report.wrong, str(report)
    assert from_standin(bench.ledger).end["connections_ever"] >= 3


def _back(bench: Bench, name: str) -> None:
    """The stage runs again and has done so for a moment."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        process = bench.stages().get(name)
        if process is not None and process.is_running() and time.time() - process.create_time() > 1.0:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{name} did not come back")


@pytest.mark.parametrize(
    ("venue", "names"),
    [
        ("binance", ["binance-spot-ws/ethusdt_20240808.gz", "binance-spot-ws/ethusdt_20240809.gz"]),
        ("binance_usdm", ["binance-usdm-ws/btcusdt_20240808.gz"]),
    ],
)
def test_a_recording_through_the_mesh_is_what_was_recorded(tmp_path: Path, venue: str, names: list[str]) -> None:
    options: Any = argparse.Namespace(
        venue=venue, files=[capture(name) for name in names], speed="max", emulator="", heal=60.0, seconds=30.0
    )
    report = play_recording(options, tmp_path)
    assert not report.wrong, str(report)
    assert report.figures["trades"] == (14_515 if venue == "binance" else 21_313)
    assert report.figures["quotes"] == (58_758 if venue == "binance" else 66_089)
