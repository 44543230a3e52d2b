"""Small files that stages keep for themselves and for each other (certificates, manifests, what the venue said, plans,
pauses, when a batch last ran): whatever byte of them is cut off or turned, their readers go on without what they said.

Nothing received stands in them; what they must never do is to end who reads them, again and again.
LAKE_EVERY_BYTE=1 tries each byte of all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loguru import logger

from procs.compactor import Config as CompactorConfig
from procs.compactor.day import Day
from procs.compactor.work import Run
from procs.validator import Config as ValidatorConfig
from procs.validator import certificate, index, memory
from procs.validator.work import status_of, validate
from shared import archive, manifests, paths, staging
from shared.errand import Errand
from shared.events import Feed
from shared.files import Files
from shared.lifecycle import Moment
from shared.process import Lifeline, check_schema
from shared.topology import Node
from supervision.ground import read_lake_json
from supervision.timers import Timers
from tests.fixtures.desk import Desk
from tests.fixtures.small_lake import HOUR, MINUTE, VENUE, Market, write_lake

pytestmark = pytest.mark.timeout(1200 if os.environ.get("LAKE_EVERY_BYTE") else 120)

DATE = "2025-10-20"
MIDNIGHT = paths.day_start("2025-10-21")
EVERY_BYTE = bool(os.environ.get("LAKE_EVERY_BYTE"))

HARMS: dict[str, Callable[[bytes, int], bytes]] = {
    "cut": lambda data, at: data[:at],
    "a low bit": lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    "no text": lambda data, at: data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :],
    "a colon": lambda data, at: data[:at] + b":" + data[at + 1 :],
}


def positions(data: bytes, few: int) -> range:
    return range(0, len(data), 1 if EVERY_BYTE else max(1, len(data) // few))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing loses power here, so nothing waits for the disk; and nothing is said."""
    logger.disable("shared")
    logger.disable("procs")
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("procs.validator.hour.LOOK_AGAIN_S", 0)
    yield
    logger.enable("shared")
    logger.enable("procs")


@pytest.fixture
def lake(tmp_path: Path) -> Files:
    """A closed day and the beginning of an open one, folded and judged."""
    disk = Files(tmp_path / "lake")
    market, events = Market(), []
    for start in (MIDNIGHT - HOUR, MIDNIGHT - MINUTE, MIDNIGHT):
        events += market.events(start, 30, trades=2, quotes=2, every=3)
    write_lake(disk, events, [Feed("clock", MIDNIGHT - HOUR, MIDNIGHT - HOUR, [], {"offset_ns": 1})], MIDNIGHT + HOUR)
    night(disk)
    return disk


def night(disk: Files) -> None:
    """What the timers do."""
    Run(Errand(disk, CompactorConfig(), None, None, False, Lifeline())).work()
    validate(Errand(disk, ValidatorConfig(klines=False), None, None, False, Lifeline()))


def lines(disk: Files) -> list[str]:
    found: list[str] = []
    for date in archive.dates(disk, f"raw/{VENUE}/SOLUSDT"):
        for _, events, problems in archive.read_day(disk, VENUE, "SOLUSDT", date):
            assert not problems
            found += map(str, events)
    return sorted(found)


def words(disk: Files) -> list[str]:
    found = [path.relative_to(disk.root).as_posix() for path in sorted(disk.root.rglob("*.json"))]
    return [*found, paths.checksum_file(VENUE, "SOLUSDT", DATE)]


def test_words_of_the_night_that_are_damaged_end_no_night_and_are_said_anew(lake: Files) -> None:
    whole, before = words(lake), lines(lake)
    assert any("manifest" in path for path in whole) and sum("quality" in path for path in whole) >= 2
    said = certificate.read(lake, VENUE, "SOLUSDT", DATE)
    for path in whole:
        data = lake.read(path)
        for at in positions(data, 2):
            for harm in HARMS.values():
                lake.write(path, harm(data, at))
                night(lake)
                assert lines(lake) == before, (path, at)
                after = certificate.read(lake, VENUE, "SOLUSDT", DATE)
                assert after and after["verdict"] == said["verdict"], (path, at)
        lake.write(path, data)


