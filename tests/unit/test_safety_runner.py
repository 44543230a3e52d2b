"""The loop around every stage: the one order that survives a power cut, call by call, and who goes without room."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from shared import paths, sealing, staging, topology
from shared import seals as seals_of
from shared.caution import Caution as Cautious
from shared.checkpoint import Checkpoint
from shared.events import Batch
from shared.files import Files
from shared.paths import HOUR
from shared.runner import COMMIT_NS, FLUSH_NS, TRIM_NS, Loop, _note
from shared.seals import MOST_CHECKED, Seal, Seals
from tests.fixtures.spied import Spied


class Parts:
    """What inlet, stage, outlet and caution were asked, in order; it is the clock as well."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.waiting = self.now = 0

    def mono(self) -> int:
        return self.now

    def wall(self) -> int:
        return self.now


class Inlet:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.position = 0
        self.is_whole = True
        self.counters: dict[str, int] = {}

    def take(self, now: int) -> list[Batch]:
        if not self.parts.waiting:
            return []
        self.parts.waiting -= 1
        self.position += 1
        return [Batch(self.position, 1, [])]

    def sync(self) -> None:
        self.parts.said.append("source durable")

    def rush(self) -> None:
        self.parts.said.append("rush")


class Outlet:
    last = ts = 0

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.pending = 0
        self.counters: dict[str, int] = {}

    def open(self, given: int) -> None:
        pass

    def give(self, batch: Batch) -> None:
        self.pending += 1

    def flush(self) -> None:
        self.parts.said.append(f"journal {self.pending}")
        self.pending = 0

    def sync(self) -> None:
        self.parts.said.append("journal durable")

    def trim(self) -> None:
        self.parts.said.append("trim")

    def close(self) -> None:
        self.parts.said.append("outlet closed")


class Stage:
    given = 0
    counters: dict[str, int] = {}

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.fails = ""

    def open(self) -> int:
        return 0

    def handle(self, batch: Batch) -> Iterable[Batch]:
        self.parts.said.append("handle")
        if self.fails:
            raise OSError(28, self.fails)
        return [batch]

    def commit(self, final: bool = False) -> None:
        self.parts.said.append("checkpoint, final" if final else "checkpoint")
        self.parts.now += 1

    def close(self) -> None:
        self.parts.said.append("stage closed")


class Caution:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def begin(self, position: int) -> None:
        pass

    def taking(self, batch: Batch, stage: object) -> Batch:
        self.parts.said.append("taking")
        return batch

    def taken(self) -> None:
        self.parts.said.append("taken")

    def committed(self) -> None:
        self.parts.said.append("committed")

    def close(self) -> None:
        self.parts.said.append("caution closed")


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def loop(parts: Parts) -> Loop:
    return Loop("x", Stage(parts), lambda at: Inlet(parts), Outlet(parts), parts, Caution(parts))  # type: ignore[arg-type,return-value]


ORDER = ["source durable", "journal 0", "journal durable", "checkpoint", "committed"]


def test_source_own_journal_own_files_checkpoint_in_this_order(loop: Loop, parts: Parts) -> None:
    loop.commit()
    assert parts.said == ORDER


def test_an_output_is_written_once_its_source_is_durable(loop: Loop, parts: Parts) -> None:
    parts.waiting = 1
    loop.turn()
    assert parts.said == ["taking", "handle", "taken"]
    parts.now += FLUSH_NS
    loop.turn()
    assert parts.said[3:] == ["source durable", "journal 1"]


def test_a_record_is_noted_before_it_is_taken_and_a_disk_that_refuses_is_not_its_fault(
    loop: Loop, parts: Parts
) -> None:
    parts.waiting = 1
    loop.stage.fails = "full"  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="full"):
        loop.turn()
    assert parts.said == ["taking", "handle", "taken"]


def test_journals_are_trimmed_only_after_a_commit(loop: Loop, parts: Parts) -> None:
    parts.now += TRIM_NS
    loop.commit()
    assert parts.said == [*ORDER, "trim"]
    loop.commit()
    assert parts.said.count("trim") == 1


def test_where_nothing_follows_it_commits_twice_and_no_more(loop: Loop, parts: Parts) -> None:
    """A journal that may hold nothing more lets go what both slots know of: with one it would be full for ever."""
    parts.waiting = 1
    for _ in range(9):
        loop.turn()
        parts.now += COMMIT_NS
    assert parts.said.count("checkpoint") == 2
    parts.waiting = 1
    for _ in range(9):
        loop.turn()
        parts.now += COMMIT_NS
    assert parts.said.count("checkpoint") == 4


