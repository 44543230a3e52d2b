"""Damaged files: each byte of the last records of journal, checkpoint, lines and bars is cut off or flipped, and the
stages start again.

Whatever was hit: they start, what cannot be read is set aside with its reason, what can be made again is, and never a
wrong row. Where the journal itself was hit, exactly its last records are missing, and somebody says so.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from loguru import logger

from shared.events import Batch, Event, Feed
from shared.files import Files
from shared.journal import HEADER, Reader, segment_path, segments
from shared.lines import line
from shared.runner import Loop
from tests.fixtures.small_lake import NOON, SECOND, Market
from tests.fixtures.still_mesh import ARCHIVED, BARS, SOURCE, SUMMED, SUNK, Mesh

pytestmark = pytest.mark.timeout(300)

SPAN = 75
"""Seconds in the lake: a minute that is closed and one that is open, parts of several flushes."""


def recorded() -> list[Batch]:
    events: list[Event] = list(Market().events(NOON, SPAN, trades=1, quotes=1))
    batches, first = [], 1
    for second in range(SPAN):
        inside = [e for e in events if second <= (e.ts - NOON) / SECOND < second + 1]  # type: ignore[union-attr]
        more: list[Event] = [Feed("connected", NOON, NOON, ["SOLUSDT"])] if not second else []
        batches.append(Batch(first, NOON + (second + 1) * SECOND, [*more, *inside]))
        first = batches[-1].last + 1
    return batches


BATCHES = recorded()
MORE = [Batch(0, NOON + (SPAN + s + 1) * SECOND, []) for s in range(5)]
"""Time goes on after the damage."""


EVERY_BYTE = bool(os.environ.get("LAKE_EVERY_BYTE"))
"""Set, each byte of the last records is hit (some minutes); else a dozen of them, others in each test."""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Nothing loses power here, so nothing waits for the disk; and nothing is said."""
    logger.disable("shared")
    logger.disable("procs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
    logger.enable("shared")
    logger.enable("procs")


@pytest.fixture(scope="module", params=["killed", "drained"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a mesh left behind, all of it durable."""
    root = tmp_path_factory.mktemp(request.param)
    mesh = Mesh(root)
    loops: list[Loop] = []
    mesh.record(BATCHES[:-10])
    for make in (mesh.archiver, mesh.aggregator, mesh.sink):
        loops.append(mesh.run(make(), final=False))
    mesh.record(BATCHES[-10:])
    for loop in loops:
        mesh.run(loop, final=request.param == "drained")
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """What an undamaged mesh has in the end."""
    mesh = Mesh(tmp_path_factory.mktemp("whole"))
    mesh.record(BATCHES)
    mesh.record(MORE)
    mesh.all(final=True)
    assert len(mesh.lines()) == 2 * SPAN
    return mesh


Harm = Callable[[bytes, int], bytes]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def cut(data: bytes, at: int) -> bytes:
    return data[:at]


HARMS: dict[str, Harm] = {"flipped": flip, "cut": cut}


def harmed(lake: Path, folder: Path, path: str, harm: Harm, span: int) -> Iterator[tuple[int, Mesh]]:
    """A copy of the lake for each position in the last `span` bytes of a file."""
    data = (lake / path).read_bytes()
    span = min(span, len(data))
    step = 1 if EVERY_BYTE else max(1, span // 12)
    for at in range(len(data) - span + len(folder.name) % step, len(data), step):
        root = folder / "lake"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(lake, root)
        (root / path).write_bytes(harm(data, at))
        yield at, Mesh(root)


def restarted(mesh: Mesh) -> Mesh:
    """Each stage starts, twice (no crash loop, and the second start finds nothing more to do), and time goes on."""
    mesh.all(final=False)
    mesh.record(MORE)
    mesh.all(final=True)
    return mesh


def relative(lake: Path, pattern: str) -> list[str]:
    return [path.relative_to(lake).as_posix() for path in sorted(lake.glob(pattern))]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("base", [ARCHIVED, SUMMED, SUNK])
def test_a_checkpoint_that_is_damaged_costs_nothing(
    lake: Path, whole: Mesh, tmp_path: Path, base: str, harm: str
) -> None:
    for slot in relative(lake, f"{base}.*"):
        size = (lake / slot).stat().st_size
        for at, mesh in harmed(lake, tmp_path, slot, HARMS[harm], size):
            restarted(mesh)
            assert mesh.lines() == whole.lines(), (slot, at)
            assert mesh.rows() == whole.rows(), (slot, at)
            aside = mesh.aside()
            assert not at or any("checkpoint cannot be read" in why for why in aside), (slot, at)


def test_without_any_checkpoint_nothing_is_written_twice_and_nothing_lost(
    lake: Path, whole: Mesh, tmp_path: Path
) -> None:
    for base in (ARCHIVED, SUMMED, SUNK):
        root = tmp_path / "lake"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(lake, root)
        for slot in relative(root, f"{base}.*"):
            (root / slot).write_bytes(b"nonsense")
        mesh = restarted(Mesh(root))
        assert mesh.lines() == whole.lines() and mesh.rows() == whole.rows(), base


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("which", ["part_*", "open_*"])
def test_lines_that_are_damaged_are_written_again_from_the_journal(
    lake: Path, whole: Mesh, tmp_path: Path, which: str, harm: str
) -> None:
    for path in relative(lake, f"raw/binance/SOLUSDT/*/{which}"):
        last = sum(map(len, (lake / path).read_bytes().splitlines(keepends=True)[-3:]))
        for at, mesh in harmed(lake, tmp_path, path, HARMS[harm], last):
            restarted(mesh)
            assert mesh.lines() == whole.lines(), (path, at)
            assert mesh.rows() == whole.rows(), (path, at)
            assert any("is not as it was written" in why for why in mesh.aside()), (path, at)


@pytest.mark.parametrize("pattern", ["raw/binance/SOLUSDT/*/part_*", "parquet/**/*.parquet"])
def test_a_life_that_ends_as_it_has_set_damage_aside_costs_nothing(
    lake: Path, whole: Mesh, tmp_path: Path, pattern: str
) -> None:
    """It was gone from its place, and nobody who came after missed it."""
    for path in relative(lake, pattern)[-1:]:
        for _, mesh in harmed(lake, tmp_path, path, flip, 24):
            mesh.archiver(), mesh.sink()  # each is there for a moment
            restarted(mesh)
            assert mesh.lines() == whole.lines() and mesh.rows() == whole.rows()


@pytest.mark.parametrize("harm", HARMS)
def test_bars_that_are_damaged_are_made_again_from_the_journal(
    lake: Path, whole: Mesh, tmp_path: Path, harm: str
) -> None:
    path = relative(lake, "parquet/**/*.parquet")[-1]
    size = (lake / path).stat().st_size
    for at, mesh in harmed(lake, tmp_path, path, HARMS[harm], size):
        restarted(mesh)
        assert mesh.rows() == whole.rows(), (path, at)
        assert any("is not as it was written" in why for why in mesh.aside()), (path, at)


@pytest.mark.parametrize("harm", HARMS)
def test_a_journal_that_is_damaged_loses_nothing_that_was_taken(
    lake: Path, whole: Mesh, tmp_path: Path, harm: str
) -> None:
    """What archive and bars had made durable stays; the writer gives no number out twice."""
    path = segment_path(SOURCE, segments(Files(lake), SOURCE)[-1])
    for at, mesh in harmed(lake, tmp_path, path, HARMS[harm], 400):
        restarted(mesh)
        assert mesh.lines() == whole.lines(), at
        assert mesh.rows() == whole.rows(), at


@pytest.mark.parametrize("harm", HARMS)
def test_a_journal_of_bars_that_is_damaged_is_made_again(lake: Path, whole: Mesh, tmp_path: Path, harm: str) -> None:
    path = segment_path(BARS, segments(Files(lake), BARS)[-1])
    for at, mesh in harmed(lake, tmp_path, path, HARMS[harm], 600):
        restarted(mesh)
        assert mesh.rows() == whole.rows(), at


@pytest.mark.parametrize("harm", HARMS)
def test_records_that_nobody_had_taken_are_missing_and_that_is_said(tmp_path: Path, harm: str) -> None:
    """Given a journal that is ahead of everybody, when its last records are hit, then what comes before is taken, no
    row is wrong, and what is cut is kept for somebody to look at.
    """
    begun = Mesh(tmp_path / "begun")
    begun.record(BATCHES)
    path = segment_path(SOURCE, segments(begun.disk, SOURCE)[-1])
    ends = list(_ends(begun.disk.read(path)))
    data = begun.disk.read(path)
    expected = [line(event) for batch in BATCHES for event in batch.events if not isinstance(event, Feed)]
    for at, mesh in harmed(tmp_path / "begun", tmp_path, path, HARMS[harm], len(data) - ends[-4]):
        mesh.record([])  # the writer comes back, as ingest does
        restarted(mesh)
        sound = sum(end <= at for end in ends) - 1
        kept = [line(e) for batch in BATCHES[:sound] for e in batch.events if not isinstance(e, Feed)]
        assert mesh.lines() == sorted(kept) and set(kept) < set(expected), at
        assert mesh.disk.size("quarantine") is not None or at - max(e for e in ends if e <= at) <= HEADER.size, at


def _ends(data: bytes) -> Iterator[int]:
    offset = 0
    while offset < len(data):
        offset += HEADER.size + HEADER.unpack_from(data, offset)[0]
        yield offset


def test_a_record_in_the_middle_costs_itself_and_the_bars_say_so(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.record(BATCHES[:40])
    mesh.record(BATCHES[40:])
    path = segment_path(SOURCE, segments(mesh.disk, SOURCE)[0])
    data = mesh.disk.read(path)
    ends = list(_ends(data))
    for at in (ends[20] + 3, ends[20] + 60):  # the length of a record, then something in it
        mesh.disk.write(path, flip(data, at))
        found = list(_read(mesh.disk))
        assert [batch.first for batch in found] == [b.first for b in BATCHES if b.first != BATCHES[20].first]
    loops = mesh.all(final=True)
    assert loops[0].inlet.counters["lost"] == len(BATCHES[20].events) + 1
    rows = mesh.rows()
    behind = rows[NOON + 21 * SECOND]
    assert "'is_complete': False" in behind and NOON + 20 * SECOND not in rows


def _read(disk: Files) -> Iterator[Batch]:
    reader, position = Reader(disk, SOURCE), 0
    while found := reader.read(position):
        yield from found
        position = found[-1].last


def test_a_page_that_turned_is_never_a_row(tmp_path: Path, lake: Path) -> None:
    """Page checksums are looked at by all that is read through the disk."""
    path = relative(lake, "parquet/**/*.parquet")[0]
    data = (lake / path).read_bytes()
    good = pq.read_table(io.BytesIO(data), use_threads=False)
    wrong = 0
    for at in range(4, len(data) - 8, max(1, len(data) // 300)):
        target = tmp_path / "x.parquet"
        target.write_bytes(flip(data, at))
        try:
            table = Files(tmp_path).read_table("x.parquet")
        except (OSError, ValueError):
            continue
        in_pages = at < pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).data_page_offset
        wrong += in_pages and not table.equals(good)
    assert not wrong
