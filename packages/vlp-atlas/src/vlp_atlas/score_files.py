"""Reads predictions and truths for scoring: JSON, JSON lines or CSV, as records or by id (ours).

Field names are those of the data sets' own files (VQA, COCO captions, DocVQA, NLVR2, SNLI-VE, RefCOCO, GQA,
VCR, Hateful Memes, TVR, R2R).
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError
from nonet.metrics.predictions import from_records

IDS = (
    "question_id", "questionId", "annot_id", "desc_id", "instr_id", "image_id", "pair_id", "pairID",
    "identifier", "ref_id", "id",
)  # fmt: skip
VALUES = ("answer", "caption", "prediction", "predicted", "label", "gold_label", "answers", "score")
LISTS = ("annotations", "data", "predictions", "questions")
"""keys of a mapping that holds the records, as in official files"""


class Predictions(NamedTuple):
    """Predictions by id.

    Attributes:
        values: by id.
        numbers: values that were numbers, and are text now.
        empty: values without a letter.
    """

    values: dict[str, Any]
    numbers: int = 0
    empty: int = 0


def read(path: Path) -> Any:
    """What a JSON, JSON-lines or CSV file holds; of a CSV, rows by the names in its first line.

    Raises:
        UserError: no such file, not UTF-8, broken JSON, a key given twice, or rows of other lengths.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert it") from None
    lines = text.strip().splitlines()
    if not lines:
        raise UserError(f"{path}: is empty")
    if path.suffix == ".csv":
        return _rows(lines, path)
    try:
        if len(lines) > 1 and path.suffix in (".jsonl", ".ndjson"):
            return [_parse(line) for line in lines if line.strip()]
        return _parse(text)
    except _Twice as error:
        raise UserError(f"{path}: {error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: broken JSON: {error.msg}") from None


def _rows(lines: list[str], path: Path) -> list[dict[str, str]]:
    rows = list(csv.reader(lines))
    names = [name.strip() for name in rows[0]]
    for place, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise UserError(f"{path}:{place}: {len(row)} values, but the first line names {len(names)}")
    return [dict(zip(names, row, strict=True)) for row in rows[1:]]


class _Twice(ValueError):
    pass


