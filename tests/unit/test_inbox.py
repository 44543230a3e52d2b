"""Each message has the clocks of the read that brought its end, however late it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from shared import frames, inbox
from shared.inbox import READ, TOGETHER_NS, Inbox
from tests.fixtures.loops import loops as loops

MS = 1_000_000


def text(payload: bytes) -> bytes:
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


def read(it: Inbox, data: bytes, mono: int) -> None:
    room = it.room()
    room[: len(data)] = data
    it.came(len(data), 7 * MS + mono, mono)


def stamped(it: Inbox) -> list[tuple[bytes, int]]:
    found = []
    while several := it.cut():
        for brought in several:
            assert len(brought.messages) and brought.wall == 7 * MS + brought.mono
            found += [(message, brought.mono) for message in brought.messages]
    return found


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(1, 900), st.booleans()), min_size=1, max_size=40),
    st.sampled_from((1, 1 << 30)),
)
def test_a_message_is_of_the_read_that_brought_its_end(
    payloads: list[bytes], cuts: list[tuple[int, bool]], many: int
) -> None:
    wire = b"".join(map(text, payloads))
    ends = [len(b"".join(map(text, payloads[: number + 1]))) for number in range(len(payloads))]
    it, found, at, mono, reads = Inbox(), [], 0, 0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "MANY", many)
        patch.setattr(frames, "FEW", 1)
        patch.setattr(inbox, "READ", 1000)
        patch.setattr(inbox, "LEAST", 1000)
        while at < len(wire):
            for size, is_taken in cuts:
                mono += MS
                read(it, wire[at : at + size], mono)
                at = min(len(wire), at + size)
                reads.append((at, mono))
                if is_taken:
                    found += stamped(it)
                if at == len(wire):
                    break
        found += stamped(it)
    of_end = [next(mono for behind, mono in reads if behind >= end) for end in ends]
    assert found == list(zip(payloads, of_end, strict=True))
    assert not len(it.data)


def test_reads_that_follow_one_another_at_once_count_as_one() -> None:
    """One for each record of TLS would cost what cutting them together saves."""
    it = Inbox()
    for number in range(10):
        read(it, text(b"x"), 5 * MS + number * (TOGETHER_NS // 20))
    read(it, text(b"y"), 5 * MS + TOGETHER_NS)
    assert [(len(brought.messages), brought.mono) for brought in it.cut()] == [(10, 5 * MS), (1, 5 * MS + TOGETHER_NS)]


def test_what_follows_a_control_frame_has_the_clocks_of_its_own_read() -> None:
    it, ping = Inbox(), Frame(Opcode.PING, b"p").serialize(mask=False)
    read(it, text(b"a") + ping + text(b"b"), 1 * MS)
    read(it, text(b"c"), 2 * MS)
    assert stamped(it) == [(b"a", 1 * MS)]
    it.skip(len(ping))
    assert stamped(it) == [(b"b", 1 * MS), (b"c", 2 * MS)]


def test_what_is_taken_keeps_its_bytes_until_there_is_to_be_room_and_the_memory_does_not_grow_with_time() -> None:
    it, whole = Inbox(), text(b"a" * 1000)
    for number in range(2000):
        read(it, whole, number * MS)
        assert [bytes(message) for message, _ in stamped(it)] == [b"a" * 1000]
    assert len(it._memory) == READ


def test_what_waits_for_long_finds_room() -> None:
    it, data = Inbox(), text(b"a" * 60_000)
    for number in range(200):
        read(it, data, number * MS)
    assert [mono for _, mono in stamped(it)] == [number * MS for number in range(200)]
    for number in range(10):
        read(it, data, number * MS)
        assert len(stamped(it)) == 1
