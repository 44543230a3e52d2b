"""What clients ask for over their connection: subscriptions and properties, answered as documented."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.standin.peers import Peer
from bench.standin.rest import now_us

if TYPE_CHECKING:
    from bench.standin.venue import Venue

MAX_STREAMS = 1024


class Desk:
    """Who listens to which stream."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self.listeners: dict[str, list[Peer]] = {}
        self.unknown = 0
        """Names accepted in silence, for which nothing ever comes."""

    def subscribe(self, peer: Peer, names: list[str]) -> bool:
        if len(peer.streams | set(names)) > MAX_STREAMS:
            return False
        for name in names:
            if name.partition("@")[0].upper() not in self._venue.market.symbols or name != name.lower().replace(
                "bookticker", "bookTicker"
            ).replace("aggtrade", "aggTrade"):
                self.unknown += 1
            if name not in peer.streams:
                peer.streams.add(name)
                self.listeners.setdefault(name, []).append(peer)
        self._venue.ledger.note("c", peer.number, "subscribe", now_us(), names)
        return True

    def unsubscribe(self, peer: Peer, names: list[str]) -> None:
        for name in names:
            if name in peer.streams:
                peer.streams.discard(name)
                self.listeners[name].remove(peer)

    def answer(self, peer: Peer, message: str | bytes) -> dict[str, Any]:
        try:
            asked = json.loads(message)
        except ValueError:
            return {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}
        number = asked.get("id") if isinstance(asked, dict) else None
        method, params = (asked.get("method"), asked.get("params", [])) if isinstance(asked, dict) else (None, [])
        if not isinstance(params, list):
            return {"code": 2, "msg": "Invalid request: params must be an array", "id": number}
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not params or not all(isinstance(name, str) and "@" in name for name in params):
                return {"code": 2, "msg": "Invalid request: invalid stream", "id": number}
            if method == "UNSUBSCRIBE":
                self.unsubscribe(peer, params)
            elif not self.subscribe(peer, params):
                return {"code": 2, "msg": "Invalid request: too many streams", "id": number}
            return {"result": None, "id": number}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(peer.streams), "id": number}
        if method == "GET_PROPERTY" and params == ["combined"]:
            return {"result": peer.combined, "id": number}
        if method == "SET_PROPERTY" and params[:1] == ["combined"]:
            if len(params) != 2 or not isinstance(params[1], bool):
                return {"code": 1, "msg": "Invalid value type: expected Boolean", "id": number}
            peer.combined = params[1]
            return {"result": None, "id": number}
        if method in ("GET_PROPERTY", "SET_PROPERTY"):
            return {"code": 0, "msg": "Unknown property", "id": number}
        return {"code": 2, "msg": "Invalid request: unknown variant", "id": number}
