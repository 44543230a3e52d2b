"""The clock, one of the four interfaces behind which a simulator can stand."""

from __future__ import annotations

import sys
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


def asleep() -> int | None:
    """Nanoseconds this machine has slept since it was started, where it says so (Linux): who looks at the wall clock
    instead takes a clock that was set for a sleep.
    """
    if sys.platform != "linux":
        return None
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
