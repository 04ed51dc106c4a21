"""Predictions beside the truth: who is missing, who is too many, who comes twice (ours).

All metrics that take predictions by id go through `align`, so that an incomplete file is an error that names
ids, and a missing prediction counts as wrong only where that was asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from nonet.errors import UserError

P = TypeVar("P")
Missing = Literal["error", "zero"]

SHOWN = 5  # ids that a message lists


class Aligned(NamedTuple):
    """What was found.

    Attributes:
        ids: of the truth, in its order; without the missing ones.
        missing: ids of the truth that have no prediction.
        extra: ids that are predicted and that the truth does not have; they do not count.
    """

    ids: list[str]
    missing: list[str]
    extra: list[str]


class Records(NamedTuple):
    """Predictions of a file.

    Attributes:
        values: by id, in the file's order.
        numbers: values that were numbers and are now their text.
        empty: values without any letter.
    """

    values: dict[str, str]
    numbers: int
    empty: int


def align(predictions: Mapping[str, Any], gold: Mapping[str, Any], *, missing: Missing = "error") -> Aligned:
    """Which predictions there are for the truth.

    Args:
        predictions: by id.
        gold: by id.
        missing: `"error"` refuses a truth without prediction, `"zero"` lists it for the caller to score 0.

    Raises:
        UserError: there is no truth, no id is in both, or a prediction is missing.
    """
    if not gold:
        raise UserError("there is nothing to score: the truth has no items")
    absent = [key for key in gold if key not in predictions]
    extra = [key for key in predictions if key not in gold]
    if len(absent) == len(gold):
        raise UserError(
            f"no prediction has an id of the truth; predicted are {_some(list(predictions))}, "
            f"wanted are {_some(list(gold))}"
        )
    if absent and missing == "error":
        raise UserError(
            f"{len(absent)} of {len(gold)} predictions are missing: {_some(absent)}; "
            "add them, or let missing ones count 0"
        )
    return Aligned([key for key in gold if key in predictions], absent, extra)


def from_records(records: Iterable[Mapping[str, Any]], id_field: str, value_field: str) -> Records:
    """Predictions as files have them, a list of `{"question_id": 1, "answer": "yes"}`, by id.

    Args:
        records: one for each prediction; ids may be numbers.
        id_field: name of the id.
        value_field: name of the answer, caption or label; numbers are taken as their text.

    Raises:
        UserError: a record lacks a field or is none, a value is neither text nor number, or an id comes
            twice.
    """
    values: dict[str, str] = {}
    twice: list[str] = []
    numbers = empty = 0
    for place, record in enumerate(records):
        if not isinstance(record, Mapping) or id_field not in record or value_field not in record:
            raise UserError(
                f"prediction {place} (from 0) is not a record with {id_field!r} and {value_field!r}"
            )
        key, value = str(record[id_field]), record[value_field]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"prediction {key}: {value_field} is {value!r}; it must be text")
        if not isinstance(value, str):
            numbers += 1
            value = str(value)
        empty += not value.strip()
        if key in values:
            twice.append(key)
        values[key] = value
    if twice:
        what = "1 id is" if len(twice) == 1 else f"{len(twice)} ids are"
        raise UserError(f"{what} predicted more than once: {_some(twice)}; keep one of each")
    return Records(values, numbers, empty)


def check_texts(predictions: Mapping[str, Any], gold: Mapping[str, Any], ids: Sequence[str]) -> None:
    """Nothing, if predictions are texts and each truth is several texts, at least one.

    Raises:
        UserError: otherwise, with the id.
    """
    for key in ids:
        if not isinstance(predictions[key], str):
            raise UserError(f"the prediction of {key} is {predictions[key]!r}; it must be text")
        if isinstance(gold[key], str) or not gold[key]:
            what = "one text and not a list of them" if gold[key] else "empty"
            raise UserError(f"the answers of {key} are {what}; each question needs a list of right answers")


def same_length(left: Sequence[Any], right: Sequence[Any], names: str) -> None:
    """Nothing, if both have the same length and are not empty.

    Raises:
        UserError: otherwise; `names` says what they are, such as "predictions and labels".
    """
    if len(left) != len(right):
        raise UserError(f"{names} must be as many as each other, but are {len(left)} and {len(right)}")
    if len(left) == 0:
        raise UserError(f"there are no {names}, so that there is nothing to score")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "") if keys else "none"
