"""The command line: which command, which file; and the answer to each that does not run the mesh."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from loguru import logger

from shared import config, logs, topology
from shared.topology import Fault, Pipeline
from shared.wire import find_mesh
from supervision import asking, forecast, machine
from supervision import status as statuses
from supervision.children import ROOT
from supervision.ground import Ground, Refused
from supervision.service import KINDS, here, unit

EXIT_NO, EXIT_CONFIG = 1, 2
DEFAULT = ROOT / "pipeline.yml"
_CHECK_S = 60


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line. Ends the process with a usage message where it makes no sense."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a Windows code page has no arrows
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    parser = argparse.ArgumentParser(
        prog="supervisor.py", description="Records crypto market data. Without a command: the whole mesh, until Ctrl-C."
    )
    parser.add_argument("--config", default=str(DEFAULT), help="the pipeline file (default: beside supervisor.py)")
    parser.set_defaults(command="run", json=False)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", default=argparse.SUPPRESS, help="the pipeline file")
    shared.add_argument("--json", action="store_true", help="answer as JSON")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, says: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=says, description=says, parents=[shared])

    command("run", "the whole mesh, until Ctrl-C (the same as no command)")
    demo = commands.add_parser("demo", help="the mesh against the built-in venue, in a fresh lake, with a live view")
    demo.add_argument("--seconds", type=float, help="stop by itself after so long (default: Ctrl-C)")
    demo.add_argument("--lake", type=Path, help="an empty folder (default: demo-<now> here)")
    command("check", "every fault of the pipeline file at once; files and GB a day to expect")
    command("graph", "the mesh as a picture: text, then Mermaid")
    command("status", "a table: state, rates and memory of each stage; room on the disk")
    tap = command("tap", "live events, bars and heartbeats; one JSON object a line when piped")
    tap.add_argument(
        "--stream", action="append", default=[], help="trade, aggTrade, quote, bar, feed, rejected or beat"
    )
    tap.add_argument("--symbol", action="append", default=[])
    tap.add_argument("--stage", action="append", default=[])
    for name, says in (("restart", "drain one stage and start it again"), ("start", "start one stage")):
        command(name, says).add_argument("stage", metavar="STAGE", help="its key in the pipeline file, or its process")
    stop = command("stop", "drain one stage and leave it stopped; without STAGE the whole mesh")
    stop.add_argument("stage", metavar="STAGE", nargs="?")
    sql = command("sql", "a question to the lake; without one, a prompt")
    sql.add_argument("statement", nargs="?", help="one SELECT, over bars_1s, trades, quotes, latest, bars('1m') ...")
    report = command("report", "what the lake holds and what is proven of it; with --date exit 1 unless all is good")
    verify = command("verify", "every certificate against the lake, from scratch; exit 1 on any changed byte")
    for one in (report, verify):
        one.add_argument("--date", help="only this day: 2025-10-20, yesterday or today (UTC)")
    service = command("service", "print the file that lets systemd, launchd or Windows keep the mesh running")
    service.add_argument(
        "kind", nargs="?", choices=KINDS, default=here(), help="default: what this machine understands"
    )
    arguments = parser.parse_args(argv)
    arguments.command = arguments.command or "run"
    return arguments


def answer(arguments: argparse.Namespace) -> int:
    """Does what was asked. Returns the exit code: 0 done, 1 not, 2 wrong configuration."""
    try:
        return _COMMANDS[arguments.command](arguments)
    except config.ConfigError as error:
        return _say_faults(arguments.config, error.faults, arguments.json)
    except asking.NotRunning as why:
        print(json.dumps({"running": False, "error": str(why)}) if arguments.json else why)
        return EXIT_NO
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


@contextlib.contextmanager
def prepared(arguments: argparse.Namespace) -> Iterator[tuple[Pipeline, Ground]]:
    """A checked pipeline and its lake, held by us; ends the process with a plain message otherwise."""
    path = Path(arguments.config).absolute()
    try:
        pipeline = config.load(path)
        ground = Ground(Path(pipeline.lake), pipeline.path)
    except config.ConfigError as error:
        sys.exit(_say_faults(str(path), error.faults, False))
    except Refused as why:
        print(why, file=sys.stderr)
        sys.exit(EXIT_NO)
    try:
        if code := _checked_apart(path):
            sys.exit(code)
        logs.setup(pipeline.lake, "supervisor", console=True)
        print(banner(pipeline), flush=True)
        for doubt in ground.doubts:
            logger.warning(doubt)
        yield pipeline, ground
        logger.info("stopped")
    except Exception:
        logger.exception("the supervisor crashed; its stages drain and leave")
        sys.exit(EXIT_NO)
    finally:
        ground.close()


def _checked_apart(path: Path) -> int:
    """`check` in a process of its own: it loads every stage's packages, which need not be carried for months."""
    command = [sys.executable, str(ROOT / "supervisor.py"), "check", "--json", "--config", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_CHECK_S, check=False, stdin=subprocess.DEVNULL
    )
    try:
        faults = [Fault(**fault) for fault in json.loads(done.stdout)["faults"]]
    except (ValueError, KeyError, TypeError):
        print(done.stderr or done.stdout, file=sys.stderr)
        return EXIT_NO
    return _say_faults(str(path), faults, False) if faults else 0


