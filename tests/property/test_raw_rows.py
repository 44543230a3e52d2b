"""A block of lines becomes the rows that its lines become one by one, or none of it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procs.compactor import rawrows
from procs.compactor.day import _events
from procs.compactor.ticks import Ticks
from shared.events import AggTrade, Quote, Trade
from shared.files import Files
from shared.lines import line, parse_line
from shared.numbers import MAX_CHARS
from shared.tickfiles import KINDS

counts = st.integers(0, 2**63 - 1)
maybe = st.none() | counts
numbers = st.decimals(0, 10**12, places=3, allow_nan=False).map(str) | st.sampled_from(["0", "1.10", "7.00000000"])
sides, words = st.sampled_from(["buy", "sell"]), st.sampled_from(["ws", "rest", "file"])
names = st.sampled_from(["SOLUSDT", "ÄÖ", "1000PEPE"])
trades = st.builds(
    Trade,
    names,
    counts,
    counts,
    maybe,
    counts,
    numbers,
    numbers,
    sides,
    counts,
    words,
    st.sampled_from([None, "MARKET"]),
)
quotes = st.builds(Quote, names, counts, maybe, maybe, counts, numbers, numbers, numbers, numbers, counts)
aggs = st.builds(AggTrade, names, counts, counts, maybe, counts, numbers, numbers, sides, counts, counts, counts, words)
plain = st.one_of(trades, quotes, aggs).map(lambda event: line(event).encode().rstrip(b"\n"))
odd = st.sampled_from([
    b"", b"   ", b"{", b"[]", b"null", b'{"a":1}', b"\xff", b'{"stream":"trade"}',
    b'{"stream":"other","symbol":"A","ts":1,"ts_recv":1}', b'{"price":' + 100_000 * b"[",
])  # fmt: skip
OLD = (
    b"12345",
    b'"buy"',
    b'"sell"',
    b"null",
    b":1",
    b"price",
    b"qty",
    b'"ts"',
    b"_id",
    b".",
    b"}",
    b"{",
    b"trade",
    b"bookTicker",
)
NEW = (b"", b"-1", b"1e5", b"null", b'"1"', b'"hold"', b"9223372036854775808", b"x", b"}{", b"1.2.3", b'"a":1,', b" ")


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    text = draw(plain)
    return text.replace(draw(st.sampled_from(OLD)), draw(st.sampled_from(NEW)), 1)


def one_by_one(lines: Sequence[bytes], at: Path) -> dict[str, pa.Table]:
    found = {}
    for kind in KINDS:
        ticks = Ticks(Files(at), kind)
        ticks.add(list(_events([*lines])))
        if ticks.rows:
            found[kind] = pa.concat_tables(ticks._waiting)
    return found


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@settings(deadline=None, max_examples=150)
@given(st.lists(plain, max_size=12))
def test_plain_lines_become_the_same_rows_at_once(at: Path, lines: list[bytes]) -> None:
    assert rawrows.tables(lines) == one_by_one(lines, at)


@settings(deadline=None, max_examples=150)
@given(st.lists(plain, max_size=3), mangled() | odd, st.lists(plain, max_size=3))
def test_of_a_line_that_is_none_nothing_comes_and_of_its_block_nothing_at_once(
    at: Path, before: list[bytes], strange: bytes, after: list[bytes]
) -> None:
    lines = [*before, strange, *after]
    try:
        parse_line(strange)
    except (ValueError, RecursionError):
        assert rawrows.tables(lines) is None
    else:
        assert rawrows.tables(lines) == one_by_one(lines, at)


TRADE = b'{"symbol":"A","ts":1,"ts_event":1,"ts_recv":1,"stream":"trade","price":1.5,"qty":2,"side":"buy","trade_id":7}'


@pytest.mark.parametrize(("old", "new", "is_plain"), [
    (b"1.5", b"1." + b"5" * (MAX_CHARS - 2), True),
    (b"1.5", b"1." + b"5" * MAX_CHARS, True),
    (b"1.5", b"1." + b"5" * (MAX_CHARS + 1), False),
    (b"1.5", b"-1.5", False),
    (b"1.5", b"15e-1", False),
    (b"1.5", b"null", False),
    (b'"buy"', b'"sell"', True),
    (b'"buy"', b'"hold"', False),
    (b'"buy"', b"null", False),
    (b'"trade_id":7', b'"agg_id":7', False),
    (b'"ts_event":1,', b"", False),
])  # fmt: skip
def test_one_line_that_is_none_among_others(at: Path, old: bytes, new: bytes, is_plain: bool) -> None:
    lines = [TRADE, TRADE.replace(old, new), TRADE]
    found = rawrows.tables(lines)
    assert found == one_by_one(lines, at) if is_plain else found is None
    assert sum(rows.num_rows for rows in one_by_one(lines, at).values()) == 2 + is_plain


def test_many_lines_go_in_portions(at: Path) -> None:
    lines = [
        line(Trade("A", n, n, n, n, "1.5", "2", "buy", n)).encode().rstrip() for n in range(2 * rawrows.TOGETHER + 1)
    ]
    assert rawrows.tables(lines) == one_by_one(lines, at)
    assert rawrows.tables([*lines, b"{}"]) is None


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=20), min_size=1, max_size=8))
def test_ids_that_come_again_are_counted(at: Path, blocks: list[list[int]]) -> None:
    ticks, held, repeated = Ticks(Files(at), "trades"), set[int](), 0
    for ids in blocks:
        ticks.add([Trade("A", 1, 1, 1, 1, "1", "1", "buy", one) for one in ids])
        repeated += len(ids) - len({*ids} - held)
        held |= {*ids}
    assert ticks.facts["repeated"] == repeated
    missing = {one for first, last in ticks.facts["missing"] for one in range(first, last + 1)}
    assert missing == {*range(min(held), max(held) + 1)} - held
