"""However much a read brings, and wherever it ends, the same messages are handed on, and the library sees the rest."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from shared import frames, wscut
from shared.wscut import Connection
from tests.fixtures.loops import loops as loops

PING = Frame(Opcode.PING, b"still there?").serialize(mask=False)
texts = st.lists(st.binary(max_size=400), max_size=40)
reads = st.lists(st.integers(1, 3000), min_size=1, max_size=60)


class Cutting(Connection):
    """A connection after its handshake, without a socket."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.given: list[Sequence[bytes]] = []
        self.seen = b""
        self.protocol = SimpleNamespace(close_rcvd=None, parser_exc=None)  # type: ignore[assignment]
        self.response = object()  # type: ignore[assignment]
        self._received = self._take

    def _take(self, messages: Sequence[bytes]) -> None:
        self.given.append(messages)

    def _hand_over(self, data: bytes) -> None:
        assert type(data) is bytes
        self.seen += data

    def bring(self, data: bytes) -> None:
        """One read of a socket."""
        room = self.get_buffer(-1)
        room[: len(data)] = data
        self.buffer_updated(len(data))


def brought(wire: bytes, sizes: Sequence[int]) -> Cutting:
    found, at = Cutting(), 0
    while at < len(wire):
        for size in sizes:
            found.bring(wire[at : at + size])
            at += size
            if at >= len(wire):
                break
    return found


@settings(deadline=None, max_examples=150)
@given(texts, texts, reads, st.sampled_from((1, 64, 1000)), st.sampled_from((0, 16, 4096)))
def test_messages_are_the_same_wherever_reads_end(
    before: list[bytes], behind: list[bytes], sizes: list[int], many: int, margin: int
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
        patch.setattr(wscut, "MANY", many)
        patch.setattr(wscut, "MARGIN", margin)
        patch.setattr(frames, "FEW", 2)
        found = brought(wire, sizes)
    # Looked at only now: what was handed on must not have been written over since.
    assert [message for messages in found.given for message in messages] == [*before, *behind]
    assert found.seen == PING
    assert found._rest == b""


def test_what_is_left_to_the_library_is_left_whole_from_there_on() -> None:
    part = Frame(Opcode.TEXT, b"begun", fin=False).serialize(mask=False)
    text = Frame(Opcode.TEXT, b"x" * 50).serialize(mask=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wscut, "MANY", 1)
        patch.setattr(frames, "MANY", 1)
        found = brought(text * 40 + part + text * 3, [700])
    assert [len(message) for messages in found.given for message in messages] == [50] * 40
    assert found.seen == part + text * 3
