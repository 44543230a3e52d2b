"""Kills, power cuts, full disks and bad venues, by seed: nothing received is lost or doubled, and each safety rule is
needed.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from bench.simulation.bus import SimLane
from bench.simulation.disk import Killed, Medium, SimDisk
from bench.simulation.mutants import ALL, FOUND, LIMITS, MUTANTS, SWAPS
from bench.simulation.parts import Rules
from bench.simulation.runs import first_seed, stored_seeds
from bench.simulation.world import World, play
from tests.fixtures.quiet import quiet as quiet


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_every_received_record_stands_in_the_archive_and_its_bar_once(first: int) -> None:
    for seed in range(first, first + 20):
        outcome = play(seed)
        assert not outcome.faults, f"again: python -m bench sim --seed {seed}\n" + "\n".join(outcome.faults[:5])


REGRESSIONS = (688, 1049, 1176, 3062, 3246, 6064, 800663, 801016)
"""Seeds that once failed. What they found is put back as a mutant, too: seeds lose their meaning as the code moves."""


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_seed_that_once_failed_fails_no_more(seed: int) -> None:
    assert not play(seed).faults


@pytest.mark.parametrize("seed", [50731, 50760])
def test_a_seed_that_once_failed_where_all_is_sealed_fails_no_more(seed: int) -> None:
    assert not play(seed, Rules(sealing=1.0)).faults


def test_the_sixteen_rules_have_a_mutant_each() -> None:
    assert len(MUTANTS) == 16
    assert stored_seeds().keys() == ALL.keys()


def test_the_histories_that_notice_a_mutant_are_clean_without_it() -> None:
    for mutant, seed in stored_seeds().items():
        assert not play(seed).faults, mutant


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_safety_rule_that_is_switched_off_is_noticed(mutant: str) -> None:
    assert first_seed(mutant, most=2000) is not None, f"python -m bench mutants: {mutant} is no longer noticed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", SWAPS | LIMITS)
def test_a_rule_of_compactor_or_limits_that_is_switched_off_is_noticed(mutant: str) -> None:
    assert first_seed(mutant, most=2000) is not None, f"python -m bench mutants: {mutant} is no longer noticed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_that_was_found_once_would_be_found_again(fault: str) -> None:
    assert first_seed(fault, most=2000) is not None, f"python -m bench mutants --store: {fault} is no longer noticed"


def test_the_same_seed_gives_the_same_history() -> None:
    for seed in (7, *SEALING):
        assert play(seed).counts == play(seed).counts


@pytest.mark.timeout(300)
def test_a_history_is_a_function_of_its_seed_down_to_the_last_byte() -> None:
    """Whatever order the interpreter has for sets of text."""
    found = [
        subprocess.run(
            [sys.executable, "-c", BYTES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, timeout=250, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert found[0] == found[1] and found[0].count("\n") == 3


BYTES = """
import hashlib
from loguru import logger
from bench.simulation.world import Rules, World
logger.remove()
for seed in (3, 10, 76):
    world = World(seed, Rules())
    counts = world.play().counts
    files = sorted((path, bytes(node.data)) for path, node in world.medium.names.items())
    print(seed, sorted(counts.items()), hashlib.sha256(repr(files).encode()).hexdigest())
"""

SEALING = (10, 23)
"""Hours pass in these, and compactor and validator run beside the stages."""


def test_in_a_part_of_the_histories_hours_pass_and_are_folded() -> None:
    for seed in SEALING:
        world = World(seed, Rules())
        assert not world.play().faults and world.seals
        assert any(path.endswith(".jsonl.zst") for path in world.medium.names)


def test_the_part_in_which_they_do_can_be_chosen() -> None:
    shares = {share: sum(World(seed, Rules(sealing=share)).seals for seed in range(200)) for share in (0.0, 0.12, 1.0)}
    assert shares[0.0] < shares[0.12] < shares[1.0] == 200


SHORT = (76, 459)
"""Journals that hold next to nothing."""


def test_in_a_part_of_the_histories_journals_are_full() -> None:
    counts: Counter[str] = Counter()
    for seed in SHORT:
        outcome = play(seed)
        assert not outcome.faults, seed
        counts.update(outcome.counts)
    assert counts["pauses"] and counts["cut_loose"]


def test_in_a_part_of_the_histories_a_slot_of_a_checkpoint_is_damaged() -> None:
    counts: Counter[str] = Counter()
    for seed in ROTTEN:
        outcome = play(seed)
        assert not outcome.faults, seed
        counts.update(outcome.counts)
    assert counts["rots"]


ROTTEN = (10, 12, 16, 294, 1760, 600639)


# --- the simulated disk keeps what it promises, and no more ---


def disk(seed: int = 0) -> SimDisk:
    return SimDisk(Medium(Random(seed)))


def after_power_cuts(make: object, seeds: int = 200) -> set[bytes | None]:
    """What a file may hold after a power cut, over many of them."""
    found = set()
    for seed in range(seeds):
        found_disk = disk(seed)
        make(found_disk)  # type: ignore[operator]
        found_disk.medium.lose_power()
        found.add(found_disk.read("a/f") if found_disk.size("a/f") is not None else None)
    return found


def test_what_is_synced_with_its_name_survives_every_power_cut() -> None:
    def make(d: SimDisk) -> None:
        d.write("a/f", b"whole")
        d.sync_dir("a")

    assert after_power_cuts(make) == {b"whole"}


def test_what_is_not_synced_may_be_kept_lost_or_torn() -> None:
    def make(d: SimDisk) -> None:
        d.write("a/f", b"base")
        d.sync_dir("a")
        d.appender("a/f").write(b"tail")

    found = after_power_cuts(make)
    assert {b"base", b"basetail", b"baset"} <= found
    assert all(content is not None and content.startswith(b"base") for content in found)


def test_a_rename_that_is_not_synced_may_be_taken_back() -> None:
    def make(d: SimDisk) -> None:
        d.write("a/f.tmp", b"whole")
        d.sync_dir("a")
        d.rename("a/f.tmp", "a/f")

    assert after_power_cuts(make) == {b"whole", None}


def test_a_kill_keeps_everything_written_and_may_tear_the_write_it_meets() -> None:
    found = set()
    for seed in range(100):
        d = disk(seed)
        file = d.appender("a/f")
        file.write(b"one.")
        d.kill_in = 0
        with pytest.raises(Killed):
            file.write(b"two.")
        with pytest.raises(Killed):
            file.write(b"never")
        found.add(bytes(d.medium.names["a/f"].data))
    assert {b"one.", b"one.two.", b"one.t"} <= found


def test_a_full_disk_takes_what_fits_and_says_so() -> None:
    d = disk()
    file = d.appender("a/f")
    d.medium.room = 3
    with pytest.raises(OSError, match="disk full") as caught:
        file.write(b"four")
    assert caught.value.errno == errno.ENOSPC and d.read("a/f") == b"fou"


def test_a_death_costs_a_lane_one_run_of_messages() -> None:
    for seed in range(50):
        for dies in ("consumer_died", "producer_died"):
            lane = SimLane(Random(seed), 10)
            for number in range(8):
                lane.send(b"%d" % number)
            getattr(lane, dies)()
            left = [int(m) for _ in range(100) if (m := lane.recv()) is not None]
            assert left == list(range(left[0], left[0] + len(left))) if left else True
