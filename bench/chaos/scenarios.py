"""Every scenario by its command, and what its forms set."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.chaos.away import full_journal, stall
from bench.chaos.clock import clock
from bench.chaos.full_disk import full_disk
from bench.chaos.kills import kill, soak
from bench.chaos.midnights import midnight
from bench.chaos.network import network
from bench.chaos.supervisors import orphans, twice

SCENARIOS: dict[str, Callable[[argparse.Namespace], int]] = {
    "kill": kill,
    "stall": stall,
    "full-disk": full_disk,
    "full-journal": full_journal,
    "network": network,
    "clock": clock,
    "midnight": midnight,
    "twice": twice,
    "orphans": orphans,
    "soak": soak,
}
FORMS: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    # what is set: shortest (the gate's), short, long
    "kill": {"kills": (20, 100, 500), "rate": (5000.0, 20_000.0, 20_000.0), "every": (1.0, 1.0, 1.0)},
    "stall": {"stopped": (5.0, 14.0, 60.0), "seconds": (10.0, 60.0, 600.0), "rate": (5000.0, 20_000.0, 20_000.0)},
    "full-disk": {"times": (3, 10, 30), "rate": (1000.0, 2000.0, 2000.0), "megabytes": (128, 256, 256)},
    "full-journal": {"times": (1, 3, 20), "rate": (2000.0, 5000.0, 5000.0)},
    "network": {"times": (20, 200, 1000), "rate": (2000.0, 5000.0, 5000.0)},
    "clock": {"steps": (10, 50, 1000), "rate": (1000.0, 2000.0, 2000.0)},
    "midnight": {"midnights": (1, 4, 30), "speed": (1200.0, 1200.0, 1200.0), "rate": (1.0, 1.0, 1.0)},
    "twice": {"times": (2, 6, 20), "rate": (2000.0, 5000.0, 5000.0)},
    "orphans": {"times": (2, 4, 20), "rate": (2000.0, 5000.0, 5000.0)},
    "soak": {"seconds": (100.0, 600.0, 3600.0), "rate": (2000.0, 2000.0, 2000.0), "every": (50.0, 60.0, 60.0)},
}
FORM = {"shortest": 0, "short": 1, "long": 2}


def arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of a scenario: a form, and each of its settings by itself."""
    forms = parser.add_mutually_exclusive_group()
    for form in FORM:
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.add_argument("--seed", type=int, default=1, help="another seed, other moments (default: %(default)s)")
    settings = FORMS[name]
    for setting, values in settings.items():
        texts = ", ".join(f"{form} {values[at]:g}" for form, at in FORM.items())
        parser.add_argument(f"--{setting}", type=type(values[0]), help=texts)
    if name == "full-disk":
        parser.add_argument("--disk", type=Path, help="a small disk of yours, which will be filled over and over")

    def run(args: argparse.Namespace) -> int:
        at = FORM[args.form or "short"]
        for setting, values in settings.items():
            if getattr(args, setting) is None:
                setattr(args, setting, values[at])
        return SCENARIOS[name](args)

    parser.set_defaults(run=run)
