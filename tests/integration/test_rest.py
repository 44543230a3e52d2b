"""The REST client against a server that limits, refuses, lies and dawdles; and its budget, which is pure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from shared import rest
from shared.rest import MARGIN_S, Answer, Blocked, Budget, Failed, Limited, Refused, Rest, RestError, Unreachable
from shared.venues import Request

Reply = tuple[int, dict[str, str], bytes]
PATH = Request("/api/v3/time", (("symbol", "A/B&C=%"),), 4)


class Server:
    """Answers each request with the next reply, the last one for ever; remembers what was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                status, headers, body = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
                head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
                length = "" if "Content-Length" in headers else f"Content-Length: {len(body)}\r\n"
                writer.write(f"HTTP/1.1 {status} X\r\n{length}{head}\r\n".encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def against(server: Server, work: Callable[[Rest], Coroutine[None, None, None]], per_minute: int = 6000) -> None:
    async def main() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        client = Rest(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", per_minute, headers={"X-A": "b"})
        try:
            async with asyncio.timeout(20):
                await work(client)
        finally:
            await client.close()
            listening.close()
            await asyncio.sleep(0.02)

    asyncio.run(main())


async def problem(client: Rest, request: Request = PATH) -> RestError:
    with pytest.raises(RestError) as error:
        await client.get(request)
    return error.value


def test_an_answer_comes_with_its_times_and_the_question_went_as_written() -> None:
    server = Server((200, {}, b"[1]"))

    async def work(client: Rest) -> None:
        answer = await client.get(PATH)
        assert isinstance(answer, Answer)
        assert answer.body == b"[1]"
        assert 0 < answer.had_mono - answer.asked_mono < 10**9
        assert abs(answer.had_wall - time.time_ns()) < 10**9

    against(server, work)
    assert server.asked[0].startswith(b"GET /api/v3/time?symbol=A/B%26C%3D%25 HTTP/1.1")
    assert b"X-A: b" in server.asked[0]


@pytest.mark.parametrize("status", [429, 418])
def test_nothing_is_asked_before_retry_after_is_over(status: int) -> None:
    server = Server((status, {"Retry-After": "1"}, b"{}"), (200, {}, b"ok"))

    async def work(client: Rest) -> None:
        begun = time.monotonic()
        first = await problem(client)
        assert isinstance(first, Limited)
        assert (first.status, first.retry_s) == (status, 1.0)
        while time.monotonic() - begun < 0.9:
            again = await problem(client)
            assert isinstance(again, Limited)
            assert again.status is None
            await asyncio.sleep(0.1)
        assert len(server.asked) == 1
        await asyncio.sleep(0.2 + MARGIN_S)
        assert (await client.get(PATH)).body == b"ok"

    against(server, work)


@pytest.mark.parametrize(
    ("told", "pause"), [("30", 30.0), ("", 60.0), ("soon", 60.0), ("-5", 60.0), ("0", 1.0), ("9" * 30, 3 * 86400.0)]
)
def test_a_pause_is_as_long_as_was_said_and_bounded(told: str, pause: float) -> None:
    async def work(client: Rest) -> None:
        assert (await problem(client)).retry_s == pause

    against(Server((429, {"Retry-After": told}, b"")), work)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(451, Blocked), (403, Blocked), (400, Refused), (404, Refused), (500, Failed), (503, Failed), (302, Failed)],
)
def test_each_refusal_has_its_kind(status: int, kind: type[RestError]) -> None:
    async def work(client: Rest) -> None:
        error = await problem(client)
        assert type(error) is kind
        assert error.status == status

    server = Server((status, {"Location": "/elsewhere"}, b'{"code":-1121,"msg":"Invalid symbol."}'))
    against(server, work)
    assert len(server.asked) == 1, "no redirect is followed"


def test_an_answer_that_is_too_long_is_not_read() -> None:
    async def work(client: Rest) -> None:
        assert isinstance(await problem(client, Request("/x", max_bytes=100_000)), Failed)

    against(Server((200, {}, b"x" * 10_000_000)), work)


def test_an_answer_cut_short_is_none() -> None:
    async def work(client: Rest) -> None:
        assert isinstance(await problem(client), Unreachable | Failed)

    class Cutting(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()
            writer.close()

    against(Cutting(), work)


def test_nobody_there_and_nobody_answering_are_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "TIMEOUT_S", 0.3)

    class Silent(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

    async def work(client: Rest) -> None:
        assert isinstance(await problem(client), Unreachable)
        nobody = Rest("http://127.0.0.1:1", 100)
        assert isinstance(await problem(nobody), Unreachable)
        await nobody.close()

    against(Silent(), work)


@pytest.mark.parametrize("junk", [b"\x00" * 1000, b"HTTP/1.1 999999 x\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b""])
def test_a_server_of_something_else_is_no_venue(junk: bytes) -> None:
    class Other(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(junk)
            writer.close()

    async def work(client: Rest) -> None:
        assert isinstance(await problem(client), RestError)

    against(Other(), work)


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")

    async def work(client: Rest) -> None:
        assert (await client.get(PATH)).body == b"direct"

    against(Server((200, {}, b"direct")), work)


# --- the budget ---


def test_half_of_the_weight_is_spent_and_comes_back_after_a_minute() -> None:
    budget = Budget(6000)
    now = 0.0
    spent = 0
    while budget.wait(4, now) == 0:
        budget.spend(4, now)
        spent += 4
        now += 0.01
    assert spent == 3000
    assert budget.wait(4, now) == pytest.approx(60.0 - now)
    assert budget.wait(4, 60.01) == 0


def test_pages_leave_a_tenth_of_the_share_to_cheap_questions() -> None:
    budget = Budget(6000)
    spent = 0
    while budget.wait(25, 0.0) == 0:
        budget.spend(25, 0.0)
        spent += 25
    assert spent == 2700
    assert budget.wait(4, 0.0) == 0


def test_what_a_life_before_spent_counts_as_ours() -> None:
    budget = Budget(6000)
    budget.spend(1, 5.0)
    budget.told(2901, 5.0)
    assert budget.wait(4, 5.0) == 0
    assert budget.wait(25, 5.0) == pytest.approx(60.0)
    budget.spend(4, 6.0)
    budget.told(5000, 6.0)  # others at this address: theirs is not ours
    assert budget.wait(25, 65.1) == 0


def test_the_venues_own_count_holds_us_back() -> None:
    budget = Budget(1000)
    budget.told(1, 5.0)
    budget.told(899, 5.0)
    assert budget.wait(1, 5.0) == 0
    budget.told(950, 5.0)
    assert budget.wait(1, 5.0) > 0
    assert budget.wait(1, 70.0) == 0


def test_what_is_dearer_than_the_share_waits_for_an_empty_minute() -> None:
    budget = Budget(30)
    assert budget.wait(20, 0.0) == 0
    budget.spend(1, 0.0)
    assert budget.wait(20, 1.0) == pytest.approx(59.0)
