"""A document of a collection, and what every reader of files does with ids and texts (ours)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from nonet.data.text_sources import Tally
from nonet.errors import UserError


class Document(NamedTuple):
    """A document of a collection."""

    id: str
    text: str
    """title and body, joined by `". "`; a part that is blank is left out"""
    where: str
    """file and line, for messages"""


def joined(parts: Iterable[str]) -> str:
    """Parts of a document as one text: the released code's `title + ". " + body`, blank parts left out."""
    return ". ".join(stripped for part in parts if (stripped := part.strip()))


def checked_id(value: Any, where: str, tally: Tally) -> str | None:
    """A document's id as text; None if it can be none, which the tally has then raised or counted.

    Args:
        value: a text or a whole number.
        where: its record, for the message.
        tally: what to do with a bad record.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    name = value.strip() if isinstance(value, str) else ""
    if name and not any(map(str.isspace, name)):
        return name
    what = f"id {value!r} cannot stand in a run file, whose columns are separated by blanks"
    tally.bad(where, "bad id", what, "give every document an id without blanks")
    return None


def unique(
    documents: Iterable[Document], counts: Counter[str], on_error: Literal["fail", "skip"]
) -> Iterator[Document]:
    """Documents whose id is new; a repeated id is refused, or its document left out as one of `duplicates`.

    Raises:
        UserError: an id occurs twice, and `on_error` is `fail`.
    """
    seen: set[str] = set()
    for document in documents:
        if document.id not in seen:
            seen.add(document.id)
            yield document
        elif on_error == "skip":
            counts["duplicates"] += 1
        else:
            raise UserError(
                f"{document.where}: document id {document.id!r} occurs twice; mend the collection, or keep "
                "the first of each with --read.on-error skip"
            )
