"""Questions to the lake: its views in DuckDB, a read-only door for anybody's SQL, and schemas for Polars.

``lake.sql`` beside ``supervisor.py`` is the one text of the views; a copy lies in every lake.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec

from shared.tables import BAR_COLUMNS, RAW_COLUMNS

if TYPE_CHECKING:
    import polars as pl

TEMPLATE = Path(__file__).resolve().parent.parent / "lake.sql"
READABLE = ("raw", "feed", "rejected", "parquet", "ticks", "instruments", "checksums", "quality")
"""The folders a question may open; not run/, where the keys are."""
MEMORY = "2GB"
_SOURCES = (
    "bar_source",
    "raw_source",
    "feed_source",
    "days_source",
    "instruments_source",
    "trades_source",
    "quotes_source",
    "agg_trades_source",
    "encoded",
    "compacted",
)
_PATTERN = re.compile(rf"'((?:{'|'.join(READABLE)})/\*)")


class Refused(ValueError):
    """A statement that is not one plain question."""


class Answer(msgspec.Struct):
    """The rows of a question."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    is_cut: bool = False
    """There were more rows than were asked for."""


# --- the views ---


def connect(root: str | Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that shows the lake at `root`, for notebooks: ``connect("data").sql("FROM latest")``."""
    con = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    try:
        _show(con, Path(root).absolute())
    except BaseException:
        con.close()
        raise
    return con


def _show(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    con.execute(statements(root))
    for name in _SOURCES:
        # A variable belongs to one session; as a macro it is there for every cursor of the connection.
        value = con.execute(f"SELECT getvariable('{name}')").fetchall()[0][0]
        con.execute(f"CREATE OR REPLACE MACRO {name}() AS {_literal(value)}")


def statements(root: Path) -> str:
    """``lake.sql`` for a session that does not stand in the lake's folder."""
    folder = _pattern(root).replace("'", "''")
    return _PATTERN.sub(lambda found: f"'{folder}/{found[1]}", TEMPLATE.read_text(encoding="utf-8"))


def _pattern(root: Path) -> str:
    """A folder in which no letter means more than itself."""
    return re.sub(r"([*?\[])", r"[\1]", root.as_posix().rstrip("/"))


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return f"MAP({_literal(list(value))}, {_literal(list(value.values()))})"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]::VARCHAR[]"
    return "'" + str(value).replace("'", "''") + "'"


# --- anybody's SQL ---


def query(
    root: str | Path, sql: str, parameters: Sequence[Any] = (), *, most_rows: int = 1_000_000, seconds: float = 300.0
) -> Answer:
    """The answer to one SELECT over the lake's views. It can read the lake's data and nothing else, and write nowhere.

    Raises Refused for anything but one question, TimeoutError after `seconds`, duckdb.Error for what DuckDB rejects.
    """
    with duckdb.connect(":memory:", config={"python_enable_replacements": "false"}) as con:
        _show(con, Path(root).absolute())
        statement = _only_select(sql)
        _close_doors(con, Path(root).absolute())
        timer = threading.Timer(seconds, con.interrupt)
        timer.daemon = True
        timer.start()
        try:
            con.execute(statement, list(parameters))
            rows = con.fetchmany(most_rows + 1)
            columns = [column[0] for column in con.description or ()]
        except duckdb.InterruptException:
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        finally:
            timer.cancel()
            timer.join()  # it holds the connection, which must be gone before the interpreter is
    return Answer(columns, rows[:most_rows], len(rows) > most_rows)


def _only_select(sql: str) -> duckdb.Statement:
    found = duckdb.extract_statements(sql)
    if len(found) != 1:
        raise Refused(f"one question at a time, not {len(found)} statements")
    if found[0].type != duckdb.StatementType.SELECT:
        raise Refused(f"only questions are answered here, and this is {found[0].type.name}")
    return found[0]


def _close_doors(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Read-only by construction; what no setting forbids (COPY into the lake itself) is no SELECT: refused before."""
    # The patterns themselves are held against the list as well as the files that they match.
    folders = [f"{top}/{name}" for name in READABLE for top in sorted({root.as_posix().rstrip("/"), _pattern(root)})]
    con.execute(f"SET allowed_directories = {_literal(folders)}")
    con.execute(f"SET memory_limit = '{MEMORY}'")
    con.execute("SET temp_directory = ''")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


# --- Polars ---


def raw_schema() -> pl.Schema:
    """For ``pl.scan_ndjson(..., schema=raw_schema())``: Polars would guess from the first lines and fail at others."""
    import polars as pl

    kinds = {"string": pl.String(), "int64": pl.Int64(), "decimal": pl.Float64()}
    return pl.Schema({name: kinds[kind] for name, kind in RAW_COLUMNS})


def bar_schema() -> pl.Schema:
    """The bars' columns as Polars has them."""
    import polars as pl

    kinds = {
        "string": pl.String(),
        "timestamp[us, UTC]": pl.Datetime("us", "UTC"),
        "float64": pl.Float64(),
        "int64": pl.Int64(),
        "int32": pl.Int32(),
        "int16": pl.Int16(),
        "bool": pl.Boolean(),
    }
    return pl.Schema({name: kinds[kind] for name, kind in BAR_COLUMNS})


def scan_bars(root: str | Path) -> pl.LazyFrame:
    """Every bar of the lake, lazily."""
    import polars as pl

    pattern = f"{_pattern(Path(root).absolute())}/parquet/**/*.parquet"
    return pl.scan_parquet(pattern, schema=bar_schema(), hive_partitioning=False)
