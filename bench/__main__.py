"""Proof and measurement of the mesh: `python -m bench sim`, `mutants`, `kill` …; `ci` and `full` run them all."""

from __future__ import annotations

import argparse
import os
import sys

from bench.chaos import scenarios
from bench.simulation import runs


def _sim(args: argparse.Namespace) -> int:
    if args.seed is not None:
        return runs.simulate(args.seed, 1, 1, args.mutant, show=1)
    return runs.simulate(args.first, args.seeds, args.jobs, args.mutant)


def _mutants(args: argparse.Namespace) -> int:
    return runs.hunt(args.jobs, args.store)


def _scenario(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of a scenario: a form, and each of its settings by itself."""
    forms = parser.add_mutually_exclusive_group()
    for form in scenarios.FORM:
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    parser.add_argument("--seed", type=int, default=1, help="another seed, other moments (default: %(default)s)")
    settings = scenarios.FORMS[name]
    for setting, values in settings.items():
        texts = ", ".join(f"{form} {values[at]:g}" for form, at in scenarios.FORM.items())
        parser.add_argument(f"--{setting}", type=type(values[0]), help=texts)

    def run(args: argparse.Namespace) -> int:
        at = scenarios.FORM[args.form or "short"]
        for setting, values in settings.items():
            if getattr(args, setting) is None:
                setattr(args, setting, values[at])
        return scenarios.SCENARIOS[name](args)

    parser.set_defaults(run=run)


def _all(form: str, histories: int, jobs: int) -> int:
    """Everything, one after the other; the figures are what they print."""
    codes = {"sim": runs.simulate(0, histories, jobs), "mutants": runs.hunt(jobs, store=False)}
    for name, scenario in scenarios.SCENARIOS.items():
        at = scenarios.FORM[form]
        settings = {setting: values[at] for setting, values in scenarios.FORMS[name].items()}
        try:
            codes[name] = scenario(argparse.Namespace(seed=1, **settings))
        except TimeoutError as error:
            sys.stdout.write(f"{name}: WRONG: {error}\n")
            codes[name] = 1
    failed = [name for name, code in codes.items() if code]
    sys.stdout.write(
        f"{len(codes) - len(failed)} of {len(codes)} passed{': not ' + ', '.join(failed) if failed else ''}\n"
    )
    return 1 if failed else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    jobs = max(1, min(os.cpu_count() or 1, 8))

    sim = commands.add_parser("sim", help="seeded histories of the real stages over a simulated disk, bus and venue")
    sim.add_argument("--seeds", type=int, default=1000, help="how many (default: %(default)s)")
    sim.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    sim.add_argument("--seed", type=int, help="this one only: what failed, again")
    sim.add_argument("--mutant", default="", help="with this safety rule switched off")
    sim.add_argument("--jobs", type=int, default=jobs, help="processes (default: %(default)s)")
    sim.set_defaults(run=_sim)

    mutants = commands.add_parser("mutants", help="every safety rule switched off, one at a time: all must be noticed")
    mutants.add_argument("--store", action="store_true", help="write down the seeds that notice them")
    mutants.add_argument("--jobs", type=int, default=jobs, help="processes (default: %(default)s)")
    mutants.set_defaults(run=_mutants)

    for name, scenario in scenarios.SCENARIOS.items():
        _scenario(commands.add_parser(name, help=(scenario.__doc__ or "").split("\n")[0]), name)

    for name, form, histories in (("gate", "shortest", 1000), ("ci", "short", 10_000), ("full", "long", 1_000_000)):
        whole = commands.add_parser(name, help=f"all of it, {form} form, {histories:,} histories")
        whole.add_argument("--jobs", type=int, default=jobs, help="processes of the simulation (default: %(default)s)")
        whole.set_defaults(run=lambda args, form=form, histories=histories: _all(form, histories, args.jobs))

    args = parser.parse_args()
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
