"""The venue's own bars as its stream sent them, kept beside ingest's journal for the validator to compare with.

    journal/<stage>/klines-<venue>/<SYMBOL>/<date>.jsonl
    [1760918400000000000,"187.41","187.43","187.41","187.42","31.2","5847.1",17,"12.0","2249.0"]

A line is a closed bar, the fields of :class:`shared.venues.Kline` in their order. They are a check and no record: only
the newest days are kept, and where there is no line, nothing is known of what the venue says.
"""

from __future__ import annotations

import msgspec

from shared.files import Disk
from shared.paths import date_of, safe
from shared.venues import Digits, Kline, Reject

_Row = tuple[int, str, str, str, str, str, str, int, str, str]
_rows = msgspec.json.Decoder(_Row)


def folder(stage: str, venue: str, symbol: str) -> str:
    """Of one symbol's days; `stage` is the source that hears them."""
    return f"journal/{stage}/klines-{venue}/{safe(symbol)}"


def line(kline: Kline) -> bytes:
    return msgspec.json.encode(msgspec.structs.astuple(kline)) + b"\n"


def live_klines(disk: Disk, venue: str, symbol: str, date: str) -> list[Kline]:
    """The bars of a day that the stream brought, in order, each once. Lines that cannot be read are left out."""
    digits = Digits()
    found: dict[int, Kline] = {}
    for stage in disk.list("journal"):
        try:
            data = disk.read(f"{folder(stage, venue, symbol)}/{date}.jsonl")
        except FileNotFoundError:
            continue
        for text in data.split(b"\n"):
            kline = _parse(text, digits)
            if kline is not None and date_of(kline.start) == date:
                found[kline.start] = kline
    return [found[start] for start in sorted(found)]


def _parse(text: bytes, digits: Digits) -> Kline | None:
    try:
        kline = Kline(*_rows.decode(text))
        for part in msgspec.structs.astuple(kline):
            if isinstance(part, str):
                digits.check(part, "price or volume")
    except (msgspec.DecodeError, Reject, RecursionError, UnicodeDecodeError):
        return None
    return kline if kline.trade_count >= 0 and 0 <= kline.start < 1 << 62 else None
