"""The backfill: what is missing is fetched once, what is held stays, and a kill at any instant costs nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from procs.backfill.asking import Asked, Asker
from procs.backfill.progress import Progress
from procs.backfill.work import Place, Run
from procs.compactor import Config
from procs.compactor.work import compact
from shared import archive, paths, staging
from shared.errand import Errand
from shared.events import AggTrade, Quote, Trade
from shared.files import Files
from shared.lines import line, parse_line
from shared.process import Lifeline
from shared.venues import binance
from tests.fixtures.daily_server import Archive, day_of, serving, zipped
from tests.fixtures.dying_disk import Died, DyingDisk
from tests.fixtures.small_lake import HOUR, MINUTE, VENUE, Market, write_lake, write_reached
from tests.integration.emulators import ROOT, Emulator, emulator

DATE, NEXT = "2025-10-20", "2025-10-21"
SYMBOL = "SOLUSDT"
MIDNIGHT = paths.day_start(DATE)
LATER = MIDNIGHT + 10 * paths.DAY


def a_day(trades: int = 1, every: int = 300, quotes: int = 1) -> list[Trade | Quote]:
    return Market().events(MIDNIGHT, 24 * 3600, trades=trades, quotes=quotes, every=every)


def trades_of(events: list[Trade | Quote]) -> list[Trade]:
    return [event for event in events if isinstance(event, Trade)]


@pytest.fixture
def venue() -> Iterator[Archive]:
    with serving() as found:
        yield found


def publish(venue: Archive, trades: list[Trade], date: str = DATE) -> None:
    venue.publish(*day_of(SYMBOL, date, trades))


def backfill(disk: Files, venue: Archive, force: bool = False, dates: tuple[str, ...] = (DATE,)) -> Run:
    """A run by days, of spot trades."""
    with Progress(quiet=True) as progress:
        asker = Asker(binance.Venue(), venue.url, venue.url, "", lambda: False, progress)
        try:
            run = Run(Place(disk, None, binance.Venue(), SYMBOL, ("trade",), force), asker, progress, LATER)
            run.dates(dates)
        finally:
            asker.close()
    return run


def install(disk: Files) -> int:
    return compact(Errand(disk, Config(), None, None, False, Lifeline()))


def held(disk: Files, date: str = DATE) -> list[Trade | AggTrade | Quote]:
    found: list[Trade | AggTrade | Quote] = []
    for _, events, problems in archive.read_day(disk, VENUE, SYMBOL, date):
        assert problems == []
        found += events
    return found


def ids(disk: Files) -> list[int]:
    return [event.trade_id for event in held(disk) if isinstance(event, Trade)]


def bars(root: Path) -> pl.DataFrame:
    return pl.read_parquet(root / f"parquet/{VENUE}/{SYMBOL}/{DATE}.parquet").drop("revision")


def ticks(root: Path) -> pl.DataFrame:
    return pl.read_parquet(root / f"ticks/{VENUE}/{SYMBOL}/trades/{DATE}.parquet")


# --- what comes out ---


def test_a_day_in_an_empty_lake_is_as_if_recorded_live(tmp_path: Path, venue: Archive) -> None:
    events = a_day(trades=2, quotes=0)
    live, empty = Files(tmp_path / "live"), Files(tmp_path / "empty")
    empty.root.mkdir()
    write_lake(live, events, reached=LATER)
    install(live)
    publish(venue, trades_of(events))
    assert backfill(empty, venue).troubles == []
    assert install(empty) == 0
    assert bars(empty.root).equals(bars(live.root))
    told, fetched = ticks(live.root), ticks(empty.root)
    ours = ["ts_recv", "ts_sent", "source"]
    assert fetched.drop(ours).equals(told.drop(ours))
    assert fetched["source"].unique().to_list() == ["archive"]
    assert fetched["ts_sent"].null_count() == fetched.height
    assert [part.name for part in archive.parts(empty, f"raw/{VENUE}/{SYMBOL}/{DATE}")] == [
        f"part_{hour:02d}.jsonl.zst" for hour in range(24)
    ]
    assert len({event.ts_recv for event in held(empty)}) == 1
    assert empty.size(paths.checksum_file(VENUE, SYMBOL, DATE)) is not None
    assert empty.list(f"{staging.STAGING}/{VENUE}") == []
    assert empty.list(staging.DOWNLOADS) == []


def with_holes(events: list[Trade | Quote]) -> list[Trade | Quote]:
    """Without the trades of one whole hour, of an hour's edge, and some in between."""

    def is_held(event: Trade | Quote) -> bool:
        if isinstance(event, Quote):
            return True
        minute = (event.ts - MIDNIGHT) // MINUTE
        return not (5 * 60 <= minute < 6 * 60 or 470 <= minute < 485 or minute % 95 == 5)

    return [event for event in events if is_held(event)]


