"""Longest common subsequences of token numbers, and the summary-level union of them that ROUGE-Lsum counts.

Sources: Hyyro 2004, "Bit-parallel LCS-length computation revisited", 64 rows of the table at a time; Lin
    2004,
section 3.2, for the union, with the choice between equally long subsequences and the limit on repeated words
that rouge-score 0.1.2 has. Walking back in bit vectors is ours.

Terms: t[i][j] is the LCS length of the first i target tokens (rows) and the first j prediction tokens. A
    *column*
holds 64 rows in the bits of one integer: the bit of target token i after prediction token j is 0 where
t[i + 1][j + 1] - t[i][j + 1] = 1. Token -1 matches nothing. A *mask* has the bits of the rows where a word
stands.
"""

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.compiled import compiled

Integers = NDArray[np.int64]
Bits = NDArray[np.uint64]

ONE, ALL = np.uint64(1), np.uint64(2**64 - 1)


@compiled
def lcs_length(
    target: Integers, rows: int, prediction: Integers, cols: int, masks: Bits, carries: Bits
) -> int:
    """Length of the longest common subsequence of target[:rows] and prediction[:cols].

    Args:
        target: int64, numbers from 0.
        rows: how many there are.
        prediction: int64, numbers of the target's words or -1.
        cols: how many there are.
        masks: uint64 for each word, zero before and after.
        carries: uint64, room for `cols`; overwritten.

    Returns:
        The length, 0..min(rows, cols).
    """
    length = 0
    carries[:cols] = 0
    for first in range(0, rows, 64):
        last = min(first + 64, rows)
        for i in range(first, last):
            masks[target[i]] |= ONE << np.uint64(i - first)
        column = ALL
        for j in range(cols):
            if prediction[j] >= 0:
                column, carries[j] = _advance(column, masks[prediction[j]], carries[j])
        for i in range(first, last):
            masks[target[i]] = 0
            length += int((~column >> np.uint64(i - first)) & ONE)
    return length


@compiled
def columns_each(lines: Integers, count: int) -> int:
    """Columns that `union_hits` keeps for each token of the prediction: one for 64 tokens of the longest
    line."""
    longest = 0
    for k in range(count):
        longest = max(longest, lines[k + 1] - lines[k])
    return (longest + 63) // 64


@compiled
def union_hits(
    target: Integers, target_lines: Integers, target_count: int,
    prediction: Integers, prediction_lines: Integers, prediction_count: int, distinct: int,
    target_left: Integers, prediction_left: Integers, masks: Bits, carries: Bits, columns: Bits,
) -> int:  # fmt: skip
    """Target tokens in the union of their line's LCS with every line of the prediction.

    Of several longest subsequences that counts which a walk back from the end meets: a match is taken;
    otherwise it goes one column back if the LCS is longer there than one row back (that is, if the bit is 0),
    else one row back. No word counts more often than it occurs in the target, nor than in the prediction.

    Args:
        target: int64 word numbers from 0; line k is target[target_lines[k] : target_lines[k + 1]].
        target_lines: int64, where lines begin, and the end.
        target_count: lines of the target.
        prediction: int64 numbers of the target's words or -1.
        prediction_lines: as of the target.
        prediction_count: lines of the prediction.
        distinct: words of the target.
        target_left: int64, room for `distinct`; overwritten.
        prediction_left: the same.
        masks: uint64 for each word, zero before and after.
        carries: uint64, room for either text's tokens; overwritten.
        columns: uint64, room for the prediction's tokens times `columns_each`; overwritten.

    Returns:
        The number of such tokens.
    """
    rows, cols = target_lines[target_count], prediction_lines[prediction_count]
    target_left[:distinct] = 0
    prediction_left[:distinct] = 0
    for i in range(rows):
        target_left[target[i]] += 1
    for j in range(cols):
        if prediction[j] >= 0:
            prediction_left[prediction[j]] += 1
    hits = 0
    for k in range(target_count):
        first, last = target_lines[k], target_lines[k + 1]
        _columns(target, first, last, prediction, prediction_lines, prediction_count, masks, carries, columns)
        for i in range(first, last):
            carries[i - first] = 0  # from here on: whether target token i is in the union
        for line in range(prediction_count):
            i, j = last - first - 1, prediction_lines[line + 1] - 1
            while i >= 0 and j >= prediction_lines[line]:
                if target[first + i] == prediction[j]:
                    carries[i] = 1
                    i -= 1
                    j -= 1
                elif (columns[(i >> 6) * cols + j] >> np.uint64(i & 63)) & ONE:
                    i -= 1
                else:
                    j -= 1
        for i in range(first, last):
            word = target[i]
            if carries[i - first] and target_left[word] > 0 and prediction_left[word] > 0:
                hits += 1
                target_left[word] -= 1
                prediction_left[word] -= 1
    return hits


@compiled
def _columns(
    target: Integers, first: int, last: int, prediction: Integers, lines: Integers, count: int,
    masks: Bits, carries: Bits, columns: Bits,
) -> None:  # fmt: skip
    """Fill columns[block * tokens + j] for target[first:last] against each line of the prediction."""
    cols = lines[count]
    carries[:cols] = 0
    for block in range((last - first + 63) // 64):
        low = first + 64 * block
        high = min(low + 64, last)
        for i in range(low, high):
            masks[target[i]] |= ONE << np.uint64(i - low)
        for line in range(count):
            column = ALL
            for j in range(lines[line], lines[line + 1]):
                if prediction[j] >= 0:
                    column, carries[j] = _advance(column, masks[prediction[j]], carries[j])
                columns[block * cols + j] = column
        for i in range(low, high):
            masks[target[i]] = 0


@compiled
def _advance(column: np.uint64, matches: np.uint64, carry: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The next column, and the carry into the next 64 rows."""
    up = column & matches
    half = column + up
    whole = half + carry
    carried = (ONE if half < column else np.uint64(0)) | (ONE if whole < half else np.uint64(0))
    return whole | (column & ~matches), carried
