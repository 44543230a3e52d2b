"""S3: what listens is exactly what is meant to, on loopback; an address to bind is no setting at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest

from shared import config
from tests.integration.emulators import ROOT
from tests.security.attacked import BOUND, Running

pytestmark = pytest.mark.timeout(120)


def test_over_ipc_no_port_is_open_at_all(ipc_mesh: Running) -> None:
    assert ipc_mesh.listening() == []
    assert len(ipc_mesh.endpoints()) == len(BOUND)


def test_over_tcp_exactly_the_published_loopback_ports_are_open(tcp_mesh: Running) -> None:
    ends = tcp_mesh.endpoints()
    assert set(ends) == BOUND
    published = sorted(("127.0.0.1", urlparse(end).port or 0) for end in ends.values())
    assert tcp_mesh.listening() == published


def test_the_emulated_venue_listens_on_loopback_and_has_no_option_to_do_otherwise(tcp_mesh: Running) -> None:
    from psutil import Process

    found = [one.laddr for one in Process(tcp_mesh.venue.process.pid).net_connections("tcp") if one.status == "LISTEN"]
    assert found and {place.ip for place in found} == {"127.0.0.1"}
    help_ = subprocess.run(
        [sys.executable, "-m", "procs.emulator", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--host" not in help_ and "--bind" not in help_


@pytest.mark.parametrize("key", ["host", "bind", "port", "endpoint", "listen", "expose", "transport"])
def test_where_to_listen_is_no_setting(tmp_path: Path, key: str) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        f"lake: ./lake\nsources:\n  binance: {{run: ingest, venue: binance, symbols: [SOLUSDT], {key}: 0.0.0.0}}\n"
        f"sinks:\n  archive: {{run: archiver, inputs: [binance], {key}: 0.0.0.0}}\n"
    )
    faults = [fault.path for fault in config.check(config.load(path))]
    assert faults == [f"sources.binance.{key}", f"sinks.archive.{key}"]


def test_no_code_binds_to_every_address() -> None:
    """Every bind of ours names 127.0.0.1, or a path."""
    for folder in ("shared", "procs", "supervision"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "0.0.0.0" not in text and "tcp://*" not in text and "INADDR_ANY" not in text, path
