"""The yardstick with the whole product: what is sent is in the lake, and the time it took is counted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bench.speed import profiling
from bench.speed.market import Market
from bench.speed.server import Server
from bench.speed.yardstick import Load, ours

EVENTS = 4000


@pytest.mark.timeout(180)
def test_a_run_is_recorded_whole_judged_and_profiled(tmp_path: Path) -> None:
    market = Market(2, EVENTS, 3, 500)
    with contextlib.closing(Server(tmp_path, EVENTS, 3, per_s=500, seed=2)) as server:
        run = ours(server, tmp_path / "run", market, Load(EVENTS), profile="bars_1s")

    assert run.verdict is not None
    assert run.verdict.wrong == []
    assert run.verdict.lines == run.verdict.counted == EVENTS
    assert run.wall > 0
    assert run.cpu > 0
    assert {"binance", "archive", "bars_1s", "parquet", "supervisor"} <= run.stages.keys()
    assert "aggregator" in profiling.report(tmp_path / "run", "bars_1s", lines=5000)
