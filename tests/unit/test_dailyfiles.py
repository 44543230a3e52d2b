"""A venue's daily file: verified before it is opened, one member, as a stream, within limits; rows never guessed."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import dailyfiles, paths
from shared.dailyfiles import BadArchive, Rows
from shared.events import AggTrade, Trade
from shared.venues import Daily, binance, binance_usdm
from shared.venues._binance_rest import daily_of
from tests.fixtures.daily_server import zipped
from tests.integration.emulators import DATA, NO_DATA

SPOT, USDM = daily_of("spot"), daily_of("futures/um")
DATE = "2025-10-20"
NAME = f"SOLUSDT-trades-{DATE}"
START_US = paths.day_start(DATE) // 1000
ROW = f"1520545031,187.42000000,3.10000000,581.00200000,{START_US + 5},False,True"


def read(data: bytes, name: str = NAME) -> list[bytes]:
    return list(dailyfiles.lines(io.BytesIO(data), name))


def rows(
    *texts: str, daily: Daily = SPOT, kind: str = "trade", date: str = DATE
) -> tuple[list[Trade | AggTrade], Rows]:
    reader = Rows(daily, kind, "SOLUSDT", date, 77)
    return list(reader.events(text.encode() for text in texts)), reader


# --- names ---


def test_files_are_where_the_venue_publishes_them() -> None:
    assert dailyfiles.place(SPOT, "trade", "SOLUSDT", DATE) == (
        "/data/spot/daily/trades/SOLUSDT/SOLUSDT-trades-2025-10-20.zip"
    )
    assert dailyfiles.place(USDM, "agg_trade", "SOLUSDT", DATE) == (
        "/data/futures/um/daily/aggTrades/SOLUSDT/SOLUSDT-aggTrades-2025-10-20.zip"
    )
    assert dailyfiles.name(SPOT, "trade", "SOLUSDT", DATE) == NAME
    assert (binance.Venue.daily, binance_usdm.Venue.daily) == (SPOT, USDM)


@pytest.mark.parametrize("symbol", ["../../etc/x", "A/B", "A?B", "A#B", "ÅUSDT"])
def test_no_symbol_leads_to_another_path(symbol: str) -> None:
    place = dailyfiles.place(SPOT, "trade", symbol, DATE)
    assert place.count("/") == 6
    assert place.isascii()
    assert not set(place) & set("?#")


# --- checksums ---


def test_a_checksum_is_read_as_sha256sum_writes_it() -> None:
    digest = "ab" * 32
    for text in (f"{digest}  {NAME}.zip\n", f"{digest} *{NAME}.zip", f"{digest.upper()}\n", digest):
        assert dailyfiles.parse_checksum(text.encode(), NAME) == digest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"abcd  x.zip",
        b"ab" * 31,
        b"ab" * 32 + b"  BTCUSDT-trades-2025-10-20.zip",
        b"ab" * 4000,
        b"\xff" * 64,
    ],
)
def test_what_is_no_checksum_of_that_file_is_refused(body: bytes) -> None:
    with pytest.raises(BadArchive):
        dailyfiles.parse_checksum(body, NAME)


def test_other_bytes_than_the_checksum_says_are_refused() -> None:
    data = zipped({f"{NAME}.csv": [ROW]})
    digest = hashlib.sha256(data).hexdigest()
    dailyfiles.verify(io.BytesIO(data), digest)
    with pytest.raises(BadArchive, match="sha256"):
        dailyfiles.verify(io.BytesIO(data[:-1]), digest)


# --- hostile zips ---


def test_the_one_expected_member_is_read_as_lines() -> None:
    assert read(zipped({f"{NAME}.csv": [ROW, ROW]})) == [ROW.encode()] * 2
    assert read(zipped({f"{NAME}.csv": ROW.encode()})) == [ROW.encode()]
    assert read(zipped({f"{NAME}.csv": [ROW]}, zipfile.ZIP_STORED)) == [ROW.encode()]
    assert read(zipped({f"{NAME}.csv": b""})) == []


def test_lines_are_whole_over_the_edges_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dailyfiles, "CHUNK", 7)
    texts = [f"{n},{'9' * (n % 23)}" for n in range(500)]
    assert read(zipped({f"{NAME}.csv": texts})) == [text.encode() for text in texts]


@pytest.mark.parametrize(
    "member",
    [
        "../../../etc/cron.d/x",
        f"../{NAME}.csv",
        f"/{NAME}.csv",
        f"x/{NAME}.csv",
        "BTCUSDT-trades-2025-10-20.csv",
        f"{NAME}.csv/",
        f"{NAME}.CSV",
    ],
)
def test_a_member_of_another_name_is_refused(member: str) -> None:
    with pytest.raises(BadArchive, match="instead of"):
        read(zipped({member: [ROW]}))


def test_two_members_or_none_are_refused() -> None:
    with pytest.raises(BadArchive, match="2 files"):
        read(zipped({f"{NAME}.csv": [ROW], "x.csv": [ROW]}))
    with pytest.raises(BadArchive, match="0 files"):
        read(zipped({}))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(BadArchive, match="would unpack to 50000000 bytes"):
        read(zipped({f"{NAME}.csv": bytes(50_000_000)}))


def test_a_bomb_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(zipped({f"{NAME}.csv": (ROW + "\n").encode() * 300_000}))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1000)  # its size as the directory tells it
    with pytest.raises(BadArchive):
        read(bytes(data))


def test_what_unpacks_to_more_than_any_day_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{NAME}.csv": [f"{n},{n * 7919**5}" for n in range(10_000)]})
    monkeypatch.setattr(dailyfiles, "MOST_BYTES", 100_000)
    with pytest.raises(BadArchive, match="more than the 100000"):
        read(data)


def test_a_line_without_end_is_refused() -> None:
    noise = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest().encode() for n in range(5000))
    with pytest.raises(BadArchive, match="longer than a trade"):
        read(zipped({f"{NAME}.csv": noise}))


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"PK\x05\x06",
        lambda data: b"<html>404</html>",
        lambda data: data[:60] + bytes([data[60] ^ 0x55]) + data[61:],
        lambda data: data[:8] + b"\x63" + data[9:],
    ],
    ids=["half", "last byte", "nothing", "four bytes", "a page", "a flipped bit", "another method"],
)
def test_a_damaged_zip_is_refused(harm: Callable[[bytes], bytes]) -> None:
    whole = zipped({f"{NAME}.csv": [f"{n},{ROW}" for n in range(2000)]})
    with pytest.raises(BadArchive):
        read(harm(whole))


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_zip_that_says_it_begins_before_its_beginning_is_refused(tmp_path: Path, on_disk: bool) -> None:
    """A real file and one in memory complain of that in different words."""
    data = zipped({f"{NAME}.csv": f"{ROW}\n".encode()})
    end = data.rindex(b"PK\x05\x06")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    bad = data[: end + 12] + (size + 29).to_bytes(4, "little") + data[end + 16 :]
    path = tmp_path / "x.zip"
    for one in (bad, data[1:], b"x" + data[:end] + data[end + 1 :]):
        path.write_bytes(one)
        with path.open("rb") as file, pytest.raises(BadArchive):
            list(dailyfiles.lines(file if on_disk else io.BytesIO(one), NAME))


def test_an_encrypted_or_unusually_packed_member_is_refused() -> None:
    data = bytearray(zipped({f"{NAME}.csv": [ROW]}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    with pytest.raises(BadArchive):
        read(bytes(data))
    with pytest.raises(BadArchive, match="unusual"):
        read(zipped({f"{NAME}.csv": [ROW]}, zipfile.ZIP_BZIP2))


# --- rows ---


def test_a_spot_row_is_a_trade_with_the_venues_digits() -> None:
    found, reader = rows(ROW)
    ts = (START_US + 5) * 1000
    assert found == [Trade("SOLUSDT", ts, ts, None, 77, "187.42000000", "3.10000000", "buy", 1520545031, "archive")]
    assert (reader.read, reader.rejected) == (1, 0)


def test_milliseconds_and_microseconds_are_told_apart_by_their_size() -> None:
    for stamp in (START_US + 5000, (START_US + 5000) // 1000):
        found, _ = rows(f"1,2.0,3.0,6.0,{stamp},True,True")
        assert found[0].ts == (START_US + 5000) * 1000
    assert isinstance(found[0], Trade)
    assert found[0].side == "sell"


def test_futures_have_a_header_and_no_best_match() -> None:
    found, reader = rows(
        "id,price,qty,quote_qty,time,is_buyer_maker", f"7,2.0,3.0,6.0,{START_US // 1000 + 9},true", daily=USDM
    )
    assert [(event.ts, event.side) for event in found] == [(START_US * 1000 + 9_000_000, "sell")]
    assert reader.rejected == 0


def test_an_aggregate_covers_its_trades() -> None:
    found, _ = rows(
        f"9,2.0,3.0,100,105,{START_US},False,True", f"10,2.0,3.0,-1,-1,{START_US},False,True", kind="agg_trade"
    )
    assert [(e.agg_id, e.first_trade_id, e.last_trade_id, e.source) for e in found if isinstance(e, AggTrade)] == [
        (9, 100, 105, "archive")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "1,2.0,3.0,6.0,{t},Fal",
        "1,2.0,3.0,6.0,{t}",
        "1,2.0,3.0,6.0,{t},False,Tru",
        "1,2.0,3.0,6.0,{t},False,True,1",
        "1,2.0,3.0,6.0,17,False,True",
        "1,2.0,3.0,6.0,{next},False,True",
        "1,2.0,3.0,6.0,{before},False,True",
        "x,2.0,3.0,6.0,{t},False,True",
        "-1,2.0,3.0,6.0,{t},False,True",
        "9223372036854775808,2.0,3.0,6.0,{t},False,True",
        "1,NaN,3.0,6.0,{t},False,True",
        "1,2e5,3.0,6.0,{t},False,True",
        "1,-2.0,3.0,6.0,{t},False,True",
        "1,2.0,,6.0,{t},False,True",
        "1,2.0,3.0,6.0,{t},0,True",
        "\xff,2.0,3.0,6.0,{t},False,True",
    ],
)
def test_a_row_that_is_no_trade_of_that_day_is_counted_and_left_out(text: str) -> None:
    row = text.format(t=START_US, next=START_US + 86_400_000_000, before=START_US - 1)
    found, reader = rows(ROW, row)
    assert len(found) == 1
    assert (reader.read, reader.rejected) == (1, 1)
    assert reader.reason.startswith("line 2: ")


@pytest.mark.skipif(not DATA.is_dir(), reason=NO_DATA)
def test_the_exchanges_own_file_is_read_to_its_last_row() -> None:
    text = gzip.decompress((DATA / "binance-vision/ETHUSDT-usdm-trades-2024-04-20_first-2000.csv.gz").read_bytes())
    reader = Rows(USDM, "trade", "ETHUSDT", "2024-04-20", 1)
    found = list(reader.events(read(zipped({f"{NAME}.csv": text}))))
    assert (reader.read, reader.rejected) == (1999, 0)
    ids = [event.trade_id for event in found if isinstance(event, Trade)]
    assert (ids[0], ids[-1]) == (3920436870, 3920438869)
    assert set(range(ids[0], ids[-1] + 1)) - set(ids) == {3920437398}
    assert paths.date_of(found[0].ts) == "2024-04-20"
    assert found[0].ts % paths.DAY == 68_000_000
