"""Pascal VOC's average precision at an overlap of one half (Everingham et al. 2010, section 4.2; numpy).

Detections of a class are taken by falling score; each is right if the true box that it overlaps most is
overlapped by at least one half and was not found before. Difficult boxes, and crowd regions, are ignored:
neither to be found nor wrong to find. Up to 2009 the precision was averaged at 11 recall levels, since 2010
it is integrated.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.boxes import iou
from nonet.metrics.detection import FoundBoxes, TrueBoxes, check_found

HALF = 0.5


class VocBoxes(TrueBoxes, Protocol):
    """The truth of an image, with (n,) `difficult` too."""

    @property
    def difficult(self) -> NDArray[np.bool_]: ...  # noqa: D102


class VocScores(NamedTuple):
    """AP of each class in 0..1; NaN where the class has no box to find.

    Attributes:
        eleven: (K,) the mean over the recall levels 0, 0.1, ..., 1.
        area: (K,) the area below the curve.
    """

    eleven: NDArray[np.float64]
    area: NDArray[np.float64]

    def means(self) -> tuple[float, float]:
        """Means over the classes that have boxes, of either kind; NaN where there are none."""
        there = ~np.isnan(self.area)
        if not there.any():
            return float("nan"), float("nan")
        return float(self.eleven[there].mean()), float(self.area[there].mean())


def voc_scores(
    truth: Sequence[VocBoxes], found: Sequence[FoundBoxes], classes: int, *, overlap: float = HALF
) -> VocScores:
    """Score detections by VOC's rules.

    Args:
        truth: the images with their true boxes, labels in 0..K-1.
        found: detections of these images, by `image_id`; an image without any may be missing.
        classes: K.
        overlap: from which a detection is right, intersection over union.

    Raises:
        UserError: detections of unknown images or twice of one, a label that is out of range, or numbers
            that are not finite.
    """
    check_found(truth, found, classes)
    by_id = {image.image_id: image for image in found}
    wanted = np.zeros(classes, np.int64)
    parts = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    for image in truth:
        ignored = image.difficult | image.crowd
        wanted += np.bincount(image.labels[~ignored], minlength=classes)
        one = by_id.get(image.id)
        if one is None or not len(one.scores):
            continue
        scores = np.asarray(one.scores, np.float64)
        order = np.argsort(-scores, kind="stable")
        boxes, labels = np.asarray(one.boxes, np.float64)[order], np.asarray(one.labels)[order]
        parts.append((labels, scores[order], _judge(boxes, labels, image, ignored, overlap)))
    labels, scores, right = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isnan(right[order])]
    labels, right = labels[order], right[order]
    curves = [_curve(right[labels == label], int(count)) for label, count in enumerate(wanted)]
    return VocScores(
        np.array([_eleven(*curve) if n else np.nan for curve, n in zip(curves, wanted, strict=True)]),
        np.array([_area(*curve) if n else np.nan for curve, n in zip(curves, wanted, strict=True)]),
    )


def _judge(
    boxes: NDArray[np.float64],
    labels: NDArray[np.int64],
    image: VocBoxes,
    ignored: NDArray[np.bool_],
    overlap: float,
) -> NDArray[np.float64]:
    """1 for a right detection, 0 for a wrong one, NaN for one that does not count; by falling score."""
    judged = np.zeros(len(boxes))
    if not len(image.labels):
        return judged
    shares = np.where(labels[:, None] == image.labels[None], iou(boxes, image.boxes), -1.0)
    best = shares.argmax(1)
    taken = np.zeros(len(image.labels), np.bool_)
    for row in np.flatnonzero(shares.max(1) >= overlap):
        if ignored[best[row]]:
            judged[row] = np.nan
        elif not taken[best[row]]:
            judged[row] = taken[best[row]] = True
    return judged


def _curve(right: NDArray[np.float64], wanted: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision after each detection of a class that counts, by falling score."""
    hits = right.cumsum()
    return hits / max(wanted, 1), hits / np.arange(1, len(right) + 1)


def _eleven(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    levels = np.arange(11) / 10
    return float(np.mean([precision[recall >= level].max(initial=0) for level in levels]))


def _area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * envelope).sum())
