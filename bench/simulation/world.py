"""A seed made into a history: processes take turns in any order, and faults come as they like."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from random import Random

from bench.simulation import closed, parts, verdict
from bench.simulation.bus import SimLane
from bench.simulation.clock import SimClock
from bench.simulation.disk import Medium, Node, SimDisk
from bench.simulation.errands import ErrandPart, compacts, validates
from bench.simulation.exchange import QUIET_NS, Exchange, Manners
from bench.simulation.ledger import Ledger
from bench.simulation.market import MS, Market
from bench.simulation.parts import Part, Rules, Settings, Wiring
from bench.simulation.recorder import Recorder
from procs.archiver import KEEP
from procs.ingest.config import JOURNAL_A_SYMBOL
from shared import paths
from shared.checkpoint import is_sound, peek
from shared.paths import DAY, MINUTE, SECOND, beside_checkpoint, checkpoint_base
from shared.runner import Loop
from shared.seals import newest

SETTLE_STEPS = 1200
"""Steps within which everything must be level once the faults have ended."""
SETTLE_NS = 150 * MS
QUIET_STEP_NS = 500 * MS
"""Where nothing happens any more but that somebody is asked now and then."""
FAULTS = ("kills", "power_cuts", "full", "errors", "stalls", "lane_cuts", "clock_steps", "sleeps", "silences")
PASSAGES = ("leaps", "compactions", "validations")
"""What happens where hours pass."""
ROTTEN = 0.12
"""Part of the histories in which checkpoints are damaged."""
TURNED = 0.1
"""Part of the histories in which lines of the archive are damaged."""
SHORT = 0.08
"""Part of the histories with short journals."""
ERRANDS = ("compactor", "validator")
LEAPS_NS = tuple(minutes * MINUTE for minutes in (3, 20, 58, 65, 190, 1500))


@dataclass
class Outcome:
    seed: int
    faults: list[str]
    counts: dict[str, int] = field(default_factory=dict)


class World:
    """One machine, one venue, four processes."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.seed = seed
        self.rules = rules
        self.chance = chance = Random(seed)
        self.rots = ["archive", "bars_1s", "parquet"] if Random(f"damage 13 {seed}").random() < ROTTEN else []
        """Stages of whose two slots one will turn out to be damaged."""
        self.turns = Random(f"lines 41 {seed}").choice((1, 2)) if Random(f"lines {seed}").random() < TURNED else 0
        """So many closed files of lines will turn out to be damaged."""
        self.is_short = Random(f"short journals 34 {seed}").random() < SHORT
        """Journals hold next to nothing, and stages are away for longer than that."""
        self.clock = SimClock()
        self.medium = Medium(chance)
        self.ledger = Ledger(self.medium)
        self.market = Market(chance, ["AAAUSDT", "BBBUSDT"][: chance.randint(1, 2)], chance.choice((4, 12, 30)))
        self.exchange = Exchange(self.market, self.clock, chance, _manners(chance))
        self.settings = Settings(
            rotate_every_s=chance.choice((1, 5, 60)),
            flush_every_s=chance.choice((1, 2, 5)),
            lateness_ms=chance.choice((0, 300, 2000)),
            segment_bytes=max(chance.choice((900, 3000, 20_000)), 3000 if self.is_short else 0),
            lane_room=chance.choice((1, 4, 50)),
            busy=Random(f"busy {seed}").choice((10**9, 1, 3)),
            journal_bytes=len(self.market.symbols) * _least(seed) if self.is_short else 2 << 30,
        )
        self.faults: list[str] = []
        self.counts = dict.fromkeys((*FAULTS, *PASSAGES, "absences", "pauses", "cut_loose", "rots"), 0)
        self._more = Random(f"sealing 34 {seed}")
        """For what only some histories have, so that the others stay what they were."""
        self.seals = self._more.random() < rules.sealing or self.is_short
        """Hours pass, and what they seal is folded."""
        self.seals_all = self.seals and (self._more.random() < 0.7 or self.is_short)
        """In the end all of it is sealed."""
        self._cut_with: Part | None = None
        self._cut_at: int | None = None
        self._full_until = 0
        self._lanes: dict[str, SimLane] = {}
        self._sealed_late = self._is_paused = False
        self._given: deque[int] = deque(maxlen=6)
        self.parts = self._wire(rules)
        self.compactor = self._errand("compactor", compacts(rules.compaction))
        self.validator = self._errand("validator", validates(self.clock))
        if self.seals:
            self.parts |= {"compactor": self.compactor, "validator": self.validator}

    def _errand(self, name: str, work: Callable[[SimDisk], None]) -> ErrandPart:
        return ErrandPart(name, self.medium, self.clock, work, self._lies(name))

    def _lies(self, name: str) -> frozenset[str]:
        return self.rules.lies.get(name, frozenset())

    # --- wiring ---

    def _lane(self, name: str) -> SimLane:
        return self._lanes.setdefault(name, SimLane(self.chance, self.settings.lane_room))

    def _wire(self, rules: Rules) -> dict[str, Part]:
        to_archive, to_bars, to_sink = (self._lane(name) for name in ("archive", "bars_1s", "parquet"))
        archive = Wiring("archive", "binance", "binance", to_archive)
        bars = Wiring("bars_1s", "binance", "binance", to_bars, "bars_1s.binance", ("parquet",), (to_sink,))
        parquet = Wiring("parquet", "bars_1s.binance", "bars_1s", to_sink)
        settings, clock = self.settings, self.clock
        starters: dict[str, Callable[[SimDisk], parts.Running]] = {
            "binance": lambda disk: self._recorder(disk, (to_archive, to_bars)),
            "archive": parts.stage_starter(archive, parts.archiver(rules, settings), rules, settings, clock),
            "bars_1s": parts.stage_starter(bars, parts.aggregator(rules, settings, clock), rules, settings, clock),
            "parquet": parts.stage_starter(parquet, parts.sink(rules, settings), rules, settings, clock),
        }
        found = {name: Part(name, self.medium, clock, start, self._lies(name)) for name, start in starters.items()}
        found["binance"].watch = self.ledger.written
        found["binance"].on_death = [to_archive.producer_died, to_bars.producer_died, self.exchange.leave]
        found["archive"].on_death = [to_archive.consumer_died]
        found["bars_1s"].on_death = [to_bars.consumer_died, to_sink.producer_died]
        found["parquet"].on_death = [to_sink.consumer_died]
        return found

    def _recorder(self, disk: SimDisk, lanes: tuple[SimLane, ...]) -> Recorder:
        return Recorder(
            disk, lanes, self.clock, self.exchange, self.chance, self.market.symbols, self.settings,
            self.rules.ingest, self.rules.source_writer,
        )  # fmt: skip

    # --- the history ---

    def play(self) -> Outcome:
        chance = self.chance
        rates = {name: chance.choice((0.0, 0.01, 0.04)) for name in FAULTS}
        passages = {"leaps": self._more.choice((0.0, 0.01, 0.02)), "compactions": 0.05, "validations": 0.05}
        for _ in range(chance.randint(60, 200) + 300 * self.is_short):
            self._step(chance.randrange(5, 120) * MS)
            for name, rate in rates.items():
                if chance.random() < rate:
                    self._happens(name)
            if self.rots and self._more.random() < 0.03:
                self._rots()
            if self.turns and self._more.random() < 0.05:
                self._turns()
            if self.is_short and self._more.random() < 0.03:
                self._happens("absences")
            for name, rate in passages.items() if self.seals else ():
                if self._more.random() < rate:
                    self._happens(name)
        self._calm()
        self._settle()
        return self._outcome()

    def _happens(self, what: str) -> None:
        self.counts[what] += 1
        getattr(self, f"_{what}")()

    def _step(self, ns: int) -> None:
        self.clock.advance(ns)
        self.exchange.happened(self.market.advance(self.clock.truth))
        if self.medium.room is not None and self.clock.mono() >= self._full_until:
            self.medium.room = None
        for part in self.chance.sample(list(self.parts.values()), len(self.parts)):
            self._note_turn(part)
            part.turn()
            self._note_counters(part)
            if self._cut_with is part and not part.is_alive:
                self._cut_with = None
                self._cut_at = self.clock.mono() + self.chance.choice((0, self.chance.randrange(2500) * MS))
            if self._cut_at is not None and self.clock.mono() >= self._cut_at:
                self.cut_power()

    def _note_turn(self, part: Part) -> None:
        if part.name == "binance" and part.is_alive and self.clock.mono() >= part.stalled_until:
            self.ledger.mono = self.clock.mono()
            self.ledger.turn += 1

    def _note_counters(self, part: Part) -> None:
        loop = part.running
        if isinstance(loop, Recorder):
            is_full = loop.core.paused == "journal full"
            self.counts["pauses"] += is_full and not self._is_paused
            self._is_paused = is_full
        if not isinstance(loop, Loop):
            return
        if self.is_short and part.name != "archive" and loop.inlet.counters["lost"]:
            self.counts["cut_loose"] += 1
            self._sealed_late = True  # its hours are made again
            loop.inlet.counters["lost"] = 0
        if loop.outlet is not None and loop.outlet.counters["replay_differs"]:
            self.faults.append(f"{part.name}: a replay differs from what stood before")
            loop.outlet.counters["replay_differs"] = 0
        for counter in ("lost", "damaged"):
            if loop.inlet.counters[counter]:
                self.faults.append(f"{part.name}: its inlet counts {loop.inlet.counters}")
                loop.inlet.counters[counter] = 0
        if loop.stage.counters.get("redone") and not self.counts["rots"]:
            self.faults.append(f"{part.name}: a file was not as its checkpoint says, and nothing damages files here")
            loop.stage.counters["redone"] = 0
        self._sealed_late = self._sealed_late or bool(loop.stage.counters.get("late_sealed"))

    def _any(self) -> Part:
        return self.chance.choice(list(self.parts.values()))

    # --- faults ---

    def _calls_of(self, part: Part) -> int:
        """To the disk until something befalls it; an errand is one long piece of work."""
        return self.chance.randrange(150 if part.name in ERRANDS else 25)

    def _kills(self) -> None:
        part = self._any()
        if self.chance.random() < 0.3 and part.is_alive:
            part.kill()
        else:
            part.disk.kill_in = self._calls_of(part)
        self.faults += verdict.at_this_moment(self.medium)

    def _power_cuts(self) -> None:
        part = self._any()
        if self.chance.random() < 0.3:
            self.cut_power()
        elif part.is_alive:
            part.disk.kill_in = self._calls_of(part)
            self._cut_with = part

    def cut_power(self) -> None:
        self._cut_with = self._cut_at = None
        before = self.ledger.standing()
        for part in self.parts.values():
            part.kill()
        for lane in self._lanes.values():
            lane.clear()
        self.medium.lose_power()
        self.faults += self.ledger.power_lost(before)
        self.faults += verdict.at_this_moment(self.medium)

    def _full(self) -> None:
        self.medium.room = self.chance.randrange(4000)
        self._full_until = self.clock.mono() + self.chance.randrange(2000) * MS

    def _errors(self) -> None:
        part = self._any()
        part.disk.error_in = self._calls_of(part)

    def _stalls(self) -> None:
        self._any().stalled_until = self.clock.mono() + self.chance.randrange(3000) * MS

    def _rots(self) -> None:
        """A bit turns in the checkpoint of a stage while it is not there; the other slot is sound."""
        name = self._more.choice(self.rots)
        base = checkpoint_base(name, "bars_1s.binance" if name == "parquet" else "binance")
        nodes = [self.medium.names.get(f"{base}.{slot}") for slot in (0, 1)]
        sound = [node for node in nodes if node is not None and not node.pending and is_sound(bytes(node.data))]
        if len(sound) == len(nodes):
            self.parts[name].kill()
            self._turn_bit(self._more.choice(sound))
            self.rots.remove(name)

    def _turns(self) -> None:
        """A bit turns in a closed file of the archive, beside which the journal must still hold what stands in it."""
        base = checkpoint_base("archive", "binance")
        disk = SimDisk(self.medium)
        seals, said = newest(disk, beside_checkpoint(base, "seals")), peek(disk, base)
        kept = [path for path, seal in seals.items() if seal.end + KEEP > said.get("ts", 0)]
        nodes = [self.medium.names.get(path) for path in kept]
        sound = [node for node in nodes if node is not None and not node.pending and node.data]
        if sound and not self.is_short:
            self.parts["archive"].kill()
            self._turn_bit(self._more.choice(sound))
            self.turns -= 1

    def _turn_bit(self, node: Node) -> None:
        node.data[self._more.randrange(len(node.data))] ^= 1 << self._more.randrange(8)
        node.durable = bytes(node.data)
        self.counts["rots"] += 1

    def _absences(self) -> None:
        part = self.parts[self._more.choice(("archive", "bars_1s", "parquet"))]
        part.stalled_until = self.clock.mono() + self._more.randrange(3, 30) * SECOND

    def _lane_cuts(self) -> None:
        for lane in self._lanes.values():
            lane.is_cut = self.chance.random() < 0.4

    def _clock_steps(self) -> None:
        self.clock.step(self.chance.choice((-3600, -1, 1, 3600, 86_400)) * SECOND)

    def _sleeps(self) -> None:
        self.clock.suspend(self.chance.randrange(100, 8000) * MS)
        self._woke()

    def _woke(self) -> None:
        part = self.parts["binance"]
        if isinstance(part.running, Recorder):
            part.guarded(part.running.sleep)

    def _silences(self) -> None:
        self.market.quiet = {symbol for symbol in self.market.symbols if self.chance.random() < 0.5}

    def _leaps(self) -> None:
        self.leap(self.chance.choice(LEAPS_NS), self.chance.choice((0, 3, 12)))

    def leap(self, ns: int, events: int) -> None:
        """A long time passes in which little happens: the machine sleeps, or nobody has a turn."""
        if self.chance.random() < 0.5:
            self.clock.advance(ns)
            self.exchange.happened(self.market.leap(self.clock.truth, events))
        else:
            self.clock.suspend(ns)
            self.market.leap(self.clock.truth, events)
            self._woke()

    def _compactions(self) -> None:
        self.compactor.is_wanted = True

    def _validations(self) -> None:
        self.validator.is_wanted = True

    # --- afterwards ---

    def _calm(self) -> None:
        self._cut_with = self._cut_at = None
        self.medium.room = None
        self.exchange.manners = Manners()
        for part in self.parts.values():
            part.disk.kill_in = part.disk.error_in = None
            part.stalled_until = 0
        for lane in self._lanes.values():
            lane.is_cut = lane.is_cut and self.chance.random() < 0.3

    def _settle(self) -> None:
        """Everything catches up and is drained in the order of the data; then the verdict."""
        seals_all = self.seals_all
        ends_quiet = self.chance.random() < 0.3
        closes = self.clock.mono() + 2 * SECOND
        until = self.clock.mono() + (QUIET_NS if ends_quiet else 4 * SECOND)
        if ends_quiet:  # nothing more ever happens: what was missed last is found by asking
            self.market.is_open = False
        quiet_from = self.clock.mono() + 6 * SECOND
        for _ in range(SETTLE_STEPS):
            self._step(QUIET_STEP_NS if ends_quiet and self.clock.mono() >= quiet_from else SETTLE_NS)
            if self.market.is_open and self.clock.mono() >= closes:
                self.exchange.happened(self.market.close(self.clock.truth))
            if self.clock.mono() >= until and self._is_level():
                if not seals_all:
                    break
                seals_all = False
                self.leap(DAY + 2 * paths.HOUR, 0)
                until = self.clock.mono() + 2 * SECOND
        self.faults += [fault for part in self.parts.values() for fault in part.faults]
        if self.faults:
            return
        if not self._is_level():
            dead = [part.name for part in self.parts.values() if not part.is_alive and part.name not in ERRANDS]
            self.faults.append(f"not level in time: {f'not alive: {dead}' if dead else 'ingest still waits'}")
            return
        recorder = self.parts["binance"].running
        assert isinstance(recorder, Recorder)
        recorder.finish()
        for name in ("archive", "bars_1s", "parquet"):
            loop = self.parts[name].running
            assert isinstance(loop, Loop)
            loop.drain()
            self._note_counters(self.parts[name])
        if self.seals:
            self.faults += closed.tend(self.medium, self.compactor, self.validator)
        self.faults += self._verdict()

    def _is_level(self) -> bool:
        """All live, nothing is waited for, and consumers are no more than a moment behind."""
        recorder = self.parts["binance"].running
        if not isinstance(recorder, Recorder) or not recorder.is_level:
            return False
        self._given.append(self.ledger.entries[-1].batch.last if self.ledger.entries else 0)
        loops = [self.parts[name].running for name in ("archive", "bars_1s", "parquet")]
        if not all(isinstance(loop, Loop) for loop in loops):
            return False
        return all(loop.inlet.position >= self._given[0] for loop in loops[:2] if isinstance(loop, Loop))

    def _verdict(self) -> list[str]:
        received = self.ledger.received()
        faults = verdict.at_this_moment(self.medium) + verdict.tidy(self.medium) + verdict.sequence(received)
        faults += verdict.ids_once(received) + verdict.ids_known(received, self.market)
        faults += verdict.archive(self.medium, received, self.settings.rotate_every_s)
        if self.seals:
            faults += closed.sealed(self.medium) + closed.days(self.medium, received)
        if self.seals or not self._sealed_late:
            made = closed.bars(self.medium) if self.seals else None
            was_cut = self.counts["cut_loose"] > 0
            faults += verdict.bars(self.medium, received, self.settings.lateness_ms * MS, made, was_cut)
        return faults

    def _outcome(self) -> Outcome:
        received = self.ledger.received()
        counts = self.counts | {
            "events": sum(len(batch.events) for batch in received),
            "lives": sum(part.lives for part in self.parts.values()),
            "lost_to_power": sum(entry.is_lost for entry in self.ledger.entries),
            "unhealable": verdict.unhealable_count(received),
        }
        return Outcome(self.seed, self.faults, counts)


def _least(seed: int) -> int:
    """Bytes of a short journal for a symbol: hardly more than anybody may write into a pipeline file."""
    return Random(seed).choice((JOURNAL_A_SYMBOL, JOURNAL_A_SYMBOL + 4096))


def _manners(chance: Random) -> Manners:
    """Each kind of bad behaviour is absent, rare or frequent in a history."""
    often = {
        "hang_up": (0, 0.002, 0.02),
        "shutdown": (0, 0.001, 0.01),
        "garbage": (0, 0.005, 0.05),
        "hide": (0, 0, 0.03),
    }
    return Manners(**{f.name: chance.choice(often.get(f.name, (0, 0.02, 0.2))) for f in fields(Manners)})


def play(seed: int, rules: Rules | None = None) -> Outcome:
    """One history. The same seed gives the same history, always."""
    return World(seed, rules or Rules()).play()
