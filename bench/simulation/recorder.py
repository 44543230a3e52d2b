"""The product's ingest with simulated sockets: what `procs.ingest.shell` does with real ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from bench.simulation.clock import SimClock
from bench.simulation.disk import SimDisk
from bench.simulation.exchange import Exchange
from bench.simulation.parts import Settings
from procs.ingest.actions import Action, Close, Connect, Get, Send
from procs.ingest.config import Config
from procs.ingest.core import Ingest
from procs.ingest.reads import Read
from shared.journal import Writer
from shared.paths import checkpoint_base, journal_dir
from shared.venues.binance import Venue
from shared.wire import Lane


class Recorder:
    """One life of ingest."""

    def __init__(
        self,
        disk: SimDisk,
        lanes: Sequence[Lane],
        clock: SimClock,
        exchange: Exchange,
        chance: Random,
        symbols: list[str],
        settings: Settings,
        ingest: type[Ingest] = Ingest,
        writer: type[Writer] = Writer,
    ) -> None:
        self._clock = clock
        self._exchange = exchange
        exchange.leave()
        config = Config(venue="binance", symbols=symbols, ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1")
        if settings.journal_bytes < config.journal_max_bytes:  # far less than anybody may write into a pipeline file
            msgspec.structs.force_setattr(config, "journal_max_bytes", settings.journal_bytes)
        core: list[Ingest] = []
        bases = [checkpoint_base(consumer, "binance") for consumer in ("archive", "bars_1s")]
        folder = journal_dir("binance", "binance")
        journal = writer(
            disk, folder, lambda: core[0].state(), bases, keepers=bases[:1], segment_bytes=settings.segment_bytes,
            max_bytes=settings.journal_bytes,
        )  # fmt: skip
        venue = Venue(symbols, config.kinds)
        core.append(ingest(config, venue, journal, disk, lanes, None, "binance", chance.random))
        self.core = core[0]
        self.core.intake.busy = settings.busy
        self.core.open(clock.wall(), clock.mono())

    def turn(self) -> None:
        wall, mono, core = self._clock.wall(), self._clock.mono(), self.core
        for link, connection in list(self._exchange.connections.items()):
            if not connection.is_open:
                if mono < connection.opens_at:
                    continue
                if self._exchange.refuses():
                    del self._exchange.connections[link]
                    core.refused(link, "refused", None, mono)
                    continue
                connection.is_open = True
                core.opened(link, wall, mono)
            frames = self._exchange.arrived(connection)
            if frames:
                core.reads([Read(link, frames, wall, mono)])
                core.flush(mono)
            if self._exchange.hangs_up():
                del self._exchange.connections[link]
                core.closed(link, 1006, "", wall, mono)
        for number, answer in self._exchange.answers():
            core.answered(number, answer, wall, mono)
        self._obey(core.turn(wall, mono))

    def _obey(self, actions: Sequence[Action]) -> None:
        wall, mono = self._clock.wall(), self._clock.mono()
        for action in actions:
            if isinstance(action, Connect):
                self._exchange.connect(action.link, action.url)
            elif isinstance(action, Send):
                self._exchange.heard(action.link, action.text)
            elif isinstance(action, Get):
                self._exchange.ask(action.number, action.request)
            elif isinstance(action, Close):
                connection = self._exchange.connections.pop(action.link, None)
                if connection is not None and connection.is_open:
                    self.core.closed(action.link, 1000, "", wall, mono)
                else:
                    self.core.refused(action.link, "given up", None, mono)

    def sleep(self) -> None:
        """The machine slept: the other end has hung up meanwhile."""
        wall, mono = self._clock.wall(), self._clock.mono()
        for link, connection in list(self._exchange.connections.items()):
            del self._exchange.connections[link]
            if connection.is_open:
                self.core.closed(link, 1006, "", wall, mono)
            else:
                self.core.refused(link, "reset", None, mono)

    @property
    def is_level(self) -> bool:
        return self.core.links.is_connected and not self.core.healer.is_busy

    def finish(self) -> None:
        self.core.drain()
        self.core.finish(self._clock.wall(), self._clock.mono())

    def close(self) -> None:
        return
