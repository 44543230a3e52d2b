"""The ledger of the chaos runs finds nothing wrong where nothing is, and finds each thing that is."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.chaos.ledger import judge
from bench.chaos.run import Run
from bench.chaos.witness import Witness

pytestmark = pytest.mark.timeout(150)

Recorded = tuple[Path, dict[str, Any], Witness]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("chaos")
    with Run(argparse.Namespace(seed=1, rate=300.0)) as run:
        run.begin()
        time.sleep(4)
        run.settled()
        issued = run.mesh.ledger()
        assert run.mesh.stop() == 0
        run.witness.stop()
        shutil.copytree(run.mesh.lake, folder / "lake")
        yield folder / "lake", issued, run.witness


def test_a_lake_that_is_right_has_no_fault(recorded: Recorded) -> None:
    verdict = judge(*recorded)
    assert verdict.faults == []
    assert verdict.figures["trades_archived"] > 200 and verdict.figures["trades_in_bars"] > 100


def _lines(lake: Path, stream: bytes) -> tuple[Path, list[bytes], int]:
    """The longest file, its lines, and one of that stream in its middle."""
    path = max(lake.glob("raw/**/*.jsonl"), key=lambda path: path.stat().st_size)
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n in range(len(lines) // 2, len(lines)) if b'"stream":"%s"' % stream in lines[n])
    return path, lines, at


def _drop(stream: bytes) -> Callable[[Path], None]:
    def spoil(lake: Path) -> None:
        path, lines, at = _lines(lake, stream)
        path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))

    return spoil


def _double(stream: bytes) -> Callable[[Path], None]:
    def spoil(lake: Path) -> None:
        path, lines, at = _lines(lake, stream)
        path.write_bytes(b"".join([*lines, lines[at]]))

    return spoil


def _change(lake: Path) -> None:
    """Another quantity for a trade whose bar is on disk: those of the last seconds are not yet."""
    bars = pq.read_table(_bars(lake)).to_pylist()
    bar = next(bar for bar in bars if bar["first_trade_id"] is not None)
    for path in lake.glob(f"raw/*/{bar['symbol']}/*/part_*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        for at, text in enumerate(lines):
            trade = json.loads(text, parse_float=str)
            if trade.get("trade_id") == bar["first_trade_id"]:
                qty = b'"qty":' + trade["qty"].encode()
                lines[at] = text.replace(qty, qty[:-1] + (b"1" if qty[-1:] != b"1" else b"2"))
                path.write_bytes(b"".join(lines))
                return
    raise AssertionError("a bar without its trade")


def _tear(lake: Path) -> None:
    path, lines, _ = _lines(lake, b"trade")
    path.write_bytes(b"".join(lines)[:-5])


def _stray(lake: Path) -> None:
    path, lines, at = _lines(lake, b"trade")
    other = path.parent.with_name("2020-01-01")
    other.mkdir()
    (other / path.name).write_bytes(lines[at])
    path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))


def _bars(lake: Path) -> Path:
    return max(lake.glob("parquet/**/*.parquet"), key=lambda path: path.stat().st_size)


def _second_bars(lake: Path) -> None:
    shutil.copy(_bars(lake), _bars(lake).with_name("part_copy.parquet"))


def _cut_bars(lake: Path) -> None:
    _bars(lake).write_bytes(_bars(lake).read_bytes()[:-20])


def _no_bars(lake: Path) -> None:
    _bars(lake).unlink()


def _left(lake: Path) -> None:
    _bars(lake).with_suffix(".tmp").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_drop(b"trade"), "1 received trades are not in the archive"),
        (_drop(b"trade"), "1 trades are neither held nor listed"),
        (_drop(b"bookTicker"), "received, "),
        (_double(b"trade"), "1 trades stand twice in the archive"),
        (_double(b"bookTicker"), "1 quotes stand twice in the archive"),
        (_change, "1 bars are wrong"),
        (_tear, "truncated"),
        (_stray, "1 lines stand in the folder of another day"),
        (_second_bars, "bars stand twice"),
        (_cut_bars, "1 Parquet files cannot be read"),
        (_no_bars, "no row"),
        (_left, "unfinished files"),
    ],
)
def test_what_is_spoilt_is_noticed(
    recorded: Recorded, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    lake, issued, witness = recorded
    shutil.copytree(lake, tmp_path / "lake")
    spoil(tmp_path / "lake")
    faults = judge(tmp_path / "lake", issued, witness).faults
    assert any(says in fault for fault in faults), faults
