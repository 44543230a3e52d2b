"""The mesh judged against the stand-in: one command, one scenario, one verdict.

    python -m bench.standin_cli steady --seconds 60
    python -m bench.standin_cli faults --seconds 180 --rate 5000
    python -m bench.standin_cli restarts | kills | rotations | silences | answers | stops
    python -m bench.standin_cli capture --files ethusdt_20240808.gz ethusdt_20240809.gz --speed 60

Every scenario starts the stand-in and `supervisor.py` with a pipeline file that names nothing but its URLs, does what
its name says, lets the mesh heal, drains it and compares lake and ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench.judge import Ledger, Report, from_captures, from_standin, judge

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("binance", "bars_1s", "archive", "parquet")
HEAL_S = 120.0

PIPELINE = """\
lake: ./lake
sources:
  binance:
    run: ingest
    venue: {venue}
    symbols: [{symbols}]
    streams: [{streams}]
    ws_url: {ws_url}
    rest_url: {rest_url}
{more}transforms:
  bars_1s: {{run: aggregator, inputs: [binance], lateness_ms: 2000}}
sinks:
  archive: {{run: archiver, inputs: [binance], rotate_every_s: 60}}
  parquet: {{run: parquet_sink, inputs: [bars_1s], flush_every_s: 60, compression: snappy}}
{batches}"""

BATCHES = """\
batches:
  validate: {run: validator, every: 1m}
  compact: {run: compactor, daily_at: "01:30"}
