"""procs.emulator as a process: one port for websocket and REST, which agree; faults on request; it leaves when told."""

from __future__ import annotations

import json
import subprocess
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.emulators import Client, Closed, Emulator, emulator, wait_until

STREAMS = "/stream?streams=solusdt@trade/solusdt@bookTicker/adausdt@trade/adausdt@bookTicker"


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("venue"), "--symbols", "SOLUSDT,ADAUSDT", "--rate", "400") as found:
        yield found


def test_rest_answers_for_every_id_exactly_what_the_websocket_sent(venue: Emulator) -> None:
    with Client(venue, STREAMS) as client:
        trades: list[dict[str, Any]] = []
        while len(trades) < 60:
            told = client.data()
            trades += [told["data"]] if told["stream"] == "solusdt@trade" else []
    assert all(b["t"] == a["t"] + 1 for a, b in pairwise(trades))
    rows = venue.get(f"/api/v3/historicalTrades?symbol=SOLUSDT&fromId={trades[0]['t']}&limit={len(trades)}")
    assert [(r["id"], r["price"], r["qty"], r["time"], r["isBuyerMaker"]) for r in rows] == [
        (t["t"], t["p"], t["q"], t["T"], t["m"]) for t in trades
    ]


def test_events_arrive_when_they_happen(venue: Emulator) -> None:
    with Client(venue, "/ws/solusdt@trade?timeUnit=MICROSECOND") as client:
        client.data()
        late = [-client.data()["E"] / 1e6 + time.time() for _ in range(50)]
    assert min(late) > 0
    assert sorted(late)[25] < 0.05
    assert abs(venue.get("/api/v3/time")["serverTime"] / 1000 - time.time()) < 1


def test_aggregates_and_raw_and_combined_forms_are_the_same_market(venue: Emulator) -> None:
    with Client(venue, "/ws/solusdt@aggTrade") as raw, Client(venue, "/stream?streams=solusdt@aggTrade") as combined:
        first = [raw.text() for _ in range(20)]
        second = [combined.data() for _ in range(20)]
    assert {t["stream"] for t in second} == {"solusdt@aggTrade"}
    shared = {json.loads(t)["a"] for t in first} & {t["data"]["a"] for t in second}
    assert len(shared) > 10
    assert {json.dumps(json.loads(t)) for t in first if json.loads(t)["a"] in shared} == {
        json.dumps(t["data"]) for t in second if t["data"]["a"] in shared
    }


def test_subscriptions_change_while_it_runs_and_unknown_symbols_stay_silent(venue: Emulator) -> None:
    with Client(venue, "/ws") as client:
        assert client.ask("SUBSCRIBE", ["adausdt@bookTicker", "nosuchusdt@trade"]) == {"result": None, "id": 1}
        assert client.data()["s"] == "ADAUSDT"
        assert client.ask("LIST_SUBSCRIPTIONS", [], 2)["result"] == ["adausdt@bookTicker", "nosuchusdt@trade"]
        client.ask("SET_PROPERTY", ["combined", True], 3)
        assert client.data()["stream"] == "adausdt@bookTicker"
        client.ask("UNSUBSCRIBE", ["adausdt@bookTicker"], 4)
    with Client(venue, "/ws") as client:
        client.send("{")
        assert client.answer()["code"] == 3


def test_too_many_messages_end_the_connection(venue: Emulator) -> None:
    with Client(venue, "/ws") as client:
        for n in range(6):
            client.send({"method": "LIST_SUBSCRIPTIONS", "id": n})
        client.rest()
        assert (client.closed.code, client.closed.reason) == (1008, "Too many requests")


def test_a_client_ping_is_answered_with_its_payload(venue: Emulator) -> None:
    with Client(venue, "/ws") as client:
        client.frame(9, b"hello")
        assert client._frame() == (10, b"hello")


