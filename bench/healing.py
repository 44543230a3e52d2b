"""Ids withheld, a cut link, a half-open one, an announced shutdown and REST that wants to be left alone, under load:
what is found out when, and whether all is there in the end. `python -m bench healing standin` or `emulator`.

    withheld   38 ids, then 1,500, then one in five hundred of all trades
    shutdown   announced, and carried out soon after
    cut        websocket and REST for 90 s; REST answers 429 as soon as it is back
    stalled    connections that are open and bring nothing; noticed when the venue sees another one
    banned     REST answers 418 while ids are missing

Two minutes after the cut every id must be held. Nobody may ask before Retry-After is over, nor spend more than half of
the venue's weight a minute. In the end the judge of each venue: every id once, every bar exact.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

from bench.chaos.ledger import Verdict
from bench.chaos.mesh import wait_for
from bench.chaos.run import Run, report, say
from bench.chaos.witness import Witness
from bench.judge.report import Report
from bench.standin.bench import Bench

HEALED_S = 120.0
NOTICED_S = 15.0
PAUSE_S = 8
IN_FLIGHT = 3
"""Requests that may be on their way when a pause is asked for."""


class Venue(Protocol):
    """What a scene needs of either."""

    lake: Path

    def begin(self) -> None: ...

    def withhold(self, symbol: int, count: int) -> None: ...

    def withhold_some(self, share: float, seconds: float) -> None: ...

    def shut_down(self) -> None: ...

    def cut(self, seconds: float) -> None: ...

    def stall(self) -> None: ...

    def limit(self, status: int, seconds: int) -> None: ...

    def connections(self) -> int: ...

    def newest(self) -> dict[str, int]: ...

    def verdict(self) -> tuple[dict[str, Any], list[str]]: ...


class Standin:
    """The independent one, with the independent judge."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.bench = Bench(Path(mkdtemp(prefix="healing-")), 20, options.rate, options.seed)
        self.lake = self.bench.lake

    def begin(self) -> None:
        self.bench.start()
        self.bench.wait_flowing()

    def withhold(self, symbol: int, count: int) -> None:
        self.bench.fault("withhold", symbol=self.bench.symbols[symbol], count=count)

    def withhold_some(self, share: float, seconds: float) -> None:
        self.bench.fault("withhold", rate=share)
        time.sleep(seconds)
        self.bench.fault("withhold", rate=0)

    def shut_down(self) -> None:
        self.bench.fault("shutdown", grace=3)

    def cut(self, seconds: float) -> None:
        self.bench.fault("cut", seconds=seconds)

    def stall(self) -> None:
        self.bench.fault("stall", seconds=60)

    def limit(self, status: int, seconds: int) -> None:
        self.bench.fault("rest_limit", status=status, seconds=seconds)

    def connections(self) -> int:
        return int(self.bench.state()["connections_ever"])

    def newest(self) -> dict[str, int]:
        return dict(self.bench.state()["last_ids"])

    def verdict(self) -> tuple[dict[str, Any], list[str]]:
        self.bench.fault("pause")
        settled = self.bench.settle(HEALED_S)
        code = self.bench.stop()
        found: Report = self.bench.verdict()[0]
        if code:
            found.fault("exit of the supervisor", code)
        weight = found.figures["rest_most_weight"]
        if weight > 3000:
            found.fault("more than half of the weight in a minute", weight)
        figures = {"settled_after_s": settled, "most_weight": weight, "issued": found.figures["issued"]}
        return figures, [] if not found.wrong else str(found).splitlines()


