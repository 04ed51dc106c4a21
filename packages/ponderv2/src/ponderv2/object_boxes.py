"""Boxes of objects: axis-aligned extents of their points, of the truth and of what was found (ours).

Axes are those of the upright scene: z up, x and y as the data set has them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponderv2.scenes import PointCloud

# Shapes: N points, n objects.

LEAST = 1e-3  # metres: a flat object has a side of this, so that its box has a volume


class ObjectBoxes(NamedTuple):
    """Boxes of one scene.

    Attributes:
        boxes: (n, 6) float64 metres: centre x, y, z and sizes along x, y, z.
        labels: (n,) int64 classes.
        scores: (n,) float64 in 0..1; 1 for true boxes.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]


def extent(coord: NDArray[np.float32]) -> NDArray[np.float64]:
    """(6,) centre and sizes of the least box around (n, 3) points, n at least 1."""
    low, high = coord.min(0).astype(np.float64), coord.max(0).astype(np.float64)
    return np.concatenate([(low + high) / 2, np.maximum(high - low, LEAST)])


def true_boxes(cloud: PointCloud, ignored: Sequence[int] = ()) -> ObjectBoxes:
    """The boxes of a cloud's objects; an object's class is that of most of its points.

    Args:
        cloud: with classes and objects.
        ignored: classes that are no objects.

    Raises:
        ValueError: the cloud has no classes or no objects.
    """
    if cloud.semantic is None or cloud.instance is None:
        raise ValueError("true boxes need a cloud with classes and objects")
    boxes, labels = [], []
    for number in np.unique(cloud.instance[cloud.instance >= 0]):
        own = cloud.instance == number
        known = cloud.semantic[own & (cloud.semantic >= 0)]
        if not len(known) or (label := int(np.bincount(known).argmax())) in ignored:
            continue
        boxes.append(extent(cloud.coord[own]))
        labels.append(label)
    return gathered_boxes(boxes, labels, [1.0] * len(labels))


def gathered_boxes(
    boxes: Sequence[NDArray[np.float64]], labels: Sequence[int], scores: Sequence[float]
) -> ObjectBoxes:
    """Boxes of a list, which may be empty."""
    return ObjectBoxes(
        np.array(boxes, np.float64).reshape(-1, 6), np.array(labels, np.int64), np.array(scores, np.float64)
    )
