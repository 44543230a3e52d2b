"""What one address may ask of the venue: request weight a minute, and connection attempts."""

from __future__ import annotations

from collections import deque

import msgspec

_BAN_S = 120.0
"""The first ban; each further one is twice as long, up to three days."""


class Verdict(msgspec.Struct, frozen=True):
    """``status`` 200, 429 or 418, and how many seconds to wait."""

    status: int
    used: int
    retry_after_s: int = 0
    until_ms: int = 0


class Weights:
    """Weight is counted by whole minutes. Who goes on asking after a 429 is banned."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = -1
        self._used = 0
        self._refused = 0
        self._banned_until = 0.0
        self._bans = 0

    def ask(self, weight: int, now_s: float) -> Verdict:
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._used, self._refused = minute, 0, 0
        if now_s < self._banned_until:
            return self._verdict(418, self._banned_until, now_s)
        self._used += weight
        if self._used <= self.limit:
            return Verdict(200, self._used)
        self._refused += 1
        if self._refused > 3:
            self._banned_until = now_s + min(_BAN_S * 2**self._bans, 3 * 86_400.0)
            self._bans += 1
            return self._verdict(418, self._banned_until, now_s)
        return self._verdict(429, (minute + 1) * 60.0, now_s)

    def _verdict(self, status: int, until_s: float, now_s: float) -> Verdict:
        return Verdict(status, self._used, max(1, int(until_s - now_s + 0.999)), int(until_s * 1000))


class Attempts:
    """At most so many connection attempts in a sliding window of five minutes."""

    WINDOW_S = 300.0

    def __init__(self, limit: int = 300) -> None:
        self._limit = limit
        self._made: deque[float] = deque()

    def allow(self, now_s: float) -> bool:
        while self._made and now_s - self._made[0] >= self.WINDOW_S:
            self._made.popleft()
        self._made.append(now_s)
        if len(self._made) > 10 * self._limit:
            self._made.popleft()
        return len(self._made) <= self._limit
