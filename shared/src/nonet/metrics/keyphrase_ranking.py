"""Ranking measures of predicted keyphrases: MAP, NDCG and alpha-NDCG.

Sources: the scorer of Chan et al. 2019; Jarvelin and Kekalainen 2002 (NDCG, gain / log2(rank + 1)); Clarke et
al. 2008 (alpha-NDCG). As there, the ideal order is the best order of the same predictions, so that missing
phrases cost nothing in NDCG; average precision divides by the number of gold phrases.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.keyphrases import Class, K, Scores, cut, members

Floats = NDArray[np.float64]

ALPHA = 0.5
"""how much less a gold phrase is worth each time that it was met before"""


class Ranking(NamedTuple):
    """Means over all documents, each in 0..1."""

    average_precision: float
    ndcg: float


def ranking(scores: Scores, of: Class, k: K) -> Ranking:
    """Mean average precision and mean NDCG of the first k predictions of a class.

    Args:
        scores: of `score`.
        of: the class.
        k: one of `scores.ks`.
    """
    n = len(scores)
    if n == 0:
        return Ranking(0.0, 0.0)
    matches = scores.matches
    document = np.repeat(np.arange(n), np.diff(matches.said_first))
    chosen = members(matches.said_kept, matches.said_present, of)
    document, right = document[chosen], matches.right[chosen] >= 0
    first = np.concatenate([[0], np.cumsum(scores.said[of])])
    rank = np.arange(len(document)) - first[document]
    top = cut(k, scores.said[of], scores.gold[of])
    counts = right & (rank < top[document])
    before = np.concatenate([[0], np.cumsum(right)])
    found = before[1:] - before[first[document]]  # right ones up to here

    def sums(values: Floats) -> Floats:
        return np.bincount(document[counts], weights=values[counts], minlength=n).astype(np.float64)

    gold = np.maximum(scores.gold[of], 1)
    precision = sums(found / (rank + 1)) / gold
    gain = sums(1 / np.log2(rank + 2))
    all_right = np.bincount(document[right], minlength=n)
    longest = int(all_right.max(initial=0))
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(longest) + 2))])
    best = ideal[np.minimum(all_right, top)]
    ndcg = np.divide(gain, best, out=np.zeros(n), where=best > 0)
    return Ranking(float(precision.mean()), float(ndcg.mean()))


def alpha_ndcg(scores: Scores, of: Class) -> dict[K, float]:
    """Mean alpha-NDCG at every cut; a prediction serves every gold phrase that its stems are a substring of.

    The ideal order is built greedily, as finding the best one is NP-complete.

    Args:
        scores: of `score`.
        of: the class.
    """
    from nonet.metrics.keyphrase_kernel import alpha_shares

    if not len(scores):
        return dict.fromkeys(scores.ks, 0.0)
    matches = scores.matches
    golds = _texts(
        members(matches.gold_kept, matches.gold_present, of), matches.gold_first, matches.gold_text
    )
    saids = _texts(
        members(matches.said_kept, matches.said_present, of), matches.said_first, matches.said_text
    )
    serves = [
        one in text for some, all_said in zip(golds, saids, strict=True) for text in some for one in all_said
    ]
    sizes = scores.gold[of] * scores.said[of]
    tops = np.stack([cut(k, scores.said[of], scores.gold[of]) for k in scores.ks], axis=1)
    shares = alpha_shares(
        np.array(serves, np.bool_),
        np.cumsum(sizes) - sizes,
        scores.gold[of],
        scores.said[of],
        tops,
        1 - ALPHA,
    )
    return {k: float(shares[:, i].mean()) for i, k in enumerate(scores.ks)}


def _texts(
    chosen: NDArray[np.bool_], first: NDArray[np.int64], text: Callable[[int], str]
) -> list[list[str]]:
    """The stems of the chosen phrases of each document."""
    return [[text(i) for i in range(a, b) if chosen[i]] for a, b in pairwise(first.tolist())]
