"""Caution after a death: which record a stage was at when it died, so that one that kills it every time is found.

A life that begins where the one before began notes the record that it takes before it takes it, and that it has taken
it. What it was at in its last three deaths is poison. A note is not made durable: it has to outlive the process, not
the machine.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

import msgspec
from loguru import logger

from shared.appender import Appender
from shared.checkpoint import peek
from shared.events import Batch, Rejected, encode
from shared.files import Disk
from shared.paths import beside_checkpoint
from shared.quarantine import keep

DEATHS = 3
"""On the same record, one after the other. Random kills do not meet the same one so often."""


RAW_BYTES = 64 << 10


@runtime_checkable
class Rejecting(Protocol):
    """A stage that keeps rejected frames: a record that is left out becomes one of them."""

    keeps_rejected: bool


class Caution:
    """Of one stage and journal. `begin` once; `taking` and `taken` around each record; `committed` after a commit."""

    def __init__(self, disk: Disk, checkpoint: str, journal: str) -> None:
        self._disk = disk
        self._checkpoint = checkpoint
        self._journal = journal
        self._base = beside_checkpoint(checkpoint, "tries")
        self._notes: Appender | None = None
        self._position: int | None = None
        self.poison = 0
        """First number of the record that must not be taken again; 0 where there is none."""

    def begin(self, position: int) -> None:
        self._position = position
        before = self._load()
        at = self._noted()
        again = before.get("position") == position
        times = (before.get("times", 0) + 1 if at == before.get("at") else 1) if again and at else 0
        self.poison = at if times >= DEATHS else before.get("poison", 0) if again else 0
        said = {"position": position, "at": at, "times": times, "poison": self.poison}
        self._disk.write(self._base, msgspec.msgpack.encode(said))
        self._disk.remove(self._base + ".at")
        if again:
            self._notes = self._disk.appender(self._base + ".at")

    def _load(self) -> dict[str, Any]:
        try:
            found = msgspec.msgpack.decode(self._disk.read(self._base))
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _noted(self) -> int:
        try:
            data = self._disk.read(self._base + ".at")
        except FileNotFoundError:
            return 0
        return int.from_bytes(data[-8:], "little") if data and not len(data) % 8 else 0

    def taking(self, batch: Batch, stage: object) -> Batch:
        """What is to be handled: the record itself, or what stands for it where it has killed too often."""
        if batch.first == self.poison:
            batch = self._left_out(batch, isinstance(stage, Rejecting))
        elif self._notes is not None:
            self._notes.write(batch.first.to_bytes(8, "little"))
        return batch

    def _left_out(self, batch: Batch, is_kept: bool) -> Batch:
        raw = encode(batch)
        why = f"record {batch.first} to {batch.last} of {self._journal} has ended this stage {DEATHS} times: left out"
        if not is_kept:
            keep(self._disk, f"{self._base}.{batch.first}", raw, why)
            return Batch(batch.last, batch.ts, [])
        logger.error(why)
        said = Rejected(why, batch.ts, batch.ts, len(raw), sha256(raw).hexdigest(), raw[: RAW_BYTES // 2].hex())
        return Batch(batch.last - 1, batch.ts, [said])

    def taken(self) -> None:
        """It survived, or what went wrong was not the record's fault."""
        if self._notes is not None:
            self._notes.write(bytes(8))

    def committed(self) -> None:
        """Once the checkpoint has moved, what was taken until then will not be taken again."""
        if self._position is not None and peek(self._disk, self._checkpoint).get("position", 0) > self._position:
            self._position, self.poison = None, 0
            self.close()
            self._disk.remove(self._base + ".at")
            self._disk.remove(self._base)

    def close(self) -> None:
        if self._notes is not None:
            self._notes.close()
            self._notes = None
