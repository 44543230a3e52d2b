"""The lake's views: right over parts, folded hours, compacted days and lines, in every session."""

from __future__ import annotations

import datetime
import math
import random
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from procs.validator import Config
from procs.validator.work import validate
from shared import lake
from shared.errand import Errand
from shared.events import Bar, Feed, Quote, Trade
from shared.files import Files
from shared.process import Lifeline
from tests.fixtures.small_lake import NOON, SECOND, Market, write_lake, write_raw

EXAMPLES = sorted((lake.TEMPLATE.parent / "sql").glob("*.sql"))
ZONES = ["UTC", "Asia/Kolkata", "America/New_York"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, list[Trade | Quote], list[Bar]]:
    """Fifteen minutes over an hour's edge, of three symbols, one of them not in ASCII."""
    disk = Files(tmp_path_factory.mktemp("lake with 'odd' [name]"))
    events = [
        *Market("SOLUSDT").events(NOON - 300 * SECOND, 900),
        *Market("CON").events(NOON, 300, every=3),
        *Market("币安人生USDT").events(NOON, 60),
    ]
    feed = [
        Feed("clock", NOON, NOON, [], {"offset_ns": -2_000_000}),
        Feed("disconnected", NOON + 30 * SECOND, NOON, ["SOLUSDT"]),
    ]
    bars = write_lake(disk, events, feed)
    disk.write("lake.sql", lake.TEMPLATE.read_bytes())
    return disk, events, bars


