"""S6: a certificate that is self-signed, over or another's is no venue, for REST as for the websocket; and nothing of
the environment is believed: no proxy, no switch.

The websocket client is tried alone in tests/integration/test_ws.py; proxies of the environment there, and in
test_rest.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest

from tests.fixtures.certificates import make, server_context
from tests.integration.emulators import ROOT

ASK = """
import asyncio, json, sys
from shared import ws
from shared.rest import Rest, RestError
from shared.venues import Request

async def rest(port):
    client = Rest(f"https://localhost:{port}", 6000)
    try:
        return (await client.get(Request("/x"))).body.decode()
    except RestError as why:
        return type(why).__name__
    finally:
        await client.close()

async def main():
    said, layers = {}, {ws.aiofastnet, None}
    for name, port in json.loads(sys.argv[1]).items():
        said[name] = await rest(port)
        for layer in layers:
            ws.aiofastnet = layer
            try:
                await ws.connect(f"wss://localhost:{port}/x", print, print)
                said[f"{name} {layer}"] = "open"
            except ws.ConnectFailed as why:
                said[f"{name} {layer}"] = str(why)
    print(json.dumps(said))

asyncio.run(main())
"""


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await writer.drain()
    writer.close()


def asked(folder: Path, names: list[str], **environment: str) -> dict[str, str]:
    """What a process with that environment is told by servers with these certificates."""

    async def main() -> str:
        servers = {
            name: await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=server_context(folder, name)) for name in names
        }
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # handshakes that fail are what is tested
        ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASK, json.dumps(ports), cwd=ROOT, env=os.environ | environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(child.communicate(), 40)
        for server in servers.values():
            server.close()
        assert child.returncode == 0, err.decode()
        return out.decode()

    found = json.loads(asyncio.run(main()))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("certificates"))


def test_what_nobody_signed_is_refused_whatever_the_environment_says(certificates: Path) -> None:
    switches = {
        "PYTHONHTTPSVERIFY": "0", "CURL_INSECURE": "1", "NODE_TLS_REJECT_UNAUTHORIZED": "0",
        "https_proxy": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "all_proxy": "socks5://127.0.0.1:1",
        "wss_proxy": "http://127.0.0.1:1",
    }  # fmt: skip
    said = asked(certificates, ["good"], **switches)
    assert said.pop("good") == "Unreachable"
    assert said and all("certificate" in text.lower() for text in said.values()), said


def test_of_trusted_ones_only_the_right_name_at_the_right_time_is_accepted(
    certificates: Path,
    tmp_path: Path,
) -> None:
    """Given that all three are trusted, which is the system's choice, then name and time still decide."""
    trusted = tmp_path / "trusted.pem"
    names = ["good", "other", "over"]
    trusted.write_text("".join((certificates / f"{name}.pem").read_text() for name in names))
    said = asked(certificates, names, SSL_CERT_FILE=str(trusted))
    assert said["good"] == "secret", "else the test proves nothing"
    assert {said[name] for name in names if name != "good"} <= {"Unreachable"}
    why = {"good": "HTTP 200", "other": "ostname mismatch", "over": "has expired"}
    for name, text in said.items():
        if " " in name:
            assert why[name.split()[0]] in text, (name, text)


def test_no_code_turns_verification_off() -> None:
    for folder in ("shared", "procs", "supervision"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in (
                "CERT_NONE",
                "check_hostname",
                "verify_ssl",
                "ssl=False",
                "_create_unverified",
                "trust_env=True",
            ):
                assert word not in text, f"{word} in {path}"
