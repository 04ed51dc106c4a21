"""What one term adds to a document's score: five forms of BM25.

Source: Kamphuis, de Vries, Boytsov and Lin 2020, "Which BM25 do you mean?" (ECIR), table 1, as bm25s writes
them. With N documents, df of them with the term, tf occurrences, length l and mean length L, and
n = 1 - b + b l / L:

    lucene     ln(1 + (N - df + 0.5) / (df + 0.5))           tf / (tf + k1 n)
    robertson  ln((N - df + 0.5) / (df + 0.5)), at least 0   tf / (tf + k1 n)
    atire      ln(N / df)                                    (k1 + 1) tf / (tf + k1 n)
    bm25l      ln((N + 1) / (df + 0.5))                      (k1 + 1) (tf / n + delta) / (k1 + tf / n + delta)
    bm25+      ln((N + 1) / df)                              (k1 + 1) tf / (tf + k1 n) + delta

The last two give something to documents without the term, too; an index holds what the others have on top.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

Variant = Literal["lucene", "robertson", "atire", "bm25l", "bm25+"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Lengths = Literal["lucene", "exact"]

Array = NDArray[np.float64]


def check(variant: str, k1: float, b: float, delta: float) -> None:
    """Refuse settings that no form of BM25 has.

    Raises:
        UserError: unknown form, or a number out of range.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r} is unknown; there are {', '.join(VARIANTS)}")
    if not 0 <= k1 < float("inf"):
        raise UserError(f"k1 is {k1:g}; it is 0 or more")
    if not 0 <= b <= 1:
        raise UserError(f"b is {b:g}; it lies in [0, 1]")
    if not 0 <= delta < float("inf"):
        raise UserError(f"delta is {delta:g}; it is 0 or more")


def rarity(variant: Variant, df: NDArray[np.int64], documents: int) -> Array:
    """The first factor of the table.

    Args:
        variant: form of BM25.
        df: (T,) documents with each term, 1 or more.
        documents: N.

    Returns:
        (T,) float64.
    """
    match variant:
        case "lucene":
            return np.log1p((documents - df + 0.5) / (df + 0.5))
        case "robertson":
            return np.log(np.maximum((documents - df + 0.5) / (df + 0.5), 1.0))
        case "atire":
            return np.log(documents / df)
        case "bm25l":
            return np.log((documents + 1) / (df + 0.5))
        case "bm25+":
            return np.log((documents + 1) / df)


def frequency(variant: Variant, tf: Array, norm: Array, k1: float, delta: float) -> Array:
    """The second factor of the table.

    Args:
        variant: form of BM25.
        tf: (P,) occurrences, 1 or more.
        norm: (P,) n of their documents.
        k1: how late further occurrences stop to count, 0 or more.
        delta: of bm25l and bm25+.

    Returns:
        (P,) float64; for bm25l and bm25+ less `absent`.
    """
    match variant:
        case "lucene" | "robertson":
            return tf / (tf + k1 * norm)
        case "atire" | "bm25+":
            return (k1 + 1) * tf / (tf + k1 * norm)
        case "bm25l":
            scaled = tf / norm + delta
            return (k1 + 1) * scaled / (k1 + scaled) - absent(variant, k1, delta)


def absent(variant: Variant, k1: float, delta: float) -> float:
    """The second factor of a document without the term."""
    match variant:
        case "bm25l":
            return (k1 + 1) * delta / (k1 + delta) if delta else 0.0
        case "bm25+":
            return delta
        case _:
            return 0.0


def norms(lengths: NDArray[np.int64], mean: float, b: float, kept: Lengths) -> Array:
    """N of every document.

    Args:
        lengths: (D,) terms of each document.
        mean: L, of the lengths as counted.
        b: how much length matters, 0 to 1.
        kept: `lucene` rounds lengths as Lucene keeps them, `exact` does not.

    Returns:
        (D,) float64.
    """
    counted = one_byte(lengths) if kept == "lucene" else lengths
    return 1 - b + b * counted.astype(np.float64) / mean


def one_byte(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths as Lucene keeps them, in one byte: exact up to 39, then 24 and four leading bits of the rest.

    `one_byte([39, 41, 100])` is `[39, 40, 96]`. Source: Lucene's `SmallFloat.intToByte4`.

    Args:
        lengths: (D,) 0 or more.

    Returns:
        (D,) int64, never longer.
    """
    rest = np.maximum(lengths - 24, 0)
    dropped = np.maximum(np.frexp(rest.astype(np.float64))[1] - 4, 0)
    return np.where(lengths < 24, lengths, 24 + (rest >> dropped << dropped))
