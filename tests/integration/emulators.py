"""An emulated venue as a process, and a websocket client so plain that it can misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LAKE_REAL_DATA", ROOT.parent / "shared" / "data"))
SPOT_CAPTURES = [DATA / "binance-spot-ws" / name for name in ("ethusdt_20240808.gz", "ethusdt_20240809.gz")]
USDM_CAPTURE = DATA / "binance-usdm-ws" / "btcusdt_20240808.gz"
NO_DATA = f"no recorded market data in {DATA} (set LAKE_REAL_DATA)"


class Emulator:
    """A running emulator: its addresses, and REST with what came back."""

    def __init__(self, process: subprocess.Popen[bytes], ws_url: str, rest_url: str) -> None:
        self.process = process
        self.ws_url = ws_url
        self.rest_url = rest_url
        self.port = int(ws_url.rpartition(":")[2])

    def get(self, path: str, **headers: str) -> Any:
        status, body, _ = self.ask(path, **headers)
        assert status == 200, body
        return body

    def ask(
        self, path: str, data: Any = None, method: str | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        sent = None if data is None else json.dumps(data).encode()
        if sent is not None:
            headers["Content-Type"] = "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.rest_url + path, sent, named, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as answer:
                status, body, told = answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as refused:
            with refused:
                status, body, told = refused.code, refused.read(), dict(refused.headers)
        is_json = "json" in told.get("Content-Type", "")
        return status, json.loads(body) if is_json else body, told


@contextlib.contextmanager
def emulator(folder: Path, *options: str) -> Iterator[Emulator]:
    """A process of its own on a free port; it is gone at the end, and has not crashed."""
    port_file = folder / "venue.json"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "procs.emulator", "--port-file", str(port_file), "--lifeline", *options]
    with (folder / "emulator.txt").open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=said, stderr=said)
    try:
        wait_until(lambda: port_file.exists() or process.poll() is not None, 20)
        assert port_file.exists(), (folder / "emulator.txt").read_text()
        told = json.loads(port_file.read_text())
        yield Emulator(process, told["ws_url"], told["rest_url"])
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            code = process.wait(10)
        finally:
            process.kill()
            process.wait()
    assert code == 0, (folder / "emulator.txt").read_text()


def wait_until(condition: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


class Closed(Exception):
    """The connection ended: with a close frame's code and reason, or without one (1006)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Client:
    """Frames in, frames out; pings are answered unless ``answers`` is False."""

    def __init__(self, venue: Emulator, path: str, answers: bool = True) -> None:
        self._socket = socket.create_connection(("127.0.0.1", venue.port), timeout=20)
        self._answers = answers
        self._read = bytearray()
        self.pings = 0
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}{key}\r\n".encode())
        try:
            head = self._until(b"\r\n\r\n")
        except Closed:
            self._socket.close()
            raise
        self.status = int(head.split()[1])

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, told: Any) -> None:
        self.frame(1, (told if isinstance(told, str) else json.dumps(told)).encode())

    def ask(self, method: str, params: list[Any], ident: Any = 1) -> Any:
        """A control message; its answer, whatever data comes before it."""
        self.send({"method": method, "params": params, "id": ident})
        return self.answer()

    def answer(self) -> Any:
        while True:
            told = json.loads(self.text())
            if "id" in told or "code" in told:
                return told

    def frame(self, opcode: int, data: bytes) -> None:
        assert len(data) < 65536
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        self._socket.sendall(bytes([0x80 | opcode]) + size + b"\0\0\0\0" + data)  # a mask of zeros masks nothing

    def text(self) -> bytes:
        """The next message of data."""
        while True:
            opcode, data = self._frame()
            if opcode in (1, 2):
                return data
            if opcode == 9:
                self.pings += 1
                if self._answers:
                    self.frame(10, data)
            elif opcode == 8:
                self.frame(8, data)
                raise Closed(int.from_bytes(data[:2], "big"), data[2:].decode())

    def data(self) -> Any:
        return json.loads(self.text())

    def rest(self) -> list[bytes]:
        """Every message until the connection is closed by the other side; the close is told in ``closed``."""
        found: list[bytes] = []
        try:
            while True:
                found.append(self.text())
        except Closed as closed:
            self.closed = closed
            return found

    def _frame(self) -> tuple[int, bytes]:
        head = self._take(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return head[0] & 15, self._take(size)

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            self._more()
        head, _, rest = bytes(self._read).partition(mark)
        self._read = bytearray(rest)
        return head

    def _more(self) -> None:
        try:
            got = self._socket.recv(1 << 16)
        except ConnectionError:
            got = b""
        if not got:
            raise Closed(1006)
        self._read += got