def test_what_is_missing_is_added_and_what_is_held_stays_as_it_is(tmp_path: Path, venue: Archive) -> None:
    events = a_day()
    recorded = with_holes(events)
    disk, whole = Files(tmp_path / "lake"), Files(tmp_path / "whole")
    write_lake(disk, recorded, reached=LATER)
    write_lake(whole, events, reached=LATER)
    install(disk)
    install(whole)
    before = {line(event) for event in held(disk)}
    publish(venue, trades_of(events))
    assert backfill(disk, venue).troubles == []
    install(disk)
    assert sorted(ids(disk)) == [trade.trade_id for trade in trades_of(events)]
    lines = {line(event) for event in held(disk)}
    assert before <= lines
    assert len(lines) == len(events)
    assert sum(isinstance(event, Quote) for event in held(disk)) == len(events) - len(trades_of(events))
    missing = {event.trade_id for event in trades_of(events)} - {event.trade_id for event in trades_of(recorded)}
    assert {event.trade_id for event in held(disk) if isinstance(event, Trade) and event.source == "archive"} == missing
    assert bars(disk.root).equals(bars(whole.root))
    manifest = msgspec.json.decode(disk.read(f"checksums/{VENUE}/{SYMBOL}/{DATE}.manifest.json"))
    assert manifest["issue"] == 2
    assert manifest["trades"]["missing"] == []
    assert manifest["sources"] == {"archive": len(missing), "ws": len(trades_of(recorded))}
    assert [source["added"] for source in manifest["fetched"]] == [len(missing)]


def test_a_second_run_changes_nothing(tmp_path: Path, venue: Archive) -> None:
    disk = Files(tmp_path)
    publish(venue, trades_of(a_day()))
    backfill(disk, venue)
    install(disk)
    before = files(tmp_path)
    run = backfill(disk, venue)
    assert run.troubles == []
    install(disk)
    changed = {path for path, data in files(tmp_path).items() if before.get(path) != data}
    assert {path for path in changed if path.endswith((".parquet", ".zst", ".sha256"))} == set()


def test_two_runs_before_the_compactor_are_both_installed(tmp_path: Path, venue: Archive) -> None:
    disk, trades = Files(tmp_path), trades_of(a_day())
    publish(venue, trades[:150])
    backfill(disk, venue)
    publish(venue, trades[100:])
    backfill(disk, venue)
    install(disk)
    assert ids(disk) == [trade.trade_id for trade in trades]


