"""How far it is: a bar on a terminal, plain lines elsewhere, the log for whoever is not there."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from loguru import logger

from shared.logs import escape

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """One thing at a time has a bar; what is said stays above it."""

    def __init__(self, quiet: bool) -> None:
        """`quiet`: started by the supervisor, nobody is looking."""
        self._quiet = quiet
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, what: str, total: int | None) -> None:
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(escape(what), total=total or None)

    def at(self, done: int) -> None:
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.update(task, completed=done)

    def say(self, text: str) -> None:
        logger.info(text)
        self._show(text)

    def warn(self, text: str) -> None:
        logger.warning(text)
        self._show(text)

    def _show(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(escape(text), markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stdout.write(escape(text) + "\n")
            sys.stdout.flush()
