"""ROUGE counts of many pairs of texts in one pass over their UTF-8 bytes.

Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 2, with the words of
rouge-score 0.1.2. The arrangement is ours: each pair's words are renumbered 0, 1, ... through a hash table
that compares letters, never hashes alone, and everything after that works on small integers.

Terms: the *target* is the reference text, the *prediction* the one to judge. A *line* is a run of tokens
between newlines; lines without tokens change no score and are left out. Word -1 of a prediction is one that
the target lacks.
"""

from typing import Any

import numpy as np

from nonet.metrics.compiled import compiled
from nonet.metrics.porter import PADDING, Bytes, stem_bytes
from nonet.metrics.subsequences import Integers, columns_each, lcs_length, union_hits

SEPARATOR, NEWLINE, TWO_BYTES, THREE_BYTES = 0, 1, 2, 3
# For each byte the lower-case letter or digit that it stands for, or one of these four. The only letters
# beyond ASCII that lower() brings into it are U+0130, which becomes i and a combining dot, and U+212A
# (Kelvin), a k.
CLASSES = np.zeros(256, np.uint8)
for _byte in b"0123456789abcdefghijklmnopqrstuvwxyz":
    CLASSES[_byte] = CLASSES[ord(chr(_byte).upper())] = _byte
CLASSES[ord("\n")] = NEWLINE
CLASSES[0xC4], CLASSES[0xE2] = TWO_BYTES, THREE_BYTES
DOTTED_I, KELVIN = 0xB0, (0x84, 0xAA)  # the bytes that follow those two
SMALL_I, SMALL_K = ord("i"), ord("k")

ZERO: Any = np.int64(0)  # a plain 0 is a type of its own, for which kernels would be compiled once more
ONE, PRIME, BASIS = (np.uint64(n) for n in (1, 0x9E3779B97F4A7C15, 0xCBF29CE484222325))
SHIFT_29, SHIFT_32 = np.uint64(29), np.uint64(32)