def test_the_ledger_tells_what_was_sent(venue: Emulator) -> None:
    before = venue.get("/emulator/ledger")["symbols"].get("ADAUSDT", {}).get("trade", {"distinct": 0})
    with Client(venue, "/ws/adausdt@trade") as client:
        sent = [client.data()["t"] for _ in range(40)]
    row = venue.get("/emulator/ledger")["symbols"]["ADAUSDT"]["trade"]
    assert row["distinct"] >= before["distinct"] + 40
    assert any(first <= sent[0] and sent[-1] <= last for first, last in row["ranges"])
    text = ",".join(f"{first}-{last}" for first, last in row["ranges"])
    assert row["sha256"] == sha256(text.encode()).hexdigest()
    issued = venue.get("/emulator/status")["issued"]["ADAUSDT"]
    assert issued[0] <= sent[0] <= sent[-1] <= issued[1]


def first_hole(client: Client, last: int) -> list[int]:
    """The ids that the first jump after ``last`` leaves out."""
    while True:
        ident: int = client.data()["t"]
        if ident != last + 1:
            return list(range(last + 1, ident))
        last = ident


def test_skipped_trades_are_healed_from_rest(venue: Emulator) -> None:
    with Client(venue, "/ws/solusdt@trade") as client:
        last = client.data()["t"]
        venue.ask("/emulator/faults", {"kind": "skip", "symbol": "SOLUSDT", "count": 3})
        missing = first_hole(client, last)
    assert len(missing) == 3
    [row] = [r for r in venue.get("/emulator/ledger")["withheld"] if r["symbol"] == "SOLUSDT"]
    assert row["ids"][-3:] == missing
    rows = venue.get(f"/api/v3/historicalTrades?symbol=SOLUSDT&fromId={missing[0]}&limit=3")
    assert [r["id"] for r in rows] == [missing[0], missing[0] + 1, missing[0] + 2]


def test_ids_withheld_from_rest_too_are_nobodys(venue: Emulator) -> None:
    with Client(venue, "/ws/adausdt@trade") as client:
        last = client.data()["t"]
        venue.ask("/emulator/faults", {"kind": "skip", "symbol": "ADAUSDT", "count": 2, "rest": True})
        missing = first_hole(client, last)
    rows = venue.get(f"/api/v3/historicalTrades?symbol=ADAUSDT&fromId={missing[0]}&limit=10")
    assert len(missing) == 2
    assert not {r["id"] for r in rows} & set(missing)


def test_duplicates_reordering_and_garbage_come_when_asked_for(venue: Emulator) -> None:
    with Client(venue, "/ws/solusdt@trade") as client:
        client.data()
        venue.ask("/emulator/faults", [{"kind": "duplicate"}, {"kind": "reorder"}, {"kind": "garbage", "count": 2}])
        frames = [client.text() for _ in range(200)]
    ids = []
    for frame in frames:
        try:
            told = json.loads(frame)
            ids.append(told["t"] if isinstance(told, dict) and told.get("T", 0) > 1 else None)
        except (ValueError, RecursionError, KeyError):
            ids.append(None)
    known = [i for i in ids if i is not None]
    assert ids.count(None) == 2
    assert len(known) == len(set(known)) + 1
    assert known != sorted(known)
    assert sorted(set(known)) == list(range(min(known), max(known) + 1))


def test_a_dropped_connection_ends_without_a_word_and_others_may_come(venue: Emulator) -> None:
    with Client(venue, "/ws/solusdt@trade") as client:
        client.data()
        venue.ask("/emulator/faults", {"kind": "drop"})
        client.rest()
        assert client.closed.code == 1006
    with Client(venue, "/ws/solusdt@trade") as client:
        assert client.data()["s"] == "SOLUSDT"


def test_a_stalled_connection_stays_open_and_silent(venue: Emulator) -> None:
    with Client(venue, "/ws/solusdt@trade") as client:
        client.data()
        venue.ask("/emulator/faults", {"kind": "stall", "count": 1})
        client._socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                client.text()
        client.frame(9, b"are you there")
        with pytest.raises(TimeoutError):
            client.text()


