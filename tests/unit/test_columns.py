"""Columns are the same events as a list of them, and travel in a batch like one."""

from __future__ import annotations

import struct

import pytest

from shared.events import BUY, QUOTE, SELL, Batch, Columns, Event, Quote, Trade, decode, encode, plain

EVENTS: list[Event] = [
    Trade("SOLUSDT", 1_000, 1_000, 1_300, 2_000, "187.42000000", "3.10000000", "buy", 7),
    Quote("ADAUSDT", 1_500, None, None, 2_000, "0.00000010", "31.21000000", "0.00000011", "40.66000000", 99),
    Trade("ADAUSDT", 1_600, 1_600, 1_900, 2_000, "0.00000011", "0.00000001", "sell", 8),
]


def int64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def columns(**changed: object) -> Columns:
    fields: dict[str, object] = {
        "symbols": ["SOLUSDT", "ADAUSDT"],
        "digits": 8,
        "kinds": bytes((BUY, QUOTE, SELL)),
        "symbol": struct.pack("<3H", 0, 1, 1),
        "ts": int64(1_000, 1_500, 1_600),
        "ts_recv": int64(2_000, 2_000, 2_000),
        "ids": int64(7, 99, 8),
        "price": int64(18_742_000_000, 10, 11),
        "qty": int64(310_000_000, 3_121_000_000, 1),
        "ask": int64(11),
        "ask_qty": int64(4_066_000_000),
        "ts_sent": int64(1_300, 1_900),
    }
    return Columns(**(fields | changed))  # type: ignore[arg-type]


def test_columns_are_the_events_they_stand_for() -> None:
    assert list(columns()) == EVENTS
    assert columns()[1] == EVENTS[1]
    assert columns()[1:] == EVENTS[1:]
    assert len(columns()) == 3


def test_a_batch_of_columns_travels_and_is_cut_like_any_other() -> None:
    batch = Batch(11, 5_000, columns())
    again = decode(encode(batch))
    assert again == batch
    assert isinstance(again, Batch)
    assert (again.last, again.after(11)) == (14, Batch(12, 5_000, EVENTS[1:]))


@pytest.mark.parametrize(
    "changed",
    [
        {"digits": 0},
        {"digits": 19},
        {"kinds": bytes((BUY, QUOTE, 3))},
        {"kinds": bytes((BUY, QUOTE))},
        {"ask": int64(1, 2)},
        {"ts_sent": b""},
        {"symbol": b"\0" * 5},
        {"price": int64(1, 2)},
        {"short": b"\0" * 3},
        {"short": b"\0\0\0\0\0\x09"},
        {"short": b"\0\0\x90\0\0\0"},
    ],
)
def test_columns_that_do_not_belong_together_are_no_batch(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="different lengths"):
        columns(**changed)
    sound = encode(Batch(1, 5, columns()))
    at = {"digits": (b"\xa6digits\x08", b"\xa6digits\x00"), "kinds": (b"\xc4\x03\0\2\1", b"\xc4\x03\0\2\3")}
    if next(iter(changed)) in at:
        with pytest.raises(ValueError, match="different lengths"):
            decode(sound.replace(*at[next(iter(changed))]))


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [(0, 8, "0.00000000"), (5, 1, "0.5"), (123, 2, "1.23"), (10**17, 8, "1000000000.00000000")],
)
def test_a_number_keeps_all_its_digits(number: int, digits: int, text: str) -> None:
    assert plain(number, digits) == text
    assert [plain(number, digits, short) for short in range(digits)] == [text[: len(text) - n] for n in range(digits)]
    assert plain(number, digits, digits) == text.partition(".")[0]


def test_digits_that_the_venue_left_out_stay_out() -> None:
    some = columns(price=int64(18_742_000_000, 10, 100_000_000), short=struct.pack("<3H", 0x76, 0x6520, 8))
    again = decode(encode(Batch(1, 5, some)))
    assert isinstance(again, Batch) and again.events == some
    trade, quote, other = again.events
    assert isinstance(trade, Trade) and isinstance(quote, Quote) and isinstance(other, Trade)
    assert (trade.price, trade.qty) == ("187.42", "3.1")
    assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) == ("0.00000010", "31.210000", "0.000", "40.66")
    assert (other.price, other.qty) == ("1", "0.00000001")


def test_a_record_of_a_version_that_knew_no_other_digits_can_be_read() -> None:
    assert b"short" not in encode(Batch(1, 5, columns()))
