"""The archive as it is read back: hours of raw, feed and rejected lines, whether still in minutes or folded.

A broken line costs that line and a broken file what cannot be read of it; both are named to the caller, who decides.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec
import zstandard

from shared import hidden, kernels, tickfiles
from shared.events import AggTrade, Columns, Feed, Quote, Trade
from shared.files import Disk
from shared.lines import parse_feed, parse_line
from shared.paths import feed_dir, raw_dir, symbol_of

Line = Trade | AggTrade | Quote
T = TypeVar("T")

_NAME = re.compile(r"(part|open)_([0-2][0-9])((?:[0-5][0-9]){0,2})(?:_([0-9]+))?\.jsonl(\.zst)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LOOKS = 5
"""Times a folder is looked at again because a writer renamed a file in between; then what was read is taken."""


class Problem(msgspec.Struct, frozen=True):
    """Something that could not be read."""

    path: str
    line: int
    """Counted from 1; 0 is the file itself."""
    reason: str


class Part(msgspec.Struct, frozen=True, order=True):
    """One file of the archive, in the order in which its lines are read: a folded hour, its minutes, late lines."""

    hour: int
    clock: str
    """``42`` or ``4205`` after the hour; empty for a whole hour."""
    late: int
    name: str
    is_open: bool
    """Still being written: its last line may be torn."""

    @property
    def is_hidden(self) -> bool:
        """By a swap that is not through."""
        return hidden.is_hidden(self.name)


def part_of(name: str) -> Part | None:
    """What a file name says, be it hidden or not; None where it is no file of the archive."""
    found = _NAME.fullmatch(hidden.plain(name))
    if found is None or int(found[2]) > 23 or bool(found[5]) != (not found[3]):
        return None
    return Part(int(found[2]), found[3], int(found[4] or 0), name, found[1] == "open")


# --- what there is ---


def symbols(disk: Disk, top: str = "raw") -> list[tuple[str, str]]:
    """Venue and symbol of every folder under `top` (``raw`` or ``parquet``)."""
    return [(venue, symbol_of(folder)) for venue in venues(disk, top) for folder in disk.list(f"{top}/{venue}")]


def venues(disk: Disk, top: str = "raw") -> list[str]:
    return disk.list(top)


def is_date(name: str) -> bool:
    """Whether it is a day there was; anything else that lies in the lake is somebody's own."""
    try:
        return _DATE.fullmatch(name) is not None and bool(datetime.date.fromisoformat(name))
    except ValueError:
        return False


def dates(disk: Disk, folder: str) -> list[str]:
    """The days below a folder such as ``raw/binance/SOLUSDT`` or ``feed/binance``."""
    return [name for name in disk.list(folder) if is_date(name)]


def parts(disk: Disk, folder: str, hour: int | None = None) -> list[Part]:
    """The files of a day's folder, or of one hour of it, in reading order; hidden ones as long as they count."""
    names = disk.list(folder)
    if hour is not None:  # a day has some thousand
        two = f"{hour:02d}"
        names = [
            name for name in names if two in (name[5:7], name[9:11])
        ]  # of plain ones, and with four letters before
    folded = {part.hour for part in map(part_of, hidden.waiting(names)) if part is not None}
    found = [part for part in map(part_of, names) if part is not None and hour in (None, part.hour)]
    return sorted(part for part in found if not part.is_hidden or part.hour in folded)


def hours(disk: Disk, folder: str) -> list[int]:
    return sorted({part.hour for part in parts(disk, folder)})


def held_hours(disk: Disk, venue: str, symbol: str, date: str) -> list[int]:
    """The hours of which lines are held, or ticks in their stead."""
    return sorted({*hours(disk, raw_dir(venue, symbol, date)), *tickfiles.hours(disk, venue, symbol, date)})


# --- reading it ---


def read_hour(disk: Disk, venue: str, symbol: str, date: str, hour: int) -> tuple[list[Line], list[Problem]]:
    """Trades and quotes of one symbol's hour with their exact digits, in the order of the files; of an hour whose lines
    are gone, those that the day's ticks hold.
    """
    lines, problems = _read(disk, raw_dir(venue, symbol, date), hour, _each(parse_line))
    if not lines and not problems and hour in tickfiles.hours(disk, venue, symbol, date):
        return tickfiles.read_hour(disk, venue, symbol, date, hour), []
    return lines, problems


def read_runs(
    disk: Disk, venue: str, symbol: str, date: str, hour: int
) -> tuple[list[Columns | list[Line]], list[Problem]]:
    """The same as `read_hour`, as far as a bar asks: where the loops are compiled, most of it in columns."""
    if kernels.loops is None:
        lines, problems = read_hour(disk, venue, symbol, date, hour)
        return [lines] if lines else [], problems
    from shared.lineruns import LineRuns, gathered  # numpy: who only writes the archive does without

    plain, singly = LineRuns(kernels.loops, symbol), _each(parse_line)

    def read(data: bytes, found: list[Columns | Line]) -> Iterator[tuple[int, str]]:
        number = 0
        for run in plain.runs(data):
            if isinstance(run, Columns):
                found.append(run)
                number += len(run)
                continue
            few: list[Line] = []
            yield from ((number + at, reason) for at, reason in singly(run, few))
            found += few
            number += run.count(b"\n")

    found, problems = _read(disk, raw_dir(venue, symbol, date), hour, read)
    if not found and not problems and hour in tickfiles.hours(disk, venue, symbol, date):
        found += tickfiles.read_hour(disk, venue, symbol, date, hour)
    return gathered(found), problems


