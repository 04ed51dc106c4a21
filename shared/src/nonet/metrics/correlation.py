"""Correlations of predictions with the truth: Matthews of classes, Pearson and Spearman of numbers (numpy).

Sources: Matthews 1975, for more than two classes Gorodkin 2004; Spearman's is Pearson's of ranks, ties
having the mean of their ranks. Where one side does not vary a correlation is not defined; it is 0 here, as
nothing of the other can be told from it.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.predictions import same_length

Floats = NDArray[np.float64]


def matthews(predicted: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """Matthews' correlation of labels, -1..1 (CoLA).

    `matthews([1, 1, 0, 0], [1, 0, 0, 0])` is 1/sqrt(3).

    Args:
        predicted: a label an item.
        gold: the true ones.

    Raises:
        UserError: other numbers of both, or none at all.
    """
    same_length(predicted, gold, "predictions and labels")
    classes = {label: number for number, label in enumerate(dict.fromkeys([*gold, *predicted]))}
    guess = np.asarray([classes[label] for label in predicted])
    truth = np.asarray([classes[label] for label in gold])
    guesses, truths = (
        np.bincount(side, minlength=len(classes)).astype(np.float64) for side in (guess, truth)
    )
    count = float(len(truth))
    together = float((guess == truth).sum()) * count - float(guesses @ truths)
    spread = (count**2 - float(guesses @ guesses)) * (count**2 - float(truths @ truths))
    return together / float(np.sqrt(spread)) if spread > 0 else 0.0


def pearson(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Pearson's correlation, -1..1: `pearson([1, 2, 4], [1, 2, 3])` is 0.981981.

    Args:
        predicted: (n,) finite numbers.
        gold: (n,) the true ones.

    Raises:
        UserError: shapes differ, fewer than two, or a number is not finite.
    """
    return _correlation(*_sides(predicted, gold))


def spearman(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Spearman's rank correlation, -1..1 (STS-B): `spearman([1, 2, 2, 9], [1, 3, 2, 4])` is 0.948683.

    The arguments and errors are those of `pearson`.
    """
    left, right = _sides(predicted, gold)
    return _correlation(_ranks(left), _ranks(right))


def _sides(predicted: ArrayLike, gold: ArrayLike) -> tuple[Floats, Floats]:
    left, right = np.asarray(predicted, np.float64), np.asarray(gold, np.float64)
    if left.ndim != 1 or left.shape != right.shape or len(left) < 2:
        raise UserError(
            "predicted and true numbers are one row each, at least 2, "
            f"but have shapes {left.shape} and {right.shape}"
        )
    for what, values in (("predicted", left), ("true", right)):
        if not np.isfinite(values).all():
            raise UserError(
                f"{what} number {int(np.argmin(np.isfinite(values)))} (from 0) is not a finite number"
            )
    return left, right


def _correlation(left: Floats, right: Floats) -> float:
    if any(side.min() == side.max() for side in (left, right)):
        return 0.0
    left, right = left - left.mean(), right - right.mean()
    for side in (left, right):
        side /= np.abs(side).max()  # squares of very large or small numbers leave float64's range
    value = float(left @ right) / float(np.sqrt((left @ left) * (right @ right)))
    return min(1.0, max(-1.0, value))


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks
