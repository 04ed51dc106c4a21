"""A comparison as text: a row a measurement, a column a model, marks where numbers are not alike (ours)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlp_atlas.tables import BOLD, FAINT, MARKS, MEANING, PLAIN, faint, fit, span, text


def render(comparison: Any, *, width: int | None = None, colour: bool = False) -> str:
    """The comparison's table: the best of a row has a star (bold with colour), what is unlike has its mark.

    Args:
        comparison: has columns, rows and footer, as `Atlas.compare` gives it.
        width: of the terminal, for cutting the labels; None cuts nothing.
        colour: bold and faint instead of plain text alone.
    """
    heads = ["", *comparison.columns]
    with_delta = any(row.get("delta") is not None for row in comparison.rows)
    if with_delta:
        heads.append("difference")
    body = [_row(row, with_delta) for row in comparison.rows]
    if not body:
        return "\n".join(["no number of these models for these tasks", *comparison.footer])
    widths = [max(span(head), *(span(line[place]) for line in body)) for place, head in enumerate(heads)]
    if width is not None:
        widths[0] = max(12, min(widths[0], width - sum(widths[1:]) - 2 * (len(widths) - 1)))
    lines = [
        "  ".join(fit(head, widths[place], right=place > 0) for place, head in enumerate(heads)).rstrip()
    ]
    if colour:
        lines[0] = f"{BOLD}{lines[0]}{PLAIN}"
    for line, row in zip(body, comparison.rows, strict=True):
        parts = [fit(cell, widths[place], right=place > 0) for place, cell in enumerate(line)]
        if colour:
            parts = _coloured(parts, row["cells"])
        lines.append("  ".join(parts).rstrip())
    held = [cell for row in comparison.rows for cell in row["cells"] if cell]
    used = {MARKS.get(cell.get("confidence", ""), "") for cell in held}
    legend = ["* best of its row"] if any(cell.get("best") for cell in held) else []
    legend += [f"{mark} {MEANING[mark]}" for mark in MEANING if mark in used]
    footer = [*comparison.footer, *([", ".join(legend)] if legend else [])]
    return "\n".join([*lines, *(faint(line, colour=colour) for line in footer)])


def _row(row: Mapping[str, Any], with_delta: bool) -> list[str]:
    line = [row["label"], *(_cell(cell) for cell in row["cells"])]
    if with_delta:
        delta = row.get("delta")
        line.append("" if delta is None else f"{delta:+.2f}")
    return line


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    star = "*" if cell.get("best") else ""
    sure = MARKS.get(cell.get("confidence", ""), "")
    mark = f" {cell['mark']}" if cell.get("mark") else ""
    return f"{text(cell['value'])}{sure}{star}{mark}"


def _coloured(parts: Sequence[str], cells: Sequence[Mapping[str, Any] | None]) -> list[str]:
    shown = [parts[0]]
    for part, cell in zip(parts[1 : 1 + len(cells)], cells, strict=True):
        code = BOLD if cell and cell.get("best") else FAINT if cell and cell.get("mark") else ""
        shown.append(f"{code}{part}{PLAIN}" if code else part)
    return [*shown, *parts[1 + len(cells) :]]
