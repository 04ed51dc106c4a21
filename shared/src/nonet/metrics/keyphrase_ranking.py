"""Ranking measures of predicted keyphrases: MAP, NDCG and alpha-NDCG.

Sources: the scorer of Chan et al. 2019; Jarvelin and Kekalainen 2002 (NDCG, gain / log2(rank + 1)); Clarke et
al. 2008 (alpha-NDCG). As there, the ideal order is the best order of the same predictions, so that missing
phrases cost nothing in NDCG; average precision divides by the number of gold phrases.
"""

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
    totals = dict.fromkeys(scores.ks, 0.0)
    matches = scores.matches
    gold = members(matches.gold_kept, matches.gold_present, of)
    said = members(matches.said_kept, matches.said_present, of)
    for d in range(len(scores)):
        golds = (
            np.flatnonzero(gold[matches.gold_first[d] : matches.gold_first[d + 1]]) + matches.gold_first[d]
        )
        saids = (
            np.flatnonzero(said[matches.said_first[d] : matches.said_first[d + 1]]) + matches.said_first[d]
        )
        if not len(golds) or not len(saids):
            continue
        texts = [matches.gold_text(i) for i in golds.tolist()]
        serves = np.array([[matches.said_text(j) in text for j in saids.tolist()] for text in texts], bool)
        if not serves.any():
            continue
        order = _greedy(serves)
        gains, best = (_discounted(serves[:, columns]) for columns in (np.arange(len(saids)), order))
        for k in scores.ks:
            top = int(cut(k, np.array([len(saids)]), np.array([len(golds)]))[0])
            at = min(top, len(saids)) - 1
            totals[k] += gains[at] / best[at] if best[at] > 0 else 0.0
    return {k: total / max(len(scores), 1) for k, total in totals.items()}


def _discounted(serves: NDArray[np.bool_]) -> Floats:
    """(predictions,) the discounted cumulative gain, novelty taken into account."""
    met: NDArray[np.int64] = np.cumsum(serves, axis=1) - serves
    gains = (serves * (1 - ALPHA) ** met).sum(axis=0)
    return np.asarray(np.cumsum(gains / np.log2(np.arange(len(gains)) + 2)), np.float64)


def _greedy(serves: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The order in which every prediction is the one with the largest gain; of equals the first."""
    met: Floats = np.zeros(len(serves))
    left = np.ones(serves.shape[1], bool)
    order = []
    for _ in range(serves.shape[1]):
        gains = np.where(left, (1 - ALPHA) ** met @ serves, -1.0)
        best = int(np.argmax(gains))
        order.append(best)
        left[best] = False
        met += serves[:, best]
    return np.array(order, np.int64)
