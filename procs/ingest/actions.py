"""What the core wants done: the words between it and whoever has sockets, be that the shell or a simulator."""

from __future__ import annotations

import msgspec

from shared.venues import Request


class Connect(msgspec.Struct, frozen=True):
    """Open a websocket; report `opened` or `refused`, later `closed`."""

    link: int
    url: str


class Send(msgspec.Struct, frozen=True):
    link: int
    text: bytes


class Close(msgspec.Struct, frozen=True):
    """Close a websocket or give up opening it; `closed` or `refused` is still reported."""

    link: int


class Get(msgspec.Struct, frozen=True):
    """Ask over REST; report `answered` with the same number."""

    number: int
    request: Request


Action = Connect | Send | Close | Get
