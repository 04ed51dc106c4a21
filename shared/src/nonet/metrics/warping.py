"""Dynamic time warping of many pairs of sequences at once (numpy).

Source: Sakoe and Chiba 1978, steps (1, 0), (0, 1), (1, 1) of equal weight. A cell needs only the two
anti-diagonals before its own, so that a whole anti-diagonal, of all pairs of a batch, is one vector
operation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]

BATCH = 512  # pairs that go together


def warp_cost(cost: ArrayLike) -> float:
    """The least sum of costs along a way from the first pair of elements to the last.

    `warp_cost([[0, 1], [1, 0]])` is 0.

    Args:
        cost: (n, m) of each pair of elements, at least 0, infinite ones allowed.
    """
    return float(warp_costs([cost])[0])


def warp_costs(costs: Sequence[ArrayLike]) -> Floats:
    """`warp_cost` of many matrices of any sizes, which need not be equal.

    Args:
        costs: (n, m) matrices, n and m at least 1.

    Returns:
        (pairs,) float64.

    Raises:
        UserError: a matrix is empty, or has a cost that is negative or NaN; the text has its number.
    """
    matrices = [np.asarray(cost, np.float64) for cost in costs]
    for place, matrix in enumerate(matrices):
        if matrix.ndim != 2 or not matrix.size:
            raise UserError(
                f"pair {place} (from 0): costs are a matrix with at least one cell, not {matrix.shape}"
            )
        if not matrix.min() >= 0:
            raise UserError(f"pair {place} (from 0): a cost is negative or not a number")
    flat = [
        matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices
    ]  # short side first
    order = sorted(range(len(flat)), key=lambda place: (flat[place].shape[0], flat[place].shape[1]))
    totals = np.empty(len(flat))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        totals[chosen] = _batch([flat[place] for place in chosen])
    return totals


def _batch(matrices: Sequence[Floats]) -> Floats:
    """Costs (B pairs): skewed[d, i] of a pair is cost[i, d - i], infinite outside."""
    rows, columns = (np.array([matrix.shape[axis] for matrix in matrices]) for axis in (0, 1))
    n, ends = int(rows.max()), rows + columns - 2
    skewed = np.full((int(ends.max()) + 1, n, len(matrices)), np.inf)
    for pair, matrix in enumerate(matrices):
        r, c = matrix.shape
        i = np.arange(r)[:, None]
        skewed[i + np.arange(c), i, pair] = matrix
    totals = np.empty(len(matrices))
    before = np.full((n + 1, len(matrices)), np.inf)  # row 0 is above the first element
    last = before.copy()
    last[1] = skewed[0, 0]
    for diagonal in range(len(skewed)):
        if diagonal:
            now = np.minimum(np.minimum(last[:-1], last[1:]), before[:-1])
            now += skewed[diagonal]
            before, last = last, np.concatenate([before[:1], now])
        done = np.flatnonzero(ends == diagonal)
        totals[done] = last[rows[done], done]
    return totals
