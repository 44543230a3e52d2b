"""A consumer's position, kept in two slots so that a crash while writing one leaves the other.

Two files rather than one that is replaced: no rename over an open file (Windows), one fsync a commit.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from shared.files import Disk
from shared.kernels import crc32
from shared.quarantine import keep

_HEADER = struct.Struct("<4sQII")  # magic, sequence, length, crc32 of sequence and payload
_MAGIC = b"lck1"


class Checkpoint:
    """The two slots ``<base>.0`` and ``<base>.1``. `load` must be called before `store`."""

    def __init__(self, disk: Disk, base: str) -> None:
        self._disk = disk
        self._base = base
        self._sequence = 0
        self.is_doubtful = False
        """A slot was found that cannot be read: what was loaded may not be the newest there was."""

    def load(self) -> bytes | None:
        """The newest valid payload, or None where there is none. Durable when it returns: its writer may have died
        before it was, and what is done on its word cannot be taken back.
        """
        settle(self._disk, self._base)
        self._sequence, payload = _newest(self._disk, self._base)
        for path in (f"{self._base}.0", f"{self._base}.1"):
            if self._disk.size(path) is not None and _read(self._disk, path)[1] is None:
                self._doubt(path)
        return payload

    def _doubt(self, path: str) -> None:
        self.is_doubtful = True
        data = self._disk.read(path)
        if data:  # else a write that never came to its first byte
            keep(self._disk, path, data, "this checkpoint cannot be read; the one before it counts")

    def store(self, payload: bytes) -> None:
        """Durable when it returns; overwrites the older slot."""
        sequence = self._sequence + 1
        crc = crc32(payload, crc32(sequence.to_bytes(8, "little")))
        path = f"{self._base}.{sequence % 2}"
        fresh = self._disk.size(path) is None
        self._disk.write(path, _HEADER.pack(_MAGIC, sequence, len(payload), crc) + payload)
        if fresh:
            self._disk.sync_dir(path.rpartition("/")[0])
        self._sequence = sequence


def position(disk: Disk, base: str) -> int:
    """The newest one; 0 where there is none."""
    return int(peek(disk, base).get("position", 0))


class _Needs(msgspec.Struct):
    """What a writer asks of a slot."""

    position: int = 0
    keep: int = 2**63 - 1


_NEEDS = msgspec.msgpack.Decoder(_Needs)

Seen = dict[str, tuple[bytes, _Needs]]
"""By slot, its header and what it said: one of megabytes is read once, not once a second."""


def certain(disk: Disk, base: str, seen: Seen) -> int:
    """The position from which a consumer goes on at the earliest, whichever one of its slots becomes damaged: what the
    older of them says, 0 where one is missing or cannot be read.
    """
    return min(slot.position for slot in _slots(disk, base, seen))


def needless(disk: Disk, base: str, seen: Seen) -> int:
    """The position up to which a consumer needs nothing any more, whatever becomes damaged: what is `certain`, and
    nothing of what it would have to write again (``keep``).
    """
    return min(min(slot.position, slot.keep) for slot in _slots(disk, base, seen))


def _slots(disk: Disk, base: str, seen: Seen) -> list[_Needs]:
    return [_needs(disk, f"{base}.{i}", seen) for i in (0, 1)]


def _needs(disk: Disk, path: str, seen: Seen) -> _Needs:
    """A slot that rots after it was seen is no harm: the older of two counts, and one of them stays."""
    try:
        if path in seen and disk.read(path, 0, _HEADER.size) == seen[path][0]:
            return seen[path][1]
        data = disk.read(path)
    except FileNotFoundError:
        return _Needs()
    payload = _unpack(data)[1]
    try:
        said = _Needs() if payload is None else _NEEDS.decode(payload)
    except (ValueError, RecursionError):  # of another version, or nobody's
        return _Needs()
    if payload is not None:
        seen[path] = data[: _HEADER.size], said
    return said


def settle(disk: Disk, base: str) -> None:
    """Makes durable what the slots hold, whoever wrote it."""
    found = [path for path in (f"{base}.0", f"{base}.1") if disk.size(path) is not None]
    for path in found:
        disk.sync(path)
    if found:
        disk.sync_dir(base.rpartition("/")[0])


def newest_payload(disk: Disk, base: str) -> bytes | None:
    """As `peek`, and not looked into."""
    return _newest(disk, base)[1]


def _newest(disk: Disk, base: str) -> tuple[int, bytes | None]:
    return max((_read(disk, f"{base}.{i}") for i in (0, 1)), key=lambda slot: slot[0])


def _read(disk: Disk, path: str) -> tuple[int, bytes | None]:
    try:
        return _unpack(disk.read(path))
    except FileNotFoundError:
        return 0, None


def is_sound(data: bytes) -> bool:
    """Whether these are the bytes of a slot as it was written."""
    return _unpack(data)[1] is not None


def _unpack(data: bytes) -> tuple[int, bytes | None]:
    if len(data) < _HEADER.size:
        return 0, None
    magic, sequence, length, crc = _HEADER.unpack_from(data)
    payload = data[_HEADER.size :]
    if magic != _MAGIC or len(payload) != length or crc != crc32(payload, crc32(sequence.to_bytes(8, "little"))):
        return 0, None
    return sequence, payload


def peek(disk: Disk, base: str) -> dict[str, Any]:
    """What a consumer's newest checkpoint says (``position``, ``ts``, ``ended`` …), for other processes; {} where
    there is none.

    Safe beside a running writer: a slot being overwritten fails its checksum and the other one is taken. It may not be
    durable yet: `settle` comes after this for who means to delete on its word.
    """
    return _map(newest_payload(disk, base))


def _map(payload: bytes | None) -> dict[str, Any]:
    if payload is None:
        return {}
    try:
        found = msgspec.msgpack.decode(payload)
    except (ValueError, RecursionError):  # sound by its checksum: of another version, or nobody's
        return {}
    return found if isinstance(found, dict) else {}
