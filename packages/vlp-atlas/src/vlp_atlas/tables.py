"""Tables and records for the terminal: aligned plain text, with colour only where somebody looks (ours).

An unknown value is an empty cell, never a dash or a zero. A mark behind a value says how far to trust it;
a verified or secondary one has none.
"""

import shutil
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

MARKS = {"digitised": "~", "unverified": "?", "disputed": "!"}
MEANING = {
    "~": "read off a figure",
    "?": "from memory, not checked",
    "!": "sources disagree (see show NAME --sources)",
}
QUANTITIES = {
    "params", "pretrain_pairs", "pretrain_images", "n_images", "n_texts", "n_pairs", "n_clips", "size",
}  # fmt: skip
"""columns whose numbers are shown short, as 303M"""
BOLD, FAINT, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
LEAST = 8  # a column is never cut shorter


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output goes to a file or another program, which gets it all."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def quantity(number: float) -> str:
    """A large number with three digits: `quantity(303_000_000)` is `303M`, `quantity(1.8e9)` is `1.8B`."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= 0.9995 * limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:g}"


def text(value: Any, column: str = "") -> str:
    """A value as a cell shows it: nothing for None, lists with commas, quantities short."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and column in QUANTITIES:
        return quantity(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_item(item) for item in value)
    return " ".join(str(value).split())


def _item(item: Any) -> str:
    """An item of a list; of a mapping its id or name, and the rest in brackets."""
    if not isinstance(item, Mapping):
        return text(item)
    rest = {key: each for key, each in item.items() if each is not None}
    head = next((str(rest.pop(key)) for key in ("id", "dataset", "name", "url") if key in rest), "")
    more = text(rest)
    return f"{head} ({more})" if head and more else head or more


def cells(table: Any) -> list[list[str]]:
    """The table's texts, row by row, with the marks of their confidence."""
    shown = []
    for row in table.rows:
        facts = row.get("_facts") or {}
        line = []
        for name in table.columns:
            cell = text(row.get(name), name)
            fact = facts.get(name)
            mark = MARKS.get(fact.get("confidence", ""), "") if isinstance(fact, Mapping) else ""
            line.append(f"{cell}{mark}" if cell else "")
        shown.append(line)
    return shown


def render(table: Any, *, width: int | None = None, colour: bool = False) -> str:
    """A table as text; a column in which nothing is known is left out, and named below.

    Args:
        table: has columns, rows (mappings by column), footer (lines), and heads of some columns.
        width: cut long cells so that no line is longer; None cuts nothing.
        colour: head in bold, footer faint.
    """
    body = cells(table)
    kept = [place for place, _ in enumerate(table.columns) if not body or any(row[place] for row in body)]
    names = [table.columns[place] for place in kept]
    numeric = {place for place, name in enumerate(names) if _numbers([row.get(name) for row in table.rows])}
    heads = [table.heads.get(name, name).replace("_", " ") for name in names]
    lines = grid(
        heads, [[row[place] for place in kept] for row in body], right=numeric, width=width, colour=colour
    )
    marks = {mark for row in body for cell in row if cell for mark in MEANING if cell.endswith(mark)}
    footer = list(table.footer)
    empty = [name.replace("_", " ") for name in table.columns if name not in names]
    if empty:
        footer.append(f"nothing known: {', '.join(empty)}")
    if marks:
        footer.append(", ".join(f"{mark} {MEANING[mark]}" for mark in MEANING if mark in marks))
    return "\n".join([*lines, *(faint(line, colour=colour) for line in footer)])


def _numbers(values: Sequence[Any]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in given
    )


def grid(
    heads: Sequence[str],
    body: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    width: int | None = None,
    colour: bool = False,
) -> list[str]:
    """Aligned lines, the heads first; a head of several words stands in several lines.

    Args:
        heads: of the columns.
        body: texts by row.
        right: places of the columns that are set to the right.
        width: greatest length of a line; the widest columns give way.
        colour: heads in bold.
    """
    stacks = [head.split(" ") for head in heads]
    high = max((len(stack) for stack in stacks), default=0)
    tops = [[""] * (high - len(stack)) + stack for stack in stacks]
    widths = [
        max(span(word) for word in (*stack, *(row[place] for row in body)))
        for place, stack in enumerate(stacks)
    ]
    if width is not None and widths:
        while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > LEAST:
            widths[widths.index(max(widths))] -= 1
    lines = []
    for number, row in enumerate([*zip(*tops, strict=True), *body]):
        parts = [fit(cell, widths[place], right=place in right) for place, cell in enumerate(row)]
        line = "  ".join(parts).rstrip()
        lines.append(bold(line, colour=colour) if number < high else line)
    return lines


def span(line: str) -> int:
    """Columns that a text takes in a terminal; wide characters take two."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in line
    )


def fit(cell: str, width: int, *, right: bool = False) -> str:
    """The text in exactly so many columns, cut where it is longer."""
    if span(cell) > width:
        while cell and span(cell) > width - 1:
            cell = cell[:-1]
        cell += "\N{HORIZONTAL ELLIPSIS}"
    space = " " * (width - span(cell))
    return space + cell if right else cell + space


def faint(line: str, *, colour: bool) -> str:
    """A line that matters less."""
    return f"{FAINT}{line}{PLAIN}" if colour else line


def bold(line: str, *, colour: bool) -> str:
    """A line that matters more."""
    return f"{BOLD}{line}{PLAIN}" if colour else line
