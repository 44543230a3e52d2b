"""Two meshes for all of these tests: one over ipc, one over tcp as on Windows. Attacks must leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from tests.security.attacked import Running, running


@pytest.fixture(scope="session")
def tcp_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("tcp"), tcp=True) as found:
        yield found


@pytest.fixture(scope="session")
def ipc_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not zmq.has("ipc"):
        pytest.skip("no ipc on this system")
    with running(tmp_path_factory.mktemp("ipc"), tcp=False) as found:
        yield found


@pytest.fixture(params=["ipc", "tcp"])
def mesh(request: pytest.FixtureRequest) -> Running:
    found = request.getfixturevalue(f"{request.param}_mesh")
    assert isinstance(found, Running)
    return found
