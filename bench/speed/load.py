"""The load: a venue on the loopback that sends a made market as fast as a socket takes it, or at a rate.

It speaks Binance's combined streams over ws and wss, and answers the REST questions that collectors ask: the newest
trade is one that was surely read, so nobody finds a gap. Everything that is sent lies in memory before the clock
starts; over TLS each frame is a record of its own, sealed beforehand. What a run sends is told to it over HTTP, in
this order::

    GET /load/set?events=2000000&rate=0&time=market&end=close     rate in events/s, 0: as fast as it goes
    … a collector connects and subscribes …
    GET /load/prepare        answers when everything is ready to be sent
    GET /load/go
    GET /load/state          {"streams": 40, "sent": 2000000, "began_ns": …, "done_ns": …, "is_done": true}

`time=market` sends the market's own event times, `time=real` those of the moment of sending (`GET /load/times` gives
them, little-endian int64 microseconds); `micros=1` sends microseconds to those who did not ask. `end=close` says
goodbye as a recording does, `end=stay` keeps the connection.

    python -m bench.speed.load --events 2000000 --symbols 20 --port-file load.json
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any, Final

from bench.speed import sending
from bench.speed.market import FIRST_ID, START_US, TRADES, UNIT, Market
from bench.speed.sending import Plan, Session, Wire

REQUEST: Final = 64 << 10
"""Bytes of a request's head at most."""