def test_every_event_and_bar_is_shown_once(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    disk, events, bars = made
    trades = sorted(
        (e.symbol, e.ts // 1000, float(e.price), e.side, e.trade_id) for e in events if isinstance(e, Trade)
    )
    quotes = sorted(
        (e.symbol, e.ts // 1000, float(e.bid), float(e.ask_qty), e.update_id) for e in events if isinstance(e, Quote)
    )
    assert sorted(ask(disk, "SELECT symbol, epoch_us(ts), price, side, trade_id FROM trades")) == trades
    assert sorted(ask(disk, "SELECT symbol, epoch_us(ts), bid, ask_qty, update_id FROM quotes")) == quotes
    shown = ask(disk, "SELECT symbol, epoch_us(window_start), close, trade_count, bid FROM bars_1s")
    assert sorted(shown, key=str) == sorted(
        ((b.symbol, b.window_start // 1000, b.close, b.trade_count, b.bid) for b in bars), key=str
    )


def test_an_empty_lake_has_all_views_and_no_rows(tmp_path: Path) -> None:
    for view in (
        "bars_1s",
        "bars('1 hour')",
        "trades",
        "quotes",
        "agg_trades",
        "latest",
        "feed",
        "days",
        "instruments",
        "bars_1s_filled",
    ):
        answer = lake.query(tmp_path, f"FROM {view}")
        assert answer.rows == []
        assert "empty" not in answer.columns


def test_bars_of_an_interval_are_those_of_their_seconds(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    disk, _, bars = made
    minute = [b for b in bars if b.symbol == "CON" and NOON <= b.window_start < NOON + 60 * SECOND]
    traded = [b for b in minute if b.trade_count]
    row = ask(
        disk,
        "SELECT open, high, low, close, volume_base, trade_count, bid, seconds, is_complete FROM bars('1 minute') "
        "WHERE symbol = 'CON' ORDER BY window_start LIMIT 1",
    )[0]
    assert row == (
        traded[0].open,
        max(b.high or 0 for b in traded),
        min(b.low or math.inf for b in traded),
        traded[-1].close,
        float(sum(Decimal(str(b.volume_base)) for b in minute)),
        sum(b.trade_count for b in minute),
        minute[-1].bid,
        len(minute),
        False,  # nothing before the first trade is known
    )


def test_sums_are_exact_in_any_order(tmp_path: Path) -> None:
    seeded = random.Random(7)
    numbers = [round(seeded.uniform(0, 5000), 3) for _ in range(3600)]
    exact = float(sum(Decimal(str(number)) for number in numbers))
    with lake.connect(tmp_path) as con:
        for _ in range(5):
            seeded.shuffle(numbers)
            assert con.execute("SELECT total(x) FROM (SELECT unnest(?) AS x)", [numbers]).fetchall() == [(exact,)]
        edge = "SELECT total(x), total(0 * x), total(-x), total(NULLIF(x, x)) FROM (VALUES (0.1::DOUBLE), (0.2)) t(x)"
        assert con.execute(edge).fetchall() == [(0.3, 0.0, -0.3, None)]


@pytest.mark.parametrize("zone", ZONES)
def test_buckets_begin_at_utc_in_every_session(made: tuple[Files, list[Trade | Quote], list[Bar]], zone: str) -> None:
    disk, _, _ = made
    with lake.connect(disk.root) as con:
        con.execute(f"SET TimeZone = '{zone}'")
        for every in ("1 hour", "1 day", "7 minutes"):
            starts = con.execute(
                f"SELECT DISTINCT epoch(window_start)::BIGINT FROM bars('{every}') ORDER BY 1"
            ).fetchall()
            assert starts == ask(disk, f"SELECT DISTINCT epoch(window_start)::BIGINT FROM bars('{every}') ORDER BY 1")
        assert con.execute("SELECT DISTINCT date FROM trades").fetchall() == [(datetime.date(2025, 10, 20),)]


def test_the_dense_view_carries_the_close_through_proven_seconds_only(tmp_path: Path) -> None:
    market = Market()
    first = market.events(NOON, 1, trades=2, quotes=0)
    second = market.events(NOON + 4 * SECOND, 1, trades=1, quotes=0)  # seconds 1 to 3 are proven empty
    lost = market.events(NOON + 6 * SECOND, 1, trades=1, quotes=0)
    third = market.events(NOON + 8 * SECOND, 1, trades=2, quotes=0)  # of 5 to 7 nothing is known: an id is missing
    quotes = market.events(NOON + 2 * SECOND, 1, trades=0, quotes=1) + market.events(
        NOON + 6 * SECOND, 5, trades=0, quotes=1, every=4
    )
    disk = Files(tmp_path)
    write_lake(disk, [*first, *second, *third, *quotes])
    assert lost
    rows = ask(disk, "FROM bars_1s_filled ORDER BY window_start")
    by_name = ask(
        disk, "SELECT is_empty, open, close, volume_base, trade_count, bid FROM bars_1s_filled ORDER BY window_start"
    )
    assert len(rows) == 11
    assert [row[0] for row in by_name] == [False, True, True, True, False, None, None, None, False, None, None]
    close = [float(event.price) for event in first if isinstance(event, Trade)][-1]
    assert [row[1:5] for row in by_name[1:4]] == [(close, close, 0.0, 0)] * 3
    assert by_name[2][5] is not None  # the quote that came in a second without trades
    assert [row[1:5] for row in (*by_name[5:8], *by_name[9:])] == [(None,) * 4] * 5
    assert by_name[6][5] is not None and by_name[7][5] is None
    columns = lake.query(tmp_path, "FROM bars_1s_filled LIMIT 0").columns
    assert columns == [*lake.query(tmp_path, "FROM bars_1s LIMIT 0").columns, "is_empty"]


def test_days_are_asked_for_by_their_verdict(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    disk, _, bars = made
    validate(Errand(disk, Config(), None, None, True, Lifeline()))
    asked = "SELECT count(*) FROM bars_1s JOIN days USING (venue, symbol, date) WHERE verdict = '{}'"
    assert ask(disk, asked.format("complete")) == [(0,)], "whoever asks for complete days gets none that is not over"
    assert ask(disk, asked.format("unproven")) == [(len(bars),)]
    assert ask(disk, asked.format("partial")) == [(0,)]
    assert ask(disk, "SELECT symbol, missing, is_over, so_far FROM days ORDER BY ALL") == [
        ("CON", 0, False, "complete"),
        ("SOLUSDT", 0, False, "complete"),
        ("币安人生USDT", 0, False, "complete"),
    ]


def test_latest_is_the_newest_bar_of_each_symbol(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    disk, _, bars = made
    newest = {b.symbol: b.window_start // 1000 for b in sorted(bars, key=lambda b: b.window_start)}
    assert dict(ask(disk, "SELECT symbol, epoch_us(window_start) FROM latest")) == newest


def test_the_feed_tells_what_happened(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    rows = ask(made[0], "SELECT venue, kind, symbols, offset_ns FROM feed ORDER BY ts")
    assert rows == [("binance", "clock", [], -2_000_000), ("binance", "disconnected", ["SOLUSDT"], None)]


def test_a_question_opens_the_files_of_its_symbol_only(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    with lake.connect(made[0].root) as con:
        plan = con.execute(
            "EXPLAIN ANALYZE SELECT count(*) FROM trades WHERE symbol = 'CON' AND date = '2025-10-20'"
        ).fetchall()
    assert "Scanning Files: 5/21" in plan[0][1]


def test_a_broken_line_costs_that_line(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events = Market().events(NOON, 60)
    write_raw(disk, events)
    path = "raw/binance/SOLUSDT/2025-10-20/part_1200.jsonl"
    disk.write(path, b'{"symbol":"SOLUSDT","ts":nonsense}\n\x00\xff\n' + disk.read(path))
    assert ask(disk, "SELECT (SELECT count(*) FROM trades), (SELECT count(*) FROM quotes)") == [(120, 180)]


def test_thirty_thousand_quotes_before_the_first_trade_change_no_type(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    market = Market()
    write_raw(disk, market.events(NOON, 300, trades=0, quotes=100) + market.events(NOON + 300 * SECOND, 10))
    assert ask(disk, "SELECT count(*), typeof(any_value(price)) FROM trades") == [(20, "DOUBLE")]
    frame = pl.scan_ndjson(f"{tmp_path}/raw/*/*/*/part_*.jsonl", schema=lake.raw_schema()).filter(
        pl.col("stream") == "trade"
    )
    assert frame.select(pl.len(), pl.col("price").is_null().sum().alias("nulls")).collect().row(0) == (20, 0)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_answers_alike_in_every_time_zone(
    made: tuple[Files, list[Trade | Quote], list[Bar]], example: Path
) -> None:
    answers = []
    for zone in ZONES:
        with lake.connect(made[0].root) as con:
            con.execute(f"SET TimeZone = '{zone}'")
            rows = con.execute(example.read_text()).fetchall()
            # Times with a zone are shown in the session's: the instant is what must not differ.
            answers.append(
                [tuple(v.astimezone(datetime.UTC) if getattr(v, "tzinfo", None) else v for v in row) for row in rows]
            )
    assert answers[0] == answers[1] == answers[2]
    assert bool(answers[0]) == (example.stem not in ("gaps", "complete_days"))  # no day of this lake is over
    assert example.read_text().startswith("-- ")


def test_gaps_are_found_from_bars_alone(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    events = Market().events(NOON, 120)
    trades = [e for e in events if isinstance(e, Trade)]
    lost = set(range(trades[100].trade_id, trades[107].trade_id))
    write_lake(disk, [e for e in events if not (isinstance(e, Trade) and e.trade_id in lost)])
    rows = ask(disk, (lake.TEMPLATE.parent / "sql" / "gaps.sql").read_text())
    assert sum(row[-1] for row in rows) == 7
    assert all(row[4] <= max(lost) and row[5] >= min(lost) for row in rows)


def test_views_survive_a_second_cursor(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    with lake.connect(made[0].root) as con:
        assert con.cursor().execute("SELECT count(*) > 0 FROM trades").fetchall() == [(True,)]


def test_lake_sql_works_from_the_lake_s_folder(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    disk, _, bars = made
    code = (
        "import duckdb; c = duckdb.connect(); c.execute(open('lake.sql').read());"
        "print(c.execute('SELECT count(*) FROM bars_1s').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=disk.root, capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.strip() == f"[({len(bars)},)]"


@pytest.mark.skipif(shutil.which("duckdb") is None, reason="the DuckDB command line is not installed")
def test_the_command_line_reads_lake_sql(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    disk, events, _ = made
    done = subprocess.run(
        ["duckdb", "-csv", "-noheader", "-init", "lake.sql", "-c", "SELECT count(*) FROM quotes"],
        cwd=disk.root, capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    assert done.stdout.split()[-1] == str(sum(isinstance(e, Quote) for e in events))


REFUSED = [
    "COPY (SELECT 1) TO '{lake}/parquet/x.csv'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/parquet/x.csv'",
    "SELECT 1; SELECT 2",
    "ATTACH '{lake}/x.db'",
    "INSTALL httpfs",
    "SET memory_limit = '1TB'",
    "CREATE TABLE t AS SELECT 1",
    "PRAGMA enable_profiling",
    "CALL enable_logging(storage_path='{lake}/parquet')",
    "",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_anything_but_one_question_is_refused(made: tuple[Files, list[Trade | Quote], list[Bar]], sql: str) -> None:
    with pytest.raises(lake.Refused):
        lake.query(made[0].root, sql.replace("{lake}", made[0].root.as_posix().replace("'", "''")))


OUTSIDE = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('{lake}/run/mesh.json')",
    "SELECT * FROM read_text('{lake}/raw/../run/mesh.json')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''/tmp/x''')",
    "SELECT * FROM enable_logging(storage='file', storage_path='/tmp')",
    "SELECT * FROM local_variable",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_a_question_sees_the_data_and_nothing_else(
    made: tuple[Files, list[Trade | Quote], list[Bar]], sql: str
) -> None:
    disk = made[0]
    disk.write("run/mesh.json", b'{"token": "secret"}')
    local_variable = pl.DataFrame({"a": [1]})
    with pytest.raises(duckdb.Error):
        lake.query(disk.root, sql.replace("{lake}", disk.root.as_posix().replace("'", "''")))
    assert local_variable.height == 1


def test_a_question_takes_parameters_and_is_cut_and_stopped(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    root = made[0].root
    assert lake.query(root, "SELECT count(*) FROM trades WHERE symbol = ?", ["no' OR 1=1"]).rows == [(0,)]
    answer = lake.query(root, "SELECT ts FROM trades", most_rows=5)
    assert (len(answer.rows), answer.is_cut) == (5, True)
    with pytest.raises(TimeoutError):
        lake.query(root, "SELECT count(*) FROM range(1000000000000)", seconds=0.3)


def test_polars_reads_the_bars(made: tuple[Files, list[Trade | Quote], list[Bar]]) -> None:
    frame = lake.scan_bars(made[0].root).collect()
    assert frame.schema == lake.bar_schema()
    assert frame.height == len(made[2])


def ask(disk: Files, sql: str) -> list[tuple[Any, ...]]:
    return lake.query(disk.root, sql).rows
