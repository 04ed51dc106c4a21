"""The counts behind the importance of sentences: what a sentence adds to a growing set (see gap_sentences).

Shapes: words (W,) int32, the words of one sentence; C and D (types,) integers, how often each word of the
document occurs in the set and in the whole document. Counting is 0 with repetitions, 1 without, 2 by
log(1 + count); the metric is 0 for F1, 1 for precision, 2 for recall.
"""

import math

import numba


@numba.njit(cache=True, nogil=True)
def gain(words, C, D, uniq):
    """Add a sentence's words to the counts C of the set; the change of the overlap, an integer."""
    gain = 0
    if uniq:
        for w in words:
            x, d = C[w], D[w]
            gain += (x == 0 and d > 1) - (x > 0 and x + 1 == d)
            C[w] = x + 1
    else:
        for w in words:
            x = C[w]
            half = 2 * x + 1 - D[w]
            gain += (half < 0) - (half > 0)
            C[w] = x + 1
    return gain


@numba.njit(cache=True, nogil=True)
def alone(words, D):
    """The overlap ("orig") of one sentence with the rest: `gain` from nothing, in one array.

    For the time being D holds D - 2 C, whose sign around 1 is the change by one more occurrence.
    """
    gain = 0
    for w in words:
        left = D[w]
        gain += (left > 1) - (left < 1)
        D[w] = left - 2
    for w in words:
        D[w] += 2
    return gain


@numba.njit(cache=True, nogil=True)
def add(words, C, D, counting):
    """Add a sentence's words to the counts C; the changes of overlap, set and rest size in any counting."""
    overlap, size, rest = 0.0, 0.0, 0.0
    for w in words:
        x, d = C[w], D[w]
        if counting == 0:
            if 2 * (x + 1) <= d:
                overlap += 1
            elif 2 * x + 1 != d:
                overlap -= 1
            size += 1
            rest -= 1
        elif counting == 1:
            if x == 0:
                size += 1
                if d > 1:
                    overlap += 1
            elif x + 1 == d:
                overlap -= 1
            if x + 1 == d:
                rest -= 1
        else:
            overlap += min(math.log1p(x + 1), math.log1p(d - x - 1)) - min(math.log1p(x), math.log1p(d - x))
            size += math.log1p(x + 1) - math.log1p(x)
            rest += math.log1p(d - x - 1) - math.log1p(d - x)
        C[w] = x + 1
    return overlap, size, rest


@numba.njit(cache=True, nogil=True)
def take_back(words, C):
    """Undo what `add` or `gain` did to the counts C."""
    for w in words:
        C[w] -= 1


@numba.njit(cache=True, nogil=True)
def score(overlap, size, rest, counting, metric):
    """ROUGE of a set against the rest of its document, from its overlap and the two sizes."""
    least = 0.1 if counting == 2 else 1.0  # the released code's guard against an empty side
    size, rest = max(size, least), max(rest, least)
    if metric == 1:
        return overlap / size
    if metric == 2:
        return overlap / rest
    return 2.0 * overlap / (size + rest)


@numba.njit(cache=True, nogil=True)
def best(values, taken, later):
    """The place of the highest value that is not taken."""
    best = -1
    for i in range(len(values)):
        if not taken[i] and (best < 0 or values[i] > values[best] or (later and values[i] == values[best])):
            best = i
    return best
