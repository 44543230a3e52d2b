"""What a connection is to ingest: a link, and the slot of streams that one link, or two while one follows the other,
serve.
"""

from __future__ import annotations

import msgspec

from procs.ingest.rhythm import Rhythm
from shared.backoff import Backoff
from shared.events import Quote

Stream = tuple[str, str]
"""Symbol and kind."""


class Link(msgspec.Struct, eq=False):
    """One connection."""

    number: int
    slot: Slot
    streams: list[Stream]
    opened: int | None = None
    closing: bool = False
    unsent: list[list[str]] = []
    unanswered: dict[int, int] = {}
    """Requests sent and when."""
    send_at: int = 0
    unseen: set[str] = set()
    """Kinds of stream of which nothing has come yet."""
    ready: int = 0
    """When everything was subscribed to, on the monotonic clock; 0 while it is not."""
    is_doomed: bool = False
    """The venue has announced its end."""
    data_mono: int = 0
    high: int = 0
    """Highest believable venue time that came over it; 0 while none did."""
    last: int = 0
    """Venue time of the last event that was taken."""
    implausible: int = 0
    early: list[Quote] = []
    """Quotes of a recording that came before any venue time did."""

    @property
    def is_ready(self) -> bool:
        """Everything was asked for and agreed to."""
        return self.opened is not None and not self.closing and not self.unsent and not self.unanswered

    def serves(self, kind: str) -> bool:
        """Whether data of that kind flow, as far as one can see."""
        return self.is_ready and kind not in self.unseen


class Slot(msgspec.Struct, eq=False):
    """Streams that share a connection."""

    streams: list[Stream]
    routes: tuple[str, ...]
    route: int = 0
    current: Link | None = None
    successor: Link | None = None
    due: int = 0
    """When to connect, where nothing is connected."""
    replace_at: int = 0
    """When the current link is old; 0 while there is none."""
    backoff: Backoff = msgspec.field(default_factory=Backoff)
    rhythm: Rhythm = msgspec.field(default_factory=Rhythm)
    asked: int = 0
    """When somebody was asked whether its silence is one of the market …"""
    ask_wait: int = 0
    """… and how long until that is asked again."""
    is_cut_off: bool = False
    """The last try reached nobody: not that somebody said no, or hung up."""
    ended: bool = False
    """A recording is over here."""
    fresh: bool = True
    """Nothing was ever connected."""
    retiring: list[tuple[int, Link]] = []

    @property
    def place(self) -> str:
        """Where it is served, in words."""
        return f"/{self.routes[self.route]}" if self.routes[self.route] else "no route"

    def is_old(self, mono: int) -> bool:
        """Whether the link that serves it should be replaced."""
        return 0 < self.replace_at <= mono
