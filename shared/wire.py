"""The bus, one of the four interfaces behind which a simulator can stand: ZeroMQ lanes between processes of one
machine.

A lane may lose what is in it whenever a process dies; nothing relies on it but speed (the journal is the guarantee).
PULL binds and PUSH connects, one pair an edge; nothing ever blocks. Every bound socket has a ZAP domain, which makes
libzmq refuse peers older than ZMTP 3: without it any web page can POST bytes that arrive as a message. Where there is
no ``ipc`` (Windows), lanes are loopback tcp with CURVE and the binder publishes its port in ``run/edges/``.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import zmq

HIGH_WATER = 64
"""Batches a lane holds on each side before it is full: some seconds of them, a few megabytes where little comes and 130
flat out, which is what ingest grows by while a consumer stands still. What does not fit is read from the journal."""
MAX_MESSAGE = (4 << 20) + 4096
LARGE = 1 << 20
"""Bytes that are sent on a patient lane at once."""
_THERE = int(zmq.POLLIN)


class Lane(Protocol):
    """The sending end of an edge."""

    def send(self, data: bytes) -> bool:
        """False where the lane is full or absent: the consumer will read the journal."""


class Inbox(Protocol):
    """The receiving end of an edge."""

    def recv(self) -> bytes | memoryview | None:
        """The next message, or None where none is there."""


class Curve(msgspec.Struct):
    """One key pair a run, known to who can read ``run/mesh.json``."""

    public: str
    secret: str


class Mesh(msgspec.Struct, kw_only=True):
    """``run/mesh.json``: how the processes of one run find each other. Readable by its owner alone."""

    token: str
    """Control requests and heartbeats carry it."""
    pid: int
    folder: str
    """Where the ipc sockets are; short, for such paths end at 107 bytes."""
    transport: str
    curve: Curve | None = None
    config: str
    started_ns: int


class Unreachable(Exception):
    """Nobody answers on an edge."""


def new_mesh(config: str) -> Mesh:
    """A run's fresh token, folder and keys."""
    import secrets

    tcp = os.name == "nt" or not zmq.has("ipc")
    curve = None
    if tcp:
        public, secret = zmq.curve_keypair()
        curve = Curve(public.decode(), secret.decode())
    folder = "" if tcp else tempfile.mkdtemp(prefix="lake-")  # mkdtemp makes it 0700
    return Mesh(
        token=secrets.token_hex(16),
        pid=os.getpid(),
        folder=folder,
        transport="tcp" if tcp else "ipc",
        curve=curve,
        config=config,
        started_ns=time.time_ns(),
    )


def publish_mesh(lake: Path, mesh: Mesh) -> None:
    """Writes ``run/mesh.json`` so that no one else can read it, and in one step."""
    run = lake / "run"
    run.mkdir(parents=True, exist_ok=True)
    _write_private(run / "mesh.json", msgspec.json.format(msgspec.json.encode(mesh)))


def find_mesh(lake: Path) -> Mesh | None:
    """The run that was last started on this lake, alive or not; None where there was none."""
    try:
        return msgspec.json.decode((lake / "run" / "mesh.json").read_bytes(), type=Mesh)
    except (OSError, ValueError, RecursionError):
        return None


def _write_private(path: Path, data: bytes) -> None:
    tmp = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp))
    finally:
        os.close(fd)
    tmp.replace(path)


class _Inbox:
    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self.is_ready: bool | None = None
        """Whether a message is there, as the bus saw when it waited; None where nobody has looked since."""

    def recv(self) -> bytes | memoryview | None:
        is_ready, self.is_ready = self.is_ready, None
        if is_ready is None:  # to look costs as much as to take a message, and an exception twice as much
            is_ready = bool(self.socket.getsockopt(zmq.EVENTS) & _THERE)  # type: ignore[operator]  # here it is an int
        if not is_ready:
            return None
        try:
            return self.socket.recv(zmq.NOBLOCK, copy=False).buffer  # megabytes in a busy moment
        except zmq.Again:
            return None


