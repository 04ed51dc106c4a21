"""Text infilling (Lewis et al. 2020, as SciBART was pre-trained): spans of a text become one mask each.

A share of the tokens, rounded up, is taken away, exactly. Lengths of spans are drawn from a Poisson
distribution until they make up that many; the last one is cut to fit. A length of 0 inserts a mask and takes
nothing away. Spans begin at word starts, do not overlap and do not touch, and every placement that keeps to
that is equally likely: the number of ways to place the spans that are left, from each position on, is counted
backwards first, and starts are drawn by these counts. (The released implementation draws starts without
looking at one another, so that spans may merge and the share varies.)
"""

from collections.abc import Sequence
from math import ceil

import numpy as np


def infill(
    ids: np.ndarray,
    starts_word: np.ndarray,
    random: np.random.Generator,
    *,
    mask: int,
    share: float = 0.3,
    mean: float = 3.5,
    replace: float = 0.0,
    vocabulary: int = 0,
) -> np.ndarray:
    """A text with spans masked.

    Args:
        ids: (n,) integers, a text without special tokens.
        starts_word: (n,) bool, which of them begin a word; the first one counts as such.
        random: numbers of this text in this epoch.
        mask: id of the mask.
        share: of the tokens to take away, in [0, 1]; ceil(share * n) of them.
        mean: of the Poisson distribution.
        replace: probability that a random token stands for a span instead of the mask.
        vocabulary: random tokens are below this id; needed if `replace` is positive.

    Returns:
        int32; `[5, 6, 7, 8]` with the span 6, 7 masked is `[5, mask, 8]`.
    """
    n = len(ids)
    budget = ceil(share * n - 1e-9)  # 0.07 * 100 is a little more than 7
    if n == 0 or budget == 0:
        return np.asarray(ids, np.int32)
    spans, inserted = draw_lengths(budget, mean, random)
    spans = [int(length) for length in random.permutation(spans)]
    at, lengths = place(spans, np.asarray(starts_word, bool), random)
    kept = np.ones(n, bool)
    for start, length in zip(at, lengths, strict=True):
        kept[start : start + length] = False
    pieces = np.asarray(ids, np.int32)
    fill = np.full(len(at) + inserted, mask, np.int32)
    if replace:
        drawn = random.random(len(fill)) < replace
        fill[drawn] = random.integers(0, vocabulary, int(drawn.sum()))
    kept[at] = True  # the first place of a span holds its mask
    pieces = pieces.copy()
    pieces[at] = fill[: len(at)]
    pieces = pieces[kept]
    if inserted:
        gaps = random.integers(0, len(pieces) + 1, inserted)
        pieces = np.insert(pieces, gaps, fill[len(at) :])
    return pieces


def draw_lengths(budget: int, mean: float, random: np.random.Generator) -> tuple[list[int], int]:
    """Lengths of spans that add up to the budget, and how many lengths of 0 were drawn among them.

    Args:
        budget: tokens to take away, at least 1.
        mean: of the Poisson distribution.
        random: numbers to draw from.
    """
    lengths: list[int] = []
    inserted, left = 0, budget
    while left:
        length = min(int(random.poisson(mean)), left)
        if length:
            lengths.append(length)
            left -= length
        else:
            inserted += 1
    return lengths, inserted


def place(
    lengths: Sequence[int], starts_word: np.ndarray, random: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Starts of spans that do not touch, each at a word start, all placements equally likely.

    Where there is no room for them all apart, the two shortest become one, until there is.

    Args:
        lengths: of the spans, in their order; together at most n.
        starts_word: (n,) bool.
        random: numbers to draw from.

    Returns:
        The starts, ascending, and the lengths there.
    """
    n = len(starts_word)
    allowed = starts_word.astype(np.float64)
    allowed[0] = 1.0
    spans = list(lengths)
    while True:
        ways = _ways(spans, allowed, n)
        if ways is not None:
            break
        spans.sort()
        spans = [int(length) for length in random.permutation([spans[0] + spans[1], *spans[2:]])]
    found, at = [], 0
    for length, weights in zip(spans, ways, strict=True):
        sums = np.cumsum(weights[at:])
        start = at + int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
        found.append(start)
        at = start + length + 1
    return found, spans


def _ways(spans: list[int], allowed: np.ndarray, n: int) -> list[np.ndarray] | None:
    """For each span, by its start: in how many ways it and the later ones can lie, up to a factor.

    None if there is no way for all of them.
    """
    later = np.ones(n + 2)  # ways to place the spans after this one from each position on
    found = []
    for length in reversed(spans):
        weights = np.zeros(n + 2)
        last = n - length  # the last start
        weights[: last + 1] = allowed[: last + 1] * later[length + 1 : n + 2]
        most = weights.max()
        if most == 0:
            return None
        weights /= most  # counts of many spans would overflow
        found.append(weights)
        later = np.cumsum(weights[::-1])[::-1]
    return found[::-1]
