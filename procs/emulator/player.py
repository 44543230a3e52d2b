"""The clock of the emulated venue: plays a market or a recording to the hub, for all connections alike."""

from __future__ import annotations

import asyncio
import sys
import time
from bisect import bisect_right
from typing import Protocol

from procs.emulator.bars import STEPS, closed
from procs.emulator.hub import Hub
from procs.emulator.market import SEND_DELAY_US, Synthetic
from procs.emulator.recording import Recording
from procs.emulator.tape import Event

_TICK_S = 0.002
BAR_DELAY_US = 100_000
"""The venue's own bar is sent so long after its end."""
_CHUNK = 512
"""Events between two looks at the sockets."""

_LONGEST_STEP_US = 250_000

_SETTLE_S = 0.5
"""Between the last subscription and the first frame of a recording, so that its answer is read before the data."""


class Player(Protocol):
    def now_us(self) -> int:
        """Venue time."""
        ...

    async def run(self) -> None:
        """Returns when there is nothing more to play; the hub is told by the caller."""
        ...


def say(text: str) -> None:
    """One line for a change of state."""
    sys.stderr.write(f"emulator: {text}\n")
    sys.stderr.flush()


class VenueClock:
    """The machine's clock, or one that was set and runs faster."""

    def __init__(self, start_us: int | None, speed: float) -> None:
        self._speed = speed
        self._wall = start_us is None and speed == 1.0
        self._begin = time.monotonic_ns()
        self._start = start_us if start_us is not None else time.time_ns() // 1000

    def now_us(self) -> int:
        if self._wall:
            return time.time_ns() // 1000
        return self._start + int((time.monotonic_ns() - self._begin) / 1000 * self._speed)


