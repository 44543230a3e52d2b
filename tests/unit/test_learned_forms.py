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


def learned(frames: list[bytes]) -> Reader:
    found = reader(Venue(SYMBOLS, ["trade", "quote"]))
    found.read([frames])
    assert found.read([frames]).is_plain.all()
    return found


def test_every_changed_byte_of_what_was_learned_is_right_or_left_to_the_single_parser() -> None:
    venue, found = Venue(SYMBOLS, ["trade", "quote"]), learned(SPACED)
    for frame in SPACED:
        changed = [frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :] for at in range(len(frame))]
        changed += [frame[:at] + frame[at + 1 :] for at in range(len(frame))]
        changed += [frame[:at] for at in range(len(frame))]
        checked(found, venue, changed)


def test_a_stray_frame_costs_the_usual_ones_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = trade("SOLUSDT", 7, US)
    found = learned([usual])
    found.read([[SPACED[0]]])
    assert found.read([[usual, SPACED[0], usual, SPACED[0], SPACED[0], usual]]).is_plain.all()
    third = usual.replace(b":", b" : ")
    found.read([[third]])
    assert found.read([[usual, third, usual]]).is_plain.all(), "the one that did not fit last is forgotten"
    assert found.read([[third, SPACED[0], third]]).is_plain.tolist() == [True, False, True]
    assert found.read([[third, SPACED[0]]]).is_plain.all(), "which now is the usual one"


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
    assert checked(learned(SPACED), venue, [frame]) == [value in (b"", b"any ~ text!")]


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
