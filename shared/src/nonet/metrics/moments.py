"""Finding a moment in a video by words: recall at an overlap in time (numpy).

Source: Gao et al. 2017, "TALL" (R@n, IoU=m); TVR and DiDeMo report R@1 at .5 and .7.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.predictions import same_length

Floats = NDArray[np.float64]


def time_iou(predicted: ArrayLike, gold: ArrayLike) -> Floats:
    """(n,) intersection over union in time of each predicted span with its true one; 0 where both are empty.

    `time_iou([[0, 10]], [[5, 15]])` is 1/3.

    Args:
        predicted: (n, 2) start and end in seconds, 0 <= start <= end.
        gold: (n, 2) the true ones.

    Raises:
        UserError: shapes differ, or a span is not one; the text has its index.
    """
    ours, theirs = _spans(predicted, "predicted spans"), _spans(gold, "true spans")
    same_length(ours.tolist(), theirs.tolist(), "predicted and true spans")
    common = np.clip(np.minimum(ours[:, 1], theirs[:, 1]) - np.maximum(ours[:, 0], theirs[:, 0]), 0, None)
    union = (ours[:, 1] - ours[:, 0]) + (theirs[:, 1] - theirs[:, 0]) - common
    return np.asarray(np.divide(common, union, out=np.zeros(len(union)), where=union > 0))


def moment_recall(predicted: Sequence[ArrayLike], gold: ArrayLike, *, overlap: float, cut: int = 1) -> float:
    """Share of queries for which one of the first k spans overlaps the true one by at least `overlap`, 0..1.

    Args:
        predicted: (m, 2) spans of each query, best first; those beyond `cut` do not matter, none is a miss.
        gold: (n, 2) true spans.
        overlap: intersection over union, 0.5 or 0.7.
        cut: k, from 1.

    Raises:
        UserError: numbers differ, a span is not one, or k or overlap is out of range.
    """
    truth = _spans(gold, "true spans")
    same_length(predicted, truth.tolist(), "queries with predicted and with true spans")
    if cut < 1 or not 0 < overlap <= 1:
        raise UserError(f"the cut is from 1 and the overlap in 0..1, got {cut} and {overlap}")
    hits = 0
    for place, guesses in enumerate(predicted):
        spans = _spans(guesses, f"query {place}, predicted spans")[:cut]
        hits += bool(
            len(spans) and (time_iou(spans, np.tile(truth[place], (len(spans), 1))) >= overlap).any()
        )
    return hits / len(truth)


def _spans(spans: ArrayLike, what: str) -> Floats:
    array = np.asarray(spans, np.float64)
    if array.size == 0:
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] != 2:
        raise UserError(f"{what} must be rows of start and end, but their shape is {array.shape}")
    wrong = ~np.isfinite(array).all(1) | (array < 0).any(1) | (array[:, 1] < array[:, 0])
    if wrong.any():
        first = int(np.argmax(wrong))
        raise UserError(f"{what}: span {first} (from 0) {array[first].tolist()} is not 0 <= start <= end")
    return array
