"""Heartbeats (`shared.process`): from the work loop with its news, and in its stead only where the disk keeps it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.events import Beat
from shared.process import BEAT_NS, Heart, Setting
from shared.topology import Pipeline


class Hand:
    """A clock turned by hand, and a lane that keeps what is sent."""

    def __init__(self) -> None:
        self.now = 100 * BEAT_NS
        self.sent: list[int] = []

    def mono(self) -> int:
        return self.now

    def wall(self) -> int:
        return self.now

    def send(self, data: bytes) -> bool:
        self.sent.append(msgspec.msgpack.decode(data, type=Beat).ts)
        return True


def test_news_are_not_crowded_out_by_beats_that_a_busy_disk_brings(tmp_path: Path) -> None:
    """A sync every 200 ms, a turn of the loop right behind it: each beat must be the loop's own."""
    hand = Hand()
    setting = Setting(Pipeline(str(tmp_path / "p.yml"), str(tmp_path), {}), "it", supervised=False)
    try:
        setting.heart = heart = Heart(hand, "it", "", hand)
        heart.send()
        file = setting.disk.appender("journal/it/j.log")
        for turn in range(1, 51):
            hand.now += BEAT_NS // 5
            file.sync()
            if heart.due():
                heart.beat.ts = turn
                heart.send()
        assert hand.sent == [0, *range(5, 51, 5)]
        hand.sent.clear()
        for _ in range(20):
            hand.now += BEAT_NS
            file.sync()
        assert len(hand.sent) >= 9, "a commit of hundreds of files beats between them"
        file.close()
    finally:
        setting.close()
