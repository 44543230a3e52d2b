"""A batch that notes each run, and lingers where a file tells it to."""

from __future__ import annotations

import os
import time
from pathlib import Path

from shared import config, process


class Config(config.StageConfig, kw_only=True, frozen=True):
    """No settings."""


def main() -> None:
    lake = Path(config.load(process.arguments("A fake batch.").config).lake)
    lingers = (lake / "linger").exists()
    with (lake / "ran.txt").open("a") as file:
        file.write(f"{os.getpid()} {'lingers' if lingers else 'ran'}\n")
    deadline = time.monotonic() + 30
    while lingers and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
