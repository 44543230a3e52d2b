"""The bars of a lake against the exchange's own klines, as its daily or monthly files have them.

    python -m bench klines --lake ./judged/lake --venue binance_usdm --symbol BTCUSDT BTCUSDT-1m-2024-08.csv

A file is CSV, plain or as the exchange's zip, with or without a heading, in milli- or microseconds. Compared is every
whole period between the first and the last bar of the lake, in nine columns; each difference is said with both rows.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from bench.chaos.run import say
from shared import paths
from shared.barstore import Stored, bar_days, by_second
from shared.files import Files
from shared.klines import Difference, Row, compare
from shared.sealing import ENDED
from shared.venues import Kline, nanoseconds

SHOWN = 20


def klines(options: argparse.Namespace) -> int:
    """0 where all are the same, 1 where one differs or there is nothing to compare."""
    told = [kline for path in options.files for kline in read(path)]
    rows = bars_of(options.lake, options.venue, options.symbol)
    if not told or not rows:
        say(f"nothing to compare: {len(told)} klines, {len(rows)} bars")
        return 1
    step_s = step_of(told)
    compared, different = against(rows, told, step_s)
    for one in different[:SHOWN]:
        say(_text(one))
    say(f"klines of {step_s} s: {compared} compared, {len(different)} different")
    return 1 if different or not compared else 0


def against(rows: dict[int, Row], told: list[Kline], step_s: int) -> tuple[int, list[Difference]]:
    """How many whole periods of the lake's record were compared, and those that differ."""
    step = step_s * paths.SECOND
    start = max(min(rows) // step * step + step, min(kline.start for kline in told))
    end = min((max(rows) + paths.SECOND) // step * step, max(kline.start for kline in told) + step)
    return compare(rows, told, step_s, start, end, ())


def read(path: Path) -> Iterator[Kline]:
    """The klines of a file. Raises ValueError for a row that is none."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            data = packed.read(packed.namelist()[0])
    for row in csv.reader(io.StringIO(data.decode())):
        if row and row[0].isdigit():
            start, (opened, high, low, close, base), quote, count = int(row[0]), row[1:6], row[7], int(row[8])
            yield Kline(nanoseconds(start), opened, high, low, close, base, quote, count, row[9], row[10])


def step_of(told: list[Kline]) -> int:
    """Seconds of one of them: the least between two. Raises ValueError where there is only one."""
    starts = sorted({kline.start for kline in told})
    return min(later - earlier for earlier, later in pairwise(starts)) // paths.SECOND


def bars_of(lake: Path, venue: str, symbol: str) -> dict[int, Row]:
    """All seconds of a symbol by their start, in nanoseconds."""
    disk = Files(lake)
    found: dict[int, Row] = {}
    for date in bar_days(disk, venue, symbol):
        stored = Stored(disk, venue, symbol, date)
        for hour in range(24):
            found |= by_second(stored.hour(hour)[0], ENDED)
    return found


def _text(one: Difference) -> str:
    both = ", ".join(f"{name} {one.ours[name]} / {one.venue[name]}" for name in one.columns)
    return f"{one.ts} ns: ours / theirs: {both}: {one.reason}"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", help="the exchange's klines")
    parser.add_argument("--lake", type=Path, required=True, help="the lake's folder")
    parser.add_argument("--venue", default="binance", help="(default: %(default)s)")
    parser.add_argument("--symbol", required=True)
    parser.set_defaults(run=klines)
