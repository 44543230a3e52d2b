"""This machine's clock may be a day off: it never becomes the time of a record while the venue's can be had."""

from __future__ import annotations

from pathlib import Path

import msgspec

from procs.ingest.actions import Connect
from procs.ingest.config import Config
from procs.ingest.core import Ingest
from procs.ingest.intake import EARLY_NS
from shared.events import Batch, Quote, Trade
from shared.files import Files
from shared.journal import Reader, Writer
from shared.paths import DAY, SECOND, day_start
from shared.venues.binance import Venue

NOW = day_start("2025-10-20") + 13 * 3600 * SECOND
WALL = NOW + DAY
FOLDER = "journal/binance/binance"


def quote(update_id: int) -> bytes:
    data = {"u": update_id, "s": "SOLUSDT", "b": "1.10", "B": "5.0", "a": "1.20", "A": "6.0"}
    return msgspec.json.encode({"stream": "solusdt@bookTicker", "data": data})


def trade(trade_id: int, ts: int) -> bytes:
    data = {
        "e": "trade",
        "E": ts // 1000,
        "s": "SOLUSDT",
        "t": trade_id,
        "p": "1.1",
        "q": "2.0",
        "T": ts // 1000,
        "m": True,
    }
    return msgspec.json.encode({"stream": "solusdt@trade", "data": data})


class Scene:
    """An ingest whose REST never answers and whose wall clock is a day ahead."""

    def __init__(self, root: Path) -> None:
        self.disk = Files(root)
        core: list[Ingest] = []
        writer = Writer(self.disk, FOLDER, lambda: core[0].state())
        config = Config(venue="binance", symbols=["SOLUSDT"], ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1")
        self.core = Ingest(config, Venue(["SOLUSDT"], config.kinds), writer, self.disk)
        core.append(self.core)
        self.mono = 1000 * SECOND
        self.core.open(self.wall, self.mono)
        self.link = 0
        while not self.link:
            self.link = next((a.link for a in self.turn() if isinstance(a, Connect)), 0)
        self.core.opened(self.link, self.wall, self.mono)

    @property
    def wall(self) -> int:
        return WALL - 1000 * SECOND + self.mono

    def turn(self, ns: int = SECOND) -> list[object]:
        self.mono += ns
        return list(self.core.turn(self.wall, self.mono))

    def hear(self, *frames: bytes) -> None:
        self.core.frames(self.link, frames, self.wall, self.mono)
        self.core.flush(self.mono)

    def batches(self) -> list[Batch]:
        return Reader(self.disk, FOLDER).read(0)

    def events(self) -> list[object]:
        return [event for batch in self.batches() for event in batch.events if isinstance(event, Quote | Trade)]


def test_a_quote_before_any_venue_time_waits_for_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.hear(quote(1))
    scene.turn()
    assert scene.events() == []
    scene.hear(trade(7, NOW))
    scene.turn()
    assert sorted((type(e).__name__, e.ts) for e in scene.events()) == [("Quote", NOW), ("Trade", NOW)]  # type: ignore[attr-defined]
    assert max(batch.ts for batch in scene.batches()) < NOW + 60 * SECOND


def test_what_else_is_said_meanwhile_does_not_move_the_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.hear(b"no frame at all")
    scene.turn()
    scene.hear(trade(7, NOW))
    scene.turn()
    assert max(batch.ts for batch in scene.batches()) < NOW + 60 * SECOND


def test_where_no_venue_time_can_be_had_this_machines_clock_is_better_than_silence(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.hear(quote(1))
    scene.turn(EARLY_NS + SECOND)
    scene.hear(quote(2))
    assert [e.ts >= WALL for e in scene.events()] == [True, True]  # type: ignore[attr-defined]
