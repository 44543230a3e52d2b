"""How far archive and bars have come, as their writers' checkpoints say: what is sealed is the compactor's."""

from __future__ import annotations

from typing import Any

import msgspec

from shared import paths, staging, topology
from shared.checkpoint import peek, settle
from shared.files import Disk

ENDED = 1 << 62
"""Later than any time: a recording that is over seals everything."""


class Reached(msgspec.Struct, frozen=True):
    """Record times, in nanoseconds, that one venue's sinks have made durable; 0 where there is no such sink."""

    archive: int = 0
    """``raw/``, ``feed/`` and ``rejected/`` up to here."""
    bars: int = 0
    """Every second that ends by here is closed and on disk."""
    is_settled: bool = False
    """All that the archive holds has come through to the bars on disk: what differs then will not settle by waiting."""

    def archive_sealed(self, end: int) -> bool:
        """Whether an hour or day that ends then is sealed in the archive."""
        return self.archive >= end + paths.SEAL_AFTER

    def bars_sealed(self, end: int) -> bool:
        return self.bars >= end + paths.SEAL_AFTER


def reached(disk: Disk, pipeline: topology.Pipeline | None = None, durably: bool = False) -> dict[str, Reached]:
    """By venue. Without a pipeline the checkpoints in the lake are all there is to go by.

    `durably` is for who changes files on their word: a power cut must not take it back afterwards.
    """
    saved: dict[str, dict[str, dict[str, Any]]] = {}
    for stage, journal in _edges(disk, pipeline):
        base = paths.checkpoint_base(stage, journal)
        found = peek(disk, base)
        if durably:
            settle(disk, base)
        kind = next((kind for kind, key in _TOLD_BY.items() if key in found), None)
        if kind is None:  # another stage's, or none
            continue
        venue = topology.venue_of(pipeline, journal) if pipeline is not None else _venue(disk, journal)
        known = saved.setdefault(venue, {})
        if _ts(found) >= _ts(known.get(kind, {})):  # a renamed stage leaves an old checkpoint behind
            known[kind] = found
    found_of = {venue: _reached(known) for venue, known in saved.items()}
    known_venues = {*disk.list("raw"), *disk.list("parquet"), *staging.venues(disk)}
    for venue in known_venues - found_of.keys():
        if not is_recorded(disk, pipeline, venue):
            ts = staging.seen_time(disk, venue) or ENDED
            found_of[venue] = Reached(ts, ts)
    return found_of


def is_recorded(disk: Disk, pipeline: topology.Pipeline | None, venue: str) -> bool:
    """Whether a source has ever written a journal of this venue. What was only backfilled is as far as the backfill's
    last look at the venue's clock.
    """
    if pipeline is not None:
        nodes = pipeline.section("sources")
        names = [node.name for node in nodes if topology.venue_of(pipeline, node.name) == venue]
    else:
        names = [stage for stage in disk.list("journal") if _venue(disk, stage) == venue]
    return any(disk.list(paths.journal_dir(name, name)) for name in names)


_TOLD_BY = {"archive": "closing", "bars": "waiting", "made": "out_seq"}
"""What each kind's checkpoint holds and no other's does."""


def _ts(saved: dict[str, Any]) -> int:
    return ENDED if saved.get("ended") else int(saved.get("ts", 0))


def _reached(known: dict[str, dict[str, Any]]) -> Reached:
    archive, made, bars = (known.get(kind, {}) for kind in ("archive", "made", "bars"))
    settled = bool(archive and made and bars) and (
        made["position"] >= archive["position"] and bars["position"] >= made["out_seq"] and not bars["waiting"]
    )
    # A row that waits for its file to be closed elsewhere (Windows) keeps its hour from being sealed.
    waiting = min((int(bar[2]) for bar in bars.get("waiting", ())), default=ENDED)
    return Reached(_ts(archive), min(_ts(bars), waiting), settled)


def _edges(disk: Disk, pipeline: topology.Pipeline | None) -> list[tuple[str, str]]:
    """Consumers and the journals they read."""
    if pipeline is not None:
        nodes = pipeline.section("transforms", "sinks")
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
