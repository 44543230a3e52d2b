"""The mesh judged against the stand-in: one command, one scenario, one verdict.

    python -m bench standin steady --seconds 60
    python -m bench standin faults --seconds 180 --rate 5000
    python -m bench standin restarts | kills | rotations | silences | answers | stops
    python -m bench standin capture --files ethusdt_20240808.gz ethusdt_20240809.gz --speed 60

Every scenario starts the stand-in and `supervisor.py` with a pipeline file that names nothing but its URLs, does what
its name says, lets the mesh heal, drains it and compares lake and ledger. `all` plays each of them but capture.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

from bench.judge.ledger import from_captures
from bench.judge.report import Report
from bench.judge.verdict import judge
from bench.standin.bench import BATCHES, PIPELINE, Bench, spawn
from bench.standin.scenarios import SCENARIOS, play, say

HEAL_S = 120.0


def run(name: str, options: argparse.Namespace, folder: Path) -> Report:
    bench = Bench(folder, options.symbols, options.rate, options.seed, *options.standin.split())
    bench.streams = options.streams
    bench.write_config(batches=BATCHES if options.batches else "")
    try:
        bench.start()
        bench.wait_flowing()
        play(bench, options.seconds, SCENARIOS[name](bench, options))
        bench.fault("duplicate", rate=0)
        bench.fault("reorder", rate=0)
        say(f"paused: {bench.fault('pause')}")
        say(f"settled after {bench.settle(options.heal):.1f} s")
        status = bench.ask("status", "--json")
        (folder / "status.json").write_text(status.stdout, encoding="utf-8")
        code = bench.stop()
        report, _ = bench.verdict()
        if code != 0:
            report.fault("exit of the supervisor", code)
        return report
    finally:
        bench.close()


def play_recording(options: argparse.Namespace, folder: Path) -> Report:
    """A recording through the project's own emulator, judged by the recording itself."""
    venue = options.venue
    port = free_port()
    words = ["--recording", *map(str, options.files), "--speed", str(options.speed), *options.emulator.split()]
    emulator = spawn(folder / "emulator.log", "-m", "procs.emulator", "--port", str(port), *words)
    ledger = from_captures(options.files)
    text = PIPELINE.format(
        venue=venue, symbols=", ".join(ledger.trades), streams="trade, quote", more="    replay: true\n", batches="",
        ws_url=f"ws://127.0.0.1:{port}", rest_url=f"http://127.0.0.1:{port}",
    )  # fmt: skip
    (folder / "pipeline.yml").write_text(text, encoding="utf-8")
    mesh = spawn(folder / "console-1.log", "supervisor.py", "--config", str(folder / "pipeline.yml"))
    try:
        deadline = time.monotonic() + options.heal + options.seconds
        while time.monotonic() < deadline and mesh.poll() is None and not _ended(folder / "lake", venue):
            time.sleep(0.5)
        time.sleep(3)
        if mesh.poll() is None:
            mesh.send_signal(signal.SIGINT)
        code = mesh.wait(60)
    finally:
        emulator.terminate()
        emulator.wait(20)
        if mesh.poll() is None:
            mesh.kill()
    report, _ = judge(folder / "lake", ledger, venue)
    if code != 0:
        report.fault("exit of the supervisor", code)
    return report


def _ended(lake: Path, venue: str) -> bool:
    return any(b'"ended"' in path.read_bytes() for path in (lake / "feed" / venue).rglob("*.jsonl"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", choices=[*SCENARIOS, "capture", "all"])
    parser.add_argument("--seconds", type=float, default=60, help="of each (default: %(default)g)")
    parser.add_argument("--rate", type=float, default=5000, help="events a second (default: %(default)g)")
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--times", type=int, default=8, help="restarts, kills or rotations (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other moments (default: %(default)s)")
    parser.add_argument("--heal", type=float, default=HEAL_S, help="seconds allowed for healing (default: %(default)g)")
    parser.add_argument("--streams", default="trade, quote", help="as in the pipeline file (default: %(default)s)")
    parser.add_argument("--batches", action="store_true", help="with validator and compactor on their timers")
    parser.add_argument("--standin", default="", help="further words for bench.standin, in one string")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="capture: the recording")
    parser.add_argument("--speed", default="60", help="capture: times as fast as it was (default: %(default)s)")
    parser.add_argument("--venue", default="binance", help="capture: whose recording it is")
    parser.add_argument("--emulator", default="", help="capture: further words for procs.emulator, in one string")
    parser.add_argument("--keep", type=Path, help="do it here and keep it")


def standin(options: argparse.Namespace) -> int:
    """The mesh against a venue that shares no code with it, judged by a ledger and a judge that share none either."""
    names = [*SCENARIOS] if options.scenario == "all" else [options.scenario]
    wrong = [name for name in names if _judged(name, options)]
    say(f"standin: {len(names) - len(wrong)} of {len(names)} right{': not ' + ', '.join(wrong) if wrong else ''}")
    return 1 if wrong else 0


def _judged(name: str, options: argparse.Namespace) -> bool:
    """Whether anything was wrong; then the folder is left for a look."""
    folder = options.keep / name if options.keep else Path(tempfile.mkdtemp(prefix="judge-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"--- {name}")
    report = play_recording(options, folder) if name == "capture" else run(name, options, folder)
    say(str(report))
    if options.keep is None and not report.wrong:
        shutil.rmtree(folder)
    else:
        say(f"kept: {os.fspath(folder)}")
    return bool(report.wrong)
