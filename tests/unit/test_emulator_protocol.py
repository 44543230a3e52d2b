"""procs.emulator.protocol and limits: the venue's control messages, pings and limits, tested with words and times."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from procs.emulator.limits import Attempts, Weights
from procs.emulator.protocol import SPOT, USDM, Close, Ping, Pong, Send, Session


def session(path: str = "/ws", query: str = "", **rules: Any) -> Session:
    return Session(path, query, msgspec.structs.replace(SPOT, **rules), "spot", 0.0)


def told(subject: Session, message: Any, now_s: float = 0.0) -> Any:
    [action] = subject.text(message if isinstance(message, str) else json.dumps(message), now_s)
    assert isinstance(action, Send)
    return json.loads(action.data)


def test_the_url_names_raw_or_combined_streams() -> None:
    raw = session("/ws/solusdt@trade/adausdt@bookTicker")
    assert (list(raw.streams), raw.combined) == (["solusdt@trade", "adausdt@bookTicker"], False)
    combined = session("/stream", "streams=solusdt@trade/adausdt@bookTicker&timeUnit=MICROSECOND")
    assert (list(combined.streams), combined.combined) == (["solusdt@trade", "adausdt@bookTicker"], True)
    assert combined.micro
    assert not raw.micro
    assert session("/stream", "streams=a%40trade/b@trade&timeUnit=microsecond").streams == {
        "a@trade": None,
        "b@trade": None,
    }


def test_subscribing_adds_and_unsubscribing_removes_and_the_list_keeps_the_order() -> None:
    subject = session(messages_per_s=100)
    assert told(subject, {"method": "SUBSCRIBE", "params": ["b@trade", "a@trade"], "id": 1}) == {
        "result": None,
        "id": 1,
    }
    assert told(subject, {"method": "SUBSCRIBE", "params": ["a@trade", "c@trade"], "id": "x"}) == {
        "result": None,
        "id": "x",
    }
    assert told(subject, {"method": "UNSUBSCRIBE", "params": ["b@trade", "never@trade"], "id": None}) == {
        "result": None,
        "id": None,
    }
    assert told(subject, {"method": "LIST_SUBSCRIPTIONS", "id": 3}) == {"result": ["a@trade", "c@trade"], "id": 3}


def test_a_symbol_that_does_not_exist_is_acknowledged() -> None:
    subject = session()
    assert told(subject, {"method": "SUBSCRIBE", "params": ["nosuch@trade"], "id": 1})["result"] is None


def test_the_combined_property_is_read_and_set() -> None:
    subject = session("/stream")
    assert told(subject, {"method": "GET_PROPERTY", "params": ["combined"], "id": 2}) == {"result": True, "id": 2}
    assert told(subject, {"method": "SET_PROPERTY", "params": ["combined", False], "id": 5}) == {
        "result": None,
        "id": 5,
    }
    assert not subject.combined


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ('{"method":', 3, "Invalid JSON: expected value at line 1 column"),
        ("[" * 100_000, 3, "Invalid JSON"),
        ("[]", 2, "Invalid request"),
        ({"params": [], "id": 1}, 2, "missing field `method`"),
        (
            {"method": "SUBSCRIB", "params": ["a@trade"], "id": 1},
            2,
            "unknown variant `SUBSCRIB`, expected one of `SUBSCRIBE`",
        ),
        ({"method": "SUBSCRIBE", "params": ["a@trade"]}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": ["a@trade"], "id": 1.5}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": ["a@trade"], "id": "x" * 37}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": ["a@trade"], "id": 1, "more": 1}, 2, "too many parameters"),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2, "Invalid request"),
        ({"method": "GET_PROPERTY", "params": ["speed"], "id": 1}, 0, "Unknown property"),
        ({"method": "GET_PROPERTY", "params": [1], "id": 1}, 2, "property name must be a string"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "Invalid value type: expected Boolean"),
        ({"method": "SET_PROPERTY", "params": [], "id": 1}, 2, "property name must be a string"),
    ],
)
def test_mistakes_are_answered_with_the_documented_errors(message: Any, code: int, words: str) -> None:
    answer = told(session(), message)
    assert answer["code"] == code
    assert words in answer["msg"]


def test_a_sixth_message_within_a_second_closes_the_connection() -> None:
    subject = session()
    for n in range(5):
        told(subject, {"method": "LIST_SUBSCRIPTIONS", "id": n}, 0.1 * n)
    assert subject.pong(b"", 0.9) == [Close(1008, "Too many requests")]


def test_five_messages_a_second_are_allowed_for_ever() -> None:
    subject = session()
    assert all(subject.ping(b"x", n * 0.201) == [Pong(b"x")] for n in range(100))


def test_more_streams_than_allowed_are_refused_and_nothing_is_subscribed() -> None:
    subject = session(streams=3)
    answer = told(subject, {"method": "SUBSCRIBE", "params": [f"{n}@trade" for n in range(4)], "id": 1})
    assert answer["code"] == 2
    assert not subject.streams
    assert session("/ws/a@trade/b@trade", streams=1).too_many


def test_a_ping_comes_every_twenty_seconds_and_its_pong_keeps_the_connection() -> None:
    subject = session()
    assert subject.tick(19.9) == []
    [ping] = subject.tick(20.0)
    assert isinstance(ping, Ping)
    subject.pong(ping.payload, 20.1)
    for n in range(2, 30):
        [ping] = subject.tick(20.0 * n)
        assert isinstance(ping, Ping)
        subject.pong(ping.payload, 20.0 * n + 0.1)


def test_unasked_pongs_do_not_keep_it_alive() -> None:
    subject = session()
    actions = []
    for n in range(200):
        subject.pong(b"", n / 2)
        actions = subject.tick(n / 2)
        if actions and isinstance(actions[0], Close):
            break
    assert actions == [Close(1008, "Pong timeout")]
    assert n / 2 == 80.0  # the first ping went unanswered for a minute


def test_futures_ping_every_three_minutes_and_wait_for_ten() -> None:
    subject = Session("/public/ws", "", USDM, "usdm", 0.0)
    assert subject.tick(179.0) == []
    assert isinstance(subject.tick(180.0)[0], Ping)
    assert not any(isinstance(a, Close) for a in subject.tick(779.0))
    assert subject.tick(780.0) == [Close(1008, "Pong timeout")]


def test_a_connection_ends_after_its_time() -> None:
    assert session(life_s=10, ping_every_s=100).tick(10.0) == [Close(1001, "")]


def test_the_end_of_the_server_is_announced_in_the_form_of_the_connection() -> None:
    assert session("/ws").shutdown(1_770_123_456_789_000) == b'{"e":"serverShutdown","E":1770123456789}'
    assert session("/stream").shutdown(1_770_123_456_789_000) == (
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
    )


def test_futures_routes_carry_their_own_streams_and_stay_silent_on_others() -> None:
    def routes(path: str, trade_route: str = "public") -> list[bool]:
        subject = Session(path, "", msgspec.structs.replace(USDM, trade_route=trade_route), "usdm", 0.0)
        return [subject.delivers(f"btcusdt@{kind}") for kind in ("bookTicker", "trade", "aggTrade", "depth@100ms")]

    assert routes("/public/stream") == [True, True, False, True]
    assert routes("/market/ws/btcusdt@aggTrade") == [False, False, True, False]
    assert routes("/ws") == [True, True, False, True]
    assert routes("/market/ws", trade_route="market") == [False, True, True, False]
    assert not Session("/ws", "timeUnit=MICROSECOND", USDM, "usdm", 0.0).micro


def test_weight_above_the_limit_is_429_until_the_minute_ends_and_418_for_who_goes_on() -> None:
    weights = Weights(100)
    assert weights.ask(100, 30.0).status == 200
    refused = weights.ask(1, 31.0)
    assert (refused.status, refused.retry_after_s) == (429, 29)
    assert [weights.ask(1, 32.0).status for _ in range(3)] == [429, 429, 418]
    assert weights.ask(1, 61.0).status == 418  # banned beyond the minute
    assert weights.ask(1, 153.0).status == 200


def test_who_waits_as_told_is_served_again() -> None:
    weights = Weights(10)
    weights.ask(10, 0.0)
    refused = weights.ask(1, 5.0)
    assert weights.ask(10, 5.0 + refused.retry_after_s).status == 200


def test_connection_attempts_are_counted_over_five_minutes() -> None:
    attempts = Attempts(3)
    assert [attempts.allow(n) for n in (0.0, 1.0, 2.0, 3.0)] == [True, True, True, False]
    assert attempts.allow(303.5)
