"""What must hold after every history, and what must hold at every moment of it."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import msgspec

from bench.simulation.disk import Medium
from bench.simulation.market import Market
from procs.aggregator import Config as AggregatorConfig
from shared import paths
from shared.archive import unpack
from shared.bars import Bars
from shared.events import AggTrade, Bar, Batch, Feed, Quote, Rejected, Trade
from shared.lines import line
from shared.rebuild import LOOK_BACK

Row = dict[str, Any]
NOT_COMPARED = ("revision", "venue")


def at_this_moment(medium: Medium) -> list[str]:
    """A plain glob shows every bar at most once, and nothing that cannot be read under a final name."""
    faults = []
    seen: set[tuple[str, int]] = set()
    for path in sorted(medium.names):
        if not path.startswith("parquet/"):
            continue
        if not path.endswith((".parquet", ".tmp")):
            faults.append(f"{path}: no such name may stand there")
        elif path.endswith(".parquet"):
            found = medium.table(path)
            if found is None:
                faults.append(f"{path} cannot be read")
                continue
            table = found[0]
            for symbol, start in zip(table.column("symbol").to_pylist(), _starts(table), strict=True):
                if (symbol, start) in seen:
                    faults.append(f"{path}: bar {symbol} {start} stands twice")
                seen.add((symbol, start))
    return faults


def _starts(table: Any) -> list[int]:
    return [int(stamp) for stamp in table.column("window_start").cast("int64").to_pylist()]


def sequence(received: list[Batch]) -> list[str]:
    faults = []
    for one, other in itertools.pairwise(received):
        if other.first != one.last + 1:
            faults.append(f"journal: {other.first} follows {one.last}")
        if other.ts < one.ts:
            faults.append(f"journal: time goes back at {other.first}")
    return faults


def archive(medium: Medium, received: list[Batch], rotate_s: int) -> list[str]:
    """Every received record stands in the archive exactly once, in the file of its time."""
    expected: Counter[tuple[str, str]] = Counter()
    clocks: dict[tuple[str, str], str] = {}
    for batch in received:
        for event in batch.events:
            assert isinstance(event, Trade | Quote | AggTrade | Feed | Rejected)
            key = _folder(event), line(event)
            expected[key] += 1
            clocks[key] = paths.clock_name(event.ts, rotate_s)
    found: Counter[tuple[str, str]] = Counter()
    faults = []
    for path in medium.names:
        folder, _, name = path.rpartition("/")
        if not path.startswith(ARCHIVE):
            continue
        text, trouble = lines(medium, path)
        faults += [f"{path} {trouble}"] if trouble else []
        for one in text:
            found[folder, one] += 1
            if not clocks.get((folder, one), "").startswith(name.split("_")[1].split(".")[0]):
                faults.append(f"{path} is not the file of {one}")
    faults += [f"lost: {folder} {text}" for folder, text in (expected - found)]
    faults += [f"doubled or unexpected: {folder} {text}" for folder, text in (found - expected)]
    return faults


ARCHIVE = ("raw/", "feed/", "rejected/")


def lines(medium: Medium, path: str) -> tuple[list[str], str]:
    """The lines of a file of the archive, and what is wrong with it."""
    data = bytes(medium.names[path].data)
    data, trouble = unpack(data) if path.endswith(".zst") else (data, "")
    if data and not data.endswith(b"\n"):
        trouble = trouble or "ends in half a line"
    return data.decode().splitlines(keepends=True), trouble


def _folder(event: Trade | Quote | AggTrade | Feed | Rejected) -> str:
    date = paths.date_of(event.ts)
    if isinstance(event, Feed):
        return paths.feed_dir("binance", date)
    if isinstance(event, Rejected):
        return paths.rejected_dir("binance", date)
    return paths.raw_dir("binance", event.symbol, date)


def ids_once(received: list[Batch]) -> list[str]:
    seen = Counter((e.symbol, e.trade_id) for batch in received for e in batch.events if isinstance(e, Trade))
    return [f"trade {symbol} {one} was received {n} times" for (symbol, one), n in seen.items() if n > 1]


def ids_known(received: list[Batch], market: Market) -> list[str]:
    """From the first trade held on, every trade of the market is held, or listed as one that nobody has any more."""
    held: dict[str, set[int]] = defaultdict(set)
    for batch in received:
        for event in batch.events:
            if isinstance(event, Trade):
                held[event.symbol].add(event.trade_id)
    faults = []
    listed = _unhealable(received)
    for symbol, deals in market.deals.items():
        first = min(held[symbol], default=1 << 62)
        for deal in deals:
            if deal.trade_id >= first and deal.trade_id not in held[symbol] and (symbol, deal.trade_id) not in listed:
                faults.append(f"trade {symbol} {deal.trade_id} is neither held nor listed")
        strangers = held[symbol] - {deal.trade_id for deal in deals}
        faults += [f"trade {symbol} {one} never happened" for one in strangers]
    return faults


def _unhealable(received: list[Batch]) -> set[tuple[str, int]]:
    listed = set()
    for batch in received:
        for event in batch.events:
            if isinstance(event, Feed) and event.kind == "unhealable":
                first, last = event.detail["first_id"], event.detail["last_id"]
                listed |= {(symbol, one) for symbol in event.symbols for one in range(first, last + 1)}
    return listed


def unhealable_count(received: list[Batch]) -> int:
    return len(_unhealable(received))


def rows(medium: Medium) -> dict[tuple[str, int], Row]:
    found = {}
    for path in sorted(medium.names):
        if path.startswith("parquet/") and path.endswith(".parquet") and (got := medium.table(path)) is not None:
            for start, row in zip(_starts(got[0]), got[0].to_pylist(), strict=True):
                found[row["symbol"], start * 1000] = row
    return found


def _is_first(straight: dict[tuple[str, int], Bar], key: tuple[str, int]) -> bool:
    """Whether who makes this bar again finds nothing before it: how far is looked back has an end, and a bar before
    which nothing is known claims nothing.
    """
    symbol, start = key
    limit = paths.day_start(paths.date_of(start)) - LOOK_BACK * paths.HOUR
    return not any(one == symbol and limit <= other < start for one, other in straight)


def bars(
    medium: Medium,
    received: list[Batch],
    lateness_ns: int,
    sealed: dict[tuple[str, int], Bar] | None = None,
    was_cut: bool = False,
) -> list[str]:
    """The bars on disk are those of one uninterrupted run over the received records, and of a plain sum over them.

    `sealed` are those that the archive makes of the sealed hours: there they count, and where nothing came too late
    for the stream, they are the same. Where it `was_cut` loose, nothing is said of hours that are not.
    """
    on_disk = rows(medium)
    straight = _straight(received, lateness_ns)
    late = _too_late(received, lateness_ns)
    faults = []
    hours = {start // paths.HOUR for _, start in sealed or {}}
    expected = {key: bar for key, bar in straight.items() if key[1] // paths.HOUR not in hours} | (sealed or {})
    for key in sorted(on_disk.keys() | expected.keys()):
        row, bar = on_disk.get(key), expected.get(key)
        if was_cut and key[1] // paths.HOUR not in hours:
            continue
        if row is None or bar is None:
            faults.append(f"bar {key} is {'missing' if row is None else 'unexpected'}")
        elif wrong := _differ(bar, row):
            faults.append(f"bar {key} differs (on disk, expected): {wrong}")
    for key in sorted(key for key in straight if key[0] not in late and key[1] // paths.HOUR in hours):
        bar = expected.get(key)
        if bar is None or (wrong := _differ(straight[key], msgspec.structs.asdict(bar))):
            if bar is not None and wrong.keys() == {"is_complete"} and not bar.is_complete and _is_first(straight, key):
                continue
            faults.append(f"bar {key} is made otherwise from the archive: {wrong if bar else 'not at all'}")
    for key, sums in _plain(received).items():
        row = on_disk.get(key)
        if row is None and key[1] + paths.SECOND + lateness_ns > received[-1].ts:
            continue
        if sealed is not None and (was_cut or key[0] in late) and key[1] // paths.HOUR not in hours:
            continue  # counted when the hour is sealed
        if row is None:
            faults.append(f"bar {key} has trades and no row")
        elif wrong := {c: (row[c], value) for c, value in sums.items() if row[c] != value}:
            faults.append(f"bar {key} differs from its trades (on disk, expected): {wrong}")
    return faults


def _differ(bar: Bar, row: Row) -> Row:
    return {c: (row[c], getattr(bar, c)) for c in bar.__struct_fields__ if c not in _KEYS and row[c] != getattr(bar, c)}


def _too_late(received: list[Batch], lateness_ns: int) -> set[str]:
    """Symbols of which something came when its second could be changed no more."""
    within = {Trade: REVISE_NS, Quote: lateness_ns}
    return {
        event.symbol
        for batch in received
        for event in batch.events
        if isinstance(event, Trade | Quote) and batch.ts - event.ts > within[type(event)]
    }


REVISE_NS = AggregatorConfig().revise_s * paths.SECOND
_KEYS = ("symbol", "window_start", "revision")


def _straight(received: list[Batch], lateness_ns: int) -> dict[tuple[str, int], Bar]:
    machine = Bars(lateness_ns)
    found: dict[tuple[str, int], Bar] = {}
    for batch in received:
        machine.take(batch.events)
        given = machine.advance(batch.ts)
        for bar in given[1] if given else ():
            found[bar.symbol, bar.window_start] = bar
    return found


def _plain(received: Iterable[Batch]) -> dict[tuple[str, int], dict[str, Any]]:
    """Columns that follow from the trades alone, by other means than the product's."""
    trades: dict[tuple[str, int], list[Trade]] = defaultdict(list)
    for batch in received:
        for event in batch.events:
            if isinstance(event, Trade):
                trades[event.symbol, event.ts - event.ts % paths.SECOND].append(event)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for key, group in trades.items():
        group.sort(key=lambda trade: trade.trade_id)
        priced = [(Fraction(t.price), Fraction(t.qty), t) for t in group]
        volume, quote = sum(q for _, q, _ in priced), sum(p * q for p, q, _ in priced)
        buys = [(p, q) for p, q, t in priced if t.side == "buy"]
        found[key] = {
            "open": float(priced[0][0]),
            "close": float(priced[-1][0]),
            "high": float(max(p for p, _, _ in priced)),
            "low": float(min(p for p, _, _ in priced)),
            "volume_base": float(volume),
            "volume_quote": float(quote),
            "vwap": float(quote / volume),
            "trade_count": len(group),
            "buy_count": len(buys),
            "buy_volume_base": float(sum(q for _, q in buys)),
            "buy_volume_quote": float(sum(p * q for p, q in buys)),
            "first_trade_id": group[0].trade_id,
            "last_trade_id": group[-1].trade_id,
            "trade_id_sum": sum(t.trade_id for t in group),
        }
    return found


def tidy(medium: Medium) -> list[str]:
    """After a drained stop nothing is open or half done."""
    faults = [f"{path} was left behind" for path in medium.names if path.endswith(".tmp")]
    faults += [f"{path} is still open" for path in medium.names if path.rpartition("/")[2].startswith("open_")]
    return faults
