"""BLEU (Papineni et al. 2002) up to four words, with the tokens and the smoothing of the released PEGASUS
code.

Tokens are those of mteval's international tokenisation: punctuation is split off unless it stands beside a
digit, symbols always, by Unicode category; case is kept. Where n-grams of some length have no match, the k-th
such length counts 1 / (2^k total) ("exp" smoothing of mteval). A text shorter than four tokens, or without
any common word, scores 0.

The released code reports the mean of sentence scores, which for short summaries says little; the score over
the whole corpus, as the paper of BLEU defines it, is here as well.
"""

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDER = 4  # longest n-gram, in tokens
COLUMNS = 2 * ORDER + 2  # hits of each order, totals of each order, prediction's length, reference's length

Counts = NDArray[np.int64]


def tokens(text: str) -> list[str]:
    """International tokens: `tokens("At $3.50, so.")` is `["At", "$", "3.50", ",", "so", "."]`."""
    behind, before, symbol = _rules()
    text = behind.sub(r"\1 \2 ", text)
    text = before.sub(r" \1 \2", text)
    return symbol.sub(r" \1 ", text).split()


def counts(references: Sequence[str], prediction: str) -> Counts:
    """(COLUMNS,) integers of one prediction; those of a corpus are the sum.

    Hits are clipped by the highest count in any reference; the reference's length is that nearest to the
    prediction's, the shorter of two equally near.
    """
    said = tokens(prediction)
    known = [tokens(reference) for reference in references]
    out = np.zeros(COLUMNS, np.int64)
    for n in range(1, ORDER + 1):
        allowed: Counter[tuple[str, ...]] = Counter()
        for words in known:
            allowed |= _grams(words, n)
        grams = _grams(said, n)
        out[n - 1] = (grams & allowed).total()
        out[ORDER + n - 1] = max(len(said) - n + 1, 0)
    out[-2] = len(said)
    out[-1] = min((abs(len(words) - len(said)), len(words)) for words in known)[1]
    return out


def score(total: Counts) -> float:
    """BLEU in 0..1 from counts: those of one prediction, or their sum over a corpus."""
    hits, totals = total[:ORDER], total[ORDER : 2 * ORDER]
    if not hits.any() or not totals.all():
        return 0.0
    precisions, halved = [], 1
    for hit, of in zip(hits.tolist(), totals.tolist(), strict=True):
        if not hit:
            halved *= 2
        precisions.append(hit / of if hit else 1 / (halved * of))
    said, known = float(total[-2]), float(total[-1])
    brevity = 1.0 if said >= known else float(np.exp(1 - known / said))
    return brevity * float(np.exp(np.mean(np.log(precisions))))


def _grams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


@functools.cache
def _rules() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    ranges: dict[str, list[str]] = {"P": [], "N": [], "S": []}
    last, start = "", 0
    for code in range(sys.maxunicode + 2):
        kind = unicodedata.category(chr(code))[0] if code <= sys.maxunicode else ""
        if kind == last:
            continue
        if last in ranges:
            ranges[last].append(f"\\U{start:08x}-\\U{code - 1:08x}")
        last, start = kind, code
    punctuation, number, symbols = ("".join(ranges[kind]) for kind in "PNS")
    return (
        re.compile(f"([^{number}])([{punctuation}])"),
        re.compile(f"([{punctuation}])([^{number}])"),
        re.compile(f"([{symbols}])"),
    )
