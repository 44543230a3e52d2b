"""Trades by windows of time, against plain fractions: the same numbers whatever the order, the pieces and the size."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from shared import kernels
from shared.tradesums import Digits, Sums, Trades, summed
from tests.fixtures.loops import loops as loops

Row = tuple[int, int, int, int, int]
"""ts, id, price, quantity, side: 7 for a buy."""
BUY = 7
DAY = 86_400 * 10**9
EIGHT = Digits(8, 8)


def a_market(chance: random.Random, price: int = 10**6, qty: int = 10**3, rows: int = 400) -> list[Row]:
    """Prices are multiples of one number, quantities of the other."""
    ts, one, found = chance.randrange(10**6) * 10**9, chance.randrange(10**10), []
    for _ in range(rows):
        ts += chance.choice((0, 1, 10**6, 3 * 10**8, 2 * 10**9))
        one += chance.choice((1, 1, 1, 5))
        at, size = chance.randrange(1, 9 * 10**6) * price, chance.randrange(10**5) * qty
        found.append((ts, one, at, size, chance.choice((BUY, 3))))
    return found


def pieces(rows: Sequence[Row], each: int, huge: bool = False) -> list[Trades]:
    number = object if huge else np.int64
    found = []
    for at in range(0, len(rows), each):
        ts, ids, price, qty, side = zip(*rows[at : at + each], strict=True)
        numbers = np.array(price, number), np.array(qty, number)
        found.append(Trades(np.array(ts), np.array(ids), *numbers, np.array(side, np.int32), BUY))
    return found


def plain(rows: Sequence[Row], width: int, digits: Digits) -> list[tuple[float, ...]]:
    """Of each id its first row counts."""
    windows: dict[int, list[Row]] = defaultdict(list)
    seen: set[int] = set()
    for row in rows:
        if row[1] not in seen:
            seen.add(row[1])
            windows[row[0] // width].append(row)
    found = []
    for window, inside in sorted(windows.items()):
        inside.sort(key=lambda row: row[1])
        ids = [row[1] for row in inside]
        prices = [Fraction(row[2], 10**digits.price) for row in inside]
        sizes = [Fraction(row[3], 10**digits.qty) for row in inside]
        bought = [size if row[4] == BUY else Fraction(0) for row, size in zip(inside, sizes, strict=True)]
        paid = [sum((p * q for p, q in zip(prices, some, strict=True)), Fraction(0)) for some in (sizes, bought)]
        whole = (window * width, len(ids), sum(row[4] == BUY for row in inside), ids[0], ids[-1], sum(ids))
        broken = (prices[0], max(prices), min(prices), prices[-1], sum(sizes), sum(bought), *paid)
        vwap = float(paid[0] / sum(sizes)) if sum(sizes) else math.nan
        found.append((*whole, *map(float, broken), vwap))
    return found


def rows_of(sums: Sums) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in sums), strict=True))


def processors() -> Iterator[None]:
    """Where eight rows can be taken at once the compiled loop is another one: with it and without."""
    library = kernels.loops
    for is_wide in range(2 if library and library.lake_is_wide() else 1):
        with pytest.MonkeyPatch.context() as patch:
            if library:
                patch.setattr(library, "lake_is_wide", lambda is_wide=is_wide: is_wide)
            yield


def check(rows: Sequence[Row], width: int = 10**9, digits: Digits = EIGHT, each: int = 37, huge: bool = False) -> None:
    given = pieces(rows, each, huge)
    expected = list(map(repr, plain(rows, width, digits)))  # as text, in which nothing is not the same as nothing
    for _ in processors():
        found = rows_of(summed(lambda: given, width, min(len(rows), DAY // width), digits))
        assert list(map(repr, found)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_windows_are_those_of_plain_fractions(seed: int) -> None:
    chance = random.Random(seed)
    rows = a_market(chance, 10 ** chance.randrange(7), 10 ** chance.randrange(7))
    for width, each in ((10**6, 400), (10**9, 1), (10**9, 37), (60 * 10**9, 100)):
        check(rows, width, each=each)
    check(rows, digits=Digits(chance.randrange(19), chance.randrange(19)))


@pytest.mark.parametrize("seed", range(20))
def test_neither_disorder_nor_repetition_changes_a_bit(seed: int) -> None:
    chance = random.Random(seed)
    rows = a_market(chance)
    again = chance.sample(rows, 40)
    later = [(ts + chance.choice((0, 10**9)), one, price + 10**6, qty, side) for ts, one, price, qty, side in again]
    # sorted by id as a tick file is, times of neighbours exchanged
    mixed = sorted(rows + later, key=lambda row: row[1])
    check(mixed)
    times = [row[0] for row in mixed]
    for at in chance.sample(range(len(mixed) - 1), 60):
        times[at], times[at + 1] = times[at + 1], times[at]
    check([(ts, *row[1:]) for ts, row in zip(times, mixed, strict=True)], each=50)


@pytest.mark.parametrize("power", [7, 17, 25, 33, 41, 49, 53, 56, 59])
def test_large_numbers_are_as_exact_as_small_ones(power: int) -> None:
    chance = random.Random(power)
    rows = [
        (ts, one, chance.randrange(1 << power), chance.randrange(1 << chance.randrange(1, power)), side)
        for ts, one, _, _, side in a_market(chance, rows=200)
    ]
    for width in (10**9, DAY):
        check(rows, width)
        check([(*row[:2], 10**7, row[3], row[4]) for row in rows], width)
        check([(*row[:3], 10**7, row[4]) for row in rows], width)
    check([(*row[:2], row[2] << 64, row[3] << 40, row[4]) for row in rows], huge=True)


def test_where_digits_appear_that_the_first_trades_had_not_nothing_is_cut() -> None:
    chance = random.Random(5)
    round_numbers, others = a_market(chance, 10**8, 10**8, 300), a_market(chance, 10**3, 1, 5)
    check([*round_numbers, *((10**16, 10**11 + at, *row[2:]) for at, row in enumerate(others))], each=100)


def test_sums_may_reach_any_size() -> None:
    most = (1 << 63) - 1
    for price, qty in ((most, most), (most, 1), (1, most), (1 << 53, 1), ((1 << 53) + 1, 1), (1, (1 << 53) + 1)):
        check([(5, one, price, qty, BUY) for one in range(1, 9)])
        check([(5, one, price, qty, BUY) for one in range(1, 9)], digits=Digits(18, 18))


def test_trades_that_come_to_nothing_have_no_average() -> None:
    check([(5, 1, 10**8, 0, BUY), (6, 2, 10**8, 0, 3)])
    check([(5, 1, 0, 10**8, BUY)])


def test_of_nothing_there_is_nothing() -> None:
    for given in ([], pieces([(5, 1, 2, 3, BUY)], 1)[:0]):
        assert rows_of(summed(lambda given=given: given, 10**9, 0, EIGHT)) == []  # type: ignore[misc]


def test_a_day_in_order_goes_through_the_compiled_loops(loops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if loops != "compiled":
        pytest.skip("there are none")
    monkeypatch.setattr("shared.tradesums._joined", lambda pieces: pytest.fail("all at once"))
    rows = a_market(random.Random(1))
    check(rows)
    assert kernels.loops is not None