def test_no_byte_of_a_manifest_or_certificate_ends_who_reads_it(lake: Files) -> None:
    manifest, judged = paths.manifest_file(VENUE, "SOLUSDT", DATE), paths.certificate(VENUE, "SOLUSDT", DATE)
    remembered = next(path for path in words(lake) if "/hours/" in path)
    day = Day(lake, VENUE, "SOLUSDT", DATE)
    readers: dict[str, list[Callable[[], object]]] = {
        manifest: [day.is_done, lambda: manifests.read(lake, VENUE, "SOLUSDT", DATE)],
        judged: [
            lambda: certificate.read(lake, VENUE, "SOLUSDT", DATE),
            lambda: index._row(lake, VENUE, "SOLUSDT", DATE),
            lambda: staging.certified_missing(lake, VENUE, "SOLUSDT", DATE),
        ],
        remembered: [lambda: memory.remembered(lake, remembered)],
    }
    for path, calls in readers.items():
        data = lake.read(path)
        for at in positions(data, 150):
            for harm in HARMS.values():
                lake.write(path, harm(data, at))
                for call in calls:
                    call()
        lake.write(path, data)
    assert day.is_done()


def test_a_number_that_became_a_word_is_no_certificate_and_no_manifest(lake: Files) -> None:
    readers: dict[str, Callable[[], dict[str, Any]]] = {
        paths.certificate(VENUE, "SOLUSDT", DATE): lambda: certificate.read(lake, VENUE, "SOLUSDT", DATE),
        paths.manifest_file(VENUE, "SOLUSDT", DATE): Day(lake, VENUE, "SOLUSDT", DATE).manifest,
    }
    wrongs: list[object] = [[], {}, 1.5, True]
    for path, read in readers.items():
        data = lake.read(path)
        said = read()
        assert said
        for key in ("issue", "replaces"):
            for wrong in wrongs:
                lake.write(path, msgspec.json.encode({**said, key: wrong}))
                assert read() == {}, (path, key, wrong)
            lake.write(path, msgspec.json.encode({k: value for k, value in said.items() if k != key}))
            assert read() == {}, (path, key)
        lake.write(path, data)


def kept(tmp_path: Path) -> tuple[Desk, list[str]]:
    """A source that has something in each of its small files."""
    desk = Desk(tmp_path / "desk")
    desk.run(2)
    desk.bring(*desk.market.trade())
    desk.ingest.plans.leave("SOLUSDT", "trade", (1, 9), (0, 1), desk.wall)
    desk.ingest._pause.keep(60.0, desk.wall)
    desk.run(1)
    names = [f"journal/src/{name}" for name in Files(desk.folder).list("journal/src") if name.endswith(".json")]
    assert len(names) == 3, names
    return desk, names


def test_a_source_starts_whatever_it_finds_of_what_it_kept(tmp_path: Path) -> None:
    """The worst that could happen to a recorder: a byte turned in a note, and it never starts again."""
    desk, names = kept(tmp_path)
    disk = Files(desk.folder)
    held = len(desk.trades)
    for path in names:
        data = disk.read(path)
        for at in positions(data, 25):
            for harm in HARMS.values():
                disk.write(path, harm(data, at))
                desk.kill()
                desk.run(0.1)
                status_of(disk, "binance", "SOLUSDT", DATE)
        for junk in (b"", b"[]", b"{}", b"null", b"1", b'"x"', b"[[]]", b"[" * 5000, b"\xff", b'{"version":1}'):
            disk.write(path, junk)
            desk.kill()
            desk.run(0.1)
        disk.write(path, data)
    assert len(desk.trades) == held


def test_a_supervisor_starts_whatever_it_finds_in_its_own_notes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    times, lake_json = tmp_path / "run" / "batches.json", tmp_path / "lake.json"
    node = Node("compact", "batches", "compactor", (), {"every": "1h"})
    now = Moment(0, 1_760_918_400_000_000_000)
    for path, data in (
        (times, b'{"compact": 1760918400000000000, "validate": 1760918400000000000}'),
        (lake_json, b'{"schema": 1, "made_by": "x", "writers": {"python": "3.11"}}'),
    ):
        found = [harm(data, at) for at in range(len(data)) for harm in HARMS.values()]
        for junk in [
            *found,
            b"[" * 5000,
            b'{"compact": 1e999}',
            b'{"compact": []}',
            b"[1]",
            b"null",
            b'{"schema": 1e999}',
        ]:
            path.write_bytes(junk)
            read_lake_json(tmp_path)
            Timers([node], lambda _: ["x"], tmp_path, _nothing, now)
            if path is lake_json and b'"schema": 1,' in junk:
                check_schema(tmp_path)


def _nothing(*_: Any) -> Any:
    raise AssertionError("nothing is started here")
