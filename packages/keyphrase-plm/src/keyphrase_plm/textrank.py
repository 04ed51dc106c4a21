"""TextRank: the words that many words stand beside, and phrases of the best of them.

Source: Mihalcea and Tarau 2004, "TextRank: bringing order into texts", section 3: an undirected graph of
    words that stand within a window, PageRank with damping 0.85, the best third of the words; neighbours
    among those form phrases. Where the paper keeps nouns and adjectives, we keep all words but stop words
    and numbers.
"""

from collections.abc import Callable

import numpy as np

from keyphrase_plm.candidates import Candidate, Word, find_candidates, is_edge

DAMPING = 0.85
WINDOW = 2
"""words that stand next to each other"""
SHARE = 1 / 3
"""of the words of the graph that may form phrases"""


def pagerank(
    sources: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    nodes: int,
    *,
    damping: float = DAMPING,
    tolerance: float = 1e-10,
    rounds: int = 1000,
) -> np.ndarray:
    """How often a walk is at each node: it follows an edge by its weight, or jumps with chance 1 - damping.

    Args:
        sources: (E,) integers, where edges begin; for an undirected graph both directions are given.
        targets: (E,) integers, where they end.
        weights: (E,) above 0; equal edges add up.
        nodes: how many there are. From one without edges the walk jumps.
        damping: chance of following an edge.
        tolerance: largest sum of changes that ends the iteration.
        rounds: iterations at most.

    Returns:
        (nodes,) float64, sums to 1. Source: Page et al. 1999; equal to networkx's.
    """
    rank = np.full(nodes, 1 / max(nodes, 1))
    if not len(sources):
        return rank
    out = np.bincount(sources, weights, nodes)
    ends = out == 0
    share = weights / out[sources]
    for _ in range(rounds):
        moved = np.bincount(targets, rank[sources] * share, nodes)
        new = damping * (moved + rank[ends].sum() / nodes) + (1 - damping) / nodes
        change = np.abs(new - rank).sum()
        rank = new
        if change < tolerance:
            break
    return rank


def word_ranks(
    words: list[Word], stop_words: frozenset[str], stem: Callable[[str], str], *, window: int = WINDOW
) -> dict[str, float]:
    """The PageRank of each stem that is no stop word; two stems are joined for each time that they stand
    within a window of one block.

    Args:
        words: of `read_words`.
        stop_words: in lower case.
        stem: of a word.
        window: 2 joins words that stand next to each other.
    """
    ids: dict[str, int] = {}
    nodes = [
        ids.setdefault(stem(word.text.lower()), len(ids)) if is_edge(word.text, stop_words) else -1
        for word in words
    ]
    left, right = [], []
    for place, node in enumerate(nodes):
        for other in range(place + 1, min(place + window, len(nodes))):
            if words[other].block != words[place].block:
                break
            if node >= 0 and nodes[other] >= 0 and node != nodes[other]:
                left.append(node)
                right.append(nodes[other])
    sources, targets = np.array(left + right, np.int64), np.array(right + left, np.int64)
    ranks = pagerank(sources, targets, np.ones(len(sources)), len(ids))
    return dict(zip(ids, ranks.tolist(), strict=True))


def textrank(
    words: list[Word], stop_words: frozenset[str], stem: Callable[[str], str], *, longest: int = 5
) -> list[tuple[Candidate, float]]:
    """Phrases of the best words with the sum of their words' ranks; in the order of the text.

    Args:
        words: of `read_words`.
        stop_words: in lower case.
        stem: of a word.
        longest: words of a phrase; longer ones are left out.
    """
    ranks = word_ranks(words, stop_words, stem)
    order = sorted(ranks, key=lambda key: -round(ranks[key], 12))  # of equal ones, the first in the text
    best = set(order[: max(1, round(SHARE * len(order)))])
    rest = frozenset(text for word in words if stem(text := word.text.lower()) not in best)
    candidates = find_candidates(words, rest | stop_words, stem, rule="runs", longest=longest)
    found = []
    for each in candidates:
        parts = words[each.places[0] : each.places[0] + each.length]
        found.append((each, sum(ranks[stem(part.text.lower())] for part in parts)))
    return found
