"""Images with labelled boxes, whatever files they come from, and how bad boxes are met (ours).

Boxes are float64 xyxy in pixels of the image as it is stored: left, top, right, bottom edges, so that a box
over the whole image is (0, 0, width, height). Orientation in EXIF is not applied: annotation tools draw on
the stored pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

SLACK = 1.0  # pixels; an edge that goes beyond the image by less was rounded, and is clipped without a word


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledImage:
    """An image and its n boxes.

    Attributes:
        path: the image file.
        width: pixels, as the annotation says.
        height: pixels, as the annotation says.
        boxes: (n, 4) float64 xyxy in pixels.
        labels: (n,) int64 in 0..K-1.
        crowd: (n,) bool; regions of many objects: left out in training, ignored in evaluation.
        difficult: (n,) bool; VOC's mark: ignored in VOC's evaluation.
        areas: (n,) float64 square pixels as the annotation says (COCO: of the mask), else of the box.
        id: of the image in the data set.
        scores: (n,) float64 in 0..1 where boxes were predicted, else None.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    areas: NDArray[np.float64]
    id: int
    scores: NDArray[np.float64] | None = None

    def keep(self, chosen: ArrayLike) -> "LabelledImage":
        """The image with some of its boxes: an index or a mask."""
        chosen = np.asarray(chosen)
        if not chosen.size:
            chosen = chosen.astype(np.int64)  # an empty list is one of floats
        rows = ("boxes", "labels", "crowd", "difficult", "areas")
        kept: dict[str, Any] = {name: getattr(self, name)[chosen] for name in rows}
        return replace(self, **kept, scores=None if self.scores is None else self.scores[chosen])


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledImages:
    """A data set of labelled images.

    Attributes:
        images: in the order of the files.
        names: of the K classes.
        category_ids: of the K classes in COCO's files, in 0..K-1 or 1..K elsewhere.
        remarks: what is worth knowing, a line each.
        defects: what is wrong in the files and was dropped or clipped, a line each, with the file.
    """

    images: list[LabelledImage]
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    remarks: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Sequence[int]) -> "LabelledImages":
        """The data set with some of its images, in the order of `indices`."""
        return replace(self, images=[self.images[i] for i in indices])

    def boxes_a_class(self) -> NDArray[np.int64]:
        """(K,) boxes of each class, crowd regions left out."""
        labels = [image.labels[~image.crowd] for image in self.images]
        together = np.concatenate(labels) if labels else np.zeros(0, np.int64)
        return np.bincount(together, minlength=len(self.names)).astype(np.int64)

    def most_boxes(self) -> tuple[int, Path | None]:
        """The largest number of boxes of an image, crowd regions left out, and the image."""
        counts = [int((~image.crowd).sum()) for image in self.images]
        if not counts:
            return 0, None
        worst = int(np.argmax(counts))
        return counts[worst], self.images[worst].path

    def with_names(self, names: Sequence[str]) -> "LabelledImages":
        """The data set with the classes of a model: labels are numbered anew by their names.

        Raises:
            UserError: a box has a class that `names` lacks; the classes are named.
        """
        if tuple(names) == self.names:
            return self
        place = {name: number for number, name in enumerate(names)}
        new = np.array([place.get(name, -1) for name in self.names], np.int64)
        counts = self.boxes_a_class()
        lost = [name for name, at, count in zip(self.names, new, counts, strict=True) if at < 0 and count]
        if lost:
            raise UserError(f"the data has boxes of {listed(lost)}, but the classes are {listed(names)}")
        known = [image.keep(new[image.labels] >= 0) for image in self.images]  # crowd regions of lost classes
        old = {name: number for name, number in zip(self.names, self.category_ids, strict=True)}
        first = max(old.values(), default=0) + 1
        ids = tuple(old.get(name, first + number) for number, name in enumerate(names))
        images = [replace(image, labels=new[image.labels]) for image in known]
        return replace(self, images=images, names=tuple(names), category_ids=ids)

    def said(self, most: int = 5) -> list[str]:
        """Remarks and defects to print: at most so many lines of each, and how many more there are."""
        lines = []
        for what, found in (("remarks", self.remarks), ("defects", self.defects)):
            lines += found[:most]
            if len(found) > most:
                lines.append(f"... and {len(found) - most} more {what}")
        return lines


