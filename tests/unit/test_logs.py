"""A log line is one line, whatever a stranger sent; a crash leaves its traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from shared import logs


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    yield
    logger.remove()
    logger.configure(patcher=lambda _: None)
    logger.add(sys.stderr)


def written(lake: Path) -> str:
    logger.complete()
    return (lake / "logs" / "it.log").read_text(encoding="utf-8")


def test_each_stage_has_a_file_of_its_own(tmp_path: Path) -> None:
    logs.setup(tmp_path, "it", console=False)
    logger.info("{} runs", "it")
    assert written(tmp_path).endswith(" INFO    it runs\n")


def test_no_terminal_obeys_a_line_and_no_line_becomes_two(tmp_path: Path) -> None:
    logs.setup(tmp_path, "it", console=False)
    logger.warning("symbol {}", "A\x1b[2J\r\n\x00\x9b31m\u2028<red>")
    lines = written(tmp_path).splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(r"symbol A\x1b[2J\x0d\x0a\x00\x9b31m\u2028<red>")


def test_a_long_text_is_cut_and_counted(tmp_path: Path) -> None:
    logs.setup(tmp_path, "it", console=False)
    logger.info("x" * 10_000)
    assert len(written(tmp_path)) < 4200 and "(6000 characters more)" in written(tmp_path)


def test_braces_and_tags_in_what_was_sent_are_just_text(tmp_path: Path) -> None:
    logs.setup(tmp_path, "it", console=True)
    logger.info("{} and {}", "{0.__class__}", "<level>{extra}</level>")
    assert "{0.__class__} and <level>{extra}</level>" in written(tmp_path)


def test_a_crash_leaves_its_traceback_without_values(tmp_path: Path) -> None:
    logs.setup(tmp_path, "it", console=False)
    secret = "raw payload"
    try:
        raise ValueError("bad\x1b[0m")
    except ValueError:
        logger.exception("it crashed")
    text = written(tmp_path)
    assert r"ValueError: bad\x1b[0m" in text and "Traceback" in text and text.count("Traceback") == 1
    assert secret not in text.replace('secret = "raw payload"', "")


def test_setting_up_again_moves_the_log(tmp_path: Path) -> None:
    logs.setup(tmp_path / "a", "it", console=False)
    logs.setup(tmp_path / "b", "it", console=False)
    logger.info("here")
    assert "here" in written(tmp_path / "b") and "here" not in written(tmp_path / "a")


def test_a_person_sees_the_same_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(tmp_path, "it", console=True)
    logger.info("it runs")
    logger.debug("not this")
    err = capsys.readouterr().err
    assert err.endswith("it runs\n") and "not this" not in err