def _parse(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = sorted({key for key in keys if keys.count(key) > 1})[:5]
            raise _Twice(f"{', '.join(twice)} given twice; keep one of each")
        return made

    return json.loads(text, object_pairs_hook=once)


def records(content: Any, path: Path) -> list[Mapping[str, Any]] | None:
    """The records of a file; None where it holds values by id."""
    if isinstance(content, Mapping):
        for key in LISTS:
            if isinstance(content.get(key), list):
                content = content[key]
                break
        else:
            return None
    if not isinstance(content, list) or not all(isinstance(item, Mapping) for item in content):
        raise UserError(f"{path}: expected a list of records, or a mapping from id to value")
    return content


def fields(found: Sequence[Mapping[str, Any]], path: Path) -> tuple[str, str]:
    """Names of the id and the value in some records."""
    first = found[0] if found else {}
    own = [name for name in IDS if name in first]
    held = [name for name in VALUES if name in first and name not in own]
    if not own or not held:
        raise UserError(
            f"{path}: a record has no id ({', '.join(IDS)}) or no value ({', '.join(VALUES)}); "
            f"it has {', '.join(first) or 'nothing'}"
        )
    return own[0], held[0]


def predicted_texts(path: Path) -> Predictions:
    """Predicted texts by id; numbers become text, and are counted."""
    content = read(path)
    found = records(content, path)
    if found is None:
        found = [{"id": key, "answer": value} for key, value in content.items()]
        if any(isinstance(item["answer"], list) for item in found):  # {id: [caption]}
            found = [{"id": item["id"], "answer": _only(item["answer"], item["id"], path)} for item in found]
    own, held = fields(found, path)
    try:
        told = from_records(found, own, held)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Predictions(told.values, told.numbers, told.empty)


def _only(held: Any, key: str, path: Path) -> Any:
    if isinstance(held, list):
        if len(held) != 1:
            raise UserError(f"{path}: {key} has {len(held)} predictions; one is scored")
        return held[0]
    return held


def values(path: Path) -> dict[str, Any]:
    """Values of any type by id: labels, numbers, boxes, lists."""
    content = read(path)
    found = records(content, path)
    if found is None:
        return {str(key): value for key, value in content.items()}
    if found and "bbox" in found[0]:
        own, held = next((name for name in IDS if name in found[0]), "id"), "bbox"
    else:
        own, held = fields(found, path)
    told: dict[str, Any] = {}
    for place, record in enumerate(found):
        if own not in record or held not in record:
            raise UserError(f"{path}: record {place} (from 0) lacks {own!r} or {held!r}")
        key = str(record[own])
        if key in told:
            raise UserError(f"{path}: {key} is given twice; keep one of each")
        told[key] = record[held]
    return told


def by_id(path: Path, content: Any = None) -> dict[str, Any]:
    """Whole records by id, or what a mapping by id holds.

    Args:
        path: the file, which is read if there is no content.
        content: a part of what it holds.

    Raises:
        UserError: a record has no id, or one comes twice.
    """
    held = read(path) if content is None else content
    found = records(held, path)
    if found is None:
        return {str(key): value for key, value in held.items()}
    told: dict[str, Any] = {}
    for place, record in enumerate(found):
        own = next((name for name in IDS if name in record), None)
        if own is None:
            raise UserError(f"{path}: record {place} (from 0) has no id ({', '.join(IDS)})")
        if str(record[own]) in told:
            raise UserError(f"{path}: {record[own]} is given twice; keep one of each")
        told[str(record[own])] = record
    return told


def numbers(values: Sequence[Any], keys: Sequence[str], where: Path | str) -> list[float]:
    """Values as numbers.

    Raises:
        UserError: one is none; the text has its id.
    """
    told = []
    for value, key in zip(values, keys, strict=True):
        try:
            told.append(float(value))
        except (TypeError, ValueError):
            place = where if key == where else f"{where}: {key}"
            raise UserError(f"{place}: expected a number, not {value!r:.60}") from None
    return told


def answer_lists(path: Path) -> tuple[dict[str, list[str]], dict[str, str], bool]:
    """True answers by question, the questions' types, and whether the answers have ids of their own."""
    content = read(path)
    found = records(content, path)
    if found is None:
        return {key: _texts(value, key, path) for key, value in content.items()}, {}, True
    own, held = fields(found, path)
    answers, types, numbered = {}, {}, True
    for record in found:
        key = str(record[own])
        if key in answers:
            raise UserError(f"{path}: {key} is given twice; keep one of each")
        given = record.get("answers", record[held])
        numbered = numbered and all(isinstance(one, Mapping) and "answer_id" in one for one in given)
        answers[key] = _texts(given, key, path)
        if "answer_type" in record:
            types[key] = str(record["answer_type"])
    return answers, types if len(types) == len(answers) else {}, numbered


def caption_lists(path: Path) -> dict[str, list[str]]:
    """True captions by image, of which a file has several records each."""
    content = read(path)
    found = records(content, path)
    if found is None:
        return {key: _texts(value, key, path) for key, value in content.items()}
    own, held = fields(found, path)
    told: dict[str, list[str]] = {}
    for record in found:
        told.setdefault(str(record[own]), []).append(str(record[held]))
    return told


def _texts(given: Any, key: str, path: Path) -> list[str]:
    """Texts of a list of texts, numbers, or records with `answer`."""
    listed = given if isinstance(given, list) else [given]
    told = [one.get("answer") if isinstance(one, Mapping) else one for one in listed]
    if not told or any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in told):
        raise UserError(f"{path}: {key}: expected one or more texts, not {given!r:.60}")
    return [str(one) for one in told]
