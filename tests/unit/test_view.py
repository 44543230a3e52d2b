"""The live view shows the bars it was told of, and survives what is no bar."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from rich.console import Console

from shared.events import Bar, Batch
from shared.journal import pack
from supervision.view import View, files_written, price_line


def bar(second: int, close: float | None, revision: int = 0) -> bytes:
    trades = 0 if close is None else 3
    event = Bar("SOLUSDT", second * 1_000_000_000, close=close, trade_count=trades, bid=1.5, revision=revision)
    return pack(Batch(1, 0, [event]), 1, 2)


def test_the_price_line_runs_from_lowest_to_highest() -> None:
    assert price_line(deque([1.0, 2.0, 3.0])) == "▁▅█"
    assert price_line(deque([5.0, 5.0])) == "▄▄"
    assert price_line(deque()) == ""


def test_a_quotes_only_second_keeps_the_last_traded_bar_in_view() -> None:
    view = View(Path("lake"))
    view.take("bars_1s.binance", bar(1, 187.5))
    view.take("bars_1s.binance", bar(2, None))
    market = view.markets["SOLUSDT"]
    assert market.bars == 2 and market.bar is not None and market.bar.close == 187.5


def test_a_revised_bar_is_not_counted_twice() -> None:
    view = View(Path("lake"))
    view.take("bars_1s.binance", bar(1, 187.5))
    view.take("bars_1s.binance", bar(1, 188.5, revision=1))
    assert view.markets["SOLUSDT"].trades == 3


@pytest.mark.parametrize("junk", [b"", b"nonsense", bytes(40)])
def test_bytes_that_are_no_bars_are_passed_over(junk: bytes) -> None:
    assert View(Path("lake")).take("bars_1s.binance", junk) == []


def test_the_picture_holds_symbol_price_stage_and_files(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "part_1342.jsonl").write_bytes(b"x" * 2_000_000)
    (tmp_path / "raw" / "part_1343.jsonl.tmp").write_bytes(b"x")
    view = View(tmp_path)
    view.take("bars_1s.binance", bar(1, 187.5))
    row = {"stage": "binance", "state": "running", "events_in_s": 10.0, "events_out_s": 1.0, "restarts": 0, "note": ""}
    row |= {"counters": {"ids_missing": 0}, "memory_bytes": 20_000_000}
    console = Console(width=140, record=True, file=(tmp_path / "out").open("w"))
    console.print(view.draw({"stages": [row]}, "demo", files_written(tmp_path)))
    text = console.export_text()
    for word in ("SOLUSDT", "187.5", "00:00:01", "binance", "running", "raw/ 1 files 2.0 MB"):
        assert word in text
    console.file.close()