class Venue:
    """Everything that is shared by the connections."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.plan = Plan(market, market.count)
        self.sessions: list[Session] = []
        self._lock = threading.Lock()

    def join(self, session: Session) -> None:
        with self._lock:
            self.sessions.append(session)

    def leave(self, session: Session) -> None:
        with self._lock:
            self.sessions.remove(session)

    # --- what runs are told ---

    def order(self, what: str, asked: dict[str, str]) -> tuple[int, bytes]:
        """One of the `/load/` pages."""
        if what == "set":
            self.plan = Plan(
                self.market,
                min(int(asked.get("events", self.market.count)), self.market.count),
                float(asked.get("rate", 0)),
                asked.get("time", "market") == "real",
                asked.get("end", "close") == "close",
                asked.get("micros") == "1",
            )
        elif what == "prepare":
            for session in list(self.sessions):
                session.prepare(self.plan)
        elif what == "go":
            self.plan.go.set()
        elif what == "times":
            return 200, self.plan.times.astype("<i8").tobytes()
        elif what != "state":
            return 404, b"{}"
        return 200, json.dumps(self.state()).encode()

    def state(self) -> dict[str, Any]:
        sessions, plan = list(self.sessions), self.plan
        return {
            "streams": sum(len(session.streams) for session in sessions),
            "connections": len(sessions),
            "events": plan.events,
            "sent": plan.sent,
            "began_ns": plan.began_ns,
            "done_ns": plan.done_ns,
            "is_done": plan.done_ns > 0,
        }

    # --- the exchange's own ---

    def answer(self, path: str, asked: dict[str, str], micros: bool) -> tuple[int, bytes]:
        what = path.rsplit("/", 1)[-1]
        unit = 1 if micros else 1000
        now = self.plan.now_us()
        if what == "ping":
            return 200, b"{}"
        if what == "time":
            return 200, json.dumps({"serverTime": now // unit}).encode()
        if what == "exchangeInfo":
            return 200, json.dumps(self._listing(asked, now)).encode()
        if what in ("aggTrades", "trades", "historicalTrades") and asked.get("symbol") in self.market.names:
            rows = self._trades(asked)
            return 200, json.dumps([_row(what, row, unit) for row in rows]).encode()
        return 404, b'{"code":-1121,"msg":"not here"}'

    def _listing(self, asked: dict[str, str], now: int) -> dict[str, Any]:
        wanted = set(json.loads(asked["symbols"])) if "symbols" in asked else set(self.market.names)
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
        listed = [_listed(name) for name in self.market.names if name in wanted]
        return {
            "timezone": "UTC", "serverTime": now // 1000, "rateLimits": [limit], "exchangeFilters": [],
            "symbols": listed,
        }  # fmt: skip

    def _trades(self, asked: dict[str, str]) -> list[tuple[int, int, int, int, bool]]:
        """Id, price, quantity, time and side of trades that were read; before the first, the one before it."""
        market, plan = self.market, self.plan
        places, _ = market.last_ids(asked["symbol"])
        sent = int(places.searchsorted(plan.reached(asked["symbol"])))
        limit = min(int(asked.get("limit", 500)), 1000)
        if not sent:
            return [(FIRST_ID - 1, UNIT, UNIT, plan.now_us() - 1, False)]
        first = max(0, int(asked["fromId"]) - FIRST_ID if "fromId" in asked else sent - limit)
        mine = places[first : min(sent, first + limit)]
        columns = (market.number, market.price, market.qty, plan.times, market.is_maker)
        return list(zip(*(column[mine].tolist() for column in columns), strict=True))


def _row(what: str, row: tuple[int, int, int, int, bool], unit: int) -> dict[str, Any]:
    number, price, qty, at, maker = row
    texts = [f"{value // UNIT}.{value % UNIT:08d}" for value in (price, qty)]
    if what == "aggTrades":
        keys, values = "apqflTmM", (number, *texts, number, number, at // unit, maker, True)
        return dict(zip(keys, values, strict=True))
    row_of = {"id": number, "price": texts[0], "qty": texts[1], "quoteQty": "0"}
    return {**row_of, "time": at // unit, "isBuyerMaker": maker, "isBestMatch": True}


def _listed(name: str) -> dict[str, Any]:
    base = name.removesuffix("USDT")
    rules = [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": "0.00010000",
            "maxPrice": "1000000.00000000",
            "tickSize": "0.00010000",
        },
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
    ]
    return {
        "symbol": name, "status": "TRADING", "baseAsset": base, "baseAssetPrecision": 8, "quoteAsset": "USDT",
        "quotePrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT"], "isSpotTradingAllowed": True,
        "permissions": [], "permissionSets": [["SPOT"]], "filters": rules,
    }  # fmt: skip


# --- connections ---


def _serve(venue: Venue, raw: socket.socket, context: ssl.SSLContext | None) -> None:
    """One connection: requests one after the other, until it becomes a websocket or ends."""
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(raw, context)
        pending = b""
        while True:
            while b"\r\n\r\n" not in pending:
                data = wire.receive()
                if not data or len(pending) > REQUEST:
                    return
                pending += data
            head, pending = pending.split(b"\r\n\r\n", 1)
            if _request(venue, wire, head.decode("latin-1"), pending):
                return
    except (OSError, ValueError):
        return  # the other end went
    finally:
        raw.close()


def _request(venue: Venue, wire: Wire, head: str, more: bytes) -> bool:
    """Answers one request; true where it was a websocket, and that is over."""
    line, *rest = head.split("\r\n")
    headers = {key.strip().lower(): value.strip() for key, _, value in (text.partition(":") for text in rest)}
    target = urllib.parse.urlsplit(line.split(" ")[1])
    asked = dict(urllib.parse.parse_qsl(target.query))
    if "sec-websocket-key" in headers:
        wire.send(sending.handshake(headers["sec-websocket-key"]))
        session = Session(wire, venue.market, asked.get("timeUnit", "").upper() == "MICROSECOND")
        session.subscribe([name for name in asked.get("streams", "").split("/") if name])
        venue.join(session)
        try:
            session.read(more)
        finally:
            venue.leave(session)
        return True
    if target.path.startswith("/load/"):
        status, body = venue.order(target.path.removeprefix("/load/"), asked)
    else:
        status, body = venue.answer(target.path, asked, headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND")
    kind = "application/json; charset=utf-8"
    wire.send(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return False


def listen(venue: Venue, context: ssl.SSLContext | None = None) -> socket.socket:
    """Accepts in a thread, on a port of its own, until the socket is closed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(venue, raw, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def main() -> None:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed.load", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "--events", type=int, default=2_000_000, help="the most that a run may want (default: %(default)s)"
    )
    parser.add_argument("--symbols", type=int, default=20, help="how many symbols (default: %(default)s)")
    parser.add_argument("--per-s", type=int, default=2000, help="events a second of market time (default: %(default)s)")
    parser.add_argument("--trades", type=float, default=TRADES, help="the share of trades (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another market (default: %(default)s)")
    parser.add_argument("--port-file", type=Path, required=True, help="where to say the addresses")
    parser.add_argument("--certificate", help="PEM with key and certificate for wss")
    args = parser.parse_args()
    market = Market(args.seed, args.events, args.symbols, args.per_s, args.trades)
    venue = Venue(market)
    context = None
    if args.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.certificate)
    plain = port(listen(venue))
    said = {"ws_url": f"ws://127.0.0.1:{plain}", "rest_url": f"http://127.0.0.1:{plain}", "start_us": START_US}
    if context is not None:
        said["wss_url"] = f"wss://localhost:{port(listen(venue, context))}"
    new = args.port_file.with_suffix(".new")
    new.write_text(json.dumps(said))
    new.replace(args.port_file)
    try:
        while os.read(0, 4096):
            time.sleep(0.1)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