def test_connections_are_refused_for_as_long_as_told(venue: Emulator) -> None:
    venue.ask("/emulator/faults", {"kind": "refuse", "for_s": 0.5})
    with pytest.raises(Closed):
        Client(venue, "/ws")

    def open_again() -> bool:
        try:
            with Client(venue, "/ws") as client:
                return client.status == 101
        except Closed:
            return False

    wait_until(open_again, 5)


def test_the_end_of_the_server_is_announced_and_then_comes(venue: Emulator) -> None:
    with Client(venue, "/stream?streams=solusdt@trade") as client:
        client.data()
        venue.ask("/emulator/faults", {"kind": "shutdown", "delay_ms": 200})
        told = [json.loads(t) for t in client.rest()]
        assert "!serverShutdown" in [t["stream"] for t in told]
        assert client.closed.code == 1001


def test_rest_is_limited_slow_and_cut_when_asked_for(venue: Emulator) -> None:
    venue.ask("/emulator/faults", {"kind": "status", "status": 429, "retry_after_s": 3, "count": 1})
    status, body, headers = venue.ask("/api/v3/time")
    assert (status, body["code"], headers["Retry-After"]) == (429, -1003, "3")
    venue.ask("/emulator/faults", {"kind": "slow", "delay_ms": 300, "count": 1})
    begin = time.monotonic()
    venue.get("/api/v3/time")
    assert time.monotonic() - begin >= 0.3
    venue.ask("/emulator/faults", {"kind": "truncate", "rows": 1, "count": 1})
    assert len(venue.get("/api/v3/trades?symbol=SOLUSDT")) == 1
    assert len(venue.get("/api/v3/trades?symbol=SOLUSDT")) == 500


def test_no_web_page_reaches_the_controls(venue: Emulator) -> None:
    assert venue.ask("/emulator/faults", {"kind": "drop"}, Origin="https://example.com")[0] == 403
    assert venue.ask("/emulator/ledger", Host="example.com")[0] == 403
    assert venue.ask("/emulator/faults", {"kind": "nonsense"})[0] == 400
    assert venue.ask("/emulator/nothing")[0] == 404


def test_yesterday_is_in_the_daily_archive_with_its_checksum(tmp_path: Path) -> None:
    with emulator(tmp_path, "--symbols", "SOLUSDT", "--rate", "0.5", "--start", "2025-10-21T00:00:10Z") as venue:
        name = "/data/spot/daily/trades/SOLUSDT/SOLUSDT-trades-2025-10-20.zip"
        _, data, _ = venue.ask(name)
        _, sums, _ = venue.ask(f"{name}.CHECKSUM")
        assert sums.decode() == f"{sha256(data).hexdigest()}  SOLUSDT-trades-2025-10-20.zip\n"
        with zipfile.ZipFile(BytesIO(data)) as packed:
            first = packed.read("SOLUSDT-trades-2025-10-20.csv").decode().split(",")
        [row] = venue.get(f"/api/v3/historicalTrades?symbol=SOLUSDT&fromId={first[0]}&limit=1")
        assert (row["price"], row["qty"]) == (first[1], first[2])
        assert venue.ask(name.replace("10-20", "10-21"))[0] == 404  # not closed yet
        assert venue.ask(name.replace("SOLUSDT", "NOSUCH"))[0] == 404


