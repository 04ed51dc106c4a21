"""MultipartiteRank: candidates in topics, joined across topics, the first of each topic moved ahead.

Source: Boudin 2018, "Unsupervised keyphrase extraction with multipartite graphs", equations 1 to 3; topics
    as in TopicRank (Bougouin et al. 2013): average linkage of the candidates by the share of stems that they
    have in common.
"""

import math

import numpy as np

from keyphrase_plm.candidates import Candidate
from keyphrase_plm.textrank import pagerank

DISTANCE = 0.74
"""Jaccard distance up to which candidates are one topic"""
BOOST = 1.1
"""alpha of equation 3"""
MOST = 400
"""candidates of a text, the first ones: topics take memory in the square of their number"""


def topics(candidates: list[Candidate], *, distance: float = DISTANCE) -> list[int]:
    """The topic of each candidate, numbered in the order of the candidates.

    Args:
        candidates: of `find_candidates`.
        distance: mean Jaccard distance, between the sets of stems, up to which two topics are merged; of
            equal pairs the first one.
    """
    n = len(candidates)
    stems: dict[str, int] = {}
    for each in candidates:
        for part in each.key.split():
            stems.setdefault(part, len(stems))
    has = np.zeros((n, len(stems)))
    for row, each in enumerate(candidates):
        has[row, [stems[part] for part in each.key.split()]] = 1
    both = has @ has.T
    sizes = has.sum(1)
    gaps = 1 - both / np.maximum(sizes[:, None] + sizes[None] - both, 1)
    np.fill_diagonal(gaps, np.inf)
    members = np.ones(n)
    topic = list(range(n))
    while n > 1:
        at = int(gaps.argmin())
        first, second = sorted(divmod(at, n))
        if gaps[first, second] > distance + 1e-9:
            break
        joined = members[first] * gaps[first] + members[second] * gaps[second]
        gaps[first] = gaps[:, first] = joined / (members[first] + members[second])
        gaps[second] = gaps[:, second] = gaps[first, first] = np.inf
        members[first] += members[second]
        topic = [first if each == second else each for each in topic]
    names = {name: number for number, name in enumerate(dict.fromkeys(topic))}
    return [names[each] for each in topic]


def multipartiterank(
    candidates: list[Candidate], *, distance: float = DISTANCE, boost: float = BOOST
) -> list[float]:
    """The PageRank of each candidate in the multipartite graph, its first occurrences favoured.

    Args:
        candidates: of `find_candidates` by the rule `runs`; those after the first 400 get 0.
        distance: of `topics`.
        boost: how much of the weight of a topic's other candidates goes to its first one.
    """
    left_out = len(candidates) - MOST
    candidates = candidates[:MOST]
    if not candidates:
        return []
    topic = np.array(topics(candidates, distance=distance))
    weights = _weights(candidates, topic)
    boosted = weights.copy()
    for number in range(int(topic.max()) + 1):
        inside = np.flatnonzero(topic == number)
        if len(inside) > 1:
            first, others = int(inside[0]), inside[1:]  # in the order of first places
            for i in np.flatnonzero(weights[:, first]):
                nearness = math.exp(1 / (1 + candidates[i].places[0]))
                boosted[i, first] += boost * nearness * weights[others, i].sum()
    sources, targets = np.nonzero(boosted)
    ranks = pagerank(sources, targets, boosted[sources, targets], len(candidates))
    return ranks.tolist() + [0.0] * max(0, left_out)


def _weights(candidates: list[Candidate], topic: np.ndarray) -> np.ndarray:
    """(n, n): the sum of 1 / distance over the places of two candidates of different topics, else 0.

    The distance counts the words between the end of the earlier and the beginning of the later one, plus 1.
    """
    owner = np.repeat(np.arange(len(candidates)), [len(each.places) for each in candidates])
    starts = np.concatenate([np.array(each.places) for each in candidates])
    ends = starts + np.array([each.length for each in candidates])[owner]
    gap = np.maximum(starts[None] - ends[:, None], starts[:, None] - ends[None]) + 1
    near = 1 / np.maximum(gap, 1)
    near[topic[owner][:, None] == topic[owner][None]] = 0
    bounds = np.flatnonzero(np.r_[True, np.diff(owner) > 0])
    summed: np.ndarray = np.add.reduceat(np.add.reduceat(near, bounds, 0), bounds, 1)
    return summed
