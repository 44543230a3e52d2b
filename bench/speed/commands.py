"""The commands of `python -m bench speed`."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.speed import compare, idle, profiling, promises, scale
from bench.speed.market import TRADES, Market
from bench.speed.peers import Unavailable
from bench.speed.server import ROOT, Server
from bench.speed.yardstick import Load, Run, ours
from supervision import children


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """An empty folder, gone afterwards where nobody wants to keep it."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="speed-", ignore_cleanup_errors=True) as made:
            yield Path(made)
    else:
        yield Path(tempfile.mkdtemp(prefix="speed-", dir=kept))


def _ours(args: argparse.Namespace) -> int:
    """Rounds of the whole product alone; the empty run beside each."""
    wrong = 0
    with (
        folder(args.keep) as here,
        contextlib.closing(
            Server(here, args.events, args.symbols, tls=args.tls, per_s=args.per_s, seed=args.seed, trades=args.trades)
        ) as server,
    ):
        market = Market(args.seed, args.events, args.symbols, args.per_s, args.trades)
        load = Load(args.events, args.rate, args.time == "real", args.tls)
        nothing = Load(0, args.rate, args.time == "real", args.tls)
        if args.keep:
            say(f"in {here}")
        runs = []
        for number in range(args.rounds):
            empty = ours(server, here / f"empty{number}", market, nothing, check=False)
            run = ours(server, here / f"run{number}", market, load, profile=args.profile)
            runs.append(run)
            say(line(run, empty))
            say(f"    {run.verdict}")
            if args.profile:
                say(profiling.report(here / f"run{number}", args.profile))
            wrong += bool(run.verdict and run.verdict.wrong)
        say(f"median {statistics.median(run.events / run.wall for run in runs):,.0f} events/s")
    return 1 if wrong else 0


def line(run: Run, empty: Run) -> str:
    """What a run took, less what an empty one does."""
    cpu = run.cpu - empty.cpu
    each = {name: used - empty.stages.get(name, 0.0) for name, used in run.stages.items()}
    stages = ", ".join(f"{name} {used / run.events * 1e6:.2f}" for name, used in sorted(each.items()))
    return (
        f"{run.events / run.wall:,.0f} events/s ({run.wall:.2f} s), {cpu / run.events * 1e6:.2f} us CPU an event"
        f" ({stages}); {run.memory >> 20} MB; started in {run.start:.1f} s"
    )


def _whole(args: argparse.Namespace) -> int:
    with folder(args.keep) as here:
        return compare.Whole(compare.settled(args), here, say).run()


def _scale(args: argparse.Namespace) -> int:
    with folder(args.keep) as here:
        wrong = scale.by_symbols(here, args.symbols, args.events, say)
        wrong += scale.by_load(here, args.rates, say)
    return 1 if wrong else 0


def _idle(args: argparse.Namespace) -> int:
    with folder(args.keep) as here:
        return idle.idle(here, args.seconds, args.rate, args.gather_ms, say)


def _promises(args: argparse.Namespace) -> int:
    with folder(args.keep) as here:
        promises.measure(here, say)
    return 0


def _steps(args: argparse.Namespace) -> int:
    words = [sys.executable, "-m", "bench.speed.steps", *map(str, (args.events, args.symbols, args.per_s))]
    return subprocess.run(words, cwd=ROOT, env=children.environment(gently=False), check=False).returncode


def _ours_arguments(alone: argparse.ArgumentParser) -> None:
    alone.add_argument("--events", type=int, default=2_000_000, help="how many (default: %(default)s)")
    alone.add_argument("--symbols", type=int, default=20, help="of how many symbols (default: %(default)s)")
    alone.add_argument("--rounds", type=int, default=1, help="how often (default: %(default)s)")
    alone.add_argument("--rate", type=float, default=0, help="events/s; 0: as fast as it goes (default: %(default)s)")
    alone.add_argument(
        "--time", choices=("market", "real"), default="market", help="event times: 100 events a bar, or the real time"
    )
    alone.add_argument("--per-s", type=int, default=2000, help="events/s of market time (default: %(default)s)")
    alone.add_argument("--trades", type=float, default=TRADES, help="share of trades; at 1 no quote ever comes")
    alone.add_argument("--tls", action="store_true", help="over wss, one record a frame")
    alone.add_argument("--seed", type=int, default=1, help="another market (default: %(default)s)")
    alone.add_argument("--profile", default="", help="a stage to run under cProfile: where its time goes")


def main(argv: Sequence[str]) -> int:
    """The command line; without a command all of P1 to P8."""
    parser = argparse.ArgumentParser(prog="python -m bench speed", description=__doc__)
    compare.arguments(parser)
    parser.set_defaults(run=_whole)
    commands = parser.add_subparsers()
    alone = commands.add_parser("ours", help="the whole product alone, with what each stage costs")
    _ours_arguments(alone)
    alone.set_defaults(run=_ours)
    sizes = commands.add_parser("scale", help="what an event costs by the number of symbols and by the load")
    sizes.add_argument("--symbols", type=int, nargs="+", default=[3, 20, 100, 500], help="default: %(default)s")
    sizes.add_argument(
        "--rates", type=int, nargs="+", default=[1000, 5000, 20_000, 60_000], help="default: %(default)s"
    )
    sizes.add_argument("--events", type=int, default=1_000_000, help="of each run flat out (default: %(default)s)")
    sizes.set_defaults(run=_scale)
    quiet = commands.add_parser("idle", help="3 symbols, 50 events/s: share of a core, memory, start to first bar")
    quiet.add_argument("--seconds", type=float, default=60, help="watched for so long (default: %(default)s)")
    quiet.add_argument("--rate", type=float, default=50, help="events/s (default: %(default)s)")
    quiet.add_argument("--gather-ms", type=int, help="that setting of ingest (default: the product's)")
    quiet.set_defaults(run=_idle)
    kept = commands.add_parser("promises", help="what journal, checksum, ledger, exact digits and exact sums cost")
    kept.set_defaults(run=_promises)
    steps = commands.add_parser("steps", help="what an event costs in each stage's own code, in one process")
    steps.add_argument("--events", type=int, default=1_000_000, help="how many (default: %(default)s)")
    steps.add_argument("--symbols", type=int, default=20, help="of how many symbols (default: %(default)s)")
    steps.add_argument("--per-s", type=int, default=2000, help="events/s of market time (default: %(default)s)")
    steps.set_defaults(run=_steps)
    for command in (alone, sizes, quiet, kept):
        command.add_argument("--keep", type=Path, help="keep lakes and logs in a new folder below this one")
    args = parser.parse_args(argv)
    try:
        code: int = args.run(args)
    except (TimeoutError, RuntimeError, Unavailable) as error:
        say(f"WRONG: {error}")
        return 1
    return code
