"""P1 to P4: rounds in which ours and the others run one after the other, and the ratios of each round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.speed import peers
from bench.speed.figures import Goal, Spread, version_in
from bench.speed.market import Market
from bench.speed.peers import PEERS, Unavailable
from bench.speed.server import Server
from bench.speed.yardstick import Load, Run, ours

Say = Callable[[str], None]
OURS: Final = "ours"
CLIENTS: Final = (
    ("cryptofeed", "full"),
    ("unicorn", "receive"),
    ("unicorn", "full"),
    ("python-binance", "full"),
    ("seed-like", "full"),
)
"""Who runs beside us, and what: everything, or only receiving."""
TLS_CLIENTS: Final = (("cryptofeed", "full"), ("unicorn", "receive"))


@dataclass(frozen=True)
class Sample:
    """Events a second, and CPU seconds an event, start and stop subtracted."""

    rate: float
    cpu: float


@dataclass
class Rounds:
    """All samples by client, round by round."""

    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    """None for a round in which it did not run."""
    skipped: dict[str, str] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    wrong: int = 0

    def ratio(self, other: str, what: str) -> Spread | None:
        """Ours over the other's, of events a second (`rate`) or events per CPU second (`cpu`)."""
        both = zip(self.samples.get(OURS, []), self.samples.get(other, []), strict=False)
        pairs = [(mine, its) for mine, its in both if mine is not None and its is not None]
        if not pairs:
            return None
        if what == "rate":
            return Spread.of([mine.rate / its.rate for mine, its in pairs])
        return Spread.of([its.cpu / mine.cpu for mine, its in pairs])


class Comparison:
    """`events` for ours, `peer_events` for each of the others, from one server."""

    def __init__(self, server: Server, market: Market, folder: Path, venvs: Path, say: Say) -> None:
        self._server, self._market, self._folder, self._say = server, market, folder, say
        self._venvs = venvs
        self._empty: dict[tuple[str, str, bool], Run] = {}
        self._pythons: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.unavailable: dict[str, str] = {}
        self._count = 0

    def prepare(self, names: set[str]) -> None:
        """The environments of the peers; who cannot be had is said."""
        for name in sorted(names):
            try:
                self._pythons[name] = peers.environment(PEERS[name], self._venvs)
                package = PEERS[name].packages[0].partition("==")[0]
                self.versions[name] = f"{package} {version_in(self._pythons[name], package)}"
                self._say(f"  {name}: {self.versions[name]}")
            except Unavailable as why:
                self.unavailable[name] = str(why)
                self._say(f"  {name} is left out: {why}")

    def python(self, name: str) -> str | None:
        return self._pythons.get(name)

    def run(self, rounds: int, events: int, peer_events: int, is_tls: bool) -> Rounds:
        """Raises TimeoutError where ours does not come to an end."""
        found = Rounds()
        for number in range(rounds):
            self._say(f"round {number + 1} of {rounds}{' over TLS' if is_tls else ''}")
            self._ours(found, Load(events, is_tls=is_tls))
            for name, work in TLS_CLIENTS if is_tls else CLIENTS:
                if name in self._pythons:
                    self._peer(found, name, work, Load(peer_events, is_tls=is_tls))
        return found

    def _place(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count:03d}-{name}"

    def _ours(self, found: Rounds, load: Load) -> None:
        empty = ours(self._server, self._place("empty"), self._market, Load(0, is_tls=load.is_tls), check=False)
        run = ours(self._server, self._place(OURS), self._market, load)
        self._note(found, OURS, run, empty)
        found.wrong += bool(run.verdict and run.verdict.wrong)

    def _peer(self, found: Rounds, name: str, work: str, load: Load) -> None:
        label = name if work == "full" else f"{name} ({work} only)"
        python, peer = self._pythons[name], PEERS[name]
        try:
            key = name, work, load.is_tls
            if key not in self._empty:
                nothing = Load(0, is_tls=load.is_tls)
                self._empty[key] = peers.run(
                    peer, python, self._server, self._place(name), self._market, nothing, work
                )[0]
            run, _ = peers.run(peer, python, self._server, self._place(name), self._market, load, work)
        except Unavailable as why:
            found.skipped[label] = str(why)
            found.samples.setdefault(label, []).append(None)
            self._say(f"  {label}: {why}")
            return
        self._note(found, label, run, self._empty[key])

    def _note(self, found: Rounds, label: str, run: Run, empty: Run) -> None:
        sample = Sample(run.events / run.wall, (run.cpu - empty.cpu) / run.events)
        found.samples.setdefault(label, []).append(sample)
        self._say(f"  {label:24} {sample.rate:12,.0f} events/s {sample.cpu * 1e6:8.2f} us CPU an event")
        if run.verdict is not None:
            text = f"{label}: {run.verdict}"
            found.checked.append(text)
            if run.verdict.wrong or label == OURS:
                self._say(f"    {run.verdict}")


def goals(plain: Rounds, tls: Rounds | None) -> list[Goal]:
    """P1 to P4."""
    found = [
        _both("P1", plain, "cryptofeed", 12, 8, "file + 1 s bars + Parquet", least=(8, 4)),
        _both("P2", tls, "cryptofeed", 8, 6, "the same over wss, one record a frame"),
    ]
    receive = plain.ratio("unicorn (receive only)", "cpu")
    wanted = "the whole pipeline costs at most half of what unicorn on picows spends on receiving"
    if receive is None:
        found.append(Goal("P3", wanted, "no unicorn"))
    else:
        found.append(Goal("P3", wanted, f"1/{receive.text(unit='')} of its CPU an event", receive.middle >= 2))
    seed = plain.ratio("seed-like", "cpu")
    wanted = "at least 20x the events per CPU second of the seed's way, collector and transformer"
    if seed is None:
        found.append(Goal("P4", wanted, "no seed-like collector"))
    else:
        found.append(Goal("P4", wanted, f"{seed.text()} events per CPU second", seed.middle >= 20))
    return found


def _both(
    name: str, rounds: Rounds | None, other: str, rate: int, cpu: int, what: str, least: tuple[int, int] = (0, 0)
) -> Goal:
    wanted = f"at least {rate}x the events/s of {other} ({what}) and {cpu}x its events per CPU second"
    if any(least):
        wanted += f"; never less than {least[0]}x and {least[1]}x"
    of_rate = rounds.ratio(other, "rate") if rounds else None
    of_cpu = rounds.ratio(other, "cpu") if rounds else None
    if of_rate is None or of_cpu is None:
        return Goal(name, wanted, f"no {other}")
    reached = of_rate.middle >= rate and of_cpu.middle >= cpu
    reached = reached and min(of_rate.values) >= least[0] and min(of_cpu.values) >= least[1]
    return Goal(name, wanted, f"{of_rate.text()} events/s, {of_cpu.text()} events per CPU second", reached)
