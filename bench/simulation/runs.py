"""Many histories, on as many cores as are wanted; mutants until they are found."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from loguru import logger

from bench.simulation.mutants import ALL, FOUND, LIMITS, MUTANTS, SWAPS
from bench.simulation.parts import Rules
from bench.simulation.world import Outcome, play

SEEDS = Path(__file__).with_name("mutant_seeds.json")
MOST_SEEDS = 2000
"""Within so many histories every mutant must be found."""


def _play(seed: int, mutant: str, sealing: float | None = None) -> Outcome:
    logger.remove()
    rules = ALL[mutant] if mutant else Rules()
    rules = rules if sealing is None else replace(rules, sealing=sealing)
    try:
        return play(seed, rules)
    except Exception:  # what the simulator itself relies on is broken: by a mutant, or by a fault of its own
        return Outcome(seed, [f"the history broke off:\n{traceback.format_exc()}"])


def outcomes(seeds: range, jobs: int, mutant: str = "", sealing: float | None = None) -> Iterator[Outcome]:
    one = partial(_play, mutant=mutant, sealing=sealing)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(one, seeds, chunksize=16)


def simulate(first: int, count: int, jobs: int, mutant: str = "", show: int = 10, sealing: float | None = None) -> int:
    """Plays histories and prints what they come to; the exit code. `sealing`: in what share of them hours pass."""
    begun = time.monotonic()
    bad = 0
    totals: dict[str, int] = {}
    for outcome in outcomes(range(first, first + count), jobs, mutant, sealing):
        for key, value in outcome.counts.items():
            totals[key] = totals.get(key, 0) + value
        if outcome.faults:
            bad += 1
            if bad <= show:
                _show(outcome, mutant, sealing)
    took = time.monotonic() - begun
    sys.stdout.write(
        f"{count} histories from seed {first}, {took:.0f} s, {count / took:.0f} a second: {bad} violated\n"
    )
    sys.stdout.write("  " + ", ".join(f"{key} {value:,}" for key, value in totals.items()) + "\n")
    return 1 if bad else 0


def _show(outcome: Outcome, mutant: str, sealing: float | None) -> None:
    again = f"python -m bench sim --seed {outcome.seed}" + (f" --mutant {mutant}" if mutant else "")
    again += "" if sealing is None else f" --sealing {sealing}"
    sys.stdout.write(f"seed {outcome.seed}: {len(outcome.faults)} violations; again: {again}\n")
    for fault in list(dict.fromkeys(outcome.faults))[:5]:
        sys.stdout.write(f"    {fault}\n")


def stored_seeds() -> dict[str, int]:
    found: dict[str, int] = json.loads(SEEDS.read_text())
    return found


def first_seed(mutant: str, jobs: int = 1, most: int = MOST_SEEDS) -> int | None:
    """The first history that notices a mutant: the stored one, where it still does, before all others."""
    stored = stored_seeds().get(mutant) if SEEDS.exists() else None
    if stored is not None and _play(stored, mutant).faults:
        return stored
    return next((outcome.seed for outcome in outcomes(range(most), jobs, mutant) if outcome.faults), None)


def hunt(jobs: int, store: bool) -> int:
    """Looks for every mutant; the exit code."""
    found: dict[str, int] = {}
    for mutant in ALL:
        begun = time.monotonic()
        seed = first_seed(mutant, jobs)
        took = time.monotonic() - begun
        says = f"seed {seed}" if seed is not None else f"NOT FOUND in {MOST_SEEDS} histories"
        sys.stdout.write(f"{mutant:28} {says:12} {took:6.1f} s\n")
        sys.stdout.flush()
        if seed is not None:
            found[mutant] = seed
    sys.stdout.write(f"{len(found.keys() & MUTANTS.keys())} of {len(MUTANTS)} mutants found, ")
    others = SWAPS | LIMITS
    sys.stdout.write(f"{len(found.keys() & others.keys())} of {len(others)} of compactor and limits, ")
    sys.stdout.write(f"{len(found.keys() & FOUND.keys())} of {len(FOUND)} faults the simulation once found itself\n")
    if store:
        SEEDS.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if len(found) == len(ALL) else 1
