"""What must hold of the hours that are sealed and of the days that are over, once compactor and validator have run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from bench.simulation.disk import Medium, SimDisk
from bench.simulation.errands import PIPELINE, ErrandPart
from shared import archive, paths
from shared.barstore import bar_hours
from shared.events import Bar, Batch, Quote, Trade
from shared.rebuild import Rebuild
from shared.sealing import Reached, reached

ROUNDS = 4
"""In so many runs of each, what the validator asks for is done."""
KINDS: dict[str, type[Trade] | type[Quote]] = {"trades": Trade, "quotes": Quote}


def tend(medium: Medium, compactor: ErrandPart, validator: ErrandPart) -> list[str]:
    """Both, one after the other, until nothing is asked for any more; then both find nothing to do."""
    for _ in range(ROUNDS):
        compactor.run()
        validator.run()
        if not _asked(medium):
            break
    before = _all_but_quality(medium)
    compactor.run()
    faults = compactor.faults + validator.faults
    if not faults and _all_but_quality(medium) != before:
        changed = {path for path, data in _all_but_quality(medium).items() if before.get(path) != data}
        faults.append(f"the compactor finds something to do again: {sorted(changed)[:4]}")
    if _asked(medium):
        faults.append(f"the validator asks on and on for {_asked(medium)}")
    return faults + _judged(medium)


def _asked(medium: Medium) -> list[str]:
    return sorted(path for path in medium.names if path.startswith(paths.REQUESTS))


def _all_but_quality(medium: Medium) -> dict[str, bytes]:
    return {path: bytes(node.data) for path, node in medium.names.items() if not path.startswith("quality/")}


def _judged(medium: Medium) -> list[str]:
    """What certificates find wrong. That trades are missing is no fault where the venue has them no more."""
    faults = []
    for path in sorted(medium.names):
        if path.startswith("quality/binance/"):
            said: dict[str, Any] = msgspec.json.decode(bytes(medium.names[path].data))
            # What is held against bars of an hour that is not sealed is mended when it is.
            excused = ("missing", "differ from the archive") if not said["is_over"] else ("missing",)
            wrong = [what for what in said["wrong"] if not what.endswith(excused)]
            if said["trades_missing"] != said["unhealable"]:
                wrong.append(f"{said['trades_missing']} trades missing, {said['unhealable']} given up")
            faults += [f"{path}: {what}: {_details(said)}" for what in wrong]
    return faults


def _details(said: dict[str, Any]) -> str:
    return f"{said['bars_checked']['differ'][:3]} {said['problems'][:3]} {said['ids']['missing'][:3]}"


def at(medium: Medium) -> Reached:
    return reached(SimDisk(medium), PIPELINE).get("binance", Reached())


def bars(medium: Medium) -> dict[tuple[str, int], Bar]:
    """What the archive makes of every hour that is sealed."""
    disk, reach = SimDisk(medium), at(medium)
    found: dict[tuple[str, int], Bar] = {}
    for venue, symbol in archive.symbols(disk):
        for date in archive.dates(disk, paths.symbol_dir("raw", venue, symbol)):
            ends = {hour: paths.day_start(date) + (hour + 1) * paths.HOUR for hour in range(24)}
            hours = [hour for hour, end in ends.items() if reach.archive_sealed(end) and reach.bars_sealed(end)]
            for some in Rebuild(disk, venue, symbol).hours(date, hours):
                found |= {(symbol, bar.window_start): bar for bar in some}
    return found


def sealed(medium: Medium) -> list[str]:
    """Every sealed hour is one file, every sealed day is closed, and nothing is half done."""
    disk, reach = SimDisk(medium), at(medium)
    faults = [f"{path} was left" for path in medium.names if path.startswith("journal/compactor/")]
    for folder in sorted({path.rpartition("/")[0] for path in medium.names if path.startswith(("raw/", "feed/"))}):
        date = folder.rpartition("/")[2]
        for part in archive.parts(disk, folder):
            end = paths.day_start(date) + (part.hour + 1) * paths.HOUR
            if reach.archive_sealed(end) and not part.name.endswith(".zst"):
                faults.append(f"{folder}/{part.name} is not folded")
    for venue, symbol in archive.symbols(disk):
        for date in archive.dates(disk, paths.symbol_dir("raw", venue, symbol)):
            hours = bar_hours(disk, paths.bars_dir(venue, symbol, date))
            for hour, names in hours.items():
                end = paths.day_start(date) + (hour + 1) * paths.HOUR
                if reach.bars_sealed(end) and len(names) > 1:
                    faults.append(f"{symbol} {date} {hour}: {names} are not folded")
            end = paths.day_start(date) + paths.DAY
            if reach.archive_sealed(end) and reach.bars_sealed(end):
                is_closed = disk.size(paths.checksum_file(venue, symbol, date)) is not None
                faults += [] if is_closed and not hours else [f"{symbol} {date} is not closed"]
    return faults


def days(medium: Medium, received: list[Batch]) -> list[str]:
    """The ticks of a closed day are what was received, and its checksums those of its files."""
    faults = []
    events = [event for batch in received for event in batch.events]
    for path in sorted(medium.names):
        if not path.startswith("checksums/") or not path.endswith(".sha256"):
            continue
        for text in bytes(medium.names[path].data).decode().splitlines():
            digest, _, name = text.partition("  ")
            node = medium.names.get(name)
            if node is None or hashlib.sha256(bytes(node.data)).hexdigest() != digest:
                faults.append(f"{path}: {name} is not as it says")
        symbol, date = path.split("/")[2], path.rpartition("/")[2].removesuffix(".sha256")
        for kind, event in KINDS.items():
            of_kind: list[Trade | Quote] = [e for e in events if isinstance(e, event)]
            want = [e for e in of_kind if e.symbol == symbol and paths.date_of(e.ts) == date]
            faults += _ticks(medium, paths.tick_file("binance", symbol, kind, date), want)
    return faults


def _ticks(medium: Medium, path: str, want: list[Trade | Quote]) -> list[str]:
    found = medium.table(path)
    if found is None:
        return [f"{path} is not there"]
    rows = Counter(_values(row.get, row["ts_recv"].value) for row in found[0].to_pylist())
    expected = Counter(_values(partial(getattr, event), event.ts_recv) for event in want)
    faults = [f"{path}: lost {values}" for values in expected - rows]
    return faults + [f"{path}: doubled or unexpected {values}" for values in rows - expected]


def _values(get: Callable[..., Any], ts_recv: int) -> tuple[Any, ...]:
    numbers = (get(name, None) for name in ("price", "qty", "bid", "ask", "bid_qty", "ask_qty"))
    exact = (None if number is None else Decimal(number).normalize() for number in numbers)
    return ts_recv, *exact, *(get(name, None) for name in ("side", "trade_id", "update_id"))
