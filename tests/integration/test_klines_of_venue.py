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
from shared import config, klinestore, paths
from shared.bars import Bars
from shared.enquiry import Enquiry, Silent, source_of
from shared.errand import Errand
from shared.events import AggTrade, Trade
from shared.files import Files
from shared.process import Lifeline
from shared.venues import Request
from shared.venues.binance import Venue as Spot
from shared.venues.binance_usdm import Venue as Usdm
from tests.fixtures import small_lake
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


# --- those that the stream brought ---


def heard(disk: Files, venue: Emulator, change: Any = None, venue_name: str = "binance") -> list[Any]:
    """The venue's own bars of the two last minutes, kept as ingest keeps what it hears."""
    adapter = Spot()
    klines = adapter.parse_klines(found_body(venue, adapter.ask_klines("SOLUSDT", MIDNIGHT - 2 * MINUTE)))
    klines = [kline for kline in klines if kline.start < MIDNIGHT]
    lines = [klinestore.line(change(kline) if change else kline) for kline in klines]
    disk.write(f"{klinestore.folder(venue_name, venue_name, 'SOLUSDT')}/{DATE}.jsonl", b"".join(lines))
    return klines


def test_what_the_stream_brought_is_compared_without_asking(
    tmp_path: Path, venue: Emulator, trades: list[Trade]
) -> None:
    disk, _ = a_lake(tmp_path, venue, trades)
    count = len(heard(disk, venue))
    nowhere = (tmp_path / "pipeline.yml").read_text().replace(venue.rest_url, "http://127.0.0.1:1")
    (tmp_path / "pipeline.yml").write_text(nowhere)
    said = judged(disk, config.load(tmp_path / "pipeline.yml"))["klines"]
    assert "why_not" not in said, said
    assert 115 <= said["compared"] <= count and said["from_stream"] == said["compared"] and said["different"] == 0


def test_what_the_stream_did_not_bring_is_asked_for(tmp_path: Path, venue: Emulator, trades: list[Trade]) -> None:
    disk, pipeline = a_lake(tmp_path, venue, trades)
    heard(disk, venue)
    path = f"{klinestore.folder('binance', 'binance', 'SOLUSDT')}/{DATE}.jsonl"
    lines = disk.read(path).splitlines(keepends=True)
    disk.write(path, b"".join(lines[:40] + lines[60:]))
    said = judged(disk, pipeline)["klines"]
    assert said["compared"] >= 115 and 0 < said["from_stream"] < said["compared"] and said["different"] == 0


def test_a_bar_that_came_too_early_over_the_stream_is_no_difference(
    tmp_path: Path, venue: Emulator, trades: list[Trade]
) -> None:
    disk, pipeline = a_lake(tmp_path, venue, trades)
    heard(disk, venue, lambda kline: msgspec.structs.replace(kline, trade_count=max(0, kline.trade_count - 1)))
    said = judged(disk, pipeline)["klines"]
    assert (said["different"], said["from_stream"]) == (0, 0) and said["compared"] >= 115


# --- futures ---


def _aggregates(venue: Emulator) -> list[AggTrade]:
    """Those of somewhat more than the last two minutes and of what follows, as if they had been received."""
    adapter = Usdm(["BTCUSDT"], ["agg_trade"])
    start, end = MIDNIGHT - 2 * MINUTE - 20 * SECOND, MIDNIGHT + 30 * SECOND
    asked = adapter.ask_aggregates("BTCUSDT", None, start, start + MINUTE)
    found: list[AggTrade] = []
    while not found or found[-1].ts < end:
        page = adapter.parse_aggregates(found_body(venue, asked), "BTCUSDT", 0)
        found += page
        asked = adapter.ask_aggregates("BTCUSDT", page[-1].agg_id + 1, None, None)
    return [msgspec.structs.replace(one, source="ws") for one in found if one.ts < end]


def _usdm_lake(root: Path, venue: Emulator, aggregates: list[AggTrade], patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(small_lake, "VENUE", "binance_usdm")
    root.mkdir()
    text = PIPELINE % (venue.rest_url, "")
    for old, new in (("binance:", "binance_usdm:"), ("venue: binance", "venue: binance_usdm"), ("SOL", "BTC")):
        text = text.replace(old, new)
    text = text.replace("[trade]", "[agg_trade]").replace("[binance]", "[binance_usdm]")
    (root / "pipeline.yml").write_text(text)
    disk = Files(root / "lake")
    disk.mkdir("journal/binance_usdm/binance_usdm")
    bars = Bars(use_agg=True)
    bars.take(aggregates)
    closed = bars.advance(MIDNIGHT + MINUTE)
    assert closed is not None
    write_raw(disk, aggregates)  # type: ignore[arg-type]
    write_bars(disk, closed[1])
    write_reached(disk, MIDNIGHT + 3 * MINUTE)
    validate(Errand(disk, Config(), config.load(root / "pipeline.yml"), DATE, True, Lifeline()))
    found: dict[str, Any] = msgspec.json.decode(disk.read(paths.certificate("binance_usdm", "BTCUSDT", DATE)))
    return found


def test_every_minute_of_futures_equals_the_venues_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """USD-M has no bars of a second: ours are rolled up, and a wrong trade flags its minute alone."""
    with emulator(
        tmp_path, "--market", "usdm", "--symbols", "BTCUSDT", "--start", START, "--speed", "60", "--rate", "40"
    ) as venue:
        until = time.monotonic() + 30
        while Usdm().parse_time(found_body(venue, Usdm().ask_time())) < MIDNIGHT + MINUTE:
            assert time.monotonic() < until
            time.sleep(0.1)
        aggregates = _aggregates(venue)
        said = _usdm_lake(tmp_path / "right", venue, aggregates, monkeypatch)["klines"]
        assert "why_not" not in said, said
        assert (said["interval_s"], said["compared"], said["different"], said["differ"]) == (60, 2, 0, [])
        wrong = next(one for one in aggregates if one.ts >= MIDNIGHT - MINUTE)
        changed = [msgspec.structs.replace(one, price="1.0") if one is wrong else one for one in aggregates]
        said = _usdm_lake(tmp_path / "wrong", venue, changed, monkeypatch)["klines"]
    assert [one["ts"] for one in said["differ"]] == [MIDNIGHT - MINUTE] and said["compared"] == 2
    one = said["differ"][0]
    assert "low" in one["columns"] and float(one["ours"]["low"]) == 1.0 < float(one["venue"]["low"])
    assert (
        one["reason"] == "the same number of trades with other values: either our archive or the venue's bar is wrong"
    )
