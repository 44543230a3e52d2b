"""Websocket messages cut out of what a socket brought, as far as they are plain: whole, unmasked, of text.

Nearly all that a venue sends is. A library that looks at every frame by itself spends more on it than on all that
follows; so only what is not plain is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, overload

from shared import kernels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXT: Final = 0x81
"""First byte of a whole text message: last fragment, no reserved bits, opcode 1."""
_LONG: Final = 126
"""Of the second byte: the length stands in the next two."""
MANY: Final = 4 << 10
"""Bytes at once from which on it is worth it to look at all headers together …"""
FEW: Final = 16
"""… unless so few messages come of it, for what looks like headers is something else."""
SHORT: Final = 64
"""Bytes of a message at which one pass suffices; it takes more where they are shorter: room for them costs, too."""


class Cut(Sequence[bytes]):
    """Messages that are still part of what was read; each is made when it is asked for. Who takes them all at once
    finds them in `data`, from `begins` up to `ends`.
    """

    __slots__ = ("_first", "_whole", "begins", "data", "ends")

    def __init__(self, data: bytes | memoryview, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.data = data
        self.begins = begins
        self.ends = ends
        self._whole: Cut | None = None
        self._first = 0  # what it is a part of, and from where on

    def __len__(self) -> int:
        return len(self.begins)

    def part(self, first: int, behind: int | None = None) -> Cut:
        """Some of them, as they are."""
        found = Cut(self.data, self.begins[first:behind], self.ends[first:behind])
        found._whole = self if self._whole is None else self._whole
        found._first = self._first + first
        return found

    def joined(self, other: Sequence[bytes]) -> Cut | None:
        """Both together, where they are parts that follow one another."""
        whole = self._whole
        if whole is None or not isinstance(other, Cut) or other._whole is not whole:
            return None
        is_next = other._first == self._first + len(self)
        return whole.part(self._first, other._first + len(other)) if is_next else None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self[:])

    @overload
    def __getitem__(self, which: int) -> bytes: ...
    @overload
    def __getitem__(self, which: slice) -> list[bytes]: ...
    def __getitem__(self, which: int | slice) -> bytes | list[bytes]:
        if isinstance(which, int):
            return bytes(self.data[int(self.begins[which]) : int(self.ends[which])])
        begins, ends = self.begins[which].tolist(), self.ends[which].tolist()
        return [bytes(self.data[begin:end]) for begin, end in zip(begins, ends, strict=True)]


def part(messages: Sequence[bytes], first: int, behind: int | None = None) -> Sequence[bytes]:
    """Some of these messages; none is made for it."""
    return messages.part(first, behind) if isinstance(messages, Cut) else messages[first:behind]


def joined(pieces: Iterable[Sequence[bytes]]) -> list[Sequence[bytes]]:
    """The same messages in fewer pieces: parts that follow one another in one."""
    found: list[Sequence[bytes]] = []
    for piece in pieces:
        both = found[-1].joined(piece) if found and isinstance(found[-1], Cut) else None
        if both is None:
            found.append(piece)
        else:
            found[-1] = both
    return found


def cut(data: bytes | memoryview) -> tuple[Sequence[bytes], Sequence[int] | NDArray[np.int64]]:
    """The plain messages at the start of `data` (bytes, or memory of the caller's own that stays as it is), and where
    each ends. What follows the last is a frame that is not plain, or one that is not whole yet, or, where many were cut
    in one pass, perhaps more messages.
    """
    if len(data) >= MANY:
        found = _cut_many(data)
        if len(found) >= FEW:
            return found, found.ends
    data = bytes(data)
    messages: list[bytes] = []
    ends: list[int] = []
    offset, end = 0, len(data)
    while offset + 2 <= end and data[offset] == TEXT and data[offset + 1] <= _LONG:
        size, start = data[offset + 1], offset + 2
        if size == _LONG:
            if offset + 4 > end:
                break
            size, start = data[offset + 2] << 8 | data[offset + 3], offset + 4
        if start + size > end:
            break
        offset = start + size
        messages.append(data[start:offset])
        ends.append(offset)
    return messages, ends


def _cut_many(data: bytes | memoryview) -> Cut:
    """All that can be cut in one pass. Without the compiled loop every place that might begin a frame is taken for one,
    and believed as far as each begins where the one before it ends.
    """
    import numpy as np  # only who has so much to do needs it

    if kernels.loops is not None:
        most = max(len(data) // SHORT, FEW)
        places = np.empty((2, most), np.int64)
        at = places.ctypes.data
        count = kernels.loops.lake_cut(kernels.address(data), len(data), most, at, at + 8 * most)
        return Cut(data, *places[:, :count])
    seen = np.frombuffer(data, np.uint8)
    starts = np.flatnonzero(seen[:-3] == TEXT)
    if not len(starts) or starts[0]:
        return Cut(data, *np.empty((2, 0), np.int64))
    size = seen[starts + 1].astype(np.int64)
    is_plain = size <= _LONG
    is_long = size == _LONG
    begins = starts + np.where(is_long, 4, 2)
    size[is_long] = seen[starts[is_long] + 2].astype(np.int64) << 8 | seen[starts[is_long] + 3]
    ends = begins + size
    good = is_plain & (ends <= len(data))
    good[1:] &= starts[1:] == ends[:-1]
    count = len(good) if good.all() else int(good.argmin())
    return Cut(data, begins[:count], ends[:count])
