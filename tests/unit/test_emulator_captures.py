"""procs.emulator.recording and captures: what is in a file becomes events, whatever else is in it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from procs.emulator.captures import load
from procs.emulator.recording import Recording, capture, market_of
from procs.emulator.tape import Print
from shared.events import Trade
from shared.lines import line
from tests.integration.emulators import DATA, NO_DATA

TRADE = b'{"stream":"ausdt@trade","data":{"e":"trade","E":%d,"s":"AUSDT","t":%d,"p":"1.50","q":"2.0","T":%d,"m":true}}'
QUOTE = b'{"stream":"ausdt@bookTicker","data":{"u":9,"s":"AUSDT","b":"1.4","B":"1.0","a":"1.600","A":"1.0"}}'
DEPTH = (
    b'{"stream":"ausdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":"AUSDT","U":1,"u":2,"b":[["1","2"]],"a":[]}}'
)
MS = 1_700_000_000_000


def trade(ident: int, at_ms: int = MS) -> bytes:
    return TRADE % (at_ms + 1, ident, at_ms)


def recording(*lines: bytes) -> Recording:
    return Recording(list(capture(lines)), "spot")


def test_both_kinds_of_capture_are_read() -> None:
    nanoseconds = b"1700000000000000123 " + trade(5) + b"\n"
    seconds = b"1700000000.5: " + QUOTE + b"\n"
    first, second = capture([nanoseconds, seconds])
    assert (first.at_us, first.stream, first.id) == (1_700_000_000_000_000, "ausdt@trade", 5)
    assert (second.at_us, second.stream, second.id) == (1_700_000_000_500_000, "ausdt@bookTicker", 9)
    assert first.body == trade(5)[len(b'{"stream":"ausdt@trade","data":') : -1]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nothing",
        b"1700000000000000123 " + trade(5)[:-9],
        b'1700000000000000123 {"lastUpdateId":35,"bids":[],"asks":[]}',
        b'1700000000000000123 {"stream":"ausdt@trade","data":{"e":"trade","t":"not a number"}}',
        b"wss://stream.binance.com:9443/stream?streams=a@trade <-> 1633998511.15",
        b'wss://stream.binance.com:9443 <- 1633998511.2: {"method":"SUBSCRIBE"}',
        b"\xff\xfe 1700000000000000123 {}",
    ],
)
def test_a_line_that_is_no_whole_frame_is_passed_over(text: bytes) -> None:
    assert list(capture([text])) == []


def test_rest_knows_what_was_played_and_no_more() -> None:
    made = recording(*(b"%d " % (MS * 1_000_000 + n) + trade(n, MS + n) for n in range(10, 20)))
    assert made.prints("AUSDT", 0, 100) == []
    assert made.last_print("AUSDT") == -1
    assert made.now_us() == (MS + 11) * 1000
    made.played = 4
    assert [p.id for p in made.prints("AUSDT", 0, 100)] == [10, 11, 12, 13]
    assert [p.id for p in made.prints("AUSDT", 12, 1)] == [12]
    assert made.last_print("AUSDT") == 13
    assert made.now_us() == (MS + 14) * 1000
    assert made.print_at("AUSDT", (MS + 12) * 1000) == 12
    assert made.prints("NOSUCH", 0, 1) == []


def test_venue_time_is_the_highest_said_so_far_by_any_stream() -> None:
    at = b"1700000000000000123 "
    made = recording(at + QUOTE, at + DEPTH % (MS + 500), at + trade(1), at + QUOTE)
    times = []
    for made.played in range(5):
        times.append(made.now_us() // 1000 - MS)
    assert times == [500, 500, 500, 500, 500]
    assert made.streams() == {"ausdt@trade", "ausdt@bookTicker"}


def test_steps_are_the_digits_in_use() -> None:
    made = recording(b"1700000000000000123 " + trade(1), b"1700000000000000124 " + QUOTE)
    found = made.instruments["AUSDT"]
    assert (found.tick_digits, found.step_digits, found.base, found.quote) == (1, 0, "A", "USDT")


def test_a_futures_recording_is_known_by_its_quotes() -> None:
    spot = list(capture([b"1700000000000000123 " + QUOTE]))
    futures = list(capture([b"1700000000000000123 " + QUOTE.replace(b'{"u"', b'{"e":"bookTicker","u"')]))
    assert market_of(spot) == "spot"
    assert market_of(futures) == "usdm"


def test_files_are_opened_whatever_they_are_packed_with_and_put_in_order_of_receipt(tmp_path: Path) -> None:
    early, late = (b"%d " % (MS * 1_000_000 + n) + trade(n) + b"\n" for n in (1, 2))
    sold = line(Trade("BUSDT", MS, MS * 1_000_000, None, MS * 1_000_000 + 5000, "1.0", "2.0", "sell", 3)).encode()
    (tmp_path / "late.gz").write_bytes(gzip.compress(late))
    (tmp_path / "early").write_bytes(early)
    (tmp_path / "part_12.jsonl.zst").write_bytes(zstandard.compress(sold))
    made = load([tmp_path])
    assert [(e.symbol, e.id) for e in made.events] == [("AUSDT", 1), ("AUSDT", 2), ("BUSDT", 3)]
    assert isinstance(made.events[2].body, Print)
    assert made.events[2].body.buyer_maker


def test_nothing_to_play_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nothing")
    with pytest.raises(ValueError, match="no frame"):
        load([tmp_path])


@pytest.mark.skipif(not (DATA / "cryptofeed-ws").exists(), reason=NO_DATA)
def test_real_captures_of_another_recorder_are_read() -> None:
    made = load([DATA / "cryptofeed-ws" / "BINANCE_FUTURES.ws.1.0.gz"])
    made.played = len(made.events)
    assert made.market == "usdm"
    assert len(made.events) == 1535
    assert [len(made.aggs(s, 0, 100)) for s in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT")] == [40, 8, 5, 38]
