"""The compiled loops: made once, wherever there is a compiler, and done without wherever there is none."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from loguru import logger

from shared import compiled, frames, kernels
from shared.venues._binance_columns import Rows
from shared.venues.binance import Venue
from supervision.loop import Supervisor

TRADE = (
    b'{"stream":"solusdt@trade","data":{"e":"trade","E":1760918400123,"s":"SOLUSDT","t":7,"p":"187.42000000",'
    b'"q":"3.10000000","T":1760918400120,"m":true,"M":true}}'
)
QUOTE = (
    b'{"stream":"solusdt@bookTicker","data":{"u":9,"s":"SOLUSDT","b":"1.10000000","B":"31.21000000","a":"1.20000000",'
    b'"A":"40.66000000"}}'
)
OTHERWISE = (
    TRADE.replace(b":", b": ").replace(b"0000", b"").replace(b"}}", b', "text": "of no concern", "count": 12345678 }}'),
    b'{"data":{"st":true,' + QUOTE[QUOTE.index(b'"u"') : -1] + b',"stream":"solusdt@bookTicker"}',
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with the source; nothing is loaded."""
    source = tmp_path / "kernels.c"
    source.write_bytes(compiled._SOURCE.read_bytes())
    monkeypatch.setattr(compiled, "_SOURCE", source)
    monkeypatch.setattr(kernels, "loops", None)
    return source


@pytest.fixture
def compiler() -> None:
    if not compiled._compilers():
        pytest.skip("there is no C compiler here")


