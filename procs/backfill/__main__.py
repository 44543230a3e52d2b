"""``python -m procs.backfill``: arguments, settings, lock and log around the work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

import procs.backfill
from procs.backfill import Config
from procs.backfill.asking import Asked
from procs.backfill.errand import Errand, days_of
from procs.backfill.progress import Progress
from procs.backfill.work import Wrong
from shared import config, staging, venues
from shared.files import Files
from shared.locks import Held, Lock
from shared.logs import setup
from shared.process import EXIT_ASKED, EXIT_CONFIG, EXIT_CRASHED, Lifeline, stage_name
from shared.topology import Node, Pipeline, nearest


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 something could not be had, 2 what was asked for makes no sense."""
    args = _arguments(argv)
    try:
        _check(args)
        pipeline, settings, lake = _settings(args)
        lock = Lock(lake / staging.LOCK, what="a backfill")
    except (config.ConfigError, Wrong) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    except Held as held:
        sys.stderr.write(f"{held}\n")
        return EXIT_CRASHED
    setup(lake, "backfill", console=False)
    lifeline = Lifeline()
    lifeline.watch_signals()
    if args.supervised:
        lifeline.watch_stdin()
    try:
        with Progress(quiet=args.supervised) as progress:
            return Errand(args, pipeline, settings, Files(lake), lifeline, progress).work()
    except Wrong as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    except Asked:
        sys.stderr.write("asked to leave: run it again, it goes on from here\n")
        return EXIT_ASKED if args.supervised else EXIT_CRASHED
    except OSError as error:
        logger.opt(exception=True).debug("where it happened")
        logger.error(f"{type(error).__name__}: {error}")
        sys.stderr.write(f"{type(error).__name__}: {error}: run it again, it goes on from here\n")
        return EXIT_CRASHED
    except Exception:
        logger.exception("backfill crashed")
        raise
    finally:
        lock.close()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "procs.backfill", description=procs.backfill.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--symbol", help="as the venue writes it: SOLUSDT")
    add("--venue", help="default: the source that records the symbol, else binance")
    add("--from", dest="first", metavar="DATE", help="the first day, such as 2025-10-20 (UTC)")
    add("--to", dest="last", metavar="DATE", help="the last day (default: the first)")
    add("--from-id", type=int, metavar="ID", help="the first trade id")
    add("--to-id", type=int, metavar="ID", help="the last trade id")
    add("--force", action="store_true", help="replace held trades that differ from what the venue says now")
    add("--config", default="pipeline.yml", help="the pipeline file (default: %(default)s)")
    add("--stage", help="its key in that file; without a symbol it looks at the last days of all that is recorded")
    add("--lake", help="the lake's folder, instead of a pipeline file; made where there is none")
    add("--archive-url", help="where the daily files are (default: as configured, else the venue's own)")
    add("--rest-url", help="where REST is (default: as configured, else the venue's own)")
    add("--supervised", action="store_true", help="started by supervisor.py: leave when standard input ends")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """What can be said before anything is opened. Raises Wrong."""
    by_ids = args.from_id is not None or args.to_id is not None
    by_days = args.first is not None or args.last is not None
    if args.symbol is None and (by_ids or by_days):
        raise Wrong("--symbol is missing: of which symbol?")
    if args.symbol is not None:
        if not _is_symbol(args.symbol):
            raise Wrong(f"{args.symbol!r} is no symbol: they are written in capitals, such as SOLUSDT")
        if by_ids == by_days:
            raise Wrong("name either days (--from, --to) or trade ids (--from-id, --to-id)")
    if by_ids and (args.from_id is None or args.to_id is None or not 0 <= args.from_id <= args.to_id < 2**63):
        raise Wrong("--from-id and --to-id: both are needed, from the lower to the higher")
    if by_days and args.first is None:
        raise Wrong("--from is missing: since which day?")
    if by_days:
        days_of(args)
    if args.symbol is None and args.lake is not None:
        raise Wrong("--symbol is missing; looking at the last days of all that is recorded needs a pipeline file")
    if args.venue is not None and args.venue not in venues.names():
        raise Wrong(f"there is no venue {args.venue}{nearest(args.venue, venues.names())}")


def _is_symbol(text: str) -> bool:
    return 0 < len(text) <= 64 and text == text.upper() and text.isprintable() and not set(text) & set(" /\\.:%?#&")


def _settings(args: argparse.Namespace) -> tuple[Pipeline | None, Config, Path]:
    given = {"archive_url": args.archive_url, "rest_url": args.rest_url}
    faults = config.addresses(Node("backfill", "batches", "backfill", (), {k: v for k, v in given.items() if v}))
    if faults:
        raise config.ConfigError(faults)
    if args.lake is not None:
        return None, Config(), Path(args.lake).absolute()
    pipeline = config.load(args.config)
    settings = Config()
    if args.stage is not None or any(node.run == "backfill" for node in pipeline.nodes.values()):
        name = stage_name(pipeline, "backfill", args.stage)
        settings = config.convert(pipeline, name, Config)
    faults = [fault for node in pipeline.nodes.values() for fault in config.addresses(node)]
    if faults:
        raise config.ConfigError(faults)
    return pipeline, settings, Path(pipeline.lake)


if __name__ == "__main__":
    sys.exit(main())
