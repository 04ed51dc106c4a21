"""Average precision of instance masks of points by the rules of the ScanNet benchmark (numpy).

A true object is found by a mask of its class whose overlap (intersection over union of points) with it
exceeds a threshold; of several such masks the surest one counts, and the others are wrong, unless one of them
finds another object. A mask that finds nothing is wrong, unless a greater share of it than the threshold lies
on points that do not count: those without a class, of classes left out, or of objects of its class that are
too small to be looked for. AP is the trapezoid below precision over recall at each distinct score, from
(recall 0, precision 1) on. Source: the released evaluation of Dai et al. 2017 (ScanNet), as Pointcept uses
it.

The thresholds are .5, .55, ..., .9: `arange(.5, .95, .05)` of the original has 9 numbers and leaves out .95,
unlike COCO.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]

# Shapes: N points, K classes, T overlaps.

OVERLAPS = (*(round(0.5 + 0.05 * step, 2) for step in range(9)), 0.25)
SMALLEST = 100  # points of a true object or a mask, of ScanNet's meshes


class FoundInstance(NamedTuple):
    """A mask that was found.

    Attributes:
        points: (N,) bool, or the numbers of its points, each once.
        label: its class.
        score: how sure it is; finite.
    """

    points: NDArray[Any]
    label: int
    score: float


class InstanceScores(NamedTuple):
    """Scores in 0..1; means are over classes with true objects, NaN where there are none.

    Attributes:
        ap: the mean over the overlaps .5 to .9.
        ap50: at one half.
        ap25: at one quarter.
        class_ap: (K,) NaN for a class without true objects.
        class_ap50: (K,)
        class_ap25: (K,)
    """

    ap: float
    ap50: float
    ap25: float
    class_ap: Floats
    class_ap50: Floats
    class_ap25: Floats


class InstanceAP:
    """Collects scenes; `scores` says what they come to. Those of several processes add up with `+`.

    Args:
        classes: K.
        ignored: classes that are not looked for, such as wall and floor; their points do not count.
        smallest: points below which neither a true object nor a mask counts.
    """

    def __init__(self, classes: int, *, ignored: Sequence[int] = (), smallest: int = SMALLEST) -> None:
        self.classes, self.ignored, self.smallest = classes, tuple(ignored), smallest
        self._scenes: list[list[_Class]] = []

    def add(
        self,
        semantic: NDArray[Any],
        instance: NDArray[Any],
        found: Sequence[FoundInstance],
        what: str = "the scene",
    ) -> None:
        """Count a scene.

        Args:
            semantic: (N,) whole numbers, the true class of each point; what is not in 0..K-1 is none.
            instance: (N,) whole numbers, the true object of each point; below 0 it is none. An object's class
                is that of its first point.
            found: masks; those of ignored classes and those that are too small are left out.
            what: how messages call the scene.

        Raises:
            UserError: lengths differ, a mask names points that do not exist, a label is out of range, or a
                score is not finite.
        """
        kinds, objects = np.asarray(semantic).reshape(-1), np.asarray(instance).reshape(-1)
        if len(kinds) != len(objects):
            raise UserError(f"{what}: {len(kinds)} points have a class and {len(objects)} an object")
        looked_for = np.setdiff1d(np.arange(self.classes), self.ignored)
        void = ~np.isin(kinds, looked_for)
        numbers, first, each, sizes = np.unique(
            objects, return_index=True, return_inverse=True, return_counts=True
        )
        kind_of = np.where(numbers < 0, -1, kinds[first])
        parts: list[list[tuple[float, int, int, NDArray[np.int64]]]] = [[] for _ in range(self.classes)]
        for number, mask in enumerate(found):
            points = self._points_of(mask, len(kinds), f"{what}: mask {number} (from 0)")
            if mask.label in looked_for and len(points) >= self.smallest:
                common = np.bincount(each.reshape(-1)[points], minlength=len(numbers))
                row = (float(mask.score), len(points), int(void[points].sum()), common)
                parts[mask.label].append(row)
        scene = []
        for kind in range(self.classes):
            mine = np.flatnonzero(kind_of == kind) if kind in looked_for else np.zeros(0, np.int64)
            rows = parts[kind]
            shared = np.array([row[3][mine] for row in rows], np.float64).reshape(len(rows), len(mine))
            own, outside = (np.array([row[i] for row in rows], np.float64) for i in (1, 2))
            small = sizes[mine] < self.smallest
            union = own[:, None] + sizes[mine][None] - shared
            scene.append(
                _Class(
                    np.array([row[0] for row in rows], np.float64),
                    shared / union,
                    (outside + shared[:, small].sum(1)) / np.maximum(own, 1),
                    small,
                )
            )
        self._scenes.append(scene)

    def __add__(self, other: "InstanceAP") -> "InstanceAP":
        mine, theirs = ((one.classes, one.ignored, one.smallest) for one in (self, other))
        if mine != theirs:
            raise UserError(
                f"instances counted by {mine} and by {theirs} (classes, ignored, smallest) do not add up"
            )
        both = InstanceAP(self.classes, ignored=self.ignored, smallest=self.smallest)
        both._scenes = self._scenes + other._scenes
        return both

    def scores(self) -> InstanceScores:
        """The precision of what was counted so far."""
        ap = np.full((len(OVERLAPS), self.classes), np.nan)
        for kind in range(self.classes):
            scenes = [scene[kind] for scene in self._scenes]
            if any((~one.small).any() for one in scenes):
                ap[:, kind] = [_average_precision(scenes, overlap) for overlap in OVERLAPS]
        each = (ap[:-1].mean(0), ap[0], ap[-1])
        there = ~np.isnan(ap[0])
        ap_all, ap50, ap25 = (float(v[there].mean()) if there.any() else float("nan") for v in each)
        return InstanceScores(ap_all, ap50, ap25, *each)

    def _points_of(self, mask: FoundInstance, count: int, what: str) -> NDArray[np.int64]:
        points = np.asarray(mask.points)
        if not 0 <= mask.label < self.classes or not np.isfinite(mask.score):
            raise UserError(
                f"{what} has label {mask.label} and score {mask.score}; of {self.classes} classes, from 0, "
                "one must be given, and a finite score"
            )
        if points.dtype == np.bool_:
            if points.shape != (count,):
                raise UserError(f"{what} has shape {points.shape}, but the scene has {count} points")
            return np.flatnonzero(points)
        if points.size and (points.min() < 0 or points.max() >= count):
            raise UserError(f"{what} names points {points.min()}..{points.max()} of {count} (from 0)")
        if len(np.unique(points)) != points.size:
            raise UserError(f"{what} names a point twice")
        return points.astype(np.int64).reshape(-1)


class _Class(NamedTuple):
    """Masks and true objects of one class in one scene.

    Attributes:
        score: (m,)
        overlap: (m, n)
        void: (m,) the share that does not count.
        small: (n,) objects that are not looked for.
    """

    score: Floats
    overlap: Floats
    void: Floats
    small: NDArray[np.bool_]


def _average_precision(scenes: Sequence[_Class], overlap: float) -> float:
    judged = [_judge(one, overlap) for one in scenes]
    right = np.concatenate([np.zeros(0), *(part[0] for part in judged)])
    score = np.concatenate([np.zeros(0), *(part[1] for part in judged)])
    missed = sum(part[2] for part in judged)
    if not right.size:
        return 0.0
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], right[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # of each distinct score
    recall = np.append(0.0, hits[last] / max(hits[-1] + missed, 1))
    precision = np.append(1.0, hits[last] / (last + 1))
    return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())


def _judge(one: _Class, overlap: float) -> tuple[Floats, Floats, int]:
    """Whether masks that count are right (1) or wrong (0), their scores, and how many objects are missed."""
    right, score, missed = [], [], 0
    taken = np.zeros(len(one.score), np.bool_)
    for target in np.flatnonzero(~one.small):
        best: float | None = None
        for mask in np.flatnonzero((one.overlap[:, target] > overlap) & ~taken):
            sure = float(one.score[mask])
            if best is None:
                best, taken[mask] = sure, True
            else:  # as in the original, only the first mask is used up, also when a surer one takes its place
                right.append(0.0)
                score.append(min(best, sure))
                best = max(best, sure)
        if best is None:
            missed += 1
        else:
            right.append(1.0)
            score.append(best)
    nothing = ~(one.overlap > overlap).any(1) & (one.void <= overlap)
    return (
        np.array(right + [0.0] * int(nothing.sum())),
        np.array(score + one.score[nothing].tolist()),
        missed,
    )
