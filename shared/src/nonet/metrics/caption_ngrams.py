"""Word sequences of captions as numbers: the counts that CIDEr and BLEU share (ours).

Words become integers, and so do the sequences of n words: that of n - 1 words times the size of the
vocabulary, plus the last word, numbered anew. Counts are then runs of equal numbers in a sorted array.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Grams(NamedTuple):
    """How often each sequence of n words stands in each text, ordered by text and then sequence.

    Attributes:
        text: number of the text.
        gram: number of the sequence, below `total`.
        times: how often.
        total: how many sequences there are in all texts.
        first: where each sequence begins for the first time, a place in the joined texts.
    """

    text: Integers
    gram: Integers
    times: Integers
    total: int
    first: Integers


class Texts:
    """Texts whose sequences can be counted."""

    def __init__(self, texts: Sequence[Sequence[str]]):
        """Number the words of texts."""
        known: dict[str, int] = {}
        number = known.setdefault
        self.lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        total = int(self.lengths.sum())
        every = chain.from_iterable(texts)
        self.words = np.fromiter((number(word, len(known)) for word in every), np.int64, total)
        self.names = list(known)

    def grams(self, longest: int) -> Iterator[Grams]:
        """Counts of sequences of 1 to `longest` words."""
        text = np.repeat(np.arange(len(self.lengths)), self.lengths)
        left = np.repeat(np.cumsum(self.lengths), self.lengths) - np.arange(len(self.words))
        size = max(len(self.names), 1)
        at = np.arange(len(self.words))  # where sequences begin
        key = self.words
        for n in range(1, longest + 1):
            if n > 1:
                fits = left[at] >= n
                at = at[fits]
                key = key[fits] * size + self.words[at + n - 1]
            found, gram = np.unique(key, return_inverse=True)
            first = np.zeros(len(found), np.int64)
            first[gram[::-1]] = at[::-1]  # of several places the one written last, so the first, stays
            total = max(len(found), 1)
            pair, count = np.unique(text[at] * total + gram, return_counts=True)
            yield Grams(pair // total, pair % total, count, total, first)
            key = gram

    def sequence(self, place: int, n: int) -> tuple[str, ...]:
        """The n words from a place on."""
        return tuple(self.names[word] for word in self.words[place : place + n].tolist())


def look_up(keys: Integers, values: Integers, wanted: Integers) -> Integers:
    """The values of the wanted keys, 0 where there is none; `keys` are in order."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
