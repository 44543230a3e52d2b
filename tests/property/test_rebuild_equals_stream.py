"""Bars made again from the archive are those of the stream, bit for bit, in every column but the revision."""

from __future__ import annotations

import tempfile
from collections import defaultdict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import paths
from shared.bars import Bars, bars_hash
from shared.events import AggTrade, Bar, Event, Feed, Quote, Trade
from shared.files import Files
from shared.lines import line
from shared.rebuild import Rebuild
from tests.property.test_bars_oracle import LATENESS, START, SYMBOLS, Record, S, final, outages, play

EDGE = 1_760_922_000  # 01:00 of a day; the markets of the oracle's test last eight seconds
SHIFT = EDGE - 4 - START
DATE = "2025-10-20"
VENUE = "binance"


def moved(record: Record, by: int) -> Record:
    if isinstance(record, int):
        return record + by
    record.ts += by  # type: ignore[union-attr]
    return record


def archived(disk: Files, records: list[Record], late: bool) -> None:
    """What the archiver would leave: one file a minute in the order of arrival, some lines in a file for late ones."""
    files: dict[str, list[str]] = defaultdict(list)
    events = [record for record in records if not isinstance(record, int)]
    for number, event in enumerate(events):
        if isinstance(event, Feed):
            folder = paths.feed_dir(VENUE, paths.date_of(event.ts))
        else:
            assert isinstance(event, (Trade, AggTrade, Quote))
            folder = paths.raw_dir(VENUE, event.symbol, paths.date_of(event.ts))
        suffix = "_1" if late and number % 3 == 0 else ""
        files[f"{folder}/part_{paths.clock_name(event.ts)}{suffix}.jsonl"].append(line(event))
    for path, lines in files.items():
        disk.write(path, "".join(lines).encode())


def distinct(records: list[Record]) -> list[Record]:
    """The same event twice in a list is one object: it is moved and archived once."""
    seen: set[int] = set()
    return [r for r in records if isinstance(r, int) or (id(r) not in seen and not seen.add(id(r)))]  # type: ignore[func-returns-value]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(outages(), st.booleans())
def test_each_hour_alone_and_the_day_whole(market: tuple[list[Event], list[Record]], late: bool) -> None:
    records = [moved(record, SHIFT * S) for record in distinct(market[1])]
    streamed = final(play(Bars(LATENESS), records))
    with tempfile.TemporaryDirectory() as root:
        disk = Files(root)
        archived(disk, records, late)
        for symbol in SYMBOLS:
            expected = [streamed[key] for key in sorted(streamed) if key[0] == symbol]
            check(disk, symbol, expected)


def check(disk: Files, symbol: str, expected: list[Bar]) -> None:
    rebuild = Rebuild(disk, VENUE, symbol, use_agg=False)
    whole = [bar for bars in rebuild.hours(DATE) for bar in bars]
    assert bars_hash(whole) == bars_hash(expected)
    assert [bar.window_start for bar in whole] == [bar.window_start for bar in expected]
    for hour in (0, 1):
        alone = rebuild.hour(DATE, hour)
        assert bars_hash(alone) == bars_hash(bar for bar in expected if paths.hour_of(bar.window_start) == hour)
    assert rebuild.problems == []