class SyntheticPlayer:
    """Sends what has happened since it last looked. ``speed`` None: as fast as the slowest connection reads."""

    def __init__(
        self, market: Synthetic, hub: Hub, start_us: int | None, stop_us: int | None, speed: float | None
    ) -> None:
        self._market = market
        self._hub = hub
        self._stop = stop_us
        self._clock = VenueClock(start_us, speed) if speed is not None else None
        self._reached = start_us if start_us is not None else time.time_ns() // 1000
        self._wanted: dict[str, set[str]] = {}
        self._intervals: list[tuple[str, str]] = []
        """Symbols and lengths of the venue's own bars that somebody subscribed to."""
        self._ready: dict[tuple[str, int], list[Event]] = {}
        self._second = 0
        market.as_of_us = self._reached

    def now_us(self) -> int:
        return self._clock.now_us() if self._clock is not None else self._reached + SEND_DELAY_US

    async def run(self) -> None:
        self._subscribed()
        while self._stop is None or self._reached < self._stop:
            if self._hub.changed.is_set():
                self._subscribed()
            if self._clock is None:
                if not self._wanted:
                    await self._hub.changed.wait()
                    continue
                self._step(self._reached + 20_000)
                await self._hub.drained()
                await asyncio.sleep(0)
            else:
                late = self._step(self._clock.now_us() - SEND_DELAY_US)
                await asyncio.sleep(0 if late else _TICK_S)

    def _subscribed(self) -> None:
        self._hub.changed.clear()
        self._wanted = {}
        self._ready = {}
        self._intervals = []
        for stream in sorted(self._hub.wanted()):
            low, _, kind = stream.partition("@")
            interval = kind.removeprefix("kline_")
            if low.upper() in self._market.instruments and interval != kind:
                if interval in STEPS and (interval != "1s" or self._market.market == "spot"):
                    self._intervals.append((low.upper(), interval))
            elif low.upper() in self._market.instruments:
                self._wanted.setdefault(low.upper(), set()).add(kind)

    def _step(self, until_us: int) -> bool:
        """Plays up to a moment, or part of the way if that is far; true if there is more."""
        goal = until_us if self._stop is None else min(until_us, self._stop)
        until = min(goal, self._reached + _LONGEST_STEP_US)
        if until <= self._reached:
            return False
        events: list[Event] = []
        for second in range(self._reached // 1_000_000, until // 1_000_000 + 1):
            for symbol in self._wanted:
                of_second = self._events(symbol, second)
                events += of_second[
                    bisect_right(of_second, self._reached, key=_due) : bisect_right(of_second, until, key=_due)
                ]
        events.sort(key=_due)
        before, self._market.as_of_us, self._reached = self._reached, until, until
        self._hub.play(events + self._bars(before, until))
        self._prepare(until // 1_000_000)
        return until < goal

    def _bars(self, before: int, until: int) -> list[Event]:
        """The venue's own bars that were closed in between, a moment after their end."""
        events: list[Event] = []
        for symbol, interval in self._intervals:
            step, stream = STEPS[interval] * 1_000_000, f"{symbol.lower()}@kline_{interval}"
            for end in range((before - BAR_DELAY_US) // step * step + step, until - BAR_DELAY_US + 1, step):
                bar = closed(self._market, symbol, interval, end - step, until)
                if bar is not None:
                    events.append(Event(until, stream, f"kline_{interval}", symbol, -1, bar))
        return events

    def _events(self, symbol: str, second: int) -> list[Event]:
        found = self._ready.get((symbol, second))
        if found is None:
            found = self._ready[symbol, second] = self._market.events(symbol, second, self._wanted[symbol])
        return found

    def _prepare(self, second: int) -> None:
        """A few symbols of the next second at a time, so that no second begins with a pause."""
        if second != self._second:
            self._second = second
            self._ready = {place: events for place, events in self._ready.items() if place[1] >= second}
        budget = 1 + len(self._wanted) // 20
        for symbol in self._wanted:
            if (symbol, second + 1) not in self._ready:
                self._events(symbol, second + 1)
                budget -= 1
                if not budget:
                    return


class RecordingPlayer:
    """Sends the frames of a recording in their order, from the moment all ``streams`` are subscribed."""

    def __init__(self, recording: Recording, hub: Hub, streams: set[str], speed: float | None) -> None:
        self._recording = recording
        self._hub = hub
        self._streams = streams
        self._speed = speed

    def now_us(self) -> int:
        return self._recording.now_us()

    async def run(self) -> None:
        await self._until_subscribed()
        events, recording, hub = self._recording.events, self._recording, self._hub
        say(f"the recording starts: {len(events):,} frames")
        begin, first = time.monotonic(), events[0].at_us
        while recording.played < len(events):
            if self._speed is None:
                while not hub.wanted():  # nobody reads: the fastest is to stand still
                    hub.changed.clear()
                    await hub.changed.wait()
                upto = recording.played + _CHUNK
            else:
                due = first + int((time.monotonic() - begin) * 1_000_000 * self._speed)
                upto = bisect_right(events, due, lo=recording.played, key=_due)
                if upto == recording.played:
                    ahead_s = (events[upto].at_us - due) / 1_000_000 / self._speed
                    await asyncio.sleep(min(max(ahead_s, 0.001), 0.05))
                    continue
            await self._play(min(upto, recording.played + _CHUNK, len(events)))
        say("the recording is over")

    async def _play(self, upto: int) -> None:
        batch = self._recording.events[self._recording.played : upto]
        self._recording.played = upto
        self._hub.play(batch)
        await self._hub.drained()
        await asyncio.sleep(0)

    async def _until_subscribed(self) -> None:
        while True:
            while missing := self._streams - self._hub.wanted():
                self._hub.changed.clear()
                try:
                    await asyncio.wait_for(self._hub.changed.wait(), 10)
                except TimeoutError:
                    say(f"waits for a subscription to {', '.join(sorted(missing)[:8])}")
            await asyncio.sleep(_SETTLE_S)
            if self._streams <= self._hub.wanted():
                return


def _due(event: Event) -> int:
    return event.at_us
