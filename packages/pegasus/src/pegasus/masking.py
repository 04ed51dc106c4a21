"""From a document and its gap sentences to an input and a target (Zhang et al. 2020, section 3).

The target is the cut sentences in document order, without separators; the input is the document in which
each of them is replaced by one mask token, or left standing, removed, or exchanged for a random sentence of
the document. Optionally whole words of the input are then masked for masked language modelling. All of it
happens on ids: the text `<mask_1>` in a document never becomes a mask.
"""

from typing import NamedTuple

import numba
import numpy as np

from nonet.data.draws import below, shuffled, uniform
from pegasus.draws import GAP, GAP_SOURCE, WORD, WORD_ORDER, WORD_PIECE
from pegasus.options import MaskOptions

PAD, EOS, MASK_SENTENCE, MASK_WORD, FIRST_TASK, FIRST_PIECE = 0, 1, 2, 3, 5, 105
IGNORE = -100
"""the label of a position that has none, as in `torch.nn.functional.cross_entropy`"""


class Example(NamedTuple):
    """One pre-training example."""

    input_ids: np.ndarray
    """(L,) int32, ends in EOS unless cut without it"""
    target_ids: np.ndarray
    """(T,) int32, the cut sentences and EOS"""
    word_labels: np.ndarray
    """(L,) int32, the original id at each masked word's pieces, else -100"""
    lost: tuple[int, int]
    """tokens of the input and of the target beyond their limits"""


def build(
    pieces: np.ndarray,
    ends: np.ndarray,
    chosen: np.ndarray,
    options: MaskOptions,
    starts_word: np.ndarray,
    *,
    task: int = -1,
    seed: int = 0,
    epoch: int = 0,
    document: int = 0,
) -> Example:
    """Cut the chosen sentences out of a document.

    Args:
        pieces: (P,) int32, the ids of all sentences, each encoded by itself, without EOS.
        ends: (n,) integers, the end of each sentence in `pieces`.
        chosen: the gap sentences, ascending.
        options: shares, lengths, word masking.
        starts_word: (V,) bool, which ids begin a word; its length is the vocabulary size.
        task: place of the task token (hybrid strategy), or -1 for none.
        seed: with `epoch` and `document` it fixes every draw.
        epoch: pass over the corpus.
        document: the document's number in the corpus.
    """
    inputs, target, labels = _build(
        pieces, np.asarray(ends, np.int64), np.asarray(chosen, np.int64), starts_word, task,
        options.mask, options.mask + options.random, options.mask + options.random + options.intact + 1e-9,
        options.words, options.word_mask, options.word_mask + options.word_random, seed, epoch, document,
    )  # fmt: skip
    lost = max(0, len(inputs) - options.max_input), max(0, len(target) - options.max_target)
    return Example(
        cut(inputs, options.max_input, options.end_cut_inputs),
        cut(target, options.max_target, options.end_cut_targets),
        labels[: options.max_input]
        if not lost[0] or not options.end_cut_inputs
        else _without_last(labels, options.max_input),
        lost,
    )


def cut(ids: np.ndarray, limit: int, end: bool) -> np.ndarray:
    """The first `limit` ids of a sequence that ends in EOS; with `end` a shortened one ends in EOS too."""
    if len(ids) <= limit:
        return ids
    short = ids[:limit].copy()
    if end:
        short[-1] = EOS
    return short


def _without_last(labels: np.ndarray, limit: int) -> np.ndarray:
    short = labels[:limit].copy()
    short[-1] = IGNORE
    return short


@numba.njit(cache=True, nogil=True)
def _build(pieces, ends, chosen, starts_word, task, to_mask, to_random, to_intact,
           words, word_mask, word_random, seed, epoch, document):  # fmt: skip
    n = len(ends)
    source = np.arange(n)  # what stands in place of each sentence: a sentence, or
    masked, removed = -1, -2
    T = 1
    for k in range(len(chosen)):
        i = chosen[k]
        T += ends[i] - (ends[i - 1] if i else 0)
        draw = uniform(seed, epoch, document, GAP, k)
        if draw < to_mask:
            source[i] = masked
        elif draw < to_random:
            source[i] = source[below(n, seed, epoch, document, GAP_SOURCE, k)]
        elif draw >= to_intact:
            source[i] = removed

    target = np.empty(T, np.int32)
    at = 0
    for i in chosen:
        for p in range(ends[i - 1] if i else 0, ends[i]):
            target[at] = pieces[p]
            at += 1
    target[at] = EOS

    L = 1 + (task >= 0)
    for i in range(n):
        j = source[i]
        if j >= 0:
            L += ends[j] - (ends[j - 1] if j else 0)
        elif j == masked:
            L += 1
    inputs = np.empty(L, np.int32)
    at = 0
    if task >= 0:
        inputs[0] = FIRST_TASK + task
        at = 1
    for i in range(n):
        j = source[i]
        if j >= 0:
            for p in range(ends[j - 1] if j else 0, ends[j]):
                inputs[at] = pieces[p]
                at += 1
        elif j == masked:
            inputs[at] = MASK_SENTENCE
            at += 1
    inputs[at] = EOS
    return (
        inputs,
        target,
        _mask_words(inputs, starts_word, words, word_mask, word_random, seed, epoch, document),
    )


@numba.njit(cache=True, nogil=True)
def _mask_words(inputs, starts_word, words, word_mask, word_random, seed, epoch, document):
    """Mask whole words of the input in place; a word runs up to the first piece of the next."""
    L = len(inputs)
    labels = np.full(L, IGNORE, np.int32)
    if words == 0:
        return labels
    begins = np.empty(L + 1, np.int64)
    count = 0
    for p in range(L):
        if inputs[p] >= FIRST_PIECE and (starts_word[inputs[p]] or p == 0 or inputs[p - 1] < FIRST_PIECE):
            begins[count] = p
            count += 1
    if count == 0:
        return labels
    vocabulary = len(starts_word)
    take = min(count, max(1, int(count * words)))
    for w in shuffled(count, take, seed, epoch, document, WORD_ORDER):
        draw = uniform(seed, epoch, document, WORD, w)
        p = begins[w]
        while True:
            labels[p] = inputs[p]
            if draw < word_mask:
                inputs[p] = MASK_WORD
            elif draw < word_random:
                inputs[p] = FIRST_PIECE + below(
                    vocabulary - FIRST_PIECE, seed, epoch, document, WORD_PIECE, p
                )
            p += 1
            if p == L or inputs[p] < FIRST_PIECE or (w + 1 < count and p == begins[w + 1]):
                break
    return labels
