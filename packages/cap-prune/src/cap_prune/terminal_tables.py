"""Tables for the terminal: columns of equal width, numbers to the right."""

from collections.abc import Mapping, Sequence
from typing import Any

from nonet.report.plots import show


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text under a line of names; a name that a row lacks leaves its place empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([show(row[name]) if name in row else "" for name in names] for row in rows)]
    right = [any(isinstance(row.get(name), int | float) for row in rows) for name in names]
    widths = [max(len(line[place]) for line in cells) for place in range(len(names))]
    lines = (
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        )
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)
