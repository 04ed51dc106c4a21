"""The words of documents as numbers, which is all that the importance of their sentences is counted from."""

from typing import NamedTuple

import numpy as np

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her
    hers herself it its itself they them their theirs themselves what which who whom this that these
    those am is are was were be been being have has had having do does did doing a an the and but if or
    because as until while of at by for with about against between into through during before after
    above below to from up down in out on off over under again further then once here there when where
    why how all any both each few more most other some such no nor not only own same so than too very s
    t can will just don should now
    """.split()
)
"""The 127 English words that PEGASUS leaves out of the importance of a sentence."""


class SentenceWords(NamedTuple):
    """The words of a batch of documents as numbers.

    Words are numbered from 0 within each document, in order of first appearance; words that do not count
    (stop-words) are absent. All offsets are cumulative over the batch, so that every level is one flat array.
    """

    words: np.ndarray
    """(W,) int32, the number of each word within its document"""
    word_offsets: np.ndarray
    """(S+1,) int64; sentence s has words[word_offsets[s]:word_offsets[s+1]]"""
    sentence_offsets: np.ndarray
    """(B+1,) int64; document b has sentences sentence_offsets[b]:sentence_offsets[b+1]"""

    def document(self, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Document b alone: its words (int32) and the end of each of its sentences in them (int64)."""
        first, last = self.sentence_offsets[b], self.sentence_offsets[b + 1]
        ends = self.word_offsets[first : last + 1]
        return self.words[ends[0] : ends[-1]], ends[1:] - ends[0]


def ngrams(words: SentenceWords, n: int) -> SentenceWords:
    """The n-grams of each sentence, numbered per document, and those across sentences as one more sentence.

    The extra one stands at the end and cannot be selected: its n-grams always stay in the rest.
    """
    grams: list[int] = []
    gram_offsets, sentence_offsets = [0], [0]
    for b in range(len(words.sentence_offsets) - 1):
        document, ends = words.document(b)
        numbers: dict[tuple[int, ...], int] = {}
        across: list[int] = []
        items, start, limits = document.tolist(), 0, ends.tolist()
        for end in limits:
            for i in range(start, end):
                gram = tuple(items[i : i + n])
                if len(gram) == n:
                    inside = i + n <= end
                    (grams if inside else across).append(numbers.setdefault(gram, len(numbers)))
            gram_offsets.append(len(grams))
            start = end
        grams.extend(across)
        gram_offsets.append(len(grams))
        sentence_offsets.append(len(gram_offsets) - 1)
    return SentenceWords(
        np.array(grams, np.int32), np.array(gram_offsets, np.int64), np.array(sentence_offsets, np.int64)
    )
