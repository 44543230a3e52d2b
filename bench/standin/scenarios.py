"""What is done to a mesh and its stand-in: steps, each at its moment."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections.abc import Callable

import psutil

from bench.standin.bench import STAGES, Bench

Steps = list[tuple[float, Callable[[], object]]]


def play(bench: Bench, seconds: float, steps: Steps) -> None:
    """Does each step at its moment."""
    begun = time.monotonic()
    for moment, step in sorted(steps, key=lambda pair: pair[0]):
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        result = step()
        say(f"{time.monotonic() - begun:6.1f}s {result}")
    time.sleep(max(0.0, begun + seconds - time.monotonic()))


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def steady(bench: Bench, options: argparse.Namespace) -> Steps:
    return []


def faults(bench: Bench, options: argparse.Namespace) -> Steps:
    """Everything a link and a venue can do, in one run; 90 s of cut link in the long one."""
    unit = options.seconds / 180
    first, second, third = bench.symbols[0], bench.symbols[1], bench.symbols[-1]
    return [
        (5, lambda: bench.fault("duplicate", rate=0.01)),
        (6, lambda: bench.fault("reorder", rate=0.01)),
        (10 * unit, lambda: bench.fault("withhold", symbol=first, count=37)),
        (12 * unit, lambda: bench.fault("withhold", symbol=second, count=1500)),
        (14 * unit, lambda: bench.fault("withhold", rate=0.002)),
        (20 * unit, lambda: bench.fault("garbage")),
        (25 * unit, lambda: bench.fault("withhold", rate=0)),
        (30 * unit, lambda: bench.fault("shutdown", grace=5)),
        (42 * unit, lambda: bench.fault("cut", seconds=90 * unit)),
        (134 * unit, lambda: bench.fault("rest_limit", seconds=8)),
        (150 * unit, lambda: bench.fault("stall", seconds=60)),
        (170 * unit, lambda: bench.fault("drop")),
        (175 * unit, lambda: bench.fault("withhold", symbol=third, count=40)),
    ]


def restarts(bench: Bench, options: argparse.Namespace) -> Steps:
    names = ("bars_1s", "archive", "parquet", "binance")
    every = max(6.0, options.seconds / (options.times + 1))

    def restart(name: str) -> Callable[[], object]:
        def step() -> object:
            answer = bench.ask("restart", name)
            return f"restart {name}: {answer.returncode} {answer.stdout.strip()[:100]} {answer.stderr.strip()[-200:]}"

        return step

    return [(every * (at + 1), restart(names[at % 4])) for at in range(options.times)]


def kills(bench: Bench, options: argparse.Namespace) -> Steps:
    rng = random.Random(options.seed)
    steps: Steps = []

    def step(names: list[str]) -> Callable[[], object]:
        def run() -> object:
            hit = [name for name in names if bench.kill(name)]
            if "supervisor" in hit:
                time.sleep(rng.choice((0.0, 0.3, 3.0)))
                bench.start()
            return f"killed {hit}"

        return run

    for at in range(options.times):
        moment = 6 + (options.seconds - 10) * (at + rng.random() * 0.9) / options.times
        names = [rng.choice((*STAGES, "supervisor"))] if rng.random() < 0.8 else rng.sample((*STAGES, "supervisor"), 2)
        steps.append((moment, step(names)))
    return steps


def rotations(bench: Bench, options: argparse.Namespace) -> Steps:
    """serverShutdown again and again; each connection really ends a moment later."""
    every = options.seconds / (options.times + 1)
    return [(every * (at + 1), lambda: bench.fault("shutdown", grace=min(10, every))) for at in range(options.times)]


def silences(bench: Bench, options: argparse.Namespace) -> Steps:
    """Half-open connections, and a symbol whose stream dies alone while its neighbours go on."""
    return [
        (0.1 * options.seconds, lambda: bench.fault("stall", seconds=60)),
        (
            0.5 * options.seconds,
            lambda: bench.fault("silence", symbol=bench.symbols[-1], seconds=0.4 * options.seconds),
        ),
    ]


def answers(bench: Bench, options: argparse.Namespace) -> Steps:
    """What REST can do: answer slowly, not at all, garbage, a ban, or never give some trades."""
    unit = options.seconds / 60
    first, second = bench.symbols[:2]
    return [
        (3 * unit, lambda: bench.fault("withhold", symbol=first, count=50, forget=7)),
        (8 * unit, lambda: bench.fault("rest_lag", seconds=2.5)),
        (9 * unit, lambda: bench.fault("withhold", symbol=second, count=300)),
        (16 * unit, lambda: bench.fault("rest_lag", seconds=0)),
        (17 * unit, lambda: bench.fault("rest_garbage", seconds=8)),
        (18 * unit, lambda: bench.fault("withhold", symbol=first, count=40)),
        (19 * unit, lambda: bench.fault("drop")),
        (28 * unit, lambda: bench.fault("rest_limit", seconds=10, status=418)),
        (29 * unit, lambda: bench.fault("withhold", rate=0.01)),
        (31 * unit, lambda: bench.fault("withhold", rate=0)),
        (45 * unit, lambda: bench.fault("cut", seconds=8)),
    ]


def stops(bench: Bench, options: argparse.Namespace) -> Steps:
    """Processes that stand still: shorter and longer than the supervisor's patience."""

    def halt(name: str, seconds: float) -> Callable[[], object]:
        def step() -> object:
            process = bench.stages()[name]
            if seconds > 10 and name == "binance":  # it will be killed: what waits in its sockets nobody receives
                bench.fault("unread", seconds=seconds)
            process.suspend()
            time.sleep(seconds)
            with contextlib.suppress(psutil.Error):  # it may have been killed meanwhile
                process.resume()
            return f"{name} stood still for {seconds} s"

        return step

    moments = [("archive", 4), ("binance", 4), ("parquet", 14), ("bars_1s", 14), ("binance", 14), ("archive", 14)]
    return [(3 + at * options.seconds / 7, halt(name, seconds)) for at, (name, seconds) in enumerate(moments)]


SCENARIOS = {f.__name__: f for f in (steady, faults, restarts, kills, rotations, silences, answers, stops)}
