"""How sure an F1 of keyphrases is, and whether two systems differ: documents drawn anew, seeded.

F1 of the mean precision and the mean recall is no mean over documents, so that error bars of documents' F1
would be those of another number: each draw of documents gives its own two means and its own F1. All measures,
and in a comparison both systems, see the same draws. Source: percentile bootstrap, Efron and Tibshirani 1993,
chapters 13 and 16; the p-value is that of `nonet.metrics.stats.paired_bootstrap`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.keyphrases import CLASSES, Class, K, Scores, from_sums
from nonet.metrics.stats import Interval, holm

Floats = NDArray[np.float64]

AT_ONCE = 1 << 22  # weights in memory, 8 bytes each


class Compared(NamedTuple):
    """F1 of two systems on the same documents."""

    of: Class
    k: K
    first: float
    second: float
    difference: float
    """first - second"""
    low: float
    high: float
    p: float
    p_holm: float
    """corrected for the number of measures"""


def f1_intervals(
    scores: Scores, seed: int = 0, level: float = 0.95, resamples: int = 1000
) -> dict[tuple[Class, K], Interval]:
    """The F1 of every class and cut with its bootstrap interval.

    Args:
        scores: of `score`, with at least one document.
        seed: of the draws.
        level: share of draws inside the interval, 0..1, ends excluded.
        resamples: draws.

    Raises:
        UserError: there is no document.
        ValueError: a number is out of range.
    """
    drawn = _drawn([scores], seed, resamples)[0]
    low, high = np.quantile(drawn, _tails(level), axis=0)
    return {
        key: Interval(scores.macro(*key).f1, float(low[i]), float(high[i]))
        for i, key in enumerate(_keys(scores))
    }


def compare(
    first: Scores, second: Scores, seed: int = 0, level: float = 0.95, resamples: int = 10000
) -> list[Compared]:
    """Whether the first system's F1 is above the second's, for every class and cut.

    Args:
        first: of `score`.
        second: of the same documents in the same order, under the same convention and cuts.
        seed: of the draws.
        level: of the intervals.
        resamples: draws; p cannot fall below 2 / (resamples + 1).

    Raises:
        UserError: the two are not of the same documents, gold phrases, convention or cuts.
    """
    if first.convention != second.convention or first.ks != second.ks:
        raise UserError(
            f"scores under {first.convention.label} at {first.ks} and under {second.convention.label} at "
            f"{second.ks} cannot be compared"
        )
    if len(first) != len(second) or any((first.gold[of] != second.gold[of]).any() for of in CLASSES):
        raise UserError("the two systems were not scored on the same documents and gold phrases")
    a, b = _drawn([first, second], seed, resamples)
    drawn = a - b
    low, high = np.quantile(drawn, _tails(level), axis=0)
    fewer = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (1 + fewer) / (resamples + 1))
    corrected = holm(p)
    found = []
    for i, (of, k) in enumerate(_keys(first)):
        x, y = first.macro(of, k).f1, second.macro(of, k).f1
        found.append(
            Compared(of, k, x, y, x - y, float(low[i]), float(high[i]), float(p[i]), float(corrected[i]))
        )
    return found


def _keys(scores: Scores) -> list[tuple[Class, K]]:
    return [(of, k) for of in CLASSES for k in scores.ks]


def _drawn(systems: list[Scores], seed: int, resamples: int) -> list[Floats]:
    """For each system (resamples, measures) F1 of the same draws of documents."""
    n = len(systems[0])
    if n == 0:
        raise UserError("there is no document to draw from")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}, but it takes at least 1")
    tables = [np.stack([scores.sums(*key) for key in _keys(scores)], axis=1) for scores in systems]
    out = [np.empty((resamples, table.shape[1])) for table in tables]
    random = np.random.default_rng(seed)
    step = max(1, AT_ONCE // n)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)
        for table, f1, scores in zip(tables, out, systems, strict=True):
            sums = (weights @ table.reshape(n, -1)).reshape(count, -1, 4)
            f1[start : start + count] = from_sums(sums, scores.convention)[..., 2]
    return out


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but it lies between 0 and 1")
    return (1 - level) / 2, (1 + level) / 2
