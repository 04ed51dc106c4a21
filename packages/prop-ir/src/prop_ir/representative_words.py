"""Pairs of representative word sets, drawn from a document's language model (Ma et al. 2021, section 3.2).

Two sets of the same number of words are drawn (pairs.py), each word independently, from the document's
subsampled model P(w|D) keep(w) (language_model.py). The set with the larger query likelihood, the sum of
log P(w|D) over its words, is the better one.

The model of a document is a mixture, and drawing from it needs no distribution over the vocabulary (ours):

    P(w|D) keep(w)  ~  c(w, D) keep(w)  +  mu p_C(w) keep(w)

The first term has a place for each different word of the document, found in the running sum of its weights;
the second is the same for all documents, and an alias table draws from it in constant time. The sums of both
are known, so that one uniform number decides between them and within them. Nothing is ever rejected: where
the released code draws until subsampling lets a word through, here the law is that of the words let through.

The released code does not draw from P(w|D) but, "for computational efficiency", from the document's n
different words and 500 - n (n + 100, if there are 500 or more) drawn from p_C, `topk500`. That raises the
share of words from the document from about a half to three quarters.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from nonet.data.draws import stream, uniform_at
from prop_ir.alias import alias_draw
from prop_ir.language_model import LanguageModel
from prop_ir.pairs import (
    ATTEMPTS,
    CANDIDATE,
    PAIR,
    UNIT,
    PairBatch,
    Tally,
    Types,
    find,
    order,
    pair_ends,
    write_forms,
)

CANDIDATES = 500  # words of the document and of the collection together (topk500)
EXACT, TOPK, UNIFORM = range(3)
SAMPLERS = {"exact": EXACT, "topk500": TOPK, "uniform": UNIFORM}


def draw_pairs(
    model: LanguageModel,
    flat: Types,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    firsts: NDArray[np.int64],
    each: int,
    *,
    sampler: str,
    lengths: NDArray[np.float64],
    drop_ties: bool,
    seed: int,
    epoch: int,
    counts: NDArray[np.int32],
) -> PairBatch:
    """Draw pairs for R documents.

    Args:
        model: of the collection.
        flat: the documents' types one document after the other, all of each.
        offsets: (R + 1,) where each begins and ends; each has a word of the vocabulary.
        rows: (R,) the documents' numbers, which random numbers depend on.
        firsts: (R,) number of the first pair of each.
        each: pairs of a document.
        sampler: exact, topk500 or uniform.
        lengths: from `length_reach`.
        drop_ties: draw pairs of equal likelihood again; else the second set is the better one.
        seed: of all draws.
        epoch: likewise.
        counts: (V + 1,) zeros, and zeros again afterwards.

    Returns:
        R * each pairs, document by document.
    """
    drawn, scores, ends, tally = _pairs(
        model, flat, offsets, rows, firsts, each, SAMPLERS[sampler], lengths, drop_ties, seed, epoch, counts
    )
    inside, ties, unresolved = (int(number) for number in tally[:3])
    account = Tally(len(scores[0]), drawn.size, inside, ties, unresolved, len(rows), float(tally[3]))
    return PairBatch(ends, drawn[0], drawn[1], scores[0], scores[1], account)


@numba.njit(cache=True, error_model="numpy")
def _pairs(model, flat, offsets, rows, firsts, each, sampler, lengths, drop_ties, seed, epoch, counts):
    """Words (2, all) and scores (2, pairs), better sets first; the pairs' offsets; the tally."""
    R = len(rows)
    ends = pair_ends(lengths, rows, firsts, each, seed, epoch)
    words = np.empty((2, ends[-1]), np.uint32)
    scores = np.empty((2, R * each), np.float64)
    tally = np.zeros(4, np.float64)
    room = 2 * np.max(offsets[1:] - offsets[:-1]) + CANDIDATES + 100 if R else 0
    support, reach = np.empty(room, np.uint32), np.empty(room, np.float64)

    for r in range(R):
        document = flat[offsets[r] : offsets[r + 1]]
        size = _count_words(document, model.number, counts, support)
        if sampler == TOPK:
            size = _add_candidates(model, support, size, counts, stream(seed, epoch, rows[r], CANDIDATE))
        rest, kept = _law(model, sampler, support[:size], counts, reach)
        tally[3] += kept
        numbers = stream(seed, epoch, rows[r], PAIR)
        scale = 1.0 / (len(document) + model.mu)
        for pair in range(r * each, (r + 1) * each):
            at = (firsts[r] + pair - r * each) << 32
            first, last = ends[pair], ends[pair + 1]
            for _ in range(ATTEMPTS if drop_ties else 1):
                inside = 0
                for side in range(2):
                    score = 0
                    for k in range(first, last):
                        at += 1
                        w = _draw(model.table, support, reach, size, rest, uniform_at(numbers, at))
                        words[side, k] = w
                        count = max(counts[w], 0)
                        score += int(math.log((count + model.mass[w]) * scale) / UNIT)
                        inside += count > 0
                    scores[side, pair] = score * UNIT
                if scores[0, pair] != scores[1, pair]:
                    break
                tally[1] += 1
            else:
                tally[2] += 1
            tally[0] += inside
            order(words, scores, pair, first, last)
            write_forms(model, words, first, last, numbers, at)
        for w in support[:size]:
            counts[w] = 0
    return words, scores, ends, tally


@numba.njit(cache=True, error_model="numpy")
def _count_words(document, number, counts, support):
    """Count a document's words of the vocabulary into `counts`; how many different ones stand in `support`.

    What is left out counts as word V, which is made to look like one met before: so there is no branch, that
    could not be foretold.
    """
    V = len(counts) - 1
    counts[V] = 1
    size = 0
    for t in document:
        w = number[t]
        support[size] = w
        size += counts[w] == 0
        counts[w] += 1
    counts[V] = 0
    return size


@numba.njit(cache=True, error_model="numpy")
def _add_candidates(model, support, size, counts, numbers):
    """Add words drawn from p_C that are new; a count of -1 marks them."""
    draws = CANDIDATES - size if size < CANDIDATES else size + 100
    for k in range(draws):
        w = alias_draw(model.table, uniform_at(numbers, k))
        if counts[w] == 0:
            counts[w] = -1
            support[size] = w
            size += 1
    return size


@numba.njit(cache=True, error_model="numpy")
def _law(model, sampler, support, counts, reach):
    """Fill the running sum of the support's weights; the background's weight, and the share that is kept."""
    total, kept = 0.0, 0.0
    for i in range(len(support)):
        w = support[i]
        if sampler == UNIFORM:
            weight, stays = 1.0, 1.0
        else:
            stays = model.keep[w]
            weight = max(counts[w], 0) + (model.mass[w] if sampler == TOPK else 0.0)
        total += weight
        kept += weight * stays
        reach[i] = kept
    if sampler == EXACT:
        return model.rest, (kept + model.rest) / (total + model.mu)
    return 0.0, kept / total


@numba.njit(cache=True, error_model="numpy")
def _draw(table, support, reach, size, rest, u):
    """One word: of the support by the running sum of weights, or of the background."""
    x = u * (reach[size - 1] + rest)
    if x < reach[size - 1]:
        return support[find(reach, size, x)]
    if rest == 0.0:  # rounded up to the end
        return support[size - 1]
    return np.uint32(alias_draw(table, (x - reach[size - 1]) / rest))
