"""What can be set about a source."""

from __future__ import annotations

import msgspec

from shared import paths, venues
from shared.config import StageConfig

LONGEST_NAME = 200
"""Bytes of a symbol as a folder's name; file systems end at 255."""
JOURNAL_A_SYMBOL = 16 << 10
"""Bytes of journal that each symbol needs at least: every segment, an eighth of the journal at most, begins with what
is known of all symbols, a kilobyte each or two. Full of that alone, it would not get empty enough to go on."""
_ALIASES = {"bookTicker": "quote", "aggTrade": "agg_trade", "kline_1s": "kline", "kline_1m": "kline"}


class Config(StageConfig, kw_only=True, frozen=True):
    venue: str
    """Names the folder in the lake and the adapter in ``shared/venues/``."""
    symbols: list[str]
    """What to record, as the venue writes it: SOLUSDT."""
    streams: list[str] = msgspec.field(default_factory=lambda: ["trade", "quote"])
    """``trade``, ``quote`` (best bid and ask), ``agg_trade``; bookTicker and aggTrade are understood too. Beside them
    ``kline``: the venue's own bars of its shortest interval, for the validator to compare with."""
    ws_url: str = ""
    """Where the websocket is, without path; empty: the venue's own. ``ws://`` on this machine only."""
    rest_url: str = ""
    """Where REST is, without path; empty: the venue's own. ``http://`` on this machine only."""
    proxy: str = ""
    """An HTTP proxy for both, such as http://127.0.0.1:3128; the environment's is never used."""
    replay: bool = False
    """The other end plays a recording: its times are taken exactly as they come, never carried on by a clock."""
    journal_max_bytes: int = 2 << 30
    """Bytes of journal that may wait for slow consumers; an alarm at half of it, a recorded pause when it is full.
    At least 1 MiB, and 16 KiB a symbol."""
    gather_ms: int = 40
    """Events within this time of a record are gathered into the next one, up to eight of them within about twice as
    long; after a lull the first is written at once. 0 writes whatever one read of a socket held, and makes no pause
    between reads that follow one another (else 4 ms)."""
    stale_after_s: int = 30
    """The venue is asked whether there should have been data when a stream is silent for longer than it is wont to be,
    and at the latest after so many seconds."""
    lifetime_h: float = 23.0
    """A connection is replaced at about this age, before the venue cuts it at 24 hours."""

    def __post_init__(self) -> None:
        if self.venue not in venues.names():
            raise ValueError(f"venue: there is no {self.venue}; known: {', '.join(venues.names())}")
        kinds = venues.load(self.venue).kinds
        unknown = [kind for kind in self.kinds if kind not in kinds]
        if unknown or not self.streams:
            raise ValueError(f"streams: {', '.join(unknown) or 'none'}; {self.venue} has {', '.join(kinds)}")
        if self.kinds == [venues.KLINE]:
            raise ValueError("streams: kline is what others are compared with; alone it is nothing")
        if not self.symbols:
            raise ValueError("symbols: none, so there is nothing to record")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols: one stands twice")
        if any(not symbol or len(symbol) > 64 or symbol != symbol.upper() for symbol in self.symbols):
            raise ValueError("symbols: are written in capitals, such as SOLUSDT")
        if any(len(paths.safe(symbol)) > LONGEST_NAME for symbol in self.symbols):
            raise ValueError("symbols: one is too long for the name of a folder")
        least = max(1 << 20, len(self.symbols) * JOURNAL_A_SYMBOL)
        if self.journal_max_bytes < least:
            raise ValueError(f"journal_max_bytes: at least {least} for {len(self.symbols)} symbols")
        if not 0 <= self.gather_ms <= 1000:
            raise ValueError("gather_ms: from 0 to 1000")
        if self.stale_after_s < 5 or not 0.001 <= self.lifetime_h <= 24:
            raise ValueError("stale_after_s: at least 5; lifetime_h: from 0.001 to 24")

    @property
    def kinds(self) -> list[str]:
        """The streams in our words, each once."""
        return list(dict.fromkeys(_ALIASES.get(kind, kind) for kind in self.streams))