def test_a_restarted_venue_goes_on_where_it_would_be(tmp_path: Path) -> None:
    options = ("--symbols", "SOLUSDT", "--rate", "100", "--seed", "7")
    with emulator(tmp_path, *options) as venue, Client(venue, "/ws/solusdt@trade") as client:
        before = [client.data() for _ in range(20)]
    with emulator(tmp_path, *options) as venue:
        with Client(venue, "/ws/solusdt@trade") as client:
            after = client.data()["t"]
        rows = venue.get(f"/api/v3/historicalTrades?symbol=SOLUSDT&fromId={before[0]['t']}&limit=1000")
    assert [(r["id"], r["price"]) for r in rows[:20]] == [(t["t"], t["p"]) for t in before]
    assert [r["id"] for r in rows] == list(range(rows[0]["id"], rows[0]["id"] + len(rows)))
    assert rows[-1]["id"] >= after > before[-1]["t"]


def test_pings_come_and_a_silent_client_is_dropped(tmp_path: Path) -> None:
    rules = ("--rule-ping-every-s", "0.3", "--rule-pong-within-s", "1")
    with emulator(tmp_path, "--symbols", "SOLUSDT", *rules) as venue:
        with Client(venue, "/ws", answers=False) as client:
            client.rest()
            assert (client.closed.code, client.closed.reason) == (1008, "Pong timeout")
        with Client(venue, "/ws/solusdt@bookTicker") as client:
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                client.data()
            assert client.pings > 4


def test_futures_speak_their_own_form_on_their_routes(tmp_path: Path) -> None:
    with emulator(tmp_path, "--market", "usdm", "--symbols", "BTCUSDT", "--rest-port", "0") as venue:
        assert venue.rest_url.rpartition(":")[2] != str(venue.port)
        streams = "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@aggTrade"
        with Client(venue, "/public" + streams) as client:
            told = [client.data() for _ in range(60)]
        assert {t["stream"] for t in told} == {"btcusdt@trade", "btcusdt@bookTicker"}
        assert all(t["data"]["E"] >= t["data"]["T"] for t in told)
        with Client(venue, "/market" + streams) as client:
            aggs = [client.data() for _ in range(5)]
        assert {t["stream"] for t in aggs} == {"btcusdt@aggTrade"}
        rows = venue.get(f"/fapi/v1/aggTrades?symbol=BTCUSDT&fromId={aggs[0]['data']['a']}&limit=5")
        assert [(r["a"], r["p"], r["f"], r["l"]) for r in rows] == [
            (a["data"]["a"], a["data"]["p"], a["data"]["f"], a["data"]["l"]) for a in aggs
        ]


def test_a_market_with_an_end_is_played_as_fast_as_it_is_read_and_ends(tmp_path: Path) -> None:
    span = ("--start", "2025-10-20T12:00:00Z", "--stop", "2025-10-20T12:01:00Z", "--speed", "max")
    with emulator(tmp_path, "--symbols", "SOLUSDT,ADAUSDT", "--rate", "1000", *span) as venue:
        with Client(venue, "/stream?streams=solusdt@trade/adausdt@trade") as client:
            told = [json.loads(t)["data"] for t in client.rest()]
            assert (client.closed.code, client.closed.reason) == (1000, "ended")
        for symbol in ("SOLUSDT", "ADAUSDT"):
            ids = [t["t"] for t in told if t["s"] == symbol]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert abs(len(told) - 15_000) < 100


def test_it_leaves_when_told_to_drain(tmp_path: Path) -> None:
    with emulator(tmp_path, "--symbols", "SOLUSDT") as venue, Client(venue, "/ws/solusdt@trade") as client:
        client.data()
        assert venue.process.stdin is not None
        venue.process.stdin.write(b"drain\n")
        venue.process.stdin.flush()
        client.rest()
        assert client.closed.code == 1001
        assert venue.process.wait(5) == 0


def test_a_bad_fault_or_recording_is_said_plainly(tmp_path: Path) -> None:
    import sys

    empty = tmp_path / "empty.txt"
    empty.write_text("nothing\n")
    for options in (["--fault", "nonsense"], ["--recording", str(empty)], ["--recording", str(tmp_path / "none")]):
        done = subprocess.run([sys.executable, "-m", "procs.emulator", *options], capture_output=True, check=False)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
