"""The documented JSON of each event, and frames that no exchange should ever send."""

from __future__ import annotations

import json
from typing import Any

from bench.standin.market import Aggregate, Event, Quote, Trade
from bench.standin.rest import now_us

KINDS = {Trade: "trade", Aggregate: "aggTrade", Quote: "bookTicker"}
ROUTES = {Trade: "public", Aggregate: "market", Quote: "public"}


def payload(name: str, event: Event, micro: bool) -> str:
    """The documented JSON of one event of the spot market."""
    if isinstance(event, Aggregate):
        matched = event.us if micro else event.us // 1000
        maker = "true" if event.maker else "false"
        return (
            f'{{"e":"aggTrade","E":{matched},"s":"{name}","a":{event.id},"p":"{event.price}","q":"{event.qty}",'
            f'"f":{event.first},"l":{event.last},"T":{matched},"m":{maker},"M":true}}'
        )
    if isinstance(event, Quote):
        return (
            f'{{"u":{event.u},"s":"{name}","b":"{event.bid}","B":"{event.bid_qty}",'
            f'"a":"{event.ask}","A":"{event.ask_qty}"}}'
        )
    matched, sent = (event.us, event.sent_us) if micro else (event.us // 1000, event.sent_us // 1000)
    maker = "true" if event.maker else "false"
    return (
        f'{{"e":"trade","E":{sent},"s":"{name}","t":{event.id},"p":"{event.price}","q":"{event.qty}",'
        f'"T":{matched},"m":{maker},"M":true}}'
    )


def futures(name: str, event: Event, micro: bool) -> str:
    """The same of USD-M futures: milliseconds, and every event has its times."""
    if isinstance(event, Quote):
        ms = now_us() // 1000
        return (
            f'{{"e":"bookTicker","u":{event.u},"s":"{name}","b":"{event.bid}","B":"{event.bid_qty}",'
            f'"a":"{event.ask}","A":"{event.ask_qty}","T":{ms},"E":{ms}}}'
        )
    matched, maker = event.us // 1000, "true" if event.maker else "false"
    if isinstance(event, Aggregate):
        return (
            f'{{"e":"aggTrade","E":{matched},"a":{event.id},"s":"{name}","p":"{event.price}","q":"{event.qty}",'
            f'"f":{event.first},"l":{event.last},"T":{matched},"m":{maker}}}'
        )
    return (
        f'{{"e":"trade","E":{event.sent_us // 1000},"T":{matched},"s":"{name}","t":{event.id},"p":"{event.price}",'
        f'"q":"{event.qty}","X":"{event.kind}","m":{maker}}}'
    )


def dressed(stream: str, data: str, combined: bool) -> str:
    return f'{{"stream":"{stream}","data":{data}}}' if combined else data


def garbage(combined: bool) -> list[str | bytes]:
    """Frames no exchange should ever send."""
    ms = now_us() // 1000
    trade = {"e": "trade", "E": ms, "s": "BTCUSDT", "t": 1, "p": "1.0", "q": "1.0", "T": ms, "m": True, "M": True}
    wrong: list[dict[str, Any]] = [
        trade | {"t": 2**63},
        trade | {"t": -5},
        trade | {"t": "12"},
        trade | {"p": "NaN"},
        trade | {"q": "-1.00000000"},
        trade | {"p": "Infinity"},
        trade | {"p": 12.5},
        trade | {"s": "../../x"},
        trade | {"s": "NOSUCHUSDT"},
        trade | {"T": 0},
        trade | {"T": 2**62},
        trade | {"e": "nosuch"},
        {key: value for key, value in trade.items() if key != "T"},
        {"u": -1, "s": "BTCUSDT", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"},
        {"u": 5, "s": "BTCUSDT", "b": "x", "B": "1.0", "a": "2.0", "A": "1.0"},
        {"u": 5, "s": "\u001b[31mBTC\n", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"},
    ]
    frames: list[str | bytes] = [
        dressed("btcusdt@bookTicker" if "u" in data else "btcusdt@trade", json.dumps(data), combined) for data in wrong
    ]
    return [
        *frames,
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "\x00\x01\x02",
        b"\x00\xff binary",
        "[" * 5000,
        '{"stream":"btcusdt@trade"}',
        '{"stream":"../../etc/passwd@trade","data":{}}',
        '{"stream":5,"data":null}',
        "x" * 200_000,
    ]
