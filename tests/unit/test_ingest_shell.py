"""How the shell hands on what sockets bring: to the core at once or gathered, to the lanes when it is time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from procs.ingest.actions import Get
from procs.ingest.gathering import Gathering
from procs.ingest.pace import IN_A_ROW, Pace
from procs.ingest.parcel import APART_NS, LARGE, Parcel
from procs.ingest.reads import Read
from procs.ingest.shell import LEAVE_S, Shell
from shared import ws
from shared.inbox import Brought
from shared.rest import Answer, RestError
from shared.venues import Request

WAIT_S = 10.0
SIZE = 200
"""Bytes of a message at least, as far as gathering is concerned."""


REQUEST = Request("/api/v3/time")


class Rest:
    """A venue that answers at once."""

    budget = SimpleNamespace(per_minute=0)

    async def get(self, request: Request) -> Answer:
        return Answer(b"{}", 0, 0, 0)


class Core:
    """Writes a record for each message of a read, and is never due by itself."""

    due = turned = 1 << 62

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.taken: list[int] = []
        self.recorder = SimpleNamespace(parcel=Parcel([self]))
        self.listing = SimpleNamespace(weight_per_min=1)
        self.links = SimpleNamespace(is_doubled=False)

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def reads(self, reads: Sequence[Read]) -> None:
        self.taken.append(sum(len(read.frames) for read in reads))
        for read in reads:
            for frame in read.frames:
                if frame == b"bad":
                    raise OSError(5, "Input/output error")
                self.recorder.parcel.add(frame, time.monotonic_ns())

    def flush(self, mono: int) -> None:
        return

    def answered(self, number: int, answer: Answer | RestError, wall: int, mono: int) -> None:
        return


class Socket(ws.Socket):
    """Brings what it is told to."""

    def __init__(self, it: Shell, link: int = 1) -> None:
        self._came = it._came(link)
        self._brought: list[Brought] = []

    def __call__(self, messages: list[bytes]) -> None:
        self._brought.append(Brought(messages, time.time_ns(), time.monotonic_ns()))
        self._came(self, sum(SIZE if len(message) < SIZE else len(message) for message in messages))

    def take(self) -> list[Brought]:
        taken, self._brought = self._brought, []
        return taken


def shell(core: Core, gather_ms: int) -> Shell:
    """Within a running loop; without what it is no matter here."""
    found = Shell.__new__(Shell)
    found.core = core  # type: ignore[assignment]
    found._waiting, found._gathering, found._pace = {}, Gathering(gather_ms), Pace(gather_ms > 0)
    found._taking = found._sending = found._pausing = None
    found._is_wanted = False
    found._over = asyncio.get_running_loop().create_future()
    return found


async def until_sent(core: Core, what: bytes) -> None:
    deadline = time.monotonic() + WAIT_S
    while b"".join(core.sent) != what:
        assert time.monotonic() < deadline, core.sent
        await asyncio.sleep(0.001)


def test_who_gathers_nothing_has_written_a_read_when_the_call_returns() -> None:
    async def story() -> None:
        core = Core()
        received = Socket(shell(core, 0))
        for count in (3, 2):
            received([b"x"] * count)
            assert core.taken[-1] == count
        assert core.taken == [3, 2]

    asyncio.run(story())


def test_what_is_gathered_is_taken_when_it_is_time_in_one_record() -> None:
    async def story() -> None:
        core = Core()
        received = Socket(shell(core, 300))
        received([b"a"])
        received([b"b"] * 10)
        received([b"c"])
        assert core.taken == [1]
        await until_sent(core, b"a" + b"b" * 10 + b"c")
        assert core.taken == [1, 11]

    asyncio.run(story())


@pytest.mark.parametrize("is_doubled", [False, True])
def test_what_two_connections_bring_of_the_same_streams_is_taken_as_it_came(is_doubled: bool) -> None:
    async def story() -> None:
        core = Core()
        core.links.is_doubled = is_doubled
        it = shell(core, 50)
        old, new = Socket(it, 1), Socket(it, 2)
        old([b"."])
        for one, other in ((b"a", b"b"), (b"c", b"d")):
            old([one])
            new([other])
        await until_sent(core, b".abcd" if is_doubled else b".acbd")

    asyncio.run(story())


def test_an_answer_of_the_venue_in_a_busy_moment_makes_no_record_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of them come where hundreds of symbols are recorded."""
    turns: list[int] = []

    def turn(it: Shell) -> None:
        it._is_wanted = False
        it._take()
        turns.append(len(core.taken))

    async def story() -> None:
        it = shell(core, 200)
        it._rest = Rest()  # type: ignore[assignment]
        received = Socket(it)
        await it._get(Get(0, REQUEST))
        assert turns == [0], "nothing waits: at once"
        received([b"a"])
        received([b"b"] * 10)
        for number in range(5):
            await it._get(Get(number, REQUEST))
        received([b"c"])
        assert turns == [0]
        await until_sent(core, b"a" + b"b" * 10 + b"c")
        assert core.taken == [1, 11] and turns == [0, 2], "once, as soon as they are taken"
        received([b"d"])
        await until_sent(core, b"a" + b"b" * 10 + b"cd")
        assert turns == [0, 2]

    core = Core()
    monkeypatch.setattr(Shell, "_turn", turn)
    asyncio.run(story())


