"""For any decimal text the units are exact and the float is the one that Python's own reader gives."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from shared.numbers import SCALE, units

PLAIN = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,18})?\Z")


@given(st.from_regex(r"(0|[1-9][0-9]{0,20})(\.[0-9]{1,18})?", fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_units_and_float_agree_with_fraction_and_float(text: str) -> None:
    assert units(text) == Fraction(text) * SCALE
    assert units(text) / SCALE == float(text)
    assert Decimal(units(text)) == Decimal(text).scaleb(18, Context(prec=60))


@given(st.one_of(st.text(max_size=45), st.text("0123456789.", max_size=45)))
def test_exactly_the_grammar_is_taken(text: str) -> None:
    try:
        units(text)
        taken = True
    except ValueError:
        taken = False
    assert taken == (len(text) <= 40 and PLAIN.match(text) is not None)
