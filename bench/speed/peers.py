"""Other collectors beside ours: each in an environment of its own, made once, on the very same stream.

A peer that cannot be had (no Python of its version, no registry) is left out, and why is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pyarrow.parquet as pq

from bench.speed.check import Verdict
from bench.speed.market import Market
from bench.speed.server import Server
from bench.speed.yardstick import Load, Run, cpu_of, wait_for_end

DRIVERS: Final = Path(__file__).with_name("drivers")
INSTALL_S: Final = 900.0
START_S: Final = 60.0
RUN_S: Final = 300.0


@dataclass(frozen=True)
class Peer:
    """`python` is the version it needs, where it needs one."""

    name: str
    driver: str
    packages: tuple[str, ...]
    python: str = ""
    closes: bool = False
    """Whether the server says goodbye after the last event, which ends the seed's collector; the others count."""


_MORE: Final = ("orjson==3.13.0", "pyarrow==26.0.1")
_UVLOOP: Final = () if sys.platform == "win32" else ("uvloop==0.23.0",)
PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer("cryptofeed", "cryptofeed_driver.py", ("cryptofeed==3.0.1", *_UVLOOP, *_MORE), "3.13"),
        Peer("python-binance", "python_binance_driver.py", ("python-binance==1.0.37", *_UVLOOP, *_MORE)),
        Peer("unicorn", "unicorn_driver.py", ("unicorn-binance-websocket-api==2.16.1", "picows==2.3.1", *_MORE)),
        Peer("seed-like", "seed_driver.py", ("websockets==17.4", "pandas==3.1.1", "pyarrow==26.0.1"), closes=True),
    )
}


class Unavailable(Exception):
    """Why a peer cannot run here, in a plain sentence."""


def cache() -> Path:
    """Where the environments are kept unless told otherwise."""
    return Path.home() / ".cache" / "crypto-lake-bench"


def interpreter(version: str) -> str:
    """A Python of that version on this machine, or this one where none is asked for. Raises Unavailable."""
    if not version:
        return sys.executable
    found: list[str | None] = [sys.executable, shutil.which(f"python{version}")]
    found += sorted(map(str, (Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin/python")))
    commands = [[path] for path in found if path] + [["py", f"-{version}"]]
    for command in commands:
        asks = [*command, "-c", "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(asks, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
            if said.endswith(f" {version}"):
                return said.rpartition(" ")[0]
    raise Unavailable(f"needs Python {version}, and none was found here")


def environment(peer: Peer, venvs: Path) -> str:
    """The interpreter of the peer's environment, made where it is not there yet. Raises Unavailable."""
    folder = venvs / peer.name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "packages.json"
    wanted = json.dumps(peer.packages)
    if done.exists() and done.read_text() == wanted and python.exists():
        return str(python)
    base = interpreter(peer.python)
    sys.stdout.write(f"installing {', '.join(peer.packages)} into {folder} …\n")
    sys.stdout.flush()
    try:
        for command in (
            [base, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.packages],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
        raise Unavailable(f"could not be installed: {lines[-1][:200] if lines else error}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"could not be installed: {error}") from None
    done.write_text(wanted)
    return str(python)


def run(
    peer: Peer, python: str, server: Server, folder: Path, market: Market, load: Load, work: str = "full"
) -> tuple[Run, dict[str, Any]]:
    """One run of a peer in an empty folder, and what it said at its end. Raises TimeoutError, Unavailable."""
    folder.mkdir(parents=True)
    server.order("set", events=load.events, rate=load.rate, time="real" if load.is_real else "market",
                 end="close" if peer.closes else "stay", micros=int(work == "latency"))  # fmt: skip
    words = ["--ws", server.where["wss_url" if load.is_tls else "ws_url"], "--rest", server.where["rest_url"]]
    words += ["--symbols", ",".join(market.names), "--events", str(load.events), "--folder", str(folder)]
    environ = dict(os.environ)
    if load.is_tls:
        environ["SSL_CERT_FILE"] = str(server.certificate)
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [python, str(DRIVERS / peer.driver), *words, "--work", work],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    begun = time.monotonic()
    try:
        server.subscribed(2 * len(market.names), START_S)
        start = time.monotonic() - begun
        server.order("prepare")
        time.sleep(0.5)
        before = cpu_of(psutil.Process(process.pid))
        server.order("go")
        total, said = _end(process, load.events, peer)
    except (TimeoutError, ValueError) as error:
        text = (folder / "errors.txt").read_text(errors="replace").strip()
        raise Unavailable(f"did not run: {error}; {text[-300:]}") from None
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    state = server.order("state")
    found = Run(load.events, (said["done_ns"] - state["began_ns"]) / 1e9, total - before, start=start)
    if work == "full" and load.events:
        found.verdict = _checked(folder, market, load.events)
    return found, said


def _end(process: subprocess.Popen[bytes], events: int, peer: Peer) -> tuple[float, dict[str, Any]]:
    """Waits for its end, asked for where nothing is to come; CPU seconds of its life, and its last words."""
    assert process.stdin is not None and process.stdout is not None
    if not events and not peer.closes:
        process.stdin.close()
    total = wait_for_end(process, RUN_S)
    said: dict[str, Any] = json.loads(process.stdout.read())
    if said["events"] != events:
        raise ValueError(f"{said['events']:,} of {events:,} events")
    return total, said


def _checked(folder: Path, market: Market, events: int) -> Verdict:
    """As many lines as events, as many trades in the bars as were sent; no more is asked of a peer."""
    trades = int(market.is_trade[:events].sum())
    verdict = Verdict(events, trades=trades)
    for path in folder.rglob("*.jsonl"):
        verdict.lines += path.read_bytes().count(b"\n")
    for path in folder.rglob("bars-*.parquet"):
        table = pq.ParquetFile(path).read(["count"])
        verdict.bars += table.num_rows
        verdict.counted += sum(table.column("count").to_pylist())
    if verdict.lines != events:
        verdict.wrong.append(f"{verdict.lines - events:+,} lines")
    if verdict.counted != trades:
        verdict.wrong.append(f"{verdict.counted - trades:+,} trades in bars")
    return verdict
