"""Text that no terminal obeys: what strangers sent may stand in a name, a reason or an answer."""

from __future__ import annotations

from collections.abc import Iterable

_CONTROLS: Iterable[int] = (*range(32), *range(127, 160))
# Besides control characters: what ends a line, and what turns the direction of reading, for some reader or other.
_ESCAPES = {code: f"\\x{code:02x}" for code in _CONTROLS} | {
    code: f"\\u{code:04x}" for code in (0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_ESCAPES_IN_LINES = {code: text for code, text in _ESCAPES.items() if code != ord("\n")}


def plain(text: str) -> str:
    """One line."""
    return text.translate(_ESCAPES)


def plain_lines(text: str) -> str:
    """The same where several lines are meant."""
    return text.translate(_ESCAPES_IN_LINES)
