"""A line of the archive: events to JSON with the venue's own digits, and back without losing one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from shared.events import AggTrade, Event, Feed, Quote, Rejected, Trade
from shared.numbers import MAX_CHARS

_json = msgspec.json.Encoder().encode
_quoted: dict[str, str] = {}


def quoted(value: str) -> str:
    """A JSON string; remembered, for a few hundred symbols are written millions of times."""
    found = _quoted.get(value)
    if found is None:
        if len(_quoted) > 10_000:
            _quoted.clear()
        found = _quoted[value] = _json(value).decode()
    return found


def _number(digits: str) -> str:
    """Readers infer a float from a decimal point: an integer gets one."""
    return digits if "." in digits else f"{digits}.0"


def _optional(value: int | None) -> str:
    return "null" if value is None else str(value)


def _trade(e: Trade) -> str:
    kind = f',"trade_type":{quoted(e.trade_type)}' if e.trade_type is not None else ""
    return (
        f'{{"symbol":{quoted(e.symbol)},"ts_event":{e.ts_event},"ts_recv":{e.ts_recv},"price":{_number(e.price)},"qty":{_number(e.qty)},'
        f'"side":"{e.side}","bid":null,"ask":null,"stream":"trade","ts":{e.ts},"ts_sent":{_optional(e.ts_sent)},'
        f'"trade_id":{e.trade_id},"source":"{e.source}"{kind}}}\n'
    )


def _agg_trade(e: AggTrade) -> str:
    return (
        f'{{"symbol":{quoted(e.symbol)},"ts_event":{e.ts_event},"ts_recv":{e.ts_recv},"price":{_number(e.price)},"qty":{_number(e.qty)},'
        f'"side":"{e.side}","bid":null,"ask":null,"stream":"aggTrade","ts":{e.ts},"ts_sent":{_optional(e.ts_sent)},"source":"{e.source}",'
        f'"agg_id":{e.agg_id},"first_trade_id":{e.first_trade_id},"last_trade_id":{e.last_trade_id}}}\n'
    )


def _quote(e: Quote) -> str:
    sent = f',"ts_sent":{e.ts_sent}' if e.ts_sent is not None else ""
    return (
        f'{{"symbol":{quoted(e.symbol)},"ts_event":{_optional(e.ts_event)},"ts_recv":{e.ts_recv},"price":null,"qty":null,"side":null,'
        f'"bid":{_number(e.bid)},"ask":{_number(e.ask)},"stream":"bookTicker","ts":{e.ts}{sent},"update_id":{e.update_id},'
        f'"bid_qty":{_number(e.bid_qty)},"ask_qty":{_number(e.ask_qty)}}}\n'
    )


def _feed(e: Feed) -> str:
    head = {"kind": e.kind, "ts": e.ts, "ts_recv": e.ts_recv, "symbols": e.symbols}
    return _json({**head, **{k: v for k, v in e.detail.items() if k not in head}}).decode() + "\n"


def _rejected(e: Rejected) -> str:
    return (
        _json(msgspec.to_builtins(dict(zip(e.__struct_fields__, msgspec.structs.astuple(e), strict=True)))).decode()
        + "\n"
    )


_WRITERS: dict[type, Callable[[Any], str]] = {
    Trade: _trade,
    AggTrade: _agg_trade,
    Quote: _quote,
    Feed: _feed,
    Rejected: _rejected,
}


def line(event: Event) -> str:
    """One line of JSON with its newline. Raises KeyError for a bar: bars are no lines."""
    return _WRITERS[type(event)](event)


_NULL = msgspec.Raw(b"null")
_Int = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a table can hold: a line that was damaged on disk must not end who reads it."""


class RawLine(msgspec.Struct, gc=False):
    """What may stand in a raw line; numbers with their digits as they stand there."""

    symbol: str
    ts_recv: _Int
    stream: str
    ts: _Int
    ts_event: _Int | None = None
    price: msgspec.Raw = _NULL
    qty: msgspec.Raw = _NULL
    side: str | None = None
    bid: msgspec.Raw = _NULL
    ask: msgspec.Raw = _NULL
    ts_sent: _Int | None = None
    trade_id: _Int | None = None
    source: str = "ws"
    trade_type: str | None = None
    agg_id: _Int | None = None
    first_trade_id: _Int | None = None
    last_trade_id: _Int | None = None
    update_id: _Int | None = None
    bid_qty: msgspec.Raw = _NULL
    ask_qty: msgspec.Raw = _NULL


raw_line = msgspec.json.Decoder(RawLine).decode
"""The keys of one line. Raises ValueError, RecursionError."""
_any = msgspec.json.Decoder(dict[str, Any])


def parse_line(data: bytes) -> Trade | AggTrade | Quote:
    """A raw line as the event it was. Raises ValueError for anything else (msgspec.DecodeError is one)."""
    r = raw_line(data)
    if r.stream == "trade":
        return Trade(
            r.symbol, r.ts, _int(r.ts_event), r.ts_sent, r.ts_recv, _digits(r.price), _digits(r.qty), _side(r.side),
            _int(r.trade_id),
            r.source, r.trade_type,
        )  # fmt: skip
    if r.stream == "bookTicker":
        return Quote(
            r.symbol, r.ts, r.ts_event, r.ts_sent, r.ts_recv, _digits(r.bid), _digits(r.bid_qty), _digits(r.ask),
            _digits(r.ask_qty),
            _int(r.update_id),
        )  # fmt: skip
    if r.stream == "aggTrade":
        return AggTrade(
            r.symbol, r.ts, _int(r.ts_event), r.ts_sent, r.ts_recv, _digits(r.price), _digits(r.qty), _side(r.side),
            _int(r.agg_id),
            _int(r.first_trade_id), _int(r.last_trade_id), r.source,
        )  # fmt: skip
    raise ValueError(f"unknown stream {r.stream!r}")


def parse_feed(data: bytes) -> Feed:
    """A line of ``feed/`` as the event it was. Raises ValueError."""
    found = _any.decode(data)
    try:
        kind, ts, ts_recv, symbols = (found.pop(key) for key in ("kind", "ts", "ts_recv", "symbols"))
    except KeyError as missing:
        raise ValueError(f"a feed line without {missing}") from None
    feed = msgspec.convert([4, kind, ts, ts_recv, symbols, found], Feed)
    if not (0 <= feed.ts < 2**63 and 0 <= feed.ts_recv < 2**63):
        raise ValueError("a time that is none")
    return feed


def _digits(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    if len(text) > MAX_CHARS + 2 or text.strip("0123456789.") or not text[:1].isdigit():  # null, text, negative, 1e5
        raise ValueError(f"not a price or quantity: {text[:MAX_CHARS]}")
    return text


def _int(value: int | None) -> int:
    if value is None:
        raise ValueError("a number is missing")
    return value


def _side(value: str | None) -> str:
    if value not in ("buy", "sell"):
        raise ValueError(f"side is {value!r}")
    return value
