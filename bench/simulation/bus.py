"""Lanes in memory: bounded, and whatever is in one may be lost as one run when a process at its end dies."""

from __future__ import annotations

from collections import deque
from random import Random


class SimLane:
    """Both ends of an edge. Measured of ZeroMQ: never a duplicate, never a swap; a death costs one contiguous run."""

    def __init__(self, chance: Random, room: int) -> None:
        self._chance = chance
        self._room = room
        self._messages: deque[bytes] = deque()
        self.is_cut = False
        """No peer: what is sent is refused."""

    def send(self, data: bytes) -> bool:
        if self.is_cut or len(self._messages) >= self._room:
            return False
        self._messages.append(data)
        return True

    def recv(self) -> bytes | None:
        if not self._messages or self._chance.random() < 0.05:  # still under way
            return None
        return self._messages.popleft()

    def consumer_died(self) -> None:
        for _ in range(self._chance.randrange(len(self._messages) + 1)):
            self._messages.popleft()

    def producer_died(self) -> None:
        for _ in range(self._chance.randrange(len(self._messages) + 1)):
            self._messages.pop()

    def clear(self) -> None:
        self._messages.clear()
