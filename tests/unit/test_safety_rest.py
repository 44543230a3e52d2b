"""What is asked of a venue is paid for, and what it sends is believed within bounds: each check by itself."""

from __future__ import annotations

import asyncio

import pytest

from shared.rest import Failed, Refused, Rest, RestError
from shared.venues import Request
from tests.integration.test_rest import Server, against


def test_what_was_asked_is_spent() -> None:
    async def work(client: Rest) -> None:
        for weight in (2, 40):
            await client.get(Request("/x", weight=weight))
        assert [spent for _, spent in client.budget._spent] == [2, 40]

    against(Server((200, {}, b""), (200, {}, b"")), work)


@pytest.mark.parametrize("used", ["1e9", "٣", "-1", "9" * 13, "", "5 6"])
def test_a_count_that_is_no_number_counts_for_nothing(used: str) -> None:
    async def work(client: Rest) -> None:
        assert (await client.get(Request("/x", weight=1))).body == b"ok"
        assert client.budget.wait(1, client.budget._spent[0][0]) == 0

    against(Server((200, {"X-MBX-USED-WEIGHT-1M": used} if used.isascii() else {}, b"ok")), work)


@pytest.mark.parametrize(
    ("reply", "have", "kind"),
    [
        ((404, {}, b"none"), 0, Refused),
        ((503, {}, b"busy"), 0, Failed),
        ((206, {"Content-Range": "bytes 5-9/10"}, b"other"), 3, Failed),
        ((206, {}, b"other"), 3, Failed),
        ((200, {}, b"x" * 101), 0, Refused),
        ((206, {"Content-Range": "bytes 60-109/110"}, b"x" * 50), 60, Refused),
    ],
)
def test_a_file_that_is_not_what_was_asked_for_is_not_taken(
    reply: tuple[int, dict[str, str], bytes], have: int, kind: type[RestError]
) -> None:
    taken: list[bytes] = []

    async def work(client: Rest) -> None:
        with pytest.raises(kind):
            await client.download("/f.zip", have, 100, lambda at, piece: taken.append(piece))

    against(Server(reply), work)
    assert not taken


class Unsized(Server):
    """Sends two megabytes of a file and does not say beforehand how long it is."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(32):
                writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def test_a_file_that_does_not_say_its_length_is_not_taken_beyond_what_it_may_have() -> None:
    taken: list[int] = []

    async def work(client: Rest) -> None:
        with pytest.raises(Refused, match="longer than 300000 bytes"):
            await client.download("/f.zip", 0, 300_000, lambda at, piece: taken.append(len(piece)))
        taken.append(0)
        await client.download("/f.zip", 0, 2 << 20, lambda at, piece: taken.append(len(piece)))

    against(Unsized(), work)
    assert sum(taken[: taken.index(0)]) <= 300_000 + (1 << 18) and sum(taken[taken.index(0) :]) == 2 << 20
