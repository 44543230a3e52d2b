"""A byte that turns in ingest's journal before it was archived: noticed by who reads it, and healed while all live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from procs.archiver import Archiver, Config
from shared import archive, checkpoint
from shared.edges import Inlet
from shared.events import Feed, Quote, Trade
from shared.journal import HEADER, Reader, segment_path, segments, unpack
from shared.lines import parse_feed
from shared.rest import Failed
from shared.runner import Context, Loop
from tests.fixtures.desk import CONSUMERS, Desk, S

FOLDER = "journal/src/src"


class Lake:
    """Ingest and archiver, the real ones, beside each other; the archiver reads the journal alone."""

    def __init__(self, folder: Path, segment_bytes: int = 2000) -> None:
        self.desk = Desk(folder, segment_bytes=segment_bytes)
        self.disk = self.desk.ingest._disk
        self.archiver: Loop | None = None
        self.desk.run(1)
        for _ in range(3):
            self.trade()

    def mono(self) -> int:
        return self.desk.mono

    def wall(self) -> int:
        return self.desk.wall

    def trade(self, count: int = 3) -> None:
        frames = self.desk.market.trade(count=count)
        self.desk.bring(*frames, self.desk.market.quote(self.newest() * 10))
        self.run(0.3)

    def run(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / 0.1))):
            self.desk.run(0.1)
            if self.archiver is not None:
                self.archiver.turn()

    def archives(self) -> Loop:
        context = Context("archive", "src", "binance", self.disk)
        reader = Reader(self.disk, FOLDER)
        stage = Archiver(context, Config())
        self.archiver = Loop("src", stage, lambda position: Inlet(reader, None, position), None, self)
        return self.archiver

    def damage(self, trade_id: int, at: float = 0.5) -> tuple[int, int]:
        """Turns a bit in the record that holds a trade; its first and last number."""
        for segment in segments(self.disk, FOLDER):
            data, offset = bytearray(self.disk.read(segment_path(FOLDER, segment))), 0
            while offset < len(data):
                length, _, first, count = HEADER.unpack_from(data, offset)
                behind = offset + HEADER.size + length
                events = unpack(bytes(data[offset:behind])).events if count else []
                if any(isinstance(event, Trade) and event.trade_id == trade_id for event in events):
                    data[offset + int(at * (behind - offset))] ^= 1
                    self.disk.write(segment_path(FOLDER, segment), bytes(data))
                    return first, first + count - 1
                offset = behind
        raise AssertionError("not in the journal")

    def newest(self) -> int:
        return self.desk.market.trades["SOLUSDT"][-1][0]

    def _lines(self) -> list[object]:
        self.archiver.commit(final=True)  # type: ignore[union-attr]
        days = archive.dates(self.disk, "raw/binance/SOLUSDT")
        hours = [part for date in days for part in archive.read_day(self.disk, "binance", "SOLUSDT", date)]
        return [event for _, events, _ in hours for event in events]

    def archived(self) -> list[int]:
        return sorted(event.trade_id for event in self._lines() if isinstance(event, Trade))

    def quotes(self) -> list[int]:
        return sorted(event.update_id for event in self._lines() if isinstance(event, Quote))

    def feed(self, kind: str) -> list[Feed]:
        found = []
        for path in sorted((self.desk.folder / "feed").rglob("*.jsonl")):
            found += [event for row in path.read_bytes().splitlines() if (event := parse_feed(row)).kind == kind]
        return found


@pytest.fixture
def said() -> Iterator[list[str]]:
    found: list[str] = []
    number = logger.add(found.append, format="{message}", level="ERROR")
    yield found
    logger.remove(number)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def whole(lake: Lake) -> bool:
    return lake.archived() == list(range(1000, lake.newest() + 1))


@pytest.mark.parametrize("at", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("behind", [0, 12])
def test_what_rots_before_it_is_archived_is_said_kept_and_fetched_again_while_all_live(
    lake: Lake, said: list[str], at: float, behind: int
) -> None:
    """Given a record in the newest segment, or in one before, when a bit of its header or of what follows it turns."""
    lost = lake.damage(lake.newest() - 1, at)
    for _ in range(behind):
        lake.trade()
    assert (len(segments(lake.disk, FOLDER)) > 1) == bool(behind)
    # When it is read
    archiver = lake.archives()
    lake.run(1)
    # Then at once somebody says so, and has kept the bytes
    assert archiver.inlet.counters["lost"] == lost[1] - lost[0] + 1
    assert any("are not as they were written; set aside" in line for line in said)
    assert any(f"records {lost[0]} to {lost[1]} are in the journal no more" in line for line in said)
    assert any("log@" in name for name in lake.disk.list("quarantine"))
    # And in some seconds all of it is archived, once, and what happened stands in the feed
    lake.run(12)
    assert whole(lake)
    assert any("3 trades are fetched again" in line for line in said)
    (gap,) = [event for event in lake.feed("gap") if "reason" in event.detail]
    assert gap.detail["missing"] == 3 and gap.symbols == ["SOLUSDT"]
    (healed,) = lake.feed("healed")
    assert (healed.detail["first_id"], healed.detail["last_id"]) == (gap.detail["first_id"], gap.detail["last_id"])
    (stale,) = lake.feed("stale")
    assert stale.detail["records"] == list(lost) and stale.ts <= gap.detail["to_ts"] < gap.ts
    assert lake.desk.ingest.totals()["records_damaged"] == lost[1] - lost[0] + 1


def test_it_is_asked_for_once_whatever_starts_again(lake: Lake, said: list[str]) -> None:
    lake.damage(1004)
    for _ in range(12):
        lake.trade()
    lake.archives()
    for _ in range(8):  # wherever it stands: before the archiver has said so, before ingest asks, before it is healed
        lake.run(0.7)
        lake.desk.kill()
        lake.archives()
        lake.run(0.3)
        lake.trade()
    lake.run(12)
    assert whole(lake)
    gone = [event for event in lake.feed("healed") if event.detail["first_id"] <= 1004 <= event.detail["last_id"]]
    assert len(gone) == 1
    asked = len([line for line in said if "fetched again, quotes" in line])
    lake.desk.kill()
    lake.run(12)
    assert len([line for line in said if "fetched again, quotes" in line]) == asked, "what is settled is settled"
    assert len(lake.disk.list("quarantine")) == 2, "the bytes and why, however often they were read"
    assert checkpoint.peek(lake.disk, CONSUMERS[0])["lost"] == []


def test_ingest_that_comes_later_hears_of_it_too(lake: Lake) -> None:
    met(lake)
    lake.desk.kill()
    lake.run(12)
    assert whole(lake)


def met(lake: Lake) -> None:
    """The archiver has met the damage, and its checkpoint says so; ingest has not looked yet."""
    lake.damage(1004)
    archiver = lake.archives()
    archiver.turn()
    lake.trade()
    for _ in range(5):
        lake.desk.pass_time(S)
        archiver.turn()
    assert checkpoint.peek(lake.disk, CONSUMERS[0])["lost"] != []


def test_what_the_archiver_has_not_come_to_yet_is_not_taken_for_lost(lake: Lake) -> None:
    met(lake)
    lake.archiver = None
    for _ in range(20):
        lake.trade()
    assert lake.desk.ingest.totals()["records_damaged"] == 0
    lake.archives()
    lake.run(12)
    assert whole(lake) and lake.feed("gap")[0].detail["missing"] == 3


def test_what_is_taken_and_not_written_yet_is_not_taken_for_lost(lake: Lake) -> None:
    met(lake)
    ingest, desk = lake.desk.ingest, lake.desk
    ingest.frames(desk.open[-1], desk.market.trade(), desk.wall, desk.mono)
    ingest.healer.turn()
    lake.run(12)
    assert whole(lake) and lake.feed("gap")[0].detail["missing"] == 3


def test_a_gap_of_what_was_lost_outlives_the_life_that_said_so(tmp_path: Path) -> None:
    """The state that the newest segment begins with counts as held what was lost since."""
    lake = Lake(tmp_path, 8 << 20)
    lake.desk.kill()
    lake.run(0.3)
    lake.trade()
    met(lake)
    lake.desk.market.refuse["historicalTrades"] = Failed("HTTP 502")
    lake.run(8)
    assert len(lake.feed("gap")) == 1 and checkpoint.peek(lake.disk, CONSUMERS[0])["lost"] == []
    lake.desk.kill()
    lake.run(8)
    assert lake.feed("healed") == []
    lake.desk.market.refuse.clear()
    lake.run(60)
    assert whole(lake) and len(lake.feed("healed")) == 1


def test_ingest_that_starts_again_keeps_what_is_sound_behind_the_damage(tmp_path: Path, said: list[str]) -> None:
    """Quotes that were received cannot be had again; and numbers that an archiver has taken must not come anew."""
    lake = Lake(tmp_path, 8 << 20)
    for _ in range(12):
        lake.trade()
    lake.damage(1004)
    lake.desk.kill()
    assert any("@" in line and "not as they were written" in line for line in said)
    lake.archives()
    lake.run(5)
    lake.trade()
    lake.run(5)
    assert whole(lake)
    assert lake.quotes() == [update for update in range(10020, lake.newest() * 10 + 1, 30) if update != 10050]


def test_an_archive_that_began_in_the_middle_asks_for_nothing_twice(lake: Lake) -> None:
    """It has not the ids of what was archived before: what it lacks may stand there."""
    for _ in range(12):
        lake.trade()
    lake.archives()
    lake.run(3)
    archived = lake.archived()
    for slot in (0, 1):
        lake.disk.write(f"{CONSUMERS[0]}.{slot}", b"nonsense")
    lake.disk.remove(segment_path(FOLDER, segments(lake.disk, FOLDER)[0]))
    lake.archives()
    lake.damage(lake.newest())
    lake.trade()
    lake.run(12)
    assert lake.archived()[: len(archived)] == archived, "nothing twice"
    assert lake.feed("healed") == []
