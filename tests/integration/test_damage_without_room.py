"""A checkpoint slot that turns bad while the journal has no room to spare: what it counted on must still be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.events import Batch, Event
from shared.lines import line
from tests.fixtures.quiet import quiet as quiet
from tests.fixtures.small_lake import NOON, SECOND, Market
from tests.fixtures.still_mesh import ARCHIVED, SUMMED, SUNK, Mesh

SIZES = {"segment_bytes": 300, "max_bytes": 8000}
"""A minute of what is recorded here takes 20,000: an eighth of that room is always in use."""
SECONDS = 80


def batches() -> list[Batch]:
    """One for each second."""
    events: list[Event] = list(Market().events(NOON, SECONDS, trades=1, quotes=1))
    found = []
    for second in range(SECONDS):
        inside = [e for e in events if second <= (e.ts - NOON) / SECOND < second + 1]  # type: ignore[union-attr]
        found.append(Batch(0, NOON + (second + 1) * SECOND, inside))
    return found


def recorded(mesh: Mesh, given: list[Batch], at_once: int = 5) -> Mesh:
    """Consumers that keep up, with a commit every few seconds; the journal is trimmed on their word."""
    loops = [mesh.archiver(), mesh.aggregator(), mesh.sink()]
    for at in range(0, len(given), at_once):
        mesh.record(given[at : at + at_once])
        for loop in loops:
            mesh.run(loop, final=False)
    mesh.record([])  # lets go what they have
    return mesh


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    mesh = Mesh(tmp_path_factory.mktemp("whole"))
    mesh.record(batches())
    mesh.all(final=True)
    return mesh


@pytest.mark.parametrize("base", [ARCHIVED, SUMMED, SUNK])
@pytest.mark.parametrize("slot", [0, 1])
def test_whichever_slot_turns_bad_everything_is_held_once(tmp_path: Path, whole: Mesh, base: str, slot: int) -> None:
    # Given a journal that has let go whatever its consumers had
    mesh = recorded(Mesh(tmp_path, **SIZES), batches()[:-5])
    assert mesh.begins() > 100, "most of it is gone"
    # When a byte of a slot has turned, and all start again
    data = bytearray(mesh.disk.read(f"{base}.{slot}"))
    data[-3] ^= 4
    mesh.disk.write(f"{base}.{slot}", bytes(data))
    mesh.all(final=False)
    mesh.record(batches()[-5:])
    mesh.all(final=True)
    # Then
    assert mesh.lines() == sorted(line(event) for batch in batches() for event in batch.events)
    assert mesh.rows() == whole.rows()
