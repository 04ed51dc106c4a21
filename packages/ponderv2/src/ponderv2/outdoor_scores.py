"""nuScenes' scores of detections: mAP over distances of centres, five errors, and NDS."""

from collections.abc import Sequence

import numpy as np

from nonet.metrics.driving_detection import DrivingBoxes, DrivingScore
from ponderv2.boxes3d import Boxes3D


def score_boxes(
    truth: Sequence[Boxes3D], found: Sequence[Boxes3D], classes: Sequence[str], *, measured: bool = True
) -> dict[str, float]:
    """The scores of all frames together.

    Args:
        truth: true boxes of each frame; those of label -1 are left out.
        found: detections of each frame, in the same frame of reference.
        classes: their names.
        measured: leave out true boxes that no LiDAR point lies in, as nuScenes does.

    Returns:
        `nds` and `map` in 0..1, `mATE` (m), `mASE`, `mAOE` (rad), `mAVE` (m/s), `mAAE`, and `ap_NAME` of each
        class. Attributes are not predicted: their error is 1, as nuScenes has it for what is missing.

    Raises:
        ValueError: the numbers of frames differ.
    """
    scores = DrivingScore(classes)
    for true, detected in zip(truth, found, strict=True):
        scores.add(driving_boxes(counted(true, measured=measured)), driving_boxes(detected))
    result = scores.scores()
    named = {"nds": result.nds, "map": result.mean_ap} | result.errors
    means = result.class_ap.mean(1)
    return named | {f"ap_{name}": float(value) for name, value in zip(classes, means, strict=True)}


def counted(truth: Boxes3D, *, measured: bool = True) -> Boxes3D:
    """The true boxes that count: of a class, and with `measured` not those without any LiDAR point."""
    return truth[(truth.label >= 0) & ((truth.points != 0) | (not measured))]


def driving_boxes(boxes: Boxes3D) -> DrivingBoxes:
    """Boxes in the form of the metric; none of them has an attribute."""
    return DrivingBoxes(
        boxes.center,
        boxes.size,
        boxes.yaw,
        boxes.velocity,
        boxes.label,
        boxes.score,
        np.full(len(boxes), -1, np.int64),
    )
