"""COCO's twelve numbers, counted by hotcoco (the default of `updetr evaluate`), against pycocotools.

500 made-up images with some 7 boxes of 20 classes and 100 detections each: boxes that are off by a little,
and boxes at random. Both give the same numbers.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.harness import Row, save, table, versus

from nonet.data.labelled_boxes import LabelledImage
from nonet.metrics.detection import CocoScores, coco_scores

SEED = 0
IMAGES, CLASSES, FOUND = 500, 20, 100
SIDE = 640  # pixels


class Found(NamedTuple):
    """Detections of an image, as `coco_scores` takes them."""

    image_id: int
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def main(*, tiny: bool = False) -> list[Row]:
    """One row."""
    images, found = (3, 5) if tiny else (IMAGES, FOUND)
    truth, detections = made_up(images, found)
    scores = partial(coco_scores, truth, detections, CLASSES)
    rows = [
        versus(
            f"COCO's numbers for {images} images with {found} detections each, against pycocotools",
            partial(scores, backend="hotcoco"),
            partial(scores, backend="pycocotools"),
            same,
            rounds=1 if tiny else 5,
            min_seconds=0 if tiny else 0.2,
            unit="images",
            per_call=images,
        )
    ]
    print(table(rows))
    if not tiny:
        versions = ("hotcoco", "pycocotools", "numpy")
        save("updetr", rows, table="evaluation", versions=versions, data="made-up boxes", seed=SEED)
    return rows


def made_up(images: int, found: int) -> tuple[list[LabelledImage], list[Found]]:
    """True boxes and detections."""
    random = np.random.default_rng(SEED)
    truth, detections = [], []
    for number in range(images):
        count = int(random.integers(0, 15))
        boxes, labels = corners(random, count), random.integers(0, CLASSES, count)
        near = random.integers(0, max(count, 1), found // 2 if count else 0)
        other = found - len(near)
        places = np.concatenate([boxes[near] + random.normal(0, 8, (len(near), 4)), corners(random, other)])
        said = np.concatenate([labels[near], random.integers(0, CLASSES, other)])
        no = np.zeros(count, bool)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        truth.append(
            LabelledImage(
                path=Path(f"{number}.jpg"), width=SIDE, height=SIDE, boxes=boxes, labels=labels, crowd=no,
                difficult=no, areas=areas, id=number,
            )
        )  # fmt: skip
        detections.append(Found(number, places.astype(np.float32), random.random(found), said))
    return truth, detections


def corners(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) xyxy in pixels."""
    low = random.uniform(0, SIDE * 0.7, (count, 2))
    return np.concatenate([low, low + random.uniform(8, SIDE * 0.3, (count, 2))], 1)


def same(ours: CocoScores, theirs: CocoScores) -> bool | str:
    """Whether all twelve numbers and those of each class agree."""
    for name, value in ours.values.items():
        if not np.isclose(value, theirs.values[name], atol=1e-9, equal_nan=True):
            return f"{name}: {value} and {theirs.values[name]}"
    return bool(np.allclose(ours.class_ap, theirs.class_ap, atol=1e-9, equal_nan=True)) or "a class's AP"


if __name__ == "__main__":
    main()
