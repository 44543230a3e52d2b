"""The journal: what a producer has given, in order, until every consumer has made it durable.

A segment is a file ``j-<first sequence number>.log`` of records; its first record is the writer's state. A record is

    length u32 | crc32 u32 | first u64 | count u32 | payload

(little-endian; the checksum covers first, count and payload) and is appended in one ``write()``. The very same bytes
travel on the lanes. A batch without events still has a count of one, its time; a state has a count of zero. The writer
is alone (the stage's lock); readers need no lock: a record that is not whole yet is simply not there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from shared import checkpoint
from shared.appender import Appender
from shared.events import Batch, State, decode, encode
from shared.files import Disk
from shared.kernels import crc32
from shared.quarantine import keep, keep_once

HEADER = struct.Struct("<IIQI")
MAX_RECORD = 4 << 20
"""Payload bytes; a longer record is refused by the writer and taken for damage by a reader."""
SEGMENT_BYTES = 8 << 20
UNSYNCED_NS = 2_000_000_000
"""Who writes what comes but once makes it durable far more often. Where records go on for longer behind damage, no
power cut has left it."""
ROOMY = 8
"""As long as less than this part of what it may hold is used, it keeps what consumers would only need after damage."""

_COVERED = struct.Struct("<QI")


class Damaged(ValueError):
    """Bytes that are no record."""


def pack(record: Batch | State, first: int, count: int) -> bytes:
    """A record as it stands on disk and travels on a lane. Raises ValueError above MAX_RECORD."""
    payload = encode(record)
    if len(payload) > MAX_RECORD:
        raise ValueError(f"a record of {len(payload)} bytes; at most {MAX_RECORD} are allowed")
    crc = crc32(payload, crc32(_COVERED.pack(first, count)))
    return HEADER.pack(len(payload), crc, first, count) + payload


def unpack(data: bytes) -> Batch:
    """The batch of one record. Raises Damaged."""
    batches = unpack_all(data)
    if len(batches) != 1:
        raise Damaged("not one record")
    return batches[0]


def unpack_all(data: bytes | memoryview, position: int = 0) -> list[Batch]:
    """What lies behind `position` in a lane message: a record, or several that follow one another. Raises Damaged."""
    found, following, end = list[Batch](), 0, 0
    for first, count, payload, end in _scan(data):  # noqa: B007 - where the last one ends
        if following not in (0, first):
            raise Damaged("records that do not follow one another")
        following = first + count
        if following > position + 1 or not count:
            found.append(_batch(first, count, payload).after(position))
    if end != len(data) or not end:
        raise Damaged("not whole records")
    return found


def _scan(data: bytes | memoryview) -> Iterator[tuple[int, int, bytes | memoryview, int]]:
    """Whole, sound records at the start of `data`: (first, count, payload, offset behind it)."""
    offset, end = 0, len(data)
    while offset + HEADER.size <= end:
        length, crc, first, count = HEADER.unpack_from(data, offset)
        start, behind = offset + HEADER.size, offset + HEADER.size + length
        if length > MAX_RECORD or behind > end:
            return
        payload = data[start:behind]
        if crc32(payload, crc32(_COVERED.pack(first, count))) != crc:
            return
        yield first, count, payload, behind
        offset = behind


def _sound(data: bytes) -> int:
    """Bytes of whole, sound records at the start of `data`."""
    return max((behind for *_, behind in _scan(data)), default=0)


def _next_sound(data: bytes, start: int) -> int | None:
    """Where, behind a damaged record at `start`, the next sound one begins."""
    if start + HEADER.size <= len(data):
        behind = start + HEADER.size + int(HEADER.unpack_from(data, start)[0])
        if behind < len(data) and _sound(data[behind:]):
            return behind
    for offset in range(start + 1, len(data) - HEADER.size):
        length = HEADER.unpack_from(data, offset)[0]
        behind = offset + HEADER.size + length
        if 0 < length <= MAX_RECORD and behind <= len(data) and next(_scan(data[offset:behind]), None):
            return offset
    return None


def _batch(first: int, count: int, payload: bytes | memoryview) -> Batch:
    try:
        record = decode(payload)
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error)) from None
    if not isinstance(record, Batch):
        raise Damaged("a state where a batch was expected")
    if record.first != first or len(record.events) + 1 != count:
        raise Damaged("other numbers inside than outside")
    return record


def segments(disk: Disk, folder: str) -> list[int]:
    """First sequence numbers of the segments in a folder, ascending."""
    numbers = (name[2:-4] for name in disk.list(folder) if name.startswith("j-") and name.endswith(".log"))
    return sorted(int(number) for number in numbers if number.isdigit())


def segment_path(folder: str, first: int) -> str:
    return f"{folder}/j-{first:020d}.log"


class Writer:
    """Appends batches. Order of calls: `open` once, then `roll`; then `append`, `roll`, `sync`, `trim` as often as
    needed; `close`.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        state: Callable[[], bytes],
        consumers: Sequence[str] = (),
        *,
        keepers: Sequence[str] = (),
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = 2 << 30,
    ) -> None:
        """`state` gives what the first record of a new segment holds. `consumers` are their checkpoint bases: a segment
        goes when all of them have made durable what is in it, and would not ask for it again though one of their
        slots were lost. Beyond `max_bytes` only `keepers` are waited for; any other consumer is cut loose.
        """
        self._disk = disk
        self._folder = folder
        self._state = state
        self._consumers = tuple(consumers)
        self._keepers = tuple(keepers)
        # The newest segment is never let go, so a journal that may hold little has short ones: else it stays full.
        self._segment_bytes = min(segment_bytes, max_bytes // 8)
        self.max_bytes = max_bytes
        self._file: Appender | None = None
        self._sizes: dict[int, int] = {}
        self._seen: checkpoint.Seen = {}
        self._current = self._full = 0
        self.last = 0
        """Last sequence number given out."""
        self.cut_bytes = 0
        """Bytes that `open` found torn or damaged at the end, and moved to quarantine or cut."""
        self.cut_loose: set[str] = set()
        """Checkpoint bases of consumers that were not waited for."""

    @property
    def consumers(self) -> tuple[str, ...]:
        """The checkpoint bases of those who read it."""
        return self._consumers

    def told(self) -> dict[str, dict[str, Any]]:
        """What the newest checkpoints of its keepers say."""
        return {base: checkpoint.peek(self._disk, base) for base in self._keepers}

    @property
    def held_bytes(self) -> int:
        return sum(self._sizes.values())

    def open(self, at_least: int = 0, is_derived: bool = False) -> tuple[bytes | None, list[Batch]]:
        """Recovers: cuts the torn tail before anything is appended. Returns the newest sound state and the batches
        after it.

        Numbers up to `at_least` are not given out again, whatever the files say. Where all of it can be given once more
        (`is_derived`) it is cut at the first bad record; else there only if a power cut may have left it, so that it
        never was durable.
        """
        firsts = segments(self._disk, self._folder)
        tail: list[Batch] = []
        state: bytes | None = None
        for first in reversed(firsts):
            if state is not None:
                self._sizes[first] = self._disk.size(segment_path(self._folder, first)) or 0
                continue
            data = self._disk.read(segment_path(self._folder, first))
            state, batches, good, holes = _read_segment(data, UNSYNCED_NS if not is_derived else None)
            for begin, end in holes:
                _set_aside(self._disk, segment_path(self._folder, first), begin, data[begin:end])
            if first == firsts[-1] and good < len(data):
                self._cut(first, data, good)
            elif first == firsts[-1]:  # its writer may have died before its sync, and the next segment stands on it
                self._disk.sync(segment_path(self._folder, first))
            self._sizes[first] = good
            tail = batches + tail
        # A damaged tail may have held numbers that a consumer has already taken: they must never be given out again.
        reached = [checkpoint.position(self._disk, base) for base in self._consumers]
        self.last = max([tail[-1].last if tail else 0, (firsts[-1] - 1) if firsts else 0, at_least, *reached])
        return state, tail

    def _cut(self, first: int, data: bytes, good: int) -> None:
        self.cut_bytes = len(data) - good
        path = segment_path(self._folder, first)
        if len(data) - good > HEADER.size:  # more than a torn header: somebody may want to look at it
            keep(self._disk, path, data[good:], f"the record at byte {good} is torn or damaged; cut there")
        self._disk.truncate(path, good)
        self._disk.sync(path)

    def _begin_segment(self) -> None:
        if self._file is not None:
            self._file.sync()
            self._file.close()
        path = segment_path(self._folder, first := self.last + 1)
        # A segment of this number may stand already, holding a state and no batch: replaced whole, never removed first.
        self._disk.write(path + ".tmp", pack(State(self._state()), first, 0))
        self._disk.replace(path + ".tmp", path)
        self._disk.sync_dir(self._folder)
        self._file = self._disk.appender(path)
        self._current = first
        self._sizes[first] = begun = self._file.size
        self._full = max(self._segment_bytes, 2 * begun)  # as much of records as of state: else it fills with states

    def roll(self) -> None:
        """Begins a segment where none is open or the current one is full.

        To be called when the state covers what was appended and nothing beyond: what it counts too much would be held
        after a crash and never written.
        """
        if self._file is None or self._file.size >= self._full:
            self._begin_segment()

    def append(self, batch: Batch) -> bytes:
        """One record, one ``write()``: received when it returns. Returns the bytes for the lanes. Raises OSError."""
        assert self._file is not None, "the first append comes after roll"
        assert batch.first == self.last + 1, "batches are appended in sequence"
        data = pack(batch, batch.first, len(batch.events) + 1)
        self._file.write(data)
        self._file.forget(self._segment_bytes // 4)  # consumers nearly always have it from their lanes
        self._sizes[self._current] = self._file.size
        self.last = batch.last
        return data

    def sync(self) -> None:
        """Everything appended is durable when it returns."""
        if self._file is not None:
            self._file.sync()

    def begin_sync(self) -> None:
        """Everything appended so far is durable once `is_syncing` is over; more may be appended meanwhile."""
        if self._file is not None:
            self._file.begin_sync()

    @property
    def is_syncing(self) -> bool:
        """Whether the disk is still at it. Raises the OSError that it ended with."""
        return self._file is not None and self._file.is_syncing

    def trim(self) -> int:
        """Deletes the segments that every consumer has made durable; returns how many. Without a consumer all but the
        current one.
        """
        if len(self._sizes) < 2:  # the newest is never let go
            return 0
        is_roomy = self.held_bytes <= self.max_bytes // ROOMY
        reached = checkpoint.needless if is_roomy else checkpoint.certain
        positions = {base: reached(self._disk, base, self._seen) for base in self._consumers}
        done = min(positions.values(), default=self.last)
        kept = min((positions[base] for base in self._keepers if base in positions), default=self.last)
        gone = 0
        for first, following in pairwise(sorted(self._sizes)):
            if following - 1 > done and (self.held_bytes <= self.max_bytes or following - 1 > kept):
                break
            if not gone:
                for base in self._consumers:
                    checkpoint.settle(self._disk, base)
            try:
                self._disk.remove(segment_path(self._folder, first))
            except PermissionError:  # a reader on Windows; it will let go
                break
            del self._sizes[first]
            gone += 1
            behind = [base for base, position in positions.items() if position < following - 1]
            self.cut_loose |= {base for base in behind if checkpoint.position(self._disk, base) < following - 1}
        return gone

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _read_segment(
    data: bytes, unsynced_ns: int | None = None
) -> tuple[bytes | None, list[Batch], int, list[tuple[int, int]]]:
    """State, batches and number of sound bytes of a segment; and the holes that were passed over before their end:
    those behind which records go on for longer than `unsynced_ns`.
    """
    state, batches, good = _sound_part(data)
    holes: list[tuple[int, int]] = []
    while unsynced_ns is not None and (following := _next_sound(data, good)) is not None:
        behind, more, length = _sound_part(data[following:])
        if not more or more[-1].ts - more[0].ts <= unsynced_ns:
            break
        holes.append((good, following))
        state, batches, good = state if behind is None else behind, batches + more, following + length
    return state, batches, good, holes


def _sound_part(data: bytes) -> tuple[bytes | None, list[Batch], int]:
    """State, batches and number of bytes of what is sound at the start of `data`."""
    state: bytes | None = None
    batches: list[Batch] = []
    good = 0
    for first, count, payload, behind in _scan(data):
        try:
            record = decode(payload)
        except (ValueError, RecursionError):
            break
        if isinstance(record, State):
            state = record.state
        elif record.first == first and count == len(record.events) + 1:
            batches.append(record)
        good = behind
    return state, batches, good


def _set_aside(disk: Disk, path: str, offset: int, data: bytes) -> None:
    """Kept for somebody to look at, for the segment will be trimmed."""
    keep_once(disk, f"{path}@{offset}", data, f"{len(data)} bytes there are not as they were written")


class Reader:
    """Reads a journal beside its writer. Keeps its place: to follow a growing segment costs what is new in it."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self._segment: int | None = None
        self._offset = 0
        self._waits_at: tuple[int, int, int] | None = None  # segment, offset, bytes of a record that is not whole yet
        self.damaged: list[str] = []
        """Segments passed over in part because a record in their middle is not sound; the bytes are set aside."""

    @property
    def begins(self) -> int | None:
        """The first number that is still there; None where nothing is."""
        return min(segments(self._disk, self._folder), default=None)

    def read(self, position: int, most_bytes: int = SEGMENT_BYTES) -> list[Batch]:
        """Batches behind `position`, in order; about `most_bytes` of them at most. Empty at the journal's end.

        Where the journal itself lacks numbers (segments were lost or cut), the next batch there is comes.
        """
        out: list[Batch] = []
        firsts = self._seek(position)
        is_last = firsts and self._segment == firsts[-1]
        if is_last and self._disk.size(segment_path(self._folder, firsts[-1])) == self._offset:
            return out  # nothing new, as most often: told with the least effort
        while not out and self._segment is not None:
            path = segment_path(self._folder, self._segment)
            try:
                data = self._disk.read(path, self._offset, most_bytes + HEADER.size + MAX_RECORD)
            except FileNotFoundError:  # trimmed while we looked
                self._segment = None
                self._seek(position)
                continue
            taken = self._take(data, position, most_bytes, out)
            self._offset += taken
            if not out and not self._next_segment(len(data) - taken):
                break
        return out

    def _take(self, data: bytes, position: int, most_bytes: int, out: list[Batch]) -> int:
        """Appends to `out`; returns the bytes that need not be read again."""
        taken = 0
        for first, count, payload, behind in _scan(data):
            if not count:  # a state: until a batch follows, its writer may put another in its place
                continue
            taken = behind
            if first + count - 1 > position:
                try:
                    batch = _batch(first, count, payload)
                except Damaged as why:  # sound by its checksum, so written by a stranger to this version
                    self.damaged.append(f"{self._folder} record {first}: {why}")
                    continue
                out.append(batch.after(position))
                position = batch.last
            if out and behind >= most_bytes:  # what is only passed over does not count: the next segment would follow
                break
        return taken

    def _seek(self, position: int) -> list[int]:
        """Goes to the last segment whose first number is not behind `position`, if that lies ahead. All there are."""
        firsts = segments(self._disk, self._folder)
        if not firsts:
            self._segment = None
            return firsts
        target = max((f for f in firsts if f <= position + 1), default=firsts[0])
        if self._segment is None or target > self._segment:
            self._segment, self._offset = target, 0
        return firsts

    def _next_segment(self, unread: int) -> bool:
        """Goes on behind what cannot be read: in the same segment, or else in the next one. False at the end."""
        assert self._segment is not None
        later = [f for f in segments(self._disk, self._folder) if f > self._segment]
        place = self._segment, self._offset, unread
        if not later and (not unread or place == self._waits_at):
            return False
        path = segment_path(self._folder, self._segment)
        # The writer moves on only after the last record here is whole: look once more, then what is left is damage.
        size = self._disk.size(path)
        if size is not None and size > self._offset + unread:
            return True
        is_there = unread and size is not None
        left = self._disk.read(path, self._offset) if is_there else b""  # a torn tail may have been cut meanwhile
        if any(count for _, count, _, _ in _scan(left)):
            return True
        if (good := _sound(left)) < len(left):
            behind = _next_sound(left, good)
            # Of a writer that died one waits to be told what it keeps; who goes on writing has whole records behind it.
            is_over = later or (self._waits_at is not None and self._waits_at[:2] == place[:2])
            if not is_over:
                self._waits_at = place
                return False
            if behind is not None or later:  # else it is not whole yet
                self.damaged.append(path)
                _set_aside(self._disk, path, self._offset + good, left[good:behind])
            if behind is not None:  # damage in the middle costs what is damaged, not all that follows
                self._offset += behind
                return True
        if not later:
            self._waits_at = place
            return False
        self._segment, self._offset = later[0], 0
        return True

    def settle(self) -> None:
        """Makes durable which segments there are: one that was let go may else be there again after a power cut."""
        self._disk.sync_dir(self._folder)

    def sync(self, after: int, upto: int) -> None:
        """Makes durable the records behind `after` up to `upto`, on their writer's behalf; those that are there."""
        for first, following in pairwise([*segments(self._disk, self._folder), upto + 1]):
            if first <= upto and following > after + 1:
                try:
                    self._disk.sync(segment_path(self._folder, first))
                except FileNotFoundError:  # trimmed meanwhile: then it was durable
                    continue
