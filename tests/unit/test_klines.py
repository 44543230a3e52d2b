"""Our bars against the venue's: what is equal, what differs, and the likely reason."""

from __future__ import annotations

from typing import Any

import pytest

from shared.klines import compare
from shared.venues import Kline

SECOND = 1_000_000_000


def row(first_id: int, count: int = 2, **more: Any) -> dict[str, Any]:
    made = {
        "open": 10.0, "high": 12.0, "low": 9.5, "close": 11.0, "volume_base": 3.5, "volume_quote": 37.25,
        "buy_volume_base": 1.5, "buy_volume_quote": 16.0, "trade_count": count, "first_trade_id": first_id,
    }  # fmt: skip
    return {**made, **more}


def kline(second: int, **more: Any) -> Kline:
    made = {
        "open": "10.00000000", "high": "12.00000000", "low": "9.50000000", "close": "11.00000000",
        "volume_base": "3.50000000", "volume_quote": "37.25000000", "trade_count": 2, "buy_volume_base": "1.50000000",
        "buy_volume_quote": "16.00000000",
    }  # fmt: skip
    return Kline(second * SECOND, **{**made, **more})


def empty(second: int) -> Kline:
    nothing = dict.fromkeys(("volume_base", "volume_quote", "buy_volume_base", "buy_volume_quote"), "0.00000000")
    return kline(second, trade_count=0, **nothing)


def reasons(rows: dict[int, Any], klines: list[Kline], missing: Any = (), step: int = 1) -> list[tuple[int, str]]:
    placed = {second * SECOND: one for second, one in rows.items()}
    _, found = compare(placed, klines, step, 0, 120 * SECOND, missing)
    return [(one.ts // SECOND, one.reason) for one in found]


def test_equal_bars_are_equal_whatever_zeros_the_venue_writes() -> None:
    found = compare({SECOND: row(5)}, [kline(1), empty(2)], 1, 0, 60 * SECOND, [])
    assert found == (2, [])


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume_base", "buy_volume_base"])
def test_a_difference_in_the_last_digit_is_seen_with_both_rows(column: str) -> None:
    theirs = kline(1, **{column: "10.12345679"})
    ours = {**row(5), column: 10.12345678}
    compared, found = compare({SECOND: ours}, [theirs], 1, 0, 60 * SECOND, [])
    assert (compared, found[0].columns, found[0].ts) == (1, [column], SECOND)
    assert float(found[0].ours[column]) == 10.12345678 and found[0].venue[column] == "10.12345679"
    assert "either our archive or the venue's bar is wrong" in found[0].reason


def test_quote_volumes_may_be_cut_off_after_eight_digits() -> None:
    assert reasons({1: row(5, volume_quote=37.123456789)}, [kline(1, volume_quote="37.12345678")]) == []
    found = reasons({1: row(5, volume_quote=37.1234568)}, [kline(1, volume_quote="37.12345678")])
    assert found == [(1, "the same trades, summed up with fewer digits")]


def test_minutes_are_their_seconds() -> None:
    rows = {3: row(5, open=10.0, volume_base=0.1), 40: row(7, close=9.75, high=13.0, volume_base=0.2)}
    minute = kline(
        0, close="9.75", high="13", volume_base="0.3", volume_quote="74.5", trade_count=4, buy_volume_base="3",
        buy_volume_quote="32",
    )  # fmt: skip
    assert reasons(rows, [minute], step=60) == []


def test_missing_ids_are_the_reason_where_they_can_have_been() -> None:
    rows = {1: row(5), 4: row(9), 9: row(20)}
    klines = [kline(1), kline(2), kline(4), kline(7), kline(9)]
    assert reasons(rows, klines, [(7, 8)]) == [
        (2, "trades are missing here: ids 7 to 8"),
        (7, "the venue's bar counts trades whose ids were never seen"),
    ]


def test_the_other_reasons() -> None:
    assert reasons({1: row(5)}, []) == [(1, "the venue has no bar here")]
    assert reasons({1: row(5, count=3)}, [kline(1)]) == [
        (1, "the venue's bar lacks trades that it sent: made before all of them were in")
    ]
    edge = "a trade at the edge of two bars, which the venue counts to the other one"
    assert reasons({1: row(5, count=3), 2: row(8, count=1)}, [kline(1), kline(2)]) == [(1, edge), (2, edge)]


def test_what_lies_outside_the_record_is_not_compared() -> None:
    assert compare({SECOND: row(1)}, [kline(0), kline(1), kline(2)], 1, 2 * SECOND, 3 * SECOND, [])[0] == 1
