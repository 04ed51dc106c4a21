"""The six metrics of GQA: accuracy, consistency, validity, plausibility, grounding, distribution.

Source: Hudson and Manning 2019, "GQA", and the data set's evaluation script, from which come
what the paper leaves open: consistency counts only questions that are answered rightly and have others that
follow; questions about what two things have in common have color, material and shape as their valid and
plausible answers; grounding adds up over regions, so that overlapping ones can exceed 1; distribution is
chi-square over answers of a group, groups weighted by their questions, divided by 100.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nonet.errors import UserError
from nonet.metrics.boxes import check_boxes
from nonet.metrics.predictions import align

COMMON = ("color", "material", "shape")
"""what two things can have in common"""
PERCENT = 100


class Question(NamedTuple):
    """A question as the metrics see it.

    Attributes:
        answer: the right one.
        balanced: whether it is scored itself; others only matter for consistency.
        entailed: questions whose answers follow from this one's.
        valid, plausible: answers that fit the question, and that make sense; None: not known.
        common: it asks what two things have in common.
        group: of questions whose distributions of answers are compared; None: no group.
        binary: the answer is chosen (verify, choose, compare, logical), not named freely.
    """

    answer: str
    balanced: bool = True
    entailed: tuple[str, ...] = ()
    valid: Collection[str] | None = None
    plausible: Collection[str] | None = None
    common: bool = False
    group: str | None = None
    binary: bool = False


class GqaScores(NamedTuple):
    """Shares, 0..1, and a distance, `distribution` (0 is best). None: nothing to compute it from."""

    accuracy: float
    binary: float | None
    open: float | None
    consistency: float | None
    validity: float | None
    plausibility: float | None
    distribution: float | None


def gqa(predictions: Mapping[str, str], questions: Mapping[str, Question]) -> GqaScores:
    """All metrics but grounding, which `grounding` gives for one question.

    Args:
        predictions: question -> answer, for balanced questions and those that follow from them.
        questions: id -> question.

    Raises:
        UserError: a balanced question has no prediction, or an entailed one is unknown or not predicted.
    """
    scored = {key: question for key, question in questions.items() if question.balanced}
    align(predictions, scored)
    right = {key: predictions[key] == question.answer for key, question in scored.items()}
    following = []
    for key, question in scored.items():
        others = [other for other in question.entailed if other != key]
        if right[key] and others:
            following.append(_mean([_is_right(other, predictions, questions) for other in others]))
    return GqaScores(
        _mean(right.values()) or 0.0,
        _mean([right[key] for key, question in scored.items() if question.binary]),
        _mean([right[key] for key, question in scored.items() if not question.binary]),
        _mean([value for value in following if value is not None]),
        _mean([_fits(predictions[key], q, q.valid) for key, q in scored.items() if q.valid is not None]),
        _mean(
            [_fits(predictions[key], q, q.plausible) for key, q in scored.items() if q.plausible is not None]
        ),
        distribution(predictions, scored),
    )


def distribution(predictions: Mapping[str, str], questions: Mapping[str, Question]) -> float | None:
    """Chi-square of predicted against true answers in each group, groups weighted by size, / 100; None: no
    groups.

    A group of two with the answers red, blue and two predictions red has ((2-1)^2 + (0-1)^2) / 1 = 2, so
    0.02. Answers that are never right in a group do not count.
    """
    gold: dict[str, dict[str, int]] = {}
    guessed: dict[str, dict[str, int]] = {}
    for key, question in questions.items():
        if question.group is not None:
            for counts, answer in ((gold, question.answer), (guessed, predictions[key])):
                group = counts.setdefault(question.group, {})
                group[answer] = group.get(answer, 0) + 1
    total = sum(sum(counts.values()) for counts in gold.values())
    if not total:
        return None
    weighted = 0.0
    for name, truths in gold.items():
        guesses = guessed[name]
        square = sum((guesses.get(answer, 0) - n) ** 2 / n for answer, n in truths.items())
        weighted += square * sum(truths.values())
    return weighted / total / PERCENT


def grounding(attention: ArrayLike, regions: ArrayLike) -> float:
    """Attention inside the regions that question and answer speak of, added up over regions.

    Args:
        attention: (s, s) weights of square cells that sum to 1; the first index goes along x, as in the
            script.
        regions: (n, 4) xyxy in 0..1. Overlapping regions count more than once.

    Raises:
        UserError: the weights are not square, or a box is not one.
    """
    weights = np.asarray(attention, np.float64)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or not np.isfinite(weights).all():
        raise UserError(f"attention must be finite numbers, s x s, but has shape {weights.shape}")
    boxes = check_boxes(regions, "regions", scale="unit")
    edges = np.arange(len(weights) + 1) / len(weights)
    sides = [
        np.clip(
            np.minimum(edges[1:], boxes[:, axis + 2, None]) - np.maximum(edges[:-1], boxes[:, axis, None]),
            0,
            None,
        )
        for axis in (0, 1)
    ]
    return float(np.einsum("xy,nx,ny->", weights, sides[0], sides[1])) * len(weights) ** 2


def _is_right(key: str, predictions: Mapping[str, str], questions: Mapping[str, Question]) -> bool:
    if key not in questions or key not in predictions:
        what = "is not among the questions" if key not in questions else "has no prediction"
        raise UserError(f"question {key}, which follows from another, {what}; consistency needs both")
    return predictions[key] == questions[key].answer


def _fits(answer: str, question: Question, group: Collection[str]) -> bool:
    return answer in (COMMON if question.common else group)


def _mean(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None
