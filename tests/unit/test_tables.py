"""The columns that users rely on are the ones that travel."""

from __future__ import annotations

from shared import tables
from shared.clock import SystemClock
from shared.events import Bar


def test_a_bar_s_fields_are_its_columns_in_order_and_the_venue_comes_last() -> None:
    assert [name for name, _ in tables.BAR_COLUMNS] == [*Bar.__struct_fields__, "venue"]


def test_the_first_nine_keys_of_a_raw_line_stand_first() -> None:
    first = ["symbol", "ts_event", "ts_recv", "price", "qty", "side", "bid", "ask", "stream"]
    assert [name for name, _ in tables.RAW_COLUMNS][:9] == first


def test_both_clocks_count_nanoseconds() -> None:
    clock = SystemClock()
    before, after = clock.mono(), clock.mono()
    assert before <= after < before + 10**9
    assert clock.wall() > 1_700_000_000 * 10**9
