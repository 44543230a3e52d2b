"""A price that wanders, and yet can be asked for at any second without walking there."""

from __future__ import annotations

from hashlib import blake2b

_OCTAVES = 22
"""Waves of 1, 2, 4 ... seconds; the longest, of 24 days, keeps the price near where it began."""

_DAILY = 0.02
"""About how far it moves in a day, as a share of the price."""

_REMEMBERED = 4096


class Walk:
    """The sum of waves, each twice as long and 1.4 times as high as the one before: a random walk at every scale."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._knots: dict[int, float] = {}
        self._known: dict[int, float] = {}

    def at(self, second: int) -> float:
        """The price at the start of a second, as a factor of the symbol's own (0.5 to 2, say)."""
        found = self._known.get(second)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[second] = self._sum(second)
        return found

    def _sum(self, second: int) -> float:
        total, height = 1.0, _DAILY / 86400**0.5
        for octave in range(_OCTAVES):
            knot, into = divmod(second, 1 << octave)
            left = self._knot(octave, knot)
            part = left if into == 0 else left + (self._knot(octave, knot + 1) - left) * (into / (1 << octave))
            total += height * part
            height *= 1.4142135623730951
        return total

    def _knot(self, octave: int, index: int) -> float:
        """A number in [-1, 1) that depends on the key and its place only."""
        place = index << 5 | octave
        found = self._knots.get(place)
        if found is None:
            digest = blake2b(place.to_bytes(9, "big", signed=True), key=self._key, digest_size=6).digest()
            found = int.from_bytes(digest, "big") / (1 << 47) - 1.0
            if len(self._knots) >= _REMEMBERED:
                self._knots.clear()
            self._knots[place] = found
        return found
