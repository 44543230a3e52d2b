"""S1: what a web page, a port scanner or a madman sends to a port of the mesh reaches nobody; the mesh goes on.

That the same forgery does arrive where the ZAP domain is missing is shown in tests/integration/test_wire.py.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import zmq

from shared import archive
from shared.events import Batch, Trade
from shared.files import Files
from shared.journal import pack
from shared.wire import Bus, Curve, Mesh
from tests.security.attacked import BOUND, STAGES, Running, connect, until

pytestmark = pytest.mark.timeout(120)

FORGED = Trade("SOLUSDT", 1, 1, 1, 1, "0.00000001", "1.0", "buy", 666_666_666)
RECORD = pack(Batch(1_000_000_000, 2, [FORGED]), 1_000_000_000, 2)
FRAMES = b"\x01\x00" + bytes([len(RECORD) + 1]) + b"\x00" + RECORD
"""ZMTP 1.0, which has no greeting: an empty identity, then one frame."""
HEAD = (
    b" HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\n"
    b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nContent-Length: 400\r\n\r\n"
)
STONES = {
    # The first letter of the method is taken for a frame's length: the path is as long as it takes to be in step.
    "a cross-site POST": b"POST /" + b"a" * 73 + HEAD + FRAMES + b"\0" * 200,
    "a POST in step": b"POST /" + b"\x01" * 74 + FRAMES * 3 + HEAD,
    "bare frames": FRAMES,
    "a greeting of version 2": b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x08" + b"\0\0" + b"\0" + bytes([len(RECORD)]) + RECORD,
    "a greeting without a mechanism": b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32,
    "TLS": bytes.fromhex("16030100f8010000f40303") + os.urandom(230),
    "SSH": b"SSH-2.0-scanner\r\n",
    "RDP": bytes.fromhex("030000130ee000000000000100080003000000"),
    "a length without end": b"\xff" + b"\xff" * 8 + b"\0",
    "line ends": b"\r\n\r\n",
    "noise": os.urandom(4000),
    "nothing": b"",
}


def test_stones_at_every_socket_reach_nobody_and_the_mesh_goes_on(mesh: Running) -> None:
    """Given a mesh that runs, when strangers send all there is to send, then own traffic alone is heard."""
    endpoints = mesh.endpoints()
    assert len(endpoints) == len(BOUND)
    before, troubles = mesh.counters("binance")["events_out"], mesh.troubles()
    left = []
    for endpoint in endpoints.values():
        for stone in STONES.values():
            stranger = connect(endpoint)
            with contextlib.suppress(OSError):  # hung up on
                stranger.sendall(stone)
            left.append(stranger)
    until("records after the attack", lambda: mesh.counters("binance")["events_out"] > before + 200)
    for stranger in left:
        stranger.close()
    until("as many archived", lambda: mesh.counters("archive")["lines"] > before + 200)
    assert mesh.states() == dict.fromkeys(STAGES, ("running", 0))
    assert mesh.troubles() == troubles


def test_peers_with_the_right_protocol_but_no_keys_deliver_nothing(tcp_mesh: Running, tmp_path: Path) -> None:
    """Over ipc the folder is the key: see test_s02_strangers."""
    mesh = tcp_mesh
    troubles = mesh.troubles()
    public, secret = (key.decode() for key in zmq.curve_keypair())
    said = mesh.mesh
    stranger = Bus(tmp_path, Mesh(token=said.token, pid=1, folder="", transport="tcp", config="", started_ns=0))
    keyed = Curve(public, secret)
    wrong = Bus(
        tmp_path, Mesh(token=said.token, pid=1, folder="", transport="tcp", curve=keyed, config="", started_ns=0)
    )
    try:
        for bus in (stranger, wrong):
            for endpoint in mesh.endpoints().values():
                socket = bus._connecting(zmq.PUSH)
                socket.connect(endpoint)
                socket.send(RECORD, zmq.NOBLOCK)
        before = mesh.counters("archive")["lines"]
        until("own traffic", lambda: mesh.counters("archive")["lines"] > before + 100)
    finally:
        stranger.close()
        wrong.close()
    assert mesh.troubles() == troubles


def test_nothing_forged_is_in_the_archive(mesh: Running) -> None:
    disk = Files(mesh.lake)
    for venue, symbol in archive.symbols(disk):
        for date in archive.dates(disk, f"raw/{venue}/{symbol}"):
            for _, lines, problems in archive.read_day(disk, venue, symbol, date):
                assert not problems
                assert not [line for line in lines if isinstance(line, Trade) and line.trade_id == FORGED.trade_id]
