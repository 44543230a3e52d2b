"""Whatever bytes come, an adapter gives events of the symbols asked for, or Reject, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.events import AggTrade, Quote, Trade
from shared.lines import line, parse_line
from shared.numbers import units
from shared.venues import MAX_ID, Control, Reject
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm

FRAMES = [
    frame
    for venue in ("binance", "binance_usdm")
    for frame in (Path(__file__).parents[1] / "fixtures" / venue / "frames.jsonl").read_bytes().splitlines()
]
ADAPTERS = [Spot(["SOLUSDT"]), Usdm(["BTCUSDT"])]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.sampled_from(["1.5", "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def judge(frame: bytes) -> None:
    for adapter in ADAPTERS:
        try:
            events = adapter.parse(frame, 1)
        except Reject as why:
            assert str(why)
            continue
        for event in events:
            if isinstance(event, Control):
                continue
            assert event.symbol in ("SOLUSDT", "BTCUSDT")
            if isinstance(event, Trade):
                assert 0 <= event.trade_id <= MAX_ID and units(event.price) >= 0 and units(event.qty) >= 0
            elif isinstance(event, Quote):
                assert 0 <= event.update_id <= MAX_ID
                assert all(units(text) >= 0 for text in (event.bid, event.bid_qty, event.ask, event.ask_qty))
            else:
                assert isinstance(event, AggTrade) and 0 <= event.first_trade_id <= event.last_trade_id <= MAX_ID
            # What is taken can be archived and read back.
            assert parse_line(line(event).encode()).symbol == event.symbol


@given(st.binary(max_size=400))
def test_any_bytes(frame: bytes) -> None:
    judge(frame)


@given(st.sampled_from(FRAMES), st.integers(0, 400), st.binary(max_size=4), st.integers(0, 6))
def test_mangled_frames(frame: bytes, at: int, put: bytes, cut: int) -> None:
    judge(frame[:at] + put + frame[at + cut :])


@given(st.sampled_from(FRAMES), st.dictionaries(st.sampled_from("esTEtpqmXubBaAfl"), values, max_size=3))
def test_fields_of_any_type(frame: bytes, changes: dict[str, object]) -> None:
    whole = json.loads(frame)
    if "data" in whole:
        whole["data"].update(changes)
    else:
        whole.update(changes)
    judge(json.dumps(whole).encode())


@given(st.text(max_size=60))
def test_any_text_as_symbol_or_stream(text: str) -> None:
    judge(json.dumps({"stream": text, "data": {"s": text, "e": "trade", "t": 1}}).encode())
    judge(json.dumps({"stream": "solusdt@trade", "data": {"s": text, "e": "trade", "t": 1}}).encode())
    judge(json.dumps({"e": text, "s": text}).encode())


@given(st.binary(max_size=300))
def test_any_rest_answer(body: bytes) -> None:
    for adapter in ADAPTERS:
        for parse in (adapter.parse_time, adapter.parse_instruments):
            try:
                parse(body)
            except Reject:
                continue
        for rows in (adapter.parse_trades, adapter.parse_aggregates):
            try:
                rows(body, "SOLUSDT", 1)
            except Reject:
                continue
