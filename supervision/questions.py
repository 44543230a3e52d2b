"""``sql``: what the lake answers."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from shared import lake
from shared.plain import plain_lines
from supervision.table import columns

SHOWN_ROWS = 1000
"""On a terminal; JSON holds every row."""


def ask(root: Path, statement: str, as_json: bool) -> int:
    """One question. Exit code 1 where it cannot be answered."""
    try:
        answer = lake.query(root, statement)
    except (lake.Refused, TimeoutError, duckdb.Error) as why:
        said = json.dumps({"error": str(why)}) if as_json else plain_lines(str(why))
        print(said, file=sys.stdout if as_json else sys.stderr)
        return 1
    if as_json:
        for row in answer.rows:
            print(json.dumps(dict(zip(answer.columns, map(_plain, row), strict=True)), default=str))
        return 0
    print(columns(answer.columns, [[_text(value) for value in row] for row in answer.rows[:SHOWN_ROWS]]))
    hidden = len(answer.rows) - SHOWN_ROWS
    if hidden > 0 or answer.is_cut:
        print(f"... and {max(hidden, 0):,} rows more{' at least' if answer.is_cut else ''}")
    return 0


def prompt(root: Path, as_json: bool) -> int:
    """Questions until the end of input; a statement ends with a semicolon."""
    interactive = sys.stdin.isatty()
    if interactive:
        print(
            f"Views over {root}: bars_1s, bars('1m'), trades, quotes, latest. A question ends with ; - Ctrl-D leaves."
        )
    statement: list[str] = []
    code = 0
    while True:
        if interactive:
            print("... " if statement else "sql> ", end="", flush=True)
        line = sys.stdin.readline()
        statement.append(line)
        if (line.rstrip().endswith(";") or not line) and "".join(statement).strip(" \t\r\n;"):
            code = ask(root, "".join(statement), as_json)
            statement = []
        if not line:
            return code


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
