"""S2: on the same machine, who is not this user or has not this run's token and keys can neither listen, forge nor
command.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import zmq

from shared.events import Beat
from shared.wire import Bus
from supervision import asking
from tests.security.attacked import STAGES, Running, until

pytestmark = pytest.mark.timeout(120)

ELSEWHERE = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
for path in sys.argv[1:]:
    for attempt in (lambda: os.listdir(path), lambda: open(path).read(), lambda: socket.socket(1).connect(path)):
        try:
            attempt()
        except OSError:
            continue
        sys.exit(f"another user got at {path}")
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_finds_no_socket_and_no_keys(ipc_mesh: Running) -> None:
    run = ipc_mesh.lake / "run"
    for folder in [ipc_mesh.lake, *ipc_mesh.lake.parents]:  # pytest's own folders are closed: only ours should count
        if stat.S_IMODE(folder.stat().st_mode) & 0o005 != 0o005 and folder != run:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)
    sockets = [endpoint.removeprefix("ipc://") for endpoint in ipc_mesh.endpoints().values()]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, ipc_mesh.mesh.folder, str(run), str(run / "mesh.json"), *sockets],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


REQUESTS: list[object] = [
    {"do": "stop"},
    {"do": "stop", "token": ""},
    {"do": "stop", "token": None},
    {"do": "stop", "token": True},
    {"do": "stop", "token": ["t"]},
    {"do": "restart", "stage": "binance", "token": "0" * 32},
    {"do": "stop", "token": {"$ne": ""}},
    ["stop"],
    "stop",
]


def test_without_the_token_of_the_run_nothing_is_obeyed(mesh: Running) -> None:
    """Keys and folder are not enough: a program that has found an old run's file still has no say."""
    bus = Bus(mesh.lake, mesh.mesh)
    try:
        for frames in (
            *([b"", json.dumps(request).encode()] for request in REQUESTS),
            [b""],
            [b"", b""],
            [b"", b"[" * 100_000],
            [b"", b'{"token":' * 5000],
            [b"", b"\xff\xfe"],
            [b"a", b"b", b"c", b"d"],
            [b"", b'{"do":"stop","token":"' + b"x" * (1 << 20) + b'"}'],
        ):
            asker = bus._connecting(zmq.DEALER)
            asker.connect(str(bus.endpoint("control")))
            asker.send_multipart(frames)
            assert not asker.poll(20), "strangers get no answer"
        right = asking.ask(mesh.lake, {"do": "status"})
        assert right["running"] and not right["stopping"]
    finally:
        bus.close()
    assert mesh.states() == dict.fromkeys(STAGES, ("running", 0))


@pytest.mark.parametrize(
    "request_", [{}, {"do": None}, {"do": "eval", "stage": "x"}, {"do": "stop", "stage": 5}, {"do": ["stop"]},
                 {"do": "restart", "stage": "../../x"}, {"do": "__class__", "stage": "binance"},
                 {"do": "kill", "stage": "binance"}],
)  # fmt: skip
def test_even_with_the_token_only_what_there_is_can_be_asked_for(
    ipc_mesh: Running, request_: dict[str, object]
) -> None:
    assert "error" in asking.ask(ipc_mesh.lake, request_)
    assert ipc_mesh.states() == dict.fromkeys(STAGES, ("running", 0))


def test_a_heartbeat_without_the_token_is_counted_and_not_believed(mesh: Running) -> None:
    bus = Bus(mesh.lake, mesh.mesh)
    try:
        lane = bus.push("health")
        pid = asking.rows(mesh.lake)["archive"]["pid"]
        for token in ("", "guess", "0" * 32):
            beat = Beat("archive", pid, token, note="forged", counters={"lines": -1})
            until("sent", lambda b=beat: lane.send(msgspec.msgpack.encode(b)))  # type: ignore[misc]
        before = mesh.counters("archive")["lines"]
        until("the next heartbeats", lambda: mesh.counters("archive")["lines"] > before)
        assert "forged" not in asking.rows(mesh.lake)["archive"]["note"]
    finally:
        bus.close()


def test_no_watcher_and_no_answer_ever_sees_the_token(mesh: Running) -> None:
    token = mesh.mesh.token
    assert token not in json.dumps(asking.ask(mesh.lake, {"do": "status"}))
    bus = Bus(mesh.lake, mesh.mesh)
    try:
        watcher = bus.subscriber(["tap.supervisor", "tap.binance"])
        seen: set[str] = set()

        def look() -> bool:
            found = watcher.recv(100)
            if found is not None:
                assert token.encode() not in found[1]
                seen.add(found[0])
            return seen >= {"beat", "binance"}

        until("a heartbeat and a record", look)
    finally:
        bus.close()
    for log in sorted((mesh.lake / "logs").iterdir()):
        assert token not in log.read_text(), log
    for process in mesh.processes():
        assert token not in " ".join(process.cmdline()), "a command line is seen by everybody"


def test_every_run_has_a_token_and_keys_of_its_own(mesh: Running, tmp_path: Path) -> None:
    from shared.wire import new_mesh

    other = new_mesh("x.yml")
    try:
        assert other.token != mesh.mesh.token and len(other.token) == 32
    finally:
        if other.folder:
            Path(other.folder).rmdir()
