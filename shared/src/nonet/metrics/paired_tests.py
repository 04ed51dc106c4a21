"""Whether two systems differ on the same items: Student's paired t-test, and corrections for many questions.

Sources: Student 1908; the tail of t as an incomplete beta function, Abramowitz and Stegun 1964, 26.5.4 and
26.7.1; Bonferroni's inequality. Resampling tests are in `nonet.metrics.stats`.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.metrics.stats import holm, t_inside

Floats = NDArray[np.float64]
Correction = Literal["holm", "bonferroni", "none"]

SMALL = 1e-3  # below this p, 1 - inside has lost too many digits, and the tail is summed itself


class Paired(NamedTuple):
    """A paired t-test."""

    difference: float
    """mean of a - b"""
    t: float
    p: float
    """two-sided"""
    wins: int
    """items on which a is above b"""
    ties: int
    losses: int


def paired_t(a: ArrayLike, b: ArrayLike) -> Paired:
    """Student's paired t-test of no difference, with the items counted that either side wins.

    `paired_t([1, 2, 3], [0, 0, 0])` has t = 3.4641 and p = 0.0742.

    Args:
        a: (n,) scores of one system, n >= 2.
        b: (n,) scores of the other on the same items.

    Returns:
        Paired(difference, t, p, wins, ties, losses). Without any difference t is 0 and p 1; where all
        differences are one and the same number, t is infinite and p 0.

    Raises:
        ValueError: the lengths differ, there are fewer than two items, or a number is not finite.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"a has shape {first.shape} and b {second.shape}: they must be scores of the same items"
        )
    if len(first) < 2:
        raise ValueError(f"a paired t-test takes at least 2 items, got {len(first)}")
    difference = first - second
    if not np.isfinite(difference).all():
        raise ValueError("there are scores that are not finite")
    n, mean = len(difference), float(difference.mean())
    error = float(difference.std(ddof=1)) / math.sqrt(n)
    t = mean / error if error else (math.copysign(math.inf, mean) if mean else 0.0)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    return Paired(mean, t, student_p(t, n - 1), wins, n - wins - losses, losses)


def student_p(t: float, degrees: int) -> float:
    """P(|T| >= |t|) for Student's T, to about 9 digits, also where it is tiny.

    `student_p(2.0, 10)` is 0.0733880.

    Args:
        t: any number, infinite ones too.
        degrees: of freedom, at least 1.

    Raises:
        ValueError: t is NaN, or degrees is out of range.
    """
    if degrees < 1 or math.isnan(t):
        raise ValueError(f"t is {t} with {degrees} degrees of freedom, but it takes a number and at least 1")
    if math.isinf(t):
        return 0.0
    p = 1 - t_inside(math.atan(abs(t) / math.sqrt(degrees)), degrees)
    return p if p > SMALL else _tail(t, degrees)


def adjusted(pvalues: ArrayLike, correction: Correction) -> Floats:
    """P-values for having asked several questions: `holm`, `bonferroni`, or as they are (`none`)."""
    if correction == "none":
        return np.array(pvalues, np.float64)
    return holm(pvalues) if correction == "holm" else bonferroni(pvalues)


def bonferroni(pvalues: ArrayLike) -> Floats:
    """P-values times their number, at most 1; `nonet.metrics.stats.holm` is never larger.

    Args:
        pvalues: (m,) numbers in 0..1; m may be 0.

    Raises:
        ValueError: a number is not in 0..1.
    """
    row = np.asarray(pvalues, np.float64)
    if row.ndim != 1 or not ((row >= 0) & (row <= 1)).all():
        raise ValueError(f"p-values are one row of numbers in 0..1, got {row.tolist()}")
    return np.minimum(1.0, row * len(row))


def _tail(t: float, degrees: int) -> float:
    """The same probability as a sum of positive terms: I_x(a, 1/2) with x = n / (n + t^2), a = n / 2.

    x^a / B(a, 1/2) sum_k (1/2)_k / k! x^k / (a + k); x is away from 1 where p is small.
    """
    a = degrees / 2
    x = 1 / (1 + t * t / degrees)
    if x == 0:
        return 0.0
    k = np.arange(int(-40 / math.log(x)) + 10)
    terms = np.cumprod(np.concatenate([[1.0], (k[1:] - 0.5) / k[1:] * x])) / (a + k)
    scale = a * math.log(x) + math.lgamma(a + 0.5) - math.lgamma(a) - math.lgamma(0.5)
    return math.exp(scale) * float(terms.sum())
