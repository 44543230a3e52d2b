"""A second process that takes what the mesh publishes and notes how old each trade is when it is decoded.

python -m bench.speed.listener LAKE OUT      until standard input ends
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from shared.events import Trade
from shared.journal import unpack
from shared.wire import Bus, find_mesh

WAIT_MS = 100


def main() -> None:
    """Ages in microseconds, one a line."""
    lake, out = Path(sys.argv[1]), Path(sys.argv[2])
    mesh = find_mesh(lake)
    if mesh is None:
        sys.exit("no mesh runs on this lake")
    over = threading.Event()

    def leave() -> None:
        while os.read(0, 4096):
            pass
        over.set()

    threading.Thread(target=leave, daemon=True).start()
    bus = Bus(lake, mesh)
    subscriber = bus.subscriber(["tap.binance"])
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    ages: list[int] = []
    while not over.is_set():
        found = subscriber.recv(WAIT_MS)
        if found is None:
            continue
        events = list(unpack(found[1]).events)
        now = time.time_ns()
        ages += [(now - event.ts) // 1000 for event in events if isinstance(event, Trade)]
    out.write_text("\n".join(map(str, ages)))
    bus.close()


if __name__ == "__main__":
    main()
