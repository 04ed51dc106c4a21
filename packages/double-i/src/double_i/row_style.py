"""How a file writes its rows, so that rows which are added do not stand out by their spelling (ours)."""

import json
import re
from dataclasses import dataclass
from typing import Any

from double_i.examples import Example, OwnerRow
from double_i.formats import to_value
from nonet.errors import UserError

_BREAK = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")  # JSON has no line breaks inside of strings
_HALF = re.compile("[\ud800-\udfff]")
_SEPARATORS = ((", ", ": "), (",", ":"), (",", ": "))


@dataclass(frozen=True)
class Style:
    """The spelling of a JSON row.

    Attributes:
        separators: after a field, after a name.
        ascii: whether other characters are escapes.
        order: of the columns.
        drop_empty_input: Alpaca rows without an input have no such column.
        plain: TRL rows of two texts, not of two lists of turns.
    """

    separators: tuple[str, str] = (", ", ": ")
    ascii: bool = False
    order: tuple[str, ...] = ()
    drop_empty_input: bool = False
    plain: bool = False

    def text(self, example: Example, format: str, join: str, where: str) -> str:
        """A row as one line.

        Args:
            example: the row.
            format: one of `double_i.examples.FORMATS`.
            join: between instruction and input in chat formats.
            where: it came from, for errors.

        Raises:
            UserError: a system prompt or history where rows are two texts, which have no place for it.
        """
        value = to_value(example, format, join, plain=self.plain)
        if self.plain and (example.system or example.history):
            raise UserError(
                f"{where}: has a system prompt or history, for which rows of two texts have no place; "
                "merge --to openai"
            )
        if self.drop_empty_input and not value.get("input", "x"):
            del value["input"]
        value = {name: value[name] for name in (*self.order, *value) if name in value}
        text = json.dumps(value, ensure_ascii=self.ascii, separators=self.separators)
        if _HALF.search(text):  # half a surrogate pair has no UTF-8
            return json.dumps(value, ensure_ascii=True, separators=self.separators)
        return text


def one_line(raw: str) -> str:
    """The exact text of a row with the line breaks between its fields made spaces."""
    return _BREAK.sub(" ", raw) if "\n" in raw or "\r" in raw else raw


def style_of(row: OwnerRow) -> Style:
    """The spelling of a row that was read."""
    line = one_line(row.raw)
    value: dict[str, Any] = json.loads(row.raw)
    ascii = line.isascii() and not json.dumps(value, ensure_ascii=False).isascii()
    fitting = (s for s in _SEPARATORS if json.dumps(value, ensure_ascii=ascii, separators=s) == line)
    return Style(
        next(fitting, _SEPARATORS[0]),
        ascii,
        tuple(value),
        row.format == "alpaca" and "input" not in value,
        row.format == "trl" and isinstance(value["prompt"], str),
    )
