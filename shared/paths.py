"""Where everything lies in the lake: names that users rely on, built from parts that cannot lead elsewhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
DAY = 24 * HOUR
SEAL_AFTER = 120 * SECOND
"""An hour is sealed when a record's time is past its end by this much."""

_PLAIN = re.compile(r"[A-Z0-9]+")
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])")


def safe(symbol: str) -> str:
    """A symbol as a folder name: anything outside A-Z and 0-9 percent-encoded, and the first letter of names that
    Windows reserves.
    """
    if _PLAIN.fullmatch(symbol):
        return f"%{ord(symbol[0]):02X}{symbol[1:]}" if _RESERVED.fullmatch(symbol) else symbol
    return "".join(
        c if "A" <= c <= "Z" or "0" <= c <= "9" else "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogatepass"))
        for c in symbol
    )


def symbol_of(folder: str) -> str:
    """The symbol of a folder name made by `safe`."""
    return re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), folder.encode()).decode(
        "utf-8", "surrogatepass"
    )


def date_of(ts: int) -> str:
    """``YYYY-MM-DD`` of nanoseconds since the epoch."""
    return datetime.fromtimestamp(ts // SECOND, UTC).strftime("%Y-%m-%d")


def day_start(date: str) -> int:
    """Nanoseconds since the epoch at which a date begins. Raises ValueError where it is no date."""
    return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * SECOND


def hour_of(ts: int) -> int:
    """The hour of the day, 0 to 23."""
    return ts // HOUR % 24


def clock_name(ts: int, every_s: int = 60) -> str:
    """The part of a file name that says when it starts: ``1342``, or ``134205`` where files are shorter."""
    start = ts - ts % (every_s * SECOND)
    return datetime.fromtimestamp(start // SECOND, UTC).strftime("%H%M" if every_s % 60 == 0 else "%H%M%S")


def venue_dir(top: str, venue: str) -> str:
    """Of all that is held of a venue, below ``raw``, ``feed``, ``parquet`` and so on."""
    return f"{top}/{venue}"


def symbol_dir(top: str, venue: str, symbol: str) -> str:
    """Of all days of a symbol, below ``raw``, ``parquet`` and so on."""
    return f"{venue_dir(top, venue)}/{safe(symbol)}"


def raw_dir(venue: str, symbol: str, date: str) -> str:
    return f"{symbol_dir('raw', venue, symbol)}/{date}"


def feed_dir(venue: str, date: str) -> str:
    return f"feed/{venue}/{date}"


def rejected_dir(venue: str, date: str) -> str:
    return f"rejected/{venue}/{date}"


PARTITION = ("year=", "month=", "day=")
"""How the folders of open hours' bars begin, the one inside the other, below those of the symbols."""


def bars_dir(venue: str, symbol: str, date: str) -> str:
    """The folder of a day's bar files while it is open."""
    year, month, day = date.split("-")
    levels = (begin + number for begin, number in zip(PARTITION, (year, month, day), strict=True))
    return "/".join((symbol_dir("parquet", venue, symbol), *levels))


def bars_day(venue: str, symbol: str, date: str) -> str:
    return f"parquet/{venue}/{safe(symbol)}/{date}.parquet"


def tick_file(venue: str, symbol: str, kind: str, date: str) -> str:
    """`kind` is ``trades`` or ``quotes``."""
    return f"ticks/{venue}/{safe(symbol)}/{kind}/{date}.parquet"


def checksum_file(venue: str, symbol: str, date: str) -> str:
    return f"checksums/{venue}/{safe(symbol)}/{date}.sha256"


def manifest_file(venue: str, symbol: str, date: str) -> str:
    """What the compactor says of a closed day."""
    return f"{symbol_dir('checksums', venue, symbol)}/{date}.manifest.json"


def fetched_file(venue: str, symbol: str, date: str) -> str:
    """What was fetched afterwards of a day, and from where."""
    return f"{symbol_dir('checksums', venue, symbol)}/{date}.fetched.json"


def certificate(venue: str, symbol: str, date: str) -> str:
    return f"quality/{venue}/{safe(symbol)}/{date}.json"


def instruments_file(venue: str, date: str) -> str:
    return f"instruments/{venue}/{date}.parquet"


def journal_dir(stage: str, journal: str) -> str:
    """The folder of the segments that `stage` writes."""
    return f"journal/{stage}/{journal}"


def checkpoint_base(stage: str, journal: str) -> str:
    """The two checkpoint slots (``.0``, ``.1``) of `stage` for the journal it reads."""
    return f"journal/{stage}/ckpt-{journal}"


def beside_checkpoint(base: str, what: str) -> str:
    """Another file of the same stage and journal, such as its ``seals``."""
    return base.replace("/ckpt-", f"/{what}-")


def stage_lock(stage: str) -> str:
    return f"journal/{stage}/lock"


REBUILD_LOCK = stage_lock("rebuild")
"""Whoever leaves bars that were made again by hand in staging, or installs them, holds it."""

REQUESTS = "quality/requests"
"""Hours that the validator wants made again."""


def request_file(venue: str, symbol: str, date: str, hour: int) -> str:
    return f"{symbol_dir(REQUESTS, venue, symbol)}/{date}_{hour:02d}.json"
