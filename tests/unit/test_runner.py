"""The loop that drives a stage: source, own journal, own files, checkpoint, in this order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from shared import checkpoint, runner
from shared.edges import IDLE_LOOK_NS, PATIENT_LOOK_NS, Inlet, Outlet
from shared.events import Bar, Batch
from shared.files import Files
from shared.journal import Reader, Writer
from shared.process import Heart, Lifeline
from shared.runner import COMMIT_NS, COMMIT_PAUSE, FLUSH_NS, MS, Context, Loop
from shared.topology import Node, Pipeline

SOURCE, OWN = "journal/binance/binance", "journal/bars_1s/bars_1s.binance"


class FakeClock:
    def __init__(self) -> None:
        self.now = 10_000_000_000

    def wall(self) -> int:
        return self.now

    def mono(self) -> int:
        return self.now


class Told(Files):
    """A disk that tells what was made durable, in order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.log: list[str] = []

    def sync(self, path: str) -> None:
        self.log.append(f"sync {path}")
        super().sync(path)

    def write(self, path: str, data: bytes) -> None:
        self.log.append(f"write {path}")
        super().write(path, data)


class Copy:
    """Gives a bar for each batch it takes."""

    def __init__(self, context: Context) -> None:
        self._ckpt = checkpoint.Checkpoint(context.disk, context.checkpoint)
        self.given = 0
        self.counters = {"seen": 0}
        self.position = 0
        self.commits: list[bool] = []
        self.is_closed = False

    def open(self) -> int:
        stored = self._ckpt.load()
        if stored is not None:
            saved = msgspec.msgpack.decode(stored)
            self.position, self.given = saved["position"], saved["given"]
        return self.position

    def handle(self, batch: Batch) -> Iterable[Batch]:
        self.position = batch.last
        self.counters["seen"] += 1
        out = Batch(self.given + 1, batch.ts, [Bar("SOLUSDT", batch.first)])
        self.given = out.last
        yield out

    def commit(self, final: bool = False) -> None:
        self.commits.append(final)
        self._ckpt.store(msgspec.msgpack.encode({"position": self.position, "given": self.given}))

    def close(self) -> None:
        self.is_closed = True


class Scene:
    def __init__(self, root: Path) -> None:
        self.disk, self.clock = Told(root), FakeClock()
        self.source = Writer(self.disk, SOURCE, lambda: b"")
        self.source.open()
        self.source.roll()
        self.loop = self.start()

    def start(self) -> Loop:
        self.stage = Copy(Context("bars_1s", "binance", "binance", self.disk))
        reader = Reader(self.disk, OWN)
        outlet = Outlet(Writer(self.disk, OWN, lambda: b""), reader, [], None, "bars_1s.binance")
        return Loop("binance", self.stage, lambda at: Inlet(Reader(self.disk, SOURCE), None, at), outlet, self.clock)

    def give(self, ts: int) -> None:
        self.source.append(Batch(self.source.last + 1, ts, []))

    def own(self) -> list[Batch]:
        return Reader(self.disk, OWN).read(0)


