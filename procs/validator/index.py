"""``quality/days.parquet``: a row for each symbol and day, so that research can ask for those it can rely on.

SELECT … FROM bars_1s JOIN days USING (venue, symbol, date) WHERE verdict = 'complete'

A day that is not over is never complete: what was observed of it says ``so_far``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date as Date
from typing import Any

import msgspec
import pyarrow as pa
from loguru import logger

from procs.validator.account import letters
from shared import archive, paths, quality
from shared.files import TMP, Disk

PATH = "quality/days.parquet"
VERSION = "3"
SCHEMA = pa.schema(
    [
        ("venue", pa.string()),
        ("symbol", pa.string()),
        ("date", pa.date32()),
        ("verdict", pa.string()),
        ("is_over", pa.bool_()),
        ("is_provisional", pa.bool_()),
        ("issue", pa.int32()),
        ("trades", pa.int64()),
        ("missing", pa.int64()),
        ("healed", pa.int64()),
        ("unhealable", pa.int64()),
        ("quotes", pa.int64()),
        ("bars", pa.int64()),
        ("bars_differ", pa.int64()),
        ("klines_compared", pa.int64()),
        ("klines_different", pa.int64()),
        ("first_id", pa.int64()),
        ("last_id", pa.int64()),
        ("seconds_with_trades", pa.int32()),
        ("seconds_proven_empty", pa.int32()),
        ("seconds_unknown", pa.int32()),
        ("seconds_outside", pa.int32()),
        ("quotes_live_share", pa.float64()),
        ("outages", pa.int32()),
        ("wrong", pa.string()),
        ("notes", pa.string()),
        ("hours", pa.string()),
        ("certificate", pa.string()),
        ("certificate_sha256", pa.string()),
        ("so_far", pa.string()),
    ]
)
"""A day and what its certificate says; ``hours`` has a letter for each hour, ``certificate`` is its path."""


def update(disk: Disk, judged: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """The rows of all certificates there are, in order; those `judged` now, or unknown so far, are read anew."""
    anew = set(judged)
    known = {} if _version(disk) != VERSION else {_key(row): row for row in disk.read_table(PATH).to_pylist()}
    rows = []
    for key in certified(disk):
        row = known.get(key)
        if row is None or key in anew:
            row = _row(disk, *key)
        if row is not None:
            rows.append(row)
    if rows != list(known.values()) or _version(disk) != VERSION:
        _write(disk, rows)
    return rows


def certified(disk: Disk) -> list[tuple[str, str, str]]:
    """Venue, symbol and date of every certificate."""
    return [
        (venue, paths.symbol_of(folder), name.removesuffix(".json"))
        for venue in disk.list("quality")
        if venue not in ("hours", "requests")
        for folder in disk.list(f"quality/{venue}")
        for name in disk.list(f"quality/{venue}/{folder}")
        if name.endswith(".json") and archive.is_date(name.removesuffix(".json"))
    ]


def _version(disk: Disk) -> str | None:
    found = disk.table_meta(PATH)
    return None if found is None else found[1].get("index")


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["venue"], row["symbol"], row["date"].isoformat()


def _row(disk: Disk, venue: str, symbol: str, date: str) -> dict[str, Any] | None:
    path = paths.certificate(venue, symbol, date)
    try:
        data = disk.read(path)
        said = msgspec.json.decode(data, type=dict[str, Any])
        row = _of(said)
    except (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None  # of another version, or none: it is judged again when it is due
    return {
        "venue": venue,
        "symbol": symbol,
        "date": Date.fromisoformat(date),
        **row,
        "certificate": path,
        "certificate_sha256": hashlib.sha256(data).hexdigest(),
    }


def _of(said: dict[str, Any]) -> dict[str, Any]:
    seconds, ids, aggregates = said["seconds"], said["ids"], said["agg_trades"]
    return {
        "verdict": said["verdict"] if said["is_over"] else quality.of_open_day(said["verdict"]),
        "is_over": said["is_over"],
        "is_provisional": said["is_provisional"],
        "issue": said["issue"],
        "trades": said["trades"],
        "missing": said["trades_missing"] + said["aggregates_missing"],
        "healed": said["healed"],
        "unhealable": said["unhealable"],
        "quotes": said["quotes"],
        "bars": said["bars"],
        "bars_differ": said["bars_differ"],
        "klines_compared": said["klines"].get("compared", 0),
        "klines_different": said["klines"].get("different", 0),
        "first_id": aggregates["first"] if ids["first"] is None else ids["first"],
        "last_id": aggregates["last"] if ids["last"] is None else ids["last"],
        "seconds_with_trades": seconds["with_trades"],
        "seconds_proven_empty": seconds["proven_empty"],
        "seconds_unknown": seconds["unknown"],
        "seconds_outside": seconds["outside"],
        "quotes_live_share": said["quotes_live"]["share"],
        "outages": len(said["outages"]),
        "wrong": "; ".join(said["wrong"]),
        "notes": "; ".join(said["notes"]),
        "hours": letters(said["hours"]),
        "so_far": said.get("so_far", said["verdict"]),
    }


def _write(disk: Disk, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    disk.write_table(PATH + TMP, table, compression="zstd", metadata={"index": VERSION})
    try:
        disk.replace(PATH + TMP, PATH)
    except PermissionError as error:  # held open by a reader (Windows)
        logger.warning(f"{error}; written at the next run")
