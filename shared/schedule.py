"""When a batch runs: ``every: 5m``, ``daily_at: "01:30"`` (UTC), or both."""

from __future__ import annotations

import re

import msgspec

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DAY_NS = 86_400 * 10**9


class Schedule(msgspec.Struct, frozen=True):
    """The two kinds of timer of one batch."""

    every_s: int | None = None
    """Seconds from start to start; a run that takes longer is followed by the next at once."""
    daily_at_s: int | None = None
    """Seconds after midnight UTC."""

    def daily_due(self, last_wall_ns: int, wall_ns: int) -> bool:
        """Whether the time of day was passed since the last run (by either timer's clock: the wall)."""
        if self.daily_at_s is None:
            return False
        at_ns = self.daily_at_s * 10**9
        return (wall_ns - at_ns) // _DAY_NS > (last_wall_ns - at_ns) // _DAY_NS

    def every_due(self, last_mono_ns: int, mono_ns: int) -> bool:
        return self.every_s is not None and mono_ns - last_mono_ns >= self.every_s * 10**9


def file_interval_s(symbols: int) -> int:
    """Seconds in one file of the open hours where none are written down: a minute, and longer above a hundred symbols,
    so that their files stay about as many.
    """
    wanted = 60 * max(1, -(-symbols // 100))
    return next((seconds for seconds in (60, 120, 180, 300, 600, 900, 1800) if seconds >= wanted), 3600)


def duration(text: object) -> int:
    """Seconds of ``90s``, ``5m``, ``2h``, ``1d``; ValueError says how to write one."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 90s, 5m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def time_of_day(text: object) -> int:
    """Seconds after midnight of ``01:30``; ValueError says how to write one."""
    if isinstance(text, int):  # YAML reads 11:30 without quotes as 690, in base sixty
        raise ValueError(f'put the time in quotes: "{text // 60:02d}:{text % 60:02d}"')
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is no time of day; write "01:30", which is UTC')
    return int(match[1]) * 3600 + int(match[2]) * 60
