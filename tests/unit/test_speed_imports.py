"""What a resident process does not load, for nobody would need it there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SINK = """
import contextlib, runpy, sys
sys.argv = ["parquet_sink", "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_module("procs.parquet_sink", run_name="__main__")
from pathlib import Path
from shared.barfiles import bar_table
from shared.events import Bar
from shared.files import Files
Files(Path({folder!r})).write_table("bars.parquet", bar_table([Bar("X", 0, 1.0)], "binance"), "snappy")
print("pandas is", "there" if "pandas" in sys.modules else "absent")
"""


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
def test_the_sink_writes_bars_without_pandas_which_pyarrow_would_import(tmp_path: Path) -> None:
    code = SINK.format(folder=str(tmp_path))

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )

    assert done.stdout.endswith("pandas is absent\n"), done.stderr
    assert (tmp_path / "bars.parquet").stat().st_size > 0
