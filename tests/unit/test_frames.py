"""Plain messages are cut where they are, however many come at once and wherever a read ends."""

from __future__ import annotations

import gc
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from shared import frames
from tests.fixtures.loops import loops as loops

payloads = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"", b"x" * 125, b"x" * 126, b"\x81\x7e\x00\x05hello", b"\x81" * 200, b"y" * 65535]),
)
strangers = st.sampled_from(
    [
        Frame(Opcode.PING, b"p").serialize(mask=False),
        Frame(Opcode.CLOSE, struct.pack(">H", 1000)).serialize(mask=False),
        Frame(Opcode.BINARY, b"b").serialize(mask=False),
        Frame(Opcode.TEXT, b"part", fin=False).serialize(mask=False),
        Frame(Opcode.TEXT, b"masked").serialize(mask=True),
        Frame(Opcode.TEXT, b"z" * 65536).serialize(mask=False),
        b"\xc1\x01r",  # with a reserved bit
    ]
)


def text(payload: bytes) -> bytes:
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


def cut(data: bytes) -> tuple[list[bytes], int]:
    """All there is, however many passes it takes."""
    messages: list[bytes] = []
    at = 0
    while True:
        found, ends = frames.cut(data[at:])
        if not found:
            return messages, at
        messages += found
        at += int(ends[-1])


@settings(max_examples=150, deadline=None)
@given(st.lists(payloads, max_size=30), st.one_of(st.just(b""), strangers), st.integers(0, 40), st.booleans())
def test_what_is_plain_is_cut_up_to_what_is_not(
    messages: list[bytes], stranger: bytes, less: int, are_many: bool
) -> None:
    whole = b"".join(map(text, messages))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "MANY", 0 if are_many else 1 << 30)
        patch.setattr(frames, "FEW", 1 + less % 3)
        data = whole + stranger + (text(b"behind") if stranger else b"")
        assert cut(data) == (messages, len(whole))
        torn = whole[: max(0, len(whole) - less)]
        found, offset = cut(torn)
        assert found == messages[: len(found)]
        assert offset == len(b"".join(map(text, found)))
        assert len(found) == len(messages) or len(torn) < offset + len(text(messages[len(found)]))


def test_thousands_at_once_are_cut_in_one_pass_and_made_when_asked_for() -> None:
    messages = [b'{"n":%d}' % number * (1 + number % 40) for number in range(5000)]
    data = b"".join(map(text, messages))
    assert len(data) > frames.MANY
    found, ends = frames.cut(data)
    assert isinstance(found, frames.Cut) and ends[-1] == len(data)
    assert (list(found), found[7], found[-1], found[3:5]) == (messages, messages[7], messages[-1], messages[3:5])
    assert frames.cut(data[:-1])[1][-1] == len(data) - len(text(messages[-1]))


def test_parts_that_follow_one_another_are_one_again() -> None:
    messages = [b'{"number":%d}' % number + b" " * 80 for number in range(1000)]
    whole, _ = frames.cut(b"".join(map(text, messages)))
    other, _ = frames.cut(b"".join(map(text, messages)))
    parts = [frames.part(whole, 3, 10), frames.part(whole, 10, 10), frames.part(frames.part(whole, 5, 500), 5, 95)]
    apart = [frames.part(whole, 101, 200), [b"single"], frames.part(whole, 200, 201), frames.part(other, 201)]
    found = frames.joined([*parts, *apart])
    assert [list(one) for one in found] == [
        messages[3:100], messages[101:200], [b"single"], messages[200:201], messages[201:]
    ]  # fmt: skip
    assert frames.joined([]) == []


def test_what_was_cut_is_let_go_at_once() -> None:
    """It holds megabytes, and a search for cycles is rare here."""
    memory = bytearray(b"".join(text(b'{"number":%d}' % number) for number in range(1000)))
    gc.disable()
    try:
        whole, ends = frames.cut(memoryview(memory))
        both = frames.joined([frames.part(whole, 3, 10), frames.part(whole, 10, 20)])
        assert len(both) == 1 and len(ends) > 20
        del whole, ends, both
        memory.clear()  # refused as long as somebody holds it
    finally:
        gc.enable()
