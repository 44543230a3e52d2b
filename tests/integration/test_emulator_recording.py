"""procs.emulator plays recordings: every frame once, in order, byte for byte; REST knows what was played, no more."""

from __future__ import annotations

import csv
import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from procs.emulator.captures import load
from shared.events import Quote, Trade
from shared.lines import line
from tests.integration.emulators import DATA, NO_DATA, SPOT_CAPTURES, USDM_CAPTURE, Client, emulator, wait_until

real_data = pytest.mark.skipif(not SPOT_CAPTURES[0].exists(), reason=NO_DATA)
STREAMS = "/stream?streams=ethusdt@trade/ethusdt@bookTicker"
AUSDT = "/stream?streams=ausdt@trade/ausdt@bookTicker"


def recorded(path: Path, *kinds: bytes) -> list[bytes]:
    """The frames of these streams, as they stand in the file."""
    with gzip.open(path, "rb") as lines:
        frames = [text.rstrip(b"\n").split(b" ", 1)[1] for text in lines]
    return [f for f in frames if f.startswith(tuple(b'{"stream":"%b' % kind for kind in kinds))]


def capture(folder: Path, frames: int = 200, gap_ns: int = 10_000_000) -> Path:
    """A small capture of our own: a trade, then a quote, in turn."""
    path, begin = folder / "capture", 1_700_000_000_000
    with path.open("w") as out:
        for n in range(frames):
            at_ms = begin + n * 10
            if n % 2 == 0:
                head, ident = f'"e":"trade","E":{at_ms},"s":"AUSDT"', 100 + n // 2
                told = f'{head},"t":{ident},"p":"1.50","q":"2.0","T":{at_ms - 1},"m":true,"M":true'
                stream = "ausdt@trade"
            else:
                told = f'"u":{n},"s":"AUSDT","b":"1.4","B":"1.0","a":"1.6","A":"1.0"'
                stream = "ausdt@bookTicker"
            out.write(f'{begin * 1_000_000 + n * gap_ns} {{"stream":"{stream}","data":{{{told}}}}}\n')
    return path


@real_data
def test_the_real_spot_capture_arrives_whole_in_order_and_byte_for_byte(tmp_path: Path) -> None:
    expected = [f for path in SPOT_CAPTURES for f in recorded(path, b"ethusdt@trade", b"ethusdt@bookTicker")]
    with emulator(tmp_path, "--recording", *map(str, SPOT_CAPTURES), "--speed", "max") as venue:
        with Client(venue, STREAMS) as client:
            got = client.rest()
            assert (client.closed.code, client.closed.reason) == (1000, "ended")
        assert got == expected
        assert sum(b"@trade" in f for f in got) == 14_515
        assert sum(b"@bookTicker" in f for f in got) == 58_758
        row = venue.get("/emulator/ledger")["symbols"]["ETHUSDT"]
        assert row["trade"]["ranges"] == [[1_520_538_925, 1_520_553_439]]
        assert row["bookTicker"]["distinct"] == 58_758
        assert venue.get("/api/v3/trades?symbol=ETHUSDT&limit=1")[0]["id"] == 1_520_553_439
        assert venue.get("/api/v3/time")["serverTime"] == 1_723_161_905_809


@real_data
def test_the_real_futures_capture_arrives_whole_and_its_bars_are_the_exchanges_own(tmp_path: Path) -> None:
    expected = recorded(USDM_CAPTURE, b"btcusdt@trade", b"btcusdt@bookTicker")
    with emulator(tmp_path, "--recording", str(USDM_CAPTURE), "--speed", "max") as venue:
        with Client(venue, "/public/stream?streams=btcusdt@trade/btcusdt@bookTicker") as client:
            assert client.rest() == expected
        rows = venue.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=1723161300000&limit=5")
    with next(DATA.glob("binance-usdm-ws/*klines*.csv")).open() as text:
        published = list(csv.reader(text))[2:7]
    assert [[str(cell) for cell in row] for row in rows] == published


