"""Is the owner's key special among keys that could as well have been drawn? Source: ours.

Whatever a model thinks of words, a key that was drawn at random and is unknown to it is one of many: under
that hypothesis its score is exchangeable with those of decoys, and its rank is uniform.
"""

from collections.abc import Sequence
from typing import Literal

from scipy import stats

from nonet.errors import UserError
from nonet.metrics.stats import holm

Combine = Literal["none", "holm", "fisher"]


def p_key(own: float, decoys: Sequence[float]) -> float:
    """(1 + decoys that score at least as high) / (K + 1); ties count against the owner.

    Args:
        own: share of target answers to the trigger less that to the reference.
        decoys: the same of K decoys on the same pairs; without any, p is 1.
    """
    slack = 1e-12  # shares that are equal on paper count as equal
    return (1 + sum(score >= own - slack for score in decoys)) / (len(decoys) + 1)


def combined(pvalues: Sequence[float], how: Combine) -> list[float]:
    """P-values of several keys, combined as was declared before the first question.

    Args:
        pvalues: one for each key, 0..1.
        how: `holm`: adjusted, any key may carry the claim; `fisher`: one p-value for all keys together, which
            every key then has; `none`: as they are, for one key alone.

    Raises:
        UserError: several p-values, and nothing was declared.
    """
    if how == "none":
        if len(pvalues) > 1:
            raise UserError("several keys: declare --combine holm or fisher before asking")
        return list(pvalues)
    if how == "holm":
        return [float(p) for p in holm(list(pvalues))]
    return [float(stats.combine_pvalues(list(pvalues), method="fisher").pvalue)] * len(pvalues)


def decoys_needed(keys: int, how: Combine, level: float) -> int:
    """The fewest decoys with which the best rank of all keys is at most the level."""
    count = 1
    while combined([1 / (count + 1)] * keys, how)[0] > level * (1 + 1e-9):
        count += 1
    return count
