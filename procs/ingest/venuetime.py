"""What time it is at the venue: measured over REST now and then, carried on by the monotonic clock in between.

The wall clock has no part in it: it may step, and the time of a record may not.
"""

from __future__ import annotations

from typing import Final

SECOND: Final = 1_000_000_000
DRIFT_PPM: Final = 50
"""How wrong a monotonic clock may run."""
AHEAD_NS: Final = 10 * SECOND
"""Events further ahead of the estimate than this are not believed …"""
BELIEVED: Final = 20
"""… until so many in a row agree: then the measurement was wrong."""
LONGEST_TRIP_NS: Final = 20 * SECOND
"""An answer that took longer says nothing of the time: no request is given so long, so this process stood still."""
DAY_NS: Final = 86_400 * SECOND


class VenueTime:
    """One estimate for a venue. Without a measurement, the highest event time seen is carried on."""

    def __init__(self) -> None:
        self.measured = False
        self._venue = 0
        self._mono: int | None = None
        self._error = 0  # half the round trip of the measurement
        self._strange = 0

    @property
    def known(self) -> bool:
        return self._mono is not None

    def now(self, mono: int) -> int:
        """The estimate; 0 where nothing is known at all."""
        return 0 if self._mono is None else self._venue + (mono - self._mono)

    def measure(self, venue: int, asked_mono: int, had_mono: int) -> bool:
        """A REST answer. Kept if it is better than the one before has become by ageing; whether it says anything."""
        if had_mono - asked_mono > LONGEST_TRIP_NS:
            return False
        error = (had_mono - asked_mono) // 2
        mono = asked_mono + error
        if self.measured and self._mono is not None:
            aged = self._error + (mono - self._mono) * DRIFT_PPM // 1_000_000
            if error > aged:
                return True
        self._venue, self._mono, self._error, self.measured = venue, mono, error, True
        return True

    def is_near(self, ts: int, mono: int) -> bool:
        """Whether an event time is believed without a thought."""
        return not self.measured or ts <= self.now(mono) + AHEAD_NS

    def forget(self) -> None:
        """After a sleep: the monotonic clock did not run, the estimate is worthless until measured again."""
        self.measured, self._mono, self._strange = False, None, 0

    def believes(self, ts: int, mono: int) -> bool:
        """Whether an event time may move our time on: not where it is far ahead of what was measured."""
        if self._mono is None or not self.measured:
            if ts > self.now(mono):
                self._venue, self._mono = ts, mono
            return True
        if ts <= self.now(mono) + AHEAD_NS:
            self._strange = 0
            return True
        self._strange += 1
        if self._strange < BELIEVED:
            return False
        self._venue, self._mono, self.measured, self._strange = ts, mono, False, 0
        return True
