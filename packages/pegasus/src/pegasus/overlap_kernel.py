"""Which n-grams of many target texts a document has: one pass over its bytes against an inverted index. Ours.

A word is known by a 64-bit hash of its letters (or of its stem's), an n-gram by a hash of its words' hashes.
Two different n-grams that share a hash would count as one; among ten million that happens with a chance of
3e-6.
"""

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.compiled import compiled
from nonet.metrics.porter import PADDING, stem_bytes

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]

BASIS, PRIME, MIX = (np.uint64(n) for n in (0xCBF29CE484222325, 0x100000001B3, 0x9E3779B97F4A7C15))
SHIFT = np.uint64(31)
_WORDS = b"0123456789abcdefghijklmnopqrstuvwxyz"
LOWER = np.zeros(256, np.uint8)  # the lower-case letter or digit that a byte stands for, or 0
for _byte in _WORDS:
    LOWER[_byte] = LOWER[ord(chr(_byte).upper())] = _byte


@compiled
def hash_words(data: Bytes, begin: int, end: int, stem: bool, letters: Bytes, out: Hashes) -> int:
    """Hash the words of data[begin:end] into `out`, and give their number.

    Args:
        data: uint8 text.
        begin: first byte.
        end: byte behind the last.
        stem: hash Porter stems of words of four or more letters.
        letters: room for the longest word behind PADDING zeros.
        out: room for (end - begin + 1) // 2 hashes.
    """
    count = 0
    size = 0
    for i in range(begin, end + 1):
        letter = LOWER[data[i]] if i < end else np.uint8(0)
        if letter:
            letters[PADDING + size] = letter
            size += 1
        elif size:
            length = stem_bytes(letters, PADDING, size) if stem and size > 3 else size
            value = BASIS
            for k in range(PADDING, PADDING + length):
                value = (value ^ np.uint64(letters[k])) * PRIME
            out[count] = value
            count += 1
            size = 0
    return count


@compiled
def hash_grams(words: Hashes, count: int, n: int) -> int:
    """Turn the hashes of `count` words into those of their n-grams, in place; gives their number."""
    grams = max(count - n + 1, 0)
    for i in range(grams):
        value = words[i]
        for k in range(1, n):
            value = (value * MIX) ^ words[i + k]
            value ^= value >> SHIFT
        words[i] = value * MIX
    return grams


@compiled
def hash_texts(data: Bytes, ends: Integers, stem: bool, n: int) -> tuple[Hashes, Integers]:
    """The n-gram hashes of the texts data[ends[t]:ends[t + 1]], and where each text's begin."""
    texts = len(ends) - 1
    longest = 0
    for t in range(texts):
        longest = max(longest, ends[t + 1] - ends[t])
    letters = np.zeros(PADDING + longest + 8, np.uint8)
    grams = np.empty((ends[texts] - ends[0]) // 2 + texts + 1, np.uint64)
    offsets = np.zeros(texts + 1, np.int64)
    at = 0
    for t in range(texts):
        count = hash_words(data, ends[t], ends[t + 1], stem, letters, grams[at:])
        at += hash_grams(grams[at:], count, n)
        offsets[t + 1] = at
    return grams[:at], offsets


@compiled
def fill_table(keys: Hashes, slots: Integers) -> None:
    """Put distinct keys into an open-addressing table: slots[slot] is a key's number, or -1."""
    mask = np.uint64(len(slots) - 1)
    for number in range(len(keys)):
        slot = keys[number] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = number


@compiled
def best_overlap(
    grams: Hashes, offsets: Integers, keys: Hashes, slots: Integers,
    posting_offsets: Integers, posting_targets: Integers, posting_counts: Integers,
    totals: Integers, eligible: NDArray[np.bool_], best: NDArray[np.float64], where: Integers, first: int,
    out: NDArray[np.float64], out_target: Integers,
) -> None:  # fmt: skip
    """Find for every target the document that has most of it, and for every document the target it has most
    of.

    The share is sum over n-grams of min(count in document, count in target) / n-grams of the target: ROUGE-n
    recall.

    Args:
        grams: n-gram hashes of B documents.
        offsets: (B+1,) where each document's begin.
        keys: (K,) distinct n-grams of all targets.
        slots: their table, a power of two long.
        posting_offsets: (K+1,) where the postings of each begin.
        posting_targets: targets that have the n-gram.
        posting_counts: how often.
        totals: (T,) n-grams of each target.
        eligible: (T,) whether a target counts for `out`.
        best: (T,) highest share so far; updated.
        where: (T,) number of that document; updated.
        first: number of the first document.
        out: (B,) highest share of an eligible target in each document; written.
        out_target: (B,) that target, or -1; written.
    """
    mask = np.uint64(len(slots) - 1)
    seen = np.zeros(len(keys), np.int64)
    hits = np.zeros(len(totals), np.int64)
    touched = np.empty(len(keys), np.int64)
    targets = np.empty(len(totals), np.int64)
    for b in range(len(offsets) - 1):
        found = 0
        for i in range(offsets[b], offsets[b + 1]):
            slot = grams[i] & mask
            while slots[slot] >= 0 and keys[slots[slot]] != grams[i]:
                slot = (slot + np.uint64(1)) & mask
            key = slots[slot]
            if key >= 0:
                if seen[key] == 0:
                    touched[found] = key
                    found += 1
                seen[key] += 1
        reached = 0
        for k in range(found):
            key = touched[k]
            for p in range(posting_offsets[key], posting_offsets[key + 1]):
                target = posting_targets[p]
                if hits[target] == 0:
                    targets[reached] = target
                    reached += 1
                hits[target] += min(seen[key], posting_counts[p])
            seen[key] = 0
        out[b] = 0.0
        out_target[b] = -1
        for k in range(reached):
            target = targets[k]
            share = hits[target] / totals[target]
            hits[target] = 0
            if share > best[target]:
                best[target] = share
                where[target] = first + b
            if eligible[target] and (share > out[b] or (share == out[b] and target < out_target[b])):
                out[b] = share
                out_target[b] = target
