"""S4: every decoder, fed with mangled, random and well-formed but hostile bytes: it gives its words or its one error,
in bounded time and memory, and nothing else happens.

2,000 examples each; LAKE_FUZZ_EXAMPLES=20000 for more. Also: what is too deep, too long or too large is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.simulation.disk import Medium, SimDisk
from procs.compactor import repair
from shared import checkpoint, config, dailyfiles, manifests, paths, staging
from shared.archive import unpack as unpack_zst
from shared.caution import Caution
from shared.edges import Inlet
from shared.events import AggTrade, Batch, Beat, Feed, Quote, Rejected, State, Trade, encode
from shared.files import Disk, Files
from shared.journal import HEADER, Damaged, Reader, Writer, pack, unpack
from shared.journal import _read_segment as segment_read
from shared.lines import line, parse_feed, parse_line
from shared.seals import Seals
from shared.venues import MAX_FRAME, MAX_ID, Control, Reject
from shared.venues._binance_rest import daily_of
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from shared.wire import Mesh, Router
from tests.fixtures.daily_server import zipped

EXAMPLES = int(os.environ.get("LAKE_FUZZ_EXAMPLES", "2000"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=1000, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
pytestmark = pytest.mark.timeout(240 * max(1, EXAMPLES // 2000))

FIXTURES = Path(__file__).parents[1] / "fixtures"
FRAMES = [
    frame
    for name in ("binance", "binance_usdm")
    for frame in (FIXTURES / name / "frames.jsonl").read_bytes().splitlines()
]
VENUES = [Spot(["SOLUSDT"]), Usdm(["BTCUSDT"])]

EVIL: list[Any] = [
    2**63, 2**64, -1, -(2**63), 10**400, 1e308, "NaN", "Infinity", "-0", "1e5", "\x00", "../../etc/x", "9" * 60, "٣",
    "", None, True, [], {}, [[]], 0, "0", "1.5", "\x1b[2J", "\ud800",
]  # fmt: skip
values = (
    st.sampled_from(EVIL) | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers(), max_size=3)
)


def put(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """`data` with pieces cut out and put in."""
    for at, cut, piece in edits:
        at = at % (len(data) + 1)
        data = data[:at] + piece + data[at + cut :]
    return data


edits = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 8), st.binary(max_size=5)), max_size=4)


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def mangled(samples: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=300) | st.builds(put, st.sampled_from(samples), edits)


def typed(samples: list[bytes]) -> st.SearchStrategy[bytes]:
    """Good JSON whose fields are of any type and size."""

    def change(sample: bytes, changes: dict[int, Any]) -> bytes:
        tree = json.loads(sample)
        inner = tree.get("data", tree) if isinstance(tree, dict) else tree[0] if tree else {}
        keys = list(inner) if isinstance(inner, dict) else []
        for at, value in changes.items():
            if keys:
                inner[keys[at % len(keys)]] = value
        return dumps(tree)

    return st.builds(change, st.sampled_from(samples), st.dictionaries(st.integers(0, 9), values, max_size=3))


# --- websocket frame -> event ---


def is_sound(event: Trade | AggTrade | Quote) -> bool:
    return event.symbol in ("SOLUSDT", "BTCUSDT") and parse_line(line(event).encode()).symbol == event.symbol


@given(mangled(FRAMES) | typed(FRAMES))
@fuzz
def test_a_frame_is_events_or_a_reject(frame: bytes) -> None:
    for venue in VENUES:
        try:
            found = venue.parse(frame, 1)
        except Reject:
            continue
        assert all(isinstance(event, Control) or is_sound(event) for event in found)


REST: list[bytes] = [
    b'{"serverTime":1499827319559}',
    b'[{"id":28457,"price":"4.00000100","qty":"12.0","quoteQty":"48.0","time":1499865549590,"isBuyerMaker":true}]',
    b'[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}]',
    b'{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}],"symbols":[]}',
    b'{"symbols":[{"symbol":"SOLUSDT","status":"TRADING","filters":[{"filterType":"LOT_SIZE","stepSize":"1"}]}]}',
]


@given(mangled(REST) | typed(REST))
@fuzz
def test_a_rest_answer_is_rows_or_a_reject(body: bytes) -> None:
    for venue in VENUES:
        parses: list[Callable[[], Any]] = [
            lambda v=venue: v.parse_time(body),  # type: ignore[misc]
            lambda v=venue: v.parse_instruments(body),  # type: ignore[misc]
            lambda v=venue: v.parse_newest(body, "SOLUSDT"),  # type: ignore[misc]
            lambda v=venue: v.parse_trades(body, "SOLUSDT", 1),  # type: ignore[misc]
            lambda v=venue: v.parse_aggregates(body, "SOLUSDT", 1),  # type: ignore[misc]
        ]
        for parse in parses:
            try:
                found = parse()
            except Reject:
                continue
            if isinstance(found, list):
                assert all(parse_line(line(event).encode()) for event in found)


# --- journal record, lane message ---

BATCH = Batch(
    7, 99,
    [
        Trade("SOLUSDT", 1, 1, 2, 3, "1.50", "2.0", "buy", 9),
        Quote("SOLUSDT", 1, None, None, 3, "1.50", "2.0", "1.60", "1.0", 10),
        Feed("gap", 1, 2, ["SOLUSDT"], {"first_id": 1, "last_id": 2}),
        Rejected("why", 1, 2, 3, "00", "raw"),
    ],
)  # fmt: skip
RECORD = pack(BATCH, 7, 5)
PAYLOAD = encode(BATCH)


def sealed(payload: bytes, first: int = 7, count: int = 5) -> bytes:
    """A record whose checksum is right, whatever it holds."""
    crc = zlib.crc32(payload, zlib.crc32(struct.pack("<QI", first, count)))
    return HEADER.pack(len(payload), crc, first, count) + payload


numbers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 7, -1, 2**63])
trees_of_any = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5) | st.binary(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
packed = trees_of_any.map(msgspec.msgpack.encode)
near_batches = st.lists(trees_of_any, max_size=4).map(lambda rest: msgspec.msgpack.encode(["B", *rest]))
payloads = mangled([PAYLOAD, encode(State(b"x"))]) | packed | near_batches
messages = mangled([RECORD, RECORD + RECORD]) | st.builds(
    sealed, payloads, st.integers(0, 2**64 - 1) | st.integers(0, 20), st.integers(0, 2**32 - 1) | st.integers(0, 9)
)


@given(messages)
@fuzz
def test_a_record_is_a_batch_or_damage(data: bytes) -> None:
    try:
        batch = unpack(data)
    except Damaged:
        pass
    else:
        assert isinstance(batch, Batch) and (batch.first, len(batch.events) + 1) == HEADER.unpack_from(data)[2:]
    for found in segment_read(data, 0)[1]:
        assert isinstance(found, Batch)


class Once:
    """A lane on which these messages come."""

    def __init__(self, messages_: list[bytes]) -> None:
        self._messages = messages_

    def recv(self) -> bytes | None:
        return self._messages.pop(0) if self._messages else None


@given(st.lists(messages, min_size=1, max_size=3))
@fuzz
def test_a_lane_that_lies_changes_nothing_of_what_the_journal_says(sent: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = Files(folder)
        writer = Writer(disk, "j", bytes)
        writer.open()
        writer.roll()
        writer.append(Batch(1, 5, [Trade("SOLUSDT", 1, 1, 2, 3, "1.50", "2.0", "buy", 9)]))
        inlet = Inlet(Reader(disk, "j"), Once(sent), 0)
        taken = [batch for turn in range(6) for batch in inlet.take(turn * 10**9)]
        writer.close()
    assert taken[0] == Batch(1, 5, [Trade("SOLUSDT", 1, 1, 2, 3, "1.50", "2.0", "buy", 9)]), "the journal comes first"
    positions = [batch.first for batch in taken]
    assert positions == sorted(set(positions)), "never back, never twice"


@given(st.lists(messages, max_size=4))
@fuzz
def test_a_segment_of_anything_is_opened_and_read(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = Files(folder)
        disk.write("journal/x/x/j-00000000000000000001.log", b"".join(pieces))
        Reader(disk, "journal/x/x").read(0)
        writer = Writer(disk, "journal/x/x", bytes)
        writer.open()
        writer.roll()
        writer.append(Batch(writer.last + 1, 5, []))
        writer.close()
        assert Reader(disk, "journal/x/x").read(writer.last - 1)[-1].last == writer.last


# --- checkpoint slot ---


def slot(payload: bytes, sequence: int) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "little")))
    return struct.pack("<4sQII", b"lck1", sequence, len(payload), crc) + payload


GOOD = msgspec.msgpack.encode({"position": 7, "ts": 9, "ended": False})


@given(mangled([slot(GOOD, 3)]) | st.builds(slot, packed | st.binary(max_size=40), st.integers(0, 2**63)))
@fuzz
def test_a_slot_is_a_map_or_nothing_and_others_can_go_on(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = Files(folder)
        disk.write("ckpt.0", slot(GOOD, 2))
        disk.write("ckpt.1", data)
        assert isinstance(checkpoint.peek(disk, "ckpt"), dict)
        own = checkpoint.Checkpoint(disk, "ckpt")
        own.load()
        own.store(GOOD)
        assert checkpoint.peek(disk, "ckpt") == msgspec.msgpack.decode(GOOD)


# --- config ---

PIPELINE = (FIXTURES.parents[1] / "pipeline.yml").read_bytes()
entries = st.dictionaries(
    st.sampled_from(["run", "inputs", "venue", "symbols", "every", "ws_url", "x"]),
    values | st.sampled_from(["ingest", "archiver", ["a"]]),
    max_size=5,
)
trees = st.dictionaries(
    st.sampled_from(["lake", "sources", "transforms", "sinks", "batches", "x"]),
    values | st.dictionaries(st.sampled_from(["a", "b", "con", "../x", "A", ""]), entries, max_size=3),
    max_size=4,
)


@given(
    mangled([PIPELINE, b"lake: ./x\nsources: {a: {run: ingest}}"])
    | trees.map(lambda t: yaml.safe_dump(t).encode("utf-8", "replace"))
)
@settings(fuzz, deadline=5000)
def test_a_pipeline_file_is_a_pipeline_or_faults(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yml"
        path.write_bytes(data)
        try:
            found = config.load(path)
            assert Path(found.lake).is_absolute() and "\0" not in found.lake
        except config.ConfigError as error:
            assert error.faults


# --- control message, heartbeat, the run's file ---


class Asked:
    """A ROUTER socket at which these frames wait."""

    def __init__(self, waiting: list[list[bytes]]) -> None:
        self._waiting = waiting

    def recv_multipart(self, _: int) -> list[bytes]:
        import zmq

        if not self._waiting:
            raise zmq.Again
        return self._waiting.pop(0)


requests = mangled([b'{"do":"status","token":"t"}']) | st.dictionaries(
    st.sampled_from(["do", "token", "stage"]), values, max_size=3
).map(dumps)


@given(st.lists(st.lists(requests, max_size=4) | st.builds(lambda body: [b"id", b"", body], requests), max_size=3))
@fuzz
@example([[b"id", b"", b"[" * 100_000]])
@example([[b"id", b"", b'{"token":"t"}']])
def test_a_control_message_is_a_request_of_this_run_or_counted(waiting: list[list[bytes]]) -> None:
    count = len(waiting)
    router = Router(Asked(list(waiting)), "t")  # type: ignore[arg-type]
    taken = 0
    while (asked := router.recv()) is not None:
        taken += 1
        assert isinstance(asked[1], dict) and "token" not in asked[1]
    assert taken + router.refused == count


@given(mangled([msgspec.msgpack.encode(Beat("archive", 1, "t"))]) | packed)
@fuzz
def test_a_heartbeat_is_one_or_an_error_that_is_caught(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        assert isinstance(msgspec.msgpack.decode(data, type=Beat), Beat)


@given(mangled([msgspec.json.encode(Mesh(token="t", pid=1, folder="", transport="ipc", config="", started_ns=0))]))
@fuzz
def test_the_runs_file_is_one_or_an_error_that_is_caught(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        assert isinstance(msgspec.json.decode(data, type=Mesh), Mesh)


# --- raw lines ---

LINES = [line(event).encode() for event in BATCH.events if not isinstance(event, Rejected)]
LINES.append(line(AggTrade("BTCUSDT", 1, 1, None, 2, "1.5", "2.0", "sell", 3, 4, 5)).encode())


@given(mangled(LINES) | typed(LINES))
@fuzz
@example(b"[" * 100_000)
@example(LINES[0].replace(b'"trade_id":9', b'"trade_id":' + b"9" * 5000))
def test_a_raw_line_is_an_event_a_table_can_hold_or_an_error_that_is_caught(data: bytes) -> None:
    for parse in (parse_line, parse_feed):
        try:
            event = parse(data)
        except (ValueError, RecursionError):
            continue
        assert isinstance(event, Feed | Trade | AggTrade | Quote) and 0 <= event.ts <= MAX_ID
        if not isinstance(event, Feed):
            assert line(parse_line(line(event).encode())) == line(event)


@given(st.binary(max_size=300) | st.builds(put, st.just(b"(\xb5/\xfd\x04X)\x00\x00hello\x9a\xe0\xbb\xd5"), edits))
@fuzz
def test_compressed_lines_are_unpacked_or_said_to_be_broken(data: bytes) -> None:
    content, why = unpack_zst(data)
    assert isinstance(content, bytes) and isinstance(why, str)


# --- the venue's daily files ---

DAILY = daily_of("spot")
DATE = "2025-10-20"
DAY = "SOLUSDT-trades-2025-10-20"
START_US = paths.day_start(DATE) // 1000
ROWS = [
    f"1520545031,187.42000000,3.10000000,581.00200000,{START_US + 5},False,True".encode(),
    b"id,price,qty,quote_qty,time,is_buyer_maker",
    f"{2**63},1e5,-1,NaN,{START_US},True,TRUE".encode(),
    f"26129,0.01633102,4.70443515,27781,27783,{START_US + 5000},true,True".encode(),
]
ZIPS = [
    zipped({member: b"\n".join(ROWS) * many}, method)
    for member in (f"{DAY}.csv", "../x.csv")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    for many in (1, 30)
]


@given(mangled(ZIPS))
@fuzz
def test_a_zip_is_lines_or_a_bad_archive(data: bytes) -> None:
    with contextlib.suppress(dailyfiles.BadArchive):
        for found in dailyfiles.lines(io.BytesIO(data), DAY):
            assert isinstance(found, bytes) and len(found) < 1 << 20


@given(mangled([b"0" * 64 + b"  SOLUSDT-trades-2025-10-20.zip\n", b"f" * 64]))
@fuzz
def test_a_checksum_is_one_or_a_bad_archive(data: bytes) -> None:
    with contextlib.suppress(dailyfiles.BadArchive):
        found = dailyfiles.parse_checksum(data, DAY)
        assert len(found) == 64 and int(found, 16) >= 0


@given(st.lists(mangled(ROWS), max_size=4), st.sampled_from(["trade", "agg_trade"]))
@fuzz
def test_a_row_of_a_daily_file_is_a_trade_of_that_day_or_counted(rows: list[bytes], kind: str) -> None:
    reader = dailyfiles.Rows(DAILY, kind, "SOLUSDT", DATE, 1)
    for event in reader.events(rows):
        assert paths.date_of(event.ts) == DATE and is_sound(event)


# --- what stages leave for one another ---

NOTES: dict[str, tuple[bytes, Callable[[Disk], object]]] = {
    staging.folder("binance", "SOLUSDT", DATE) + "/backfill.json": (
        b'{"hours":[1,2,23],"rows":7,"added":3,"sources":[{"kind":"trade","sha256":"x"}],"ids":[1,9],"force":[]}',
        lambda disk: staging.read(disk, "binance", "SOLUSDT", DATE),
    ),
    f"{staging.STAGING}/time-binance.json": (b"1760918400000000000", lambda disk: staging.seen_time(disk, "binance")),
    paths.fetched_file("binance", "SOLUSDT", DATE): (
        b'[{"kind":"trade","url":"https://x/y.zip","sha256":"0","fetched":7,"rows":1,"added":1}]',
        lambda disk: staging.fetched(disk, "binance", "SOLUSDT", DATE),
    ),
    paths.certificate("binance", "SOLUSDT", DATE): (
        b'{"certificate":2,"trades_missing":3,"aggregates_missing":0}',
        lambda disk: staging.certified_missing(disk, "binance", "SOLUSDT", DATE),
    ),
    paths.manifest_file("binance", "SOLUSDT", DATE): (
        b'{"issue":1,"replaces":null,"checksums":"x","files":[],"raw_hours":[0,23]}',
        lambda disk: manifests.read(disk, "binance", "SOLUSDT", DATE),
    ),
    "journal/archive/seals-binance.0": (b"", lambda disk: Seals(disk, "journal/archive/seals-binance").load()),
    "journal/archive/tries-binance": (
        msgspec.msgpack.encode({"position": 7, "at": 3, "times": 2, "poison": 0}),
        lambda disk: Caution(disk, "journal/archive/ckpt-binance", "binance").begin(7),
    ),
}


@given(st.sampled_from(list(NOTES)), st.data())
@fuzz
def test_a_note_is_read_or_is_none(path: str, data: st.DataObject) -> None:
    good, read = NOTES[path]
    samples = [good] if good else [slot(msgspec.msgpack.encode({"raw/x": [1, 2, 3, 4]}), 3)]
    note = data.draw(mangled(samples) | (typed(samples) if good[:1] == b"{" else packed))
    disk = SimDisk(Medium(Random(0)))  # in memory
    disk.write(path, note)
    read(disk)


names = st.sampled_from(["2025-10-20_05", "2025-10-20_99", "2025-13-20_05", "x", "2025-10-20_5", "CON"])


@given(st.lists(st.tuples(names, names, st.sampled_from(["", ".json", ".parquet"])), max_size=4))
@fuzz
def test_whatever_lies_among_the_requests_only_hours_of_days_are_asked_for(found: list[tuple[str, str, str]]) -> None:
    disk = SimDisk(Medium(Random(0)))
    for symbol, name, ending in found:
        disk.write(f"{paths.REQUESTS}/binance/{symbol}/{name}{ending}", b"")
    for _, symbol, date, hours in repair.requests(disk):
        assert date == DATE and all(0 <= hour < 24 for hour in hours), (symbol, hours)


# --- what is too much ---

DEEP = 5000


NESTED = {
    "lists": b"[" * DEEP,
    "maps": b'{"a":' * DEEP,
    "data": b'{"data":' * DEEP,
    "inner": b'{"stream":"solusdt@trade","data":' + b"[" * DEEP,
    "a megabyte": b"[" * MAX_FRAME,
}


@pytest.mark.parametrize("frame", NESTED.values(), ids=NESTED)
def test_nesting_without_end_is_a_reject(frame: bytes) -> None:
    for venue in VENUES:
        with pytest.raises(Reject):
            venue.parse(frame, 1)
        with pytest.raises(Reject):
            venue.parse_instruments(frame)


@pytest.mark.parametrize("value", [2**63, 2**64, -1, 10**30, 1.5, "NaN", "Infinity", "\0", "../../etc/x", None, True])
@pytest.mark.parametrize("key", ["t", "T", "E", "p", "q", "s"])
def test_what_no_trade_can_be_is_a_reject(key: str, value: object) -> None:
    data: dict[str, object] = {
        "e": "trade", "E": 1672515782136, "s": "SOLUSDT", "t": 12345, "p": "0.001", "q": "100",
        "T": 1672515782136, "m": True, "M": True,
    }  # fmt: skip
    assert VENUES[0].parse(dumps({"stream": "solusdt@trade", "data": data}), 1)
    with pytest.raises(Reject):
        if VENUES[0].parse(dumps({"stream": "solusdt@trade", "data": data | {key: value}}), 1) and key == "E":
            raise Reject("the sending time may be left out")


def test_a_longer_frame_is_not_even_decoded() -> None:
    tracemalloc.start()
    try:
        for venue in VENUES:
            with pytest.raises(Reject, match="longer"):
                venue.parse(b'{"stream":"' + b"x" * MAX_FRAME + b'"}', 1)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_length_that_lies_reserves_nothing() -> None:
    tracemalloc.start()
    try:
        for length in (2**32 - 1, 1 << 31, 64 << 20):
            with pytest.raises(Damaged):
                unpack(HEADER.pack(length, 0, 1, 1) + b"x")
        with pytest.raises(Damaged):  # an array said to be of four billion
            unpack(sealed(b"\x93\xa1B\x01\xdd\xff\xff\xff\xff"))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_nothing_of_ours_can_unpickle_or_evaluate() -> None:
    root = FIXTURES.parents[1]
    for folder in ("shared", "procs", "supervision"):
        for path in (root / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in (
                "import pickle",
                "recv_pyobj",
                "marshal.load",
                " eval(",
                " exec(",
                "yaml.unsafe",
                "shell=True",
            ):
                assert word not in text, f"{word} in {path}"
    assert sys.getrecursionlimit() <= 10_000