class _Lane:
    """Connects as soon as the other end has said where it is, and again where that changes."""

    _LOOK_AGAIN_S = 0.5

    def __init__(self, bus: Bus, edge: str, socket: zmq.Socket[bytes], patience_ms: int) -> None:
        self._bus, self._edge, self._socket = bus, edge, socket
        self._patience_s = patience_ms / 1000
        self._held: list[bytes] = []
        self._size = 0
        self._sent = self._looked = -1e9
        self._endpoint: str | None = None
        self.skipped = 0
        self._connect()

    def _connect(self) -> None:
        self._looked = time.monotonic()
        endpoint = self._bus.endpoint(self._edge)
        if endpoint is None or endpoint == self._endpoint:
            return
        if self._endpoint is not None:
            self._socket.disconnect(self._endpoint)
        self._socket.connect(endpoint)
        self._endpoint = endpoint

    def send(self, data: bytes) -> bool:
        if not self._patience_s:
            return self._send([data])
        is_sent = not self._held or self._size + len(data) <= LARGE or self._send_held()
        self._held.append(data)
        self._size += len(data)
        if self._size >= LARGE or time.monotonic() - self._sent >= self._patience_s:
            is_sent = self._send_held() and is_sent
        return is_sent

    def _send_held(self) -> bool:
        held, self._held, self._size = self._held, [], 0
        self._sent = time.monotonic()
        return self._send(held)

    def _send(self, records: list[bytes]) -> bool:
        if (self._endpoint is None or self._bus.moves) and time.monotonic() - self._looked > self._LOOK_AGAIN_S:
            self._connect()
        if self._endpoint is not None:
            try:
                self._socket.send(self._bus.shared(records), zmq.NOBLOCK, copy=False)
                return True
            except zmq.Again:
                pass
        self.skipped += 1
        return False


class Publisher:
    """A lossy stream for watching. Topic, then payload."""

    def __init__(self, bus: Bus, socket: zmq.Socket[bytes]) -> None:
        self._bus, self._socket = bus, socket

    def send(self, topic: str, data: bytes) -> None:
        try:
            self._socket.send_multipart((topic.encode(), self._bus.shared([data])), zmq.NOBLOCK, copy=False)
        except zmq.Again:  # never slows the mesh; the watcher sees the jump in the sequence
            return


