"""Ranking the answers of a dialogue: NDCG on graded answers, MRR, R@k and mean rank (numpy).

Source: Das et al. 2017, "Visual Dialog", and the challenge's evaluation since 2018: NDCG over the first K
answers, where K is the number of answers with relevance above 0, gains as they are, discount log2(rank + 1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]


class Sparse(NamedTuple):
    """Where the right answer stands.

    Attributes:
        recall: share of rounds in which it is among the first k, for each k, 0..1.
        mrr: mean of 1 / rank, 0..1.
        mean_rank: from 1.
        ties: share of rounds in which another answer scores the same.
    """

    recall: dict[int, float]
    mrr: float
    mean_rank: float
    ties: float


def answer_ranks(scores: ArrayLike, right: ArrayLike, *, cuts: Sequence[int] = (1, 5, 10)) -> Sparse:
    """R@k, MRR and mean rank of the right answer among the options of each round.

    Args:
        scores: (rounds, options), higher is better; equal scores count against the right answer.
        right: (rounds,) which option is right, from 0.
        cuts: values of k.

    Raises:
        UserError: a score is NaN, an option does not exist, or shapes do not fit.
    """
    score = _scores(scores)
    gold = np.asarray(right)
    if gold.shape != (len(score),) or gold.dtype.kind not in "iu":
        raise UserError(
            f"there are {len(score)} rounds, but right answers have shape {gold.shape} of {gold.dtype}"
        )
    if gold.min() < 0 or gold.max() >= score.shape[1]:
        raise UserError(
            f"right answers are options 0 to {score.shape[1] - 1}, got {gold.min()} to {gold.max()}"
        )
    if not cuts or min(cuts) < 1:
        raise UserError(f"cuts are whole numbers from 1, got {list(cuts)}")
    own = score[np.arange(len(score)), gold][:, None]
    rank = (score >= own).sum(1)
    tied = (score == own).sum(1) > 1
    return Sparse(
        {cut: float((rank <= cut).mean()) for cut in cuts},
        float((1 / rank).mean()), float(rank.mean()), float(tied.mean()),
    )  # fmt: skip


def ndcg(scores: ArrayLike, relevance: ArrayLike) -> float:
    """Mean NDCG@K over rounds, K the number of options of a round with relevance above 0; 0..1.

    With scores 3, 2, 1 for relevances 0, 1, .5, K is 2: (0 + 1/log2(3)) / (1 + .5/log2(3)) = .4796.

    Args:
        scores: (rounds, options), higher is better; of equal scores the less relevant comes first.
        relevance: (rounds, options) 0..1, each round with one above 0.

    Raises:
        UserError: shapes differ, a number is NaN, or relevance is negative or 0 throughout a round.
    """
    score, gain = _scores(scores), np.asarray(relevance, np.float64)
    if gain.shape != score.shape:
        raise UserError(f"scores have shape {score.shape} and relevances {gain.shape}; they must be equal")
    if not np.isfinite(gain).all() or (gain < 0).any():
        raise UserError("relevances must be finite and at least 0")
    relevant = (gain > 0).sum(1)
    if not relevant.all():
        raise UserError(
            f"round {int(np.argmin(relevant))} (from 0) has no relevant answer; leave such rounds out"
        )
    order = np.lexsort((gain, -score), axis=1)
    place = np.arange(score.shape[1])
    weight = np.where(place < relevant[:, None], 1 / np.log2(place + 2), 0)
    reached = (np.take_along_axis(gain, order, 1) * weight).sum(1)
    ideal = (-np.sort(-gain, 1) * weight).sum(1)
    return float((reached / ideal).mean())


def _scores(scores: ArrayLike) -> Floats:
    array = np.asarray(scores, np.float64)
    if array.ndim != 2 or not array.size:
        raise UserError(f"scores are a matrix, rounds x options, but have shape {array.shape}")
    if np.isnan(array).any():
        row, column = (int(place) for place in np.argwhere(np.isnan(array))[0])
        raise UserError(f"the score of round {row}, option {column} (from 0) is not a number (NaN)")
    return array