def test_a_life_that_finds_nothing_new_commits_once_where_it_stands(parts: Parts) -> None:
    """The one before may have died between its two commits."""
    for position, commits in ((0, 0), (7, 1)):
        parts.said.clear()
        inlet = Inlet(parts)
        inlet.position = position
        loop = Loop("x", Stage(parts), lambda at, inlet=inlet: inlet, None, parts)  # type: ignore[misc]
        for _ in range(9):
            parts.now += COMMIT_NS
            loop.turn()
        assert parts.said.count("checkpoint") == commits


def test_what_was_lost_in_the_journal_is_a_note_and_the_stage_hears_of_it(loop: Loop, parts: Parts) -> None:
    loop.outlet = None
    missed: list[tuple[int, int, int]] = []
    loop.stage.missed = lambda *span: missed.append(span)  # type: ignore[attr-defined]
    loop.inlet.counters["lost"] = 0
    assert _note(None, [loop]) == ""
    loop.inlet.position, loop.inlet.counters["lost"], parts.waiting = 4, 4, 2
    loop.turn()
    loop.turn()
    assert missed == [(1, 4, 1)], "once, with the time of what follows"
    assert _note(None, [loop]) == "4 records were damaged in the journal, or let go before they were taken"


def test_a_drain_looks_three_times_commits_for_good_and_then_lets_go(loop: Loop, parts: Parts) -> None:
    parts.waiting = 5
    loop.drain()
    assert parts.said.count("handle") == 5 and parts.said.count("rush") == 8
    final = ["source durable", "journal 5", "journal durable", "checkpoint, final", "committed"]
    assert parts.said[-8:] == [*final, "caution closed", "stage closed", "outlet closed"]


def test_a_drain_without_time_takes_nothing_and_commits(loop: Loop, parts: Parts) -> None:
    parts.waiting = 5
    loop.drain(0)
    assert "handle" not in parts.said and "checkpoint, final" in parts.said


def test_nothing_is_committed_before_a_second_has_passed(loop: Loop, parts: Parts) -> None:
    parts.waiting = 3
    loop.turn()
    parts.now += COMMIT_NS - 1
    loop.turn()
    assert "checkpoint" not in parts.said
    parts.now += 1
    loop.turn()
    assert "checkpoint" in parts.said


# --- caution ---

CKPT, NOTES = "journal/archive/ckpt-binance", "journal/archive/tries-binance.at"


def life(disk: Files, died_at: int, position: int = 9) -> int:
    """One life that dies at a record, or at none; the record that it knew to be poison."""
    caution = Cautious(disk, CKPT, "binance")
    caution.begin(position)
    if died_at:
        caution.taking(Batch(died_at, 1, []), object())
    caution.close()
    return caution.poison


