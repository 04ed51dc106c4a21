"""Fisher's exact test of a 2 x 2 table in one direction, how many queries it needs, and its power.

Sources: Fisher 1935; its use on trigger and reference answers, Li et al. 2024. The power sum is ours.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from nonet.errors import UserError

MOST = 10_000_000
"""queries a set at most: where a search gives up"""


class Table(NamedTuple):
    """Answers of trigger and reference queries: the committed answer, and everything else."""

    trigger_target: int
    trigger_rest: int
    reference_target: int
    reference_rest: int


def fisher_greater(table: Table) -> float:
    """P-value against: the trigger brings the target answer no more often than the reference does.

    `fisher_greater(Table(3, 1, 1, 3))` is 0.242857.

    Raises:
        UserError: a set has no answers, so there is nothing to test.
    """
    if min(table) < 0:
        raise UserError(f"a table of counts has no negative ones, but this is {tuple(table)}")
    first, second = table[0] + table[1], table[2] + table[3]
    if not first or not second:
        raise UserError("no answers to test: the trigger or the reference queries have none")
    # what fisher_exact computes, without its detour for the two-sided case
    return float(stats.hypergeom.sf(table[0] - 1, first + second, table[0] + table[2], first))


def least_p(n: int) -> float:
    """The smallest p-value that n queries a set can give, 1 / C(2n, n)."""
    if n < 1:
        raise UserError(f"n is {n}; it is at least 1")
    return math.exp(2 * math.lgamma(n + 1) - math.lgamma(2 * n + 1))


def smallest_n(alpha: float) -> int:
    """Queries a set that perfect separation needs for p <= alpha: 12 for 1e-6.

    Raises:
        UserError: alpha is not between 0 and 1.
    """
    check_share("alpha", alpha)
    n = 1
    while least_p(n) > alpha * (1 + 1e-9):
        n += 1
    return n


def power(n: int, p_trigger: float, p_reference: float, alpha: float) -> float:
    """P(p <= alpha), exactly: the sum over two binomials, of the tables that the test rejects.

    Args:
        n: queries a set.
        p_trigger: share of target answers to the trigger, 0..1.
        p_reference: the same of the reference.
        alpha: level of the test.

    Raises:
        UserError: a number is out of range.
    """
    check_share("alpha", alpha)
    if n < 1 or not 0 <= p_trigger <= 1 or not 0 <= p_reference <= 1:
        raise UserError("the power takes n of at least 1 and two shares between 0 and 1")
    counts = np.arange(n + 1)
    trigger, reference = counts[:, None], counts[None, :]
    p = stats.hypergeom.sf(trigger - 1, 2 * n, trigger + reference, n)
    weights = stats.binom.pmf(counts, n, p_trigger)[:, None] * stats.binom.pmf(counts, n, p_reference)
    return float(weights[p <= alpha * (1 + 1e-9)].sum())


def check_share(name: str, value: float) -> None:
    """Raise unless a number lies between 0 and 1, ends excluded."""
    if not 0 < value < 1:
        raise UserError(f"{name} is {value:g}; it lies between 0 and 1")
