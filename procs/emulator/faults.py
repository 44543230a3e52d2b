"""What can be made to go wrong at the venue, when, and to what: asked for on the command line or over HTTP.

A fault is written ``KIND`` or ``KIND:name=value,name=value``, as in ``drop:at_s=10,every_s=30`` or
``skip:symbol=SOLUSDT,count=3,rest=true``. Everything is decided by a seeded generator, so a run can be had again.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, Literal

import msgspec

from procs.emulator.tape import TRADE, Event

Kind = Literal[
    "drop",  # cuts connections without a word
    "stall",  # stops sending without closing: half-open
    "shutdown",  # announces serverShutdown, and closes `delay_ms` later
    "duplicate",  # sends an event twice
    "reorder",  # sends an event after the next one of its stream
    "garbage",  # sends what no venue sends, beside the events
    "skip",  # withholds events from the websocket; with `rest` from REST too
    "refuse",  # refuses new websocket connections
    "status",  # REST answers with `status` (429 and 418 with Retry-After)
    "slow",  # REST answers `delay_ms` late
    "late",  # REST does not know the last `delay_ms` yet
    "truncate",  # REST answers at most `rows` rows, without the first `leave_out`
]

_AT_ONCE = ("drop", "stall", "shutdown")
_ON_EVENTS = ("duplicate", "reorder", "garbage", "skip")


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    kind: Kind
    at_s: float = 0.0
    """Seconds after it was asked for (for the command line: after the start)."""
    after: int = 0
    """It waits until so many events were sent."""
    every_s: float | None = None
    """It comes again and again."""
    for_s: float | None = None
    """How long it lasts."""
    count: int | None = None
    """How many events, requests or connections it strikes; of events one, unless told how long or how many."""
    p: float = 1.0
    """How likely it strikes each time it could."""
    symbol: str | None = None
    stream: str | None = None
    """``trade``, ``aggTrade`` or ``bookTicker``; ``skip`` takes trades unless told otherwise."""
    rest: bool = False
    status: int = 429
    retry_after_s: int = 5
    delay_ms: int = 1000
    rows: int | None = None
    leave_out: int = 0


class FaultError(ValueError):
    """A fault that is not understood, and why."""


def parse(text: str) -> Fault:
    """A fault as written on the command line."""
    kind, _, rest = text.partition(":")
    fields: dict[str, Any] = {"kind": kind}
    for part in filter(None, rest.split(",")):
        name, sign, value = part.partition("=")
        if not sign:
            raise FaultError(f"{text!r}: {part!r} is not name=value")
        fields[name] = value == "true" if value in ("true", "false") else value
    return convert(fields)


def convert(fields: Any) -> Fault:
    try:
        fault = msgspec.convert(fields, Fault, strict=False)
    except msgspec.ValidationError as wrong:
        raise FaultError(str(wrong)) from None
    if fault.every_s is not None and fault.every_s <= 0:
        raise FaultError("every_s must be above 0")
    return fault


class Active(msgspec.Struct):
    """A fault that is on."""

    fault: Fault
    until_s: float
    left: int | None


class RestFault(msgspec.Struct):
    """What happens to one REST request."""

    status: int = 200
    retry_after_s: int = 0
    delay_ms: int = 0
    late_us: int = 0
    rows: int | None = None
    leave_out: int = 0


class Faults:
    """Those that wait, those that are on, and the ids that were withheld."""

    def __init__(self, seed: int = 0) -> None:
        self.withheld: dict[tuple[str, str], list[int]] = {}
        self.hidden: dict[tuple[str, str], set[int]] = {}
        """Withheld from REST too."""
        self.struck: dict[str, int] = {}
        self._random = Random(seed)
        self._waiting: list[tuple[float, Fault]] = []
        self._on: list[Active] = []
        self._held: dict[str, Event] = {}

    @property
    def shaping(self) -> bool:
        """Whether events have to be looked at one by one."""
        return bool(self._held) or any(a.fault.kind in _ON_EVENTS for a in self._on)

    def add(self, fault: Fault, now_s: float) -> None:
        self._waiting.append((now_s + fault.at_s, fault))

    def clear(self) -> None:
        self._waiting.clear()
        self._on.clear()

    def describe(self) -> dict[str, Any]:
        return {
            "waiting": [msgspec.to_builtins(fault) for _, fault in self._waiting],
            "on": [msgspec.to_builtins(a.fault) for a in self._on],
            "struck": self.struck,
        }

    def due(self, now_s: float, sent: int) -> list[Fault]:
        """Those to carry out at once; the others are on from now. To be called before each round."""
        at_once, later = [], []
        for at_s, fault in self._waiting:
            if now_s < at_s or sent < fault.after:
                later.append((at_s, fault))
                continue
            if fault.every_s is not None:
                later.append((max(at_s + fault.every_s, now_s), fault))
            if fault.kind in _AT_ONCE:
                at_once.append(fault)
            else:
                self._on.append(_active(fault, now_s))
        self._waiting = later
        self._on = [a for a in self._on if now_s < a.until_s and a.left != 0]
        return at_once

    def shape(self, events: Iterable[Event]) -> list[Event]:
        """The events as they are to be sent."""
        shaped: list[Event] = []
        for event in events:
            held = self._held.pop(event.stream, None)
            shaped += self._shape(event)
            if held is not None:
                shaped.append(held)
        return shaped

    def _shape(self, event: Event) -> list[Event]:
        found = [event]
        for active in self._on:
            if not found or not _concerns(active.fault, event) or not self._strikes(active):
                continue
            if active.fault.kind == "duplicate":
                found.append(event)
            elif active.fault.kind == "garbage":
                found.append(garbage(event, self._random))
            elif active.fault.kind == "reorder":
                self._held[event.stream] = found.pop(0)
            else:
                found = []
                self.withheld.setdefault((event.symbol, event.kind), []).append(event.id)
                if active.fault.rest:
                    self.hidden.setdefault((event.symbol, event.kind), set()).add(event.id)
        return found

    def refuses(self) -> bool:
        """Whether a connection attempt is refused."""
        return any(a.fault.kind == "refuse" and self._strikes(a) for a in self._on)

    def rest(self) -> RestFault:
        """What happens to a request that arrives now."""
        found = RestFault()
        for active in self._on:
            fault = active.fault
            if fault.kind not in ("status", "slow", "late", "truncate") or not self._strikes(active):
                continue
            if fault.kind == "status":
                found.status, found.retry_after_s = fault.status, fault.retry_after_s
            elif fault.kind == "slow":
                found.delay_ms += fault.delay_ms
            elif fault.kind == "late":
                found.late_us = fault.delay_ms * 1000
            else:
                found.rows, found.leave_out = fault.rows, fault.leave_out
        return found

    def _strikes(self, active: Active) -> bool:
        if active.left == 0 or (active.fault.p < 1.0 and self._random.random() >= active.fault.p):
            return False
        if active.left is not None:
            active.left -= 1
        self.struck[active.fault.kind] = self.struck.get(active.fault.kind, 0) + 1
        return True


def _active(fault: Fault, now_s: float) -> Active:
    left, for_s = fault.count, fault.for_s
    if left is None and for_s is None:  # neither how many nor how long was said
        left, for_s = (1, 3600.0) if fault.kind in _ON_EVENTS else (None, 10.0)
    return Active(fault, now_s + (for_s if for_s is not None else 1e12), left)


def _concerns(fault: Fault, event: Event) -> bool:
    if fault.kind not in _ON_EVENTS or (fault.symbol is not None and fault.symbol != event.symbol):
        return False
    stream = fault.stream or (TRADE if fault.kind == "skip" else None)
    return stream is None or stream == event.kind


def garbage(event: Event, random: Random) -> Event:
    """Something to be rejected: bare bytes in place of a message, or a payload that lies."""
    symbol = event.symbol.encode()
    bare = (
        b"not json at all",
        b'{"stream":"' + event.stream.encode() + b'","data":{"e":"trade",',
        b"\x00\xff\xfe\x01",
        b"[" * 5000,
        b"",
        b'{"stream":"../../x@trade","data":{"e":"trade","E":1,"s":"../../x","t":1,"p":"1","q":"1","T":1,"m":true}}',
        b'{"stream":"nosuchusdt@trade","data":{"e":"trade","s":"NOSUCHUSDT"}}',
    )
    told = (
        b'{"e":"trade","E":1,"s":"%b","t":18446744073709551616,"p":"1.0","q":"1.0","T":1,"m":true,"M":true}' % symbol,
        b'{"e":"trade","E":1,"s":"%b","t":1,"p":"NaN","q":"1.0","T":1,"m":true,"M":true}' % symbol,
        b'{"e":"trade","E":1,"s":"%b","t":1,"p":"1.0","q":"-1.0","T":1,"m":true,"M":true}' % symbol,
        b'{"e":"nonsense","s":"%b"}' % symbol,
        b'{"u":-5,"s":"%b","b":"Infinity","B":"1","a":"0","A":"1"}' % symbol,
        b"null",
    )
    choice = random.randrange(len(bare) + len(told))
    is_bare = choice < len(bare)
    body = bare[choice] if is_bare else told[choice - len(bare)]
    return Event(event.at_us, event.stream, "garbage", event.symbol, -1, body, is_bare)
