"""The judge's questions, put to a real recording: exactly what was taken is missing, exactly what was changed differs.

The recordings are not part of the repository; LAKE_REAL_DATA names their folder.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import klines
from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config
from procs.validator.verify import verify
from procs.validator.work import validate
from shared import paths
from shared.errand import Errand
from shared.events import Quote, Trade
from shared.files import Files
from shared.lines import line, parse_line
from shared.process import Lifeline
from tests.fixtures import small_lake
from tests.fixtures.small_lake import MINUTE, SECOND, VENUE, write_lake, write_reached
from tests.integration.test_bars_of_captures import SPOT, events, recording

SYMBOL, DATE, NEXT = "ETHUSDT", "2024-08-08", "2024-08-09"
MIDNIGHT = paths.day_start(NEXT)
Events = list[Trade | Quote]


def given(before: int = 120, behind: int = 100) -> Events:
    """So many seconds around midnight: every question has its answer there, and all of them are quick."""
    first, last = MIDNIGHT - before * SECOND, MIDNIGHT + behind * SECOND
    return [e for e in events(*recording(*SPOT)) if isinstance(e, Trade | Quote) and first <= e.ts < last]


def a_lake(root: Path, recorded: Events, is_ended: bool = True) -> Files:
    disk = Files(root)
    write_lake(disk, recorded)
    if is_ended:
        write_reached(disk, recorded[-1].ts + 3 * MINUTE, ended=True)
    return disk


def judged(disk: Files, date: str = DATE) -> dict[str, Any]:
    validate(Errand(disk, Config(), None, date, True, Lifeline()))
    found: dict[str, Any] = msgspec.json.decode(disk.read(paths.certificate(VENUE, SYMBOL, date)))
    return found


def edit(disk: Files, date: str, change: Callable[[Trade | Quote], Trade | Quote | None]) -> None:
    """Every line of a day as `change` wants it; None takes it out."""
    folder = paths.raw_dir(VENUE, SYMBOL, date)
    for name in disk.list(folder):
        kept = [change(parse_line(text)) for text in disk.read(f"{folder}/{name}").splitlines()]  # type: ignore[arg-type]
        disk.write(f"{folder}/{name}", "".join(line(event) for event in kept if event is not None).encode())


def test_trades_deleted_from_a_recorded_day_are_named_by_exactly_their_ids(tmp_path: Path) -> None:
    recorded = given()
    disk = a_lake(tmp_path, recorded)
    inside = [e.trade_id for e in recorded if isinstance(e, Trade) and e.ts < MIDNIGHT][1:-1]
    lost = set(random.Random(1).sample(inside, 30)) | set(inside[500:517])
    edit(disk, DATE, lambda event: None if isinstance(event, Trade) and event.trade_id in lost else event)
    said = judged(disk)
    assert {one for first, last in said["ids"]["missing"] for one in range(first, last + 1)} == lost
    assert (said["trades_missing"], said["verdict"]) == (len(lost), "partial")
    assert judged(disk, NEXT)["trades_missing"] == 0


def test_one_wrong_trade_flags_exactly_its_bar(tmp_path: Path) -> None:
    recorded = given()
    disk = a_lake(tmp_path, recorded)
    wrong = [e for e in recorded if isinstance(e, Trade) and e.ts < MIDNIGHT][700]
    changed = msgspec.structs.replace(wrong, price="1.00000000")
    edit(disk, DATE, lambda event: changed if isinstance(event, Trade) and event.trade_id == wrong.trade_id else event)
    said = judged(disk)
    assert [second for second, _ in said["bars_checked"]["differ"]] == [wrong.ts // SECOND * SECOND]
    assert said["bars_differ"] == 1 and said["trades_missing"] == 0
    assert judged(disk, NEXT)["bars_differ"] == 0


def test_a_frozen_feed_proves_no_second_empty(tmp_path: Path) -> None:
    """The connection stands, nothing comes any more, time goes on: what happened since nobody knows."""
    recorded = given(30, 40)
    frozen_at = MIDNIGHT + 40 * SECOND
    whole, frozen = a_lake(tmp_path / "whole", recorded), a_lake(tmp_path / "frozen", recorded, is_ended=False)
    write_reached(whole, frozen_at)
    write_reached(frozen, frozen_at + 30 * MINUTE)
    before, after = judged(whole, NEXT)["seconds"], judged(frozen, NEXT)["seconds"]
    assert after["proven_empty"] == before["proven_empty"] and after["with_trades"] == before["with_trades"]
    assert after["unknown"] == before["unknown"] + 30 * 60


def test_a_halt_of_fifteen_minutes_is_no_gap_and_makes_no_bar(tmp_path: Path) -> None:
    """The venue trades nothing and quotes nothing, and goes on with the next id."""
    halt = 15 * MINUTE
    recorded = given(60)
    last = max(e.trade_id for e in recorded if isinstance(e, Trade) and e.ts < MIDNIGHT + 60 * SECOND)
    ends = max(e.ts for e in recorded if isinstance(e, Trade) and e.trade_id <= last)

    def later(event: Trade | Quote) -> Trade | Quote:
        if event.ts <= ends:
            return event
        return msgspec.structs.replace(event, ts=event.ts + halt, ts_event=event.ts_event and event.ts_event + halt)

    disk = a_lake(tmp_path, [later(event) for event in recorded])
    said, plain = judged(disk, NEXT), judged(a_lake(tmp_path / "plain", recorded), NEXT)
    assert (said["trades_missing"], said["bars_differ"], said["wrong"]) == (0, 0, [])
    assert said["seconds"]["unknown"] == plain["seconds"]["unknown"] == 0
    assert said["seconds"]["proven_empty"] == plain["seconds"]["proven_empty"] + 15 * 60
    assert (said["bars"], said["trades"]) == (plain["bars"], plain["trades"])


def test_verify_names_every_file_of_a_recorded_day_of_which_one_byte_was_changed(tmp_path: Path) -> None:
    disk = a_lake(tmp_path, given(20, 20))
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    said = judged(disk)
    assert [one.wrong for one in verify(disk, None, DATE)] == [[]]
    chance = random.Random(1)
    named = [*(file["path"] for file in said["files"]), paths.checksum_file(VENUE, SYMBOL, DATE)]
    assert len(named) >= 5
    for path in named:
        whole = disk.read(path)
        at = chance.randrange(len(whole))
        disk.write(path, whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        found = [text for one in verify(disk, None, DATE) for text in one.wrong]
        assert any(path in text for text in found), f"{path}: {found}"
        disk.write(path, whole)
    assert [one.wrong for one in verify(disk, None, DATE)] == [[]]


def test_recorded_futures_equal_the_exchanges_own_file_of_klines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, file = recording(
        "binance-usdm-ws/btcusdt_20240808.gz",
        "binance-usdm-ws/BTCUSDT-usdm-1m-klines_20240808T2354_20240809T0004.csv",
    )
    monkeypatch.setattr(small_lake, "VENUE", "binance_usdm")
    recorded = sorted((e for e in events(capture) if isinstance(e, Trade | Quote)), key=lambda event: event.ts)
    write_lake(Files(tmp_path), recorded)
    told = list(klines.read(file))
    rows = klines.bars_of(tmp_path, "binance_usdm", "BTCUSDT")
    assert klines.against(rows, told, klines.step_of(told)) == (5, [])
    # and a wrong figure of any column is seen
    for name in ("open", "high", "low", "close", "volume_base", "volume_quote", "buy_volume_base", "buy_volume_quote"):
        spoilt = [msgspec.structs.replace(one, **{name: getattr(one, name) + "1"}) for one in told]
        assert [one.columns for one in klines.against(rows, spoilt, 60)[1]] == [[name]] * 5
    spoilt = [msgspec.structs.replace(one, trade_count=one.trade_count + 1) for one in told]
    assert [one.columns for one in klines.against(rows, spoilt, 60)[1]] == [["trade_count"]] * 5