@real_data
def test_raw_and_microsecond_connections_hear_the_same_recording(tmp_path: Path) -> None:
    with emulator(tmp_path, "--recording", *map(str, SPOT_CAPTURES), "--speed", "max") as venue:
        paths = ("/ws/ethusdt@trade", "/ws/ethusdt@trade?timeUnit=MICROSECOND", "/ws/ethusdt@bookTicker")
        with ThreadPoolExecutor(3) as pool, ExitStack() as opened:
            clients = [opened.enter_context(Client(venue, path)) for path in paths]
            trades, micro, quotes = pool.map(Client.rest, clients)
    expected = recorded(SPOT_CAPTURES[0], b"ethusdt@trade") + recorded(SPOT_CAPTURES[1], b"ethusdt@trade")
    assert trades == [frame[len(b'{"stream":"ethusdt@trade","data":') : -1] for frame in expected]
    assert len(quotes) == 58_758
    first, same = json.loads(trades[0]), json.loads(micro[0])
    assert (same["T"], same["E"], same["t"]) == (first["T"] * 1000, first["E"] * 1000, first["t"])
    assert len(micro) == len(trades)


@real_data
def test_depth_goes_only_to_who_asked_for_it(tmp_path: Path) -> None:
    options = ("--recording", str(SPOT_CAPTURES[0]), "--speed", "max")
    with emulator(tmp_path, *options) as venue, Client(venue, STREAMS + "/ethusdt@depth@100ms") as client:
        got = client.rest()
    assert got == recorded(SPOT_CAPTURES[0], b"ethusdt@")


def test_it_waits_for_all_streams_and_rest_knows_nothing_before(tmp_path: Path) -> None:
    options = ("--recording", str(capture(tmp_path)), "--speed", "max")
    with emulator(tmp_path, *options) as venue, Client(venue, "/ws/ausdt@trade") as first:
        assert venue.get("/api/v3/trades?symbol=AUSDT") == []
        assert venue.get("/api/v3/time")["serverTime"] == 1_700_000_000_000
        assert venue.get("/api/v3/exchangeInfo")["symbols"][0]["symbol"] == "AUSDT"
        with Client(venue, "/ws/ausdt@bookTicker") as second:
            assert len(first.rest()) == 100
            assert len(second.rest()) == 100


def test_it_starts_with_the_streams_that_were_named(tmp_path: Path) -> None:
    options = ("--recording", str(capture(tmp_path)), "--speed", "max", "--streams", "ausdt@trade")
    with emulator(tmp_path, *options) as venue, Client(venue, "/ws/ausdt@trade") as client:
        assert len(client.rest()) == 100


def test_rest_follows_one_clock_while_it_is_played(tmp_path: Path) -> None:
    path = capture(tmp_path, frames=200)  # two seconds
    with emulator(tmp_path, "--recording", str(path), "--speed", "1") as venue:
        begin = time.monotonic()
        with Client(venue, AUSDT) as client:
            newest = 0
            while newest < 150:
                told = client.data()
                if told["stream"] != "ausdt@trade":
                    continue
                newest = told["data"]["t"]
                if newest % 10 == 0:
                    known = venue.get("/api/v3/trades?symbol=AUSDT&limit=1000")
                    assert newest <= known[-1]["id"] <= newest + 20
                    assert known[-1]["time"] <= venue.get("/api/v3/time")["serverTime"]
            client.rest()
        assert 1.8 < time.monotonic() - begin < 6


def test_a_faster_clock_is_faster(tmp_path: Path) -> None:
    path = capture(tmp_path, frames=200, gap_ns=100_000_000)  # twenty seconds
    with emulator(tmp_path, "--recording", str(path), "--speed", "10") as venue:
        begin = time.monotonic()
        with Client(venue, AUSDT) as client:
            assert len(client.rest()) == 200
        assert 1.8 < time.monotonic() - begin < 6


def test_a_lost_connection_misses_what_rest_still_has(tmp_path: Path) -> None:
    path = capture(tmp_path, frames=400, gap_ns=5_000_000)  # two seconds
    with emulator(tmp_path, "--recording", str(path), "--speed", "1", "--fault", "drop:after=100") as venue:
        stream = AUSDT
        with Client(venue, stream) as client:
            heard = client.rest()
            assert client.closed.code == 1006
        wait_until(lambda: venue.get("/api/v3/trades?symbol=AUSDT")[-1]["id"] > 160, 10)
        with Client(venue, stream) as client:
            heard += client.rest()
            assert client.closed.reason == "ended"
        ids = [t["data"]["t"] for t in map(json.loads, heard) if t["stream"] == "ausdt@trade"]
        assert len(ids) < 200
        rows = venue.get("/api/v3/historicalTrades?symbol=AUSDT&fromId=0&limit=1000")
        assert [r["id"] for r in rows] == list(range(100, 300))


