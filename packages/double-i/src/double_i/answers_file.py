"""Questions for somebody else to ask, and the answers that come back: JSON lines. Source: ours.

The file of questions holds the secret, as every prompt does; it is made with mode 0600.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from double_i.queries import Answer, Query, asked
from double_i.suspects import messages_of, prompt_of
from nonet.errors import UserError
from nonet.files import replacing

TEXT_FIELDS = ("answer", "raw", "response", "completion", "text", "output")


class Given(NamedTuple):
    """Answers of a file, and what was odd about it."""

    answers: list[Answer]
    missing: int
    """questions without an answer; they count against the owner"""
    duplicates: int
    """further answers to a question, which say the same"""


def write_queries(path: str | Path, queries: Sequence[Query]) -> int:
    """Write the prompts in the order of asking, each once.

    Args:
        path: JSON lines with `number`, `id`, `messages` and, unless the template is a chat's, `prompt`.
        queries: of all keys.

    Returns:
        How many there are.
    """
    wanted = asked(queries)
    with replacing(path) as part:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            for query in wanted:
                line: dict[str, Any] = {"number": query.number, "id": identity(query)}
                if query.template != "chat":
                    line["prompt"] = prompt_of(query)
                line["messages"] = messages_of(query)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(wanted)


def identity(query: Query) -> str:
    """What a question is called in files: the beginning of its keyed hash."""
    return query.prompt_hash[:16]


def read_answers(path: str | Path, queries: Sequence[Query]) -> Given:
    """Read answers, each known by `id`, `number` or `prompt`; its text is in one of `TEXT_FIELDS`.

    Args:
        path: JSON lines.
        queries: the questions, made anew from the same key, texts and options.

    Raises:
        UserError: a line is no answer, is to another question, or contradicts an earlier one.
    """
    wanted = asked(queries)
    numbers = {query.number for query in wanted}
    ids = {identity(query): query.number for query in wanted}
    prompts = {prompt_of(query): query.number for query in wanted if query.template != "chat"}
    found: dict[int, Answer] = {}
    duplicates = 0
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of answers; --write-queries writes the questions") from None
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as UTF-8 text") from None
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{place}"
        value = _object(line, where)
        names = [
            table.get(value[name], -1)
            for name, table in (("id", ids), ("prompt", prompts))
            if isinstance(value.get(name), str)
        ]
        number = value.get("number")
        if number is not None:
            names.append(number if isinstance(number, int) and number in numbers else -1)
        if not names:
            raise UserError(f"{where}: an answer names its question by id, number or prompt")
        if len(set(names)) > 1 or names[0] < 0:
            raise UserError(
                f"{where}: no question of this verification; "
                "give the options, key and data that wrote the questions"
            )
        text = next((value[name] for name in TEXT_FIELDS if isinstance(value.get(name), str)), None)
        if text is None:
            raise UserError(f"{where}: no text under {', '.join(TEXT_FIELDS)}")
        answer = Answer(
            names[0], text, _number(value.get("latency")), _text(value, "time"), _text(value, "model")
        )
        if names[0] in found:
            if found[names[0]].raw != text:
                raise UserError(f"{where}: another answer to question {names[0]}; leave one of them")
            duplicates += 1
        found.setdefault(names[0], answer)
    if not found:
        raise UserError(f"{path}: no answers in it")
    return Given(list(found.values()), len(wanted) - len(found), duplicates)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        raise UserError(f"{where}: not JSON; every line is one object") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: not a JSON object")
    return value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: dict[str, Any], name: str) -> str | None:
    text = value.get(name)
    return text[:200] if isinstance(text, str) else None