def test_late_lines_that_come_between_staging_and_installing_are_kept(tmp_path: Path, venue: Archive) -> None:
    disk, events = Files(tmp_path), a_day()
    recorded = with_holes(events)
    write_lake(disk, recorded, reached=LATER)
    install(disk)
    publish(venue, trades_of(events))
    backfill(disk, venue)
    lost = [event for event in trades_of(events) if event not in recorded and event.ts < MIDNIGHT + 6 * HOUR]
    healed = [msgspec.structs.replace(event, source="rest") for event in lost]
    quote = next(event for event in events if isinstance(event, Quote) and event.ts > MIDNIGHT + 5 * HOUR)
    assert isinstance(quote, Quote)
    late = [*map(line, healed[-3:]), line(msgspec.structs.replace(quote, update_id=1))]
    disk.write(f"raw/{VENUE}/{SYMBOL}/{DATE}/part_0500_1.jsonl", "".join(late).encode())
    install(disk)
    assert sorted(ids(disk)) == [trade.trade_id for trade in trades_of(events)]
    assert healed[-1] in held(disk)
    assert 1 in [event.update_id for event in held(disk) if isinstance(event, Quote)]


def test_a_trade_healed_after_it_was_backfilled_is_not_doubled(tmp_path: Path, venue: Archive) -> None:
    disk, events = Files(tmp_path), a_day()
    publish(venue, trades_of(events))
    backfill(disk, venue)
    install(disk)
    again = [msgspec.structs.replace(event, source="rest") for event in trades_of(events)[:5]]
    disk.write(f"raw/{VENUE}/{SYMBOL}/{DATE}/part_0000_1.jsonl", "".join(map(line, again)).encode())
    install(disk)
    assert ids(disk) == [trade.trade_id for trade in trades_of(events)]


def test_a_held_trade_that_differs_stays_until_it_is_forced(tmp_path: Path, venue: Archive) -> None:
    disk, events = Files(tmp_path), a_day()
    at = next(n for n, event in enumerate(events) if isinstance(event, Trade) and event.ts > MIDNIGHT + 9 * HOUR)
    good = events[at]
    assert isinstance(good, Trade)
    wrong = msgspec.structs.replace(good, price="1.50000000")
    write_lake(disk, [*events[:at], wrong, *events[at + 1 :]], reached=LATER)
    install(disk)
    publish(venue, trades_of(events))
    run = backfill(disk, venue)
    install(disk)
    assert run.troubles == []
    assert wrong in held(disk)
    said = staging.fetched(disk, VENUE, SYMBOL, DATE)[-1]
    assert (said["different"], said["different_ids"], said["same"]) == (1, [good.trade_id], len(trades_of(events)) - 1)
    backfill(disk, venue, force=True)
    install(disk)
    mended = [event for event in held(disk) if isinstance(event, Trade) and event.trade_id == good.trade_id]
    assert [(event.price, event.source) for event in mended] == [(good.price, "archive")]
    assert sum(event.source == "archive" for event in held(disk) if isinstance(event, Trade)) == 1
    second = pl.read_parquet(tmp_path / f"parquet/{VENUE}/{SYMBOL}/{DATE}.parquet").filter(
        pl.col("first_trade_id") == good.trade_id
    )
    assert second.select("open", "revision").rows() == [(float(good.price), 1)]


def test_the_bar_behind_a_filled_hole_is_complete_again(tmp_path: Path, venue: Archive) -> None:
    disk, trades = Files(tmp_path), trades_of(Market().events(MIDNIGHT, 48 * 3600, trades=1, quotes=0, every=300))
    hole = range(22 * 12, 24 * 12)  # the last two hours of the first day
    write_lake(disk, [trade for n, trade in enumerate(trades) if n not in hole], reached=LATER)
    install(disk)
    after = tmp_path / f"parquet/{VENUE}/{SYMBOL}/{NEXT}.parquet"
    assert pl.read_parquet(after)["is_complete"][0] is False
    publish(venue, trades[: 24 * 12])
    backfill(disk, venue)
    install(disk)
    assert pl.read_parquet(after)["is_complete"].all()
    assert bars(tmp_path)["is_complete"][1:].all()


