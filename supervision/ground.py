"""Taking a lake into possession: one supervisor, the right schema, a disk that can be written, a fresh run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shared.locks import Held, Lock
from shared.room import BATCHES, STARTING
from shared.tables import SCHEMA_VERSION
from shared.wire import Mesh, find_mesh, new_mesh, publish_mesh
from supervision import machine
from supervision.children import ROOT

WRITERS = ("msgspec", "pyarrow", "polars", "duckdb", "zstandard")


class Refused(Exception):
    """This lake cannot be run; one sentence says why."""


class Ground:
    """A lake held by this process until `close`."""

    def __init__(self, lake: Path, config: str) -> None:
        self.lake = lake
        self._closed = False
        self.doubts = _doubts(lake)
        """What is not right but no reason to refuse."""
        try:
            _own(lake / "run")
            self._lock = Lock(lake / "run" / "lock", "a supervisor")
        except Held as error:
            raise Refused(f"another supervisor runs this lake: {error}") from None
        except OSError as error:
            raise Refused(f"the lake {lake} cannot be written: {error.strerror or error}") from None
        try:
            self.doubts += _check_schema(lake)
            _clear(lake)
            _install_views(lake)
            self.mesh: Mesh = new_mesh(config)
            publish_mesh(lake, self.mesh)
        except OSError as error:
            self._lock.close()
            raise Refused(f"the lake {lake} cannot be written: {error.strerror or error}") from None
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """After the last child has gone: nobody can find this run any more, and the next may come. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            (self.lake / "run" / "mesh.json").unlink()
        _remove_folder(self.mesh.folder)
        self._lock.close()


def _own(run: Path) -> None:
    """A folder for this user alone, whoever made it and with whatever umask: token and keys lie there."""
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    run.chmod(0o700)


def _doubts(lake: Path) -> list[str]:
    """Raises Refused for what cannot work."""
    if kind := machine.network_type(lake):
        raise Refused(f"the lake {lake} lies on a network file system ({kind}); it needs a disk of this machine")
    try:
        free, total = machine.disk(lake)
    except OSError as error:
        raise Refused(f"the lake {lake} cannot be reached: {error.strerror or error}") from None
    if free < STARTING.least(total):
        raise Refused(f"the disk of {lake} is full: {free >> 20} MB are free; make room and start again")
    doubts = []
    if free < BATCHES.least(total):
        doubts.append(f"only {free / 1e9:.1f} GB are free on the disk of {lake}")
    if doubt := machine.clock_doubts(lake):
        doubts.append(f"{doubt}; records go by the venue's clock, so nothing is lost, but set it right")
    return doubts


def _check_schema(lake: Path) -> list[str]:
    doubts = []
    path = lake / "lake.json"
    said = read_lake_json(lake)
    if said is None and path.exists():
        aside = lake / "quarantine" / f"lake.json.{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
        doubts.append(f"lake.json could not be read: set aside as {aside} and written anew")
    if said is None:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        said = {"schema": SCHEMA_VERSION, "uuid": str(uuid.uuid4()), "created": now, "writers": {}}
    if said.get("schema") != SCHEMA_VERSION:
        raise Refused(f"{path} is of schema {said.get('schema')!r}, this program writes {SCHEMA_VERSION}: not touched")
    writers = _writers()
    if said.get("writers") != writers:
        _write(path, {**said, "writers": writers})
    return doubts


def read_lake_json(lake: Path) -> dict[str, Any] | None:
    """What the lake says of itself; None where it says nothing readable."""
    try:
        said = json.loads((lake / "lake.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _writers() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in WRITERS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    tmp = path.with_name(path.name + ".tmp")
    with tmp.open("w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    tmp.replace(path)


def _install_views(lake: Path) -> None:
    """This version's ``lake.sql``, for ``duckdb -init lake.sql``."""
    text, path = (ROOT / "lake.sql").read_bytes(), lake / "lake.sql"
    if not path.exists() or path.read_bytes() != text:
        tmp = path.with_name(path.name + ".tmp")
        tmp.write_bytes(text)
        tmp.replace(path)


def _clear(lake: Path) -> None:
    """What a killed supervisor left: nobody else can use it now that the lock is ours."""
    old = find_mesh(lake)
    if old is not None:
        _remove_folder(old.folder)
    shutil.rmtree(lake / "run" / "edges", ignore_errors=True)


def _remove_folder(folder: str) -> None:
    """Only what `new_mesh` made: the name comes from a file."""
    path = Path(folder)
    if (
        folder
        and path.parent == Path(tempfile.gettempdir())
        and path.name.startswith("lake-")
        and not path.is_symlink()
    ):
        shutil.rmtree(path, ignore_errors=True)
