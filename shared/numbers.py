"""Exact numbers: the venue's digits as integers, and the one rounding at the end.

Every price and quantity becomes an integer count of 1e-18. Sums and products of such integers are exact, so neither the
order of events nor the way they were grouped can change a bit of what is made from them.
"""

from __future__ import annotations

DIGITS = 18
"""Digits after the point that are kept; no venue sends more."""
SCALE = 10**DIGITS
MAX_CHARS = 40
"""A longer text is no price: refused before it becomes a large integer."""

_SHIFT: list[int] = [10 ** (DIGITS - n) for n in range(DIGITS + 1)]


def units(text: str) -> int:
    """The number as a count of 1e-18.

    Takes ``(0|[1-9]\\d*)(\\.\\d{1,18})?`` in plain ASCII, at most MAX_CHARS of it, and raises ValueError otherwise.
    """
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if (
        digits.isdecimal()
        and digits.isascii()
        and (whole == "0" or (whole and whole[0] != "0"))
        and (fraction or not point)
        and len(fraction) <= DIGITS
        and len(text) <= MAX_CHARS
    ):
        return int(digits) * _SHIFT[len(fraction)]
    raise ValueError(f"no plain decimal number: {text[:MAX_CHARS]!r}")


class Units(dict[str, int]):
    """`units` with a memory, as prices repeat and a look-up costs a tenth of the reading. ``table[text]`` may raise
    ValueError."""

    LIMIT = 1 << 16

    def __missing__(self, text: str) -> int:
        number = units(text)
        self.note(text, number)
        return number

    def note(self, text: str, number: int) -> None:
        """Remembers what a text is for whoever looks it up; `number` is ``units(text)``."""
        if len(self) >= self.LIMIT:
            self.clear()
        self[text] = number
