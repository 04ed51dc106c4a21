"""Panoptic quality: how well segments of things and stuff are found and told apart (numpy).

PQ = sum of the overlaps of matched segments / (matched + half of the missed + half of the invented), each
class for itself and then the mean over classes; a pair is matched where the overlap exceeds one half, so that
no segment has two partners (Kirillov et al. 2019, "Panoptic Segmentation", section 4). As COCO counts: pixels
of the truth without a segment belong to no union; regions marked crowd are neither matched nor missed; and a
found segment that lies mostly in either is not invented.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

VOID = 0  # the number of pixels without a segment
HALF = 0.5


class SegmentMap(NamedTuple):
    """The segments of an image.

    Attributes:
        ids: (H, W) whole numbers, the segment of each pixel; 0 is none.
        categories: the class of each segment by its number.
        crowd: numbers of segments that stand for many things at once; of the truth only.
    """

    ids: NDArray[Any]
    categories: Mapping[int, int]
    crowd: Collection[int] = ()


class Quality(NamedTuple):
    """Shares in 0..1; NaN where there is no class to count.

    Attributes:
        pq: panoptic quality, `sq` times `rq` for a single class.
        sq: mean overlap of the matched segments.
        rq: matched segments over the mean of true and found ones (F1).
        classes: how many classes the means are over.
    """

    pq: float
    sq: float
    rq: float
    classes: int


class PanopticScores(NamedTuple):
    """Quality over all classes, over things, over stuff, and of each class that occurs, by its number."""

    all: Quality
    things: Quality
    stuff: Quality
    of_class: dict[int, Quality]


class PanopticQuality:
    """Counts image by image; `scores` says what they come to.

    Args:
        categories: every class's number, and whether it is a thing.
    """

    def __init__(self, categories: Mapping[int, bool]) -> None:
        self.categories = dict(categories)
        self._overlap: defaultdict[int, float] = defaultdict(float)
        self._matched: defaultdict[int, int] = defaultdict(int)
        self._missed: defaultdict[int, int] = defaultdict(int)
        self._invented: defaultdict[int, int] = defaultdict(int)

    def add(self, truth: SegmentMap, found: SegmentMap, what: str = "the image") -> None:
        """Count an image.

        Args:
            truth: its true segments.
            found: those that were predicted; of the same size.
            what: how messages call the image.

        Raises:
            UserError: sizes differ, a map has a number without a class, a listed segment has no pixel, or a
                class is unknown.
        """
        if truth.ids.shape != found.ids.shape:
            raise UserError(f"{what}: the truth is {truth.ids.shape} and the prediction {found.ids.shape}")
        true_area, found_area = self._areas(truth, what, "truth"), self._areas(found, what, "prediction")
        shared = _shared(truth.ids, found.ids)
        crowd = set(truth.crowd)
        taken: set[int] = set()
        matched: set[int] = set()
        for (mine, theirs), common in shared.items():
            if VOID in (mine, theirs) or mine in crowd:
                continue
            kind = truth.categories[mine]
            if kind != found.categories[theirs]:
                continue
            union = true_area[mine] + found_area[theirs] - common - shared.get((VOID, theirs), 0)
            if common / union > HALF:
                self._matched[kind] += 1
                self._overlap[kind] += common / union
                matched.add(mine)
                taken.add(theirs)
        for mine, kind in truth.categories.items():
            self._missed[kind] += mine not in matched and mine not in crowd
        for theirs, kind in found.categories.items():
            if theirs not in taken:
                alike = [other for other in crowd if truth.categories[other] == kind]
                ignored = sum(shared.get((other, theirs), 0) for other in [VOID, *alike])
                self._invented[kind] += ignored / found_area[theirs] <= HALF

    def scores(self) -> PanopticScores:
        """The quality of what was counted so far; classes that neither occur nor are found do not count."""
        of_class = {}
        for kind in self.categories:
            hits = self._matched[kind]
            weight = hits + (self._missed[kind] + self._invented[kind]) / 2
            if weight:
                overlap = self._overlap[kind]
                of_class[kind] = Quality(overlap / weight, overlap / hits if hits else 0.0, hits / weight, 1)
        things = [quality for kind, quality in of_class.items() if self.categories[kind]]
        stuff = [quality for kind, quality in of_class.items() if not self.categories[kind]]
        return PanopticScores(_mean(of_class.values()), _mean(things), _mean(stuff), of_class)

    def _areas(self, segments: SegmentMap, what: str, side: str) -> dict[int, int]:
        numbers, counts = np.unique(segments.ids, return_counts=True)
        areas = {int(n): int(c) for n, c in zip(numbers, counts, strict=True)}
        listed = {number: areas.get(number, 0) for number in segments.categories}
        if unknown := sorted(areas.keys() - listed.keys() - {VOID}):
            raise UserError(f"{what}: segment {unknown[0]} of the {side} has no class")
        if empty := [number for number, area in listed.items() if not area]:
            raise UserError(f"{what}: segment {empty[0]} of the {side} has no pixel")
        if strange := sorted(set(segments.categories.values()) - self.categories.keys()):
            raise UserError(f"{what}: class {strange[0]} of the {side} is unknown")
        return listed


def _shared(truth: NDArray[Any], found: NDArray[Any]) -> dict[tuple[int, int], int]:
    """How many pixels each true and each found segment have in common, where they have any."""
    mine, rows = np.unique(truth, return_inverse=True)
    theirs, columns = np.unique(found, return_inverse=True)
    counts = np.bincount(rows.ravel() * len(theirs) + columns.ravel(), minlength=len(mine) * len(theirs))
    table = counts.reshape(len(mine), len(theirs))
    return {(int(mine[i]), int(theirs[j])): int(table[i, j]) for i, j in np.argwhere(table)}


def _mean(qualities: Iterable[Quality]) -> Quality:
    listed = list(qualities)
    if not listed:
        return Quality(float("nan"), float("nan"), float("nan"), 0)
    pq, sq, rq = (float(np.mean([quality[i] for quality in listed])) for i in range(3))
    return Quality(pq, sq, rq, len(listed))
