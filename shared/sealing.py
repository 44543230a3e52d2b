"""How far archive and bars have come, as their writers' checkpoints say: what is sealed is the compactor's."""

from __future__ import annotations

import msgspec

from shared import paths, topology
from shared.checkpoint import peek
from shared.files import Disk

ENDED = 1 << 62
"""Later than any time: a recording that is over seals everything."""


class Reached(msgspec.Struct, frozen=True):
    """Record times, in nanoseconds, that one venue's sinks have made durable; 0 where there is no such sink."""

    archive: int = 0
    """``raw/``, ``feed/`` and ``rejected/`` up to here."""
    bars: int = 0
    """Every second that ends by here is closed and on disk."""

    def archive_sealed(self, end: int) -> bool:
        """Whether an hour or day that ends then is sealed in the archive."""
        return self.archive >= end + paths.SEAL_AFTER

    def bars_sealed(self, end: int) -> bool:
        return self.bars >= end + paths.SEAL_AFTER


def reached(disk: Disk, pipeline: topology.Pipeline | None = None) -> dict[str, Reached]:
    """By venue. Without a pipeline the checkpoints in the lake are all there is to go by."""
    found: dict[str, dict[str, int]] = {}
    for stage, journal in _edges(disk, pipeline):
        saved = peek(disk, paths.checkpoint_base(stage, journal))
        kind = "archive" if "closing" in saved else "bars" if "waiting" in saved else None
        if kind is None:  # another stage's, or none
            continue
        venue = topology.venue_of(pipeline, journal) if pipeline is not None else _venue(disk, journal)
        ts = ENDED if saved.get("ended") else int(saved.get("ts", 0))
        times = found.setdefault(venue, {})
        times[kind] = max(times.get(kind, 0), ts)  # a renamed stage leaves an old checkpoint behind
    return {venue: Reached(**times) for venue, times in found.items()}


def _edges(disk: Disk, pipeline: topology.Pipeline | None) -> list[tuple[str, str]]:
    """Consumers and the journals they read."""
    if pipeline is not None:
        nodes = pipeline.section("sinks")
        return [(node.name, edge.journal) for node in nodes for edge in topology.inputs(pipeline, node.name)]
    return [
        (stage, name[len("ckpt-") :].rpartition(".")[0])
        for stage in disk.list("journal")
        for name in disk.list(f"journal/{stage}")
        if name.startswith("ckpt-") and name.endswith((".0", ".1"))
    ]


def _venue(disk: Disk, journal: str) -> str:
    """A source is named after its venue as a rule; where it is not, a lake of one venue leaves no doubt."""
    source = journal.rpartition(".")[2]
    venues = [name for top in ("raw", "parquet") for name in disk.list(top)]
    return source if source in venues or len(set(venues)) != 1 else venues[0]
