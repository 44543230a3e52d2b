"""The made market: what is sent is what the truth says, and what a venue's adapter reads."""

from __future__ import annotations

import numpy as np
import pytest

from bench.speed.market import FIRST_ID, START_US, UNIT, Frames, Market
from shared.events import Quote, Trade
from shared.venues.binance import Venue

MARKET = Market(3, 2000, 4, 1000)


def texts(frames: Frames) -> list[bytes]:
    """The payloads, by the lengths in their headers."""
    found, at = [], 0
    for end in frames.ends.tolist():
        assert frames.data[at] == 0x81
        size = frames.data[at + 1]
        begin = at + 2
        if size == 126:
            size, begin = int.from_bytes(frames.data[at + 2 : at + 4], "big"), at + 4
        assert begin + size == end
        found.append(bytes(frames.data[begin:end]))
        at = end
    assert at == len(frames.data)
    return found


def test_every_frame_is_the_event_that_the_market_holds() -> None:
    venue = Venue(MARKET.names)

    for at, text in enumerate(texts(MARKET.frames())):
        (event,) = venue.parse(text, 1)
        assert isinstance(event, Trade if MARKET.is_trade[at] else Quote)
        assert event.symbol == MARKET.names[int(MARKET.symbol[at])]
        if isinstance(event, Trade):
            assert (event.trade_id, event.ts) == (MARKET.number[at], MARKET.at_us[at] * 1000)
            assert event.side == ("sell" if MARKET.is_maker[at] else "buy")
            assert (units(event.price), units(event.qty)) == (MARKET.price[at], MARKET.qty[at])
        elif isinstance(event, Quote):
            assert event.update_id == MARKET.number[at]
            sent = units(event.bid), units(event.bid_qty), units(event.ask), units(event.ask_qty)
            assert sent == (MARKET.price[at], MARKET.qty[at], MARKET.ask[at], MARKET.ask_qty[at])


def units(text: str) -> int:
    whole, _, rest = text.partition(".")
    assert len(rest) == 8
    return int(whole) * UNIT + int(rest)


def test_ids_have_no_holes_and_a_quarter_are_trades() -> None:
    for name in MARKET.names:
        _, ids = MARKET.last_ids(name)
        assert ids.tolist() == list(range(FIRST_ID, FIRST_ID + len(ids)))
    assert 0.2 < MARKET.is_trade.mean() < 0.3


def test_the_same_seed_is_the_same_market_and_another_is_not() -> None:
    assert Market(3, 2000, 4, 1000).frames().data == MARKET.frames().data
    assert Market(4, 2000, 4, 1000).frames().data != MARKET.frames().data


def test_milliseconds_and_aggregates_are_what_others_ask_for() -> None:
    first = int(np.flatnonzero(MARKET.is_trade)[0])
    text = texts(MARKET.frames(13, "aggTrade"))[first].decode()

    assert f'"T":{MARKET.at_us[first] // 1000},' in text
    assert "@aggTrade" in text and f'"f":{FIRST_ID},"l":{FIRST_ID}' in text


def test_stamps_are_the_places_of_both_times_of_each_trade() -> None:
    frames = MARKET.frames()
    places = frames.stamps.reshape(-1, 2)

    for event, (sent, matched) in zip(np.flatnonzero(MARKET.is_trade), places.tolist(), strict=True):
        time = str(MARKET.at_us[event]).encode()
        assert frames.data[sent : sent + 16] == frames.data[matched : matched + 16] == time


def test_some_of_the_frames_are_those_and_their_stamps() -> None:
    frames, wanted = MARKET.frames(), MARKET.symbol == 2

    some = frames.of(wanted, MARKET.is_trade)

    assert texts(some) == [text for text, is_wanted in zip(texts(frames), wanted, strict=True) if is_wanted]
    mine = np.flatnonzero(wanted & MARKET.is_trade)
    for event, (sent, _) in zip(mine, some.stamps.reshape(-1, 2).tolist(), strict=True):
        assert some.data[sent : sent + 16] == str(MARKET.at_us[event]).encode()


def test_truth_is_what_adding_up_by_hand_gives() -> None:
    name, second = MARKET.names[1], START_US // 1_000_000
    mine = [
        at for at in range(MARKET.count)
        if MARKET.symbol[at] == 1 and MARKET.is_trade[at] and MARKET.at_us[at] // 1_000_000 == second
    ]  # fmt: skip
    prices = [int(MARKET.price[at]) for at in mine]
    sizes = [int(MARKET.qty[at]) for at in mine]

    bar = MARKET.truth()[name]["seconds"][second]

    assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (prices[0], max(prices), min(prices), prices[-1])
    assert bar["base"] == sum(sizes) and bar["count"] == len(mine)
    assert bar["quote"] == sum(price * size for price, size in zip(prices, sizes, strict=True))
    assert bar["ids"] == sum(int(MARKET.number[at]) for at in mine)


@pytest.mark.parametrize("count", [0, 1, 700])
def test_truth_of_the_first_events_is_that_of_no_more(count: int) -> None:
    truth = MARKET.truth(count=count)

    assert sum(symbol["events"] for symbol in truth.values()) == count
    trades = int(MARKET.is_trade[:count].sum())
    assert sum(bar["count"] for symbol in truth.values() for bar in symbol["seconds"].values()) == trades
