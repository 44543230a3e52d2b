"""A seed made into a history: processes take turns in any order, and faults come as they like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from bench.simulation import parts, verdict
from bench.simulation.bus import SimLane
from bench.simulation.clock import SimClock
from bench.simulation.disk import Medium, SimDisk
from bench.simulation.ledger import Ledger
from bench.simulation.market import MS, Market
from bench.simulation.parts import Part, Rules, Settings, Wiring
from bench.simulation.source import Source
from shared.paths import SECOND, checkpoint_base, journal_dir
from shared.runner import Loop

QUIET_STEPS = 400
"""Steps within which everything must be level once the faults have ended."""


@dataclass
class Outcome:
    seed: int
    faults: list[str]
    counts: dict[str, int] = field(default_factory=dict)


class World:
    """One machine, one venue, four processes."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.seed = seed
        self.chance = chance = Random(seed)
        self.clock = SimClock()
        self.medium = Medium(chance)
        self.ledger = Ledger(self.medium)
        self.market = Market(chance, ["AAAUSDT", "BBBUSDT"][: chance.randint(1, 2)], chance.choice((4, 12, 30)))
        self.settings = Settings(
            rotate_every_s=chance.choice((1, 5, 60)),
            flush_every_s=chance.choice((1, 2, 5)),
            lateness_ms=chance.choice((0, 300, 2000)),
            segment_bytes=chance.choice((900, 3000, 20_000)),
            lane_room=chance.choice((1, 4, 50)),
        )
        self.faults: list[str] = []
        self.counts = dict.fromkeys(("kills", "power_cuts", "full", "errors", "stalls", "lane_cuts", "clock_steps"), 0)
        self._cut_with: Part | None = None
        self._full_until = 0
        self._lanes: dict[str, SimLane] = {}
        self.replay_differs = 0
        self.parts = self._wire(rules)

    # --- wiring ---

    def _lane(self, name: str, room: int) -> SimLane:
        return self._lanes.setdefault(name, SimLane(self.chance, room))

    def _wire(self, rules: Rules) -> dict[str, Part]:
        room = self.settings.lane_room
        to_archive, to_bars, to_sink = (self._lane(name, room) for name in ("archive", "bars_1s", "parquet"))
        archive = Wiring("archive", "binance", "binance", to_archive)
        bars = Wiring("bars_1s", "binance", "binance", to_bars, "bars_1s.binance", ("parquet",), (to_sink,))
        parquet = Wiring("parquet", "bars_1s.binance", "bars_1s", to_sink)
        starters: dict[str, Callable[[SimDisk], parts.Running]] = {
            "binance": lambda disk: self._source(disk, rules, (to_archive, to_bars)),
            "archive": parts.stage_starter(
                archive, parts.archiver(rules, self.settings), rules, self.settings, self.clock
            ),
            "bars_1s": parts.stage_starter(
                bars, parts.aggregator(rules, self.settings), rules, self.settings, self.clock
            ),
            "parquet": parts.stage_starter(parquet, parts.sink(rules, self.settings), rules, self.settings, self.clock),
        }
        found = {}
        for name, start in starters.items():
            part = Part(name, self.medium, self.clock, start, rules.lies.get(name, frozenset()))
            found[name] = part
        found["binance"].watch = self.ledger.written
        found["binance"].on_death = [to_archive.producer_died, to_bars.producer_died]
        found["archive"].on_death = [to_archive.consumer_died]
        found["bars_1s"].on_death = [to_bars.consumer_died, to_sink.producer_died]
        found["parquet"].on_death = [to_sink.consumer_died]
        return found

    def _source(self, disk: SimDisk, rules: Rules, lanes: tuple[SimLane, ...]) -> Source:
        bases = [checkpoint_base(consumer, "binance") for consumer in ("archive", "bars_1s")]
        source: list[Source] = []
        writer = rules.writer(
            disk, journal_dir("binance", "binance"), lambda: source[0].state(), bases,
            segment_bytes=self.settings.segment_bytes,
        )  # fmt: skip
        source.append(Source(writer, lanes, self.clock, self.market, self.chance))
        source[0].open()
        return source[0]

    # --- the history ---

    def play(self) -> Outcome:
        chance = self.chance
        steps = chance.randint(60, 200)
        rates = {name: chance.choice((0.0, 0.01, 0.04)) for name in self.counts}
        for _ in range(steps):
            self._step(chance.randrange(5, 120) * MS)
            for name, rate in rates.items():
                if chance.random() < rate:
                    getattr(self, f"_{name}")()
        self._calm()
        self._settle()
        return self._outcome()

    def _step(self, ns: int) -> None:
        self.clock.advance(ns)
        self.market.advance(self.clock.truth)
        if self.medium.room is not None and self.clock.mono() >= self._full_until:
            self.medium.room = None
        for part in self.chance.sample(list(self.parts.values()), len(self.parts)):
            self._note_turn(part)
            part.turn()
            self._note_differences(part)
            if self._cut_with is part and not part.is_alive:
                self.cut_power()

    def _note_turn(self, part: Part) -> None:
        if part.name == "binance" and part.is_alive and self.clock.mono() >= part.stalled_until:
            self.ledger.mono = self.clock.mono()
            self.ledger.turn += 1

    def _note_differences(self, part: Part) -> None:
        running = part.running
        if isinstance(running, Loop):
            if running.outlet is not None and running.outlet.counters["replay_differs"]:
                self.faults.append(f"{part.name}: a replay differs from what stood before")
                running.outlet.counters["replay_differs"] = 0
            if running.inlet.counters["lost"] or running.inlet.counters["damaged"]:
                self.faults.append(f"{part.name}: its inlet counts {running.inlet.counters}")
                running.inlet.counters["lost"] = running.inlet.counters["damaged"] = 0

    def _any(self) -> Part:
        return self.chance.choice(list(self.parts.values()))

    # --- faults ---

    def _kills(self) -> None:
        part = self._any()
        self.counts["kills"] += 1
        if self.chance.random() < 0.3 and part.is_alive:
            part.kill()
        else:
            part.disk.kill_in = self.chance.randrange(25)
        self.faults += verdict.at_this_moment(self.medium)

    def _power_cuts(self) -> None:
        self.counts["power_cuts"] += 1
        part = self._any()
        if self.chance.random() < 0.3:
            self.cut_power()
        elif part.is_alive:
            part.disk.kill_in = self.chance.randrange(25)
            self._cut_with = part

    def cut_power(self) -> None:
        self._cut_with = None
        before = self.ledger.standing()
        for part in self.parts.values():
            part.kill()
        for lane in self._lanes.values():
            lane.clear()
        self.medium.lose_power()
        self.faults += self.ledger.power_lost(before)
        self.faults += verdict.at_this_moment(self.medium)

    def _full(self) -> None:
        self.counts["full"] += 1
        self.medium.room = self.chance.randrange(4000)
        self._full_until = self.clock.mono() + self.chance.randrange(2000) * MS

    def _errors(self) -> None:
        self.counts["errors"] += 1
        self._any().disk.error_in = self.chance.randrange(25)

    def _stalls(self) -> None:
        self.counts["stalls"] += 1
        self._any().stalled_until = self.clock.mono() + self.chance.randrange(3000) * MS

    def _lane_cuts(self) -> None:
        self.counts["lane_cuts"] += 1
        for lane in self._lanes.values():
            lane.is_cut = self.chance.random() < 0.4

    def _clock_steps(self) -> None:
        self.counts["clock_steps"] += 1
        self.clock.step(self.chance.choice((-3600, -1, 1, 86_400)) * SECOND)

    # --- afterwards ---

    def _calm(self) -> None:
        self._cut_with = None
        self.medium.room = None
        for part in self.parts.values():
            part.disk.kill_in = part.disk.error_in = None
            part.stalled_until = 0
        for lane in self._lanes.values():
            lane.is_cut = False

    def _settle(self) -> None:
        """Everything catches up and is drained in the order of the data; then the verdict."""
        for _ in range(QUIET_STEPS):
            self._step(100 * MS)
            if all(part.is_alive for part in self.parts.values()):
                break
        self.market.is_open = False
        for _ in range(45):
            self._step(100 * MS)
        self.faults += [fault for part in self.parts.values() for fault in part.faults]
        if self.faults:
            return
        source = self.parts["binance"].running
        assert isinstance(source, Source)
        source.turn(last=True)
        for _ in range(3):
            self.clock.advance(SECOND)
            source.turn()
        for name in ("archive", "bars_1s", "parquet"):
            loop = self.parts[name].running
            assert isinstance(loop, Loop), f"{name} did not come back"
            loop.drain()
            self._note_differences(self.parts[name])
        self.faults += self._verdict()

    def _verdict(self) -> list[str]:
        received = self.ledger.received()
        faults = verdict.at_this_moment(self.medium) + verdict.tidy(self.medium) + verdict.sequence(received)
        faults += verdict.ids_once(received) + verdict.archive(self.medium, received, self.settings.rotate_every_s)
        faults += verdict.bars(self.medium, received, self.settings.lateness_ms * MS)
        held = {(e.symbol, e.trade_id) for b in received for e in b.events if type(e).__name__ == "Trade"}  # type: ignore[union-attr]
        for symbol, deals in self.market.deals.items():
            faults += [
                f"trade {symbol} {d.trade_id} was never received" for d in deals if (symbol, d.trade_id) not in held
            ]
        return faults

    def _outcome(self) -> Outcome:
        received = self.ledger.received()
        counts = self.counts | {
            "events": sum(len(batch.events) for batch in received),
            "lives": sum(part.lives for part in self.parts.values()),
            "lost_to_power": sum(entry.is_lost for entry in self.ledger.entries),
        }
        return Outcome(self.seed, self.faults, counts)


def play(seed: int, rules: Rules | None = None) -> Outcome:
    """One history. The same seed gives the same history, always."""
    return World(seed, rules or Rules()).play()
