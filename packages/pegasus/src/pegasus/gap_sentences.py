"""Gap sentences: the principal sentences of a document, found by counting (Zhang et al. 2020, section 3.1).

PEGASUS cuts the sentences out of a document whose ROUGE-1 F1 against the rest of the document is highest. A
selected set S and the rest of the document together are the document, and that turns the formula into a
count (ours). Let D(w) be how often word w occurs in the document, C(w) how often in S, N the number of words
and U that of different words. The overlap counted with repetitions ("Orig") or without ("Uniq") is

    o_orig = sum over w of min(C(w), D(w) - C(w))            F1 = 2 o / N
    o_uniq = number of w with 0 < C(w) < D(w)                F1 = 2 o / (U + o)

so within a document the score is a monotone function of one integer, and adding one occurrence of a word
changes that integer by -1, 0 or 1. Both overlaps are submodular, hence the gain of a sentence never rises
while S grows, and the sequential strategy may keep stale gains as upper bounds and re-count only the
sentence on top (lazy greedy, Minoux 1978): the result is that of the plain greedy search. Neither precision
nor recall nor logarithmic counts have these properties; they are scored in full.

Equal scores are common in short documents. As in the released code the later sentence is taken, unless told
otherwise.
"""

import itertools
import math

import numba
import numpy as np

from nonet.data.draws import below, gauss, shuffled, uniform
from pegasus.counts import add as _add
from pegasus.counts import alone as _alone
from pegasus.counts import best as _best
from pegasus.counts import gain as _gain
from pegasus.counts import score as _score
from pegasus.counts import take_back as _take_back
from pegasus.draws import NOISE, ORDER, RATIO, TASK
from pegasus.options import GapOptions
from pegasus.words import SentenceWords, ngrams

_COUNTING = {"orig": 0, "uniq": 1, "log": 2}
_METRIC = {"f": 0, "precision": 1, "recall": 2}
_SEARCH = {"ind": 0, "seq": 1, "continuous": 2, "lead": 3, "random": 4}
_NOISE = {"none": 0, "uniform": 1, "gauss": 2, "gauss-shared": 3}

TASKS = ("random", "lead", "ind-orig")
"""What the hybrid strategy chooses from; its task tokens are 5, 6 and 7 in this order."""


def gap_count(sentences: np.ndarray, ratio: float | np.ndarray) -> np.ndarray:
    """How many sentences are cut: the product in float32, truncated, at least 1, at most all.

    Args:
        sentences: (B,) integers, sentences in each document.
        ratio: the share to cut, one for all or (B,).

    Returns:
        (B,) int64. For 10 sentences and a ratio of 0.3 it is 3; for none it is 0.
    """
    product = np.asarray(sentences, np.float32) * np.asarray(ratio, np.float32)
    return np.minimum(np.maximum(product, np.float32(1)).astype(np.int64), sentences)


