"""Lines made of columns are the lines of the same events, byte for byte; so are the files and what is remembered."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from procs.archiver import Archiver, Config
from shared import kernels, linecolumns, linegroups, paths
from shared.events import BUY, QUOTE, SELL, Batch, Columns
from shared.files import Files
from shared.ids import Ids
from shared.lines import line
from shared.runner import Context
from tests.columns import columns_of
from tests.fixtures.loops import loops as loops

MIDNIGHT = paths.day_start("2025-10-21")
MINUTE, MOST = paths.MINUTE, 2**63 - 1
NAMES = [
    "SOLUSDT",
    "BTCUSDT",
    "1000SATSUSDT",
    'A"B',
    "A\\\n",
    "币安人生USDT",
    "\x1b[2J",
    "",
    "7000000000000000100",
    "7000000000000000100.0",
]
LONG = "A" * 300

edges = sorted({n for k in range(19) for n in (10**k - 1, 10**k, 10**k + 1)} | {99, MOST - 1, MOST})
numbers = st.sampled_from(edges) | st.integers(0, 10**13) | st.integers(0, MOST)
times = st.integers(MIDNIGHT - 2 * MINUTE, MIDNIGHT + 2 * MINUTE) | st.sampled_from(
    [MIDNIGHT - 1, MIDNIGHT, 10**18, MOST]
)
shorter_times = st.sampled_from([edge for edge in edges if edge >= 10**8]) | st.integers(10**8, 10**12)
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True)

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def int64(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


@st.composite
def columns(
    draw: Callable[..., object],
    times: st.SearchStrategy[int] = times,
    most: int = 30,
    names: st.SearchStrategy[list[str]] = names,
) -> Columns:
    def some(what: st.SearchStrategy[int], count: int) -> list[int]:
        return draw(st.lists(what, min_size=count, max_size=count))  # type: ignore[return-value]

    symbols: list[str] = draw(names)  # type: ignore[assignment]
    kinds: list[int] = draw(st.lists(st.sampled_from([BUY, SELL, QUOTE]), max_size=most))  # type: ignore[assignment]
    count, quotes = len(kinds), kinds.count(QUOTE)
    ids = numbers | st.integers(1000, 1010)
    digits: int = draw(st.integers(1, 18))  # type: ignore[assignment]
    lacks = st.sampled_from([0, min(digits, 15)]) | st.integers(0, min(digits, 15))
    short = [sum(one << 4 * at for at, one in enumerate(some(lacks, 4 if kind == QUOTE else 2))) for kind in kinds]
    return Columns(
        symbols=symbols,
        digits=digits,
        kinds=bytes(kinds),
        symbol=struct.pack(f"<{count}H", *some(st.integers(0, len(symbols) - 1), count)),
        ts=int64(some(times, count)),
        ts_recv=int64(some(times, count)),
        ids=int64(some(ids, count)),
        price=int64(some(numbers, count)),
        qty=int64(some(numbers, count)),
        ask=int64(some(numbers, quotes)),
        ask_qty=int64(some(numbers, quotes)),
        ts_sent=int64(some(times, count - quotes)),
        short=struct.pack(f"<{count}H", *short) if draw(st.booleans()) else b"",
    )


def expected(columns: Columns, every: int) -> list[tuple[str, int, str]]:
    found: dict[tuple[str, int], str] = {}
    for event in columns:
        key = event.symbol, event.ts - event.ts % every
        found[key] = found.get(key, "") + line(event)
    return [(*key, text) for key, text in found.items()]


MAKER: list[linegroups.LineGroups] = []
"""One for all tests: what one batch leaves in its memory is no fault of the next."""


def made(columns: Columns, every: int) -> linegroups.Made | None:
    if not MAKER:
        MAKER.append(linegroups.LineGroups())
    return MAKER[0].of(columns, every)


def found(columns: Columns, every: int, most: int) -> list[tuple[str, int, str]] | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linecolumns, "MOST_ROWS", most)
        one = made(columns, every)
    return None if one is None else [(symbol, start, bytes(data).decode()) for symbol, start, data in one.groups]


intervals = st.sampled_from([paths.SECOND, MINUTE, paths.HOUR])
mosts = st.sampled_from([1, 2, 7, 8192])


@settings(SLOW, max_examples=100)
@given(columns() | columns(times=shorter_times), intervals, mosts)
def test_lines_made_of_columns_are_those_of_the_single_events(columns: Columns, every: int, most: int) -> None:
    assert found(columns, every, most) == expected(columns, every)


@settings(SLOW, max_examples=60)
@given(columns(times=numbers) | columns(names=st.permutations([*NAMES, LONG])), intervals, mosts)
def test_times_and_symbols_of_any_length_are_right_or_left_to_the_plain_way(
    columns: Columns, every: int, most: int
) -> None:
    assert found(columns, every, most) in (None, expected(columns, every))


@pytest.mark.parametrize("digits", range(1, 19))
def test_every_length_of_a_number_stands_beside_every_other(digits: int) -> None:
    count = len(edges)
    ids, shifted = int64(edges), int64(edges[7:] + edges[:7])
    for kind in (BUY, SELL, QUOTE):
        quotes = b"" if kind != QUOTE else shifted
        one = Columns(
            NAMES, digits, bytes((kind,)) * count, struct.pack(f"<{count}H", *(at % len(NAMES) for at in range(count))),
            int64([MIDNIGHT] * count), int64([MIDNIGHT] * count), ids, ids, shifted, quotes, quotes,
            b"" if kind == QUOTE else int64([MIDNIGHT] * count),
        )  # fmt: skip
        assert found(one, MINUTE, 8192) == expected(one, MINUTE)


@pytest.mark.parametrize("kind", [BUY, QUOTE])
def test_a_symbol_that_is_not_named_is_an_error_and_no_look_beyond_the_names(
    kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels.loops is not None:
        monkeypatch.setattr(kernels.loops, "lake_lines", lambda *_: pytest.fail("it looked"))
    one, quotes = int64([1]), int64([1] * (kind == QUOTE))
    sent = int64([1] * (kind != QUOTE))
    columns = Columns(["SOLUSDT"], 8, bytes((kind,)), b"\1\0", one, one, one, one, one, quotes, quotes, sent)
    with pytest.raises(IndexError):
        made(columns, MINUTE)


@settings(SLOW, max_examples=60)
@given(columns())
def test_runs_of_trade_ids_are_all_trade_ids_in_the_order_of_their_symbols(columns: Columns) -> None:
    single: dict[str, Ids] = {}
    for event, kind in zip(columns, columns.kinds, strict=True):
        if kind != QUOTE:
            single.setdefault(event.symbol, Ids()).add(event.trade_id)  # type: ignore[union-attr]
    runs: dict[str, Ids] = {}
    one = made(columns, MINUTE)
    assert one is not None
    for symbol, first, last in one.runs:
        runs.setdefault(symbol, Ids()).add_range(first, last)
    assert (runs, list(runs)) == (single, list(single))


@settings(SLOW, max_examples=60)
@given(columns(), intervals, st.integers(0, 5))
def test_with_more_files_than_there_is_room_for_events_go_singly(columns: Columns, every: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linegroups, "MOST_GROUPS", most)
        one = linegroups.LineGroups().of(columns, every)
    whole = expected(columns, every)
    is_too_many = kernels.loops is not None and len(whole) > most
    assert (one is None) == is_too_many
    if one is not None:
        assert [(symbol, start, bytes(data).decode()) for symbol, start, data in one.groups] == whole


@pytest.mark.parametrize("column", ["ts", "ts_recv", "ids", "price", "qty", "ask", "ask_qty", "ts_sent"])
def test_a_number_below_zero_is_left_to_the_plain_way(column: str) -> None:
    given = {name: int64([5, 5, 5]) for name in ("ts", "ts_recv", "ids", "price", "qty")}
    given |= {"ask": int64([5]), "ask_qty": int64([5]), "ts_sent": int64([5, 5])}
    size = len(given[column]) // 8
    given[column] = int64([5] * (size - 1) + [-1])
    columns = Columns(["SOLUSDT"], 8, bytes((BUY, QUOTE, SELL)), bytes(6), **given)
    assert made(columns, MINUTE) is None


def kept(batches: Sequence[tuple[Columns, bool, bool]], as_columns: bool) -> tuple[dict[str, bytes], dict[str, int]]:
    """Every file of an archiver that took these events, at every commit and at the end, and what it counted."""
    with TemporaryDirectory() as folder:
        disk, at, ts = Files(Path(folder)), 1, 0
        files: dict[str, bytes] = {}

        def started() -> Archiver:
            stage = Archiver(Context("archive", "binance", "binance", disk), Config(rotate_every_s=60))
            stage.open()
            return stage

        stage = started()
        for number, (columns, is_again, is_plain) in enumerate(batches):
            ts = max([ts, *(event.ts for event in columns)])
            batch = Batch(at, ts, columns if as_columns and not is_plain else list(columns))
            assert list(stage.handle(batch)) == []
            at = batch.last + 1
            if is_again:
                stage.commit()
                files |= {f"{number}: {path}": data for path, data in contents(folder).items()}
                stage = started()
        stage.commit(final=True)
        counters = {name: count for name, count in stage.counters.items() if name != "redone"}
        return files | contents(folder), counters


def contents(folder: str) -> dict[str, bytes]:
    found = Path(folder).rglob("*")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.is_file()}


archived = st.lists(st.tuples(columns(most=12), st.booleans(), st.booleans()), max_size=4)


@settings(SLOW, max_examples=40)
@given(archived)
def test_columns_leave_the_files_and_the_checkpoint_of_the_single_events(
    batches: list[tuple[Columns, bool, bool]],
) -> None:
    batches = [(columns, again, plain) for columns, again, plain in batches if "" not in columns.symbols]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda fd: None)
        assert kept(batches, as_columns=True) == kept(batches, as_columns=False)


@settings(SLOW, max_examples=40)
@example(columns_of([]))
@given(columns(most=5))
def test_columns_of_the_events_of_columns_are_the_same(columns: Columns) -> None:
    events = list(columns)
    assert list(columns_of(events, columns.digits)) == events
