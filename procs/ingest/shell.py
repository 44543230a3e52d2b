"""The sockets around the core: opens what it wants opened, carries frames and answers in, beats, and leaves when asked.

Everything runs in one asyncio loop and every call of the core is made from its callbacks, one after the other. Frames
of one socket read share one receive time. When they are written `Gathering` says; when the core has its turn, the core.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from loguru import logger

from procs.ingest.actions import Action, Close, Connect, Get, Send
from procs.ingest.config import Config
from procs.ingest.core import Ingest
from procs.ingest.gathering import Gathering
from procs.ingest.pace import Pace
from procs.ingest.reads import Read
from shared import ws
from shared.clock import asleep
from shared.config import ConfigError
from shared.process import Setting
from shared.rest import Answer, Rest, RestError
from shared.topology import Fault
from shared.venues import load

TURN_APART_NS: Final = 50_000_000
"""What takes frames so long after the last turn makes one, so that this needs no wake-up of its own."""
LEAVE_S: Final = 1.5
"""For goodbyes when asked to leave; venues often never answer one."""


class Shell:
    """One running source."""

    def __init__(self, setting: Setting, config: Config) -> None:
        venue = load(config.venue)(config.symbols, config.kinds)
        self._setting = setting
        self._config = config
        name = setting.name
        core_of: list[Ingest] = []
        writer = setting.writer(name, lambda: core_of[0].state(), max_bytes=config.journal_max_bytes)
        self.core = Ingest(
            config, venue, writer, setting.disk, setting.lanes(name), setting.publisher(), name, random.random
        )
        core_of.append(self.core)
        proxy = config.proxy or None
        self._rest = Rest(
            config.rest_url or venue.rest_url, venue.limits.weight_per_min, headers=venue.headers, proxy=proxy
        )
        self._proxy = proxy
        self._sockets: dict[int, ws.Socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, ws.Socket] = {}
        self._gathering = Gathering(config.gather_ms)
        self._pace = Pace(config.gather_ms > 0)
        self._pausing: asyncio.Handle | None = None
        self._taking: asyncio.Handle | None = None
        self._turning: asyncio.Handle | None = None
        self._sending: asyncio.Handle | None = None
        self._is_wanted = False  # a turn, as soon as what was read is taken
        self._over: asyncio.Future[None] | None = None
        self._silent_at: int | None = None  # the journal's time, until something was received

    async def run(self) -> None:
        """Until asked to leave, or the recording is over. Raises what went wrong."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self.core.intake.prepare()
        self.core.open(time.time_ns(), time.monotonic_ns())
        self._setting.heart.beat.phase = "running"
        self._silent_at = self.core.recorder.ts
        self._beat()
        try:
            self._guard(self._turn)
            await self._over
            await self._leave()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._rest.close()

    def _guard(self, work: Callable[[], None]) -> None:
        """Runs a callback; what it raises ends the process."""
        assert self._over is not None
        if self._over.done():
            return
        try:
            work()
        except BaseException as error:
            self._over.set_exception(error)

    # --- the loop ---

    def _turn(self) -> None:
        self._is_wanted = False
        self._take()
        self._obey(self.core.turn(time.time_ns(), time.monotonic_ns(), asleep()))
        unknown = self.core.listing.unknown
        if unknown:
            path = f"sources.{self._setting.name}.symbols"
            raise ConfigError([Fault(path, text) for text in unknown])
        is_first = self._silent_at is not None and self.core.recorder.ts > self._silent_at
        if self._setting.heart.due() or is_first:  # that it receives is said at once
            self._silent_at = None if is_first else self._silent_at
            self._beat()
        assert self._over is not None
        if (self._setting.lifeline.asked or self.core.ended) and not self._over.done():
            self._over.set_result(None)
        self._turn_when_due()

    def _turn_soon(self) -> None:
        """At once, or with the frames that wait: many answers in a busy moment would make as many records."""
        if self._waiting:
            self._is_wanted = True
        else:
            self._turn()

    def _turn_when_due(self) -> None:
        """Sets the clock for the next turn, unless something brings one before."""
        self._send_when_due()
        if self._turning is not None:
            self._turning.cancel()
        loop = asyncio.get_running_loop()
        self._turning = loop.call_at(self.core.due / 1e9, self._guard, self._turn)  # the loop's clock is this one

    def _beat(self) -> None:
        beat = self._setting.heart.beat
        beat.counters = self.core.totals()
        beat.ts = self.core.recorder.ts
        beat.given = {self._setting.name: self.core.recorder.writer.last}
        beat.note = self.core.note
        self._setting.heart.send()

    # --- frames ---

    def _came(self, link: int) -> Callable[[ws.Socket, int], None]:
        """What a socket calls after each read."""
        loop = asyncio.get_running_loop()

        def came(socket: ws.Socket, size: int) -> None:
            self._waiting[link] = socket
            now = loop.time()
            if self._pausing is None and (pause := self._pace.pause(size, now)) > 0:
                self._pausing = loop.call_soon(self._pause, pause)
            if not self._gathering.came(size, now):
                return
            if self._gathering.at <= now:  # within the read itself: another turn of the loop costs as much as a record
                self._guard(self._gathered)
                return
            if self._taking is not None:
                self._taking.cancel()
            self._taking = loop.call_at(self._gathering.at, self._guard, self._gathered)

        return came

    def _pause(self, seconds: float) -> None:
        """Stands still, and the whole loop with it: what comes meanwhile needs no wake-up."""
        self._pausing = None
        time.sleep(seconds)

    def _gathered(self) -> None:
        self._take()
        if self._is_wanted or time.monotonic_ns() >= min(self.core.due, self.core.turned + TURN_APART_NS):
            self._turn()

    def _take(self) -> None:
        """Hands over what came, as one record."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        waiting, self._waiting = self._waiting, {}
        if waiting:
            self._gathering.taken(asyncio.get_running_loop().time())
            reads = [Read(link, *brought) for link, socket in waiting.items() for brought in socket.take()]
            if self.core.links.is_doubled:  # as they came: what one brings sooner would come before what the other does
                reads.sort(key=attrgetter("mono"))
            self.core.reads(reads)
            self.core.flush(time.monotonic_ns())
            self._send_when_due()

    def _send_when_due(self) -> None:
        """Sets the clock for what waits for more on its way to the lanes."""
        at = self.core.recorder.parcel.at
        if at is not None and self._sending is None:
            self._sending = asyncio.get_running_loop().call_at(at / 1e9, self._guard, self._send)

    def _send(self) -> None:
        self._sending = None
        self.core.recorder.parcel.send(time.monotonic_ns())
        self._send_when_due()

    # --- wishes ---

    def _obey(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Connect):
                self._opening[action.link] = self._spawn(self._connect(action))
            elif isinstance(action, Send):
                if action.link in self._sockets:
                    self._sockets[action.link].send(action.text)
            elif isinstance(action, Close):
                self._close(action.link)
            elif isinstance(action, Get):
                self._spawn(self._get(action))

    def _spawn(self, work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _close(self, link: int) -> None:
        if link in self._sockets:
            self._sockets[link].close()
        elif link in self._opening:
            self._opening[link].cancel()

    async def _connect(self, wish: Connect) -> None:
        link, over = wish.link, False

        def closed(code: int, reason: str) -> None:
            nonlocal over
            over = True
            self._sockets.pop(link, None)
            self._take_safely()
            self._guard(lambda: self.core.closed(link, code, reason, time.time_ns(), time.monotonic_ns()))
            self._guard(self._turn)

        try:
            socket = await ws.connect(wish.url, self._came(link), closed, proxy=self._proxy)
        except ws.ConnectFailed as error:
            logger.debug(f"connection {link}: {error}")
            self.core.refused(link, str(error), error.status, time.monotonic_ns())
            return
        except asyncio.CancelledError:
            self.core.refused(link, "given up", None, time.monotonic_ns())
            raise
        finally:
            self._opening.pop(link, None)
        if over:  # it ended before we came to look at it
            return
        self._sockets[link] = socket
        self.core.opened(link, time.time_ns(), time.monotonic_ns())
        self._guard(self._turn)

    def _take_safely(self) -> None:
        """What a socket brought comes before its end."""
        self._guard(self._take)

    async def _get(self, wish: Get) -> None:
        try:
            answer: Answer | RestError = await self._rest.get(wish.request)
        except RestError as error:
            answer = error
        self.core.answered(wish.number, answer, time.time_ns(), time.monotonic_ns())
        self._rest.budget.per_minute = self.core.listing.weight_per_min
        self._guard(self._turn_soon)

    # --- the end ---

    async def _leave(self) -> None:
        beat = self._setting.heart.beat
        beat.phase = "draining"
        self._beat()
        self._obey(self.core.drain())
        until = time.monotonic() + LEAVE_S
        while self._sockets and time.monotonic() < until:
            await asyncio.sleep(0.02)
            self._take()  # callbacks do nothing any more, and among what came may be the answer to our goodbye
        self._take()
        self.core.finish(time.time_ns(), time.monotonic_ns())
        beat.phase = "ended"
        self._beat()


def run(setting: Setting, config: Config) -> None:
    """The whole life of the process."""
    asyncio.run(Shell(setting, config).run())
