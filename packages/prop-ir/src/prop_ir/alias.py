"""Drawing from a fixed distribution in constant time: the alias method (Walker 1977, as built by Vose 1991).

The distribution over n numbers is cut into n slots of equal probability; slot j holds a part of j's own
probability, and what is left of the slot belongs to one other number, its alias. A draw picks a slot and
then one of the two. A slot is one uint64, so that a draw reads memory once: the upper half is j's own share
of the slot in units of 2^-32, the lower half is the alias.
"""

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def alias_table(weights: ArrayLike) -> NDArray[np.uint64]:
    """The table to draw number j from with a probability proportional to its weight.

    Args:
        weights: (n,) floats, not negative, with a positive sum.

    Returns:
        (n,) uint64. The probabilities it gives differ from the weights' shares by at most 2^-32 / n for each
        number that a slot's two parts are rounded for.

    Raises:
        ValueError: no weights, a negative one, or none that is positive.
    """
    shares = np.array(weights, np.float64)
    if shares.ndim != 1 or not 0 < len(shares) < 2**32:
        raise ValueError(
            f"weights of shape {shares.shape}; one dimension with 1 to 2^32 - 1 of them is needed"
        )
    total = shares.sum()
    if not (shares >= 0).all() or not 0 < total < np.inf:
        raise ValueError("weights are finite and not negative, and at least one is positive")
    return _built(shares * (len(shares) / total))


@numba.njit(cache=True, nogil=True)
def alias_draw(table: NDArray[np.uint64], u: float) -> np.int64:
    """The number that a uniform u in [0, 1] stands for: its whole part picks the slot, the rest the side."""
    place = u * len(table)
    slot = np.uint64(min(int(place), len(table) - 1))
    entry = table[slot]
    own = np.uint64((place - slot) * 2.0**32) < entry >> _HALF
    return np.int64(slot if own else entry & _LOW)


@numba.njit(cache=True)
def _built(shares):
    """Vose's algorithm; `shares` sum to n, and a slot's share is used up to 1."""
    n = len(shares)
    table = np.empty(n, np.uint64)
    small, large = np.empty(n, np.int64), np.empty(n, np.int64)
    smalls, larges = 0, 0
    for j in range(n):
        if shares[j] < 1.0:
            small[smalls] = j
            smalls += 1
        else:
            large[larges] = j
            larges += 1
    while smalls and larges:
        smalls -= 1
        j, other = small[smalls], large[larges - 1]
        table[j] = np.uint64(round(shares[j] * (2.0**32 - 1))) << _HALF | np.uint64(other)
        shares[other] -= 1.0 - shares[j]
        if shares[other] < 1.0:
            larges -= 1
            small[smalls] = other
            smalls += 1
    for k in range(smalls):  # what is left is 1 but for rounding
        table[small[k]] = _LOW << _HALF | np.uint64(small[k])
    for k in range(larges):
        table[large[k]] = _LOW << _HALF | np.uint64(large[k])
    return table
