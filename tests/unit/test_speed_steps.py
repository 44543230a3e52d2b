"""What an event costs in each stage's own code: every stage is given all that went in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.speed import steps
from procs.ingest.core import Ingest


@pytest.mark.parametrize("per_s", [2000, 200_000])
def test_every_stage_is_told_of_with_its_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_s: int) -> None:
    monkeypatch.setattr(steps, "TURNS", 1)
    said: list[str] = []
    steps.measure(tmp_path, said.append, events=20_000, symbols=3, per_s=per_s)
    assert said[0].startswith("us of CPU an event: ingest ")
    assert all(f"   {name} " in said[0] for name in ("archiver", "aggregator", "parquet_sink", "together"))
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_events_that_do_not_come_out_are_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Ingest.reads
    monkeypatch.setattr(Ingest, "reads", lambda self, reads: plain(self, reads[:1]))
    with pytest.raises(RuntimeError, match="20000 events went in"):
        steps.measure(tmp_path, lambda text: None, events=20_000, symbols=3)
