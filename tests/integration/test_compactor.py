"""The compactor: what is sealed is folded, nothing is lost or shown twice, a kill at any instant changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from procs.compactor import Config
from procs.compactor.work import Run, compact
from shared import archive, lake, paths, staging
from shared.barfiles import bar_table
from shared.errand import Errand
from shared.events import AggTrade, Bar, Feed, Quote, Trade
from shared.files import Files
from shared.lines import line
from shared.locks import Lock
from shared.process import Lifeline
from shared.rebuild import stage
from tests.fixtures.dying_disk import BusyDisk, Died, DyingDisk
from tests.fixtures.small_lake import HOUR, MINUTE, VENUE, Market, write_lake, write_raw, write_reached

DATE, NEXT = "2025-10-20", "2025-10-21"
MIDNIGHT = paths.day_start(NEXT)
LATE_HOUR = MIDNIGHT - HOUR
RAW = f"raw/{VENUE}/SOLUSDT/{DATE}"
BARS = f"parquet/{VENUE}/SOLUSDT/year=2025/month=10/day=20"
Made = tuple[list[Trade | Quote], list[Bar]]


def an_evening(disk: Files, symbols: tuple[str, ...] = ("SOLUSDT",), reached: int = MIDNIGHT + 10 * MINUTE) -> Made:
    """Two minutes of the last two hours of a day and of the next day's first, one minute without a trade among them."""
    events: list[Trade | Quote] = []
    for symbol in symbols:
        market = Market(symbol)
        for start in (LATE_HOUR - 2 * MINUTE, LATE_HOUR, MIDNIGHT - MINUTE, MIDNIGHT):
            events += market.events(start, 60, trades=2, quotes=2, every=3)
    feed = [
        Feed("clock", LATE_HOUR, LATE_HOUR, [], {"offset_ns": 1}),
        Feed("clock", MIDNIGHT, MIDNIGHT, [], {"offset_ns": 2}),
    ]
    return events, write_lake(disk, events, feed, reached)


def errand(disk: Files, date: str | None = None) -> Errand[Config]:
    return Errand(disk, Config(), None, date, False, Lifeline())


