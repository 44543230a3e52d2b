"""Plain text is what is shown of what strangers sent; tests/security/test_s13_terminals.py looks at every place."""

from __future__ import annotations

from shared.plain import plain, plain_lines


def test_controls_line_ends_and_turns_of_direction_are_written_out() -> None:
    assert plain("A\x1b[2J\n\x9b\u2028\u202e") == r"A\x1b[2J\x0a\x9b\u2028\u202e"
    assert plain_lines("a\nb\r") == "a\nb\\x0d"
    assert plain("SOLUSDT 币安 é") == "SOLUSDT 币安 é"
