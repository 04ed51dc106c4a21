"""How much a text repeats itself, the measures of the released PEGASUS code.

Words are what whitespace separates. `regs1` to `regs3` are the shares of n-grams (counted with multiplicity)
that occur more than once. `regsTCR` is the share of words inside consecutive repeats: spans that are some
words said at least twice in a row; `regsLCR` is the longest such span, whole repeats alone. In

    things are said three times. things are said three times. this is broken broken broken

regsTCR is (10 + 3) / 15 and regsLCR is 10 / 15. The released code misses a repeat whose words repeated
before: in "b b a b b b" it finds the first two words alone, and we find five.
"""

from collections import Counter

import numba
import numpy as np

NAMES = ("regs1", "regs2", "regs3", "regsTCR", "regsLCR")


def repetition(text: str) -> dict[str, float]:
    """The shares `NAMES` of one text, each in 0..1; all 0 for a text without words."""
    words = text.split()
    found = {f"regs{n}": _repeated(words, n) for n in (1, 2, 3)}
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    total, longest = _consecutive(ids)
    size = max(len(words), 1)
    return {**found, "regsTCR": total / size, "regsLCR": longest / size}


def _repeated(words: list[str], n: int) -> float:
    """Share of n-grams that occur more than once."""
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    total = counts.total()
    return sum(count for count in counts.values() if count > 1) / total if total else 0.0


@numba.njit(cache=True, nogil=True)
def _consecutive(words: np.ndarray) -> tuple[int, int]:
    """Words inside consecutive repeats, and the length of the longest one.

    A stretch where words[i] == words[i + n] for at least n places in a row is n words repeated; it and the n
    words after it are inside.
    """
    length = len(words)
    inside = np.zeros(length, np.bool_)
    longest = 0
    for n in range(1, length // 2 + 1):
        same = 0
        for i in range(length - n + 1):
            if i < length - n and words[i] == words[i + n]:
                same += 1
                continue
            if same >= n:
                inside[i - same : i + n] = True
                longest = max(longest, (same + n) // n * n)
            same = 0
    return inside.sum(), longest