def test_a_closed_day_becomes_one_sorted_file_of_bars(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    _, bars = an_evening(disk)
    assert compact(errand(disk)) == 0
    of_day = [bar for bar in bars if bar.window_start < MIDNIGHT]
    assert disk.read_table(f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet").equals(bar_table(of_day, VENUE))
    assert not (tmp_path / BARS).exists()
    assert [part.name for part in archive.parts(disk, RAW)] == ["part_22.jsonl.zst", "part_23.jsonl.zst"]
    assert disk.list(f"feed/{VENUE}/{DATE}") == ["part_23.jsonl.zst"]
    # The next day's first hour is open: nothing of it was touched.
    assert disk.list(f"raw/{VENUE}/SOLUSDT/{NEXT}") == ["part_0000.jsonl"]
    assert disk.list(BARS.replace("day=20", "day=21")) != []


def test_a_sealed_hour_of_an_open_day_is_folded(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    _, bars = an_evening(disk, reached=LATE_HOUR + 2 * MINUTE)
    compact(errand(disk))
    assert archive.hours(disk, RAW) == [22, 23]
    assert disk.list(RAW) == ["part_22.jsonl.zst", "part_2300.jsonl", "part_2359.jsonl"]
    assert "hour_22.parquet" in disk.list(BARS)
    assert not (tmp_path / "checksums").exists()
    hour = [bar for bar in bars if bar.window_start < LATE_HOUR]
    assert disk.read_table(f"{BARS}/hour_22.parquet").equals(bar_table(hour, VENUE))


def test_an_hour_is_left_alone_until_two_minutes_after_its_end(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk, reached=LATE_HOUR + 2 * MINUTE - 1)
    before = snapshot(tmp_path)
    compact(errand(disk))
    assert snapshot(tmp_path) == before


def test_lines_are_folded_byte_for_byte(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk)
    before = b"".join(disk.read(f"{RAW}/{part.name}") for part in archive.parts(disk, RAW, 23))
    compact(errand(disk))
    assert archive.content(disk, f"{RAW}/part_23.jsonl.zst") == (before, "")


def test_ticks_have_every_key_of_the_line_and_its_exact_digits(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk)
    compact(errand(disk))
    trades = [e for e in events if isinstance(e, Trade) and e.ts < MIDNIGHT]
    path = tmp_path / f"ticks/{VENUE}/SOLUSDT/trades/{DATE}.parquet"
    table = pl.read_parquet(path)
    assert table.columns == list(msgspec.json.decode(line(trades[0]))) + [
        c for c in table.columns if c not in msgspec.json.decode(line(trades[0]))
    ]
    rows = table.select("trade_id", "price", "qty", "side", "source", "stream").rows()
    assert rows == [(e.trade_id, Decimal(e.price), Decimal(e.qty), e.side, "ws", "trade") for e in trades]
    for name in ("ts", "ts_event", "ts_recv", "ts_sent"):
        assert table[name].cast(pl.Int64).to_list() == [getattr(e, name) for e in trades]
    schema = pq.read_schema(path)
    assert (schema.field("price").type, schema.field("ts").type) == (pa.decimal64(18, 8), pa.timestamp("ns", "UTC"))
    assert pq.read_metadata(path).row_group(0).column(table.columns.index("price")).physical_type == "INT64"
    quotes = pl.read_parquet(tmp_path / f"ticks/{VENUE}/SOLUSDT/quotes/{DATE}.parquet")
    assert quotes["update_id"].to_list() == [e.update_id for e in events if isinstance(e, Quote) and e.ts < MIDNIGHT]
    assert quotes["price"].null_count() == quotes.height


def test_a_line_that_cannot_be_read_takes_no_other_out_of_the_ticks(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk)
    path = tmp_path / RAW / "part_2300.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    at = next(number for number, text in enumerate(whole) if b'"trade"' in text)
    gone = msgspec.json.decode(whole[at])["trade_id"]
    path.write_bytes(b"".join([*whole[:at], b'{"broken\n', *whole[at + 1 :]]))
    compact(errand(disk))
    ids = pl.read_parquet(tmp_path / f"ticks/{VENUE}/SOLUSDT/trades/{DATE}.parquet")["trade_id"].to_list()
    assert ids == [e.trade_id for e in events if isinstance(e, Trade) and e.ts < MIDNIGHT and e.trade_id != gone]


def test_numbers_too_long_for_64_bits_stay_exact(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk)
    trade = next(e for e in events if isinstance(e, Trade))
    huge = msgspec.structs.replace(trade, ts=LATE_HOUR, qty="98765432109.00000000", price="0.00000712", trade_id=5)
    longer = msgspec.structs.replace(huge, qty="12345678901234567890.12345678", trade_id=6, symbol="PEPEUSDT")
    huge.symbol = "BTTCUSDT"
    write_raw(disk, [huge, longer])
    compact(errand(disk))
    for trade, kind in ((huge, pa.decimal64(18, 0)), (longer, pa.decimal128(38, 8))):
        table = disk.read_table(f"ticks/{VENUE}/{trade.symbol}/trades/{DATE}.parquet")
        assert table.column("qty").to_pylist() == [Decimal(trade.qty)]
        assert table.schema.field("qty").type == kind
        assert table.schema.field("price").type == pa.decimal64(18, 8)


def test_sha256sum_accepts_the_checksums(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk, ("SOLUSDT", "币安人生USDT"))
    compact(errand(disk))
    for folder in disk.list(f"checksums/{VENUE}"):
        path = f"checksums/{VENUE}/{folder}/{DATE}.sha256"
        if shutil.which("sha256sum"):
            subprocess.run(["sha256sum", "--check", "--strict", "--quiet", path], cwd=tmp_path, check=True, timeout=20)
        named = {row.split("  ")[1]: row.split("  ")[0] for row in disk.read(path).decode().splitlines()}
        for file, digest in named.items():
            assert hashlib.sha256(disk.read(file)).hexdigest() == digest
        assert {name.split("/")[0] for name in named} == {"parquet", "raw", "ticks"}


def test_the_manifest_says_rows_ids_times_and_sources(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, bars = an_evening(disk)
    healed = next(e for e in events if isinstance(e, Trade))
    compact(errand(disk))
    manifest = msgspec.json.decode(disk.read(f"checksums/{VENUE}/SOLUSDT/{DATE}.manifest.json"))
    trades = [e for e in events if isinstance(e, Trade) and e.ts < MIDNIGHT]
    assert manifest["issue"] == 1 and manifest["replaces"] is None
    assert manifest["trades"] == {
        "rows": len(trades), "first_ts": trades[0].ts, "last_ts": trades[-1].ts, "first_id": healed.trade_id,
        "last_id": trades[-1].trade_id, "missing": [], "repeated": 0,
    }  # fmt: skip
    assert manifest["bars"]["rows"] == sum(bar.window_start < MIDNIGHT for bar in bars)
    assert manifest["sources"] == {"ws": len(trades)}
    assert manifest["raw_hours"] == [22, 23]


def test_running_it_twice_changes_nothing(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk)
    compact(errand(disk))
    before = snapshot(tmp_path, with_times=True)
    for date in (None, DATE):
        run = Run(errand(disk, date))
        run.work()
        assert str(run.done) == "nothing to do"
        assert snapshot(tmp_path, with_times=True) == before


def test_an_ended_recording_seals_everything(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk)
    write_reached(disk, MIDNIGHT, ended=True)
    compact(errand(disk))
    assert disk.size(f"parquet/{VENUE}/SOLUSDT/{NEXT}.parquet")
    assert disk.list(f"raw/{VENUE}/SOLUSDT/{NEXT}") == ["part_00.jsonl.zst"]


def test_late_lines_beside_a_folded_hour_are_folded_again_and_the_day_is_reissued(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk)
    late = next(e for e in events if isinstance(e, Trade))
    path = f"{RAW}/part_2258.jsonl"
    disk.write(path, disk.read(path).replace(line(late).encode(), b""))
    compact(errand(disk))
    disk.write(f"{RAW}/part_2258_1.jsonl", line(late).encode())
    compact(errand(disk))
    assert disk.list(RAW) == ["part_22.jsonl.zst", "part_23.jsonl.zst"]
    manifest = msgspec.json.decode(disk.read(f"checksums/{VENUE}/SOLUSDT/{DATE}.manifest.json"))
    assert manifest["issue"] == 2
    assert manifest["trades"]["first_id"] == late.trade_id
    assert lines_of(tmp_path) == Counter(line(e) for e in events)


def test_of_a_second_that_stands_twice_the_highest_revision_is_kept(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    _, bars = an_evening(disk)
    newer = msgspec.structs.replace(bars[0], trade_count=77, revision=3)
    older = msgspec.structs.replace(bars[1], trade_count=66, revision=-1)
    disk.write_table(f"{BARS}/part_2258_{9:016d}_{9:016d}.parquet", bar_table([newer, older], VENUE))
    compact(errand(disk))
    rows = disk.read_table(f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet").to_pylist()
    assert [row["trade_count"] for row in rows[:2]] == [77, bars[1].trade_count]
    assert len(rows) == sum(bar.window_start < MIDNIGHT for bar in bars)


def test_a_part_that_cannot_be_read_is_set_aside_and_made_again(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    _, bars = an_evening(disk)
    broken = next(name for name in disk.list(BARS) if name.startswith("part_23"))
    disk.write(f"{BARS}/{broken}", b"PAR1 nonsense PAR1")
    compact(errand(disk))
    assert [name.endswith(broken) for name in disk.list("quarantine")] == [True]
    rows = disk.read_table(f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet")
    assert rows.equals(bar_table([bar for bar in bars if bar.window_start < MIDNIGHT], VENUE))


def test_a_folded_hour_that_cannot_be_unpacked_is_left_for_somebody_to_look_at(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk)
    disk.write(f"{RAW}/part_23.jsonl.zst", b"no zstd")
    compact(errand(disk))
    assert "part_2300.jsonl" in disk.list(RAW)
    assert disk.read(f"{RAW}/part_23.jsonl.zst") == b"no zstd"
    for name in [name for name in disk.list(RAW) if name.endswith(".jsonl")]:
        disk.remove(f"{RAW}/{name}")
    compact(errand(disk))
    assert not (tmp_path / "ticks").exists() and not (tmp_path / "checksums").exists()


@pytest.mark.parametrize("date", [None, DATE], ids=["by itself", "by hand"])
def test_an_hour_of_lines_that_vanishes_takes_no_row_of_the_ticks_with_it(tmp_path: Path, date: str | None) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk)
    late = next(e for e in events if isinstance(e, Trade) and e.ts >= LATE_HOUR)
    minute = f"{RAW}/part_2300.jsonl"
    disk.write(minute, disk.read(minute).replace(line(late).encode(), b""))
    compact(errand(disk))
    gone = disk.read(f"{RAW}/part_22.jsonl.zst")
    disk.remove(f"{RAW}/part_22.jsonl.zst")
    before = snapshot(tmp_path)
    disk.write(f"{RAW}/part_2300_1.jsonl", line(late).encode())
    for _ in range(2):
        compact(errand(disk, date))
        after = snapshot(tmp_path)
        assert {name: said for name, said in before.items() if not name.startswith(RAW)}.items() <= after.items()
    disk.write(f"{RAW}/part_22.jsonl.zst", gone)
    compact(errand(disk, date))
    manifest = msgspec.json.decode(disk.read(f"checksums/{VENUE}/SOLUSDT/{DATE}.manifest.json"))
    assert (manifest["issue"], manifest["raw_hours"]) == (2, [22, 23])
    assert manifest["trades"]["rows"] == sum(isinstance(e, Trade) and e.ts < MIDNIGHT for e in events)


@pytest.mark.parametrize("closed", [False, True], ids=["open day", "closed day"])
def test_a_requested_hour_is_made_again_from_the_archive(tmp_path: Path, closed: bool) -> None:
    disk = Files(tmp_path)
    an_evening(disk, reached=MIDNIGHT + (10 * MINUTE if closed else 0))
    write_reached(disk, MIDNIGHT + 2 * MINUTE if closed else LATE_HOUR + 2 * MINUTE)
    compact(errand(disk))
    path = f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet" if closed else f"{BARS}/hour_22.parquet"
    right = disk.read_table(path)
    spoilt = right.to_pylist()
    spoilt[0]["close"] = 1.0
    del spoilt[1]
    disk.write_table(path, pa.Table.from_pylist(spoilt, schema=right.schema))
    disk.write(f"quality/requests/{VENUE}/SOLUSDT/{DATE}_22.json", b"{}")
    compact(errand(disk))
    mended = disk.read_table(path)
    assert mended.drop(["revision"]).equals(right.drop(["revision"]))
    assert mended.column("revision").to_pylist()[:3] == [1, 0, 0]
    if closed:
        assert msgspec.json.decode(disk.read(f"checksums/{VENUE}/SOLUSDT/{DATE}.manifest.json"))["issue"] == 2
    before = snapshot(tmp_path)
    compact(errand(disk))
    assert snapshot(tmp_path) == before


def test_what_was_made_by_hand_is_installed_and_its_staging_cleared(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, bars = an_evening(disk)
    compact(errand(disk))
    changed = [
        msgspec.structs.replace(bar, revision=0, quote_count=bar.quote_count + 1)
        for bar in bars
        if bar.window_start < LATE_HOUR
    ]
    stage(disk, VENUE, "SOLUSDT", DATE, [22], [changed])
    compact(errand(disk))
    rows = disk.read_table(f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet").to_pylist()
    assert [row["quote_count"] for row in rows[: len(changed)]] == [bar.quote_count for bar in changed]
    assert [row["revision"] for row in rows] == [1] * len(changed) + [0] * (len(rows) - len(changed))
    assert disk.list(f"journal/staging/{VENUE}/SOLUSDT") == []
    assert len(events) > 0


def test_what_is_being_made_by_hand_waits_until_it_is_whole(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    _, bars = an_evening(disk)
    stage(disk, VENUE, "SOLUSDT", DATE, [22], [[bar for bar in bars if bar.window_start < LATE_HOUR]])
    with Lock(tmp_path / paths.REBUILD_LOCK, what="bars are being made again"):
        compact(errand(disk))
        assert disk.list(f"{staging.STAGING}/{VENUE}/SOLUSDT/{DATE}") == ["bars.json", "bars.parquet"]
    compact(errand(disk))
    assert disk.list(f"{staging.STAGING}/{VENUE}/SOLUSDT") == []


def test_what_somebody_left_between_requests_and_stagings_ends_no_run(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk)
    for name in (f"{DATE}_99", f"{DATE}_x", "foo_03", "2025-99-99_03", "2025-02-30_03", "_03", ".DS_Store"):
        disk.write(f"{paths.REQUESTS}/{VENUE}/SOLUSDT/{name}.json", b"{}")
        disk.write(f"{staging.STAGING}/{VENUE}/SOLUSDT/{name}/bars.json", b'{"hours": [3]}')
    disk.write(f"{paths.REQUESTS}/.DS_Store", b"")
    disk.write(f"raw/{VENUE}/SOLUSDT/2025-02-30/part_0300.jsonl", b"")
    assert compact(errand(disk)) == 0
    assert disk.size(f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet")


def test_views_show_the_same_before_half_way_and_after(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk, ("SOLUSDT", "ADAUSDT"))
    questions = [
        "SELECT symbol, date, ts, ts_event, ts_sent, price, qty, side, trade_id, source FROM trades ORDER BY ALL",
        "SELECT symbol, date, ts, ts_recv, bid, bid_qty, ask, ask_qty, update_id FROM quotes ORDER BY ALL",
        "SELECT * FROM bars_1s ORDER BY ALL",
        "SELECT * FROM bars('1 minute') ORDER BY ALL",
        "SELECT kind, ts, offset_ns FROM feed ORDER BY ALL",
    ]
    before = [lake.query(tmp_path, sql).rows for sql in questions]
    assert len(before[0]) == sum(isinstance(e, Trade) for e in events)
    write_reached(disk, LATE_HOUR + 2 * MINUTE)
    compact(errand(disk))
    assert [lake.query(tmp_path, sql).rows for sql in questions] == before
    write_reached(disk, MIDNIGHT + 2 * MINUTE)
    with lake.connect(tmp_path) as session:  # begun before the day was closed
        compact(errand(disk))
        assert [session.execute(sql).fetchall() for sql in questions] == before
    assert [lake.query(tmp_path, sql).rows for sql in questions] == before


def test_aggregate_trades_have_a_file_of_their_own(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events, _ = an_evening(disk)
    agg = AggTrade("SOLUSDT", LATE_HOUR, LATE_HOUR, None, LATE_HOUR, "187.42", "3.0", "buy", 7, 1001, 1003)
    disk.write(f"{RAW}/part_2300_1.jsonl", line(agg).encode())
    compact(errand(disk))
    assert disk.list(f"ticks/{VENUE}/SOLUSDT") == ["agg_trades", "quotes", "trades"]
    rows = lake.query(tmp_path, "SELECT agg_id, first_trade_id, last_trade_id FROM agg_trades").rows
    assert rows == [(7, 1001, 1003)]
    assert lake.query(tmp_path, "SELECT count(*) FROM trades").rows == [(sum(isinstance(e, Trade) for e in events),)]


def test_a_second_compactor_leaves_and_names_the_first(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    an_evening(disk)
    code = (
        "import sys, time; from shared.locks import Lock; lock = Lock(sys.argv[1], what='a compactor');"
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "journal/compactor/lock")], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        done = subprocess.run(
            [sys.executable, "-m", "procs.compactor", "--lake", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 1
        assert f"a compactor, process {holder.pid}" in done.stderr
        assert disk.size(f"{RAW}/part_2359.jsonl")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close() if holder.stdout else None


def test_where_there_is_no_lake_it_says_so(tmp_path: Path) -> None:
    for args in (["--lake", str(tmp_path)], ["--lake", str(tmp_path), "--date", "yesterday"], ["--config", "none.yml"]):
        done = subprocess.run(
            [sys.executable, "-m", "procs.compactor", *args], capture_output=True, text=True, timeout=50, check=False
        )
        assert (done.returncode, bool(done.stderr)) == (2, True)
        assert "Traceback" not in done.stderr


def test_a_full_disk_stops_it_before_it_writes(tmp_path: Path) -> None:
    class Full(Files):
        def free(self) -> tuple[int, int]:
            return 1_000_000, 10**12

    disk = Full(tmp_path)
    an_evening(disk)
    before = snapshot(tmp_path)
    assert compact(errand(disk)) == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("busy", ["part_2359.jsonl", "part_2358_", "hour_22.parquet", "part_23.jsonl.zst"])
def test_a_file_in_use_changes_nothing_and_is_tried_again(tmp_path: Path, busy: str) -> None:
    events, bars = an_evening(Files(tmp_path))
    disk = BusyDisk(tmp_path, busy)
    compact(errand(disk))
    assert lines_of(tmp_path) == Counter(line(e) for e in events)
    assert seconds_of(tmp_path) == Counter(bar.window_start for bar in bars)
    disk.busy = ""
    compact(errand(disk))
    assert not list(tmp_path.rglob("*.tmp"))
    assert disk.size(f"parquet/{VENUE}/SOLUSDT/{DATE}.parquet")
    assert lines_of(tmp_path) == Counter(line(e) for e in events)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_any_instant_changes_nothing(tmp_path: Path) -> None:
    """At change 1, 2, 3 … until a run passes: what readers see meanwhile, and what the next run makes of it."""
    events, bars = an_evening(Files(tmp_path / "made"))
    lines, seconds = Counter(line(e) for e in events), Counter(bar.window_start for bar in bars)
    wanted = tmp_path / "wanted"
    shutil.copytree(tmp_path / "made", wanted)
    compact(errand(Files(wanted)))
    at = 0
    while True:
        at += 1
        home = tmp_path / f"killed_{at}"
        shutil.copytree(tmp_path / "made", home)
        try:
            Run(errand(DyingDisk(home, at))).work()
        except Died:
            pass
        else:
            break
        assert not lines_of(home) - lines and not seconds_of(home) - seconds, (
            f"something stands twice after change {at}"
        )
        gone = {text.split('"ts":')[1][:10] for text in lines - lines_of(home)}
        assert len({int(ts) // 3600 for ts in gone}) <= 1, (
            f"more than the hour of a swap is out of sight after change {at}"
        )
        Run(errand(Files(home))).work()
        assert snapshot(home) == snapshot(wanted), f"killed at change {at}"
        shutil.rmtree(home)
    assert at > 100


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_late_line_that_comes_while_a_swap_is_broken_off_is_not_lost(tmp_path: Path) -> None:
    """The archiver goes on while nobody finishes the swap, and takes any name that is free then."""
    events, _ = an_evening(Files(tmp_path / "made"))
    late = Market("SOLUSDT", first_id=900).events(LATE_HOUR, 1, trades=1, quotes=0)[0]
    wanted = Counter([*map(line, events), line(late)])
    for at in range(1, 40):
        home = tmp_path / f"killed_{at}"
        shutil.copytree(tmp_path / "made", home)
        with contextlib.suppress(Died):
            Run(errand(DyingDisk(home, at))).work()
        disk = Files(home)
        names = disk.list(RAW)
        free = (f"part_2300{suffix}.jsonl" for suffix in ("", "_1", "_2"))
        sealed = "part_23.jsonl.zst" in names
        name = next(name for name in free if name not in names and not (sealed and name == "part_2300.jsonl"))
        disk.write(f"{RAW}/{name}", line(late).encode())
        Run(errand(disk)).work()
        assert lines_of(home) == wanted, f"killed at change {at}, late line in {name}"
        assert disk.list(RAW) == ["part_22.jsonl.zst", "part_23.jsonl.zst"]
        shutil.rmtree(home)


def test_a_kill_of_the_second_try_changes_nothing_either(tmp_path: Path) -> None:
    an_evening(Files(tmp_path / "made"))
    wanted = tmp_path / "wanted"
    shutil.copytree(tmp_path / "made", wanted)
    compact(errand(Files(wanted)))
    for first, second in ((9, 1), (10, 2), (12, 3), (13, 1), (14, 4), (60, 2), (61, 5)):
        home = tmp_path / f"killed_{first}_{second}"
        shutil.copytree(tmp_path / "made", home)
        for at in (first, second):
            with pytest.raises(Died):
                Run(errand(DyingDisk(home, at))).work()
        Run(errand(Files(home))).work()
        assert snapshot(home) == snapshot(wanted)


@pytest.mark.parametrize("at", [None, 4, 5, 6, 7, 8, 9])
def test_rows_that_come_again_are_folded_into_the_very_same_file(tmp_path: Path, at: int | None) -> None:
    disk = Files(tmp_path)
    _, bars = an_evening(disk, reached=LATE_HOUR + 2 * MINUTE)
    compact(errand(disk))
    before = snapshot(tmp_path)
    rows = [bar for bar in bars if bar.window_start < LATE_HOUR]
    disk.write_table(f"{BARS}/part_2258_{8:016d}_{9:016d}.parquet", bar_table(rows[:3], VENUE))
    if at is not None:
        with pytest.raises(Died):
            Run(errand(DyingDisk(tmp_path, at))).work()
    Run(errand(disk)).work()
    assert snapshot(tmp_path) == before


def test_a_killed_process_is_finished_by_the_next(tmp_path: Path) -> None:
    an_evening(Files(tmp_path))
    command = [sys.executable, "-m", "procs.compactor", "--lake", str(tmp_path)]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    first.kill()
    first.wait()
    subprocess.run(command, check=True, timeout=50, capture_output=True)
    assert Files(tmp_path).size(f"checksums/{VENUE}/SOLUSDT/{DATE}.sha256")


def snapshot(root: Path, with_times: bool = False) -> dict[str, Any]:
    """Every file of the data and what is in it."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(("logs/", "journal/compactor/lock")):
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns if with_times else 0)
    return found


def lines_of(root: Path) -> Counter[str]:
    """What a reader's glob over the archive finds."""
    found: Counter[str] = Counter()
    disk = Files(root)
    for path in root.glob("raw/**/part_*.jsonl*"):
        found.update(archive.content(disk, path.relative_to(root).as_posix())[0].decode().splitlines(keepends=True))
    return found


def seconds_of(root: Path) -> Counter[int]:
    found: Counter[int] = Counter()
    for path in root.glob("parquet/**/*.parquet"):
        table = pq.ParquetFile(path).read()
        found.update(micros * 1000 for micros in table.column("window_start").cast("int64").to_pylist())
    return found
