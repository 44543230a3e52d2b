"""``python -m procs.ingest --config pipeline.yml --stage binance``"""

from __future__ import annotations

import sys

from procs.ingest.config import Config
from procs.ingest.shell import run
from shared.process import arguments, guarded, prepare

DESCRIPTION = "Records a venue's trades and quotes into a journal, from which the other stages read."


def main() -> None:
    """The body of the process."""
    setting, config = prepare("ingest", Config, arguments(DESCRIPTION))
    setting.heart.send()
    sys.exit(guarded(setting, lambda: run(setting, config)))


if __name__ == "__main__":
    main()
