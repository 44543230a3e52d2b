"""Numbers are exact until the last step."""

from __future__ import annotations

import pytest

from shared.numbers import SCALE, units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0.0", 0),
        ("1", SCALE),
        ("187.42000000", 187_420_000_000 * 10**9),
        ("0.000000000000000001", 1),
        ("9" * 40, int("9" * 40) * SCALE),
    ],
)
def test_units_count_the_eighteenth_digit(text: str, expected: int) -> None:
    assert units(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "1.", ".5", "-1", "+1", " 1", "1 ", "1\n", "01", "00.1", "1e5", "1_000", "NaN", "Infinity", "0x1",
        "1.2.3", "1,5", "٣", "1.٣", "²", "1." + "0" * 19, "9" * 41, "1" * 41 + ".0", "\x00", "1.0\x00",
    ],
)  # fmt: skip
def test_anything_but_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        units(text)


def test_the_float_is_the_nearest_one() -> None:
    assert units("0.1") / SCALE == 0.1
    assert units("187.42000000") / SCALE == 187.42
    assert units("9007199254740993.5") / SCALE == 9007199254740994.0
