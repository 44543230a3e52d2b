"""The demo: the whole mesh against the built-in venue, in a fresh lake, watched live; then what it recorded."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shared import config, logs
from shared.wire import Bus, Subscriber
from supervision.children import ROOT, Child
from supervision.ground import Ground
from supervision.loop import Supervisor
from supervision.view import View, files_written

if TYPE_CHECKING:
    from rich.live import Live

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "SUIUSDT", "ADAUSDT")
RATE = 1000
"""Events a second, over all symbols."""
_PIPELINE = """# Written by `python supervisor.py demo`: the mesh against the built-in venue.
lake: .
sources:
  binance:
    run: ingest
    venue: binance
    symbols: [{symbols}]
    streams: [trade, quote]
    ws_url: {ws_url}
    rest_url: {rest_url}
transforms:
  bars_1s: {{run: aggregator, inputs: [binance], lateness_ms: 2000}}
sinks:
  archive: {{run: archiver, inputs: [binance]}}
  parquet: {{run: parquet_sink, inputs: [bars_1s], flush_every_s: 5}}
"""
QUERY = """SELECT symbol, count(*) AS seconds, sum(trade_count)::BIGINT AS trades,
       round(sum(volume_quote), 2) AS volume_quote, round(sum(volume_quote) / sum(volume_base), 6) AS vwap,
       count(*) FILTER (NOT is_complete) AS incomplete
FROM bars_1s GROUP BY symbol ORDER BY symbol"""
"""What the demo asks the lake at its end. A symbol's first second is incomplete: nobody knows what came before it."""


class Failed(Exception):
    """The demo cannot go on; one sentence says why."""


def run(seconds: float | None, lake: Path | None = None) -> int:
    """Records until Ctrl-C or for so many seconds; exit code 0 where what was recorded is right."""
    lake = (lake or Path(f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}")).absolute()
    if lake.exists() and any(lake.iterdir()):
        raise Failed(f"{lake} is not empty: the demo begins a fresh lake")
    (lake / "run").mkdir(parents=True, exist_ok=True)
    venue, urls = _venue(lake)
    try:
        path = lake / "pipeline.yml"
        path.write_text(_PIPELINE.format(symbols=", ".join(SYMBOLS), **urls), encoding="utf-8")
        logs.setup(lake, "supervisor", console=not sys.stdout.isatty())
        _record(path, lake, seconds)
    finally:
        venue.drain()
        venue.wait(5)
        venue.kill()
    return _account(lake)


def _venue(lake: Path) -> tuple[Child, dict[str, str]]:
    """Starts the built-in venue and waits until it says where it listens."""
    said = lake / "run" / "venue.json"
    options = [
        "--symbols",
        ",".join(SYMBOLS),
        "--rate",
        str(RATE),
        "--port",
        "0",
        "--port-file",
        str(said),
        "--lifeline",
    ]
    venue = Child([sys.executable, "-m", "procs.emulator", *options], lake / "run" / "venue.txt")
    until = time.monotonic() + 30
    while time.monotonic() < until and venue.exit_code() is None:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(said.read_text())
            return venue, {"ws_url": str(found["ws_url"]), "rest_url": str(found["rest_url"])}
        time.sleep(0.05)
    venue.kill()
    raise Failed(f"the built-in venue did not start: {venue.last_words()}")


def _record(path: Path, lake: Path, seconds: float | None) -> None:
    ground = Ground(lake, str(path))
    supervisor = Supervisor(config.load(path), ground)
    asked: list[int] = []
    before = {
        name: signal.signal(name, lambda number, _: asked.append(number)) for name in (signal.SIGINT, signal.SIGTERM)
    }
    bus = Bus(lake, ground.mesh)
    try:
        supervisor.start()
        _watch(supervisor, bus, lake, asked, time.monotonic() + seconds if seconds else None)
    finally:
        bus.close()
        supervisor.close()
        for name, handler in before.items():
            signal.signal(name, handler)


def _watch(supervisor: Supervisor, bus: Bus, lake: Path, asked: list[int], until: float | None) -> None:
    """Turns the supervisor and draws between turns."""
    view, screen = View(lake), _Screen()
    taps: Subscriber | None = None
    drawn = 0.0
    with screen:
        while not supervisor.over:
            supervisor.turn()
            if (asked or (until is not None and time.monotonic() >= until)) and not supervisor.stopping:
                supervisor.stop()
            if len(asked) > 1:
                break
            if taps is None and bus.endpoint("tap.bars_1s") is not None:
                taps = bus.subscriber(["tap.bars_1s"])
            while taps is not None and (message := taps.recv(0)) is not None:
                view.take(*message)
            if time.monotonic() - drawn >= 0.5:
                drawn = time.monotonic()
                screen.show(view, supervisor, lake)


class _Screen:
    """A live picture on a terminal; a plain line every few seconds elsewhere."""

    PLAIN_EVERY_S = 5.0

    def __init__(self) -> None:
        self._live: Live | None = None
        self._said = time.monotonic()
        self._files: dict[str, tuple[int, int]] = {}
        self._counted = 0.0

    def __enter__(self) -> _Screen:
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, view: View, supervisor: Supervisor, lake: Path) -> None:
        now = time.monotonic()
        if now - self._counted >= 2:
            self._counted, self._files = now, files_written(lake)
        if self._live is not None:
            doing = "draining" if supervisor.stopping else "Ctrl-C stops and checks what was recorded"
            self._live.update(view.draw(supervisor.snapshot(), f"Crypto Lake demo: {doing}", self._files))
        elif now - self._said >= self.PLAIN_EVERY_S:
            self._said = now
            trades = sum(market.trades for market in view.markets.values())
            bars = sum(market.bars for market in view.markets.values())
            size = sum(size for _, size in self._files.values())
            print(
                f"{bars} bars of {len(view.markets)} symbols, {trades} trades in them, {size / 1e6:.1f} MB", flush=True
            )


def _account(lake: Path) -> int:
    """What was recorded, whether it is right, and a question to it."""
    print(f"\nRecorded in {lake}")
    for name, (count, size) in files_written(lake).items():
        print(f"  {name + '/':10} {count:5} files  {size / 1e6:8.1f} MB")
    print("\npython -m procs.validator --lake", lake, flush=True)
    verdict = subprocess.run([sys.executable, "-m", "procs.validator", "--lake", str(lake)], cwd=ROOT, check=False)
    from shared.lake import query

    print(f"\nduckdb -init lake.sql   (in {lake})\n{QUERY}\n")
    answer = query(lake, QUERY)
    _print_table(answer.columns, answer.rows)
    return verdict.returncode


def _print_table(names: list[str], rows: list[tuple[object, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    Console().print(table)