class BoxRows:
    """The boxes of one image while its annotation is read."""

    def __init__(self) -> None:
        self._boxes: list[Sequence[float]] = []
        self._labels: list[int] = []
        self._crowd: list[bool] = []
        self._difficult: list[bool] = []
        self._areas: list[float] = []
        self._where: list[str] = []

    def add(
        self,
        box: Sequence[float],
        label: int,
        where: str,
        *,
        crowd: bool = False,
        difficult: bool = False,
        area: float | None = None,
    ) -> None:
        """Take a box: xyxy in pixels, its class, where it stands (for messages), its area if known."""
        self._boxes.append(box)
        self._labels.append(label)
        self._where.append(where)
        self._crowd.append(crowd)
        self._difficult.append(difficult)
        self._areas.append(np.nan if area is None else area)

    def image(
        self, path: Path, width: int, height: int, id: int, defects: list[str], *, mend: bool = True
    ) -> LabelledImage:
        """The image with its good boxes; what was dropped or clipped is added to `defects`.

        Args:
            path: the image file.
            width: of the image, pixels.
            height: of the image, pixels.
            id: of the image.
            defects: takes a line for each bad box.
            mend: clip boxes to the image, and drop those outside it and repeated ones. False keeps these as
                they are written, for evaluation by the official rule. Boxes that are not finite or have no
                area are dropped in either case.
        """
        boxes = np.array(self._boxes, np.float64).reshape(-1, 4)
        clipped = np.clip(boxes, 0, [width, height, width, height])
        with np.errstate(invalid="ignore"):  # inf - inf; such boxes are dropped
            beyond = np.abs(clipped - boxes).max(1, initial=0)
            sides = boxes[:, 2:] - boxes[:, :2]
            inside = clipped[:, 2:] - clipped[:, :2]
        kept: list[int] = []
        seen: set[tuple[Any, ...]] = set()
        for row, where in enumerate(self._where):
            text = " ".join(f"{number:g}" for number in boxes[row])
            wrong = ""
            if not np.isfinite(boxes[row]).all():
                wrong = "is not finite; dropped"
            elif sides[row].min() <= 0:
                wrong = "has no area; dropped"
            elif inside[row].min() <= 0:
                wrong = f"lies outside the image of {width} x {height}" + ("; dropped" if mend else "")
            key = (self._labels[row], self._crowd[row], *boxes[row].tolist())
            if wrong:
                defects.append(f"{where}: box {text} (xyxy) {wrong}")
                if mend or "dropped" in wrong:
                    continue
            elif key in seen:
                defects.append(f"{where}: box {text} (xyxy) comes twice" + ("; dropped" if mend else ""))
                if mend:
                    continue
            elif beyond[row] > SLACK:
                done = "; clipped" if mend else ""
                defects.append(f"{where}: box {text} (xyxy) leaves the image of {width} x {height}{done}")
            seen.add(key)
            kept.append(row)
        used = (clipped if mend else boxes)[kept]
        areas = np.array(self._areas, np.float64)[kept]
        own = (used[:, 2:] - used[:, :2]).prod(1)
        return LabelledImage(
            path=path,
            width=width,
            height=height,
            boxes=used,
            labels=np.array(self._labels, np.int64)[kept],
            crowd=np.array(self._crowd, np.bool_)[kept],
            difficult=np.array(self._difficult, np.bool_)[kept],
            areas=np.where(np.isfinite(areas), areas, own),
            id=id,
        )


def listed(names: Sequence[object], most: int = 10) -> str:
    """Names for a message: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


def not_empty(data: LabelledImages, source: object) -> LabelledImages:
    """The data set, or an error where it has no image or no box.

    Raises:
        UserError: it is empty; the first defect is named.
    """
    why = f"; the first defect: {data.defects[0]}" if data.defects else ""
    if not data.images:
        raise UserError(f"{source}: no usable labelled image{why}")
    if not any(len(image.labels) for image in data.images):
        raise UserError(f"{source}: {len(data.images)} images, but no box{why}")
    return data
