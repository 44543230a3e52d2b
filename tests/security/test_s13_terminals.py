"""S13: what a stranger named is text in every log, table and line for people: no terminal obeys it.

Logs themselves: tests/unit/test_logs.py.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import paths
from shared.events import Bar, Beat, Feed, Quote, Rejected, Trade
from shared.files import Files
from shared.logs import escape
from shared.plain import plain, plain_lines
from shared.topology import Fault
from supervision.table import columns
from supervision.tap import as_json, as_text
from tests.fixtures.small_lake import NOON, SECOND, bars_of, write_bars, write_raw
from tests.integration.emulators import ROOT

EVIL = "A\x1b[2J\x1b]0;owned\x07\r\nB\x9b31m\u2028\u202eC\x00"


def obeyed(text: str, lines: int = 1) -> bool:
    """Whether a terminal or a reader would do anything but show it."""
    bad = any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u2028\u2029\u202e\u2066" for c in text)
    return bad or len(text.strip("\n").splitlines()) > lines


@given(st.text(max_size=60) | st.just(EVIL))
@settings(max_examples=500, database=None)
def test_any_text_becomes_one_line_that_nobody_obeys(text: str) -> None:
    assert not obeyed(plain(text)) and not obeyed(escape(text)) and not obeyed(str(Fault(text, text)))
    assert not obeyed(plain_lines(text), lines=text.count("\n") + 1)
    assert not obeyed(columns(("a", text), [(text, "b")]), lines=2)


EVENTS = [
    Trade(EVIL, 1, 1, 1, 1, "1.0", "1.0", "buy", 1),
    Quote(EVIL, 1, None, None, 1, "1.0", "1.0", "1.1", "1.0", 1),
    Bar(EVIL, 0),
    Feed("gap", 1, 1, [EVIL], {"reason": EVIL}),
    Rejected(EVIL, 1, 1, 1, "00", EVIL),
    Beat("archive", 1, "t", note=EVIL),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_tap_shows_it_escaped(event: Trade) -> None:
    assert not obeyed(as_text(EVIL, event))
    told = as_json(EVIL, event)
    assert json.loads(told) and not any(ord(c) < 32 for c in told)


def cli(folder: Path, *words: str, module: str = "") -> str:
    command = [sys.executable, *(["-m", module] if module else ["supervisor.py"]), *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, timeout=50, check=False, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert "Traceback" not in text, text
    return text


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose symbol is called so."""
    folder = tmp_path_factory.mktemp("terminal")
    disk = Files(folder / "lake")
    events = [Trade(EVIL, NOON + n, NOON + n, None, NOON + n, "1.5", "1.0", "buy", 7 + n) for n in range(3)]
    write_raw(disk, events)
    write_bars(disk, bars_of(events, NOON + 10 * SECOND))
    raw = f"{paths.raw_dir('binance', EVIL, paths.date_of(NOON))}/part_1201.jsonl"
    disk.write(raw, b'{"symbol":"\x1b[31m"}\nnonsense\x1b[2J\n')
    (folder / "p.yml").write_text(
        "lake: ./lake\nsources:\n  binance: {run: ingest, venue: binance, symbols: [SOLUSDT]}\n"
        "sinks:\n  archive: {run: archiver, inputs: [binance]}\n"
    )
    return folder


def test_commands_show_a_symbol_of_any_name_escaped(lake: Path) -> None:
    config = ("--config", str(lake / "p.yml"))
    said = cli(lake, "--lake", str(lake / "lake"), module="procs.validator")
    assert "\\x1b" in said
    texts = {
        "validator": said,
        "report": cli(lake, "report", *config),
        "status": cli(lake, "status", *config),
        "sql": cli(lake, "sql", "SELECT symbol, side FROM trades", *config),
        "sql error": cli(lake, "sql", "SELECT CAST(symbol AS INT) FROM trades", *config),
        "verify": cli(lake, "verify", *config),
    }
    for name, text in texts.items():
        assert not obeyed(text, lines=10_000), (name, text)


def test_a_pipeline_file_that_is_refused_is_quoted_escaped(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        'lake: ./lake\n"ev\\e[2Jil": 1\nsources:\n  binance: {run: ingest, venue: "b\\e[2J", symbols: ["S\\x9bX"]}\n'
    )
    for words in (("check",), ("run",), ("status",)):
        text = cli(tmp_path, *words, "--config", str(path))
        assert text.strip() and not obeyed(text, lines=1000), (words, text)


def test_the_live_view_shows_it_escaped(tmp_path: Path) -> None:
    from rich.console import Console

    from shared.events import Batch
    from shared.journal import pack
    from supervision.view import View

    view = View(tmp_path)
    view.take("bars_1s", pack(Batch(1, 1, [Bar(EVIL, 0, 1.0, 1.0, 1.0, 1.0)]), 1, 2))
    out = io.StringIO()
    said = {"stages": [], "batches": [], "running": True, "stopping": False, "uptime_s": 1.0, "lake": EVIL}
    Console(file=out, width=200, force_terminal=False).print(view.draw(said, "title", {}))
    assert not obeyed(out.getvalue(), lines=1000)
