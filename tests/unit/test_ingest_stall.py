"""A process that stood still: what waited in its sockets was sent meanwhile, and no bar may close before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.desk import Desk, S


@pytest.mark.parametrize("first", ["turn", "frames"])
def test_no_record_runs_ahead_of_what_waited_in_the_socket(tmp_path: Path, first: str) -> None:
    desk = Desk(tmp_path)
    desk.run(0.2)
    desk.bring(*desk.market.trade(), desk.market.quote(1))
    desk.run(0.2)
    stopped = desk.venue_now
    desk.pass_time(6 * S)
    waiting = [
        (desk.market.frame("SOLUSDT", 1001 + second, stopped + second * S), desk.market.quote(2 + second))
        for second in range(6)
    ]
    if first == "turn":
        desk.turn()
    for trade, quote in waiting:  # one read of the socket after the other, each with its record
        desk.bring(trade, quote)
    for earlier in desk.batches():
        assert all(getattr(event, "ts", 0) >= earlier.ts - 2 * S for event in earlier.events), (
            "late at the moment it is written"
        )
    quotes = desk.quotes[1:]
    assert [round((quote.ts - stopped) / S) for quote in quotes] == [0, 1, 2, 3, 4, 5]
    desk.run(1.5)
    assert desk.batches()[-1].ts > stopped + 7 * S, "time goes on"
