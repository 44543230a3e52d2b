"""What was received: the records whose ``write()`` to the source's journal was whole, and what a power cut took."""

from __future__ import annotations

from dataclasses import dataclass

from bench.simulation.disk import Medium, Node
from shared.events import Batch
from shared.journal import HEADER, Damaged, unpack

DURABLE_NS = 500_000_000
DURABLE_TURNS = 3
"""A received record older than this, in time and in turns of a live process, survives a power cut."""


@dataclass
class Entry:
    batch: Batch
    path: str
    node: Node
    offset: int
    data: bytes
    mono: int
    turn: int
    is_lost: bool = False


class Ledger:
    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self.entries: list[Entry] = []
        self.mono = 0
        self.turn = 0
        """Of the source's process: the time, and how often it has run."""

    def written(self, path: str, node: Node, offset: int, data: bytes) -> None:
        """`SimDisk.watch` of the source's process."""
        if not path.endswith(".log") or len(data) < HEADER.size:
            return
        try:
            batch = unpack(data)
        except Damaged:
            return
        self.entries.append(Entry(batch, path, node, offset, data, self.mono, self.turn))

    def standing(self) -> list[Entry]:
        """Entries whose segment was there just now, to be looked at again after the cut."""
        return [e for e in self.entries if not e.is_lost and self._medium.names.get(e.path) is e.node]

    def power_lost(self, before: list[Entry]) -> list[str]:
        """Notes which of `before` are gone; says which of them should have been durable."""
        faults = []
        for entry in before:
            end = entry.offset + len(entry.data)
            node = self._medium.names.get(entry.path)
            entry.is_lost = node is not entry.node or bytes(node.data[entry.offset : end]) != entry.data
            age = self.mono - entry.mono
            if entry.is_lost and age > DURABLE_NS and self.turn - entry.turn >= DURABLE_TURNS:
                faults.append(f"record {entry.batch.first} was {age // 10**6} ms old, and not durable")
        # What follows a lost record in its segment cannot be read: it is lost as well.
        lost_from: dict[int, int] = {}
        for entry in before:
            if entry.is_lost:
                lost_from[id(entry.node)] = min(lost_from.get(id(entry.node), 1 << 62), entry.offset)
        for entry in before:
            entry.is_lost = entry.is_lost or entry.offset > lost_from.get(id(entry.node), 1 << 62)
        return faults

    def received(self) -> list[Batch]:
        return sorted((e.batch for e in self.entries if not e.is_lost), key=lambda batch: batch.first)
