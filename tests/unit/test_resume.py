"""An aggregator that was cut loose: its checkpoint stands where the source's journal begins no more."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bench.simulation.disk import Medium, SimDisk
from procs.aggregator import Aggregator, Config
from shared.edges import Inlet, Outlet
from shared.events import Bar, Batch, Trade
from shared.files import Disk, Files
from shared.journal import Reader, Writer, segment_path, segments
from shared.paths import SECOND, journal_dir
from shared.runner import Context, Loop

SOURCE, OWN = journal_dir("binance", "binance"), journal_dir("bars_1s", "bars_1s.binance")
T = 1_700_000_000 * SECOND


class Standing:
    """A clock by which it is never time to commit."""

    def wall(self) -> int:
        return T

    def mono(self) -> int:
        return 0


def start(disk: Disk) -> Loop:
    stage = Aggregator(Context("bars_1s", "binance", "binance", disk, ("trade", "quote")), Config())
    outlet = Outlet(Writer(disk, OWN, lambda: b""), Reader(disk, OWN), [], None, "bars_1s.binance")
    return Loop("binance", stage, lambda at: Inlet(Reader(disk, SOURCE), None, at), outlet, Standing())


def record(source: Writer, second: int) -> None:
    """A trade in the middle of the second, in a segment of its own."""
    source.roll()
    ts = T + second * SECOND + SECOND // 2
    trade = Trade("SOLUSDT", ts, ts, None, ts, "187.42", "3.1", "buy", 1000 + second)
    source.append(Batch(source.last + 1, ts, [trade]))


def run(loop: Loop) -> None:
    loop.inlet.rush()
    while loop.turn():
        loop.inlet.rush()
    assert loop.outlet is not None
    loop.outlet.flush()
    loop.outlet.sync()


def ten_seconds(disk: Disk) -> tuple[Writer, Loop]:
    """A source that has them, and an aggregator whose checkpoint counts them."""
    source = Writer(disk, SOURCE, lambda: b"", segment_bytes=1)
    source.open()
    for second in range(10):
        record(source, second)
    loop = start(disk)
    run(loop)
    loop.commit()
    return source, loop


def given(disk: Disk) -> tuple[list[int], list[int]]:
    """The numbers of the records of bars, and the seconds that they tell."""
    batches: list[Batch] = []
    reader = Reader(disk, OWN)
    while found := reader.read(batches[-1].last if batches else 0):
        batches += found
    bars = [event for batch in batches for event in batch.events if isinstance(event, Bar)]
    return [batch.first for batch in batches], [(bar.window_start - T) // SECOND for bar in bars]


@pytest.mark.parametrize(("until", "has_started"), [(10, False), (20, False), (24, False), (20, True), (24, True)])
def test_bars_go_on_behind_the_hole_and_none_stands_twice(tmp_path: Path, until: int, has_started: bool) -> None:
    """`until` is how many seconds the source had when the process was killed; its checkpoint stands at ten. The
    journal loses the first twenty before it starts again, or when it `has_started` and took nothing yet.
    """
    disk = Files(tmp_path)
    source, loop = ten_seconds(disk)
    for second in range(10, until):
        record(source, second)
    run(loop)
    before = given(disk)
    for second in range(until, 60):
        record(source, second)
    source.sync()
    loop = start(disk) if has_started else loop
    for first in segments(disk, SOURCE)[:20]:  # the journal is full, and waits no longer
        disk.remove(segment_path(SOURCE, first))

    loop = loop if has_started else start(disk)
    run(loop)
    loop.commit()
    numbers, seconds = given(disk)
    assert loop.outlet is not None and not loop.outlet.counters["replay_differs"]
    assert numbers == sorted(set(numbers)) and numbers[: len(before[0])] == before[0]
    assert seconds == sorted(set(seconds)) and seconds[: len(before[1])] == before[1]
    told = set(range(22, 57))  # the second at which the journal begins had begun before; the last are not closed
    assert told <= set(seconds) and not set(seconds) & (set(range(20)) - set(before[1]))

    loop = start(disk)  # and now it stands where the journal does
    record(source, 60)
    run(loop)
    assert given(disk)[1] == [*seconds, seconds[-1] + 1]
    assert loop.outlet is not None and not loop.outlet.counters["replay_differs"]


@pytest.mark.parametrize("has_started", [False, True])
def test_what_it_went_on_without_does_not_come_back_after_a_power_cut(has_started: bool) -> None:
    """Else it would give again, of more trades, what stands already."""
    for seed in range(12):
        disk = SimDisk(Medium(Random(seed)))
        source, loop = ten_seconds(disk)
        for second in range(10, 24):
            record(source, second)
        run(loop)
        for second in range(24, 60):
            record(source, second)
        source.sync()
        disk.sync_dir(SOURCE)
        loop = start(disk) if has_started else loop
        for first in segments(disk, SOURCE)[:20]:  # nobody has made that durable yet
            disk.remove(segment_path(SOURCE, first))
        run(loop if has_started else start(disk))
        before = given(disk)
        disk.medium.lose_power()
        assert given(disk) == before, "what is tried needs records that outlive the power"

        loop = start(disk)
        run(loop)
        assert loop.outlet is not None and not loop.outlet.counters["replay_differs"], seed
        numbers, seconds = given(disk)
        assert numbers == sorted(set(numbers)) and seconds == sorted(set(seconds)), seed
