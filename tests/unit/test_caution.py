"""A record that kills its stage is left out after three deaths; a stage that is killed anywhere else loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from procs.archiver import Archiver, Config
from shared import archive, paths
from shared.caution import Caution
from shared.checkpoint import Checkpoint
from shared.clock import SystemClock
from shared.edges import Inlet
from shared.events import Batch, Trade
from shared.files import Files
from shared.journal import Reader, Writer
from shared.lines import line
from shared.runner import Context, Loop

T0 = paths.day_start("2025-10-20") + 13 * paths.HOUR
SOURCE = "journal/binance/binance"
CKPT = "journal/archive/ckpt-binance"


class Death(BaseException):
    """Of the process: nothing catches it."""


class Fragile(Archiver):
    """Dies as it is told to."""

    die: Callable[[Batch], None] = staticmethod(lambda batch: None)

    def handle(self, batch: Batch) -> Iterable[Batch]:
        type(self).die(batch)
        return super().handle(batch)


def batches() -> list[Batch]:
    return [
        Batch(1 + 2 * n, T0 + n, [Trade("SOLUSDT", T0, T0, None, T0, "1.5", "2.0", "buy", 100 + n)]) for n in range(9)
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Files:
    found = Files(tmp_path)
    writer = Writer(found, SOURCE, bytes, [CKPT])
    writer.open()
    writer.roll()
    for batch in batches():
        writer.append(batch)
    writer.close()
    return found


def live(disk: Files, die: Callable[[Batch], None]) -> bool:
    """One life of an archiver; whether it saw its end."""
    Fragile.die = staticmethod(die)
    context = Context("archive", "binance", "binance", disk)
    caution = Caution(disk, CKPT, "binance")
    make = lambda position: Inlet(Reader(disk, SOURCE), None, position)  # noqa: E731
    try:
        loop = Loop("binance", Fragile(context, Config()), make, None, SystemClock(), caution)
        loop.drain()
    except Death:
        return False
    return True


def lines(disk: Files) -> list[str]:
    found = [event for _, events, _ in archive.read_day(disk, "binance", "SOLUSDT", "2025-10-20") for event in events]
    return [line(event) for event in found]


def test_a_record_that_kills_every_time_is_rejected_and_the_rest_is_archived(disk: Files) -> None:
    def at_the_fifth(batch: Batch) -> None:
        if batch.first == 9 and isinstance(batch.events[0], Trade):
            raise Death

    deaths = 0
    while not live(disk, at_the_fifth):
        deaths += 1
    assert deaths <= 4
    assert lines(disk) == [line(batch.events[0]) for batch in batches() if batch.first != 9]
    (name,) = disk.list("rejected/binance/2025-10-20")
    said = msgspec.json.decode(disk.read(f"rejected/binance/2025-10-20/{name}"))
    assert "record 9 to 10 of binance" in said["reason"] and said["size"] > 0
    assert not [name for name in disk.list("journal/archive") if name.startswith("tries-")], "all is forgotten again"


def test_a_stage_that_is_killed_somewhere_else_each_time_loses_nothing(disk: Files) -> None:
    for first in (1, 9, 3, 17, 5, 9, 1, 3, 9):

        def die(batch: Batch, first: int = first) -> None:
            if batch.first == first:
                raise Death

        assert not live(disk, die)
    assert live(disk, lambda _: None)
    assert lines(disk) == [line(batch.events[0]) for batch in batches()]


def test_a_disk_that_refuses_is_not_the_records_fault(disk: Files) -> None:
    def full(batch: Batch) -> None:
        if batch.first == 9:
            raise OSError(28, "no space left")

    for _ in range(8):
        with pytest.raises(OSError, match="no space"):
            live(disk, full)
    assert live(disk, lambda _: None)
    assert lines(disk) == [line(batch.events[0]) for batch in batches()]


def test_a_stage_that_keeps_no_rejected_frames_has_it_set_aside(disk: Files) -> None:
    caution = Caution(disk, "journal/bars_1s/ckpt-binance", "binance")
    for _ in range(5):
        caution.begin(0)
        if not caution.poison:
            caution.taking(batches()[2], object())  # ... and no more was heard of it
    assert caution.poison == 5
    assert caution.taking(batches()[2], object()) == Batch(6, T0 + 2, [])
    assert len(disk.list("quarantine")) == 2
    # It stays left out until the checkpoint is past it
    caution.committed()
    assert caution.poison == 5
    slots = Checkpoint(disk, "journal/bars_1s/ckpt-binance")
    slots.load()
    slots.store(msgspec.msgpack.encode({"position": 6}))
    caution.committed()
    assert caution.poison == 0


def test_notes_that_are_torn_or_nonsense_condemn_nothing(disk: Files) -> None:
    for junk in (b"", b"\x05", b"\xff" * 9):
        disk.write("journal/archive/tries-binance", junk)
        disk.write("journal/archive/tries-binance.at", junk)
        caution = Caution(disk, CKPT, "binance")
        caution.begin(0)
        assert caution.poison == 0
