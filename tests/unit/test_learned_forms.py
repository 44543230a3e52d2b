"""Forms of frames that are read off a frame: when one is taken, how long it is kept, and what fits it."""

from __future__ import annotations

import ctypes

import pytest

from shared import kernels
from shared.events import Quote, Trade
from shared.kernels import TEXT
from shared.venues import _binance_forms
from shared.venues._binance_columns import Reader
from shared.venues.binance import Venue
from tests.fixtures.loops import library as library
from tests.property.test_frames_in_bulk import SYMBOLS, parsed, quote, trade
from tests.property.test_learned_forms import US, checked, reader

SPACED = [
    trade("SOLUSDT", 7, US, "187.42", "3").replace(b",", b", ").replace(b"}}", b', "x": 5, "note": "a b"}}'),
    quote("SOLUSDT", 9, "1.1", "1").replace(b":", b": ").replace(b"}}", b', "st": true }}'),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, library: ctypes.CDLL) -> None:
    monkeypatch.setattr(kernels.Streams, "PATIENCE", 0)


def patient(found: Reader) -> Reader:
    """Who learns nothing more for now."""
    found._streams.PATIENCE = 10**9
    return found


def learned(frames: list[bytes]) -> Reader:
    found = reader(Venue(SYMBOLS, ["trade", "quote"]))
    found.read([frames])
    assert found.read([frames]).is_plain.all()
    return found


def test_every_changed_byte_of_what_was_learned_is_right_or_left_to_the_single_parser() -> None:
    venue, found = Venue(SYMBOLS, ["trade", "quote"]), patient(learned(SPACED))
    for frame in SPACED:
        changed = [frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :] for at in range(len(frame))]
        changed += [frame[:at] + frame[at + 1 :] for at in range(len(frame))]
        changed += [frame[:at] for at in range(len(frame))]
        checked(found, venue, changed)


def test_a_stray_frame_costs_the_usual_ones_nothing() -> None:
    usual = trade("SOLUSDT", 7, US)
    found, third, fourth = learned([usual]), usual.replace(b":", b" : "), usual.replace(b":", b":  ")
    for other in (SPACED[0], third):
        assert found.read([[usual, other, usual, other, other, usual]]).is_plain.all()
    assert found.read([[third, fourth]]).is_plain.all()
    rows = patient(found).read([[third, fourth, usual]])
    assert rows.is_plain.tolist() == [True, True, False], "the one that did not fit last was forgotten"


def test_a_stream_that_always_changes_learns_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.Streams, "PATIENCE", 10)
    found, asked = learned([trade("SOLUSDT", 7, US)]), list[bytes]()

    def parse(frame: bytes, _: int) -> list[Trade]:
        asked.append(frame)
        return []

    monkeypatch.setattr(found, "_parse", parse)
    for number in range(100):
        found.read([[trade("SOLUSDT", 7, US).replace(b"}}", b',"x":-%d}}' % (1 + number))]])
    assert len(asked) == 3 * 10, "the first and each eleventh, with two others of its form each"


def test_streams_learn_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.Streams, "MOST", 1)
    found = reader(Venue(SYMBOLS, ["trade", "quote"]))
    assert [sum(found.read([SPACED]).is_plain) for _ in range(3)] == [1, 2, 2]


def test_who_could_not_learn_at_once_learns_from_a_frame_of_its_own_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.Streams, "MOST", 1)
    found = reader(Venue(SYMBOLS, ["trade", "quote"]))
    assert found.read([SPACED]).is_plain.tolist() in ([True, False], [False, True])
    for symbol in reversed(SYMBOLS):
        for frame in (trade(symbol, 8, US, "oops", "3"), quote(symbol, 10, "oops", "1")):
            assert not found.read([[frame]]).is_plain.any()
    assert found.read([SPACED]).is_plain.all()


def test_a_form_that_does_not_fit_its_own_frame_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found = learned([trade("SOLUSDT", 7, US)])
    monkeypatch.setattr(found._streams, "learn", lambda *_: pytest.fail("learned"))
    assert not found.read([[SPACED[0].replace(b'"x": 5', b'"x": 12345678901234567')]]).is_plain.any()


def test_a_form_is_not_taken_on_trust() -> None:
    """Given a sample that looks right by itself, when another value would be read wrongly, nothing is learned."""
    venue = Venue(SYMBOLS, ["trade", "quote"])
    usual = trade("SOLUSDT", 7, US)
    for twice in (b'"t":7,"\\u0074":7', b'"t":7,"t":7', b'"m":true,"t":7', b'"T":%d,"t":7' % US):
        frame = usual.replace(b'"t":7', twice)
        assert parsed(venue, frame) == parsed(venue, usual)
        found = reader(venue)
        found.read([[frame]])
        assert not found.read([[frame, frame]]).is_plain.any()


@pytest.mark.parametrize(
    "value", [b"", b"any ~ text!", b'a"', b"\\", b"\\u0041", b"\n", b"\x00", b"\x7f", b"\xff", b"\xc3\xa9"]
)
def test_a_text_that_is_no_concern_of_ours_is_one_that_the_parser_takes(value: bytes) -> None:
    frame, venue = SPACED[0].replace(b"a b", value), Venue(SYMBOLS, ["trade"])
    assert checked(patient(learned(SPACED)), venue, [frame]) == [value in (b"", b"any ~ text!")]


def test_a_text_that_the_parser_looks_at_stays_as_it_is() -> None:
    frame = quote("SOLUSDT", 9).replace(b"}}", b',"X":"MARKET","x":"MARKET"}}')
    form = _binance_forms.of(frame, "quote", frozenset({b"X", b"s", b"stream"}))
    assert [text for text, follows, _ in form if follows == TEXT] == [b'","X":"MARKET","x":"']
    assert isinstance(parsed(Venue(SYMBOLS, ["quote"]), _binance_forms.others(form)[0]), Quote)


def test_a_frame_of_any_length_is_no_form() -> None:
    long = trade("SOLUSDT", 7, US).replace(b"}}", b',"x":"%s"}}' % (b"x" * _binance_forms.LONGEST))
    found = reader(Venue(SYMBOLS, ["trade"]))
    found.read([[long]])
    assert not found.read([[long]]).is_plain.any()
