"""Bars of a closed day against the venue's own, asked for over REST."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from procs.validator import Config
from procs.validator.work import validate
from shared import config, paths
from shared.enquiry import Enquiry, Silent, source_of
from shared.errand import Errand
from shared.events import Trade
from shared.files import Files
from shared.process import Lifeline
from shared.venues import Request
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from tests.fixtures.small_lake import bars_of, write_bars, write_raw, write_reached
from tests.integration.emulators import Emulator, emulator

DATE = "2025-10-20"
START, MIDNIGHT = "2025-10-20T23:57:30Z", paths.day_start("2025-10-21")
MINUTE, SECOND = paths.MINUTE, paths.SECOND
PIPELINE = """
lake: ./lake
sources:
  binance: {run: ingest, venue: binance, symbols: [SOLUSDT], streams: [trade], rest_url: %s%s}
transforms:
  bars_1s: {run: aggregator, inputs: [binance]}
sinks:
  archive: {run: archiver, inputs: [binance]}
  parquet: {run: parquet_sink, inputs: [bars_1s]}
"""


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A venue that has passed midnight."""
    folder = tmp_path_factory.mktemp("venue")
    with emulator(folder, "--symbols", "SOLUSDT,ADAUSDT", "--start", START, "--speed", "60", "--rate", "80") as found:
        until = time.monotonic() + 30
        while Spot().parse_time(found_body(found, Spot().ask_time())) < MIDNIGHT + MINUTE:
            assert time.monotonic() < until
            time.sleep(0.1)
        yield found


def found_body(venue: Emulator, request: Request) -> bytes:
    query = "&".join(f"{key}={value}" for key, value in request.params)
    return json.dumps(venue.get(f"{request.path}?{query}", X_MBX_TIME_UNIT="MICROSECOND")).encode()


@pytest.fixture(scope="module")
def trades(venue: Emulator) -> list[Trade]:
    """What the venue has from its start to half a minute past midnight."""
    found: list[Trade] = []
    newest = Spot().parse_newest(found_body(venue, Spot().ask_newest("SOLUSDT")), "SOLUSDT")
    assert newest is not None
    at = newest.trade_id - 3000
    while not found or found[-1].ts < MIDNIGHT + 30 * SECOND:
        page = Spot().parse_trades(found_body(venue, _trades(at)), "SOLUSDT", 0)
        found += page
        at = page[-1].trade_id + 1
    first = MIDNIGHT - 2 * MINUTE
    return [trade for trade in found if first <= trade.ts < MIDNIGHT + 30 * SECOND]


def _trades(first: int) -> Request:
    asked = Spot().ask_trades("SOLUSDT", first, 1000)
    assert asked is not None
    return asked


def a_lake(root: Path, venue: Emulator, trades: list[Trade], more: str = "") -> tuple[Files, Any]:
    (root / "pipeline.yml").write_text(PIPELINE % (venue.rest_url, more))
    disk = Files(root / "lake")
    disk.mkdir("journal/binance/binance")
    write_raw(disk, trades)
    write_bars(disk, bars_of(trades, MIDNIGHT + MINUTE))
    write_reached(disk, MIDNIGHT + 3 * MINUTE)
    return disk, config.load(root / "pipeline.yml")


def judged(disk: Files, pipeline: Any, settings: Config | None = None, *flags: str) -> dict[str, Any]:
    validate(Errand(disk, settings or Config(), pipeline, DATE, True, Lifeline(), frozenset(flags)))
    found: dict[str, Any] = msgspec.json.decode(disk.read(paths.certificate("binance", "SOLUSDT", DATE)))
    return found


def test_every_second_equals_the_venues_own(tmp_path: Path, venue: Emulator, trades: list[Trade]) -> None:
    disk, pipeline = a_lake(tmp_path, venue, trades)
    said = judged(disk, pipeline)["klines"]
    assert "why_not" not in said, said
    assert (said["interval_s"], said["different"], said["differ"]) == (1, 0, [])
    assert 115 <= said["compared"] <= 120
    row = Files(tmp_path / "lake").read_table("quality/days.parquet").to_pylist()[0]
    assert (row["klines_compared"], row["klines_different"]) == (said["compared"], 0)
    # Once is enough.
    assert judged(disk, pipeline)["klines"] == said


def test_a_missing_trade_is_seen_and_named(tmp_path: Path, venue: Emulator, trades: list[Trade]) -> None:
    lost = trades[len(trades) // 4]
    disk, pipeline = a_lake(tmp_path, venue, [trade for trade in trades if trade is not lost])
    said = judged(disk, pipeline)["klines"]
    assert said["different"] == 1
    found = said["differ"][0]
    assert found["ts"] == lost.ts // SECOND * SECOND
    assert found["reason"] == f"trades are missing here: ids {lost.trade_id} to {lost.trade_id}"
    assert found["venue"]["trade_count"] == found["ours"]["trade_count"] + 1


def test_a_wrong_trade_flags_exactly_its_second(tmp_path: Path, venue: Emulator, trades: list[Trade]) -> None:
    wrong = trades[len(trades) // 4]
    changed = msgspec.structs.replace(wrong, qty="12345.678")
    disk, pipeline = a_lake(tmp_path, venue, [changed if trade is wrong else trade for trade in trades])
    said = judged(disk, pipeline)
    assert [one["ts"] for one in said["klines"]["differ"]] == [wrong.ts // SECOND * SECOND]
    assert any("of the venue's own bars differ from ours" in note for note in said["notes"])


def test_without_a_network_it_says_so_and_judges_the_rest(tmp_path: Path, venue: Emulator, trades: list[Trade]) -> None:
    disk, pipeline = a_lake(tmp_path, venue, trades)
    nowhere = (tmp_path / "pipeline.yml").read_text().replace(venue.rest_url, "http://127.0.0.1:1")
    (tmp_path / "pipeline.yml").write_text(nowhere)
    said = judged(disk, config.load(tmp_path / "pipeline.yml"))
    assert said["klines"]["why_not"].startswith("not compared further: ") and said["klines"]["compared"] == 0
    assert said["wrong"] == [] and said["trades"] > 0
    # It is asked again when it is there, not at every run.
    assert judged(disk, pipeline)["klines"]["compared"] == 0
    assert judged(disk, pipeline, None, "klines")["klines"]["compared"] > 0


def test_nobody_is_asked_about_a_replay_or_where_it_is_switched_off(
    tmp_path: Path, venue: Emulator, trades: list[Trade]
) -> None:
    disk, pipeline = a_lake(tmp_path, venue, trades, ", replay: true")
    assert source_of(pipeline, "binance") is None and judged(disk, pipeline)["klines"] == {}
    assert judged(disk, None)["klines"] == {}
    _, pipeline = a_lake(tmp_path, venue, trades)
    assert judged(disk, pipeline, Config(klines=False))["klines"] == {}


def test_a_venue_that_does_not_answer_is_left_alone(tmp_path: Path, venue: Emulator) -> None:
    enquiry = Enquiry(Spot(), venue.rest_url)
    try:
        assert enquiry.venue.parse_instruments(enquiry.get(enquiry.venue.ask_instruments(["SOLUSDT"])))[1] == 6000
        for path in ("/api/v3/nothing", "/api/v3/time"):  # the second is not asked any more
            with pytest.raises(Silent, match="404"):
                enquiry.get(Request(path))
    finally:
        enquiry.close()


def test_futures_are_compared_by_the_minute() -> None:
    assert (Spot.kline_s, Usdm.kline_s) == (1, 60)