def test_hours_that_are_not_sealed_are_left_to_ingest(tmp_path: Path, venue: Archive) -> None:
    disk, events = Files(tmp_path), a_day()
    early = [event for event in events if event.ts < MIDNIGHT + 13 * HOUR + 30 * MINUTE]
    write_lake(disk, with_holes(early), reached=MIDNIGHT + 13 * HOUR + 30 * MINUTE)
    folder = f"raw/{VENUE}/{SYMBOL}/{DATE}"
    before = {name: disk.read(f"{folder}/{name}") for name in disk.list(folder) if name > "part_13"}
    publish(venue, trades_of(events))
    run = backfill(disk, venue)
    said = staging.read(disk, VENUE, SYMBOL, DATE)
    assert said is not None
    assert max(said.hours) <= 12
    assert run.troubles == []
    install(disk)
    for name, data in before.items():
        assert disk.read(f"{folder}/{name}") == data
    assert [one for one in ids(disk) if one <= trades_of(early)[13 * 12 - 1].trade_id] == [
        trade.trade_id for trade in trades_of(early)[: 13 * 12]
    ]


# --- the venue's bad days ---


def harmed(trades: list[Trade]) -> dict[str, tuple[bytes, str]]:
    path, good = day_of(SYMBOL, DATE, trades)
    name = path.rpartition("/")[2].removesuffix(".zip")
    return {
        "wrong checksum": (good, "sha256"),
        "truncated": (good[: len(good) // 2], "unpacked"),
        "two members": (zipped({f"{name}.csv": [], "x": []}), "2 files"),
        "another name": (zipped({"../../x.csv": []}), "instead of"),
        "bomb": (zipped({f"{name}.csv": bytes(10_000_000)}), "unpack to"),
    }


@pytest.mark.parametrize("harm", sorted(harmed([])))
def test_a_file_that_must_not_be_believed_is_refused_and_nothing_is_staged(
    tmp_path: Path, venue: Archive, harm: str
) -> None:
    disk, trades = Files(tmp_path), trades_of(a_day())
    path, _ = day_of(SYMBOL, DATE, trades)
    data, reason = harmed(trades)[harm]
    venue.publish(path, data, "ab" * 32 if harm == "wrong checksum" else None)
    run = backfill(disk, venue)
    assert len(run.troubles) == 1
    assert reason in run.troubles[0]
    assert run.staged == 0
    assert {one for one in files(tmp_path) if "journal/staging" in one} == set()
    publish(venue, trades)  # the venue mends it
    assert backfill(disk, venue).troubles == []
    install(disk)
    assert len(ids(disk)) == len(trades)


def test_a_download_that_was_cut_goes_on_where_it_stopped(tmp_path: Path, venue: Archive) -> None:
    disk, trades = Files(tmp_path), trades_of(a_day())
    publish(venue, trades)
    venue.cut_at = 2000
    assert backfill(disk, venue).troubles == []
    assert venue.downloads() == [None, "bytes=2000-"]
    install(disk)
    assert len(ids(disk)) == len(trades)


def test_a_server_that_begins_anew_is_followed(tmp_path: Path, venue: Archive) -> None:
    disk, trades = Files(tmp_path), trades_of(a_day())
    publish(venue, trades)
    venue.cut_at, venue.goes_on = 2000, False
    assert backfill(disk, venue).troubles == []
    install(disk)
    assert len(ids(disk)) == len(trades)


def test_a_pause_that_the_venue_asks_for_is_kept(tmp_path: Path, venue: Archive) -> None:
    trades = trades_of(a_day())
    publish(venue, trades)
    path, _ = day_of(SYMBOL, DATE, [])
    venue.refusals[path] = [(429, {"Retry-After": "1"})]
    assert backfill(Files(tmp_path), venue).troubles == []
    assert len(venue.downloads()) == 2


def test_a_ban_of_days_is_not_waited_for(tmp_path: Path, venue: Archive) -> None:
    publish(venue, trades_of(a_day()))
    path, _ = day_of(SYMBOL, DATE, [])
    venue.refusals[path] = [(418, {"Retry-After": "100000"})]
    run = backfill(Files(tmp_path), venue, dates=(DATE, NEXT))
    assert "HTTP 418" in run.troubles[0]
    assert len(venue.downloads()) == 1


# --- kills ---


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "lock" not in path.name and path.suffix != ".log"
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_kill_at_any_instant_costs_nothing(tmp_path: Path, venue: Archive) -> None:
    events: list[Trade | Quote] = [*Market().events(MIDNIGHT + 4 * HOUR + 50 * MINUTE, 4800, every=600)]
    publish(venue, trades_of(events))
    expected = None
    recorded = Files(tmp_path / "recorded")
    write_lake(recorded, with_holes(events), reached=LATER)
    install(recorded)
    for at in range(1, 1000):
        root = tmp_path / str(at)
        shutil.copytree(recorded.root, root)
        disk = DyingDisk(root, 0)
        disk.changes, disk.at = 0, at
        died = 0
        for job in (lambda disk=disk: backfill(disk, venue), lambda disk=disk: install(disk)):
            try:
                job()
            except Died:
                died += 1
                disk.at = 0
                job()
        found = sorted(line(event) for event in held(disk))
        assert len(found) == len(events), at
        assert [one for one in files(root) if "staging" in one] == [], at
        result = (bars(root).rows(), disk.read(paths.checksum_file(VENUE, SYMBOL, DATE)).count(b"\n"))
        expected = expected or result
        assert result == expected, at
        shutil.rmtree(root)
        if not died:
            break
    assert at > 60
    assert not died


# --- the process ---


def call(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "procs.backfill", *words], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--from", DATE], "--symbol is missing"),
        (["--symbol", SYMBOL], "name either days"),
        (["--symbol", SYMBOL, "--from", DATE, "--from-id", "1", "--to-id", "2"], "name either days"),
        (["--symbol", SYMBOL, "--from", "20.10.2025"], "is no date"),
        (["--symbol", SYMBOL, "--from", DATE, "--to", "2025-10-19"], "lies before"),
        (["--symbol", SYMBOL, "--to", DATE], "--from is missing"),
        (["--symbol", SYMBOL, "--from-id", "5"], "both are needed"),
        (["--symbol", SYMBOL, "--from-id", "5", "--to-id", "4"], "from the lower to the higher"),
        (["--symbol", "../x", "--from", DATE], "is no symbol"),
        (["--symbol", "solusdt", "--from", DATE], "in capitals"),
        (["--symbol", SYMBOL, "--from", DATE, "--venue", "binanze"], "did you mean binance"),
        (["--symbol", SYMBOL, "--from", DATE, "--archive-url", "http://example.com"], "not encrypted"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(tmp_path: Path, words: list[str], reason: str) -> None:
    said = call("--lake", str(tmp_path / "lake"), *words, code=2)
    assert reason in said
    assert "Traceback" not in said
    assert not (tmp_path / "lake").exists()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Ten minutes past five on the day after DATE; a few trades a minute."""
    folder = tmp_path_factory.mktemp("venue")
    options = ("--symbols", "SOLUSDT,ADAUSDT", "--rate", "0.3", "--start", f"{NEXT}T05:10:00Z")
    with emulator(folder, *options) as running:
        yield running


def at(market: Emulator, lake: Path) -> list[str]:
    return ["--lake", str(lake), "--archive-url", market.rest_url, "--rest-url", market.rest_url]


def test_a_closed_day_comes_from_its_file_and_the_open_one_over_rest(tmp_path: Path, market: Emulator) -> None:
    said = call(*at(market, tmp_path), "--symbol", SYMBOL, "--from", DATE, "--to", NEXT)
    assert "SOLUSDT-trades-2025-10-20.zip" in said
    assert "python -m procs.compactor" in said
    disk = Files(tmp_path)
    install(disk)
    first, second = held(disk), held(disk, NEXT)
    assert {event.source for event in first if isinstance(event, Trade)} == {"archive"}
    assert {event.source for event in second if isinstance(event, Trade)} == {"rest"}
    found = [event.trade_id for event in [*first, *second] if isinstance(event, Trade)]
    assert found == list(range(found[0], found[-1] + 1))
    assert archive.hours(disk, f"raw/{VENUE}/{SYMBOL}/{NEXT}") == [0, 1, 2, 3, 4]
    assert bars(tmp_path)["is_complete"][1:].all()
    assert not list(tmp_path.rglob("*.rest.jsonl"))


def test_ids_are_fetched_by_id(tmp_path: Path, market: Emulator) -> None:
    rows = market.get(f"/api/v3/aggTrades?symbol={SYMBOL}&startTime={MIDNIGHT // 10**6 + 86_400_000 - 600_000}&limit=1")
    first = rows[0]["f"]
    call(*at(market, tmp_path), "--symbol", SYMBOL, "--from-id", str(first), "--to-id", str(first + 99))
    disk = Files(tmp_path)
    install(disk)
    found = [e.trade_id for date in (DATE, NEXT) for e in held(disk, date) if isinstance(e, Trade)]
    assert found == list(range(first, first + 100))


def test_a_symbol_that_is_none_is_said_so(tmp_path: Path, market: Emulator) -> None:
    said = call(*at(market, tmp_path), "--symbol", "SOLUSDC", "--from", DATE, code=2)
    assert "binance has no symbol SOLUSDC - did you mean SOLUSDT?" in said


def test_a_day_to_come_is_said_so(tmp_path: Path, market: Emulator) -> None:
    said = call(*at(market, tmp_path), "--symbol", SYMBOL, "--from", "2025-10-22", code=2)
    assert "has not come yet" in said


def test_the_batch_fetches_what_the_last_days_lack_and_compares_them_once(tmp_path: Path, market: Emulator) -> None:
    lake = tmp_path / "lake"
    call(*at(market, lake), "--symbol", SYMBOL, "--from", DATE)
    disk = Files(lake)
    install(disk)
    whole = held(disk)
    for hour in (3, 4):
        disk.remove(f"raw/{VENUE}/{SYMBOL}/{DATE}/part_{hour:02d}.jsonl.zst")
    disk.remove(paths.fetched_file(VENUE, SYMBOL, DATE))
    write_reached(disk, paths.day_start(NEXT) + 5 * HOUR)
    (tmp_path / "pipeline.yml").write_text(
        f"""
lake: ./lake
sources:
  binance: {{run: ingest, venue: binance, symbols: [SOLUSDT], streams: [trade, quote], rest_url: "{market.rest_url}"}}
transforms:
  bars_1s: {{run: aggregator, inputs: [binance]}}
sinks:
  archive: {{run: archiver, inputs: [binance]}}
  parquet: {{run: parquet_sink, inputs: [bars_1s]}}
batches:
  heal: {{run: backfill, daily_at: "03:00", archive_url: "{market.rest_url}"}}
""",
        encoding="utf-8",
    )
    batch = ("--config", str(tmp_path / "pipeline.yml"), "--stage", "heal")
    assert "added" in call(*batch)
    install(disk)
    assert [event.trade_id for event in held(disk) if isinstance(event, Trade)] == [
        event.trade_id for event in whole if isinstance(event, Trade)
    ]
    assert call(*batch) == ""  # that file was read


def test_a_second_backfill_names_the_first(tmp_path: Path, market: Emulator) -> None:
    from shared.locks import Lock

    with Lock(tmp_path / staging.LOCK, what="a backfill"):
        said = call(*at(market, tmp_path), "--symbol", SYMBOL, "--from", DATE, code=1)
        assert "held by a backfill" in said


def test_leaving_when_asked_loses_nothing(tmp_path: Path, venue: Archive) -> None:
    disk, trades = Files(tmp_path), trades_of(a_day())
    publish(venue, trades)
    asked = iter([False, False, False, True])
    with Progress(quiet=True) as progress:
        asker = Asker(binance.Venue(), venue.url, venue.url, "", lambda: next(asked, True), progress)
        run = Run(Place(disk, None, binance.Venue(), SYMBOL, ("trade",)), asker, progress, LATER)
        with pytest.raises(Asked):
            run.dates([DATE])
        asker.close()
    assert backfill(disk, venue).troubles == []
    install(disk)
    assert len(ids(disk)) == len(trades)


def test_staged_lines_are_whole_hours_in_order(tmp_path: Path, venue: Archive) -> None:
    disk, events = Files(tmp_path), a_day()
    write_lake(disk, with_holes(events), reached=LATER)
    publish(venue, trades_of(events))
    backfill(disk, venue)
    said = staging.read(disk, VENUE, SYMBOL, DATE)
    assert said is not None
    hour = [event for event in events if event.ts // HOUR == MIDNIGHT // HOUR + 7]
    data, trouble = archive.content(disk, staging.part(VENUE, SYMBOL, DATE, 7))
    found = [parse_line(text) for text in data.splitlines()]
    assert trouble == ""
    assert [event.ts for event in found] == sorted(event.ts for event in hour)
    assert said.ids == [trades_of(events)[0].trade_id, trades_of(events)[-1].trade_id]
    assert 5 in said.hours
    source = said.sources[0]
    assert source["sha256"]
    assert source["url"].startswith(venue.url)
    assert (source["rows"], source["added"]) == (len(trades_of(events)), said.added)


def test_a_day_that_is_not_over_is_not_closed(tmp_path: Path, market: Emulator) -> None:
    call(*at(market, tmp_path), "--symbol", SYMBOL, "--from", NEXT)
    disk = Files(tmp_path)
    install(disk)
    assert archive.hours(disk, f"raw/{VENUE}/{SYMBOL}/{NEXT}") == [0, 1, 2, 3, 4]
    assert disk.size(paths.checksum_file(VENUE, SYMBOL, NEXT)) is None


def test_futures_without_a_file_come_as_aggregates_and_from_it_as_trades(tmp_path: Path) -> None:
    options = ("--market", "usdm", "--symbols", "BTCUSDT", "--rate", "0.3", "--start", f"{NEXT}T02:10:00Z")
    with emulator(tmp_path, *options) as market:
        lake = tmp_path / "lake"
        words = ("--venue", "binance_usdm", "--symbol", "BTCUSDT")
        call(*at(market, lake), *words, "--from", DATE, "--to", NEXT)
        said = call(*at(market, lake), *words, "--from-id", "1", "--to-id", "2", code=2)
        assert "name days" in said
    disk = Files(lake)
    install(disk)
    days = [list(archive.read_day(disk, "binance_usdm", "BTCUSDT", date)) for date in (DATE, NEXT)]
    kinds = [{type(event) for _, events, _ in day for event in events} for day in days]
    assert kinds == [{Trade}, {AggTrade}]
    assert [len(day) for day in days] == [24, 2]


def test_rest_stays_within_half_of_the_weight_and_obeys_a_pause(tmp_path: Path) -> None:
    options = ("--symbols", SYMBOL, "--rate", "10", "--start", f"{DATE}T01:05:00Z", "--weight-limit", "700")
    with emulator(tmp_path, *options, "--fault", "status:status=429,retry_after_s=1,count=2") as market:
        call(*at(market, tmp_path / "lake"), "--symbol", SYMBOL, "--from", DATE, code=0)
        _, _, told = market.ask("/api/v3/ping")
    assert int(told["X-MBX-USED-WEIGHT-1M"]) <= 351  # and one for the question
    disk = Files(tmp_path / "lake")
    install(disk)
    assert len(ids(disk)) == len(set(ids(disk))) > 8_000
