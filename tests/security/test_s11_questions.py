"""S11: anybody's SQL reads the lake's data and nothing else, and writes nowhere. More: test_lake_sql.py."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

from shared import lake
from shared.files import Files
from tests.fixtures.small_lake import NOON, SECOND, Market, bars_of, write_bars, write_raw

HOSTILE = [
    "COPY bars_1s TO '{lake}/parquet/x.csv'",
    "COPY bars_1s TO '{lake}/../x.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "EXPORT DATABASE '{lake}/parquet/x'",
    "IMPORT DATABASE '{lake}/parquet'",
    "ATTACH '/tmp/x.db' AS x",
    "ATTACH 'https://evil.example/x.db'",
    "INSTALL httpfs FROM community",
    "LOAD '/tmp/evil.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SELECT 1; DROP VIEW bars_1s",
    "SELECT 1;;COPY (SELECT 1) TO '/tmp/x'",
    "/* x */ DELETE FROM bars_1s",
    "CREATE OR REPLACE VIEW bars_1s AS SELECT 1",
    "CREATE SECRET (TYPE s3)",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "VACUUM",
    "CHECKPOINT",
    "USE memory",
    "FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '{lake}/../secret.csv'",
    "SELECT * FROM read_csv_auto('{lake}/raw/../../secret.csv')",
    "SELECT * FROM read_text('{lake}/run/mesh.json')",
    "SELECT * FROM read_blob('{lake}/journal/archive/lock')",
    "SELECT * FROM read_parquet('/etc/*')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_json('http://127.0.0.1:1/x')",
    "SELECT * FROM glob('{lake}/run/*')",
    "SELECT * FROM sqlite_scan('/tmp/x.db', 't')",
    "SELECT getenv('HOME')",
    "SELECT * FROM read_ndjson_objects('/proc/self/environ')",
    "WITH x AS (COPY (SELECT 1) TO '/tmp/x' RETURNING 1) SELECT * FROM x",
    "SELECT * FROM duckdb_logs_parsed('x'); SELECT 1",
    "SUMMARIZE '/etc/passwd'",
    "DESCRIBE SELECT * FROM '/etc/passwd'",
    "",
    ";",
    "\0",
    "SELECT" * 10_000,
    "(" * 5_000 + "1" + ")" * 5_000,
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sql")
    disk = Files(folder / "lake")
    events = Market().events(NOON, 5)
    write_raw(disk, events)
    write_bars(disk, bars_of(events, NOON + 10 * SECOND))
    disk.write("run/mesh.json", b'{"token": "the-secret-token"}')
    disk.write("journal/archive/lock", b"the-secret-token")
    (folder / "secret.csv").write_text("a,b\nthe-secret-token,1\n")
    return folder / "lake"


@pytest.mark.parametrize("sql", HOSTILE)
def test_it_is_refused_and_the_lake_is_as_it_was(root: Path, sql: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.parent.rglob("*")}
    with pytest.raises((lake.Refused, duckdb.Error)) as refused:
        lake.query(root, sql.replace("{lake}", root.as_posix()), seconds=20)
    assert "the-secret-token" not in str(refused.value) and os.environ.get("HOME", "?") + "/" not in str(refused.value)
    assert {path: path.stat().st_mtime_ns for path in root.parent.rglob("*")} == before


def test_a_question_that_is_one_is_answered(root: Path) -> None:
    assert lake.query(root, "SELECT count(*) > 0 FROM bars_1s").rows == [(True,)]


def test_memory_and_time_have_an_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "MEMORY", "50MB")
    with pytest.raises((duckdb.Error, TimeoutError)):
        lake.query(root, "SELECT list(range) FROM range(1000000000)", seconds=5)
    with pytest.raises(TimeoutError):
        lake.query(root, "SELECT count(*) FROM range(100000000000)", seconds=0.5)
