"""REST requests under way: how many at once, who gets the answer, how long to leave the venue alone, and what to say
of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from loguru import logger

from procs.ingest.actions import Action, Get
from procs.ingest.config import Config
from shared.backoff import Backoff
from shared.rest import Answer, Blocked, Failed, Limited, Refused, RestError, Unreachable
from shared.venues import Adapter, Request

SECOND: Final = 1_000_000_000
MOST: Final = 3
"""Requests at once: whatever of them is on its way when the venue asks for a pause counts against us."""
MOST_PAGES: Final = 2
"""Of those, so many may be for what is missing: whether a stream is alive must be found out meanwhile."""
BLOCKED_NS: Final = 120 * SECOND
AGAIN_NS: Final = 60 * SECOND
"""What is still so is said again after this long."""
TRYING_ON: Final = "trying on. To see everything work without a network: python supervisor.py demo"

Handler = Callable[[Answer], None]
Failure = Callable[[RestError], None]


class Asker:
    """The requests of one source."""

    def __init__(self, config: Config, venue: Adapter, chance: Callable[[], float]) -> None:
        self._venue = venue
        self._rest_url = config.rest_url or venue.rest_url
        self._chance = chance
        self._backoff = Backoff(first_ns=SECOND, most_ns=60 * SECOND)
        self._number = 0
        self._pending: dict[int, tuple[Handler, Failure]] = {}
        self.is_blocked = False
        """The venue does not serve this place, and that was said."""
        self._said_offline = -AGAIN_NS
        self.pause_until = 0
        """On the monotonic clock: the venue wants to be left alone until then."""
        self._network_until = 0
        self.answered_mono = 0
        """When the last answer came."""
        self.note = ""
        self._actions: list[Action] = []
        self.counters = {"rest_requests": 0, "rest_failures": 0}

    @property
    def until(self) -> int:
        """On the monotonic clock: nothing is asked before."""
        return max(self.pause_until, self._network_until)

    def is_free(self, mono: int, most: int = MOST) -> bool:
        return mono >= self.until and len(self._pending) < most

    @property
    def is_busy(self) -> bool:
        return bool(self._pending)

    def ask(self, request: Request, handler: Handler, failure: Failure) -> None:
        """One of the two is called, once."""
        self._number += 1
        self._pending[self._number] = (handler, failure)
        self.counters["rest_requests"] += 1
        self._actions.append(Get(self._number, request))

    def take(self) -> list[Action]:
        """What is to be asked now."""
        actions, self._actions = self._actions, []
        return actions

    def answered(self, number: int, answer: Answer | RestError, mono: int) -> None:
        found = self._pending.pop(number, None)
        if found is None:
            return
        handler, failure = found
        if isinstance(answer, Answer):
            self._backoff.up(mono)
            self.answered_mono = mono
            self.note = ""
            handler(answer)
            return
        self.counters["rest_failures"] += 1
        self._heed(answer, mono)
        failure(answer)

    def _heed(self, error: RestError, mono: int) -> None:
        if isinstance(error, Refused):
            return
        if isinstance(error, Limited):
            self.pause(mono + int(error.retry_s * SECOND))
            self.note = f"the venue's REST asks for a pause of {error.retry_s:.0f} s"
            if error.status is not None:
                logger.warning(f"{self._rest_url}: {error}; nothing is asked for {error.retry_s:.0f} s")
        elif isinstance(error, Blocked):
            self.pause(mono + BLOCKED_NS)
            self.blocked(error.status)
        elif isinstance(error, Unreachable | Failed):
            self._network_until = mono + self._backoff.down(mono, self._chance())
            self.note = f"{self._rest_url}: {error}"

    def pause(self, until: int) -> None:
        """Nothing is asked before."""
        self.pause_until = max(self.pause_until, until)

    def blocked(self, status: int | None) -> None:
        """The venue does not serve this place: said once, with what may help."""
        text = f"{self._venue.name} refuses this place (HTTP {status}). It is tried again every minute or two."
        if self._venue.public_urls:
            ways = ", ".join(f"{key}: {value}" for key, value in self._venue.public_urls.items())
            text += (
                f" Its public market data may be reached with {ways} in the pipeline file"
                " (no historicalTrades there: only the newest 1000 trades of a symbol can be healed)."
            )
        self.note = text
        if not self.is_blocked:
            self.is_blocked = True
            logger.error(text)

    def offline(self, problem: str, mono: int) -> None:
        """No connection: said at once and then once a minute."""
        if mono - self._said_offline < AGAIN_NS or self.is_blocked:
            return
        self._said_offline = mono
        logger.warning(f"{problem}: {TRYING_ON}")

    def online(self) -> None:
        """A connection has come about: then the network is there, and REST need not wait to find out."""
        self._said_offline = -AGAIN_NS
        self._network_until = 0
        if self.is_blocked:
            self.is_blocked, self.note = False, ""
