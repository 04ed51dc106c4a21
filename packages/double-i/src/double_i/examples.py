"""The canonical row, and streams of rows from users' files with their exact text kept (ours).

    for row in read_examples(["owner.jsonl"]):
        print(row.where, row.example.instruction)

Alpaca, ShareGPT, OpenAI chat, TRL and LLaMA-Factory files are told apart by their fields; a file has one
format.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError

FORMATS = ("alpaca", "sharegpt", "openai", "trl")
READABLE = ("auto", *FORMATS)


class Example(NamedTuple):
    """One row: what is asked, what is to be answered.

    Attributes:
        instruction: the task.
        input: what the task is about; may be empty.
        output: the answer.
        system: the system prompt; may be empty.
        history: earlier turns, (user, assistant), oldest first.
    """

    instruction: str
    input: str
    output: str
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()


class OwnerRow(NamedTuple):
    """A row that was read.

    Attributes:
        example: its content.
        raw: the exact text of the object in the file.
        where: `"FILE:LINE"`, the line that the object begins in.
        format: one of `FORMATS`.
        extra: columns that are not the format's own, sorted.
    """

    example: Example
    raw: str
    where: str
    format: str = "alpaca"
    extra: tuple[str, ...] = ()


def read_examples(
    paths: Sequence[Path | str] | Path | str, *, format: str = "auto", join: str = "\n\n"
) -> Iterator[OwnerRow]:
    """The rows of files, one after the other; memory does not grow with their size.

    Args:
        paths: .json (a list, or objects one after the other) or .jsonl files, also .gz or .zst.
        format: one of `FORMATS`, or `auto`: the fields of each file's first row decide.
        join: what stands between instruction and input in chat formats, which have one text for both. Its
            first place splits them; a text without it is an instruction alone (see `formats.reversible`).

    Raises:
        UserError: no file, an empty file, no UTF-8 or JSON, a missing field, a field that is not text, or two
            formats in a file. It names file and line.
    """
    from double_i.formats import PARSERS, detect
    from double_i.raw_records import raw_records

    if format not in READABLE:
        raise UserError(f"there is no format {format!r}; there are {', '.join(READABLE)}")
    for path in [paths] if isinstance(paths, Path | str) else paths:
        name, first = format, ""
        for text, line in raw_records(Path(path)):
            where = f"{path}:{line}"
            value = _object(text, where)
            found = detect(value, where) if format == "auto" or not first else name
            if format == "auto" and first and found != name:
                raise UserError(
                    f"{where}: a row of {found}, but {first} is of {name}; split the file by format"
                )
            name, first = (found if format == "auto" else format), first or where
            example, extra = PARSERS[name](value, where, join)
            yield OwnerRow(example, text, where, name, extra)
        if not first:
            raise UserError(f"{path}: no rows; give a file with at least one")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = (
            f"{error.msg} at character {error.pos + 1}"
            if isinstance(error, json.JSONDecodeError)
            else "too deep"
        )
        raise UserError(f"{where}: not valid JSON ({reason}); mend it") from None
    if not isinstance(value, dict):
        raise UserError(
            f"{where}: a row is a JSON object, not a {type(value).__name__}; write it with named fields"
        )
    return value
