"""What the venue says of the recorded symbols: that it has them, whether they trade, and in which steps.

It is asked at the start, once an hour, when a day begins and when a symbol has gone quiet. What it says is kept as JSON
for the batch that makes `instruments/` of it::

    journal/<stage>/instruments.json
    {"version": 1, "venue": "binance", "days": {"2025-10-20": {"ts": 1760918400123456000, "symbols":
      {"SOLUSDT": {"symbol": "SOLUSDT", "status": "TRADING", "base": "SOL", "quote": "USDT", "kind": "spot", …}}}}}

`ts` is the venue's time in nanoseconds, the symbols' keys are the fields of `venues.Instrument`; of each day the last
word stands, of the newest eight days. The file is replaced whole.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from loguru import logger

from procs.ingest import keepsake
from procs.ingest.config import Config
from shared import paths
from shared.files import Disk
from shared.rest import Answer, Refused, RestError
from shared.topology import nearest
from shared.venues import Adapter, Instrument, Reject

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

SECOND: Final = 1_000_000_000
WAIT_NS: Final = 5 * SECOND
"""The venue is given this long to say which symbols it has before anything is connected."""
AGAIN_NS: Final = 3600 * SECOND
DOUBT_NS: Final = 300 * SECOND
"""At most so often because a symbol has gone quiet: perhaps it is halted."""
DAYS: Final = 8
VERSION: Final = 1
TRADING: Final = ("", "TRADING")
GONE: Final = "GONE"
"""Our word for a symbol that the venue lists no more."""


class Listing:
    """The symbols of one source."""

    def __init__(self, ingest: Ingest, config: Config, venue: Adapter, disk: Disk, folder: str) -> None:
        self._ingest = ingest
        self._config = config
        self._venue = venue
        self._disk = disk
        self._path = f"{folder}/instruments.json"
        self._days: dict[str, Any] = {}
        self._status: dict[str, str] = {}
        self._said: list[Instrument] | None = None  # until the venue's time is known
        self._begun = self._asked = 0
        self._asking = self._warned = False
        self._doubt = False
        self.is_checked = False
        """The venue was asked, or will not say."""
        self.unknown: list[str] = []
        """Symbols the venue does not have, with suggestions: found before anything was connected, they end the
        process.
        """
        self.weight_per_min = venue.limits.weight_per_min

    def begin(self, mono: int) -> None:
        """Reads what was said in lives before."""
        self._begun = mono
        data = keepsake.read(self._disk, self._path)
        if data is None:
            return
        try:
            found = msgspec.json.decode(data)
            if found["version"] == VERSION and found["venue"] == self._venue.name:
                self._days = dict(found["days"])
                for date in sorted(self._days):
                    self._status |= {name: said["status"] for name, said in self._days[date]["symbols"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            logger.warning(f"{self._path} cannot be read and is written anew: {error!r}")
            self._days, self._status = {}, {}

    @property
    def may_connect(self) -> bool:
        return not self.unknown and (self.is_checked or self._ingest.mono - self._begun > WAIT_NS)

    def doubt(self) -> None:
        """A symbol has gone quiet at the venue itself."""
        self._doubt = True

    # --- asking ---

    def turn(self, is_free: bool) -> None:
        """Asks where it is due; writes what was said."""
        mono = self._ingest.mono
        if self._said is not None and self._ingest.knows_time:
            said, self._said = self._said, None
            self._take(said)
        if not self.is_checked and not self._warned and mono - self._begun > WAIT_NS:
            self._warned = True
            logger.warning("the venue could not be asked which symbols it has: checked as soon as it answers")
        if is_free and not self._asking and self._is_due(mono):
            self._ask(self._config.symbols)

    def _is_due(self, mono: int) -> bool:
        if not self.is_checked:
            return True
        if self._config.replay or self._said is not None:
            return False
        since = mono - self._asked
        if since >= AGAIN_NS or (self._doubt and since >= DOUBT_NS):
            return True
        return since >= DOUBT_NS and bool(self._days) and self._today() > max(self._days)

    def _today(self) -> str:
        return paths.date_of(self._ingest.now())

    def _ask(self, symbols: list[str]) -> None:
        self._asking, self._doubt = True, False
        self._asked = self._ingest.mono
        request = self._venue.ask_instruments(symbols)
        self._ingest.healer.asker.ask(request, self._answer, partial(self._no_answer, len(symbols) > 0))

    def _no_answer(self, named: bool, error: RestError) -> None:
        self._asking = False
        if not isinstance(error, Refused):
            self._asked = min(self._asked, self._ingest.mono - AGAIN_NS + DOUBT_NS)
        elif named:
            self._ask([])  # one of the names is unknown: the whole list tells which
        elif not self.is_checked:
            self.is_checked = True
            logger.warning(f"the venue does not say which symbols it has ({error}): they are not checked")

    def _answer(self, answer: Answer) -> None:
        self._asking = False
        try:
            found, weight = self._venue.parse_instruments(answer.body)
        except Reject as why:
            self.is_checked = True
            logger.warning(f"the venue's list of symbols: {why}")
            return
        self.weight_per_min = weight or self.weight_per_min
        known = {instrument.symbol: instrument for instrument in found}
        missing = [symbol for symbol in self._config.symbols if symbol not in known]
        if missing and set(known) <= set(self._config.symbols):
            self._ask([])  # what came is what was named: suggestions need all of them
            return
        self.is_checked = True
        gone = [symbol for symbol in missing if symbol in self._status]
        self._said = [known[symbol] for symbol in self._config.symbols if symbol in known]
        self._said += [Instrument(symbol, GONE) for symbol in gone]
        self._judge([symbol for symbol in missing if symbol not in gone], gone, known)

    def _judge(self, missing: list[str], gone: list[str], known: dict[str, Instrument]) -> None:
        """A name that never was is a mistake; one that was, and is no more, has been delisted."""
        texts = [f"{self._venue.name} has no {symbol}{nearest(symbol, known)}" for symbol in missing]
        new = [symbol for symbol in gone if self._status[symbol] != GONE]
        if missing and not self._ingest.links.running:
            self.unknown = texts
            return
        if texts:
            logger.error("; ".join(texts) + "; dropped")
        if new:
            logger.error(f"{self._venue.name} lists no more: {', '.join(new)}")
        self._ingest.links.forget([*missing, *gone])

    # --- what was said ---

    def _take(self, said: list[Instrument]) -> None:
        changed = [one for one in said if self._status.get(one.symbol, "TRADING") != (one.status or "TRADING")]
        for one in changed:
            was = self._status.get(one.symbol, "")
            self._ingest.feed("symbol_status", [one.symbol], {"status": one.status, "was": was})
        halted = [f"{one.symbol} ({one.status})" for one in changed if one.status not in TRADING]
        back = [one.symbol for one in changed if one.status in TRADING]
        if halted:
            logger.warning(f"not trading at the moment: {', '.join(halted)}")
        if back:
            logger.info(f"trading again: {', '.join(back)}")
        self._status |= {one.symbol: one.status for one in said}
        words = {one.symbol: msgspec.to_builtins(one) for one in said}
        self._days[self._today()] = {"ts": self._ingest.now(), "symbols": words}
        for date in sorted(self._days)[:-DAYS]:
            del self._days[date]
        data = msgspec.json.encode({"version": VERSION, "venue": self._venue.name, "days": self._days})
        keepsake.write(self._disk, self._path, data)
