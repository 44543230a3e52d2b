"""A line of the archive gives back the event it was made of, to the last digit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import AggTrade, Bar, Feed, Quote, Rejected, Trade
from shared.lines import line, parse_feed, parse_line

NINE = ["symbol", "ts_event", "ts_recv", "price", "qty", "side", "bid", "ask", "stream"]
TRADE = Trade("SOLUSDT", 5, 5, 6, 7, "187.42000000", "3.10000000", "buy", 1520545031)
QUOTE = Quote("SOLUSDT", 5, None, None, 7, "187.41000000", "31.21", "187.42000000", "40.66", 40090021722)
AGG = AggTrade("BTCUSDT", 5, 5, 6, 7, "61590.3", "0.001", "sell", 9, 100, 105)

digits = st.from_regex(r"(0|[1-9][0-9]{0,9})\.[0-9]{1,18}", fullmatch=True)
times = st.integers(0, 2**63 - 1)
ids = st.integers(0, 2**63 - 1)
names = st.text(min_size=1, max_size=12)
sides = st.sampled_from(["buy", "sell"])
sources = st.sampled_from(["ws", "rest", "archive"])
trades = st.builds(
    Trade, names, times, times, st.none() | times, times, digits, digits, sides, ids, sources,
    st.sampled_from([None, "MARKET", "INSURANCE_FUND"]),
)  # fmt: skip
quotes = st.builds(
    Quote, names, times, st.none() | times, st.none() | times, times, digits, digits, digits, digits, ids
)
aggs = st.builds(AggTrade, names, times, times, st.none() | times, times, digits, digits, sides, ids, ids, ids, sources)


@given(trades | quotes | aggs)
def test_every_event_comes_back_from_its_line_exactly(event: Trade | Quote | AggTrade) -> None:
    text = line(event)
    assert text.endswith("\n") and text.count("\n") == 1
    assert parse_line(text.encode("utf-8", "surrogatepass")) == event


@pytest.mark.parametrize("event", [TRADE, QUOTE, AGG])
def test_the_first_nine_keys_are_always_there_in_this_order(event: Trade | Quote | AggTrade) -> None:
    assert list(json.loads(line(event)))[:9] == NINE


def test_numbers_stand_with_the_venues_own_digits() -> None:
    assert '"price":187.42000000,"qty":3.10000000' in line(TRADE)
    assert '"bid":187.41000000,"ask":187.42000000' in line(QUOTE)


def test_an_integer_gets_a_decimal_point_so_that_readers_see_a_number_of_one_kind() -> None:
    assert '"qty":5.0,' in line(Trade("X", 1, 1, None, 1, "1.5", "5", "buy", 1))


def test_a_text_of_any_kind_stays_on_its_line() -> None:
    text = line(Trade('A"\n\x1b[2J', 1, 1, None, 1, "1.5", "5.0", "buy", 1))
    assert text.count("\n") == 1 and "\x1b" not in text


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"{", line(TRADE).encode()[:-20], b"\xff\xfe", b"[" * 5000,
     line(TRADE).replace("187.42000000", '"NaN"').encode(), line(TRADE).replace("187.42000000", "-1.0").encode(),
     line(TRADE).replace("buy", "hold").encode(), line(TRADE).replace('"trade"', '"depth"').encode(),
     line(TRADE).replace("1520545031", "null").encode(), line(TRADE).replace('"ts":5', '"ts":1e99').encode()],
)  # fmt: skip
def test_what_is_no_raw_line_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_line(data)


details = st.dictionaries(st.sampled_from(["first_id", "reason"]), st.integers(-5, 5) | st.text(max_size=5))
kinds = st.sampled_from(["gap", "connected", "ended"])


@given(st.builds(Feed, kinds, times, times, st.lists(names, max_size=3), details))
def test_a_feed_event_comes_back_from_its_line(event: Feed) -> None:
    assert parse_feed(line(event).encode()) == event


def test_a_detail_never_hides_what_a_feed_line_says_of_itself() -> None:
    assert json.loads(line(Feed("gap", 1, 2, [], {"kind": "lie", "x": 3}))) == {
        "kind": "gap", "ts": 1, "ts_recv": 2, "symbols": [], "x": 3,
    }  # fmt: skip


def test_a_rejected_frame_keeps_its_bytes() -> None:
    found = json.loads(line(Rejected("no JSON", 1, 2, 3, "ab", '{"\x00')))
    assert (found["reason"], found["raw"], found["size"]) == ("no JSON", '{"\x00', 3)


def test_a_bar_is_no_line() -> None:
    with pytest.raises(KeyError):
        line(Bar("X", 1))
