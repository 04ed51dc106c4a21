"""SemF1: how close in meaning predicted keyphrases are to gold ones.

Source: Wu et al. 2023 (EMNLP, DeSel) and KPEval (Wu et al. 2024), semantic matching. Precision of a document
is the mean over its predictions of the largest cosine to a gold phrase, recall the mean over its gold phrases
of the largest cosine to a prediction; phrases with the same stems count 1, and cosines below a threshold 0.
SemF1 is the mean of the documents' F1; a document without predictions or gold phrases has 0. The encoder is
the user's; KPEval's is `uclanlp/keyphrase-mpnet-v1`.

There each document is encoded by a call of its own; here every distinct phrase of the corpus is encoded once,
phrases of like length together. There, too, equal stems are overlooked in recall, as a list is looked up in a
list of strings; `legacy` does that as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.keyphrase_matches import Matches

Floats = NDArray[np.float64]
Encode = Callable[[list[str]], ArrayLike]
"""(phrases, width) vectors of phrases, not all zero; they need not have length 1"""

BATCH = 256  # phrases in one call of the encoder


@dataclass(frozen=True)
class SemanticScores:
    """One number a document, each at most 1."""

    precision: Floats
    recall: Floats
    f1: Floats
    encoded: int
    """distinct phrases"""

    @property
    def semf1(self) -> float:
        """The mean of the documents' F1; 0 without documents."""
        return float(self.f1.mean()) if len(self.f1) else 0.0


def semantic_scores(
    matches: Matches,
    gold: Sequence[Sequence[str]],
    said: Sequence[Sequence[str]],
    encode: Encode,
    *,
    threshold: float = 0.0,
    legacy: bool = False,
    batch: int = BATCH,
) -> SemanticScores:
    """SemF1 of the predictions that count; a phrase without words never does.

    Args:
        matches: what `find_matches` found for the same lists.
        gold: for each document its gold phrases.
        said: for each document its predictions.
        encode: gives the vectors of a list of phrases.
        threshold: cosines below it count 0.
        legacy: as KPEval's code, without the 1 for equal stems in recall.
        batch: phrases in one call of `encode`.

    Raises:
        UserError: the encoder gives another number of vectors, or numbers that are not finite.
    """
    numbers: dict[str, int] = {}
    gold_ids = [_kept(gold, matches.gold_first, matches.gold_kept, d, numbers) for d in range(len(matches))]
    said_ids = [_kept(said, matches.said_first, matches.said_kept, d, numbers) for d in range(len(matches))]
    vectors = _vectors(list(numbers), encode, batch)
    found = np.zeros((len(matches), 3))
    for d, (golds, saids) in enumerate(zip(gold_ids, said_ids, strict=True)):
        if not golds or not saids:
            continue
        close = vectors[[i for _, i in saids]] @ vectors[[i for _, i in golds]].T
        close = np.where(close < threshold, 0.0, close)
        right = matches.right[[place for place, _ in saids]]
        same = right[:, None] == np.array([place for place, _ in golds])[None, :]
        shortcut = np.where(same, 1.0, close)
        p = shortcut.max(axis=1).mean()
        r = (close if legacy else shortcut).max(axis=0).mean()
        found[d] = p, r, 2 * p * r / (p + r) if p + r > 0 else 0.0
    return SemanticScores(found[:, 0], found[:, 1], found[:, 2], len(numbers))


def _kept(
    lists: Sequence[Sequence[str]],
    first: NDArray[np.int64],
    kept: NDArray[np.bool_],
    document: int,
    numbers: dict[str, int],
) -> list[tuple[int, int]]:
    """Place among all phrases, and number of the spelling, of each phrase of a document that counts."""
    found = []
    for place, phrase in zip(range(first[document], first[document + 1]), lists[document], strict=False):
        text = " ".join(phrase.lower().split())
        if kept[place] and text:
            found.append((place, numbers.setdefault(text, len(numbers))))
    return found


def _vectors(phrases: list[str], encode: Encode, batch: int) -> Floats:
    """(phrases, width) vectors of length 1."""
    if not phrases:
        return np.zeros((0, 1))
    order = sorted(range(len(phrases)), key=lambda i: len(phrases[i]))
    out: Floats | None = None
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        part = np.asarray(encode([phrases[i] for i in chosen]), np.float64)
        if part.ndim != 2 or len(part) != len(chosen):
            raise UserError(
                f"the encoder gave shape {part.shape} for {len(chosen)} phrases: a vector for each"
            )
        if not np.isfinite(part).all():
            raise UserError("the encoder gave numbers that are not finite")
        if out is None:
            out = np.empty((len(phrases), part.shape[1]))
        out[chosen] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
    assert out is not None
    return out
