"""Whether two models are equally good on the same items, within a margin. Source: Schuirmann 1987 (TOST)."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nonet.errors import UserError
from nonet.metrics.paired_tests import student_p
from nonet.metrics.stats import paired_bootstrap


class Equivalence(NamedTuple):
    """Two one-sided paired t-tests, and the bootstrap interval of the difference."""

    items: int
    difference: float
    """mean of second - first"""
    low: float
    """of the bootstrap interval"""
    high: float
    margin: float
    p: float
    """the larger of the two one-sided p-values"""
    p_difference: float
    """two-sided bootstrap p-value of no difference"""
    equivalent: bool
    """p is at most alpha"""


def tost(
    first: ArrayLike,
    second: ArrayLike,
    margin: float,
    alpha: float = 0.05,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Equivalence:
    """Two one-sided tests on paired scores.

    Args:
        first: (n,) scores of one model, n >= 2, such as 0 and 1 for wrong and right.
        second: (n,) those of the other on the same items.
        margin: largest difference that counts as none, in the scores' unit, above 0.
        alpha: level of each one-sided test.
        level: of the bootstrap interval.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The tests. Where all differences are equal, p is 0 inside the margin and 1 outside.

    Raises:
        UserError: the lengths differ, fewer than two items, or a number is out of range.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != other.shape or len(one) < 2:
        raise UserError("an equivalence test takes two rows of scores of the same items, at least 2 of them")
    if not margin > 0 or not 0 < alpha < 1:
        raise UserError("the margin is above 0, and alpha between 0 and 1")
    difference = other - one
    if not np.isfinite(difference).all():
        raise UserError("there are scores that are not finite")
    mean, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(len(difference))
    below, above = (_greater(mean + margin, error, len(one)), _greater(margin - mean, error, len(one)))
    interval = paired_bootstrap(other, one, seed, resamples, level)
    p = max(below, above)
    return Equivalence(len(one), mean, interval.low, interval.high, margin, p, interval.p, p <= alpha)


def _greater(distance: float, error: float, items: int) -> float:
    """P-value of Student's test that a distance is above 0."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    t = distance / error
    half = student_p(t, items - 1) / 2
    return half if t > 0 else 1 - half
