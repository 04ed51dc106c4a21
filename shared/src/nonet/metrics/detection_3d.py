"""Average precision of boxes in rooms, at overlaps of volumes of .25 and .5 (numpy).

Detections of a class are taken by falling score over all scenes; each is right if the true box of its class
and scene that it overlaps most is overlapped by more than the threshold and was not found before. AP is the
area below the envelope of precision over recall (all points), and the mean is over classes that occur in the
truth. Sources: Qi et al. 2019 (VoteNet), section 5 and its released evaluation; Everingham et al. 2010 for
the matching.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.boxes_3d import check_boxes_3d, iou_3d

Floats = NDArray[np.float64]

# Shapes: n true and m found boxes, T thresholds, K classes.


class BoxScores(NamedTuple):
    """Scores in 0..1.

    Attributes:
        mean_ap: (T,) means over the classes in the truth; NaN where there are none.
        class_ap: (T, K); NaN for a class that has no true box.
        class_recall: (T, K) of all detections; NaN likewise.
    """

    mean_ap: Floats
    class_ap: Floats
    class_recall: Floats


class BoxAP:
    """Collects scenes; `scores` says what they come to. Those of several processes add up with `+`.

    Args:
        classes: K.
        thresholds: overlaps, in 0..1, that a right box exceeds.
    """

    def __init__(self, classes: int, thresholds: tuple[float, ...] = (0.25, 0.5)) -> None:
        self.classes, self.thresholds = classes, thresholds
        self._wanted = np.zeros(classes, np.int64)
        self._labels: list[NDArray[np.int64]] = []
        self._scores: list[Floats] = []
        self._right: list[NDArray[np.bool_]] = []

    def add(
        self,
        true_boxes: ArrayLike,
        true_labels: ArrayLike,
        boxes: ArrayLike,
        labels: ArrayLike,
        scores: ArrayLike,
        what: str = "the scene",
    ) -> None:
        """Count a scene.

        Args:
            true_boxes: (n, 7) or (n, 6), see `nonet.metrics.boxes_3d`.
            true_labels: (n,) in 0..K-1.
            boxes: (m, 7) or (m, 6) that were found.
            labels: (m,) in 0..K-1.
            scores: (m,) finite.
            what: how messages call the scene.

        Raises:
            UserError: lengths differ, a label is out of range, a box or a score is not a proper one.
        """
        truth = check_boxes_3d(true_boxes, f"{what}: true boxes")
        found = check_boxes_3d(boxes, f"{what}: found boxes")
        true_kinds = _labels_of(true_labels, len(truth), self.classes, f"{what}: true boxes")
        kinds = _labels_of(labels, len(found), self.classes, f"{what}: found boxes")
        sure = np.asarray(scores, np.float64).reshape(-1)
        if len(sure) != len(found) or not np.isfinite(sure).all():
            raise UserError(f"{what}: {len(found)} found boxes need as many finite scores")
        order = np.argsort(-sure, kind="stable")
        found, kinds, sure = found[order], kinds[order], sure[order]
        self._wanted += np.bincount(true_kinds, minlength=self.classes)
        overlap = np.where(kinds[:, None] == true_kinds[None], iou_3d(found, truth), -1.0)
        right = np.zeros((len(self.thresholds), len(found)), np.bool_)
        if len(truth):
            best = overlap.argmax(1)
            for row, threshold in enumerate(self.thresholds):
                near = np.flatnonzero(overlap.max(1) > threshold)
                # the first of those that name the same true box has the highest score
                right[row, near[np.unique(best[near], return_index=True)[1]]] = True
        self._labels.append(kinds)
        self._scores.append(sure)
        self._right.append(right)

    def __add__(self, other: "BoxAP") -> "BoxAP":
        mine, theirs = ((one.classes, one.thresholds) for one in (self, other))
        if mine != theirs:
            raise UserError(f"boxes counted by {mine} and by {theirs} (classes, thresholds) do not add up")
        both = BoxAP(self.classes, self.thresholds)
        both._wanted = self._wanted + other._wanted
        both._labels = self._labels + other._labels
        both._scores = self._scores + other._scores
        both._right = self._right + other._right
        return both

    def scores(self) -> BoxScores:
        """The precision of what was counted so far."""
        shape = (len(self.thresholds), self.classes)
        ap, recall = np.full(shape, np.nan), np.full(shape, np.nan)
        labels = np.concatenate([np.zeros(0, np.int64), *self._labels])
        right = np.concatenate([np.zeros((shape[0], 0), np.bool_), *self._right], 1)
        order = np.argsort(-np.concatenate([np.zeros(0), *self._scores]), kind="stable")
        labels, right = labels[order], right[:, order]
        for kind in np.flatnonzero(self._wanted):
            hits = right[:, labels == kind].cumsum(1)
            precision = hits / np.arange(1, hits.shape[1] + 1)
            reached = hits / self._wanted[kind]
            envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            ap[:, kind] = (np.diff(reached, prepend=0, axis=1) * envelope).sum(1)
            recall[:, kind] = reached[:, -1] if hits.shape[1] else 0.0
        there = self._wanted > 0
        mean = ap[:, there].mean(1) if there.any() else np.full(shape[0], np.nan)
        return BoxScores(mean, ap, recall)


def _labels_of(labels: Any, count: int, classes: int, what: str) -> NDArray[np.int64]:
    array = np.asarray(labels).reshape(-1)
    if len(array) != count:
        raise UserError(f"{what}: {count} boxes need as many labels, not {len(array)}")
    wrong = array[(array < 0) | (array >= classes)]
    if wrong.size:
        raise UserError(f"{what}: label {wrong[0]} is out of range; there are {classes} classes, from 0")
    return array.astype(np.int64)
