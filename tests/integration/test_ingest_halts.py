"""A recorded market that is halted for fifteen minutes, and the same market behind a feed that froze: at a desk.

The recording's frames come byte for byte but for their times, which are moved; a halt leaves no ids out, so none was
lost. LAKE_REAL_DATA names the recordings' folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.bars import Bars
from shared.events import Bar, Quote, Trade
from shared.rest import Unreachable
from tests.fixtures.captures import frames
from tests.fixtures.desk import START, Desk, S

SYMBOL = "ETHUSDT"
MS = 1_000_000
LENGTH = 90 * S
"""Of the recording, as much as is played."""
MINUTES = 60 * S
_TIMES = re.compile(rb'"([ET])":(\d{13})')


@cache
def recorded() -> list[tuple[int, bytes, int | None]]:
    """Of each trade and quote: when it was sent, in nanoseconds after the first, the frame, and the trade's id."""
    found: list[tuple[int, bytes, int | None]] = []
    begun = 0
    for _, frame in frames("binance-spot-ws/ethusdt_20240808.gz"):
        data = json.loads(frame).get("data", {})
        if data.get("e") == "trade":
            begun = begun or data["E"]
            at = (data["E"] - begun) * MS
            if at > LENGTH:
                break
            found.append((at, frame, data["t"]))
        elif begun and "A" in data:
            found.append((found[-1][0], frame, None))
    return found


class Stage:
    """The recording, played at a desk, with its first frame at the desk's own beginning."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder, symbols=[SYMBOL])
        self.desk.market.known = [SYMBOL]
        self.desk.market._row = self._row  # type: ignore[method-assign]
        self.desk.run(0.2)
        self.begun = self.desk.venue_now
        self.rows: dict[int, dict[str, Any]] = {}
        self._at = 0

    def _row(self, row: tuple[int, int]) -> Any:
        return self.rows[row[0]]

    def play(self, until: int, late: int = 0, heard: bool = True) -> None:
        """What was sent until then happens, `late` nanoseconds later than recorded, and is heard or not."""
        frames = recorded()
        while self._at < len(frames) and frames[self._at][0] < until:
            self.desk.run(0.1)
            part = []
            now = self.desk.venue_now - self.begun - late
            while self._at < len(frames) and frames[self._at][0] <= now:
                part.append(self._moved(frames[self._at][1], late))
                self._at += 1
            if part and heard:
                self.desk.bring(*part)

    def _moved(self, frame: bytes, late: int) -> bytes:
        first = json.loads(recorded()[0][1])["data"]["E"]
        more = (self.begun + late) // MS - first
        moved = _TIMES.sub(lambda m: b'"%b":%d' % (m[1], int(m[2]) + more), frame)
        data = json.loads(moved)["data"]
        if data.get("e") == "trade":
            one, ts = data["t"], data["T"] * MS
            self.desk.market.trades.setdefault(SYMBOL, []).append((one, ts))
            keys = {"id": "t", "price": "p", "qty": "q", "isBuyerMaker": "m"}
            self.rows[one] = {key: data[name] for key, name in keys.items()} | {"time": ts // 1000}
        return moved

    def bars(self) -> dict[int, Bar]:
        """What the aggregator makes of the journal, by second."""
        bars, made = Bars(), list[Bar]()
        for batch in self.desk.batches():
            bars.take([event for event in batch.events if isinstance(event, Trade | Quote)])
            closed = bars.advance(batch.ts)
            made += closed[1] if closed is not None else []
        closed = bars.advance(self.desk.venue_now + 10 * S)
        made += closed[1] if closed is not None else []
        return {bar.window_start: bar for bar in made}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    recorded()
    yield Stage(tmp_path)


def test_a_halt_of_fifteen_minutes_is_no_gap_no_false_bar_and_proven_empty(stage: Stage) -> None:
    desk, halt = stage.desk, 15 * MINUTES
    stage.play(LENGTH // 2)
    desk.market.status[SYMBOL] = "BREAK"
    stopped = desk.venue_now
    desk.run(halt / S)
    desk.market.status[SYMBOL] = "TRADING"
    going_on = desk.venue_now
    stage.play(LENGTH, going_on - stopped)
    desk.run(2)
    assert desk.feed("gap") == desk.feed("unhealable") == desk.feed("stale") == []
    assert [event.detail["status"] for event in desk.feed("symbol_status")][:1] == ["BREAK"]
    ids = [trade.trade_id for trade in desk.trades]
    assert ids == list(range(ids[0], ids[0] + len(ids))) and len(ids) > 1000
    traded = {start: bar for start, bar in stage.bars().items() if bar.trade_count}
    assert not [start for start in traded if stopped + S < start < going_on - S], "no bar of the halt has trades"
    (first,) = [min(start for start in traded if start >= going_on - S)]
    assert traded[first].is_complete, "the ids around the halt follow one another: its seconds are proven empty"
    assert all(bar.is_complete for bar in traded.values() if bar.window_start != min(traded))


def test_a_frozen_feed_is_found_within_a_minute_and_what_it_hid_is_fetched(stage: Stage) -> None:
    stage.play(LENGTH // 3)
    frozen = stage.desk.venue_now
    stage.play(LENGTH // 3 + 15 * S, heard=False)
    newest = stage.desk.market.trades[SYMBOL][-1][0]
    while stage.desk.ingest.books[SYMBOL].trades.held.highest != newest:
        stage.desk.run(1)
        assert stage.desk.venue_now - frozen < 61 * S
    assert stage.desk.feed("gap") and stage.desk.feed("healed")
    assert all(bar.is_complete for start, bar in sorted(stage.bars().items())[1:] if bar.trade_count)


def test_of_a_frozen_feed_whose_trades_nobody_gives_no_second_is_claimed_empty(stage: Stage) -> None:
    desk = stage.desk
    stage.play(LENGTH // 3)
    held = desk.trades[-1].trade_id
    desk.market.refuse = {what: Unreachable("nobody there") for what in ("historicalTrades", "trades", "aggTrades")}
    stage.play(LENGTH * 2 // 3, heard=False)
    stage.play(LENGTH)
    desk.run(3)
    (gap,) = desk.feed("gap")
    again = min(trade.trade_id for trade in desk.trades if trade.trade_id > held)
    assert (gap.detail["first_id"], gap.detail["last_id"]) == (held + 1, again - 1)
    (ts,) = [trade.ts for trade in desk.trades if trade.trade_id == again]
    bar = stage.bars()[ts - ts % S]
    assert bar.first_trade_id == again and bar.is_complete is False
    assert desk.feed("healed") == []
    assert desk.ingest.totals()["ids_missing"] == again - 1 - held


def test_the_recording_begins_where_the_desk_does(stage: Stage) -> None:
    stage.play(S)
    assert START <= min(trade.ts for trade in stage.desk.trades) < START + 3 * S
