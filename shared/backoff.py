"""How long to wait before the next try: longer each time, jittered so that many do not try at once, reset by health."""

from __future__ import annotations

import msgspec

SECOND = 10**9


def ceiling(attempt: int, first_ns: int, most_ns: int) -> int:
    """The longest wait before try number ``attempt``, which counts from 0: doubled each time up to a limit."""
    return min(most_ns, first_ns << min(attempt, 40))


class Backoff(msgspec.Struct):
    """Full-jitter back-off: a random part of a doubling ceiling, from the start again after a minute of health.

    A connection that comes up and falls at once is not healthy, so success alone resets nothing. Both clock and chance
    are arguments: ``mono_ns`` is monotonic time, ``chance`` a random number in [0, 1).
    """

    first_ns: int = SECOND // 2
    most_ns: int = 60 * SECOND
    healthy_ns: int = 60 * SECOND
    attempt: int = 0
    up_since: int | None = None

    def up(self, mono_ns: int) -> None:
        """It works, as of now."""
        if self.up_since is None:
            self.up_since = mono_ns

    def down(self, mono_ns: int, chance: float, least_ns: int = 0) -> int:
        """It failed. Returns the nanoseconds to wait, at least ``least_ns`` (what a peer asked for)."""
        if self.up_since is not None and mono_ns - self.up_since >= self.healthy_ns:
            self.attempt = 0
        self.up_since = None
        wait = int(ceiling(self.attempt, self.first_ns, self.most_ns) * chance)
        self.attempt += 1
        return max(wait, least_ns)