def banner(pipeline: Pipeline) -> str:
    """Where the lake is, and how to look into it."""
    bars = (Path(pipeline.lake) / "parquet" / "**" / "*.parquet").as_posix()
    quoted = bars.replace("'", "''")
    return "\n".join(
        [
            topology.picture(pipeline),
            f"lake     {pipeline.lake}   (first bars in a few seconds; Ctrl-C drains and stops)",
            f'DuckDB   duckdb.sql("""from read_parquet(\'{quoted}\', hive_partitioning=false) limit 10""").show()',
            f'Polars   pl.scan_parquet("{bars}", hive_partitioning=False).head(10).collect()',
            "",
        ]
    )


def _say_faults(path: str, faults: Sequence[Fault], as_json: bool) -> int:
    if as_json:
        print(json.dumps({"ok": False, "faults": [{"path": fault.path, "says": fault.says} for fault in faults]}))
        return EXIT_CONFIG
    count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
    print(f"{path}: {count}", file=sys.stderr)
    for fault in faults:
        print(f"  {fault}", file=sys.stderr)
    return EXIT_CONFIG


# --- the answers ---


def _check(arguments: argparse.Namespace) -> int:
    pipeline = config.load(arguments.config)
    faults = config.check(pipeline)
    if kind := machine.network_type(Path(pipeline.lake)):
        faults.append(
            Fault("lake", f"{pipeline.lake} lies on a network file system ({kind}): use a disk of this machine")
        )
    if faults:
        raise config.ConfigError(faults)
    expected = forecast.forecast(pipeline)
    if arguments.json:
        print(json.dumps({"ok": True, "faults": [], "lake": pipeline.lake, "expected": expected}))
    else:
        print(f"{arguments.config}: no fault found\n\n{topology.picture(pipeline)}\n{forecast.text(expected)}")
    return 0


def _graph(arguments: argparse.Namespace) -> int:
    pipeline = config.load(arguments.config)
    picture, mermaid = topology.picture(pipeline), topology.mermaid(pipeline)
    print(json.dumps({"picture": picture, "mermaid": mermaid}) if arguments.json else f"{picture}\n{mermaid}", end="")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    said = statuses.status(_lake(arguments))
    print(json.dumps(said) if arguments.json else statuses.text(said))
    return 0


def _stage(arguments: argparse.Namespace) -> int:
    said: list[str] = []
    say = said.append if arguments.json else lambda text: print(text, flush=True)
    lake = _lake(arguments)
    if arguments.stage is None:
        done = asking.stopped(lake, say)
    else:
        done = asking.obeyed(lake, arguments.command, arguments.stage, say)
    if arguments.json:
        print(json.dumps({"ok": done, "says": said}))
    return 0 if done else EXIT_NO


def _tap(arguments: argparse.Namespace) -> int:
    from supervision.tap import Tap, as_json, as_text, streams

    pipeline = config.load(arguments.config)
    for name in arguments.stage:
        if name not in pipeline.nodes:
            raise config.ConfigError([Fault("--stage", f"there is no {name}{topology.nearest(name, pipeline.nodes)}")])
    try:
        wanted = streams(arguments.stream)
    except ValueError as why:
        raise config.ConfigError([Fault("--stream", str(why))]) from None
    mesh = find_mesh(Path(pipeline.lake))
    if mesh is None:
        raise asking.NotRunning("no mesh runs on this lake")
    asking.ask(Path(pipeline.lake), {"do": "status"})  # one that was killed has left its file behind
    tap = Tap(pipeline, mesh, wanted, set(arguments.symbol), set(arguments.stage))
    shape = as_text if sys.stdout.isatty() and not arguments.json else as_json
    try:
        for journal, seen in tap.follow():
            if journal:
                sys.stdout.write(shape(journal, seen) + "\n")
            else:
                sys.stdout.flush()
    finally:
        with contextlib.suppress(OSError):
            print(f"{tap.missed} records missed", file=sys.stderr)
    return 0


def _sql(arguments: argparse.Namespace) -> int:
    from supervision.questions import ask, prompt

    root = _lake(arguments)
    return ask(root, arguments.statement, arguments.json) if arguments.statement else prompt(root, arguments.json)


def _report(arguments: argparse.Namespace) -> int:
    from supervision.reporting import report

    return report(config.load(arguments.config), _date(arguments), arguments.json)


def _verify(arguments: argparse.Namespace) -> int:
    from supervision.reporting import verify

    return verify(config.load(arguments.config), _date(arguments), arguments.json)


def _date(arguments: argparse.Namespace) -> str | None:
    from supervision.reporting import day_named

    try:
        return day_named(arguments.date) if arguments.date is not None else None
    except ValueError:
        raise config.ConfigError([Fault("--date", "write it like 2025-10-20, or say yesterday or today")]) from None


def _demo(arguments: argparse.Namespace) -> int:
    from supervision import demo

    try:
        return demo.run(arguments.seconds, arguments.lake)
    except (demo.Failed, Refused) as why:
        print(why, file=sys.stderr)
        return EXIT_NO


def _service(arguments: argparse.Namespace) -> int:
    print(unit(arguments.kind, Path(arguments.config).absolute(), ROOT), end="")
    return 0


def _lake(arguments: argparse.Namespace) -> Path:
    return Path(config.load(arguments.config).lake)


_COMMANDS = {
    "check": _check,
    "graph": _graph,
    "status": _status,
    "tap": _tap,
    "restart": _stage,
    "start": _stage,
    "stop": _stage,
    "sql": _sql,
    "report": _report,
    "verify": _verify,
    "service": _service,
    "demo": _demo,
}
