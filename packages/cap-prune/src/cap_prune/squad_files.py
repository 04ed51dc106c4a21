"""Questions on paragraphs: SQuAD v1.1's JSON, or a folder that `datasets` saved.

Source: Rajpurkar et al. 2016. An answer is the text that stands at its place in the context; where it does
not the file is at fault.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cap_prune.saved_datasets import is_saved, saved_rows
from cap_prune.texts import Faults, read_utf8
from nonet.errors import UserError

_V2 = "has no answer, as in SQuAD v2.0; only v1.1 is read"


class Question(NamedTuple):
    """A question with its context.

    Attributes:
        id: unique in the file.
        text: the question.
        context: the paragraph that has the answer.
        answers: right answers with the characters where they begin; empty where they are hidden.
    """

    id: str
    text: str
    context: str
    answers: tuple[tuple[str, int], ...]


def squad_file(path: Path, side: str) -> Path:
    """The file of a side: the path itself, or `train-v1.1.json` and `dev-v1.1.json` of a folder.

    Raises:
        UserError: the folder has none, or v2.0's alone.
    """
    if not path.is_dir():
        return path
    for name in (f"{side}-v1.1.json", f"{side}.json"):
        if (path / name).is_file():
            return path / name
    later = f"; {side}-v2.0.json is another task" if (path / f"{side}-v2.0.json").is_file() else ""
    raise UserError(f"{path}: no {side}-v1.1.json for the {side} side{later}")


def read_squad(path: Path, side: str, *, labelled: bool = True) -> list[Question]:
    """The questions of a side, in the file's order.

    Args:
        path: a file, a folder, or a folder that `datasets` saved.
        side: train or dev.
        labelled: whether answers are needed.

    Raises:
        UserError: no such file, broken JSON, another layout, or bad questions: an answer that does not stand
            in its context, an id that comes twice, no answer. The first is named, all are counted.
    """
    found: dict[str, Question] = {}
    faults = Faults()
    rows = _saved(path, side) if is_saved(path) else _file(squad_file(path, side))
    for where, row in rows:
        try:
            question = question_of(row, labelled=labelled)
            if question.id in found:
                raise ValueError("its id comes twice")
        except ValueError as error:
            faults.add(where, str(error))
            continue
        found[question.id] = question
    faults.stop()
    if not found:
        raise UserError(f"{path}: holds no questions")
    return list(found.values())


def question_of(row: Mapping[str, Any], *, labelled: bool) -> Question:
    """A question from `id`, `question`, `context` and, with labels, `answers`.

    Raises:
        ValueError: what is wrong with it.
    """
    for name in ("question", "context"):
        if not isinstance(row.get(name), str):
            raise ValueError(f"{name} is {row.get(name)!r}; it is a text")
    context = row["context"]
    answers: list[tuple[str, int]] = []
    if labelled:
        if row.get("is_impossible") or not row.get("answers"):
            raise ValueError(_V2)
        for answer in row["answers"]:
            text, start = answer.get("text"), answer.get("answer_start")
            if not isinstance(text, str) or not text or not isinstance(start, int):
                raise ValueError(f"answer {answer!r} has no text and answer_start")
            if start < 0 or context[start : start + len(text)] != text:
                raise ValueError(f"answer {text[:40]!r} does not stand at character {start} of the context")
            answers.append((text, start))
    return Question(str(row.get("id", "")), row["question"].strip(), context, tuple(answers))


def _file(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every question of the nested JSON, with the paragraph's context in it."""
    try:
        value = json.loads(read_utf8(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not valid JSON ({error.msg})") from None
    try:
        for article in value["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield f"{file}: question {question['id']}", {**question, "context": paragraph["context"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: not the layout of SQuAD v1.1, data[].paragraphs[].qas[]: {type(error).__name__} {error}"
        ) from None


def _saved(path: Path, side: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of `datasets`, whose answers are columns of texts and places."""
    for where, row in saved_rows(path, side):
        given = row.get("answers")
        if isinstance(given, Mapping):
            pairs = zip(given.get("text", ()), given.get("answer_start", ()), strict=True)
            row["answers"] = [{"text": text, "answer_start": start} for text, start in pairs]
        yield where, row
