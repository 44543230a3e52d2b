"""However much a read brings, wherever it ends and whenever it is taken, the same messages come, and the library sees
the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from shared import frames, inbox
from shared.inbox import Inbox
from shared.wscut import Connection
from tests.fixtures.loops import loops as loops

PING = Frame(Opcode.PING, b"still there?").serialize(mask=False)
texts = st.lists(st.binary(max_size=400), max_size=40)
reads = st.lists(st.integers(1, 3000), min_size=1, max_size=60)


class Cutting(Connection):
    """A connection after its handshake, without a socket."""

    def __init__(self, every: int = 1) -> None:
        self.messages: list[bytes] = []
        self.said = 0
        self.seen = b""
        self.protocol = SimpleNamespace(close_rcvd=None, parser_exc=None)  # type: ignore[assignment]
        self.response = object()  # type: ignore[assignment]
        self._inbox, self._whole, self._is_plain = Inbox(), [], True
        self._every, self._reads = every, 0
        self.begin(self._hear)

    def _hear(self, size: int) -> None:
        self.said += size
        self._reads += 1
        if self._reads % self._every == 0:
            self.keep()

    def keep(self) -> None:
        self.messages += [message for brought in self.take() for message in brought.messages]

    def _hand_over(self, size: int) -> None:
        self.seen += bytes(self._inbox.data[:size])
        self._inbox.skip(size)

    def bring(self, data: bytes) -> None:
        """One read of a socket."""
        room = self.get_buffer(-1)
        room[: len(data)] = data
        self.buffer_updated(len(data))


def brought(wire: bytes, sizes: Sequence[int], every: int = 1) -> Cutting:
    found, at = Cutting(every), 0
    while at < len(wire):
        for size in sizes:
            found.bring(wire[at : at + size])
            at += size
            if at >= len(wire):
                break
    found.keep()
    return found


@settings(deadline=None, max_examples=60)
@given(texts, texts, reads, st.sampled_from((1, 64, 1000)), st.sampled_from((1, 2, 7, 1000)))
def test_messages_are_the_same_wherever_reads_end(
    before: list[bytes], behind: list[bytes], sizes: list[int], many: int, every: int
) -> None:
    wire = b"".join(
        [
            *(Frame(Opcode.TEXT, text).serialize(mask=False) for text in before),
            PING,
            *(Frame(Opcode.TEXT, text).serialize(mask=False) for text in behind),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "MANY", many)
        patch.setattr(frames, "FEW", 2)
        patch.setattr(inbox, "READ", 3000)
        patch.setattr(inbox, "LEAST", 3000)
        found = brought(wire, sizes, every)
    assert found.messages == [*before, *behind]
    assert found.seen == PING
    assert found.said == len(wire)
    assert not len(found._inbox.data)


def test_what_is_left_to_the_library_is_left_whole_from_there_on() -> None:
    part = Frame(Opcode.TEXT, b"begun", fin=False).serialize(mask=False)
    text = Frame(Opcode.TEXT, b"x" * 50).serialize(mask=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "MANY", 1)
        found = brought(text * 40 + part + text * 3, [700])
    assert [len(message) for message in found.messages] == [50] * 40
    assert found.seen == part + text * 3


def test_what_comes_in_one_piece_may_be_longer_than_the_room() -> None:
    wire = Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=False) * 20
    found = Cutting(1000)
    found.data_received(wire)
    found.keep()
    assert [len(message) for message in found.messages] == [60_000] * 20
