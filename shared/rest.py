"""The REST client: asks a venue within its limits, and gives what it was told or one of a few plain reasons why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.venues import Request

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S: Final = 15.0
PAUSE_S: Final = 60.0
"""After a 429 or 418 that names no time of its own."""
LONGEST_PAUSE_S: Final = 3 * 86_400.0
MARGIN_S: Final = 0.5
"""Added to a pause: a request that comes a moment early earns a longer one."""
WINDOW_S: Final = 60.0
DEAR: Final = 10
"""Weight from which a request waits its turn and leaves a tenth of our share to cheap ones, such as whether a stream is
alive.
"""


class Answer(msgspec.Struct, frozen=True):
    """The body of a 200, and when it was asked for and had (the caller's monotonic and wall clocks, nanoseconds)."""

    body: bytes
    asked_mono: int
    had_mono: int
    had_wall: int


class RestError(Exception):
    """No answer. `retry_s` says how long not to ask again, where the venue said so."""

    def __init__(self, why: str, status: int | None = None, retry_s: float = 0.0) -> None:
        super().__init__(why)
        self.status = status
        self.retry_s = retry_s


class Unreachable(RestError):
    """No server, no connection, no time: the network."""


class Limited(RestError):
    """429 or 418: the venue wants to be left alone for `retry_s`; asking on would earn a ban."""


class Blocked(RestError):
    """451 or 403: the venue does not serve this place."""


class Refused(RestError):
    """The venue understood and said no (other 4xx); asking the same again is no use."""


class Failed(RestError):
    """5xx, or an answer that is none: try again later."""


class Budget:
    """The share of the venue's weight a minute that we allow ourselves. Time is an argument, in seconds."""

    def __init__(self, per_minute: int, share: float = 0.5) -> None:
        self.per_minute = per_minute
        self._share = share
        self._spent: list[tuple[float, int]] = []
        self._full_until = 0.0
        self._heard = False

    def wait(self, weight: int, now: float) -> float:
        """Seconds until `weight` may be spent; 0 where it may be now. What is dearer than the whole share waits for an
        empty minute.
        """
        while self._spent and self._spent[0][0] <= now - WINDOW_S:
            del self._spent[0]
        share = self._share * (0.9 if weight >= DEAR else 1.0)
        room = max(self.per_minute * share, float(weight))
        used = sum(spent for _, spent in self._spent)
        until = self._full_until
        for at, spent in self._spent:
            if used + weight <= room:
                break
            used -= spent
            until = max(until, at + WINDOW_S)
        return max(0.0, until - now)

    def spend(self, weight: int, now: float) -> None:
        self._spent.append((now, weight))

    def told(self, used: int, now: float) -> None:
        """The venue's own count for this address, which others may share: near the limit we stand back. What it counted
        before our first request may be of a life of ours that was killed: it counts as spent.
        """
        if not self._heard:
            self._heard = True
            before = used - sum(spent for _, spent in self._spent)
            if before > 0:
                self._spent.append((now, before))
        if used >= 0.9 * self.per_minute:
            self._full_until = now + WINDOW_S / 4


class Rest:
    """One venue's REST endpoint. Requests run one after another or side by side; the budget holds for all of them.

    Redirects are not followed, proxies not taken from the environment, certificates always verified.
    """

    def __init__(
        self,
        base: str,
        per_minute: int,
        *,
        headers: dict[str, str] | None = None,
        proxy: str | None = None,
        share: float = 0.5,
    ) -> None:
        self._base = base.rstrip("/")
        self._headers = headers or {}
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()
        self.budget = Budget(per_minute, share)
        self.requests = 0

    async def get(self, request: Request) -> Answer:
        """Waits for its share of the budget, asks once. Raises RestError."""
        if request.weight >= DEAR:
            async with self._turn:  # in order
                await self._share(request.weight)
        else:
            await self._share(request.weight)
        return await self._ask(request)

    async def _share(self, weight: int) -> None:
        """Waits for its share of the budget and spends it."""
        self._left_alone()
        while (pause := self.budget.wait(weight, time.monotonic())) > 0:
            await asyncio.sleep(min(pause, 1.0))
            self._left_alone()
        self.budget.spend(weight, time.monotonic())

    def _left_alone(self) -> None:
        left = self._until - time.monotonic()
        if left > 0:
            raise Limited(f"the venue asked for a pause, {left:.0f} s of it are left", None, left)

    async def _ask(self, request: Request) -> Answer:
        import aiohttp

        session = self._open()
        asked = time.monotonic_ns()
        self.requests += 1
        try:
            async with session.get(
                self._base + request.path, params=list(request.params), proxy=self._proxy, allow_redirects=False
            ) as response:
                body = await self._body(response, request.max_bytes)
                had_mono, had_wall = time.monotonic_ns(), time.time_ns()
                self._heed(response)
                if response.status != 200:
                    raise self._problem(response, body)
        except aiohttp.ClientConnectionError as error:
            raise Unreachable(_plain(error)) from None
        except TimeoutError:
            raise Unreachable(f"no answer within {TIMEOUT_S:.0f} s") from None
        except (aiohttp.ClientError, ValueError) as error:  # ValueError: headers that are none
            raise Failed(_plain(error)) from None
        return Answer(body, asked, had_mono, had_wall)

    async def download(self, path: str, have: int, most: int, take: Callable[[int, bytes], None]) -> None:
        """A file piece by piece: `take` is given each with its place, which begins at `have`, or at 0 again where the
        server will not go on from there. Raises RestError, also midway; what was taken until then is good.
        """
        import aiohttp

        self._left_alone()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=2 * TIMEOUT_S)
        self.requests += 1
        try:
            async with self._open().get(
                self._base + path, headers=headers, proxy=self._proxy, allow_redirects=False, timeout=timeout
            ) as response:
                at = have if response.status == 206 else 0
                if response.status not in (200, 206):
                    raise self._problem(response, await self._body(response, 1 << 16))
                if have and at and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    raise Failed("a piece of the file that was not asked for", response.status)
                if at + (response.content_length or 0) > most:
                    raise Refused(f"the file is longer than {most} bytes", response.status)
                async for piece in response.content.iter_chunked(1 << 18):
                    take(at, piece)
                    at += len(piece)
                    if at > most:
                        raise Refused(f"the file is longer than {most} bytes", response.status)
        except aiohttp.ClientConnectionError as error:
            raise Unreachable(_plain(error)) from None
        except TimeoutError:
            raise Unreachable(f"no data for {2 * TIMEOUT_S:.0f} s") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Failed(_plain(error)) from None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                connector=aiohttp.TCPConnector(limit=8),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    async def _body(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(1 << 16):
            parts.append(part)
            size += len(part)
            if size > most:
                raise Failed(f"an answer longer than {most} bytes", response.status)
        return b"".join(parts)

    def _heed(self, response: aiohttp.ClientResponse) -> None:
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isascii() and used.isdigit() and len(used) < 12:
            self.budget.told(int(used), time.monotonic())

    def _problem(self, response: aiohttp.ClientResponse, body: bytes) -> RestError:
        status = response.status
        why = f"HTTP {status}: {body[:200].decode('utf-8', 'replace')}"
        if status in (429, 418):
            pause = _seconds(response.headers.get("Retry-After")) or PAUSE_S
            self._until = max(self._until, time.monotonic() + pause + MARGIN_S)
            return Limited(why, status, pause)
        if status in (451, 403):
            return Blocked(why, status)
        return Refused(why, status) if 400 <= status < 500 else Failed(why, status)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` as venues write it. A date would be counted by clocks we do not trust: the default pause then."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return min(float(text.strip()[:12]), LONGEST_PAUSE_S) or 1.0


def _plain(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
