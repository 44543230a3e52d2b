"""The bus with real sockets: own peers get through, strangers do not, and nobody blocks."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import msgspec
import pytest
import zmq

from shared.wire import HIGH_WATER, LARGE, Bus, Mesh, Unreachable, find_mesh, new_mesh, publish_mesh

PATIENCE_MS = 150


def tcp_mesh() -> Mesh:
    public, secret = zmq.curve_keypair()
    curve = {"public": public.decode(), "secret": secret.decode()}
    said = {
        "token": "t" * 32, "pid": 1, "folder": "", "transport": "tcp", "curve": curve, "config": "", "started_ns": 0,
    }  # fmt: skip
    return msgspec.convert(said, Mesh)


@pytest.fixture(params=["own transport", "tcp"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    found = new_mesh("pipeline.yml") if request.param == "own transport" else tcp_mesh()
    yield found
    if found.folder:
        for name in Path(found.folder).iterdir():
            name.unlink()
        Path(found.folder).rmdir()


@pytest.fixture
def buses(mesh: Mesh, tmp_path: Path) -> Iterator[Callable[[], Bus]]:
    made: list[Bus] = []

    def make() -> Bus:
        made.append(Bus(tmp_path, mesh))
        return made[-1]

    yield make
    for bus in made:
        bus.close()


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_what_is_pushed_is_pulled_in_order(buses: Callable[[], Bus]) -> None:
    inbox = (taker := buses()).pull("binance-archive")
    lane = buses().push("binance-archive")
    for number in range(HIGH_WATER):
        assert lane.send(b"%d" % number)
    got: list[bytes | memoryview] = []
    deadline = time.monotonic() + 5
    while len(got) < HIGH_WATER and time.monotonic() < deadline:
        taker.wait(100)
        while (data := inbox.recv()) is not None:
            got.append(data)
    assert got == [b"%d" % n for n in range(HIGH_WATER)]
    assert inbox.recv() is None


def test_what_the_bus_saw_is_taken_without_another_look_and_what_it_did_not_see_is_looked_for(
    buses: Callable[[], Bus],
) -> None:
    inbox, other = (taker := buses()).pull("binance-archive"), taker.pull("binance-bars_1s")

    def seen() -> list[bool | None]:
        return [inbox.is_ready, other.is_ready]

    lane = buses().push("binance-archive")
    assert not taker.wait(0) and seen() == [False, False]
    assert inbox.recv() is None and seen() == [None, False]
    assert lane.send(b"one") and lane.send(b"two")
    until(lambda: taker.wait(0))
    assert seen() == [True, False]
    assert inbox.recv() == b"one" and other.recv() is None
    until(lambda: inbox.recv() == b"two")  # nobody waited since


def test_who_is_patient_gets_several_in_one_message_and_much_at_once(buses: Callable[[], Bus]) -> None:
    inbox = (taker := buses()).pull("binance-archive")
    lane = buses().push("binance-archive", PATIENCE_MS)

    def taken(count: int) -> list[bytes | memoryview]:
        """So many messages, and no more."""
        found: list[bytes | memoryview] = []
        while len(found) < count and taker.wait(5000):
            found += filter(None, [inbox.recv()])
        assert not taker.wait(50)
        return found

    begun = time.monotonic()
    assert lane.send(b"a") and lane.send(b"b") and lane.send(b"c")
    assert taken(1) == [b"a"] and time.monotonic() - begun < PATIENCE_MS / 1000, (
        "this machine was too slow to tell anything"
    )
    time.sleep(PATIENCE_MS / 1000)
    assert lane.send(b"d") and taken(1) == [b"bcd"]
    assert lane.send(b"e") and lane.send(bytes(LARGE)) and lane.send(bytes(2 * LARGE))
    assert taken(3) == [b"e", bytes(LARGE), bytes(2 * LARGE)]
    many = [bytes([n]) * (LARGE // 4 + 1) for n in range(5)]
    assert all(map(lane.send, many)) and taken(1) == [b"".join(many[:3])]


def test_a_full_lane_says_so_to_who_sends_for_a_patient_one_as_well(buses: Callable[[], Bus]) -> None:
    buses().pull("binance-archive")
    lane = buses().push("binance-archive", PATIENCE_MS)
    assert not all(lane.send(bytes(LARGE)) for _ in range(4 * HIGH_WATER)) and lane.skipped


def test_a_sender_holds_no_more_for_who_is_patient_than_for_others(buses: Callable[[], Bus]) -> None:
    """His messages are as many times larger: a quarter as many are held while nobody takes them."""
    bus = buses()
    most = [bus.push("binance-archive", some)._socket.getsockopt(zmq.SNDHWM) for some in (0, PATIENCE_MS)]
    assert most == [HIGH_WATER, HIGH_WATER // 4]


def test_a_full_lane_says_so_at_once(buses: Callable[[], Bus]) -> None:
    buses().pull("binance-archive")  # nobody reads it
    lane = buses().push("binance-archive")
    begun = time.monotonic()
    sent = [lane.send(bytes(100_000)) for _ in range(4 * HIGH_WATER)]
    assert sum(sent) < 4 * HIGH_WATER
    assert lane.skipped == sent.count(False)
    assert time.monotonic() - begun < 10


def test_a_lane_whose_consumer_is_absent_says_so_or_keeps_a_bounded_number(buses: Callable[[], Bus]) -> None:
    lane = buses().push("binance-archive")
    assert sum(lane.send(b"x") for _ in range(3 * HIGH_WATER)) <= HIGH_WATER


def test_a_consumer_that_comes_back_is_found_again(buses: Callable[[], Bus], mesh: Mesh, tmp_path: Path) -> None:
    first = Bus(tmp_path, mesh)
    inbox = first.pull("binance-archive")
    lane = buses().push("binance-archive")
    until(lambda: lane.send(b"x") and inbox.recv())
    first.close()
    again = (second := buses()).pull("binance-archive")
    until(lambda: lane.send(b"y") and second.wait(20) and again.recv(), 10)


# --- strangers ---

FORGED = b"\x01\x00" + b"".join(bytes([len(m) + 1]) + b"\x00" + m for m in (b"forged trade", b"another"))
POST = (
    b"POST /" + b"a" * 250 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 64\r\n\r\n" + FORGED + b"\x00" * 64
)


def _connect(endpoint: str) -> socket.socket:
    if endpoint.startswith("ipc://"):
        found = socket.socket(socket.AF_UNIX)
        found.connect(endpoint.removeprefix("ipc://"))
        return found
    where = urlparse(endpoint)
    return socket.create_connection((where.hostname, where.port))


@pytest.mark.parametrize("junk", [POST, FORGED, b"\xff" + b"\0" * 8 + b"\x01\x7f", os.urandom(500), b"\r\n\r\n", b""])
def test_a_stranger_delivers_nothing_and_own_traffic_goes_on(buses: Callable[[], Bus], junk: bytes) -> None:
    taker, giver = buses(), buses()
    inbox = taker.pull("binance-archive")
    endpoint = taker.endpoint("binance-archive")
    assert endpoint is not None
    with _connect(endpoint) as stranger:
        stranger.sendall(junk)
        lane = giver.push("binance-archive")
        got: list[bytes | memoryview] = []
        for number in range(50):
            until(lambda n=number: lane.send(b"own %d" % n))  # type: ignore[misc]
            taker.wait(50)
            while (data := inbox.recv()) is not None:
                got.append(data)
        deadline = time.monotonic() + 5
        while len(got) < 50 and time.monotonic() < deadline:
            taker.wait(50)
            while (data := inbox.recv()) is not None:
                got.append(data)
    assert got == [b"own %d" % n for n in range(50)]


def test_without_the_zap_domain_the_same_forgery_would_arrive() -> None:
    """Holds the test above to account: the bytes are good ones."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pull = context.socket(zmq.PULL)
    port = pull.bind_to_random_port("tcp://127.0.0.1")
    try:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(FORGED)
            assert pull.poll(3000), "libzmq has closed this door itself: the ZAP domain stays as the second lock"
            assert pull.recv() == b"forged trade"
    finally:
        context.destroy(linger=0)


