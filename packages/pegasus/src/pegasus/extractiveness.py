"""How much of a summary is copied from its document (Grusky et al. 2018, section 4).

The summary is covered from left to right with fragments that the document has word for word, each as long as
the greedy search of their Figure 3 finds. Coverage is the share of the summary's words inside fragments;
density the mean, over those words, of their fragment's length: sum |f|^2 / |S|; normalised density divides
that by |S| again, so that 1 is a summary that is one run of the document. Words are those of ROUGE,
unstemmed.

The figure's search goes on behind a match instead of at the next word, and so may miss a longer fragment that
begins inside a shorter one (document "a a a b", summary "a a b"); published numbers have that, and so have
these.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np

from nonet.errors import UserError
from pegasus.sentences import words_of_sentences


class Copied(NamedTuple):
    """Three measures of copying."""

    coverage: float
    """0..1"""
    density: float
    """0..words of the summary"""
    normalised: float
    """0..1"""


def extractiveness(documents: Sequence[str], texts: Sequence[Sequence[str]]) -> list[list[Copied]]:
    """How much the texts of each document copy from it.

    Args:
        documents: n documents.
        texts: for each document the texts to measure.

    Returns:
        For each document one `Copied` a text; all 0 for a text without words.

    Raises:
        UserError: the lengths differ.
    """
    if len(documents) != len(texts):
        raise UserError(f"{len(documents)} documents but {len(texts)} lists of texts: they must pair up")
    numbered = words_of_sentences(
        [[document, *own] for document, own in zip(documents, texts, strict=True)], stop_words=False
    )
    found = []
    for i in range(len(documents)):
        words, ends = numbered.document(i)
        starts = [0, *ends.tolist()]
        parts = [words[a:b] for a, b in itertools.pairwise(starts)]
        found.append([_measures(parts[0], part) for part in parts[1:]])
    return found


def _measures(document: np.ndarray, summary: np.ndarray) -> Copied:
    size = len(summary)
    if not size:
        return Copied(0.0, 0.0, 0.0)
    lengths = fragments(document, summary)[:, 1].astype(np.float64)
    density = float((lengths**2).sum()) / size
    return Copied(float(lengths.sum()) / size, density, density / size)


def fragments(document: np.ndarray, summary: np.ndarray) -> np.ndarray:
    """The copied fragments of a summary: (f, 2) int64, where each begins in the summary and its length in
    words.

    Args:
        document: (n,) integers from 0, the document's words by number.
        summary: (m,) integers, the summary's words in the same numbering.
    """
    highest = max(int(document.max(initial=-1)), int(summary.max(initial=-1)))
    return _fragments(document, summary, highest + 1)  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)
def _fragments(document: np.ndarray, summary: np.ndarray, kinds: int) -> np.ndarray:
    """The search of Figure 3, going from a word to its next occurrence by a chain."""
    rows, cols = len(summary), len(document)
    first = np.full(kinds, -1, np.int64)  # first occurrence of each word in the document
    later = np.full(cols, -1, np.int64)  # next occurrence of the same word
    for j in range(cols - 1, -1, -1):
        later[j] = first[document[j]]
        first[document[j]] = j
    found = np.empty((rows, 2), np.int64)
    count = 0
    i = 0
    while i < rows:
        best = 0
        end = 0  # the search goes on here
        j = first[summary[i]]
        while j >= 0:
            if j >= end:
                length = 0
                most = min(rows - i, cols - j)
                while length < most and summary[i + length] == document[j + length]:
                    length += 1
                best = max(best, length)
                end = j + length
            j = later[j]
        if best:
            found[count, 0] = i
            found[count, 1] = best
            count += 1
        i += max(best, 1)
    return found[:count]
