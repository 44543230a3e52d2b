"""What a terminal shows of a running mesh: bars as they close, a price line, ids missing, stages, what is on disk."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from shared.events import Bar
from shared.journal import Damaged, unpack
from shared.logs import escape

LINE_LENGTH = 40
_LEVELS = "▁▂▃▄▅▆▇█"
_PARTS = ("raw", "feed", "parquet", "ticks", "quality")


class Market:
    """What is known of one symbol: its newest bar and the closes before it."""

    def __init__(self) -> None:
        self.bar: Bar | None = None
        self.closes: deque[float] = deque(maxlen=LINE_LENGTH)
        self.bars = 0
        self.trades = 0

        self.decimals = 0
        """Most decimals seen in a price, so that columns stand still."""

    def take(self, bar: Bar) -> None:
        if bar.revision:  # a second seen before
            return
        for price in (bar.close, bar.bid, bar.ask):
            self.decimals = max(self.decimals, len(f"{price:.8f}".rstrip("0").partition(".")[2]) if price else 0)
        self.bars += 1
        self.trades += bar.trade_count
        if bar.close is not None:
            self.closes.append(bar.close)
        if bar.close is not None or self.bar is None:
            self.bar = bar

    def price(self, value: float | None) -> str:
        return "" if value is None else f"{value:.{self.decimals}f}"


def price_line(closes: deque[float]) -> str:
    """The closes as one line of blocks, lowest to highest."""
    if not closes:
        return ""
    low, high = min(closes), max(closes)
    steps = len(_LEVELS) - 1
    return "".join(_LEVELS[round((c - low) / (high - low) * steps) if high > low else steps // 2] for c in closes)


class View:
    """Takes what the taps say and draws it."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self.markets: dict[str, Market] = {}

    def take(self, topic: str, data: bytes) -> list[Bar]:
        """The bars in a tap's message; anything else is passed over."""
        if topic == "beat":
            return []
        try:
            batch = unpack(data)
        except Damaged:
            return []
        bars = [event for event in batch.events if isinstance(event, Bar)]
        for bar in bars:
            self.markets.setdefault(bar.symbol, Market()).take(bar)
        return bars

    def draw(self, snapshot: dict[str, Any], title: str, files: dict[str, tuple[int, int]]) -> RenderableType:
        written = Text("  ".join(f"{name}/ {count} files {size / 1e6:.1f} MB" for name, (count, size) in files.items()))
        return Group(
            Panel(self._bars(), title=title, title_align="left"),
            Columns([Panel(_stages(snapshot), title="stages", title_align="left")]),
            Panel(written, title=f"written to {self._lake}", title_align="left"),
        )

    def _bars(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for name, justify in (("symbol", "left"), ("second", "left"), ("close", "right"), ("vwap", "right")):
            table.add_column(name, justify="left" if justify == "left" else "right")
        for name in ("trades", "bid", "ask", "bars"):
            table.add_column(name, justify="right")
        table.add_column("last closes")
        for symbol, market in sorted(self.markets.items()):
            bar = market.bar
            if bar is not None:
                table.add_row(
                    escape(symbol),
                    _second(bar.window_start),
                    market.price(bar.close),
                    market.price(bar.vwap),
                    str(bar.trade_count),
                    market.price(bar.bid),
                    market.price(bar.ask),
                    str(market.bars),
                    Text(price_line(market.closes), style="green" if _rising(market.closes) else "red"),
                )
        return table


def _rising(closes: deque[float]) -> bool:
    return len(closes) < 2 or closes[-1] >= closes[0]


def _second(ns: int) -> str:
    seconds = ns // 1_000_000_000 % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _number(value: float | None, digits: int = 10) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _stages(snapshot: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "state", "in/s", "out/s", "restarts", "ids missing", "memory", ""):
        table.add_column(name, justify="left" if name in ("stage", "state", "") else "right")
    for row in snapshot["stages"]:
        missing = row["counters"].get("ids_missing")
        table.add_row(
            row["stage"],
            Text(row["state"], style="green" if row["state"] == "running" else "yellow"),
            _number(row["events_in_s"], 6),
            _number(row["events_out_s"], 6),
            str(row["restarts"]),
            "" if missing is None else Text(str(missing), style="red" if missing else "green"),
            "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:.0f} MB",
            row["note"],
        )
    return table


def files_written(lake: Path) -> dict[str, tuple[int, int]]:
    """Files and bytes under each part of the lake that people read."""
    found = {}
    for part in _PARTS:
        sizes = []
        for path in (lake / part).rglob("*"):
            try:
                if path.is_file() and not path.name.endswith(".tmp"):
                    sizes.append(path.stat().st_size)
            except OSError:  # renamed while we looked
                continue
        if sizes:
            found[part] = (len(sizes), sum(sizes))
    return found