def select(
    words: SentenceWords,
    options: GapOptions,
    *,
    seed: int = 0,
    epoch: int = 0,
    documents: np.ndarray | None = None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Select the gap sentences of a batch of documents.

    Args:
        words: the numbered words of B documents.
        options: strategy, ratio, noise and the rest.
        seed: with `epoch` and a document's number it fixes every draw.
        epoch: pass over the corpus.
        documents: (B,) integers, the documents' numbers in the corpus; by default 0..B-1.

    Returns:
        For each document the selected sentences in document order (int32), and the task (B,) int8: the place
        in `TASKS` under the hybrid strategy, else -1.
    """
    B = len(words.sentence_offsets) - 1
    numbers = np.arange(B) if documents is None else np.asarray(documents, np.int64)
    sentences = np.diff(words.sentence_offsets)
    if options.first_sentences:
        sentences = np.minimum(sentences, options.first_sentences)
    ratio: float | np.ndarray = options.ratio
    if options.ratio_low is not None:
        ratio = _ratios(options.ratio_low, options.ratio, seed, epoch, numbers)
    counts = gap_count(sentences, ratio)
    tasks = np.full(B, -1, np.int8)
    if options.strategy == "none":
        return [np.empty(0, np.int32)] * B, tasks
    if options.strategy == "hybrid":
        tasks = _tasks(seed, epoch, numbers)
        searches, counting = np.array([_SEARCH["random"], _SEARCH["lead"], _SEARCH["ind"]])[tasks], 0
    else:
        search, _, count = options.strategy.partition("-")
        searches, counting = np.full(B, _SEARCH[search]), _COUNTING[count or "orig"]
    if options.ngram > 1:
        words = ngrams(words, options.ngram)
    chosen, _ = _select_batch(
        *words, sentences, counts, searches, counting, _METRIC[options.metric], _NOISE[options.noise],
        options.noise_scale, options.ties == "later", seed, epoch, numbers,
    )  # fmt: skip
    bounds = [0, *np.cumsum(counts).tolist()]
    return [chosen[start:end] for start, end in itertools.pairwise(bounds)], tasks


def importance(words: SentenceWords, options: GapOptions | None = None) -> list[np.ndarray]:
    """ROUGE of each sentence against the rest of its document.

    For "Pegasus is mythical. It is pure white. It names the model. It is a cool name." with all words
    counted it is 0.125, 0.25, 0.125 and 0.25.

    Args:
        words: the numbered words of B documents.
        options: its counting, metric and n-gram size are used; by default "orig", F1 and single words.

    Returns:
        For each document its sentences' scores, float64 in 0..1.
    """
    options = options or GapOptions()
    counting = _COUNTING[options.strategy.partition("-")[2] or "orig"]
    sentences = np.diff(words.sentence_offsets)
    bounds = np.cumsum(sentences)[:-1]
    if options.ngram > 1:
        words = ngrams(words, options.ngram)
    B = len(sentences)
    _, scores = _select_batch(
        *words, sentences, np.minimum(sentences, 1), np.zeros(B, np.int64), counting,
        _METRIC[options.metric], 0, 0.0, True, 0, 0, np.arange(B),
    )  # fmt: skip
    return np.split(scores, bounds) if B else []


# ---------------------------------------------------------------------------------------------- the
# strategies


@numba.njit(cache=True, nogil=True)
def _independent(scores, m, later, out):
    """The m best by their own scores, in document order."""
    taken = np.zeros(len(scores), np.bool_)
    if m * 8 < len(scores) or m < 8:
        for _ in range(m):
            taken[_best(scores, taken, later)] = True
    else:
        order = np.argsort(scores, kind="mergesort")  # stable: among equals the later one comes last
        if later:
            for k in range(m):
                taken[order[len(order) - 1 - k]] = True
        else:
            order = np.argsort(-scores, kind="mergesort")
            for k in range(m):
                taken[order[k]] = True
    _write(taken, out)


@numba.njit(cache=True, nogil=True)
def _most(gains, tally, m, later, out):
    """The m highest of integers from 0 on, in document order, by counting how many have each value.

    The tally is all zeros before and after. Of the equal ones at the limit the later are taken, or the
    earlier.
    """
    if m == 0:
        return
    limit = 0
    for gain in gains:
        tally[gain] += 1
        limit = max(limit, gain)
    above = 0  # how many are over the limit
    while above + tally[limit] < m:
        above += tally[limit]
        limit -= 1
    equal, wanted = tally[limit], m - above
    passed = equal - wanted if later else 0  # equal ones to pass over first
    k = 0
    for i in range(len(gains)):
        gain = gains[i]
        if gain == limit:
            take = passed <= 0 < wanted
            passed -= 1
            wanted -= take
        else:
            take = gain > limit
        if take:
            out[k] = i
            k += 1
    for gain in gains:
        tally[gain] = 0


@numba.njit(cache=True, nogil=True)
def _lazy_greedy(words, ends, n, D, C, uniq, m, later, out):
    """Greedy growth of the set by the gain in overlap; a gain of an earlier round is an upper bound."""
    gains = np.empty(n, np.int64)
    counted = np.zeros(n, np.int64)  # the round in which a gain was counted
    taken = np.zeros(n, np.bool_)
    for i in range(n):
        gains[i] = _try(words[_begin(ends, i) : ends[i]], C, D, uniq)
    for pick in range(m):
        best = _best(gains, taken, later)
        while counted[best] != pick:
            gains[best] = _try(words[_begin(ends, best) : ends[best]], C, D, uniq)
            counted[best] = pick
            best = _best(gains, taken, later)
        taken[best] = True
        _gain(words[_begin(ends, best) : ends[best]], C, D, uniq)
    _write(taken, out)


@numba.njit(cache=True, nogil=True)
def _try(sentence, C, D, uniq):
    gain = _gain(sentence, C, D, uniq)
    _take_back(sentence, C)
    return gain


@numba.njit(cache=True, nogil=True)
def _greedy(words, ends, n, D, C, whole, counting, metric, m, later, out):
    """Greedy growth of the set by its score, every candidate counted in every round."""
    scores = np.empty(n, np.float64)
    taken = np.zeros(n, np.bool_)
    overlap, size, rest = 0.0, 0.0, whole
    for _ in range(m):
        for i in range(n):
            if not taken[i]:
                sentence = words[_begin(ends, i) : ends[i]]
                more = _add(sentence, C, D, counting)
                _take_back(sentence, C)
                scores[i] = _score(overlap + more[0], size + more[1], rest + more[2], counting, metric)
        best = _best(scores, taken, later)
        taken[best] = True
        more = _add(words[_begin(ends, best) : ends[best]], C, D, counting)
        overlap, size, rest = overlap + more[0], size + more[1], rest + more[2]
    _write(taken, out)


@numba.njit(cache=True, nogil=True)
def _continuous(words, ends, n, D, C, whole, counting, metric, m, later, out):
    """The best run of m neighbouring sentences, by a sliding window."""
    best, best_score = 0, -1.0
    overlap, size, rest = 0.0, 0.0, whole
    for last in range(n):
        more = _add(words[_begin(ends, last) : ends[last]], C, D, counting)
        overlap, size, rest = overlap + more[0], size + more[1], rest + more[2]
        if last >= m:  # the sentence that leaves: take it back and count what adding it again would change
            first = words[_begin(ends, last - m) : ends[last - m]]
            _take_back(first, C)
            less = _add(first, C, D, counting)
            _take_back(first, C)
            overlap, size, rest = overlap - less[0], size - less[1], rest - less[2]
        if last >= m - 1:
            score = _score(overlap, size, rest, counting, metric)
            if score > best_score or (later and score == best_score):
                best, best_score = last - m + 1, score
    for k in range(m):
        out[k] = best + k


@numba.njit(cache=True, nogil=True)
def _begin(ends, i):
    return ends[i - 1] if i else 0


@numba.njit(cache=True, nogil=True)
def _write(taken, out):
    k = 0
    for i in range(len(taken)):
        if taken[i]:
            out[k] = i
            k += 1


@numba.njit(cache=True, nogil=True)
def _select_batch(words, word_offsets, sentence_offsets, selectable, counts, searches, counting, metric,
                  noise, noise_scale, later, seed, epoch, numbers):  # fmt: skip
    """The selected sentences of all documents, flat (int32); the scores of the selectable ones (ind)."""
    B = len(selectable)
    chosen = np.empty(counts.sum(), np.int32)
    scores = np.zeros(selectable.sum(), np.float64)
    exact = metric == 0 and counting < 2  # the overlap, an integer, orders the candidates
    types = 0
    for w in words:
        types = max(types, w + 1)
    D, C = np.zeros(types, np.int32), np.zeros(types, np.int32)
    gains = np.empty(selectable.max() if B else 0, np.int64)
    tally = np.zeros(len(words) + 1, np.int32)  # of gains, which are at most the words of a sentence
    at, scored = 0, 0
    for b in range(B):
        n, m = selectable[b], counts[b]
        out, own = chosen[at : at + m], scores[scored : scored + n]
        at, scored = at + m, scored + n
        search, number = searches[b], numbers[b]
        if search == 3:
            for k in range(m):
                out[k] = k
            continue
        if search == 4:
            taken = np.zeros(n, np.bool_)
            for i in shuffled(n, m, seed, epoch, number, ORDER):
                taken[i] = True
            _write(taken, out)
            continue
        first, last = sentence_offsets[b], sentence_offsets[b + 1]
        start = word_offsets[first]
        document, ends = words[start : word_offsets[last]], word_offsets[first + 1 : last + 1] - start
        for w in document:
            D[w] += 1
        top = types if counting else 0
        if counting == 0:
            whole = float(len(document))
        elif counting == 1:
            whole = 0.0
            for w in range(top):
                if D[w]:
                    whole += 1
        else:
            whole = 0.0
            for w in range(top):
                whole += math.log1p(D[w])
        if search == 0:
            for i in range(n):
                sentence = document[_begin(ends, i) : ends[i]]
                if exact:
                    gain = _alone(sentence, D) if counting == 0 else _gain(sentence, C, D, True)
                    gains[i] = gain
                    if (
                        gain > 0
                    ):  # both sides of a partition together: N words, or U different ones and o once more
                        own[i] = 2.0 * gain / (whole + gain * (counting == 1))
                else:
                    more = _add(sentence, C, D, counting)
                    own[i] = _score(more[0], more[1], whole + more[2], counting, metric)
                if not (exact and counting == 0):
                    for w in sentence:
                        C[w] = 0
                if noise == 1:
                    own[i] *= 1 + noise_scale * (2 * uniform(seed, epoch, number, NOISE, i) - 1)
                elif noise == 2:
                    own[i] *= 1 + noise_scale * gauss(seed, epoch, number, NOISE, i)
                elif noise == 3:
                    own[i] *= 1 + noise_scale * gauss(seed, 0, 0, NOISE, i)
            if exact and noise == 0:
                _most(gains[:n], tally, m, later, out)
            else:
                _independent(own, m, later, out)
        elif search == 1 and exact:
            _lazy_greedy(document, ends, n, D, C, counting == 1, m, later, out)
        elif search == 1:
            _greedy(document, ends, n, D, C, whole, counting, metric, m, later, out)
        else:
            _continuous(document, ends, n, D, C, whole, counting, metric, m, later, out)
        for w in document:
            D[w] = 0
            C[w] = 0
    return chosen, scores


@numba.njit(cache=True, nogil=True)
def _ratios(low, high, seed, epoch, numbers):
    out = np.empty(len(numbers), np.float64)
    for b in range(len(numbers)):
        out[b] = low + (high - low) * uniform(seed, epoch, numbers[b], RATIO, 0)
    return out


@numba.njit(cache=True, nogil=True)
def _tasks(seed, epoch, numbers):
    out = np.empty(len(numbers), np.int8)
    for b in range(len(numbers)):
        out[b] = below(3, seed, epoch, numbers[b], TASK, 0)
    return out