@compiled
def count_pairs(
    data: Bytes, spans: Integers, stemmer: bool, longest_ngram: int, lcs: bool, lcs_sum: bool
) -> Integers:
    """Hits and totals of every pair, from which precision, recall and F follow by division.

    Args:
        data: uint8, all texts in UTF-8, one after the other.
        spans: (pairs, 4) int64: target begin and end, prediction begin and end, in bytes of `data`.
        stemmer: whether words of four or more letters are stemmed.
        longest_ngram: n-grams of 1 to this many words are counted; 0 for none.
        lcs: whether to find the LCS of the whole texts.
        lcs_sum: whether to find the union LCS of their lines.

    Returns:
        (pairs, longest_ngram + 2, 3) int64: hits, target total, prediction total. Row n - 1 is n-grams, the
        last but one the LCS, the last the union LCS; rows not asked for are zero.
    """
    pairs = len(spans)
    counts = np.zeros((pairs, longest_ngram + 2, 3), np.int64)
    room = 2  # tokens of the longest text and a spare
    for pair in range(pairs):
        room = max(room, _bound(spans, pair))
    size = 4
    while size < 2 * room:
        size *= 2
    slots = np.full(size, -1, np.int64)  # number + an origin that moves on, so that nothing is ever cleared
    origin = ZERO
    letters = np.zeros(PADDING + 4 * room, np.uint8)
    begins = np.full(room + 1, PADDING, np.int64)  # of distinct target words in `letters`
    keys = np.empty(room, np.int64)
    tokens, lines = np.empty((2, room), np.int64), np.zeros((2, room), np.int64)  # target, prediction
    sizes = np.zeros((2, 2), np.int64)  # how many of them
    target, prediction, target_lines, prediction_lines = tokens[0], tokens[1], lines[0], lines[1]
    target_grams, prediction_grams = np.empty(room, np.int64), np.empty(room, np.int64)
    target_left, prediction_left = np.zeros(room, np.int64), np.zeros(room, np.int64)
    masks = np.zeros(room, np.uint64)
    carries = np.empty(room, np.uint64)
    columns = np.empty(64, np.uint64)

    for pair in range(pairs):
        mask = np.uint64(3)
        while int(mask) + 1 < 2 * _bound(spans, pair):
            mask = (mask << ONE) | ONE
        distinct = ZERO
        for side in range(2):
            sizes[side, 0], distinct, sizes[side, 1] = _read(
                data, spans[pair, 2 * side], spans[pair, 2 * side + 1], stemmer, side == 0,
                letters, begins, distinct, slots, mask, origin, tokens[side], lines[side],
            )  # fmt: skip
        rows, cols, target_count, prediction_count = sizes[0, 0], sizes[1, 0], sizes[0, 1], sizes[1, 1]
        origin += distinct

        target_grams[:rows] = target[:rows]
        prediction_grams[:cols] = prediction[:cols]
        grams = distinct
        for n in range(1, longest_ngram + 1):
            if n > 1:
                grams = _longer(
                    target, target_grams, rows - n + 1, prediction, prediction_grams, cols - n + 1,
                    n, distinct, slots, mask, origin, keys,
                )  # fmt: skip
                origin += grams
            hits = _clipped(target_grams, rows - n + 1, prediction_grams, cols - n + 1, grams, target_left)
            _put(counts, pair, n - 1, hits, max(rows - n + 1, 0), max(cols - n + 1, 0))

        single = target_count <= 1 and prediction_count <= 1  # the union of one LCS is that LCS
        common = 0
        if lcs or (lcs_sum and single):
            common = lcs_length(target, rows, prediction, cols, masks, carries)
        if lcs:
            _put(counts, pair, longest_ngram, common, rows, cols)
        if lcs_sum:
            if not single:
                need = cols * columns_each(target_lines, target_count)
                if need > len(columns):
                    columns = np.empty(need + need // 4, np.uint64)
                common = union_hits(
                    target, target_lines, target_count, prediction, prediction_lines, prediction_count,
                    distinct, target_left, prediction_left, masks, carries, columns,
                )  # fmt: skip
            _put(counts, pair, longest_ngram + 1, common, rows, cols)
    return counts


@compiled
def _bound(spans: Integers, pair: int) -> int:
    """More than the tokens of either text of a pair: a token and what ends it take two bytes."""
    return int(max(spans[pair, 1] - spans[pair, 0], spans[pair, 3] - spans[pair, 2]) // 2 + 2)


@compiled
def _put(counts: Integers, pair: int, row: int, hits: int, target: int, prediction: int) -> None:
    counts[pair, row, 0] = hits
    counts[pair, row, 1] = target
    counts[pair, row, 2] = prediction


@compiled
def _read(
    data: Bytes, at: int, stop: int, stemmer: bool, add: bool, letters: Bytes, begins: Integers,
    distinct: int, slots: Integers, mask: np.uint64, origin: int, tokens: Integers, lines: Integers,
) -> tuple[int, int, int]:  # fmt: skip
    """Tokenise data[at:stop] into word numbers; words not met before get a number if `add`, else -1.

    Fills `tokens` and `lines`, where line k is tokens[lines[k] : lines[k + 1]], and with `add` also `letters`
    and `begins`, where word w is letters[begins[w] : begins[w + 1]].

    Returns:
        How many tokens, distinct words (with those from before) and lines there are.
    """
    count = 0
    line = 0
    begin = begins[distinct]
    end = begin
    while at <= stop:
        kind = CLASSES[data[at]] if at < stop else np.uint8(NEWLINE)
        closes = kind <= THREE_BYTES
        if kind == TWO_BYTES and at + 1 < stop and data[at + 1] == DOTTED_I:
            kind = np.uint8(SMALL_I)  # the combining dot closes the word
        elif kind == THREE_BYTES and at + 2 < stop and (data[at + 1], data[at + 2]) == KELVIN:
            kind = np.uint8(SMALL_K)
            closes = False
            at += 2
        if kind > THREE_BYTES:
            letters[end] = kind
            end += 1
        if closes and end > begin:
            length = end - begin
            if stemmer and length > 3:
                length = stem_bytes(letters, begin, length)
            word, slot = _find(letters, begin, length, begins, slots, mask, origin)
            if word < 0 and add:
                word = distinct
                slots[slot] = origin + word
                begin += length
                distinct += 1
                begins[distinct] = begin
            tokens[count] = word
            count += 1
            end = begin
        if kind == NEWLINE and count > lines[line]:
            line += 1
            lines[line] = count
        at += 1
    return count, distinct, line


@compiled
def _find(
    letters: Bytes, at: int, length: int, begins: Integers, slots: Integers, mask: np.uint64, origin: int
) -> tuple[int, int]:
    """The number of the word letters[at : at + length] or -1, and its slot or the free one it would take."""
    mixed = BASIS
    for i in range(at, at + length):
        mixed = (mixed ^ np.uint64(letters[i])) * PRIME
    slot = (mixed ^ (mixed >> SHIFT_29)) & mask
    while slots[slot] >= origin:
        word = slots[slot] - origin
        first = begins[word]
        same = begins[word + 1] - first == length
        i = 0
        while same and i < length:
            same = letters[first + i] == letters[at + i]
            i += 1
        if same:
            return int(word), int(slot)
        slot = (slot + ONE) & mask
    return -1, int(slot)


@compiled
def _longer(
    target: Integers, target_grams: Integers, rows: int,
    prediction: Integers, prediction_grams: Integers, cols: int,
    n: int, words: int, slots: Integers, mask: np.uint64, origin: int, keys: Integers,
) -> int:  # fmt: skip
    """Turn the numbers of (n-1)-grams into numbers of n-grams, in place.

    An n-gram is its (n-1)-gram and its last word: the pair of numbers is one exact integer. What the target
    lacks becomes -1 in the prediction.

    Returns:
        How many distinct n-grams the target has.
    """
    distinct = 0
    for side in range(2):
        grams, tokens, count = target_grams, target, rows
        if side == 1:
            grams, tokens, count = prediction_grams, prediction, cols
        for i in range(count):
            gram = -1
            if grams[i] >= 0 and tokens[i + n - 1] >= 0:
                key = grams[i] * words + tokens[i + n - 1]
                mixed = np.uint64(key) * PRIME
                slot = (mixed >> SHIFT_32) & mask
                while slots[slot] >= origin and keys[slots[slot] - origin] != key:
                    slot = (slot + ONE) & mask
                if slots[slot] >= origin:
                    gram = slots[slot] - origin
                elif side == 0:
                    gram = distinct
                    keys[gram] = key
                    slots[slot] = origin + gram
                    distinct += 1
            grams[i] = gram
    return distinct


@compiled
def _clipped(
    target: Integers, rows: int, prediction: Integers, cols: int, distinct: int, left: Integers
) -> int:
    """How many tokens of the prediction the target has, each used once."""
    left[:distinct] = 0
    for i in range(rows):
        left[target[i]] += 1
    hits = 0
    for j in range(cols):
        word = prediction[j]
        if word >= 0 and left[word] > 0:
            left[word] -= 1
            hits += 1
    return hits