"""


class Bench:
    """A folder with a stand-in, a pipeline file, a lake and a supervisor."""

    venue, streams = "binance", "trade, quote"

    def __init__(self, folder: Path, symbols: int, rate: float, seed: int = 1, *more: str) -> None:
        if "usdm" in more:
            self.venue = "binance_usdm"
        self.folder, self.lake, self.ledger = folder, folder / "lake", folder / "ledger.ndjson"
        self.config = folder / "pipeline.yml"
        words = ["--ledger", str(self.ledger), "--symbols", str(symbols), "--rate", str(rate), "--seed", str(seed)]
        self.standin = subprocess.Popen(
            [sys.executable, "-m", "bench.standin", *words, *more], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self.standin.stdout is not None
        self.where = json.loads(self.standin.stdout.readline())
        self.symbols = list(self.state()["last_ids"])
        self.write_config()
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def write_config(self, more: str = "", batches: str = "") -> None:
        text = PIPELINE.format(
            venue=self.venue, symbols=", ".join(self.symbols), streams=self.streams, more=more, batches=batches,
            ws_url=self.where["ws_url"], rest_url=self.where["rest_url"],
        )  # fmt: skip
        self.config.write_text(text, encoding="utf-8")

    # --- the mesh ---

    def start(self) -> None:
        self.starts += 1
        self.supervisor = spawn(
            self.folder / f"console-{self.starts}.log", "supervisor.py", "--config", str(self.config)
        )

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "supervisor.py", *words, "--config", str(self.config)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def stop(self, wait: float = 60) -> int:
        """Drains the mesh as Ctrl-C does."""
        assert self.supervisor is not None
        self.supervisor.send_signal(signal.SIGINT)
        try:
            return self.supervisor.wait(wait)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            return -9

    def stages(self) -> dict[str, psutil.Process]:
        """The running stages of this bench, wherever they hang: also those whose supervisor is gone."""
        found: dict[str, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "--stage" in words and str(self.config) in words:
                    found[words[words.index("--stage") + 1]] = process
        return found

    def kill(self, name: str) -> bool:
        if name == "supervisor":
            assert self.supervisor is not None
            self.supervisor.kill()
            self.supervisor.wait()
            return True
        process = self.stages().get(name)
        if process is None:
            return False
        with contextlib.suppress(psutil.Error):
            process.kill()
        return True

    # --- the stand-in ---

    def fault(self, kind: str, **more: Any) -> Any:
        body = json.dumps({"kind": kind, **more}).encode()
        return self._control("fault", body)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._control("state")
        return found

    def _control(self, what: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.where['rest_url']}/standin/{what}", body, timeout=30) as answer:
            return json.load(answer)

    def wait_flowing(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if len({n for c in self.state()["connections"].values() for n in [c["streams"]] if n}) > 0:
                return
            time.sleep(0.2)
        raise TimeoutError("nobody subscribed")

    def close(self) -> None:
        if self.supervisor is not None and self.supervisor.poll() is None:
            self.stop()
        for process in self.stages().values():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.standin.terminate()
        self.standin.wait(30)
        if self.standin.stdout is not None:
            self.standin.stdout.close()

    def settle(self, seconds: float) -> float:
        """No new events; waits until every issued id is in the raw files, at most so long. Says how long it took."""
        begun = time.monotonic()
        time.sleep(5)  # lateness, and the bars of the last second
        while time.monotonic() - begun < seconds and not self._all_there():
            time.sleep(3)
        return time.monotonic() - begun

    def _all_there(self) -> bool:
        state = self.state()
        first, last = state["first_sent"], state["last_ids"]
        for name in self.symbols:
            if first[name] is None:
                continue
            held = set()
            for path in (self.lake / "raw" / self.venue / name).rglob("*.jsonl"):
                try:
                    lines = path.read_bytes().splitlines()
                except FileNotFoundError:  # closed, and renamed, at this moment
                    return False
                for line in lines:
                    at = line.find(b'"trade_id":')
                    if at > 0:
                        held.add(int(line[at + 11 : line.index(b",", at)]))
                    elif b'"source":"rest","agg_id"' in line:
                        row = json.loads(line)
                        held.update(range(row["first_trade_id"], row["last_trade_id"] + 1))
            if not held.issuperset(range(first[name], last[name] + 1)):
                return False
        return True

    def verdict(self) -> tuple[Report, Ledger]:
        state = self.state()
        self.close()
        ledger = from_standin(self.ledger)
        report, _ = judge(self.lake, ledger, self.venue)
        report.figures["issued"], report.figures["sent"] = state["issued"], state["sent"]
        for key in ("connections_ever", "most_attempts_in_5_minutes", "rest_most_weight", "rest_requests"):
            report.figures[key] = state[key]
        for key in ("control_too_fast", "unknown_streams", "rest_early"):
            if state[key]:
                report.fault(key, state[key])
        return report, ledger


# --- scenarios ---

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


def run(options: argparse.Namespace, folder: Path) -> Report:
    bench = Bench(folder, options.symbols, options.rate, options.seed, *options.standin.split())
    bench.streams = options.streams
    bench.write_config(batches=BATCHES if options.batches else "")
    try:
        bench.start()
        bench.wait_flowing()
        play(bench, options.seconds, SCENARIOS[options.scenario](bench, options))
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


def capture(options: argparse.Namespace, folder: Path) -> Report:
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


def spawn(log: Path, *words: str) -> subprocess.Popen[bytes]:
    """A program of this repository, in a process group of its own, with its words in a file."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, "capture"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--times", type=int, default=8, help="restarts, kills or rotations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heal", type=float, default=HEAL_S, help="seconds allowed for healing")
    parser.add_argument("--streams", default="trade, quote")
    parser.add_argument("--batches", action="store_true", help="with validator and compactor on their timers")
    parser.add_argument("--standin", default="", help="further words for bench.standin, in one string")
    parser.add_argument("--files", type=Path, nargs="*", default=[])
    parser.add_argument("--speed", default="60")
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--emulator", default="", help="further words for procs.emulator, in one string")
    parser.add_argument("--keep", type=Path, help="do it here and keep it")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="judge-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = capture(options, folder) if options.scenario == "capture" else run(options, folder)
    say(str(report))
    if options.keep is None and not report.wrong:
        shutil.rmtree(folder)
    else:
        say(f"kept: {os.fspath(folder)}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
