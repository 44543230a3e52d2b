"""P1 to P8 in one run: everything that is compared runs side by side, round by round."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.speed import lakes, latency, peers, rounds
from bench.speed.figures import Goal, Spread, machine, versions
from bench.speed.market import Market
from bench.speed.peers import Unavailable
from bench.speed.rounds import CLIENTS, Comparison
from bench.speed.server import Server

Say = Callable[[str], None]
SYMBOLS: Final = 20
PER_S: Final = 2000
RATES: Final = (20_000, 60_000)
FULL: Final = {"rounds": 5, "events": 2_000_000, "peer_events": 200_000, "seconds": 10, "lines": 1_000_000,
               "ticks": 20_000_000, "days": 30}  # fmt: skip
SHORT: Final = {"rounds": 2, "events": 400_000, "peer_events": 60_000, "seconds": 3, "lines": 100_000,
                "ticks": 2_000_000, "days": 2}  # fmt: skip
PARTS: Final = ("plain", "tls", "latency", "lines", "ticks", "rollup")
"""P1, P3 and P4; P2; P5; P6 and the ticks of P8; P7; P8."""


class Whole:
    """The run and what it has found so far."""

    def __init__(self, args: argparse.Namespace, folder: Path, say: Say) -> None:
        self._args, self._folder, self._say = args, folder, say
        self._parts = set(args.parts)
        self.goals: list[Goal] = []
        self.checked: list[str] = []
        self.wrong = 0

    def run(self) -> int:
        """0 where all that was measured is right, whether it is fast or not."""
        args, say = self._args, self._say
        began = time.monotonic()
        say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}")
        say(f"ours: {versions()}; peers, in {args.venvs}:")
        events = max(args.events, args.peer_events, int(max(RATES) * args.seconds))
        with contextlib.closing(
            Server(self._folder, events, SYMBOLS, tls="tls" in self._parts, per_s=PER_S, seed=args.seed)
        ) as server:
            market = Market(args.seed, events, SYMBOLS, PER_S)
            comparison = Comparison(server, market, self._folder, args.venvs, say)
            comparison.prepare({name for name, _ in CLIENTS})
            self._rates(comparison)
            if "latency" in self._parts:
                self._latency(comparison, server, market)
        self._lakes(comparison.python("seed-like"))
        self._table(comparison, time.monotonic() - began)
        return 1 if self.wrong else 0

    def _rates(self, comparison: Comparison) -> None:
        args = self._args
        plain = tls = None
        if "plain" in self._parts:
            plain = comparison.run(args.rounds, args.events, args.peer_events, is_tls=False)
        if "tls" in self._parts:
            tls = comparison.run(args.rounds, args.events, args.peer_events, is_tls=True)
        for found in (plain, tls):
            if found is not None:
                self.checked += found.checked
                self.wrong += found.wrong
        self.goals += rounds.goals(plain or rounds.Rounds(), tls)

    def _latency(self, comparison: Comparison, server: Server, market: Market) -> None:
        args, python = self._args, comparison.python("cryptofeed")
        wanted = "at 20 k events/s p50 and p99 not above cryptofeed's own callback, at 60 k p99 at most half of it"
        middle: dict[tuple[int, str], list[latency.Ages]] = {}
        for number in range(args.rounds):
            for rate in RATES:
                place = self._folder / f"latency-{number}-{rate}"
                gathered = latency.ours(server, place / "default", market, rate, args.seconds, None)
                mine = latency.ours(server, place / "ours", market, rate, args.seconds, 0)
                said = f"  {rate:,} events/s: ours {mine}; with the default gather_ms {gathered}"
                if python:
                    try:
                        theirs = latency.cryptofeed(server, place / "cryptofeed", market, python, rate, args.seconds)
                    except Unavailable as why:
                        self._say(f"{said}; cryptofeed {why}")
                        continue
                    middle.setdefault((rate, "ours"), []).append(mine)
                    middle.setdefault((rate, "cryptofeed"), []).append(theirs)
                    said += f"; cryptofeed {theirs}"
                self._say(said)
        if all((rate, "cryptofeed") in middle for rate in RATES):
            self.goals.append(_latency_goal(wanted, middle))
        else:
            self.goals.append(Goal("P5", wanted, "no cryptofeed"))

    def _lakes(self, pandas: str | None) -> None:
        args = self._args
        if "lines" in self._parts:
            self.goals += lakes.symbol_day(self._folder, pandas, args.lines, args.rounds, self._say)
        if "ticks" in self._parts:
            self.goals.append(lakes.ticks(self._folder, pandas, args.ticks, args.rounds, self._say))
        if "rollup" in self._parts:
            self.goals.append(lakes.rollup(self._folder, args.days, self._say))

    def _table(self, comparison: Comparison, seconds: float) -> None:
        say = self._say
        say(f"\nChecked ({len(self.checked)} runs, {self.wrong} of ours wrong):")
        for text in self.checked[-len(CLIENTS) - 1 :]:
            say(f"  {text}")
        for name, why in comparison.unavailable.items():
            say(f"  {name} did not run: {why}")
        say(f"\n{seconds / 60:.0f} minutes; medians of the ratios of {self._args.rounds} rounds, spreads in brackets")
        for goal in sorted(self.goals, key=lambda goal: goal.name):
            say(str(goal))
        if self._args.json:
            rows = [{"name": one.name, "wanted": one.wanted, "measured": one.measured, "reached": one.is_reached}
                    for one in self.goals]  # fmt: skip
            said = {"machine": machine(), "versions": versions(), "peers": comparison.versions, "goals": rows}
            self._args.json.write_text(json.dumps(said, indent=1) + "\n")


def _latency_goal(wanted: str, found: dict[tuple[int, str], list[latency.Ages]]) -> Goal:
    def ratio(rate: int, which: str) -> Spread:
        pairs = zip(found[rate, "ours"], found[rate, "cryptofeed"], strict=True)
        return Spread.of([getattr(mine, which) / getattr(theirs, which) for mine, theirs in pairs])

    low, high = RATES
    fast, tail, loaded = ratio(low, "p50"), ratio(low, "p99"), ratio(high, "p99")
    text = f"of cryptofeed's: {fast.text(2)} p50 and {tail.text(2)} p99 at {low:,}, {loaded.text(2)} p99 at {high:,}"
    return Goal("P5", wanted, text, fast.middle <= 1 and tail.middle <= 1 and loaded.middle <= 0.5)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The whole run's options."""
    parser.add_argument("--short", action="store_true", help="a quick look: fewer and smaller rounds")
    for name, value in FULL.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, help=f"default: {value:,}, short {SHORT[name]:,}")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these (default: all)")
    parser.add_argument(
        "--venvs", type=Path, default=peers.cache(), help="the peers' environments (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="another market (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the table here, too")
    parser.add_argument("--keep", type=Path, help="keep lakes and logs in a new folder below this one")


def settled(args: argparse.Namespace) -> argparse.Namespace:
    """With the form's settings where nothing else was asked for."""
    for name, value in (SHORT if args.short else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args
