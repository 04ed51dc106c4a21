"""Texts that nearly repeat an earlier one, in time linear in their length (ours).

Word 3-grams are hashed to 36 minima; texts that agree in one of 12 bands of 3 minima are compared exactly. A
pair of similarity 0.7 is found with probability 0.993, one of 0.8 with 0.9998 (Broder's minima, banded).
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BANDS, ROWS = 12, 3
LEAST = 0.7
"""Jaccard similarity of the 3-gram sets from which two texts are near duplicates"""
_WORD = re.compile(r"\w+|[^\w\s]+")
Grams = NDArray[np.uint64]


def near_duplicates(texts: Sequence[str], least: float = LEAST) -> list[int]:
    """Which earlier text each one resembles.

    Args:
        texts: any texts; case does not count.
        least: Jaccard similarity, in (0, 1].

    Returns:
        For each text the place of an earlier one that it nearly repeats, or -1. Memory: 8 bytes a word.
    """
    draw = np.random.default_rng(0)
    odd = draw.integers(1 << 63, size=(BANDS * ROWS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    salt = draw.integers(1 << 63, size=3, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    numbers: dict[str, int] = {}
    grams: list[Grams] = []
    buckets: dict[tuple[int, bytes], int] = {}
    found: list[int] = []
    for place, text in enumerate(texts):
        own = _grams(text, numbers, salt)
        minima = _mixed(own * odd).min(axis=1)
        keys = [(band, minima[band * ROWS : (band + 1) * ROWS].tobytes()) for band in range(BANDS)]
        seen = dict.fromkeys(buckets[key] for key in keys if key in buckets)
        like = next((other for other in seen if jaccard(grams[other], own) >= least), -1)
        found.append(like)
        grams.append(own if like < 0 else own[:0])  # only first ones are compared with
        if like < 0:
            for key in keys:
                buckets.setdefault(key, place)
    return found


def jaccard(a: Grams, b: Grams) -> float:
    """Shared members over all members of two sorted sets."""
    shared = np.intersect1d(a, b, assume_unique=True).size
    return float(shared / max(1, a.size + b.size - shared))


def _grams(text: str, numbers: dict[str, int], salt: Grams) -> Grams:
    words = [numbers.setdefault(word, len(numbers) + 1) for word in _WORD.findall(text.casefold())]
    ids = np.array(words + [0] * (3 - len(words)), np.uint64)
    mixed = _mixed(ids[:-2] * salt[0]) + _mixed(ids[1:-1] * salt[1]) + _mixed(ids[2:] * salt[2])
    return np.unique(mixed)


def _mixed(values: Grams) -> Grams:
    """High bits into low ones: a product's low bits depend on low bits only."""
    values = (values ^ (values >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return values ^ (values >> np.uint64(29))
