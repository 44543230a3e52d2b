"""A stage small enough to kill: it beats, obeys its lifeline, and fails in the way its settings say."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from shared import process
from shared.config import StageConfig


class Config(StageConfig, kw_only=True, frozen=True):
    venue: str = "fake"
    """The folder it would write to."""
    replay: bool = False
    """Whether it may come to an end."""
    fails: str = ""
    """How: ``crash``, ``config`` (exit 2), ``hang``, ``deaf`` to its lifeline; or ``end``, as a recording does."""
    after_s: float = 0.0
    """Seconds of health before it fails."""


def main() -> None:
    args = process.arguments("A fake stage.")
    setting, config = process.prepare("tests.integration.fake_stage", Config, args)
    journal = Path(setting.lake) / f"lived-{setting.name}.txt"
    with journal.open("a") as file:
        file.write(f"start {os.getpid()}\n")
    setting.heart.send()

    def work() -> None:
        begun = time.monotonic()
        beat = setting.heart.beat
        beat.phase = "running"
        while not setting.lifeline.asked or config.fails == "deaf":
            beat.counters = {"events_in": beat.counters.get("events_in", 0) + 10, "events_out": 1}
            if setting.heart.due():
                setting.heart.send()
            if config.fails and time.monotonic() - begun >= config.after_s:
                _fail(config.fails)
                if config.fails == "end":
                    break
            time.sleep(0.02)
        with journal.open("a") as file:
            file.write(f"drained {os.getpid()} {time.monotonic_ns()}\n")

    sys.exit(process.guarded(setting, work))


def _fail(how: str) -> None:
    if how == "crash":
        sys.stderr.write("the fake reason\n")
        os._exit(1)
    if how == "config":
        sys.stderr.write("the fake setting is wrong\n")
        os._exit(2)
    while how == "hang":
        time.sleep(60)


if __name__ == "__main__":
    main()
