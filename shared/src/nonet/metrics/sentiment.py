"""Sentiment as a number from -3 to 3: MAE, correlation, and accuracies in both conventions (numpy).

Sources: Zadeh et al. 2016 (CMU-MOSI) and 2018 (CMU-MOSEI); two ways to make two classes are in use, and
papers that say "Acc-2" may mean either: negative against not negative (all items; 0 is not negative), and
negative against positive (items whose truth is 0 are left out). F1 is the mean of both classes' F1 by
frequency in the truth.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nonet.errors import UserError
from nonet.metrics.classification import Floats, f1

MOST = 3.0


class Sentiment(NamedTuple):
    """All numbers.

    Attributes:
        mae: mean absolute error, 0 is best.
        pearson: correlation, -1..1.
        acc_7: share of values that round to the same of -3, ..., 3 (halves to the even number).
        acc_2_nonneg, f1_nonneg: negative against not negative.
        acc_2_pos, f1_pos: negative against positive, without items whose truth is 0.
        zeros: items whose truth is 0.
    """

    mae: float
    pearson: float
    acc_7: float
    acc_2_nonneg: float
    f1_nonneg: float
    acc_2_pos: float
    f1_pos: float
    zeros: int


def sentiment(
    predicted: ArrayLike, gold: ArrayLike, *, weigh_by: Literal["truth", "predictions"] = "truth"
) -> Sentiment:
    """All metrics of a test set.

    Args:
        predicted: (n,) numbers.
        gold: (n,) the true ones, -3..3.
        weigh_by: whose frequencies weigh the classes of F1. Much published code (MulT, MMSA) gives
            scikit-learn the predictions in the truth's place, which weighs by predictions.

    Raises:
        UserError: shapes differ, a number is not finite, there are fewer than two items, one side is
            constant, or every truth is 0.
    """
    ours, theirs = _pair(predicted, gold)
    kept = theirs != 0
    if not kept.any():
        raise UserError("the truth is 0 for all items, so that nothing is negative or positive")
    first = _two(ours >= 0, theirs >= 0, weigh_by)
    second = _two(ours[kept] > 0, theirs[kept] > 0, weigh_by)
    whole = np.round(np.clip(ours, -MOST, MOST)) == np.round(np.clip(theirs, -MOST, MOST))
    return Sentiment(
        float(np.abs(ours - theirs).mean()), pearson(ours, theirs), float(whole.mean()),
        *first, *second, int((~kept).sum()),
    )  # fmt: skip


def mean_absolute_error(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Mean of |predicted - gold|."""
    ours, theirs = _pair(predicted, gold)
    return float(np.abs(ours - theirs).mean())


def pearson(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Correlation of two rows of numbers, -1..1.

    Raises:
        UserError: one side is constant, so that there is none; or see `sentiment`.
    """
    ours, theirs = _pair(predicted, gold)
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        side = "predictions are" if np.ptp(ours) == 0 else "truths are"
        raise UserError(f"all {side} equal, so that there is no correlation")
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    value = float(ours @ theirs / np.sqrt((ours @ ours) * (theirs @ theirs)))
    return min(1.0, max(-1.0, value))


def _two(ours: np.ndarray, theirs: np.ndarray, weigh_by: str) -> tuple[float, float]:
    if weigh_by not in ("truth", "predictions"):
        raise UserError(f"F1 is weighed by truth or predictions, not {weigh_by!r}")
    first, second = (ours, theirs) if weigh_by == "truth" else (theirs, ours)  # else F1 is symmetric
    return float((ours == theirs).mean()), f1(first.tolist(), second.tolist(), "weighted")


def _pair(predicted: ArrayLike, gold: ArrayLike) -> tuple[Floats, Floats]:
    ours, theirs = np.asarray(predicted, np.float64), np.asarray(gold, np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or len(ours) < 2:
        raise UserError(
            "predictions and truths are one row each, at least "
            f"2, but have shapes {ours.shape} and {theirs.shape}"
        )
    for what, values in (("prediction", ours), ("truth", theirs)):
        if not np.isfinite(values).all():
            raise UserError(f"{what} {int(np.argmin(np.isfinite(values)))} (from 0) is not a finite number")
    return ours, theirs
