"""What ingest says to people and writes of gaps: once, and by the source it was."""

from __future__ import annotations

from pathlib import Path

from shared.rest import Blocked, Unreachable
from tests.fixtures.desk import Desk


def test_a_healed_gap_is_said_once_and_with_its_source_across_kills(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run(0.2)
    frames = desk.market.trade(count=6)
    desk.bring(*frames[:2], *frames[5:])
    desk.run(5)
    assert [event.detail["source"] for event in desk.feed("healed")] == ["rest"]
    for _ in range(3):
        desk.kill()
        desk.run(5)
    assert [event.detail["source"] for event in desk.feed("healed")] == ["rest"]


def test_the_note_of_a_place_that_is_refused_names_the_settings_and_goes_with_the_refusal(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.market.error = Blocked("HTTP 451", 451)
    desk.refuse = lambda _: ("HTTP 451", 451)
    desk.run(30)
    assert "ws_url: wss://data-stream.binance.vision" in desk.ingest.note
    desk.refuse = lambda _: None
    desk.run(90)
    assert desk.ingest.note == ""


def test_the_note_without_a_network_mentions_the_demo(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.market.error = Unreachable("nobody there")
    desk.refuse = lambda _: ("nobody there", None)
    desk.run(30)
    assert "python supervisor.py demo" in desk.ingest.note


def test_answers_that_make_no_sense_for_minutes_condemn_no_id(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run(0.2)
    frames = desk.market.trade(count=6)
    desk.bring(*frames[:2], *frames[5:])
    row = desk.market._row  # what REST says of one trade
    desk.market._row = lambda row: {"maintenance": True}  # type: ignore[method-assign]
    desk.run(240)
    assert not desk.feed("unhealable")
    desk.market._row = row  # type: ignore[method-assign]
    desk.run(300)
    assert [event.detail["source"] for event in desk.feed("healed")] == ["rest"]
    assert not desk.feed("unhealable")


def test_a_row_nobody_can_ever_read_is_given_up_after_some_minutes(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run(0.2)
    frames = desk.market.trade(count=6)
    desk.bring(*frames[:2], *frames[5:])
    desk.market._row = lambda row: {"maintenance": True}  # type: ignore[method-assign]
    desk.run(1200)
    assert [event.detail["reason"] for event in desk.feed("unhealable")] == ["the venue's answers make no sense"]
