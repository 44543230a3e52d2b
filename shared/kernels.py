"""The door to `kernels.c`: the innermost loops of a busy moment, where this machine has them compiled.

`loops` is None until `use` was called (see `shared.compiled`). Who has a loop there does the same in numpy without
it, several times slower; addresses are those of memory that the caller holds.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

COLUMNS: Final = ("ts", "ts_recv", "ids", "price", "qty", "ask", "ask_qty", "ts_sent")
"""int64 columns, in the order in which the loops count them."""
WHOLE, MONEY, TIME, SIDE, WORD, NUMBER, TEXT, NOTHING = range(8)
"""What follows a text: a number, one with digits after its point, a time, who made the price, true or false, a number
or a text that is no concern of ours, its end.
"""
_PAD: Final = bytes(32)
_LONGEST: Final = 24
"""Characters of a number, and what is written beyond it."""
_WORD: Final = (1 << 64) - 1

_MUCH: Final = 4096

loops: ctypes.CDLL | None = None
"""The loops."""
_crc: Callable[[int, int, int], int] | None = None

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int64
_CALLS: Final = {
    "lake_folds": (ctypes.c_int, ()),
    "lake_crc": (ctypes.c_uint32, (ctypes.c_uint32, _Pointer, _Int)),
    "lake_cut": (_Int, (_Pointer, _Int, _Int, _Pointer, _Pointer)),
    "lake_read": (None, (_Pointer, _Pointer, _Int, _Pointer, _Pointer, _Pointer, _Int)),
    "lake_judge": (None, (_Pointer, _Int, _Int, _Pointer)),
    "lake_stamp": (_Int, (_Pointer, _Int, _Int, *(_Pointer,) * 3, _Int, *(_Pointer,) * 3)),
    "lake_group": (_Int, (_Pointer, _Int, _Int, _Int, _Pointer)),
    "lake_lines": (_Int, (_Pointer, _Int, _Pointer, _Pointer)),
    "lake_parse": (_Int, (_Pointer, _Pointer, _Int, _Int, _Pointer, _Pointer, _Pointer)),
    "lake_seconds": (_Int, (_Int, _Pointer, _Pointer, _Int, _Int, _Pointer, _Pointer)),
    "lake_runs": (_Int, (_Int, _Pointer, _Pointer, _Pointer, _Int, _Pointer)),
    "lake_tally": (_Int, (_Int, *[_Pointer] * 6)),
    "lake_quotes": (_Int, (_Int, *[_Pointer] * 8)),
    "lake_quotients": (None, (_Int, _Pointer, _Int, _Pointer, _Pointer)),
    "lake_close": (None, (_Int, _Pointer, _Pointer, _Pointer)),
    "lake_is_wide": (ctypes.c_int, ()),
    "lake_windows": (_Int, (_Int, _Pointer, _Pointer, _Int, _Pointer)),
    "lake_wide_windows": (_Int, (_Int, _Pointer, _Pointer, _Int, _Pointer)),
}


def use(path: str) -> None:
    """Loads the loops. Raises OSError where that is no library of this machine, AttributeError where it is another."""
    global loops, _crc
    found = ctypes.CDLL(path)
    for name, (gives, takes) in _CALLS.items():
        call = getattr(found, name)
        call.restype, call.argtypes = gives, takes
    loops, _crc = found, found.lake_crc if found.lake_folds() else None


def crc32(data: bytes | memoryview, before: int = 0) -> int:
    """As zlib has it, in a third of the time where there is much and the processor multiplies without carries."""
    if _crc is None or len(data) < _MUCH:
        return zlib.crc32(data, before)
    whole = len(data) & ~15
    return zlib.crc32(data[whole:], _crc(before, address(data), whole))


class Piece(ctypes.Structure):
    """A text and what follows it."""

    _fields_ = (
        ("at", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("follows", ctypes.c_int32),
        ("column", ctypes.c_int32),
    )


Form = Sequence[tuple[bytes, int, str]]
"""Texts, what follows each, and the column where that belongs, or nothing."""


class Forms:
    """How frames or lines look, in memory that the loops can read: all pieces of all forms."""

    def __init__(self, forms: Sequence[Form]) -> None:
        pieces: list[Piece] = []
        text = bytearray()
        places: dict[bytes, int] = {}
        self.first: list[int] = []
        for form in forms:
            self.first.append(len(pieces))
            for said, follows, column in form:
                at = places.setdefault(said, len(text))
                if at == len(text):
                    text += said
                pieces.append(Piece(at, len(said), follows, COLUMNS.index(column) if column else 0))
        self.text = bytes(text) + _PAD
        self.pieces = (Piece * len(pieces))(*pieces)
        self.sizes = [sum(len(said) + _LONGEST for said, *_ in form) for form in forms]
        """How long each is when every number is as long as it can be."""

    @property
    def text_at(self) -> int:
        return address(self.text)

    def piece_at(self, form: int) -> int:
        """Where the first piece of a form is."""
        return ctypes.addressof(self.pieces) + self.first[form] * ctypes.sizeof(Piece)


def address(data: Any) -> int:
    """Where bytes are, or what can be written to, such as an array that is not empty (which takes three times as long
    to say it); they must be held as long as that is used.
    """
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), _Pointer).value or 0
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


class _Form(ctypes.Structure):
    _fields_ = (("text", _Pointer), ("pieces", _Pointer))


class _Streams(ctypes.Structure):
    _fields_ = (
        ("name_at", _Int), ("mask", _Int), ("slots", _Pointer), ("keys", _Pointer), ("forms", _Pointer),
        ("symbol", _Pointer), ("strange", _Pointer), ("latest", _Pointer),
    )  # fmt: skip


class Rows(ctypes.Structure):
    """Where `read` leaves what it finds: a byte, a byte, two bytes twice, and eight for each of COLUMNS a row."""

    _fields_ = (
        ("is_plain", _Pointer), ("kinds", _Pointer), ("symbol", _Pointer), ("short", _Pointer),
        ("columns", _Pointer * len(COLUMNS)),
    )  # fmt: skip

    @classmethod
    def of(cls, rows: Any, numbers: Any) -> Rows:
        """Those of `shared.venues.Rows`, which must be held, and be one at least. `numbers` holds COLUMNS, one behind
        the other: to ask each array where it is takes longer than to read the rows of a quiet moment.
        """
        first, size = address(numbers), numbers.strides[0]
        given = (rows.is_plain, rows.kinds, rows.symbol, rows.short)
        return cls(*map(address, given), pointers(range(first, first + size * len(COLUMNS), size)))


class Streams:
    """The streams of a source: name, form of the frames, and number of the symbol of each. `name_at`: where in a frame
    the name of its stream begins if it begins where it should; it has at least seven characters, an @ among them, and
    goes up to a quotation mark. A stream may have another form besides; the one that fitted last is tried first.
    """

    PATIENCE = 1000
    """Frames of a stream that fit none of its forms before it is said again that there are such: a form costs about as
    much as fifty of them.
    """
    MOST = 64
    """Streams of which that is said at once."""

    def __init__(self, name_at: int, names: Sequence[bytes], forms: Sequence[Form], symbols: Sequence[int]) -> None:
        count = len(forms)
        self._usual = Forms(forms)
        self._forms = (_Form * (2 * count))()
        for stream in range(count):
            self._forms[2 * stream] = _Form(self._usual.text_at, self._usual.piece_at(stream))
        self._learned: dict[int, list[Forms]] = {}
        self._keys = (ctypes.c_uint64 * count)(*map(_key, names))
        size = 1 << (4 * count).bit_length()
        self._slots = (ctypes.c_int32 * size)(*[-1] * size)
        for number, key in enumerate(self._keys):
            at = (key * 0xFF51AFD7ED558CCD & _WORD) >> 40 & (size - 1)
            while self._slots[at] >= 0:
                at = (at + 1) & (size - 1)
            self._slots[at] = number
        self._symbols = (ctypes.c_uint16 * count)(*symbols)
        self._strange = (_Int * count)(*[self.PATIENCE] * count)
        self._latest = (_Int * count)()
        self.begin()
        arrays = (self._slots, self._keys, self._forms, self._symbols, self._strange, self._latest)
        self._all = _Streams(name_at, size - 1, *[ctypes.addressof(array) for array in arrays])
        self.at = ctypes.addressof(self._all)

    def begin(self) -> None:
        """What follows are other rows than those before."""
        ctypes.memset(self._latest, 0xFF, ctypes.sizeof(self._latest))

    def strangers(self) -> list[tuple[int, int]]:
        """Streams that should learn a form, each with the row of the last of its frames that fitted none."""
        each = zip(range(len(self._latest)), self._strange, self._latest, strict=True)
        due = ((stream, row) for stream, frames, row in each if frames > self.PATIENCE and row >= 0)
        found = list(islice(due, self.MOST))
        for stream, _ in found:
            self._strange[stream] = 0
        return found

    def learn(self, stream: int, form: Form) -> None:
        """Takes another form of a stream, in the place of the one that did not fit last."""
        new = Forms([form])
        self._forms[2 * stream + 1] = _Form(new.text_at, new.piece_at(0))
        used = {each.pieces for each in self._forms[2 * stream : 2 * stream + 2]}
        known = self._learned.get(stream, [])
        self._learned[stream] = [each for each in (*known, new) if each.piece_at(0) in used]


def _key(name: bytes) -> int:
    """What tells a stream: eight bytes from the begin of its name, and the eight up to the quotation mark behind it."""
    one, other = (int.from_bytes(part, "little") for part in ((name + b'"')[:8], (name + b'"')[-8:]))
    return one * 0x9E3779B97F4A7C15 & _WORD ^ other


class Judged(ctypes.Structure):
    """What `lake_judge` finds. See `kernels.c`."""

    _fields_ = (
        ("reads", _Int), ("symbols", _Int), ("behind", _Pointer), ("tops", _Pointer), ("count", _Pointer),
        ("first", _Pointer), ("last", _Pointer), ("ts", _Pointer), ("is_odd", _Pointer), ("until", _Pointer),
        ("ids", _Pointer), ("low", _Int), ("top", _Int), ("final", _Int), ("trades", _Int),
        ("latest", _Int),
    )  # fmt: skip


class Lines(ctypes.Structure):
    """What `lake_lines` makes lines of. See `kernels.c`."""

    _fields_ = (
        ("digits", _Int), ("kinds", _Pointer), ("symbol", _Pointer), ("short", _Pointer),
        ("columns", _Pointer * len(COLUMNS)), ("text", _Pointer), ("heads", _Pointer), ("pieces", _Pointer * 3),
    )  # fmt: skip


ROW: Final = 64
"""Bytes of a row that `lake_group` lays out for `lake_lines`."""


class Grouping(ctypes.Structure):
    """What `lake_group` finds. See `kernels.c`."""

    _fields_ = (
        ("symbols", _Int), ("most", _Int), ("latest", _Pointer), ("before", _Pointer), ("symbol", _Pointer),
        ("start", _Pointer), ("until", _Pointer), ("group", _Pointer), ("rows", _Pointer), ("running", _Pointer),
         ("owner", _Pointer), ("first", _Pointer), ("last", _Pointer), ("runs", _Int),
    )  # fmt: skip


class LineForms(ctypes.Structure):
    """How the lines look that `lake_parse` reads. See `kernels.c`."""

    _fields_ = (("count", _Int), ("text", _Pointer), ("forms", _Pointer * 4), ("quotes", ctypes.c_char_p))


class Found(ctypes.Structure):
    """Where it leaves what it finds."""

    _fields_ = (("kinds", _Pointer), ("columns", _Pointer * len(COLUMNS)))


SECOND_FIELDS: Final = (
    "second", "owner", "trades", "buys", "first_id", "last_id", "open", "close", "high", "low", "volume", "volume_high",
    "buy_volume", "buy_volume_high", "paid", "paid_high", "buy_paid", "buy_paid_high", "id_sum", "id_sum_high",
    "quotes", "first_ts", "first_update", "last_ts", "update", "bid", "bid_qty", "ask", "ask_qty", "weighted",
    "weighted_high", "live_ns", "is_complete", "has_book",
)  # fmt: skip
"""The numbers of a second, int64; sums go on in the next one."""
RUN_FIELDS: Final = (
    "is_odd", "lowest", "highest", "trades", "first_id", "last_id", "first_second", "last_second", "quotes",
    "first_update", "update", "first_ts", "last_ts",
)  # fmt: skip
"""The numbers of a symbol's run that `lake_runs` makes, int64."""


class Board(ctypes.Structure):
    """Where `lake_tally` keeps open seconds. See `kernels.c`."""

    _fields_ = (("window", _Int), ("spare", _Int), ("slots", _Pointer), ("places", _Pointer), ("rows", _Pointer))


class Trim(ctypes.Structure):
    """Of numbers that all end with so many zeros. See `kernels.c`."""

    _fields_ = (("inverse", ctypes.c_uint64), ("limit", ctypes.c_uint64), ("twos", _Int))

    def __init__(self, zeros: int) -> None:
        super().__init__(pow(5**zeros, -1, 1 << 64), min(_WORD // 5**zeros, (1 << 62) - 1), zeros)


class Windows(ctypes.Structure):
    """What `lake_windows` sums up. See `kernels.c`."""

    _fields_ = (
        ("width", _Int), ("most", _Int), ("whole", _Pointer * 6), ("broken", _Pointer * 9), ("price", Trim),
        ("size", Trim), ("price_unit", ctypes.c_double), ("size_unit", ctypes.c_double), ("count", _Int),
        ("now", _Int * 15),
    )  # fmt: skip


def pointers(addresses: Sequence[int]) -> Any:
    """As a member of a structure."""
    return (_Pointer * len(addresses))(*addresses)
