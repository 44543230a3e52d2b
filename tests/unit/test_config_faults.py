"""A pipeline file is mended once: faults of wiring, of settings and of names are said together."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import config

PIPELINE = """\
lake: ./lake
sources:
  binance: {run: ingest, venue: binance, symbols: [SOLUSDT], streems: [trade]}
transforms:
  bars_1s: {run: aggregator, inputs: [binance], lateness_ms: soon}
sinks:
  archive: {run: archiver, inputs: [binance]}
  parquet: {run: parquet_sink, inputs: [bars]}
"""


@pytest.mark.parametrize("more", ["", "extra: 1\n"])
def test_wiring_settings_and_names_are_said_together(tmp_path: Path, more: str) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text(PIPELINE + more)
    with pytest.raises(config.ConfigError) as raised:
        config.load(path)
    said = "\n".join(str(fault) for fault in raised.value.faults)
    for where in ("streems", "lateness_ms", "extra" if more else "sinks.parquet.inputs"):
        assert said.count(where) == 1, said
