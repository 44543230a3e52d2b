"""Proof and measurement of the mesh: `python -m bench sim`, `mutants`, `kill` …; `ci` and `full` run them all."""

from __future__ import annotations

import argparse
import os
import sys

from bench import fuzz, healing, klines, whole
from bench.chaos import scenarios
from bench.chaos.run import NotRun, say
from bench.standin import cli as standin


def _sim(args: argparse.Namespace) -> int:
    from bench.simulation import runs  # with all the product's stages: not for who only wants a scenario

    if args.seed is not None:
        return runs.simulate(args.seed, 1, 1, args.mutant, show=1, sealing=args.sealing)
    return runs.simulate(args.first, args.seeds, args.jobs, args.mutant, sealing=args.sealing)


def _mutants(args: argparse.Namespace) -> int:
    from bench.simulation import runs

    return runs.hunt(args.jobs, args.store)


def _simulation(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    jobs = max(1, min(os.cpu_count() or 1, 8))
    sim = commands.add_parser("sim", help="seeded histories of the real stages over a simulated disk, bus and venue")
    sim.add_argument("--seeds", type=int, default=1000, help="how many (default: %(default)s)")
    sim.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    sim.add_argument("--seed", type=int, help="this one only: what failed, again")
    sim.add_argument("--mutant", default="", help="with this safety rule switched off")
    sim.add_argument("--sealing", type=float, help="in what share of them hours pass and are sealed (default: 0.12)")
    sim.add_argument("--jobs", type=int, default=jobs, help="processes (default: %(default)s)")
    sim.set_defaults(run=_sim)
    mutants = commands.add_parser("mutants", help="every safety rule switched off, one at a time: all must be noticed")
    mutants.add_argument("--store", action="store_true", help="write down the seeds that notice them")
    mutants.add_argument("--jobs", type=int, default=jobs, help="processes (default: %(default)s)")
    mutants.set_defaults(run=_mutants)


def _commands() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, says: str | None) -> argparse.ArgumentParser:
        text = (says or "").strip()
        return commands.add_parser(
            name, help=text.split("\n")[0], description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    _simulation(commands)
    fuzz.arguments(command("fuzz", fuzz.__doc__))
    for name, scenario in scenarios.SCENARIOS.items():
        scenarios.arguments(command(name, scenario.__doc__), name)
    parts = command("healing", healing.__doc__)
    healing.arguments(parts)
    parts.set_defaults(run=healing.healing)
    parts = command("standin", standin.__doc__)
    standin.arguments(parts)
    parts.set_defaults(run=standin.standin)
    klines.arguments(command("klines", klines.__doc__))
    command("speed", "How fast the mesh is beside its peers, as ratios of one run; more with: speed --help")
    for name, form in (("gate", "shortest"), ("ci", "short"), ("full", "long")):
        whole.arguments(command(name, f"all of it in its {form} form: {whole.HISTORIES[form]:,} histories"), form)
    return parser


def main() -> int:
    """The command line; the exit code is 0 where all is right, 1 where not, 3 where it could not be tried."""
    if sys.argv[1:2] == ["speed"]:
        from bench.speed.commands import main as speed  # numpy and pyarrow for nobody else

        return speed(sys.argv[2:])
    args = _commands().parse_args()
    try:
        code: int = args.run(args)
    except NotRun as why:
        say(f"{args.command}: NOT RUN: {why}")
        return whole.NOT_RUN
    except TimeoutError as error:
        say(f"{args.command}: WRONG: {error}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
