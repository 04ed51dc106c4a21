"""How sure a mean, a difference or a table of seeds is. All resampling is seeded, numpy alone.

Sources: percentile bootstrap, Efron and Tibshirani 1993, chapters 13 and 16; Student's t, Abramowitz and
    Stegun 1964,
26.7.3 and 26.7.4; step-down correction, Holm 1979; permutation p-values, Phipson and Smyth 2010.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Setting = tuple[tuple[str, Any], ...]

DRAWS_AT_ONCE = 1 << 20  # resampled values held in memory, 8 MB each for indices and values


class Interval(NamedTuple):
    """A mean and the limits of its confidence interval."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean difference, the limits of its confidence interval and the two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float


def mean_interval(values: ArrayLike, seed: int = 0, level: float = 0.95, resamples: int = 1000) -> Interval:
    """The mean with the percentile bootstrap interval.

    Args:
        values: (n,) numbers, n >= 1. One value is its own interval.
        seed: of the resampling.
        level: share of resampled means inside the interval, 0..1, ends excluded.
        resamples: bootstrap samples, at least 1.

    Returns:
        Interval(mean, low, high), a function of the arguments alone.

    Raises:
        ValueError: `values` is empty, not finite or not one-dimensional, or another number is out of range.
    """
    return column_intervals(_row(values, "values")[:, None], seed, level, resamples)[0]


def column_intervals(
    values: ArrayLike, seed: int = 0, level: float = 0.95, resamples: int = 1000
) -> list[Interval]:
    """`mean_interval` of every column, all from the same draws of rows.

    Args:
        values: (n, k) numbers, n >= 1.
        seed: of the resampling.
        level: share of resampled means inside the interval, 0..1, ends excluded.
        resamples: bootstrap samples, at least 1.

    Returns:
        k intervals.

    Raises:
        ValueError: `values` is empty, not finite or not two-dimensional, or another number is out of range.
    """
    table = _finite(values, "values", 2)
    means = _bootstrap_means(table, seed, resamples)
    low, high = np.quantile(means, _tails(level), axis=0)
    return [Interval(float(table[:, k].mean()), float(low[k]), float(high[k])) for k in range(table.shape[1])]


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, seed: int = 0, resamples: int = 10000, level: float = 0.95
) -> Difference:
    """Whether `a` beats `b` on the same items: mean of a - b, its bootstrap interval, and a p-value.

    p = min(1, 2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (resamples + 1)) over the resampled mean differences d*:
    the level at which the percentile interval would begin to leave out zero.

    Args:
        a: (n,) scores of one system, n >= 1.
        b: (n,) scores of the other on the same items.
        seed: of the resampling.
        resamples: bootstrap samples; p cannot fall below 2 / (resamples + 1).
        level: of the interval, 0..1, ends excluded.

    Returns:
        Difference(difference, low, high, p).

    Raises:
        ValueError: the lengths differ, there are no items, or a number is out of range.
    """
    difference = _differences(a, b)
    means = _bootstrap_means(difference[:, None], seed, resamples)[:, 0]
    low, high = np.quantile(means, _tails(level)).tolist()
    fewer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Difference(float(difference.mean()), low, high, min(1.0, 2 * (1 + fewer) / (resamples + 1)))


