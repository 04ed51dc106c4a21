"""A stream of objects from one .json file: a list of objects, or objects one after the other (ours).

The file is never in memory as a whole; only the object that is being read is.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from nonet.data.text_decoding import Damaged, decoded
from nonet.data.text_formats import json_reason, mended, not_an_object
from nonet.data.text_sources import Source, Tally

_SPACE = re.compile(r"[ \t\n\r]*")
_MARK = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)  # a whole string, or one character
_PLAIN_END = re.compile(r"[,\]}\s]")


class _Window:
    """The part of the text that is in memory, and where in the file it begins."""

    def __init__(self, texts: Iterator[str]) -> None:
        self.texts, self.text, self.at, self.ended = texts, "", 0, False
        self.line, self.counted = 1, 0  # the number of the line at the place `counted`

    def more(self, wanted: int) -> None:
        """Read until `wanted` characters lie ahead, or the file ends; drop what lies behind."""
        self.here()
        pieces, ahead = [self.text[self.at :]], len(self.text) - self.at
        while ahead < wanted and not self.ended:
            piece = next(self.texts, None)
            self.ended = piece is None
            pieces.append(piece or "")
            ahead += len(piece or "")
        self.text, self.at, self.counted = "".join(pieces), 0, 0

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more(1)

    def here(self) -> int:
        """The number of the line at the current place."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def value_end(self) -> int | None:
        """Where the value that begins here ends; None if it goes on beyond what is in memory."""
        if self.text[self.at] not in '{["':
            match = _PLAIN_END.search(self.text, self.at + 1)
            return match.start() if match else (len(self.text) if self.ended else None)
        depth = 0
        for match in _MARK.finditer(self.text, self.at):
            mark = match.group()
            if mark == '"':
                return None  # a string that is cut off here
            depth += (mark in "{[") - (mark in "}]")
            if depth <= 0:
                return match.end()
        return None


def json_values(source: Source, tally: Tally, encoding: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a .json file; `where` counts records from 1, and messages also name the line."""
    window = _Window(decoded(source, tally, encoding))
    try:
        yield from _values(window, source.name, tally)
    except Damaged as error:
        what, _, remedy = str(error).partition("; ")
        tally.bad(f"{source.name}:{window.here()}", "damaged file", what, remedy)


def _values(window: _Window, name: str, tally: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
    def broken(line: int, what: str, remedy: str) -> None:
        tally.bad(f"{name}:{line}", "broken JSON", what, remedy)

    listed = window.peek() == "["
    window.at += listed
    number = 0
    while (c := window.peek()) and not (listed and c == "]"):
        number += 1
        line = window.here()
        end = window.value_end()
        while end is None and not window.ended:
            window.more(2 * (len(window.text) - window.at) + 1)
            end = window.value_end()
        if end is None:
            what = f"record {number} begins here and does not end"
            broken(line, what, "close its braces and quotes, or copy the file again")
            return
        text = window.text[window.at : end]
        window.at = max(end, window.at + 1)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            broken(line, f"record {number} is not valid JSON ({json_reason(error)})", "mend it")
        else:
            if isinstance(value, dict):
                yield f"{name}:record {number}", mended(value, text, tally)
            else:
                not_an_object(f"{name}:{line}", value, tally)
        if listed and (c := window.peek()) == ",":
            window.at += 1
        elif listed and c != "]":
            what = f"a comma or ] should follow record {number}" + ("" if c else ", but the file ends")
            broken(window.here(), what, "mend it, or copy the file again")
    if listed:
        if not window.peek() and number == 0:
            broken(window.here(), "a list that does not end", "copy the file again")
        window.at += 1
        if window.peek():
            broken(window.here(), "text after the end of the list", "one file holds one list: remove it")
