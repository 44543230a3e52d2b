"""Doors that strangers could come through: that each bolt is shot, one by one, on the very socket, session or file.

What strangers then meet is tried in tests/security; a bolt beside another one would not be missed there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zmq

from shared import lake, wire, ws
from shared.locks import Held, Lock, holder
from shared.rest import Rest
from shared.wire import HIGH_WATER, MAX_MESSAGE, Bus, Curve, Mesh, Router, find_mesh, new_mesh, publish_mesh


def tcp() -> Mesh:
    public, secret = zmq.curve_keypair()
    curve = Curve(public.decode(), secret.decode())
    return Mesh(token="t", pid=1, folder="", transport="tcp", curve=curve, config="", started_ns=0)


@pytest.fixture(params=["ipc", "tcp"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    mesh = tcp()
    if request.param == "ipc":
        if not zmq.has("ipc"):
            pytest.skip("no ipc on this system")
        mesh = new_mesh("")
    found = Bus(tmp_path, mesh)
    yield found
    found.close()
    if mesh.folder:
        for name in Path(mesh.folder).iterdir():
            name.unlink()
        Path(mesh.folder).rmdir()


def all_sockets(bus: Bus) -> tuple[list[Any], list[Any]]:
    """Those that are bound, and those that connect."""
    bus.pull("health")
    bus.publisher("tap.x")
    bus.router("control")
    bound = list(bus._sockets)
    bus.push("health")
    bus.subscriber(["tap.x"])
    return bound, bus._sockets[len(bound) :]


def test_every_bound_socket_refuses_older_protocols_and_listens_on_this_machine_alone(bus: Bus) -> None:
    bound, _ = all_sockets(bus)
    for socket in bound:
        assert socket.getsockopt(zmq.ZAP_DOMAIN) == b"lake"
        where = socket.getsockopt(zmq.LAST_ENDPOINT).decode()
        assert where.startswith("tcp://127.0.0.1:" if bus.mesh.curve else f"ipc://{bus.mesh.folder}/"), where


def test_nothing_waits_for_an_absent_peer_and_nothing_grows_without_end(bus: Bus) -> None:
    bound, connecting = all_sockets(bus)
    for socket in [*bound, *connecting]:
        asked = {
            name: socket.getsockopt(getattr(zmq, name))
            for name in ("LINGER", "SNDHWM", "RCVHWM", "MAXMSGSIZE", "RECONNECT_IVL")
        }
        assert asked == {
            "LINGER": 0, "SNDHWM": HIGH_WATER, "RCVHWM": HIGH_WATER, "MAXMSGSIZE": MAX_MESSAGE, "RECONNECT_IVL": 20,
        }  # fmt: skip


def test_over_tcp_every_socket_has_the_keys_of_the_run(tmp_path: Path) -> None:
    """That a peer with other keys delivers nothing is tried in test_wire.py."""
    with contextlib.closing(Bus(tmp_path, tcp())) as bus:
        bound, connecting = all_sockets(bus)
        assert [socket.getsockopt(zmq.CURVE_SERVER) for socket in bound] == [1, 1, 1]
        assert [socket.getsockopt(zmq.MECHANISM) for socket in bound + connecting] == [zmq.CURVE] * 5


def test_where_an_earlier_run_was_bound_nobody_connects(tmp_path: Path) -> None:
    with contextlib.closing(Bus(tmp_path, tcp())) as bus:
        bus.pull("health")
        assert bus.endpoint("health")
        said = tmp_path / "run/edges/health.json"
        said.write_text(json.dumps(json.loads(said.read_text()) | {"token": "of an earlier run"}))
        assert bus.endpoint("health") is None
        for junk in ("", "{}", "[]", '{"token":"t"}'):
            said.write_text(junk)
            assert bus.endpoint("health") is None, junk


def test_what_is_private_is_never_published_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = tcp()
    publish_mesh(tmp_path, mesh)
    plain = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: plain(fd, data[:10]))
    with pytest.raises(OSError, match="No space left"):
        publish_mesh(tmp_path, tcp())
    monkeypatch.undo()
    assert find_mesh(tmp_path) == mesh
    if os.name != "nt":
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "run").iterdir())


class Asked:
    """A ROUTER socket at which these frames wait."""

    def __init__(self, *waiting: list[bytes]) -> None:
        self._waiting = list(waiting)

    def recv_multipart(self, _: int) -> list[bytes]:
        if not self._waiting:
            raise zmq.Again
        return self._waiting.pop(0)


@pytest.mark.parametrize(
    "payload",
    [b'{"do":"stop"}', b'{"do":"stop","token":"T"}', b'{"do":"stop","token":null}', b'["token"]', b"", b"[" * 9999],
)
def test_what_does_not_carry_the_runs_token_is_counted_and_not_obeyed(payload: bytes) -> None:
    router = Router(Asked([b"id", b"", payload], [b"id", payload], [b"id", b"", b'{"token":"t"}']), "t")  # type: ignore[arg-type]
    assert router.recv() == (b"id", {}) and router.refused == 2
    assert router.recv() is None


def test_a_message_is_bounded_where_the_journals_are() -> None:
    assert wire.MAX_MESSAGE > 4 << 20 and ws.MAX_MESSAGE == 1 << 20


# --- questions ---


def test_each_door_of_a_session_that_answers_strangers_is_closed(tmp_path: Path) -> None:
    closed = {
        "enable_external_access": False, "lock_configuration": True, "temp_directory": "",
        "autoinstall_known_extensions": False, "autoload_known_extensions": False, "memory_limit": "1.8 GiB",
        "python_enable_replacements": False,
    }  # fmt: skip
    with lake.connect(tmp_path) as con:
        lake._close_doors(con, tmp_path)
        said = {name: con.execute("SELECT current_setting($1)", [name]).fetchall()[0][0] for name in closed}
        (allowed,) = con.execute("SELECT current_setting('allowed_directories')").fetchall()[0]
    assert said == closed
    assert {Path(folder).relative_to(tmp_path).as_posix() for folder in allowed} == set(lake.READABLE)
    assert not {"run", "journal", "quarantine"} & set(lake.READABLE)


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "", "CREATE TABLE x(a INT)", "COPY (SELECT 1) TO '/tmp/x'"])
def test_one_question_is_one_select(sql: str) -> None:
    with pytest.raises(lake.Refused):
        lake._only_select(sql)


def test_an_answer_has_an_end_and_says_that_it_was_cut(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    found = lake.query(tmp_path, "FROM range(10)", most_rows=3)
    assert len(found.rows) == 3 and found.is_cut
    assert not lake.query(tmp_path, "FROM range(3)", most_rows=3).is_cut
    with pytest.raises(duckdb.Error):
        lake.query(tmp_path, "FROM read_text('/etc/hostname')")


# --- what the clients of venues are told ---


def test_the_websocket_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each limit is tried with hostile servers; pings that nobody answers take longer than a test may."""
    said: dict[str, Any] = {}

    class Connect:
        def __init__(self, url: str, **options: Any) -> None:
            said.update(options)
            raise OSError("enough")

    import websockets.asyncio.client

    monkeypatch.setattr(websockets.asyncio.client, "connect", Connect)
    with pytest.raises(ws.ConnectFailed, match="enough"):
        asyncio.run(ws.connect("ws://127.0.0.1:1", print, print))
    own = {
        "compression": None, "proxy": None, "open_timeout": None, "ping_interval": 10, "ping_timeout": 10,
        "close_timeout": 1, "max_size": 1 << 20, "max_queue": 1024,
    }  # fmt: skip
    assert said | own == said


def test_the_rest_client_takes_nothing_from_the_environment_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        import aiohttp

        client = Rest("https://127.0.0.1:1", 6000)
        session = client._open()
        assert session.trust_env is False and session.timeout.total is not None and session.timeout.total <= 30
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        assert session.connector is not None and session.connector.limit == 8
        await client.close()

    asyncio.run(main())


# --- locks ---


def test_a_lock_is_held_by_one_alone_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with Lock(path, what="the first"):
        assert holder(path)["pid"] == os.getpid()
        with pytest.raises(Held, match=f"the first, process {os.getpid()}"):
            Lock(path)
    assert holder(path) == {}
    with Lock(path):
        pass
