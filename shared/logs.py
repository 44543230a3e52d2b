"""Logs: one file a stage, rotated daily at midnight UTC, kept 14 days; one line for each change of state.

What strangers send may stand in a message, so control characters are escaped (a terminal would obey them) and long
texts are cut.
"""

from __future__ import annotations

import datetime
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from shared.plain import plain, plain_lines

if TYPE_CHECKING:
    from loguru import Record

LONGEST = 4000
"""Characters of one message; the rest is counted, not written."""


def setup(lake: str | Path, stage: str, console: bool) -> None:
    """Sends this process's log to ``logs/<stage>.log`` of the lake, and to stderr when a person is watching."""
    logger.remove()
    logger.configure(patcher=_clean)
    if console and sys.stderr is not None:
        logger.add(sys.stderr, format=_console_line, level="INFO", backtrace=False, diagnose=False)
    logger.add(
        Path(lake) / "logs" / f"{stage}.log",
        format=_file_line,
        level="DEBUG",
        rotation=datetime.time(0, 0, tzinfo=datetime.UTC),
        retention=datetime.timedelta(days=14),
        encoding="utf-8",
        errors="backslashreplace",
        backtrace=False,
        diagnose=False,  # would print the values of variables, raw payloads among them
    )


def escape(text: str) -> str:
    """One line that no terminal obeys."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text) - LONGEST} characters more)"
    return plain(text)


def _clean(record: Record) -> None:
    record["message"] = escape(record["message"])
    record["extra"]["trace"] = ""
    failure = record["exception"]
    if failure is not None:
        lines = "".join(traceback.format_exception(failure.type, failure.value, failure.traceback, limit=-20))
        record["extra"]["trace"] = "\n" + plain_lines(lines[-LONGEST:].rstrip())


def _file_line(_: Record) -> str:
    return "{time:YYYY-MM-DD HH:mm:ss.SSS!UTC} {level: <7} {message}{extra[trace]}\n"


def _console_line(_: Record) -> str:
    return "<dim>{time:HH:mm:ss!UTC}</dim> <level>{message}</level>{extra[trace]}\n"
