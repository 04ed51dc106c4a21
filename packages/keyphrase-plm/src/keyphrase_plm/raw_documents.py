"""A document as its file has it, before its phrases are told apart; and what all layouts clean (ours)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nonet.data.text import Record
from nonet.errors import UserError

_MARK = re.compile(r"<eos>|\[sep\]", re.IGNORECASE)

Layout = Callable[[Iterable[Record], Counter[str], "Fields"], Iterator["Raw"]]


class Raw(NamedTuple):
    """What a layout yields.

    Attributes:
        id: as the file has it; empty where it has none.
        title: may be empty.
        body: may be empty.
        phrases: where the file does not say which are present: all of them; else empty.
        present: where it does.
        absent: where it does.
        split: whether the file tells present from absent.
        tokenised: whether its words and signs stand apart already.
        where: file:line.
    """

    id: str
    title: str
    body: str
    phrases: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    split: bool = False
    tokenised: bool = False
    where: str = ""

    @property
    def all_phrases(self) -> tuple[str, ...]:
        """Every phrase, in the order of the file."""
        return self.phrases or (*self.present, *self.absent)


class Fields(NamedTuple):
    """Names of fields that the user gave; None leaves the name to the layout."""

    title: str | None = None
    text: str | None = None
    keywords: str | None = None


NO_FIELDS = Fields()


def without_marks(text: str, counts: Counter[str]) -> str:
    """Text without `<eos>` and `[sep]`, which stand between title and body and nowhere else; counted."""
    if "<" not in text and "[" not in text:
        return text
    text, found = _MARK.subn(" ", text)
    if found:
        counts["marks inside a text (taken out)"] += found
    return text


def at_first_mark(line: str, counts: Counter[str]) -> tuple[str, str]:
    """Title and body of a source line, split at its first mark; further marks are taken out and counted.

    A line without a mark is all body.
    """
    mark = _MARK.search(line)
    if mark is None:
        if line.strip():
            counts["lines without a mark after the title"] += 1
        return "", line.strip()
    return line[: mark.start()].strip(), without_marks(line[mark.end() :], counts).strip()


def id_of(record: Record, names: Iterable[str]) -> str:
    """The record's id from the first of these fields that holds text or a number; empty if none does."""
    for name in names:
        value = record.fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def text_of(record: Record, name: str) -> str:
    """A field's text; null and a missing field are empty, a list of texts is joined by spaces."""
    if record.fields.get(name) is None:
        return ""
    return record.text(name)


def phrases_in(record: Record, name: str, *, between: str = ";") -> tuple[str, ...]:
    """The phrases of a field: a text split at `between`, a list of texts, or a list of lists of words.

    Raises:
        UserError: the field holds something else.
    """
    value = record.fields.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(phrase for part in value.split(between) if (phrase := part.strip()))
    if isinstance(value, list):
        found = []
        for item in value:
            if isinstance(item, str):
                found.append(item)
            elif isinstance(item, list) and all(isinstance(word, str) for word in item):
                found.append(" ".join(item))
            else:
                raise UserError(f"{record.where}: field {name!r} holds {item!r}; phrases are texts")
        return tuple(phrase for item in found if (phrase := item.strip()))
    kind = type(value).__name__
    raise UserError(
        f"{record.where}: field {name!r} is a {kind}; phrases are a list, or a text with {between!r}"
    )
