"""Two clocks that go as the history says."""

from __future__ import annotations

from bench.simulation.market import BEGIN


class SimClock:
    """`shared.clock.Clock`. The wall may step; a suspend stops the monotonic clock and not the wall."""

    def __init__(self) -> None:
        self._mono = 5_000_000_000
        self._wall = BEGIN
        self.truth = BEGIN
        """The time it really is."""

    def wall(self) -> int:
        return self._wall

    def mono(self) -> int:
        return self._mono

    def advance(self, ns: int) -> None:
        self._mono += ns
        self._wall += ns
        self.truth += ns

    def step(self, ns: int) -> None:
        self._wall += ns

    def suspend(self, ns: int) -> None:
        self._wall += ns
        self.truth += ns
