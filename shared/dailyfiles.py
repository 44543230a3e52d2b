"""A venue's archive of closed days, which is not trusted: checksum first, then one expected member, read as a stream.

with path.open("rb") as file:
    verify(file, expected)
    reader = Rows(daily, "trade", "SOLUSDT", "2025-10-20", ts_recv)
    for trade in reader.events(lines(file, name(daily, "trade", "SOLUSDT", "2025-10-20"))): ...
"""

from __future__ import annotations

import errno
import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from urllib.parse import quote

from shared import paths
from shared.events import AggTrade, Trade
from shared.venues import MAX_ID, Daily, Digits, Reject, nanoseconds

MOST_BYTES = 2 << 30
"""Of one day's CSV; the largest there were have half of it."""
MOST_RATIO = 20
"""CSV of trades packs to about a fifth; what unpacks to more than this is no trades."""
LONGEST_LINE = 1000
CHUNK = 1 << 20
CHECKSUM = ".CHECKSUM"

_SUM = re.compile(r"([0-9a-fA-F]{64})(?:[ \t]+\*?(\S+))?\s*")


class BadArchive(ValueError):
    """A file that must not be believed. The text is for people and says why."""


# --- names ---


def name(daily: Daily, kind: str, symbol: str, date: str) -> str:
    """The file's name without its ending."""
    return daily.path.format(folder=daily.folders[kind], symbol=symbol, date=date).rpartition("/")[2][: -len(".zip")]


def place(daily: Daily, kind: str, symbol: str, date: str) -> str:
    """Its path at the venue."""
    return daily.path.format(folder=daily.folders[kind], symbol=quote(symbol, safe=""), date=date)


# --- what must hold before it is read ---


def parse_checksum(body: bytes, of: str) -> str:
    """The sha256 in ``<64 hex digits>  <name>``, which must name the zip that was asked for. Raises BadArchive."""
    found = _SUM.fullmatch(body[:4096].decode("utf-8", "replace"))
    if found is None or len(body) > 4096:
        raise BadArchive(f"the checksum of {of}.zip is none")
    if found[2] not in (None, f"{of}.zip"):
        raise BadArchive(f"the checksum of {of}.zip is that of another file")
    return found[1].lower()


def verify(file: BinaryIO, expected: str) -> None:
    """Raises BadArchive where the bytes are not those that the venue has summed up."""
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(CHUNK):
        digest.update(piece)
    found = digest.hexdigest()
    if found != expected:
        raise BadArchive(f"its sha256 is {found[:12]}…, the venue's checksum says {expected[:12]}…")


def lines(file: BinaryIO, of: str) -> Iterator[bytes]:
    """The lines of the one member ``<of>.csv``, without their ends. Raises BadArchive, also midway."""
    size = file.seek(0, 2)
    most = min(MOST_BYTES, MOST_RATIO * size)
    try:
        with zipfile.ZipFile(file) as zipped:
            member = _member(zipped, f"{of}.csv")
            if member.file_size > most or member.compress_size > size:
                raise BadArchive(f"it would unpack to {member.file_size} bytes, more than the {most} that can be")
            with zipped.open(member) as stream:
                yield from _split(iter(lambda: stream.read(CHUNK), b""), most)
    except BadArchive:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # else it says that something lies before its beginning
            raise
        raise BadArchive(f"it cannot be unpacked: {error.strerror}") from None
    except _TROUBLES as error:
        raise BadArchive(f"it cannot be unpacked: {error or type(error).__name__}") from None


_TROUBLES = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, IndexError, ValueError, OverflowError,
    struct.error,
)  # fmt: skip
"""What the library raises over zips that somebody has tampered with."""


def _member(zipped: zipfile.ZipFile, expected: str) -> zipfile.ZipInfo:
    members = zipped.infolist()
    if len(members) != 1:
        raise BadArchive(f"it holds {len(members)} files instead of {expected} alone")
    member = members[0]
    if member.filename != expected:
        raise BadArchive(f"it holds {member.filename[:80]!r} instead of {expected}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadArchive("it is packed in an unusual way")
    return member


def _split(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    pending, had = b"", 0
    for chunk in chunks:
        had += len(chunk)
        if had > most:  # whatever its headers say
            raise BadArchive(f"it unpacks to more than the {most} bytes that can be")
        *whole, pending = (pending + chunk).split(b"\n")
        if len(pending) > LONGEST_LINE:
            raise BadArchive("it holds a line longer than a trade can be")
        yield from whole
    if pending:
        yield pending


# --- rows ---


class Rows:
    """The rows of a file as events of one symbol and day. What is no such row is counted, never guessed."""

    def __init__(self, daily: Daily, kind: str, symbol: str, date: str, ts_recv: int) -> None:
        columns = daily.columns[kind]
        self._at = {column: place for place, column in enumerate(columns) if column}
        self._fewest = len(columns)
        self._symbol = symbol
        self._start = paths.day_start(date)
        self._ts_recv = ts_recv
        self._make = self._trade if kind == "trade" else self._aggregate
        self._digits = Digits()
        self.read = 0
        """Events given."""
        self.rejected = 0
        self.reason = ""
        """Of the first row that was rejected."""

    def events(self, rows: Iterable[bytes]) -> Iterator[Trade | AggTrade]:
        for number, row in enumerate(rows, 1):
            if not row.strip() or (number == 1 and not row[:1].isdigit()):  # a header, which futures have
                continue
            try:
                event = self._event(row)
            except ValueError as error:
                self.rejected += 1
                self.reason = self.reason or f"line {number}: {error}"
                continue
            if event is not None:
                self.read += 1
                yield event

    def _event(self, row: bytes) -> Trade | AggTrade | None:
        fields = row.decode("ascii").rstrip("\r").split(",")
        if not self._fewest <= len(fields) <= self._fewest + 1:  # spot ends with "was it the best match"
            raise Reject(f"{len(fields)} columns")
        maker = fields[self._at["maker"]].lower()
        if maker not in ("true", "false") or fields[-1].lower() not in ("true", "false"):
            raise Reject("a side that is none")
        ts = nanoseconds(_whole(fields[self._at["time"]]))
        if not self._start <= ts < self._start + paths.DAY:
            raise Reject("a trade of another day")
        price = self._digits.check(fields[self._at["price"]], "price")
        qty = self._digits.check(fields[self._at["qty"]], "quantity")
        return self._make(fields, ts, price, qty, "sell" if maker == "true" else "buy")

    def _trade(self, fields: list[str], ts: int, price: str, qty: str, side: str) -> Trade | None:
        one = _whole(fields[self._at["id"]])
        return Trade(self._symbol, ts, ts, None, self._ts_recv, price, qty, side, one, "archive")

    def _aggregate(self, fields: list[str], ts: int, price: str, qty: str, side: str) -> AggTrade | None:
        if fields[self._at["first"]] == "-1":  # cancelled trades leave aggregates of nothing
            return None
        one, first, last = (_whole(fields[self._at[column]]) for column in ("id", "first", "last"))
        if last < first:
            raise Reject("an aggregate of no trades")
        return AggTrade(self._symbol, ts, ts, None, self._ts_recv, price, qty, side, one, first, last, "archive")


def _whole(text: str) -> int:
    if not text.isdigit() or not text.isascii() or len(text) > 19 or int(text) > MAX_ID:
        raise Reject("an id or time that is no number")
    return int(text)
