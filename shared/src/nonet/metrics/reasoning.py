"""Accuracy of reasoning over images: consistency of NLVR2, the three settings of VCR.

Sources: Suhr et al. 2019, "A Corpus for Reasoning about Natural Language Grounded in Photographs"
(consistency); Zellers et al. 2019, "From Recognition to Cognition" (Q->AR). Plain accuracy, macro F1
and AUROC are in `nonet.metrics.classification`, GQA's metrics in `nonet.metrics.gqa`.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nonet.errors import UserError
from nonet.metrics.predictions import same_length

CHOICES = 4  # answers and rationales of a VCR question


class Nlvr2(NamedTuple):
    """Share of pairs that are right, and of sentences all of whose pairs are, 0..1."""

    accuracy: float
    consistency: float
    sentences: int


class Vcr(NamedTuple):
    """Shares of questions with the right answer, the right rationale, and both, 0..1."""

    q_a: float
    qa_r: float
    q_ar: float


def nlvr2(predicted: Sequence[Hashable], gold: Sequence[Hashable], sentences: Sequence[Hashable]) -> Nlvr2:
    """Accuracy and consistency of statements about pairs of images.

    Args:
        predicted: a label for each pair of images.
        gold: the true ones.
        sentences: whose pair it is; `nlvr2_sentence` of the pairs' identifiers.

    Raises:
        UserError: numbers differ, or there are none.
    """
    same_length(predicted, gold, "predictions and labels")
    same_length(sentences, gold, "sentences and labels")
    right = [guess == truth for guess, truth in zip(predicted, gold, strict=True)]
    whole: dict[Hashable, bool] = {}
    for sentence, hit in zip(sentences, right, strict=True):
        whole[sentence] = whole.get(sentence, True) and hit
    return Nlvr2(sum(right) / len(right), sum(whole.values()) / len(whole), len(whole))


def nlvr2_sentence(identifier: str) -> str:
    """What pairs of one sentence share: `nlvr2_sentence("dev-850-0-1")` is `"dev-850-1"`.

    The third of the four parts tells the pairs of a sentence apart, as in the data's own evaluation.

    Raises:
        UserError: the identifier does not have four parts.
    """
    parts = identifier.split("-")
    if len(parts) != 4:
        raise UserError(f"{identifier!r} is no identifier of NLVR2; they look like dev-850-0-1")
    return "-".join([*parts[:2], parts[3]])


def vcr(
    answers: ArrayLike, rationales: ArrayLike, gold_answers: ArrayLike, gold_rationales: ArrayLike
) -> Vcr:
    """The three accuracies of VCR; Q->AR is the event that both are right, not the product of the two shares.

    With answers right in questions 1, 2, 3 of 4 and rationales in 2, 3, 4, Q->AR is 0.5, and the product
    .5625.

    Args:
        answers: (n,) chosen answers, 0..3, or (n, 4) scores of them, of which the first largest is taken.
        rationales: the same for rationales, chosen with the *right* answer given.
        gold_answers: (n,) right answers, 0..3.
        gold_rationales: (n,) right rationales.

    Raises:
        UserError: shapes do not fit, a choice is out of range, a score is NaN, or there are no questions.
    """
    answer, rationale = _chosen(answers, "answers"), _chosen(rationales, "rationales")
    right_answer, right_rationale = (
        _chosen(gold_answers, "gold answers"),
        _chosen(gold_rationales, "gold rationales"),
    )
    shapes = {numbers.shape for numbers in (answer, rationale, right_answer, right_rationale)}
    if len(shapes) != 1 or not len(answer):
        raise UserError(
            f"answers and rationales must be as many as the right ones, and not none; shapes are {shapes}"
        )
    first, second = answer == right_answer, rationale == right_rationale
    return Vcr(float(first.mean()), float(second.mean()), float((first & second).mean()))


def _chosen(values: ArrayLike, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 2:
        if array.shape[1] != CHOICES or np.isnan(array).any():
            raise UserError(f"scores of {what} must be {CHOICES} numbers a question")
        return np.asarray(array.argmax(1))
    if array.ndim != 1 or not np.isin(array, range(CHOICES)).all():
        raise UserError(f"{what} must be numbers from 0 to {CHOICES - 1}, one a question")
    return array