def test_a_peer_without_the_keys_delivers_nothing(tmp_path: Path) -> None:
    bus = Bus(tmp_path, tcp_mesh())
    stranger = Bus(tmp_path, tcp_mesh())
    try:
        inbox = bus.pull("binance-archive")
        endpoint = bus.endpoint("binance-archive")
        assert endpoint is not None
        socket_ = stranger._connecting(zmq.PUSH)
        socket_.connect(endpoint)
        socket_.send(b"forged", zmq.NOBLOCK)
        assert not bus.wait(300) and inbox.recv() is None
    finally:
        stranger.close()
        bus.close()


def test_only_loopback_listens(tmp_path: Path) -> None:
    bus = Bus(tmp_path, tcp_mesh())
    try:
        for make, edge in ((bus.pull, "a"), (bus.publisher, "b"), (bus.router, "c")):
            make(edge)
            assert str(bus.endpoint(edge)).startswith("tcp://127.0.0.1:")
    finally:
        bus.close()


# --- control and watching ---


def test_a_request_is_answered_and_one_without_the_token_is_not(buses: Callable[[], Bus], mesh: Mesh) -> None:
    server, client = buses(), buses()
    router = server.router("control")
    asking = client._connecting(zmq.REQ)
    asking.connect(server.endpoint("control"))  # type: ignore[arg-type]
    for bad in (b"{}", b"[]", b"null", b"\xff", b'{"token":"guess","do":"stop"}', b"[" * 3000):
        dealer = client._connecting(zmq.DEALER)
        dealer.connect(server.endpoint("control"))  # type: ignore[arg-type]
        dealer.send_multipart([b"", bad])
    until(lambda: server.wait(50) and router.recv() is None and router.refused >= 6)
    asking.send(msgspec.json.encode({"do": "status", "token": mesh.token}))
    found: list[tuple[bytes, dict[str, object]]] = []

    def heard() -> bool:
        server.wait(50)
        request = router.recv()
        if request is not None:
            found.append(request)
        return bool(found)

    until(heard)
    assert found[0][1] == {"do": "status"}
    router.answer(found[0][0], {"ok": True})
    assert asking.poll(3000) and asking.recv() == b'{"ok": true}'