def test_what_waits_for_more_on_its_way_to_the_lanes_goes_when_it_is_time() -> None:
    async def story() -> None:
        core = Core()
        received = Socket(shell(core, 0))
        for number in range(2):
            received([b"a", b"b", b"c"])
            await until_sent(core, b"abc" * (number + 1))
            assert core.recorder.parcel.at is None
            await asyncio.sleep(2 * APART_NS / 1e9)

    asyncio.run(story())


def test_what_comes_after_something_large_waits_for_its_own_time() -> None:
    async def story() -> None:
        core = Core()
        received = Socket(shell(core, 0))
        received([b"a", b"b"])
        await asyncio.sleep(APART_NS / 2e9)
        received([bytes(LARGE), b"c"])
        await until_sent(core, b"ab" + bytes(LARGE) + b"c")

    asyncio.run(story())


def test_what_goes_wrong_in_a_read_ends_the_process() -> None:
    async def story() -> None:
        core = Core()
        it = shell(core, 0)
        Socket(it)([b"bad"])
        assert it._over is not None
        with pytest.raises(OSError, match="Input/output"):
            await it._over
        Socket(it)([b"more"])
        assert core.taken == [1], "nothing is taken any more"

    asyncio.run(story())


def test_where_reads_follow_one_another_the_loop_pauses_once_for_all_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    async def story() -> None:
        core = Core()
        it = shell(core, 1000)
        sockets = [Socket(it, link) for link in (1, 2)]
        for _ in range(IN_A_ROW):
            for received in sockets:
                received([b"x"])
            await asyncio.sleep(0)
        assert len(pauses) == IN_A_ROW // 2
        await until_sent(core, b"x" * 2 * IN_A_ROW)

    asyncio.run(story())


def test_the_answer_to_a_goodbye_is_taken_while_the_process_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else takes what comes by then; and until it is taken, the connection stays."""
    core = Core()
    core.__dict__.update(drain=list, finish=lambda wall, mono: None)
    monkeypatch.setattr(Shell, "_beat", lambda it: None)

    async def story() -> float:
        it = shell(core, 40)
        it._setting = SimpleNamespace(heart=SimpleNamespace(beat=SimpleNamespace()))  # type: ignore[assignment]

        class Polite(Socket):
            def take(self) -> list[Brought]:
                it._sockets.clear()
                return super().take()

        socket = Polite(it)
        it._sockets = {1: socket}
        assert it._over is not None
        it._over.set_result(None)
        began = time.monotonic()
        asyncio.get_running_loop().call_later(0.05, socket, [b"the last"])
        await it._leave()
        return time.monotonic() - began

    assert asyncio.run(story()) < LEAVE_S / 2
    assert core.taken == [1]
