"""S7: whatever a symbol, a stream or an argument is called, nothing outside the lake is opened, made, moved or removed.

Looked at from below: every call to the system that takes a path, as the interpreter's audit sees it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from procs.archiver import Archiver
from procs.archiver import Config as ArchiverConfig
from procs.ingest.config import Config as IngestConfig
from procs.parquet_sink import Config as SinkConfig
from procs.parquet_sink import ParquetSink
from shared import archive, paths
from shared.events import Bar, Batch, Feed, Quote, Rejected, Trade
from shared.files import Files, UnsafePath
from shared.runner import Context
from shared.venues import Reject
from shared.venues.binance import Venue
from tests.integration.emulators import ROOT

T0 = paths.day_start("2025-10-20") + 13 * paths.HOUR
NAMES = [
    "../../etc/passwd", "..", ".", "/", "//", "\\..\\x", "C:", "C:\\x", "CON", "NUL", "COM1", "AUX.txt", "\0", "a\0b",
    "~", "~root", "$HOME", "%2e%2e%2f", "%2E%2E%2F", "SOL/USDT", "币安人生USDT", "\ud800", " ", "", "\n", "-rf", "*",
    "?", "year=2025", "part_1300.jsonl", ".tmp", "x" * 64, "\u202e", "hours", "requests", "../raw", "file:///etc/passwd",
]  # fmt: skip
names = (
    st.sampled_from(NAMES)
    | st.text(max_size=24)
    | st.builds("{}{}".format, st.sampled_from(NAMES), st.text(max_size=4))
)
fuzz = settings(max_examples=400, deadline=None, database=None)

_watched: list[str] | None = None
_OPENING = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "os.scandir", "os.link",
    "os.symlink", "os.chmod", "os.utime",
}  # fmt: skip


def _look(event: str, args: tuple[Any, ...]) -> None:
    if _watched is not None and event in _OPENING:
        _watched.extend(
            str(arg) for arg in args[:2] if isinstance(arg, str | bytes | Path) and str(arg) not in ("r", "w")
        )


sys.addaudithook(_look)


@contextmanager
def only_inside(root: Path) -> Iterator[None]:
    """Every path that the system is given meanwhile lies under `root`."""
    global _watched
    _watched = []
    try:
        yield
    finally:
        seen, _watched = _watched, None
        library = (sys.prefix, sys.base_prefix, str(ROOT), "/usr/share/zoneinfo")
        modes = {"rb", "wb", "ab", "r", "w", "a", "b"}
        for path in seen:
            if path in modes or path.startswith(library):
                continue
            assert Path(path).resolve().is_relative_to(root.resolve()), f"{path!r} is not in the lake"


@given(names, names)
@fuzz
@example("../../x", "..")
def test_a_path_of_any_symbol_is_one_folder_of_the_lake(symbol: str, other: str) -> None:
    disk = Files("/lake")
    if not symbol:
        return
    date = "2025-10-20"
    found = [
        paths.raw_dir("binance", symbol, date), paths.bars_dir("binance", symbol, date),
        paths.bars_day("binance", symbol, date), paths.tick_file("binance", symbol, "trades", date),
        paths.checksum_file("binance", symbol, date), paths.certificate("binance", symbol, date),
    ]  # fmt: skip
    for path in found:
        assert disk.path(path).is_relative_to("/lake") and path.split("/")[2] == paths.safe(symbol)
    assert paths.symbol_of(paths.safe(symbol)) == symbol
    if other and other != symbol:
        assert paths.safe(other) != paths.safe(symbol), "two symbols never share a folder"


@given(names)
@fuzz
def test_the_disk_opens_nothing_outside_whatever_it_is_asked_for(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = Files(Path(folder) / "lake")
        disk.mkdir("raw")
        for ask in (path, f"raw/{path}", f"../{path}", f"raw/../../{path}"):
            with only_inside(disk.root):
                for call in (disk.read, disk.size, disk.list, disk.remove, disk.mkdir, disk.table_meta):
                    try:
                        call(ask)
                    except (UnsafePath, OSError, ValueError):
                        continue


@given(names)
@settings(fuzz, max_examples=60)
@example("../../x")
def test_stages_write_a_symbol_of_any_name_inside_the_lake(symbol: str) -> None:
    if not symbol or "\ud800" in symbol:  # which no decoder lets through
        return
    with tempfile.TemporaryDirectory() as folder:
        disk = Files(Path(folder) / "lake")
        (Path(folder) / "lake").mkdir()
        with only_inside(disk.root):
            archiver = Archiver(Context("archive", "binance", "binance", disk), ArchiverConfig())
            archiver.open()
            trade = Trade(symbol, T0, T0, None, T0, "1.5", "2.0", "buy", 1)
            quote = Quote(symbol, T0, None, None, T0, "1.4", "1.0", "1.5", "1.0", 7)
            feed = Feed("gap", T0, T0, [symbol], {"reason": symbol})
            try:
                archiver.handle(
                    Batch(1, T0 + paths.SECOND, [trade, quote, feed, Rejected(symbol, T0, T0, 1, "", symbol)])
                )
                archiver.commit(final=True)
            except OSError:  # a name longer than this file system has
                return
            sink = ParquetSink(Context("parquet", "bars_1s.binance", "binance", disk), SinkConfig(compression="none"))
            sink.open()
            sink.handle(Batch(1, T0 + paths.SECOND, [Bar(symbol, T0, 1.5, 1.5, 1.5, 1.5)]))
            sink.commit(final=True)
            assert archive.symbols(disk) == [("binance", symbol)]
            assert len(archive.read_hour(disk, "binance", symbol, "2025-10-20", 13)[0]) == 2


@given(names)
@fuzz
def test_a_frame_of_another_symbol_is_a_reject_before_it_is_anything(symbol: str) -> None:
    import json

    data = {"e": "trade", "E": 1672515782136, "s": symbol, "t": 1, "p": "1", "q": "1", "T": 1672515782136, "m": True}
    for stream in (symbol, f"{symbol}@trade", "solusdt@trade"):
        with pytest.raises(Reject):
            Venue(["SOLUSDT"]).parse(json.dumps({"stream": stream, "data": data}).encode(), 1)


@given(names)
@fuzz
@example("币" * 64)
def test_a_symbol_that_makes_no_file_name_is_refused_in_the_pipeline_file(symbol: str) -> None:
    try:
        IngestConfig(venue="binance", symbols=[symbol])
    except ValueError:
        return
    assert len(paths.safe(symbol)) <= 200, "file systems end at 255"


COMMANDS = {
    "aggregator --symbol": ["-m", "procs.aggregator", "--lake", "{lake}", "--date=2025-10-20", "--symbol", "../../x"],
    "aggregator --date": ["-m", "procs.aggregator", "--lake", "{lake}", "--date", "../../../x"],
    "validator --date": ["-m", "procs.validator", "--lake", "{lake}", "--date", "../../x"],
    "compactor --date": ["-m", "procs.compactor", "--lake", "{lake}", "--date", "/etc"],
    "archiver --stage": ["-m", "procs.archiver", "--config", "{config}", "--stage", "../../x"],
    "backfill --symbol": ["-m", "procs.backfill", "--lake", "{lake}", "--symbol", "../../X", "--from", "2025-10-20"],
    "backfill --venue": ["-m", "procs.backfill", "--lake", "{lake}", "--symbol=X", "--venue=../x", "--from=2025-10-20"],
    "tap --stage": ["supervisor.py", "tap", "--config", "{config}", "--stage", "../../x"],
    "restart": ["supervisor.py", "restart", "../../x", "--config", "{config}"],
    "report": ["supervisor.py", "report", "../../x", "--config", "{config}"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_an_argument_that_leads_out_is_refused_and_nothing_is_touched(tmp_path: Path, name: str) -> None:
    lake = tmp_path / "deep" / "deeper" / "lake"
    (lake / "raw" / "binance" / "SOLUSDT" / "2025-10-20").mkdir(parents=True)
    config = tmp_path / "pipeline.yml"
    config.write_text(
        f"lake: {lake}\nsources:\n  binance: {{run: ingest, venue: binance, symbols: [SOLUSDT]}}\n"
        "sinks:\n  archive: {run: archiver, inputs: [binance]}\n"
    )
    before = sorted(tmp_path.rglob("*"))
    words = [word.format(lake=lake, config=config) for word in COMMANDS[name]]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    made = set(tmp_path.rglob("*")) - set(before)
    assert all(path.is_relative_to(lake) for path in made), made