def paired_permutation(a: ArrayLike, b: ArrayLike, seed: int = 0, resamples: int = 10000) -> float:
    """Two-sided p-value of no difference, by flipping which of the two scores of an item is whose.

    All 2^n sign patterns are tried where these are at most `resamples`; else p = (1 + hits) / (resamples +
    1).

    Args:
        a: (n,) scores of one system, n >= 1.
        b: (n,) scores of the other on the same items.
        seed: of the drawn patterns.
        resamples: patterns to draw.

    Returns:
        p in 0..1, never 0.

    Raises:
        ValueError: the lengths differ, there are no items, or a number is out of range.
    """
    difference = _differences(a, b)
    _at_least_one(resamples)
    n = len(difference)
    slack = 1e-12 * float(np.abs(difference).sum())  # sums that are equal on paper count as equal
    limit = abs(float(difference.sum())) - slack
    exact = n < 63 and 2**n <= resamples
    total = 2**n if exact else resamples
    random = np.random.default_rng(seed)
    hits = 0
    for start, count in _chunks(total, n):
        if exact:
            flips = np.arange(start, start + count)[:, None] >> np.arange(n) & 1
        else:
            flips = random.integers(0, 2, size=(count, n), dtype=np.int8)
        hits += int((np.abs(((1.0 - 2.0 * flips) * difference).sum(axis=1)) >= limit).sum())
    return hits / total if exact else (1 + hits) / (resamples + 1)


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean with Student's interval: for few values, such as one for each seed.

    mean -+ t sd / sqrt(n), with n - 1 in the standard deviation. For 1, 2, 3 it is 2 -+ 2.484.

    Args:
        values: (n,) numbers, n >= 2.
        level: coverage, 0..1, ends excluded.

    Returns:
        Interval(mean, low, high).

    Raises:
        ValueError: fewer than two values, one is not finite, or the level is out of range.
    """
    row = _row(values, "values")
    if len(row) < 2:
        raise ValueError("a t interval takes at least 2 values, got 1")
    mean = float(row.mean())
    half = t_quantile(level, len(row) - 1) * float(row.std(ddof=1)) / math.sqrt(len(row))
    return Interval(mean, mean - half, mean + half)


def t_quantile(level: float, degrees: int) -> float:
    """The t with P(-t <= T <= t) = level for Student's T: `t_quantile(0.95, 4)` is 2.776.

    For whole degrees of freedom that probability is a finite sum in theta = arctan(t / sqrt(degrees)), which
    grows with theta from 0 to pi / 2: bisection finds it to the last bits.

    Args:
        level: 0..1, ends excluded.
        degrees: of freedom, at least 1.

    Returns:
        t > 0.

    Raises:
        ValueError: a number is out of range.
    """
    _tails(level)
    if degrees < 1:
        raise ValueError(f"degrees is {degrees}, but it takes at least 1")
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, degrees) < level else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def t_inside(theta: float, degrees: int) -> float:
    """P(-t <= T <= t) for Student's T with t = sqrt(degrees) tan(theta): a finite sum.

    Args:
        theta: 0..pi / 2.
        degrees: of freedom, at least 1.
    """
    # The series in cosine^2 has the factors 1/2, 3/4, ... for even degrees and 2/3, 4/5, ... for odd ones.
    first = 1 if degrees % 2 == 0 else 2
    factors = np.arange(first, degrees - 2, 2) / np.arange(first + 1, degrees - 1, 2)
    sine, cosine = math.sin(theta), math.cos(theta)
    terms = 1.0 + float(np.cumprod(factors * cosine * cosine).sum())
    if degrees % 2 == 0:
        return sine * terms
    return 2 / math.pi * (theta + (sine * cosine * terms if degrees > 1 else 0.0))


def seeds_table(
    rows: Sequence[Mapping[str, Any]], seed: str = "seed", level: float = 0.95
) -> list[dict[str, Any]]:
    """Runs with several seeds as one table of mean, standard deviation and t interval.

    Args:
        rows: one mapping a run. Text (and other values that are not numbers) names the setting, numbers are
            measures, and the key `seed` tells the runs of one setting apart.
        seed: that key; runs may lack it.
        level: of the interval, 0..1, ends excluded.

    Returns:
        One dict for each setting and measure, in order of first appearance: the setting's keys, then
        `measure`, `seeds` (how many), `mean`, `sd` (n - 1), `low`, `high`. With one run the last three are
        None.

    Raises:
        ValueError: a seed occurs twice in a setting, or a measure is not finite.
    """
    runs: dict[Setting, dict[str, list[float]]] = {}
    seen: set[tuple[Setting, Any]] = set()
    for row in rows:
        setting = tuple((key, value) for key, value in row.items() if key != seed and not _number(value))
        if seed in row:
            if (setting, row[seed]) in seen:
                raise ValueError(f"{seed} {row[seed]} occurs twice for {dict(setting)}")
            seen.add((setting, row[seed]))
        for key, value in row.items():
            if key != seed and _number(value):
                runs.setdefault(setting, {}).setdefault(key, []).append(float(value))
    table = []
    for setting, measures in runs.items():
        for measure, numbers in measures.items():
            values = _row(numbers, measure)
            sd = low = high = None
            if len(values) > 1:
                _, low, high = t_interval(values, level)
                sd = float(values.std(ddof=1))
            spread = {"mean": float(values.mean()), "sd": sd, "low": low, "high": high}
            table.append({**dict(setting), "measure": measure, "seeds": len(values), **spread})
    return table


def holm(pvalues: ArrayLike) -> Floats:
    """P-values adjusted for having asked several questions; compare them with the level as they are.

    `holm([0.01, 0.04, 0.03])` is `[0.03, 0.06, 0.06]`.

    Args:
        pvalues: (m,) numbers in 0..1; m may be 0.

    Returns:
        (m,) float64 in the same order: the i-th smallest times m - i (from 0), never below a smaller one's,
        at most 1.

    Raises:
        ValueError: a number is not in 0..1.
    """
    row = np.asarray(pvalues, np.float64)
    if row.ndim != 1 or not ((row >= 0) & (row <= 1)).all():
        raise ValueError(f"p-values are one row of numbers in 0..1, got {row.tolist()}")
    order = np.argsort(row, kind="stable")
    adjusted = np.empty_like(row)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(row[order] * np.arange(len(row), 0, -1)))
    return adjusted


def _bootstrap_means(table: Floats, seed: int, resamples: int) -> Floats:
    """(resamples, k) means of rows drawn with replacement."""
    _at_least_one(resamples)
    n = len(table)
    random = np.random.default_rng(seed)
    means = np.empty((resamples, table.shape[1]))
    for start, count in _chunks(resamples, n):
        drawn = random.integers(0, n, size=(count, n))
        for k in range(table.shape[1]):
            means[start : start + count, k] = table[:, k][drawn].mean(axis=1)
    return means


def _chunks(total: int, n: int) -> Iterator[tuple[int, int]]:
    """(first, how many) of so many samples of n values as fit into memory at once."""
    step = max(1, DRAWS_AT_ONCE // n)
    for start in range(0, total, step):
        yield start, min(step, total - start)


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    first, second = _row(a, "a"), _row(b, "b")
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} scores and b has {len(second)}: they must be of the same items")
    return first - second


def _row(values: ArrayLike, name: str) -> Floats:
    return _finite(values, name, 1)


def _finite(values: ArrayLike, name: str, axes: int) -> Floats:
    table = np.asarray(values, np.float64)
    if table.ndim != axes:
        raise ValueError(f"{name} has {table.ndim} axes, not {axes}")
    if len(table) == 0:
        raise ValueError(f"{name} is empty")
    if not np.isfinite(table).all():
        raise ValueError(f"{name} has {int((~np.isfinite(table)).sum())} numbers that are not finite")
    return table


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but it lies between 0 and 1")
    return (1 - level) / 2, (1 + level) / 2


def _at_least_one(resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}, but it takes at least 1")


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
