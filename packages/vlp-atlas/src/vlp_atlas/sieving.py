"""What all queries share: filters one after the other, words of a field, order, and the footer (ours)."""

import unicodedata
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from nonet.errors import UserError

__all__ = ["Step", "matches", "note_hidden", "order", "sieve", "word"]

Step = tuple[str, Callable[[dict[str, Any]], bool]]
"""what a filter is called, and what it lets through"""


def matches(text: str, *fields: str | None) -> bool:
    """Whether a text is part of one of the fields, letter by letter: nothing in it is a pattern.

    Case does not matter, nor how accents are encoded (NFC).
    """
    wanted = _searchable(text)
    return any(wanted in _searchable(field) for field in fields if field)


def _searchable(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def word(field: str, value: str, words: Any) -> str:
    """The word of a list (a `Literal`) that the value is, whatever its case.

    Raises:
        UserError: it is none of them.
    """
    allowed = get_args(words)
    for known in allowed:
        if known.casefold() == value.casefold():
            return str(known)
    near = get_close_matches(value.casefold(), allowed, n=1)
    raise UserError(f"no {field} {value!r}{f' ({near[0]}?)' if near else ''}: one of {', '.join(allowed)}")


def sieve(records: list[dict[str, Any]], steps: list[Step]) -> tuple[list[dict[str, Any]], list[str]]:
    """What passes all filters, and, if that is nothing, which filter removed the last."""
    kept = list(records)
    for name, passes in steps:
        before, kept = len(kept), [record for record in kept if passes(record)]
        if before and not kept:
            return [], [f"nothing left: {name} removed the last {before}"]
    return kept, []


def order(rows: list[dict[str, Any]], sort: str | None, columns: Sequence[str], footer: list[str]) -> None:
    """Sort rows in place by a column, downwards with `-` before it; rows without a value last, and counted.

    Raises:
        UserError: there is no such column.
    """
    if sort is None:
        return
    column = sort.removeprefix("-")
    if column not in columns:
        near = get_close_matches(column, columns, n=1)
        raise UserError(
            f"no column {column!r}{f' ({near[0]}?)' if near else ''}: one of {', '.join(columns)}"
        )

    def rank(row: dict[str, Any]) -> Any:
        value = row[column]
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    known = [row for row in rows if row.get(column) is not None]
    unknown = [row for row in rows if row.get(column) is None]
    known.sort(key=rank, reverse=sort.startswith("-"))
    rows[:] = known + unknown
    if unknown:
        footer.append(f"{len(unknown)} without {column}, last")


def note_hidden(count: int, what: str, footer: list[str]) -> None:
    """Say how many unverified things (`what`, in the plural) are hidden, if any."""
    if count:
        footer.append(f"{count} unverified {what if count > 1 else what.removesuffix('s')} hidden")
