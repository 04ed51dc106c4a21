"""Pairs of word sets, and what is the same however their words are drawn (ours).

Both sets of a pair have l words, and l follows a Poisson distribution without its zero (Ma et al. 2021,
section 3.2). Every number is drawn from (seed, epoch, document, pair, count): pairs are the same for any
number of workers.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nonet.data.draws import stream, uniform_at

ATTEMPTS = 200  # draws of a pair before a tie is taken as it is
PAIR, CANDIDATE, SHORT = 101, 102, 103  # purposes of random numbers (nonet.data.draws)
UNIT = 2.0**-40  # scores are sums of whole units: the same words add up to the same in any order

Types = NDArray[np.uint32]


class Pair(NamedTuple):
    """Two sets of the same number of words."""

    positive: Types
    """(l,) the store's types, in drawn order"""
    negative: Types
    positive_score: float
    """log-likelihood of the set, in nats (bprop: the sum of its terms' scores)"""
    negative_score: float


@dataclass(frozen=True)
class Tally:
    """What happened while pairs were drawn."""

    pairs: int = 0
    words: int = 0
    """drawn, in both sets"""
    inside: int = 0
    """of them, those that occur in the document"""
    ties: int = 0
    """pairs of equal likelihood, each time one was drawn"""
    unresolved: int = 0
    """pairs that still were equal after `ATTEMPTS` draws"""
    documents: int = 0
    kept: float = 0.0
    """sum over documents of the probability that subsampling keeps a word drawn from P(w|D)"""

    def __add__(self, other: "Tally") -> "Tally":
        names = self.__dataclass_fields__
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class PairBatch:
    """N pairs in flat arrays; `batch[i]` is one of them."""

    offsets: NDArray[np.int64]
    """(N + 1,) the words of pair i, in both arrays, are those from offsets[i] to offsets[i + 1]"""
    positive: Types
    negative: Types
    positive_score: NDArray[np.float64]
    """(N,)"""
    negative_score: NDArray[np.float64]
    """(N,)"""
    tally: Tally

    def __len__(self) -> int:
        return len(self.positive_score)

    def __getitem__(self, i: int) -> Pair:
        i = range(len(self))[i]
        words = slice(self.offsets[i], self.offsets[i + 1])
        return Pair(
            self.positive[words], self.negative[words],
            float(self.positive_score[i]), float(self.negative_score[i]),
        )  # fmt: skip


def length_reach(mean: float) -> NDArray[np.float64]:
    """P(l <= 1), P(l <= 2), ... of a Poisson distribution without its zero, up to 1 in float64.

    For a mean of 3 before the zero is left out, P(l = 1) is 0.157 and the mean 3.157.
    """
    most = int(mean + 12 * math.sqrt(mean) + 40)
    lengths = range(1, most + 1)
    chances = np.exp([k * math.log(mean) - math.lgamma(k + 1) - mean for k in lengths])
    reach = np.cumsum(chances / chances.sum())
    reach[-1] = 1.0
    return reach


@numba.njit(cache=True, error_model="numpy")
def pair_ends(lengths, rows, firsts, each, seed, epoch):
    """(R * each + 1,) where the words of each pair begin, by lengths drawn with its first random number."""
    ends = np.zeros(len(rows) * each + 1, np.int64)
    for r in range(len(rows)):
        numbers = stream(seed, epoch, rows[r], PAIR)
        for j in range(each):
            u, length = uniform_at(numbers, (firsts[r] + j) << 32), 1
            while u >= lengths[length - 1]:
                length += 1
            pair = r * each + j
            ends[pair + 1] = ends[pair] + length
    return ends


@numba.njit(cache=True, error_model="numpy")
def find(reach, size, x):
    """The first of `size` places whose running sum is above x, by halving without branches."""
    low = 0
    while size > 1:
        half = size >> 1
        low += half * (reach[low + half - 1] <= x)  # a product, as `if` would become a branch
        size -= half
    return low


@numba.njit(cache=True, error_model="numpy")
def order(words, scores, pair, first, last):
    """Put the better set of a pair first; of equals it is the second."""
    if scores[0, pair] <= scores[1, pair]:
        scores[0, pair], scores[1, pair] = scores[1, pair], scores[0, pair]
        for k in range(first, last):
            words[0, k], words[1, k] = words[1, k], words[0, k]


@numba.njit(cache=True, error_model="numpy")
def write_forms(model, words, first, last, numbers, at):
    """Replace the words of a pair by types of the store: themselves, or forms of the stems."""
    stems = len(model.forms) > len(model.mass)
    for k in range(first, last):
        for side in range(2):
            w, place = words[side, k], 0
            if stems:
                at += 1
                reach = model.form_reach[model.form_offsets[w] : model.form_offsets[w + 1]]
                place = model.form_offsets[w] + find(reach, len(reach), uniform_at(numbers, at) * reach[-1])
            words[side, k] = model.forms[place if stems else w]
