"""What came and could not be understood: counted by symbol and reason, for the certificate says what happened.

A rejected frame has no fields, so it counts for every symbol that its text names; where it names none, for the venue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from shared import archive, paths
from shared.files import Disk

KINDS = 20
"""Reasons that are told apart; whatever else there is counts as `OTHER`."""
OTHER = "other reasons"
BROKEN = "a line that cannot be read"
LONGEST = 120
"""Characters of a reason."""
_WORDS = re.compile(r"\w+")

Counts = dict[str, int]


class _Line(msgspec.Struct):
    reason: str
    raw: str = ""


class Rejections:
    """One venue's day of ``rejected/``, read once for all of its symbols."""

    def __init__(self, disk: Disk, venue: str, date: str, symbols: Iterable[str]) -> None:
        self._named: dict[str, Counts] = {}
        self._unnamed: Counts = {}
        symbols = frozenset(symbols)
        decoder = msgspec.json.Decoder(_Line)
        folder = paths.rejected_dir(venue, date)
        for part in archive.parts(disk, folder):
            try:
                lines, _ = archive.content(disk, f"{folder}/{part.name}")
            except FileNotFoundError:  # folded at this moment: the next run counts it
                continue
            for line in lines.splitlines():
                try:
                    self._take(decoder.decode(line), symbols)
                except (ValueError, RecursionError):
                    _add(self._unnamed, BROKEN)

    def _take(self, line: _Line, symbols: frozenset[str]) -> None:
        named = symbols.intersection(map(str.upper, _WORDS.findall(line.raw)))
        for counts in [self._named.setdefault(symbol, {}) for symbol in named] or [self._unnamed]:
            _add(counts, line.reason[:LONGEST])

    def of(self, symbol: str) -> dict[str, Counts]:
        """``of_symbol`` and ``of_no_symbol``, each by reason."""
        return {"of_symbol": _ordered(self._named.get(symbol, {})), "of_no_symbol": _ordered(self._unnamed)}


def _add(counts: Counts, reason: str) -> None:
    known = reason if reason in counts or len(counts) < KINDS else OTHER
    counts[known] = counts.get(known, 0) + 1


def _ordered(counts: Counts) -> Counts:
    return dict(sorted(counts.items()))
