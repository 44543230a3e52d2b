"""A lake of another schema version is refused by every process in one sentence, and nothing in it is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """\
lake: ./lake
sources:
  binance: {run: ingest, venue: binance, symbols: [SOLUSDT], streams: [trade], ws_url: ws://127.0.0.1:9}
sinks:
  archive: {run: archiver, inputs: [binance]}
batches:
  validate: {run: validator, every: 5m}
"""


@pytest.mark.parametrize(("run", "words"), [("archiver", ()), ("validator", ("--date", "2025-10-20"))])
def test_a_process_alone_leaves_a_lake_of_another_version(tmp_path: Path, run: str, words: tuple[str, ...]) -> None:
    (tmp_path / "pipeline.yml").write_text(PIPELINE)
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "lake.json").write_text('{"schema": 99}')
    done = subprocess.run(
        [sys.executable, "-m", f"procs.{run}", "--config", str(tmp_path / "pipeline.yml"), *words],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is of schema 99, this program writes 1: not touched" in done.stderr
    assert sorted(path.name for path in lake.rglob("*")) == ["lake.json"]
