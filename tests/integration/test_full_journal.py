"""An archiver that stays away under a whole mesh: ingest pauses and says so, and goes on when there is room."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bench.chaos.mesh import Mesh, wait_for
from supervision import asking

MOST = 1 << 20


def held(mesh: Mesh) -> int:
    return sum(path.stat().st_size for path in (mesh.lake / "journal/binance/binance").glob("*.log"))


def trades(lake: Path) -> Counter[tuple[str, int]]:
    lines = [json.loads(line) for path in lake.glob("raw/**/part_*.jsonl") for line in path.read_text().splitlines()]
    return Counter((line["symbol"], line["trade_id"]) for line in lines if line["stream"] == "trade")


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_a_full_journal_pauses_ingest_with_a_recorded_gap_and_an_alarm_and_nothing_is_lost(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, 2000)
    try:
        mesh.write_config(more=f", journal_max_bytes: {MOST}")
        mesh.start().flowing()
        # When nobody archives
        asking.ask(mesh.lake, {"do": "stop", "stage": "archive"})
        wait_for("a full journal", lambda: mesh.rows()["binance"]["note"] == "journal full", 40)
        waiting = mesh.rows()["archive"]["backlog"]
        assert waiting > 5000 and held(mesh) < 2 * MOST
        log = (mesh.lake / "logs" / "binance.log").read_text()
        assert "its consumers are behind" in log and "journal full: receiving pauses" in log
        # Then somebody does again
        asking.ask(mesh.lake, {"do": "start", "stage": "archive"})
        wait_for("receiving again", lambda: not mesh.rows()["binance"]["note"], 30)
        wait_for("level", lambda: mesh.rows()["archive"]["backlog"] < waiting // 10, 30)
        counted = [0]

        def healed() -> bool:
            counters = mesh.rows()["binance"]["counters"]
            before, counted[0] = counted[0], counters.get("healed_ids", 0)
            return 0 < before == counted[0]

        wait_for("the pause is healed", healed, 40)
        issued = mesh.ledger()
        assert mesh.stop() == 0
    finally:
        mesh.close()
    found = trades(mesh.lake)
    assert max(found.values()) == 1
    for symbol, rows in issued.items():
        ids = sorted(number for name, number in found if name == symbol)
        assert ids == list(range(ids[0], ids[-1] + 1)) and ids[-1] >= rows["trade"]["last"] - 200
    texts = [path.read_text() for path in mesh.lake.glob("feed/**/part_*.jsonl")]
    feed = [json.loads(line) for text in texts for line in text.splitlines()]
    assert any(said["kind"] == "disconnected" and said.get("reason") == "journal full" for said in feed), feed[:5]
