"""The clock, one of the four interfaces behind which a simulator can stand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks, as integer nanoseconds: wall time is recorded, durations are decided upon monotonic time only."""

    def wall(self) -> int: ...

    def mono(self) -> int: ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> int:
        return time.time_ns()

    def mono(self) -> int:
        return time.monotonic_ns()
