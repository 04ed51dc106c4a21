"""Labels, scores and counts against the truth: accuracy, F1 by class, area under the ROC curve, squared error
of counts (numpy).

Sources: macro F1 is the mean of the classes' F1, and weighted F1 their mean by frequency in the truth; the
area is the probability that a positive is scored above a negative, ties by half (Hanley and McNeil 1982;
Fawcett 2006). Counts are those of TGIF-QA (Jang et al. 2017); their rounding is that of the code of HCRN.
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.predictions import same_length

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
FEWEST, MOST = 1.0, 10.0  # repetitions that rounding leaves


def accuracy(predicted: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """Share of labels that are right (SNLI-VE, NLVR2, Violin, multiple-choice questions), 0..1."""
    same_length(predicted, gold, "predictions and labels")
    return sum(guess == truth for guess, truth in zip(predicted, gold, strict=True)) / len(gold)


def f1(
    predicted: Sequence[Hashable],
    gold: Sequence[Hashable],
    average: Literal["macro", "weighted", "micro"] = "macro",
    *,
    labels: Sequence[Hashable] | None = None,
) -> float:
    """F1 over classes, 0..1; a class that is neither predicted nor true where it is listed counts 0.

    Args:
        predicted: a label an item.
        gold: the true ones.
        average: mean over classes, mean by their frequency in the truth, or of all counts together.
        labels: the classes; None: all that occur on either side.

    Raises:
        UserError: other numbers of both, none at all, or an unknown average.
    """
    same_length(predicted, gold, "predictions and labels")
    classes = list(dict.fromkeys([*gold, *predicted]) if labels is None else dict.fromkeys(labels))
    place = {label: number for number, label in enumerate(classes)}
    other = len(classes)  # whatever is not listed
    guess = np.array([place.get(label, other) for label in predicted], np.int64)
    truth = np.array([place.get(label, other) for label in gold], np.int64)
    hits, guesses, truths = (
        np.bincount(numbers, minlength=other + 1)[:other].astype(np.float64)
        for numbers in (truth[guess == truth], guess, truth)
    )
    if average == "micro":
        both = float(guesses.sum() + truths.sum())
        return 2 * float(hits.sum()) / both if both else 0.0
    values = np.divide(2 * hits, guesses + truths, out=np.zeros(other), where=guesses + truths > 0)
    if average == "macro":
        return float(values.mean()) if other else 0.0
    if average == "weighted":
        return float(values @ truths / truths.sum()) if truths.sum() else 0.0
    raise UserError(f"no average {average!r} for F1; there are macro, weighted and micro")


def macro_f1(predicted: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """Mean of the classes' F1, over all classes that occur on either side (FashionGen), 0..1.

    `macro_f1(["a", "a", "b"], ["a", "b", "b"])` is 2/3.
    """
    return f1(predicted, gold, "macro")


def auroc(scores: ArrayLike, gold: ArrayLike) -> float:
    """Probability that a positive has a higher score than a negative, a tie counting half (Hateful Memes),
    0..1.

    `auroc([.1, .4, .4, .8], [0, 0, 1, 1])` is 0.875.

    Args:
        scores: (n,) finite numbers, higher for positives.
        gold: (n,) truth values, of both kinds.

    Raises:
        UserError: shapes differ, a score is not finite, or one kind is absent.
    """
    value, truth = np.asarray(scores, np.float64), np.asarray(gold)
    if value.ndim != 1 or value.shape != truth.shape:
        raise UserError(
            f"scores and labels are one row each, but have shapes {value.shape} and {truth.shape}"
        )
    if not np.isfinite(value).all():
        raise UserError(f"score {int(np.argmin(np.isfinite(value)))} (from 0) is not a finite number")
    if not np.isin(truth, (0, 1)).all():
        raise UserError("labels must be 0 or 1")
    positive = truth.astype(bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        raise UserError("AUROC needs positives and negatives; all labels are the same")
    negatives = np.sort(value[~positive])
    below = np.searchsorted(negatives, value[positive], "left").sum()
    not_above = np.searchsorted(negatives, value[positive], "right").sum()
    return float(below + not_above) / 2 / n / m


def count_error(predicted: ArrayLike, gold: ArrayLike, *, rounded: bool = False) -> float:
    """Mean of (predicted - gold)^2 of counts, 0 is best (TGIF-QA).

    `count_error([2.5, 4], [2, 6])` is 2.125, and 2.5 if rounded.

    Args:
        predicted: (n,) finite numbers.
        gold: (n,) the true ones.
        rounded: predictions are first rounded, halves up, and cut to 1..10; the truth stays.

    Raises:
        UserError: shapes differ, there are none, or a number is not finite.
    """
    ours, theirs = np.asarray(predicted, np.float64), np.asarray(gold, np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or not len(ours):
        raise UserError(
            "predicted and true counts are one row each, at least 1, "
            f"but have shapes {ours.shape} and {theirs.shape}"
        )
    for what, values in (("predicted", ours), ("true", theirs)):
        if not np.isfinite(values).all():
            raise UserError(
                f"{what} count {int(np.argmin(np.isfinite(values)))} (from 0) is not a finite number"
            )
    if rounded:
        ours = np.clip(np.floor(ours + 0.5), FEWEST, MOST)
    return float(((ours - theirs) ** 2).mean())
