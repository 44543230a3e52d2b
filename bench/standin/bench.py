"""A folder with a stand-in, a pipeline file that names nothing but its URLs, a lake and a supervisor."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from bench.judge.ledger import Ledger, from_standin
from bench.judge.report import Report
from bench.judge.verdict import judge
from bench.stages import running

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("binance", "bars_1s", "archive", "parquet")

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
        return running(self.config)

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


def spawn(log: Path, *words: str) -> subprocess.Popen[bytes]:
    """A program of this repository, in a process group of its own, with its words in a file."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