def test_poison_is_known_after_three_deaths_and_until_the_checkpoint_has_passed_it(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert [life(disk, 10) for _ in range(5)] == [0, 0, 0, 0, 10], "the first life notes nothing yet"
    assert [life(disk, 0), life(disk, 0), life(disk, 11)] == [10, 10, 10], "as long as nothing was committed"
    assert life(disk, 10, position=12) == 0, "and no longer"


def test_a_note_of_another_life_or_a_torn_one_condemns_nothing(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    life(disk, 0)
    for data in (b"\x0a" + bytes(7), b"\x0a" + bytes(6), bytes(8) + b"\x0a"):
        disk.write(NOTES, data)
        caution = Cautious(disk, CKPT, "binance")
        assert caution._noted() == (10 if len(data) == 8 else 0)
        caution.begin(9)
        assert caution._noted() == 0, "each life has its own notes"
        caution.close()


# --- what waits to be installed ---

DAY = ("binance", "SOLUSDT", "2025-10-20")


def test_a_backfill_counts_from_one_durable_step_on(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    staging.write(disk, *DAY, staging.Backfill(hours=[3]))
    place = staging.folder(*DAY)
    assert disk.told((place, "day"), ("day/backfill.json", "word")) == [
        "write word.tmp", "replace word.tmp word", "names day",
    ]  # fmt: skip


def test_of_an_installed_backfill_its_word_goes_first_and_for_good(tmp_path: Path) -> None:
    """Parts without it count for nothing; it without its parts would be a day that can never be installed."""
    disk = Spied(tmp_path)
    disk.write(staging.part(*DAY, 3), b"x")
    disk.write(f"{staging.folder(*DAY)}/bars.json", b"others'")
    staging.write(disk, *DAY, staging.Backfill(hours=[3]))
    disk.told()
    staging.clear(disk, *DAY)
    place = staging.folder(*DAY)
    assert disk.told((place, "day"))[:3] == ["remove day/backfill.json", "names day", "remove day/part_03.jsonl.zst"]
    assert disk.list(place) == ["bars.json"]


def test_a_word_that_cannot_be_read_or_names_no_hours_installs_nothing(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    assert staging.read(disk, *DAY) is None
    path = f"{staging.folder(*DAY)}/backfill.json"
    for junk in (b"", b"{", b"[]", b'{"hours":"x"}', b"[" * 9999):
        disk.write(path, junk)
        assert staging.read(disk, *DAY) is None, junk
    disk.write(path, msgspec.json.encode({"hours": [24, -1, 5, 5, 2]}))
    said = staging.read(disk, *DAY)
    assert said is not None and said.hours == [2, 5]


def test_the_time_of_a_backfill_never_goes_back(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for ts in (5 * HOUR, 3 * HOUR):
        staging.see_time(disk, "binance", ts)
    assert staging.seen_time(disk, "binance") == 5 * HOUR
    staging.see_time(disk, "binance", 6 * HOUR)
    assert staging.seen_time(disk, "binance") == 6 * HOUR


# --- seals ---


def test_a_file_of_the_right_size_is_read_and_one_of_another_need_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Files(tmp_path)
    seals = Seals(disk, "journal/archive/seals-binance")
    seals.load()
    for name, data in (("same", b"123"), ("turned", b"124"), ("longer", b"1234")):
        disk.write(name, data)
        seals.of[name] = Seal(3, 2286445522, 1, 10)  # of 123
    seals.of["gone"] = Seal(3, 0, 1, 10)
    assert sorted(seals.broken()) == ["longer", "turned"] and "gone" not in seals.of
    assert MOST_CHECKED >= 64 << 20
    monkeypatch.setattr(seals_of, "MOST_CHECKED", 0)
    assert list(seals.broken()) == ["longer"], "what is not read is measured"


def test_seals_are_durable_when_they_are_stored(tmp_path: Path) -> None:
    disk = Spied(tmp_path)
    seals = Seals(disk, "journal/archive/seals-binance")
    seals.load()
    seals.of = {"old": Seal(1, 2, 3, 10), "new": Seal(1, 2, 3, 11)}
    seals.store(10)
    assert disk.told(("journal/archive/", "")) == ["write seals-binance.1", "names journal/archive"]
    again = Seals(disk, "journal/archive/seals-binance")
    again.load()
    assert again.of == {"new": Seal(1, 2, 3, 11)}


# --- what is sealed ---


def store(disk: Files, base: str, **saved: object) -> None:
    slots = Checkpoint(disk, f"journal/{base}")
    slots.load()
    slots.store(msgspec.msgpack.encode({"closing": [], "ended": False, **saved}))


def test_what_is_recorded_and_not_archived_yet_is_sealed_by_nobody(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    disk.mkdir("raw/binance")
    assert sealing.reached(disk) == {"binance": sealing.Reached(sealing.ENDED, sealing.ENDED)}, "nobody records it"
    staging.see_time(disk, "binance", 5 * HOUR)
    assert sealing.reached(disk)["binance"] == sealing.Reached(5 * HOUR, 5 * HOUR), "as far as was looked"
    disk.write(f"{paths.journal_dir('binance', 'binance')}/j-1.log", b"")
    assert sealing.reached(disk) == {}
    nodes = {"spot": topology.Node("spot", "sources", "ingest", (), {"venue": "binance"})}
    pipeline = topology.Pipeline("p.yml", "lake", nodes)
    assert "binance" in sealing.reached(disk, pipeline)
    disk.write(f"{paths.journal_dir('spot', 'spot')}/j-1.log", b"")
    assert sealing.reached(disk, pipeline) == {}


def test_of_a_stage_that_was_renamed_the_old_checkpoint_holds_nothing_back_and_nothing_open(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    for names in (("old", "new"), ("z", "y")):
        disk.mkdir("raw/binance")
        store(disk, f"{names[0]}/ckpt-binance", ts=5 * HOUR)
        store(disk, f"{names[1]}/ckpt-binance", ts=7 * HOUR)
    store(disk, "zz/ckpt-binance", ts=HOUR)
    assert sealing.reached(disk)["binance"].archive == 7 * HOUR
