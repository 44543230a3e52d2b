"""A process that is started for one run and leaves: what validator and compactor have in common around their work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from loguru import logger

from shared import compiled, config, paths, topology
from shared.files import Disk, Files
from shared.locks import Held, Lock
from shared.logs import setup
from shared.process import EXIT_CONFIG, EXIT_CRASHED, Lifeline, check_schema, command_line, stage_name, tune_gc
from shared.room import NoRoom

C = TypeVar("C", bound=config.StageConfig)


class Errand(msgspec.Struct, Generic[C]):
    """What such a process was asked to do, and where."""

    disk: Disk
    settings: C
    pipeline: topology.Pipeline | None
    """None where only a lake was named."""
    date: str | None
    as_json: bool
    lifeline: Lifeline
    """Asks it to leave between two pieces of work."""
    flags: frozenset[str] = frozenset()
    """What else was asked for."""

    def use_agg(self, venue: str) -> bool | None:
        return uses_aggregates(self.pipeline, venue)


def uses_aggregates(pipeline: topology.Pipeline | None, venue: str) -> bool | None:
    """Whether a venue's bars are made of aggregate trades; None where nobody says what is recorded of it."""
    if pipeline is None:
        return None
    for node in pipeline.section("sources"):
        if topology.venue_of(pipeline, node.name) == venue and node.options.get("streams"):
            return "trade" not in node.options["streams"]
    return None


def run(
    name: str,
    kind: type[C],
    work: Callable[[Errand[C]], int],
    about: str,
    argv: Sequence[str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> int:
    """Arguments, settings, lock and log around `work`; the exit code. One of the two places that catch everything.

    `flags` are the options of this process alone, and what each means.
    """
    args = _arguments(about, argv, flags or {})
    try:
        if args.date is not None:
            paths.day_start(args.date)
        pipeline, settings, lake = _settings(name, kind, args)
        check_schema(lake)
    except (config.ConfigError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    try:
        lock = Lock(lake / paths.stage_lock(name), what=f"a {name}")
    except Held as held:
        sys.stderr.write(f"{held}\n")
        return EXIT_CRASHED
    setup(lake, name, console=not args.supervised)
    compiled.load()
    lifeline = Lifeline()
    lifeline.watch_signals()
    if args.supervised:
        lifeline.watch_stdin()
    given = frozenset(flag for flag in flags or {} if getattr(args, flag.replace("-", "_")))
    errand = Errand(Files(lake), settings, pipeline, args.date, args.json, lifeline, given)
    tune_gc()
    try:
        return work(errand)
    except NoRoom as error:
        logger.warning(f"{error}: what is left is done when there is room")
        return EXIT_CRASHED
    except OSError as error:
        logger.error(f"{type(error).__name__}: {error}: what is left is done at the next start")
        logger.opt(exception=True).debug("where it happened")
        return EXIT_CRASHED
    except Exception:
        logger.exception(f"{name} crashed")
        return EXIT_CRASHED
    finally:
        lock.close()


def _arguments(about: str, argv: Sequence[str] | None, flags: Mapping[str, str]) -> argparse.Namespace:
    parser = command_line(about)
    parser.add_argument("--date", help="only this day, such as 2025-10-20 (UTC)")
    parser.add_argument("--config", default="pipeline.yml", help="the pipeline file (default: %(default)s)")
    parser.add_argument("--stage", help="its key in that file")
    parser.add_argument("--lake", help="the lake's folder, instead of a pipeline file")
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    for flag, says in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=says)
    parser.add_argument(
        "--supervised", action="store_true", help="started by supervisor.py: leave when standard input ends"
    )
    return parser.parse_args(argv)


def _settings(name: str, kind: type[C], args: argparse.Namespace) -> tuple[topology.Pipeline | None, C, Path]:
    if args.lake is not None:
        lake = Path(args.lake).absolute()
        if not any((lake / top).is_dir() for top in ("raw", "parquet", "journal")):
            raise ValueError(f"{args.lake}: there is no lake there")
        return None, kind(), lake
    pipeline = config.load(args.config)
    named = args.stage is not None or any(node.run == name for node in pipeline.nodes.values())
    settings = config.convert(pipeline, stage_name(pipeline, name, args.stage), kind) if named else kind()
    Path(pipeline.lake).mkdir(parents=True, exist_ok=True)
    return pipeline, settings, Path(pipeline.lake)