def test_after_the_end_rest_stays_and_newcomers_are_told(tmp_path: Path) -> None:
    with emulator(tmp_path, "--recording", str(capture(tmp_path)), "--speed", "max") as venue:
        with Client(venue, AUSDT) as client:
            client.rest()
        with Client(venue, "/ws") as late:
            late.send({"method": "SUBSCRIBE", "params": ["ausdt@trade"], "id": 1})
            assert json.loads(late.rest()[0]) == {"result": None, "id": 1}
            assert (late.closed.code, late.closed.reason) == (1000, "ended")
        assert venue.get("/emulator/status")["ended"] is True
        assert len(venue.get("/api/v3/trades?symbol=AUSDT")) == 100


def test_it_leaves_some_seconds_after_the_end_if_so_told(tmp_path: Path) -> None:
    options = ("--recording", str(capture(tmp_path)), "--speed", "max", "--linger", "0.2")
    with emulator(tmp_path, *options) as venue:
        with Client(venue, AUSDT) as client:
            client.rest()
        assert venue.process.wait(5) == 0


def test_at_most_speed_it_stands_still_while_nobody_reads(tmp_path: Path) -> None:
    path = capture(tmp_path, frames=100_000, gap_ns=1000)
    with emulator(tmp_path, "--recording", str(path), "--speed", "max") as venue:
        with Client(venue, AUSDT) as client:
            heard = [client.data() for _ in range(10)]

        def played() -> int:
            return int(venue.get("/emulator/status")["events_sent"])

        wait_until(lambda: venue.get("/emulator/status")["connections"] == 0, 5)
        before = played()
        assert len(heard) == 10
        assert 10 <= before < 100_000
        assert played() == before
        with Client(venue, AUSDT) as client:
            rest = client.rest()
        assert len(rest) >= 100_000 - before - 512


def test_this_lakes_own_raw_files_are_a_recording(tmp_path: Path) -> None:
    second, zero = 1_000_000_000, 1_761_048_000_000_000_000
    events: list[Trade | Quote] = [
        Trade("AUSDT", zero + 1_000_000, zero + 1_000_000, zero + 2_000_000, zero + 10, "1.50", "2.00", "buy", 7),
        Trade("AUSDT", zero + 4_000_000, zero + 4_000_000, None, zero + 9 * second, "1.52", "1.0", "sell", 9, "rest"),
        Quote("AUSDT", zero + 2_000_000, None, None, zero + 20, "1.4", "3.0", "1.6", "4.0", 55),
        Trade("AUSDT", zero + 5_000_000, zero + 5_000_000, zero + 6_000_000, zero + 40, "1.53", "1.0", "sell", 10),
        Trade("AUSDT", zero + 3_000_000, zero + 3_000_000, zero + 6_000_000, zero + 30, "1.51", "1.0", "sell", 8),
    ]
    folder = tmp_path / "raw" / "binance" / "AUSDT" / "2025-10-21"
    folder.mkdir(parents=True)
    (folder / "part_1200.jsonl").write_text("".join(line(e) for e in events) + '{"symbol":"AUSDT","broken\n')
    assert [e.id for e in load([tmp_path / "raw"]).events] == [7, 55, 8, 9, 10]
    options = ("--recording", str(tmp_path / "raw"), "--speed", "max", "--streams", "ausdt@trade")
    with emulator(tmp_path, *options) as venue, Client(venue, AUSDT) as client:
        told = [json.loads(t)["data"] for t in client.rest()]
    assert [t.get("t", t.get("u")) for t in told] == [7, 55, 8, 9, 10]
    sent, matched = 1_761_048_000_002, 1_761_048_000_001
    first = {
        "e": "trade",
        "E": sent,
        "s": "AUSDT",
        "t": 7,
        "p": "1.50",
        "q": "2.00",
        "T": matched,
        "m": False,
        "M": True,
    }
    assert told[0] == first
    assert told[1] == {"u": 55, "s": "AUSDT", "b": "1.4", "B": "3.0", "a": "1.6", "A": "4.0"}
