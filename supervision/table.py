"""Plain text for people: columns, sizes, spans of time."""

from __future__ import annotations

from collections.abc import Sequence

from shared.plain import plain


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; those of numbers to the right. No terminal obeys what stands in a cell."""
    header, rows = [plain(cell) for cell in header], [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    right = [
        bool(rows) and all(row[at][:1].isdigit() or row[at] in ("", "-") for row in rows) for at in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, right, strict=True)
        return "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in cells
        ).rstrip()

    return "\n".join([line(header), *(line(row) for row in rows)])


def size(count: float | None) -> str:
    """Bytes: ``12.3 MB``."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def span(seconds: float | None) -> str:
    """A duration: ``45s``, ``12m 03s``, ``5h 20m``, ``3d 04h``."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"
