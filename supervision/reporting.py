"""``report`` and ``verify``: what the certificates say, and whether the lake still is what they say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from shared import paths
from shared.plain import plain
from shared.topology import Pipeline
from supervision.table import columns

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
GOOD = ("complete", "healed")
SHOWN_DAYS = 28
_STYLES = {"complete": "green", "healed": "blue", "partial": "yellow", "unproven": "bright_black"}
_SIGNS = {"complete": "■", "healed": "+", "partial": "-", "unproven": "?"}


class Seconds(msgspec.Struct):
    unknown: int = 0
    outside: int = 0


class Said(msgspec.Struct):
    """What is read of a certificate here."""

    venue: str = ""
    symbol: str = ""
    date: str = ""
    verdict: str = "unproven"
    so_far: str = ""
    """Of what was observed, while the day is not over."""
    is_over: bool = False
    is_provisional: bool = True
    is_open_ended: bool = False
    issue: int = 1
    trades: int = 0
    trades_missing: int = 0
    healed: int = 0
    unhealable: int = 0
    quotes: int = 0
    bars: int = 0
    bars_differ: int = 0
    wrong: list[str] = []
    notes: list[str] = []
    status: str | None = None
    statuses: list[dict[str, Any]] = []
    hours: list[dict[str, Any]] = []

    @property
    def is_good(self) -> bool:
        """Nothing to be done. A symbol that the venue has halted is not alarmed about for want of a later trade."""
        last = self.statuses[-1].get("status") if self.statuses else self.status
        is_halted = last not in (None, "", "TRADING")
        is_excused = self.verdict == "unproven" and self.is_open_ended and is_halted
        return not self.wrong and (self.observed in GOOD or is_excused)

    @property
    def observed(self) -> str:
        return self.verdict if self.is_over or not self.so_far else self.so_far

    @property
    def word(self) -> str:
        return self.verdict if self.is_over else f"{self.observed} so far"


def certificates(lake: Path, dates: set[str] | None = None, newest: int | None = None) -> list[Said]:
    """Those of these dates, or the newest of each symbol, in the order of venue, symbol and date."""
    found = []
    for folder in sorted((lake / "quality").glob("*/*/")):
        if folder.parent.name in ("hours", "requests"):
            continue
        names = sorted(path for path in folder.glob("*.json") if _DATE.fullmatch(path.stem))
        if newest is not None:
            names = names[-newest:]
        found += [_read(path) for path in names if dates is None or path.stem in dates]
    return [said for said in found if said is not None]


def _read(path: Path) -> Said | None:
    try:
        said = msgspec.json.decode(path.read_bytes(), type=Said)
    except (OSError, ValueError, RecursionError):
        return Said(path.parent.parent.name, paths.symbol_of(path.parent.name), path.stem, wrong=["cannot be read"])
    said.venue, said.symbol, said.date = path.parent.parent.name, paths.symbol_of(path.parent.name), path.stem
    return said


def day_named(text: str, now: datetime | None = None) -> str:
    """``today``, ``yesterday`` (UTC) or a date. Raises ValueError."""
    days = {"today": 0, "yesterday": 1}
    if text in days:
        return ((now or datetime.now(UTC)) - timedelta(days=days[text])).strftime("%Y-%m-%d")
    paths.day_start(text)
    if not _DATE.fullmatch(text):
        raise ValueError(f"{text} is no date such as 2025-10-20")
    return text


# --- report ---


def report(pipeline: Pipeline, date: str | None, as_json: bool) -> int:
    """Without a date: the newest day of each symbol, and a map of the last weeks; exit code 1 where something is wrong.
    With one: that day; exit code 1 unless all of it is good, and over, but for today.
    """
    lake = Path(pipeline.lake)
    found = certificates(lake, {date}) if date else certificates(lake, newest=1)
    missing = _uncertified(pipeline, found, date) if date else []
    good = bool(found) and not missing
    is_today = date == day_named("today")
    good = good and all(said.is_good and (said.is_over or is_today) if date else not said.wrong for said in found)
    if as_json:
        rows = [msgspec.to_builtins(said) | {"is_good": said.is_good} for said in found]
        print(json.dumps({"date": date, "good": good, "uncertified": missing, "days": rows}))
        return 0 if good else 1
    if not found:
        print(f"nothing is certified of {date}" if date else "the validator has said nothing yet: " + _HOW)
    else:
        _show(lake, found, date)
    for name in missing:
        print(plain(f"{name}: no certificate of {date}"))
    return 0 if good else 1


_HOW = "python -m procs.validator --help"


def _uncertified(pipeline: Pipeline, found: Sequence[Said], date: str) -> list[str]:
    """Symbols that should have been recorded on that day, by the pipeline file or the days before."""
    lake = Path(pipeline.lake)
    have = {(said.venue, said.symbol) for said in found}
    wanted: set[tuple[str, str]] = set()
    for node in pipeline.section("sources"):
        symbols = node.options.get("symbols")
        for symbol in symbols if isinstance(symbols, list) else []:
            wanted.add((str(node.options.get("venue", node.name)), str(symbol)))
    missing = []
    for venue, symbol in sorted(wanted - have):
        days = sorted(path.stem for path in (lake / "quality" / venue / paths.safe(symbol)).glob("*.json"))
        if not days or days[0] < date:  # else it was not recorded yet
            missing.append(f"{venue} {symbol}")
    return missing


def _show(lake: Path, found: Sequence[Said], date: str | None) -> None:
    header = ("venue", "symbol", "date", "verdict", "trades", "missing", "healed", "quotes", "bars", "differ", "issue")
    rows = [
        (
            said.venue, said.symbol, said.date, said.word, f"{said.trades:,}", f"{said.trades_missing:,}",
            f"{said.healed:,}", f"{said.quotes:,}", f"{said.bars:,}", f"{said.bars_differ:,}", str(said.issue),
        )
        for said in found
    ]  # fmt: skip
    print(columns(header, rows))
    for said in found:
        for text in (*said.wrong, *said.notes):
            print(plain(f"{said.symbol} {said.date}: {text}"))
    print()
    _map(found if date else certificates(lake, newest=SHOWN_DAYS), by_hour=date is not None)
    print(f"{lake / 'quality' / 'report.html'}")


def _map(found: Sequence[Said], by_hour: bool) -> None:
    """A line for each symbol, a sign for each day, or for each hour of the one day."""
    from rich.console import Console
    from rich.text import Text

    # A terminal tells its width; a pipe gets whole lines.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False)
    dates = sorted({said.date for said in found})[-SHOWN_DAYS:]
    width = max(len(said.symbol) for said in found)
    console.print(" " * width + f"  {'hours 00 to 23' if by_hour else f'{dates[0]} to {dates[-1]}'}")
    symbols: dict[tuple[str, str], list[Said]] = {}
    for said in found:
        symbols.setdefault((said.venue, said.symbol), []).append(said)
    for (_, symbol), days in symbols.items():
        line = Text(f"{plain(symbol):{width}}  ")
        if by_hour:
            signs = {int(hour["hour"]): (str(hour["verdict"]), bool(hour["wrong"])) for hour in days[0].hours}
            places: list[Any] = list(range(24))
        else:
            signs = {day.date: (day.observed, bool(day.wrong)) for day in days}  # type: ignore[misc]
            places = list(dates)
        for place in places:
            verdict, wrong = signs.get(place, ("", False))
            style = "bold red" if wrong else _STYLES.get(verdict, "bright_black")
            line.append("!" if wrong else _SIGNS.get(verdict, "·"), style)
        console.print(line)
    console.print(
        "  ".join([*(f"{sign} {name}" for name, sign in _SIGNS.items()), "! something is wrong", "· nothing"])
    )


def one_line(lake: Path) -> str:
    """Yesterday's verdicts, for ``status``."""
    date = day_named("yesterday")
    found = certificates(lake, {date})
    if not found:
        return f"{date}: not certified"
    counts = {name: sum(said.verdict == name for said in found) for name in _SIGNS}
    said = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    wrong = [f"{said.symbol} ({said.wrong[0]})" for said in found if said.wrong]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return plain(f"{date}: {said}{'; wrong: ' + ', '.join(wrong[:3]) + more if wrong else ''}")


# --- verify ---


def verify(pipeline: Pipeline, date: str | None, as_json: bool) -> int:
    """Every certificate against the lake. Exit code 1 where one does not hold, or there is none."""
    from procs.validator.verify import verify as checked
    from shared.files import Files

    found = []
    for one in checked(Files(pipeline.lake), pipeline, date):
        found.append(one)
        if not as_json:
            state = "holds" if not one.wrong else "DOES NOT HOLD"
            text = f"{one.venue} {one.symbol} {one.date}: {state} ({one.verdict}, {one.files} files)"
            print(plain(text), flush=True)
            for text in (*one.wrong, *one.notes):
                print(plain(f"  {text}"))
    broken = sum(bool(one.wrong) for one in found)
    if as_json:
        print(json.dumps({"ok": bool(found) and not broken, "certificates": msgspec.to_builtins(found)}))
    elif not found:
        print(f"nothing is certified{f' of {date}' if date else ''}: {_HOW}")
    else:
        print(f"{len(found) - broken} of {len(found)} certificates hold")
    return 0 if found and not broken else 1