class Emulated:
    """The project's own, which is a demo venue first."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.run = Run(options)
        self.lake = self.run.mesh.lake
        self._limits = 0
        self._ever = 0
        self._peers = 0

    def begin(self) -> None:
        self.run.begin()

    def _fault(self, kind: str, **more: Any) -> None:
        self.run.mesh.venue("faults", {"kind": kind, **more})

    def withhold(self, symbol: int, count: int) -> None:
        self._fault("skip", symbol=sorted(self.newest())[symbol], count=count)

    def withhold_some(self, share: float, seconds: float) -> None:
        self._fault("skip", p=share, for_s=seconds)
        time.sleep(seconds)

    def shut_down(self) -> None:
        self._fault("shutdown", delay_ms=3000)

    def cut(self, seconds: float) -> None:
        self._fault("refuse", for_s=seconds)
        self._fault("status", status=503, for_s=seconds)
        self._fault("drop")

    def stall(self) -> None:
        self._fault("stall")

    def limit(self, status: int, seconds: int) -> None:
        """Whoever asks again meanwhile strikes once more."""
        self._limits += 1
        before = self._struck()
        self._fault("status", status=status, retry_after_s=seconds, for_s=seconds)
        time.sleep(seconds)
        again = self._struck() - before
        self.run.figures["asked_during_pauses"] = max(again, self.run.figures.get("asked_during_pauses", 0))
        if again > IN_FLIGHT:
            self.run.faults.append(f"{again} requests while the venue wanted none")

    def _struck(self) -> int:
        return int(self.run.mesh.venue("faults")["struck"].get("status", 0))

    def connections(self) -> int:
        return int(self.run.mesh.rows()["binance"]["counters"]["connects"])

    def newest(self) -> dict[str, int]:
        return {symbol: last for symbol, (_, last) in self.run.mesh.venue("status")["issued"].items()}

    def verdict(self) -> tuple[dict[str, Any], list[str]]:
        self.run.settled()
        verdict = self.run.verdict()
        return verdict.figures, verdict.faults


def held(witness: Witness, newest: dict[str, int]) -> bool:
    """Whether every id up to these was received, from the first one on."""
    found = [(witness.trades.get(symbol), last) for symbol, last in newest.items()]
    return all(ids is not None and ids.lowest is not None and ids.covers(ids.lowest, last) for ids, last in found)


def waits(what: str, witness: Witness, newest: dict[str, int], faults: list[str], most: float) -> float:
    """Seconds until all of them are held."""
    begun = time.monotonic()
    while not held(witness, newest):
        if time.monotonic() - begun > most:
            faults.append(f"{what}: not all ids are held after {most:.0f} s")
            break
        time.sleep(0.2)
    return time.monotonic() - begun


def play(venue: Venue, options: argparse.Namespace) -> int:
    figures: dict[str, Any] = {}
    faults: list[str] = []
    venue.begin()
    witness = Witness(venue.lake).start()

    def step(name: str, newest: dict[str, int], most: float) -> None:
        figures[f"{name}_s"] = waits(name, witness, newest, faults, most)
        say(f"  {name}: {figures[f'{name}_s']:.1f} s")

    wait_for("trades", lambda: len(witness.trades) > 2, 60)
    time.sleep(10)
    venue.withhold(0, 38)
    venue.withhold(1, 1500)
    venue.withhold_some(0.002, 10)
    step("withheld", venue.newest(), HEALED_S)
    venue.shut_down()
    time.sleep(8)
    say(f"  cut for {options.cut:.0f} s")
    venue.cut(options.cut)
    time.sleep(options.cut)
    newest = venue.newest()
    begun = time.monotonic()
    venue.limit(429, PAUSE_S)
    step("cut", newest, HEALED_S)
    figures["cut_s"] = time.monotonic() - begun
    time.sleep(15)
    before, begun = venue.connections(), time.monotonic()
    venue.stall()
    wait_for("another connection", lambda: venue.connections() > before, 60)
    figures["stall_noticed_s"] = time.monotonic() - begun
    if figures["stall_noticed_s"] > NOTICED_S:
        faults.append(f"a half-open connection was noticed after {figures['stall_noticed_s']:.0f} s")
    step("stalled", venue.newest(), HEALED_S)
    venue.withhold(2, 200)
    time.sleep(1)
    venue.limit(418, PAUSE_S)
    step("banned", venue.newest(), HEALED_S)
    more, wrong = venue.verdict()
    witness.stop()
    verdict = Verdict(figures | more, faults + wrong)
    return report(f"healing ({options.venue})", verdict)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("venue", choices=["standin", "emulator"], help="whose faults, and whose judge")
    parser.add_argument("--rate", type=float, default=2000, help="events a second (default: %(default)g)")
    parser.add_argument("--cut", type=float, default=90, help="seconds without a link (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other moments (default: %(default)s)")


def healing(options: argparse.Namespace) -> int:
    """Withheld ids, a cut, a stall and bans under load: how soon each is noticed and healed, and what it costs."""
    if options.venue == "emulator":
        emulated = Emulated(options)
        with emulated.run:
            return play(emulated, options)
    standin = Standin(options)
    code = 1
    try:
        code = play(standin, options)
        return code
    finally:
        standin.bench.close()
        if code:
            say(f"left for a look: {standin.bench.folder}")
        else:
            shutil.rmtree(standin.bench.folder)
