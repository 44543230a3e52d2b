"""Old files for new ones: what a power cut leaves of one swap must not stand in the way of the next."""

from __future__ import annotations

from random import Random

import pytest

from bench.simulation.disk import Killed, Medium, SimDisk
from procs.compactor.swap import HOME, Swap, recover

PATH = "parquet/hour_13.parquet"


def swapped(disk: SimDisk, content: bytes) -> bool:
    swap = Swap(disk, "hour")
    swap.bytes(PATH, content)
    return swap.commit()


def begun(seed: int) -> SimDisk:
    disk = SimDisk(Medium(Random(seed)))
    disk.mkdir(HOME)
    disk.write(PATH, b"old")
    disk.sync_dir("parquet")
    return disk


def test_whatever_a_power_cut_leaves_of_a_swap_the_next_one_is_done() -> None:
    for seed in range(40):
        disk = begun(seed)
        swapped(disk, b"new")
        disk.medium.lose_power()
        recover(disk)
        assert swapped(disk, b"newest") and disk.read(PATH) == b"newest", seed
        assert disk.list("parquet") == ["hour_13.parquet"], seed


@pytest.mark.parametrize("is_cut", [False, True])
def test_killed_in_any_call_it_has_the_old_or_the_new_content_after_the_next_start(is_cut: bool) -> None:
    call, calls = 0, 1
    while call < calls:
        disk = begun(call)
        disk.kill_in = call
        try:
            swapped(disk, b"new")
            calls = disk.calls
        except Killed:
            calls = call + 2
        if is_cut:
            disk.medium.lose_power()
        again = SimDisk(disk.medium)
        recover(again)
        assert again.read(PATH) in (b"old", b"new"), call
        assert swapped(again, b"newest") and again.read(PATH) == b"newest", call
        assert not [name for name in again.medium.names if "old_" in name or "intent" in name], call
        call += 1


def test_an_intent_that_comes_back_after_its_folder_has_gone_is_done_with() -> None:
    """Given a swap out of a folder, killed between the removal of its intent and the sync of that; when the folder is
    removed, and a power cut brings the intent back, then it is found done, and no run of the compactor ends with it."""
    disk = SimDisk(Medium(Random(1)))
    for folder in (HOME, "parquet/day=20"):
        disk.mkdir(folder)
    disk.write("parquet/day=20/hour_13.parquet", b"old")
    kept: list[tuple[str, bytes]] = []
    remove = disk.remove

    def noted(path: str) -> None:
        if "intent-" in path and not path.endswith(".tmp"):
            kept.append((path, disk.read(path)))
        remove(path)

    disk.remove = noted  # type: ignore[method-assign]
    swap = Swap(disk, "day")
    swap.bytes("parquet/2025-10-20.parquet", b"new")
    swap.drop("parquet/day=20/hour_13.parquet")
    assert swap.commit()
    disk.rmdir("parquet/day=20")
    ((path, intent),) = kept
    disk.write(path, intent)
    recover(disk)
    assert disk.read("parquet/2025-10-20.parquet") == b"new" and disk.list(HOME) == []
