"""Words to numbers, and phrases found in texts and among each other, as kernels. Ours.

Texts lie in one uint8 array in UTF-8, in lower case, and end with a newline each. Words are what white space
separates, the white space of Python's `str.split`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.compiled import compiled
from nonet.metrics.porter import PADDING, Bytes, stem_bytes

Integers = NDArray[np.int64]
Numbers = NDArray[np.int32]
Flags = NDArray[np.bool_]

NEWLINE, SPACE = 10, 32
ONE, PRIME, BASIS = (np.uint64(n) for n in (1, 0x9E3779B97F4A7C15, 0xCBF29CE484222325))
SHIFT = np.uint64(29)
FIRST_SLOTS: Any = np.int64(1 << 12)
LONGEST_SHORT = 2  # words of so many letters are their own stem


@compiled
def number_words(data: Bytes, texts: int) -> tuple[Numbers, Integers, Integers]:
    """The number of every word, in order of first occurrence; letters are compared, not hashes alone.

    Args:
        data: uint8, texts that end with a newline each.
        texts: how many there are.

    Returns:
        (words,) int32 numbers; (texts + 1,) int64 offsets of the texts in them; (distinct, 2) int64 begin and
        end of each distinct word's letters in `data`.
    """
    numbers = np.empty(len(data) // 2 + 1, np.int32)
    ends = np.zeros(texts + 1, np.int64)
    spans = np.empty((FIRST_SLOTS, 2), np.int64)
    hashes = np.empty(FIRST_SLOTS, np.uint64)
    slots = np.full(4 * FIRST_SLOTS, -1, np.int32)
    distinct, count, text, at, stop = 0, 0, 0, 0, len(data)
    while at < stop:
        width = _white(data, at, stop)
        if width:
            if data[at] == NEWLINE:
                text += 1
                ends[text] = count
            at += width
            continue
        begin = at
        mixed = BASIS
        while not _white(data, at, stop):  # a newline is always ahead
            mixed = (mixed ^ np.uint64(data[at])) * PRIME
            at += 1
        mixed ^= mixed >> SHIFT
        mask = np.uint64(len(slots) - 1)
        slot = mixed & mask
        word = slots[slot]
        while word >= 0 and not (
            hashes[word] == mixed and _equal(data, spans[word, 0], spans[word, 1], begin, at)
        ):
            slot = (slot + ONE) & mask
            word = slots[slot]
        if word < 0:
            if distinct == len(hashes):
                spans, hashes, slots = _larger(spans, hashes, distinct)
                mask = np.uint64(len(slots) - 1)
                slot = mixed & mask
                while slots[slot] >= 0:
                    slot = (slot + ONE) & mask
            word = np.int32(distinct)
            slots[slot] = word
            hashes[word] = mixed
            spans[word, 0], spans[word, 1] = begin, at
            distinct += 1
        numbers[count] = word
        count += 1
    return numbers[:count].copy(), ends, spans[:distinct].copy()


@compiled
def stem_words(data: Bytes, spans: Integers) -> tuple[Bytes, Flags]:
    """Porter stems (NLTK's variant) of many words.

    Args:
        data: uint8.
        spans: (words, 2) int64, begin and end of each word in `data`.

    Returns:
        The stems in order, a newline after each; and which words hold letters beyond ASCII: those are
        unchanged, for `nonet.metrics.porter.stem`.
    """
    size, longest = 0, 0
    for word in range(len(spans)):
        length = spans[word, 1] - spans[word, 0]
        size += length + 2  # a stem can be one letter longer: hop-ing -> hope, with what ends it
        longest = max(longest, length)
    out = np.empty(size, np.uint8)
    other = np.zeros(len(spans), np.bool_)
    letters = np.zeros(PADDING + longest + 2, np.uint8)
    to = 0
    for word in range(len(spans)):
        begin, length = spans[word, 0], spans[word, 1] - spans[word, 0]
        for i in range(length):
            letters[PADDING + i] = data[begin + i]
            other[word] |= data[begin + i] > 127
        if length > LONGEST_SHORT and not other[word]:
            length = stem_bytes(letters, PADDING, length)
        for i in range(length):
            out[to + i] = letters[PADDING + i]
        to += length
        out[to] = NEWLINE
        to += 1
    return out[:to].copy(), other


@compiled
def match(
    source: Numbers, source_ends: Integers, gold: Numbers, gold_ends: Integers, gold_first: Integers,
    said: Numbers, said_ends: Integers, said_first: Integers, keep_empty: bool,
) -> tuple[Flags, Flags, Flags, Flags, Numbers]:  # fmt: skip
    """Which phrases count, which are present, and which predictions are right.

    Args:
        source: (words,) int32 numbers of the stems of all texts.
        source_ends: int64 offsets of each text in it, one more than there are.
        gold: the same for gold phrases.
        gold_ends: offsets of each phrase in it.
        gold_first: (documents + 1,) int64: the first phrase of each document.
        said: the same for predicted phrases.
        said_ends: see gold_ends.
        said_first: see gold_first.
        keep_empty: whether a phrase without words counts.

    Returns:
        Gold kept, gold present, predicted kept, predicted present (all bool, one a phrase; kept: the first of
        its kind in its document), and the right gold phrase of each prediction, counted over all documents,
        or -1.
    """
    golds, saids = len(gold_ends) - 1, len(said_ends) - 1
    gold_kept, gold_present = np.zeros(golds, np.bool_), np.zeros(golds, np.bool_)
    said_kept, said_present = np.zeros(saids, np.bool_), np.zeros(saids, np.bool_)
    right = np.full(saids, -1, np.int32)
    gold_hash, said_hash = _hashes(gold, gold_ends), _hashes(said, said_ends)
    for document in range(len(source_ends) - 1):
        text = source[source_ends[document] : source_ends[document + 1]]
        _sort_out(text, gold, gold_ends, gold_hash, gold_first[document], gold_first[document + 1],
                  keep_empty, gold_kept, gold_present)  # fmt: skip
        _sort_out(text, said, said_ends, said_hash, said_first[document], said_first[document + 1],
                  keep_empty, said_kept, said_present)  # fmt: skip
        for one in range(said_first[document], said_first[document + 1]):
            if not said_kept[one]:
                continue
            for other in range(gold_first[document], gold_first[document + 1]):
                if (
                    gold_kept[other]
                    and gold_hash[other] == said_hash[one]
                    and _same(
                        said, said_ends[one], said_ends[one + 1], gold, gold_ends[other], gold_ends[other + 1]
                    )
                ):
                    right[one] = other
                    break
    return gold_kept, gold_present, said_kept, said_present, right


@compiled
def alpha_shares(
    serves: Flags, starts: Integers, golds: Integers, saids: Integers, tops: Integers, keep: float
) -> NDArray[np.float64]:
    """Discounted gains with novelty as shares of those of a greedily ordered list.

    Args:
        serves: bool, for each document a table of gold phrases by predictions, row after row.
        starts: (documents,) int64, where each table begins.
        golds: (documents,) int64 rows of each table.
        saids: (documents,) int64 columns of each table.
        tops: (documents, cuts) int64, how many predictions count.
        keep: what a gold phrase is worth the second time, as a share of the first.

    Returns:
        (documents, cuts) shares in 0..1; 0 where nothing serves.
    """
    out = np.zeros(tops.shape)
    for d in range(len(starts)):
        rows, columns = golds[d], saids[d]
        table = serves[starts[d] : starts[d] + rows * columns].reshape((rows, columns))
        left = np.ones(columns, np.bool_)
        worth, best_worth = np.ones(rows), np.ones(rows)
        got, best = np.zeros(columns + 1), np.zeros(columns + 1)
        for rank in range(columns):
            gain, most, chosen = 0.0, -1.0, 0
            for row in range(rows):
                if table[row, rank]:
                    gain += worth[row]
                    worth[row] *= keep
            for column in range(columns):
                if left[column]:
                    sum_here = 0.0
                    for row in range(rows):
                        if table[row, column]:
                            sum_here += best_worth[row]
                    if sum_here > most:
                        most, chosen = sum_here, column
            left[chosen] = False
            for row in range(rows):
                if table[row, chosen]:
                    best_worth[row] *= keep
            discount = np.log2(rank + 2.0)
            got[rank + 1] = got[rank] + gain / discount
            best[rank + 1] = best[rank] + most / discount
        for k in range(tops.shape[1]):
            at = min(tops[d, k], columns)
            if best[at] > 0:
                out[d, k] = got[at] / best[at]
    return out


@compiled
def _white(data: Bytes, at: int, stop: int) -> int:
    """Bytes of the white space that begins here; 0 if there is none."""
    byte = data[at]
    if byte <= SPACE:
        return 1 if byte == SPACE or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte < 0xC2 or at + 1 >= stop:
        return 0
    second = data[at + 1]
    if byte == 0xC2:
        return 2 if second == 0x85 or second == 0xA0 else 0
    if byte < 0xE1 or byte > 0xE3 or at + 2 >= stop:
        return 0
    third = data[at + 2]
    if byte == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if byte == 0xE3:
        return 3 if second == 0x80 and third == 0x80 else 0
    if second == 0x80:
        return 3 if 0x80 <= third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    return 3 if second == 0x81 and third == 0x9F else 0


@compiled
def _equal(data: Bytes, a: int, a_end: int, b: int, b_end: int) -> bool:
    if a_end - a != b_end - b:
        return False
    for i in range(a_end - a):  # noqa: SIM110 (numba has no all() of generators)
        if data[a + i] != data[b + i]:
            return False
    return True


@compiled
def _larger(
    spans: Integers, hashes: NDArray[np.uint64], distinct: int
) -> tuple[Integers, NDArray[np.uint64], Numbers]:
    """Twice the room, filled with the same words."""
    new_spans, new_hashes = np.empty((2 * distinct, 2), np.int64), np.empty(2 * distinct, np.uint64)
    new_spans[:distinct], new_hashes[:distinct] = spans, hashes
    slots = np.full(8 * distinct, -1, np.int32)
    mask = np.uint64(len(slots) - 1)
    for word in range(distinct):
        slot = hashes[word] & mask
        while slots[slot] >= 0:
            slot = (slot + ONE) & mask
        slots[slot] = word
    return new_spans, new_hashes, slots


@compiled
def _hashes(words: Numbers, ends: Integers) -> NDArray[np.uint64]:
    """One number a phrase; unequal numbers mean unequal phrases."""
    out = np.empty(len(ends) - 1, np.uint64)
    for phrase in range(len(out)):
        mixed = BASIS
        for i in range(ends[phrase], ends[phrase + 1]):
            mixed = (mixed ^ np.uint64(words[i] + 1)) * PRIME
        out[phrase] = mixed
    return out


@compiled
def _same(a: Numbers, a_begin: int, a_end: int, b: Numbers, b_begin: int, b_end: int) -> bool:
    if a_end - a_begin != b_end - b_begin:
        return False
    for i in range(a_end - a_begin):  # noqa: SIM110
        if a[a_begin + i] != b[b_begin + i]:
            return False
    return True


@compiled
def _sort_out(
    text: Numbers, words: Numbers, ends: Integers, hashes: NDArray[np.uint64], first: int, last: int,
    keep_empty: bool, kept: Flags, present: Flags,
) -> None:  # fmt: skip
    """Set `kept` and `present` of the phrases of one document."""
    for one in range(first, last):
        begin, end = ends[one], ends[one + 1]
        if begin == end and not keep_empty:
            continue
        new = True
        for other in range(first, one):
            if (
                kept[other]
                and hashes[other] == hashes[one]
                and _same(words, begin, end, words, ends[other], ends[other + 1])
            ):
                new = False
                break
        kept[one] = new
        if new and begin < end:
            present[one] = _occurs(text, words, begin, end)


@compiled
def _occurs(text: Numbers, words: Numbers, begin: int, end: int) -> bool:
    head = words[begin]
    for at in range(len(text) - (end - begin) + 1):
        if text[at] == head and _same(text, at, at + end - begin, words, begin, end):
            return True
    return False
