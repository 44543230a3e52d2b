"""Questions typed at the prompt: a statement ends with a semicolon, and the first refusal does not end the session."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from supervision import questions


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The statements that are asked when a text is typed."""
    asked: list[str] = []

    def ask(root: Path, statement: str, as_json: bool) -> int:
        asked.append(" ".join(statement.split()))
        return 1

    def typed(text: str) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        questions.prompt(Path(), False)
        return asked

    monkeypatch.setattr(questions, "ask", ask)
    return typed


def test_a_statement_may_take_several_lines(session: Callable[[str], list[str]]) -> None:
    assert session("select\n1;\nselect 2 ;\n") == ["select 1;", "select 2 ;"]


def test_the_last_one_needs_no_semicolon(session: Callable[[str], list[str]]) -> None:
    assert session("select 1") == ["select 1"]


def test_empty_lines_ask_nothing(session: Callable[[str], list[str]]) -> None:
    assert session("\n ;\n\n") == []


def test_values_are_shown_as_they_are() -> None:
    values = (None, 1.5, 187.42, Decimal("1.50"), True)
    assert [questions._text(value) for value in values] == ["-", "1.5", "187.42", "1.50", "True"]