def test_nobody_home_is_said_within_the_time(buses: Callable[[], Bus]) -> None:
    with pytest.raises(Unreachable):
        buses().request("control", {"do": "status"}, timeout_ms=100)


def test_a_watcher_sees_topic_and_bytes(buses: Callable[[], Bus]) -> None:
    publisher = buses().publisher("tap.binance")
    watcher = buses().subscriber(["tap.binance"])
    got: list[tuple[str, bytes]] = []

    def seen() -> bool:
        publisher.send("binance", b"record")
        found = watcher.recv(20)
        if found is not None:
            got.append(found)
        return bool(got)

    until(seen)
    assert got[0] == ("binance", b"record")


def test_the_runs_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    mesh = new_mesh("pipeline.yml")
    publish_mesh(tmp_path, mesh)
    assert find_mesh(tmp_path) == mesh
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "run" / "mesh.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(mesh.folder).stat().st_mode) == 0o700
        Path(mesh.folder).rmdir()
    (tmp_path / "run" / "mesh.json").write_bytes(b"{")
    assert find_mesh(tmp_path) is None


def test_what_goes_to_several_ends_in_turn_is_made_one_message_once(buses: Callable[[], Bus]) -> None:
    bus, sent = buses(), [[b"a" * 20, b"b" * 20], [b"a" * 20], [b"a" * 20, b"c" * 20]]
    first, second = zip(*((bus.shared(records), bus.shared(list(records))) for records in sent), strict=True)
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert [frame.bytes for frame in first] == [b"".join(records) for records in sent]