def test_a_derived_record_is_written_only_when_its_source_is_durable(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.give(1)
    scene.disk.log.clear()
    assert scene.loop.turn()
    assert scene.own() == [], "the next turn may bring more for the same fsync"
    scene.clock.now += FLUSH_NS
    scene.loop.turn()
    assert len(scene.own()) == 1
    synced = next(i for i, what in enumerate(scene.disk.log) if what.startswith(f"sync {SOURCE}"))
    written = next(i for i, what in enumerate(scene.disk.log) if what.startswith(f"write {OWN}"))
    assert synced < written


def test_commits_come_a_second_apart_and_only_where_something_was_taken(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.clock.now += 5 * COMMIT_NS
    scene.loop.turn()
    assert scene.stage.commits == []
    scene.give(1)
    scene.clock.now += IDLE_LOOK_NS
    scene.loop.turn()
    assert scene.stage.commits == [False]
    for _ in range(3):
        scene.give(2)
        scene.clock.now += COMMIT_NS // 2
        scene.loop.turn()
    assert scene.stage.commits == [False, False]


def test_a_restart_goes_on_behind_its_checkpoint_and_writes_the_same_outputs(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for ts in range(4):
        scene.give(ts)
    scene.loop.turn()
    scene.loop.commit()
    scene.give(9)
    scene.loop.turn()
    scene.loop.outlet.flush()  # type: ignore[union-attr]
    before = scene.own()
    # Given a kill here: one output stands in the journal behind the checkpoint
    scene.loop = scene.start()
    scene.loop.turn()
    scene.loop.commit()
    assert scene.own() == before and len(before) == 5
    assert scene.loop.outlet is not None and scene.loop.outlet.counters["replay_differs"] == 0


def test_a_drain_reads_to_the_end_commits_as_final_and_closes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for ts in range(100):
        scene.give(ts)
    scene.loop.drain()
    assert scene.stage.commits[-1] is True and scene.stage.is_closed
    assert len(scene.own()) == 100
    assert checkpoint.peek(scene.disk, "journal/bars_1s/ckpt-binance")["position"] == scene.source.last


@pytest.mark.parametrize("pause", [4, COMMIT_PAUSE])
def test_a_costly_commit_is_made_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: int) -> None:
    if pause != COMMIT_PAUSE:
        monkeypatch.setattr(Copy, "commit_pause", pause, raising=False)
    scene = Scene(tmp_path)
    plain = scene.stage.commit

    def slow(final: bool = False) -> None:
        scene.clock.now += COMMIT_NS
        plain(final)

    scene.stage.commit = slow  # type: ignore[method-assign]
    scene.give(1)
    scene.clock.now += COMMIT_NS
    scene.loop.turn()
    assert len(scene.stage.commits) == 1
    for _ in range(pause - 1):
        scene.give(1)
        scene.clock.now += COMMIT_NS
        scene.loop.turn()
    assert len(scene.stage.commits) == 1
    scene.give(1)
    scene.clock.now += COMMIT_NS
    scene.loop.turn()
    assert len(scene.stage.commits) == 2


def test_an_error_of_the_disk_leaves_the_loop_as_it_is(tmp_path: Path) -> None:
    """Nothing is retried: the process ends, and recovery exists only at start."""
    scene = Scene(tmp_path)

    def full(final: bool = False) -> None:
        raise OSError(28, "No space left on device")

    scene.stage.commit = full  # type: ignore[method-assign]
    scene.give(1)
    scene.clock.now += COMMIT_NS
    with pytest.raises(OSError, match="No space left"):
        scene.loop.turn()
    scene.loop = scene.start()
    scene.loop.turn()
    scene.loop.commit()
    assert len(scene.own()) == 1


# --- room on the disk ---


class Surroundings:
    """Each second its disk has the next of `free`, per mille, and one more record waits; then it leaves."""

    def __init__(self, scene: Scene, free: list[int]) -> None:
        self.bus, self.clock = None, scene.clock
        self.heart = Heart(None, "bars_1s", "", scene.clock)
        self.lifeline = Lifeline()
        self.disk = self
        self.notes: list[str] = []
        self.taken: list[int] = []
        self._scene, self._free = scene, free

    def free(self) -> tuple[int, int]:
        """Asked once a second."""
        self.notes.append(self.heart.beat.note)
        self.taken.append(self._scene.stage.position)
        self._scene.give(1)
        if len(self._free) == 1:
            self.lifeline.ask()
        return self._free.pop(0), 1000


def lived(scene: Scene, free: list[int], monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    def wait(_: object, ns: int) -> None:
        scene.clock.now += COMMIT_NS // 10

    monkeypatch.setattr(runner, "_wait", wait)
    setting = Surroundings(scene, free)
    runner.run(setting, [scene.loop])  # type: ignore[arg-type]
    return setting


def test_a_stage_waits_while_room_is_short_and_catches_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path)
    setting = lived(scene, [500, 500, 19, 20, 39, 40, 500, 500], monkeypatch)
    short = [i for i, note in enumerate(setting.notes) if note]
    says = "less than 2% of the disk is free: waits, and catches up when there is room"
    assert len(short) == 3 and {setting.notes[i] for i in short} == {says}
    assert len({setting.taken[i] for i in short}) == 1, "nothing is taken meanwhile"
    assert setting.taken[-1] > setting.taken[short[-1]]
    assert scene.stage.position == scene.source.last, "all of it in the end"


def test_what_was_taken_is_durable_as_room_becomes_short_and_a_drain_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    lived(scene, [500, 500, 10, 10], monkeypatch)
    saved = checkpoint.peek(scene.disk, "journal/bars_1s/ckpt-binance")["position"]
    assert 0 < saved == scene.stage.position < scene.source.last
    assert scene.stage.commits[-2:] == [False, True] and scene.stage.is_closed


# --- sleep ---


class Bed:
    """A bus over which nothing comes: each sleep lasts as long as it was meant to."""

    def __init__(self, clock: FakeClock, lifeline: Lifeline, sleeps: int) -> None:
        self.slept: list[int] = []
        self._clock, self._lifeline, self._sleeps = clock, lifeline, sleeps

    def wait(self, timeout_ms: int) -> bool:
        self.slept.append(timeout_ms)
        self._clock.now += timeout_ms * 1_000_000
        if len(self.slept) >= self._sleeps:
            self._lifeline.ask()
        return False


class Asleep(Surroundings):
    def __init__(self, scene: Scene, sleeps: int) -> None:
        super().__init__(scene, [])
        self.bed = Bed(scene.clock, self.lifeline, sleeps)
        self.bus = self.bed  # type: ignore[assignment]

    def free(self) -> tuple[int, int]:
        return 500, 1000


def test_where_nothing_comes_a_stage_sleeps_until_it_looks_into_the_journal_and_no_less(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    setting = Asleep(scene, 50)
    runner.run(setting, [scene.loop])  # type: ignore[arg-type]
    assert setting.bed.slept == [IDLE_LOOK_NS // 1_000_000] * 50


def test_a_record_that_comes_over_no_bus_is_taken_after_one_sleep(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    setting = Asleep(scene, 4)
    begun, taken = scene.clock.now, list[int]()
    wait = setting.bed.wait

    def given(timeout_ms: int) -> bool:
        taken.append(scene.stage.position)
        if len(taken) == 2:
            scene.give(1)
        return wait(timeout_ms)

    setting.bed.wait = given  # type: ignore[method-assign]
    runner.run(setting, [scene.loop])  # type: ignore[arg-type]
    assert taken == [0, 0, 1, 1]
    assert scene.clock.now - begun <= 4 * IDLE_LOOK_NS


def test_where_the_journal_held_something_it_is_looked_into_again_before_the_next_sleep(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.give(1)
    inlet = Inlet(Reader(scene.disk, SOURCE), None, 0)
    setting = Asleep(scene, 3)
    runner.run(setting, [Loop("binance", scene.stage, lambda _: inlet, None, scene.clock)])  # type: ignore[arg-type]
    assert scene.stage.position == scene.source.last
    assert setting.bed.slept == [0, IDLE_LOOK_NS // 1_000_000, IDLE_LOOK_NS // 1_000_000]


def test_without_room_a_stage_sleeps_though_the_journal_holds_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    scene.give(1)
    setting, waits = Asleep(scene, 1), list[int]()
    monkeypatch.setattr(setting, "free", lambda: (1, 1000))

    def waiting(bus: object, ns: int) -> None:
        waits.append(ns)
        if len(waits) == 3:
            setting.lifeline.ask()

    monkeypatch.setattr(runner, "_wait", waiting)
    runner.run(setting, [scene.loop])  # type: ignore[arg-type]
    assert scene.loop.inlet.is_behind and len(waits) == 3 and min(waits) > 0


class Given:
    """A lane with messages in it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def recv(self) -> bytes | None:
        return self.messages.pop(0) if self.messages else None


def test_outputs_wait_for_the_next_fsync_and_nobody_is_awake_meanwhile(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    lane = Given()
    inlet = Inlet(Reader(scene.disk, SOURCE), lane, 0)
    loop = Loop("binance", scene.stage, lambda _: inlet, scene.loop.outlet, scene.clock)
    loop.turn()  # at start the journal comes first
    scene.clock.now += FLUSH_NS
    lane.messages += [scene.source.append(Batch(at, at, [])) for at in (1, 2)]
    setting, slept = Asleep(scene, 5), list[tuple[int, int]]()
    wait = setting.bed.wait

    def noting(timeout_ms: int) -> bool:
        slept.append((timeout_ms, len(scene.own())))
        if len(slept) == 1:  # right behind what was handed on
            lane.messages.append(scene.source.append(Batch(3, 3, [])))
            scene.clock.now += FLUSH_NS // 8
        return wait(timeout_ms)

    setting.bed.wait = noting  # type: ignore[method-assign]
    runner.run(setting, [loop])  # type: ignore[arg-type]
    assert slept[:4] == [(100, 2), (75, 2), (25, 3), (100, 3)]


def test_who_may_wait_looks_into_the_journal_after_a_longer_silence(tmp_path: Path) -> None:
    nodes = (
        Node("binance", "sources", "ingest"),
        Node("bars_1s", "transforms", "aggregator", ("binance",)),
        Node("alarm", "transforms", "my.alarm", ("binance",)),
        Node("archive", "sinks", "archiver", ("binance",)),
    )
    disk, clock, looks = Files(tmp_path), FakeClock(), dict[str, int]()
    for name in ("bars_1s", "alarm", "archive"):
        setting: Any = SimpleNamespace(
            pipeline=Pipeline("/p.yml", "/lake", {node.name: node for node in nodes}), name=name, disk=disk, bus=None,
            clock=clock, publisher=lambda: None, lanes=lambda _: [], writer=lambda own, state: Writer(disk, OWN, state),
        )  # fmt: skip
        (loop,) = runner._loops(setting, Copy)
        loop.turn()
        looks[name] = loop.inlet.look - clock.now
    assert looks == {
        "bars_1s": 150 * MS + PATIENT_LOOK_NS,
        "alarm": IDLE_LOOK_NS,
        "archive": 400 * MS + PATIENT_LOOK_NS,
    }


def test_of_several_journals_the_one_that_is_due_first_ends_the_sleep(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    other = Inlet(Reader(scene.disk, "journal/usdm/usdm"), None, 0)
    copy = Copy(Context("bars_1s", "usdm", "usdm", scene.disk))
    loop = Loop("usdm", copy, lambda _: other, None, scene.clock)
    loop.turn()
    scene.clock.now += IDLE_LOOK_NS // 4
    setting = Asleep(scene, 4)
    runner.run(setting, [scene.loop, loop])  # type: ignore[arg-type]
    assert setting.bed.slept == [75, 25, 75, 25]