def test_they_are_compiled_once(elsewhere: Path, compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compiled.load(), "nothing is compiled yet"
    path = compiled.build()
    assert path is not None and path.parent.parent == elsewhere.parent
    assert [found.name for found in path.parent.iterdir()] == [path.name], "nothing is left behind"
    monkeypatch.setattr(compiled, "_compilers", lambda: pytest.fail("compiled again"))
    assert compiled.build() == path
    assert compiled.load() and kernels.loops is not None


def test_what_was_compiled_is_durable_before_it_has_its_name(
    elsewhere: Path, compiler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(compiled.target().exists()))
    assert compiled.build() is not None
    assert synced == [False], "a power cut must not leave half a library under a name that is believed"


def test_another_source_is_another_file(elsewhere: Path, compiler: None) -> None:
    before = compiled.build()
    elsewhere.write_text(elsewhere.read_text() + "\n/* changed */\n")
    assert compiled.build() not in (None, before)


def test_without_a_compiler_or_where_it_fails_numpy_remains(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(compiled, "_compilers", list)
    assert compiled.build() is None
    assert "no C compiler" in said[-1]
    monkeypatch.setattr(
        compiled, "_compilers", lambda: [[sys.executable, "-c", "import sys; sys.exit('no such flag')"]]
    )
    assert compiled.build() is None
    assert "no such flag" in said[-1]
    monkeypatch.setattr(compiled, "LONGEST_S", 0.1)
    monkeypatch.setattr(compiled, "_compilers", lambda: [[sys.executable, "-c", "import time; time.sleep(60)"]])
    assert compiled.build() is None
    assert "timed out" in said[-1]
    assert not compiled.load() and kernels.loops is None


def test_a_folder_that_cannot_be_written_is_no_fault(elsewhere: Path, compiler: None, said: list[str]) -> None:
    (elsewhere.parent / "__pycache__").write_text("a file")
    assert compiled.build() is None
    assert not compiled.load()
    assert "left to numpy" in said[-1]


def test_they_can_be_done_without(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KERNELS", "off")
    monkeypatch.setattr(compiled, "_compilers", lambda: pytest.fail("asked for a compiler"))
    assert compiled.build() is None
    assert not compiled.load()


def test_a_file_that_is_no_library_is_said_and_not_used(elsewhere: Path, said: list[str]) -> None:
    path = compiled.target()
    path.parent.mkdir()
    path.write_bytes(b"torn")
    assert not compiled.load()
    assert "cannot be used" in said[-1]


def test_a_mesh_compiles_them_before_its_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(compiled, "build", lambda: done.append("compiled"))
    mesh = object.__new__(Supervisor)
    stage = SimpleNamespace(start=lambda _: done.append("started"), look=lambda _: None)
    vars(mesh).update(stages={"spot": stage}, _moment=SimpleNamespace(mono=1))
    mesh.start()
    assert done == ["compiled", "started"]


def test_a_process_of_a_stage_uses_them(compiler: None, tmp_path: Path) -> None:
    assert compiled.build()
    config = tmp_path / "pipeline.yml"
    config.write_text(
        "lake: lake\nsources:\n  spot: {run: ingest, venue: binance, symbols: [BTCUSDT]}\n"
        "sinks:\n  archive: {run: archiver, inputs: [spot]}\n"
    )
    code = (
        "from shared import kernels, process; from procs.ingest.config import Config\n"
        f"process.prepare('ingest', Config, process.arguments('', ['--config', {str(config)!r}, '--stage', 'spot']))\n"
        "print(kernels.loops)"
    )
    env = {key: value for key, value in os.environ.items() if key != "LAKE_KERNELS"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "CDLL" in done.stdout, done.stderr


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(logger, level, found.append)
    return found


def test_checksums_are_those_of_zlib(compiler: None) -> None:
    assert compiled.build() and compiled.load()
    data = Random(7).randbytes(20_000)
    for size in (0, 1, 4095, 4096, 4097, 4111, 4112, 5000, 8191, 16_384, 19_999):
        for before in (0, 1, 0x1234ABCD, 0xFFFFFFFF):
            for begin in (0, 1):
                part = data[begin : begin + size]
                assert kernels.crc32(part, before) == zlib.crc32(part, before), (size, before, begin)


# --- bounds ---


class Wall:
    """Memory before and behind which there is nothing: one byte too far ends the process."""

    def __init__(self) -> None:
        size = mmap.PAGESIZE
        self._map = mmap.mmap(-1, 3 * size)
        before = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (before, before + 2 * size):
            assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(size), 0) == 0
        self.begin, self.end = before + size, before + 2 * size

    def put(self, data: bytes, at_begin: bool = False) -> int:
        place = self.begin if at_begin else self.end - len(data)
        ctypes.memmove(place, data, len(data))
        return place


@pytest.fixture
def wall() -> Iterator[Wall]:
    if sys.platform != "linux":
        pytest.skip("memory is protected in another way here")
    yield Wall()


def test_nothing_before_or_behind_a_frame_is_read(wall: Wall, compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.Streams, "PATIENCE", 0)
    assert compiled.build() and compiled.load()
    library = kernels.loops
    assert library is not None
    reader = Venue(["SOLUSDT"], ["trade", "quote"]).columns()
    assert reader is not None
    read = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, ctypes.c_int64, *[ctypes.c_void_p] * 3, ctypes.c_int64)(
        ctypes.cast(library.lake_read, ctypes.c_void_p).value or 0
    )
    for frame in (TRADE, QUOTE, *OTHERWISE):
        reader.read([[frame]])  # which learns it
        for size in range(len(frame) + 1):
            for text in (frame[:size], frame[:size] + b"0" * 9, frame[size:]):
                at, rows, places = wall.put(text, text == frame[size:]), Rows(1), np.array([[0], [len(text)]], np.int64)
                into = rows.lent
                given = (reader._streams.at, at, 1, places.ctypes.data, places.ctypes.data + 8)  # type: ignore[attr-defined]
                read(*given, ctypes.addressof(into), 0)
                assert bool(rows.is_plain[0]) == (text == frame)


def test_nothing_behind_what_was_received_is_read(wall: Wall, compiler: None) -> None:
    assert compiled.build() and compiled.load()
    library = kernels.loops
    assert library is not None
    places = np.empty((2, 8), np.int64)
    cut = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 2)(
        ctypes.cast(library.lake_cut, ctypes.c_void_p).value or 0
    )
    wire = b"".join(b"\x81\x7e" + len(text).to_bytes(2, "big") + text for text in (TRADE, QUOTE))
    wire += b"\x81\x02ok\x81\x7e"
    for size in range(len(wire) + 1):
        at = wall.put(wire[:size])
        count = cut(at, size, 8, places.ctypes.data, places.ctypes.data + 64)
        found, _ = frames.cut(wire[:size])
        assert count == len(found)


def test_nothing_behind_the_trades_is_read(compiler: None) -> None:
    if sys.platform != "linux":
        pytest.skip("memory is protected in another way here")
    assert compiled.build() and compiled.load()
    library = kernels.loops
    assert library is not None
    walls, room = [Wall() for _ in range(5)], np.empty((15, 40), np.int64)
    places = [column.ctypes.data for column in room]
    for name in ("lake_windows", "lake_wide_windows")[: 2 if library.lake_is_wide() else 1]:
        for count in range(1, 40):
            for width in (5, 11, 1000):
                into = kernels.Windows(
                    width, 40, kernels.pointers(places[:6]), kernels.pointers(places[6:]), kernels.Trim(0),
                    kernels.Trim(0), 1.0, 1.0,
                )  # fmt: skip
                ids = np.arange(count, dtype=np.int64)
                columns = [wall.put(ids.tobytes()) for wall in walls[:4]]
                side = walls[4].put(ids.astype(np.int32).tobytes())
                given = (kernels.pointers(columns), side, 1, ctypes.byref(into))
                assert getattr(library, name)(count, *given) == count
                assert getattr(library, name)(0, *given) == 0
                assert into.count == -(-count // width) and room[1, : into.count].sum() == count