class Subscriber:
    """Watches several publishers."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket

    def recv(self, timeout_ms: int) -> tuple[str, bytes] | None:
        if not self._socket.poll(timeout_ms):
            return None
        topic, data = self._socket.recv_multipart()
        return topic.decode(errors="replace"), data


class Router:
    """Answers requests of other terminals; each must carry the run's token."""

    def __init__(self, socket: zmq.Socket[bytes], token: str) -> None:
        self.socket = socket
        self._token = token
        self.refused = 0

    def recv(self) -> tuple[bytes, dict[str, Any]] | None:
        """Who asks, and what; None where nothing is there. Strangers are counted and get no answer."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            try:
                sender, _, payload = frames
                request = json.loads(payload)
                if request.pop("token") == self._token:
                    return sender, request
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
                pass
            self.refused += 1

    def answer(self, sender: bytes, answer: dict[str, Any]) -> None:
        try:
            self.socket.send_multipart((sender, b"", json.dumps(answer).encode()), zmq.NOBLOCK)
        except zmq.ZMQError:  # who asked is gone
            return


class Bus:
    """The sockets of one process. Use from one thread; `close` at the end."""

    def __init__(self, lake: Path, mesh: Mesh) -> None:
        self._lake = lake
        self.mesh = mesh
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._poller = zmq.Poller()
        self._inboxes: list[_Inbox] = []
        self.moves = mesh.transport == "tcp"
        """Endpoints may change when the binder restarts."""
        self._sent: tuple[list[bytes], zmq.Frame] = [], zmq.Frame()

    def _edge_file(self, edge: str) -> Path:
        return self._lake / "run" / "edges" / f"{edge}.json"

    def endpoint(self, edge: str) -> str | None:
        """Where an edge is bound; None while nobody has said so."""
        if self.mesh.transport == "ipc":
            return f"ipc://{self.mesh.folder}/{zlib.crc32(edge.encode()):08x}"
        try:
            found = json.loads(self._edge_file(edge).read_bytes())
            return str(found["endpoint"]) if found["token"] == self.mesh.token else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)  # what is not sent stands in the journal
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        self._sockets.append(socket)
        return socket

    def _bound(self, kind: int, edge: str) -> zmq.Socket[bytes]:
        socket = self._socket(kind)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"lake")
        if self.mesh.transport == "ipc":
            endpoint = self.endpoint(edge)
            assert endpoint is not None
            socket.bind(endpoint)
            return socket
        assert self.mesh.curve is not None
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.mesh.curve.secret.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.mesh.curve.public.encode())
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        self._edge_file(edge).parent.mkdir(parents=True, exist_ok=True)
        said = {"endpoint": f"tcp://127.0.0.1:{port}", "token": self.mesh.token}
        _write_private(self._edge_file(edge), json.dumps(said).encode())
        return socket

    def _connecting(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._socket(kind)
        if self.mesh.curve is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, self.mesh.curve.public.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, self.mesh.curve.secret.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self.mesh.curve.public.encode())
        return socket

    def shared(self, records: list[bytes]) -> zmq.Frame:
        """One message as ZeroMQ holds it. What goes to several ends in turn is copied for all of them once."""
        if self._sent[0] != records:  # the same objects, as a rule, of which no byte is looked at
            self._sent = records, zmq.Frame(records[0] if len(records) == 1 else b"".join(records), copy=True)
        return self._sent[1]

    def pull(self, edge: str) -> _Inbox:
        """Binds. The caller holds the stage's lock: a second bind of an ipc path silently steals the lane."""
        socket = self._bound(zmq.PULL, edge)
        self._poller.register(socket, zmq.POLLIN)
        self._inboxes.append(_Inbox(socket))
        return self._inboxes[-1]

    def push(self, edge: str, patience_ms: int = 0) -> _Lane:
        """A lane. One with patience carries what small records there are several at a time, so many milliseconds apart:
        each message wakes who takes it. More follows a tenth of a second later, or else the journal has it.
        """
        socket = self._connecting(zmq.PUSH)
        if patience_ms:  # as much as another lane, in fewer messages: what a sender grows by while nobody takes it
            socket.setsockopt(zmq.SNDHWM, HIGH_WATER // 4)
        return _Lane(self, edge, socket, patience_ms)

    def publisher(self, edge: str) -> Publisher:
        return Publisher(self, self._bound(zmq.PUB, edge))

    def subscriber(self, edges: Iterable[str], topics: Sequence[str] = ("",)) -> Subscriber:
        socket = self._connecting(zmq.SUB)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        for endpoint in filter(None, map(self.endpoint, edges)):
            socket.connect(endpoint)
        return Subscriber(socket)

    def router(self, edge: str) -> Router:
        socket = self._bound(zmq.ROUTER, edge)
        self._poller.register(socket, zmq.POLLIN)
        return Router(socket, self.mesh.token)

    def request(self, edge: str, request: dict[str, Any], timeout_ms: int = 3000) -> dict[str, Any]:
        """Asks and waits. Raises Unreachable where no answer comes in time."""
        endpoint = self.endpoint(edge)
        if endpoint is None:
            raise Unreachable(edge)
        socket = self._connecting(zmq.REQ)
        try:
            socket.connect(endpoint)
            socket.send(json.dumps({**request, "token": self.mesh.token}).encode())
            if not socket.poll(timeout_ms):
                raise Unreachable(edge)
            answer = json.loads(socket.recv())
            return answer if isinstance(answer, dict) else {}
        finally:
            self._sockets.remove(socket)
            socket.close()

    def watch(self, fd: int) -> None:
        """`wait` ends, too, when there is something to be read from this descriptor (on Windows: a socket's)."""
        self._poller.register(fd, zmq.POLLIN)

    def wait(self, timeout_ms: int) -> bool:
        """Sleeps until a message is there for one of the inboxes and routers, or the time is over; inboxes know then
        whether it is theirs.
        """
        ready = [socket for socket, _ in self._poller.poll(timeout_ms)]
        for inbox in self._inboxes:
            inbox.is_ready = inbox.socket in ready
        return bool(ready)

    def close(self) -> None:
        for socket in self._sockets:
            socket.close()
        self._context.term()