def read_day(disk: Disk, venue: str, symbol: str, date: str) -> Iterator[tuple[int, list[Line], list[Problem]]]:
    """The hours of a day one after the other, so that a day never stands in memory whole."""
    for hour in held_hours(disk, venue, symbol, date):
        yield hour, *read_hour(disk, venue, symbol, date, hour)


def read_feed(disk: Disk, venue: str, date: str, hour: int | None = None) -> tuple[list[Feed], list[Problem]]:
    """What happened to a venue's feed on a day, or in one hour of it."""
    return _read(disk, feed_dir(venue, date), hour, _each(parse_feed))


Reader = Callable[[bytes, list[T]], Iterator[tuple[int, str]]]
"""Appends what lines say to a list; gives number and reason of those that cannot be read."""


def _read(disk: Disk, folder: str, hour: int | None, read: Reader[T]) -> tuple[list[T], list[Problem]]:
    def there() -> list[Part]:
        return parts(disk, folder, hour)

    def once(seen: list[Part]) -> tuple[list[Part], list[T], list[Problem]]:
        events: list[T] = []
        problems: list[Problem] = []
        for part in seen:
            _read_part(disk, f"{folder}/{part.name}", part.is_open, read, events, problems)
        return seen, events, problems

    for _ in range(_LOOKS):
        seen, events, problems = hidden.reread(once, there)
        if there() == seen:  # else a file was renamed or folded meanwhile: its lines twice, or not at all
            break
    return events, problems


def _read_part(disk: Disk, path: str, is_open: bool, read: Reader[T], events: list[T], problems: list[Problem]) -> None:
    data, trouble = content(disk, path)
    if trouble:
        problems.append(Problem(path, 0, trouble))
    if is_open:
        data = data[: data.rfind(b"\n") + 1]  # behind it is a torn line
    problems += [Problem(path, number, reason) for number, reason in read(data, events)]


def _each(parse: Callable[[bytes], T]) -> Reader[T]:
    """One line after the other."""

    def read(data: bytes, found: list[T]) -> Iterator[tuple[int, str]]:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                found.append(parse(line))
            except (ValueError, RecursionError) as error:
                yield number, _reason(line, error)

    return read


def _reason(line: bytes, error: Exception) -> str:
    return "empty line" if not line.strip() else str(error)[:200] or type(error).__name__


def read_lines(disk: Disk, files: Iterable[str]) -> tuple[list[bytes], list[Problem]]:
    """All lines of these files, each with its newline, and which of them could not be read to the end."""
    found: list[bytes] = []
    problems: list[Problem] = []
    for path in files:
        data, trouble = content(disk, path)
        if trouble:
            problems.append(Problem(path, 0, trouble))
        found += [text + b"\n" for text in data.split(b"\n") if text]
    return found, problems


def standing(disk: Disk, folder: str, clock: str) -> set[str]:
    """The lines of the file that begins then (``1342``, or with seconds), each with its newline, wherever they stand
    by now.
    """

    def there() -> list[Part]:
        return [part for part in parts(disk, folder, int(clock[:2])) if part.clock in ("", clock[2:])]

    def once(seen: list[Part]) -> set[str]:
        texts = (content(disk, f"{folder}/{part.name}")[0].decode("utf-8", "surrogatepass") for part in seen)
        return {line for text in texts for line in text.splitlines(keepends=True)}

    return hidden.reread(once, there)


def trades_of(lines: Iterable[bytes]) -> Iterator[Trade | AggTrade]:
    """The trades among them; what cannot be read is none."""
    for text in lines:
        try:
            event = parse_line(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, Trade | AggTrade):
            yield event


def content(disk: Disk, path: str) -> tuple[bytes, str]:
    """The lines of a file, unpacked, and what is wrong with it: of a damaged one, what can be had."""
    data = disk.read(path)
    return unpack(data) if _is_packed(path) else (data, "")


def _is_packed(path: str) -> bool:
    return hidden.plain(path.rpartition("/")[2]).endswith(".zst")


def unpack(data: bytes) -> tuple[bytes, str]:
    """Zstandard's content, whole or as far as it goes, and what is wrong with it."""
    whole: list[bytes] = []
    try:
        # in pieces, so that what comes before the damage is kept
        for piece in _unpacked(data[at : at + _PIECE] for at in range(0, len(data), _PIECE)):
            whole.append(piece)
    except Damaged as damage:
        return b"".join(whole), str(damage)
    return b"".join(whole), ""


class Damaged(ValueError):
    """A compressed file that cannot be read to its end. The text is for people."""


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    is_inside = False
    try:
        for piece in pieces:
            while piece:
                is_inside = True
                yield frame.decompress(piece)
                piece = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame, is_inside = zstandard.ZstdDecompressor().decompressobj(), False
    except zstandard.ZstdError as error:
        raise Damaged(f"cannot be unpacked: {error}") from None
    if is_inside:
        raise Damaged("the compressed file ends early")


def blocks(disk: Disk, path: str) -> Iterator[list[bytes]]:
    """The lines of a file without their newlines, some thousands at a time: an hour never stands in memory whole.

    Raises Damaged, and FileNotFoundError.
    """
    pieces = _pieces(disk, path)
    rest = b""
    for piece in _unpacked(pieces) if _is_packed(path) else pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield lines
    if rest:
        yield [rest]


def _pieces(disk: Disk, path: str) -> Iterator[bytes]:
    at = 0
    while piece := disk.read(path, at, _PIECE):
        yield piece
        at += len(piece)


_PIECE = 1 << 18
