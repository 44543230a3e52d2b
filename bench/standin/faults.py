"""What the stand-in does when told to: `POST /standin/fault` on its REST port."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import broadcast

from bench.standin.frames import dressed, garbage
from bench.standin.peers import Peer, goodbye
from bench.standin.rest import now_us

if TYPE_CHECKING:
    from bench.standin.venue import Venue


class Faults:
    """One call of `fault` is one fault, or its end."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def fault(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Every one is noted in the ledger with its time."""
        self._venue.ledger.note("f", now_us(), asked)
        kind, seconds = asked["kind"], float(asked.get("seconds", 0))
        peers = list(self._venue.peers.values())
        if "connection" in asked and peers:
            peers = [peers[asked["connection"] % len(peers)]]
        if not (self._of_market(kind, asked) or self._of_links(kind, peers, asked) or self._of_rest(kind, asked)):
            return {"error": f"unknown fault {kind}", "seconds": seconds}
        return {"done": kind, "connections": len(peers)}

    def _of_market(self, kind: str, asked: dict[str, Any]) -> bool:
        venue, rate = self._venue, float(asked.get("rate", 0))
        if kind in ("pause", "resume"):
            venue.paused = kind == "pause"
        elif kind == "unread":
            pass  # a word to the judge
        elif kind in ("duplicate", "reorder"):
            setattr(venue, kind, rate)
        elif kind == "withhold":
            self._withhold(asked, rate)
        elif kind == "forget":
            venue.market.symbols[asked["symbol"]].forgotten.append((asked["first"], asked["last"]))
        elif kind == "silence":
            venue.market.symbols[asked["symbol"]].silent_until = time.monotonic() + float(asked["seconds"])
        elif kind == "rate":
            venue.market.rate = rate
        else:
            return False
        return True

    def _of_links(self, kind: str, peers: list[Peer], asked: dict[str, Any]) -> bool:
        venue, seconds = self._venue, float(asked.get("seconds", 0))
        until = time.monotonic() + seconds
        if kind == "cut":
            venue.cut_until, venue.cut_rest = until, asked.get("rest", True)
        elif kind == "stall":
            for peer in peers:
                peer.stalled_until = until
                peer.ws.transport.pause_reading()
                venue.ledger.note("c", peer.number, "stall", now_us(), seconds)
            if asked.get("new_too"):
                venue.hang_until = until
        elif kind == "shutdown":
            self._shut_down(peers, float(asked.get("grace", 10)))
        elif kind == "garbage":
            for peer in peers:
                for frame in garbage(peer.combined):
                    broadcast((peer.ws,), frame)
        elif kind == "refuse":
            venue.refuse_until, venue.refuse_status = time.time() + seconds, int(asked.get("status", 503))
        elif kind == "lifetime":
            venue.lifetime_s = seconds
        elif kind != "drop":
            return False
        if kind in ("cut", "drop"):
            for peer in peers:
                peer.cut(kind)
        return True

    def _of_rest(self, kind: str, asked: dict[str, Any]) -> bool:
        rest, seconds = self._venue.rest, float(asked.get("seconds", 0))
        if kind == "rest_limit":
            rest.limiter.forced_until = time.time() + seconds
            rest.limiter.forced_status = int(asked.get("status", 429))
        elif kind == "rest_garbage":
            rest.garbage_until = time.time() + seconds
        elif kind == "rest_lag":
            rest.lag = seconds
        else:
            return False
        return True

    def _withhold(self, asked: dict[str, Any], rate: float) -> None:
        if "symbol" not in asked:
            self._venue.withhold = rate
            return
        symbol = self._venue.market.symbols[asked["symbol"]]
        first, count, gone = symbol.last_id + 1, int(asked["count"]), int(asked.get("forget", 0))
        symbol.withheld.update(range(first, first + count))
        if gone:  # the last of them REST will never give either
            span = {"symbol": symbol.name, "first": first + count - gone, "last": first + count - 1}
            self.fault({"kind": "forget", **span})

    def _shut_down(self, peers: list[Peer], grace: float) -> None:
        for peer in peers:
            event = json.dumps({"e": "serverShutdown", "E": now_us() if peer.micro else now_us() // 1000})
            broadcast((peer.ws,), dressed("!serverShutdown", event, peer.combined))

        def end() -> None:
            for peer in peers:
                if peer.number in self._venue.peers and not peer.why:
                    peer.why = "shutdown"
                    asyncio.get_running_loop().create_task(goodbye(peer))

        asyncio.get_running_loop().call_later(grace, end)
