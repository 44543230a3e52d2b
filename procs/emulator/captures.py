"""Recordings on disk: opened whatever they are packed with, and put in one order of receipt."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from procs.emulator.recording import Recording, capture, lake, market_of
from procs.emulator.tape import Event, Market

_RAW_LINE = b'{"symbol":'


def load(paths: list[Path], market: Market | None = None) -> Recording:
    """One recording of all these files, and of the files of these folders. Raises ValueError if no frame is in them."""
    events: list[Event] = []
    raw: list[Path] = []
    for path in _files(paths):
        with _open(path) as lines:
            if _is_raw(lines):
                raw.append(path)
                continue
        with _open(path) as lines:
            events += capture(lines)
    events += lake(_lines(raw))
    if not events:
        raise ValueError(f"no frame of a trade, aggTrade or bookTicker stream in {', '.join(map(str, paths))}")
    events.sort(key=lambda event: event.at_us)  # stable: what came at once stays in the order it was written
    return Recording(events, market or market_of(events))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith((".", "feed")))
        else:
            yield path


def _lines(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with _open(path) as lines:
            yield from lines


def _is_raw(lines: io.BufferedIOBase) -> bool:
    return lines.read(len(_RAW_LINE)) == _RAW_LINE


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        import zstandard  # not needed for a capture, and not by the demo

        return io.BufferedReader(zstandard.open(path, "rb"))
    return path.open("rb")
